import { isIP } from "node:net";
import type {
  Endpoint,
  EndpointAddress,
  EndpointPort,
  EndpointSlice,
  Endpoints,
  IPFamily,
  ObjectReference,
  Pod,
  Service,
} from "../../kube/types.ts";
import { canonical } from "./hash.ts";
import { isFinished, isReady } from "./pods.ts";

/** What the endpoints of a Service are, computed from its pods: no input or output here. */

/** Endpoints that share their ports, and so may share a slice. */
export interface EndpointGroup {
  addressType: IPFamily;
  ports: EndpointPort[];
  endpoints: Endpoint[];
}

/** More endpoints than this do not go in one slice. */
export const endpointsPerSlice = 100;

/** The families that a Service has endpoints in; the server fills `ipFamilies` in, save in Services of old. */
export function familiesOf({ spec }: Service): IPFamily[] {
  if (spec.ipFamilies !== undefined && spec.ipFamilies.length > 0) return spec.ipFamilies;
  const addresses = (spec.clusterIPs ?? [spec.clusterIP ?? ""]).filter((ip) => isIP(ip) !== 0);
  return addresses.length === 0 ? ["IPv4"] : addresses.map((ip) => (isIP(ip) === 6 ? "IPv6" : "IPv4"));
}

/** The endpoints of a Service: of each family, and of each set of ports that its pods resolve the port names to. */
export function endpointGroups(
  service: Service,
  pods: readonly Pod[],
  zoneOf: (node: string) => string | undefined = () => undefined,
): EndpointGroup[] {
  const groups: EndpointGroup[] = [];
  for (const addressType of familiesOf(service)) {
    const byPorts = new Map<string, EndpointGroup>();
    for (const pod of pods) {
      const address = addressOf(pod, addressType);
      if (address === undefined || isFinished(pod)) continue;
      const ports = portsOf(service, pod);
      const key = canonical(ports);
      const group = byPorts.get(key) ?? { addressType, ports, endpoints: [] };
      byPorts.set(key, group);
      group.endpoints.push(endpointOf(service, pod, address, zoneOf));
    }
    groups.push(...byPorts.values());
  }
  return groups;
}

function addressOf(pod: Pod, family: IPFamily): string | undefined {
  const { podIP, podIPs = podIP ? [{ ip: podIP }] : [] } = pod.status ?? {};
  return podIPs.map(({ ip }) => ip).find((ip) => isIP(ip) === (family === "IPv6" ? 6 : 4));
}

/** Those ports of the Service that the pod has: one that is named may be another number in each pod, or missing. */
export function portsOf(service: Service, pod: Pod): EndpointPort[] {
  return (service.spec.ports ?? []).flatMap(({ name, port, targetPort, protocol = "TCP", appProtocol }) => {
    const target = targetPort === undefined || targetPort === 0 || targetPort === "" ? port : targetPort;
    const number = typeof target === "number" ? target : namedPort(pod, target, protocol);
    if (number === undefined) return [];
    return [
      { name: name ?? "", protocol, port: number, ...(appProtocol === undefined ? {} : { appProtocol }) },
    ];
  });
}

function namedPort(pod: Pod, name: string, protocol: string): number | undefined {
  for (const { ports } of [...pod.spec.containers, ...(pod.spec.initContainers ?? [])]) {
    const found = ports?.find((port) => port.name === name && (port.protocol ?? "TCP") === protocol);
    if (found !== undefined) return found.containerPort;
  }
  // A text of digits is a number that went through a template.
  return /^[0-9]+$/.test(name) ? Number(name) : undefined;
}

function endpointOf(
  service: Service,
  pod: Pod,
  address: string,
  zoneOf: (node: string) => string | undefined,
): Endpoint {
  const serving = isReady(pod);
  const terminating = pod.metadata.deletionTimestamp !== undefined;
  const ready = service.spec.publishNotReadyAddresses === true || (serving && !terminating);
  const node = pod.spec.nodeName;
  const zone = node === undefined ? undefined : zoneOf(node);
  const hostname = hostnameOf(service, pod);
  return {
    addresses: [address],
    conditions: { ready, serving, terminating },
    ...(hostname === undefined ? {} : { hostname }),
    targetRef: targetOf(pod),
    ...(node ? { nodeName: node } : {}),
    ...(zone === undefined ? {} : { zone }),
  };
}

function targetOf({ metadata }: Pod): ObjectReference {
  const { namespace, name, uid } = metadata;
  return {
    kind: "Pod",
    ...(namespace === undefined ? {} : { namespace }),
    name,
    ...(uid === undefined ? {} : { uid }),
  };
}

/** The name by which DNS knows this endpoint below the Service's. */
function hostnameOf(service: Service, { metadata, spec }: Pod): string | undefined {
  const same = spec.subdomain === service.metadata.name && metadata.namespace === service.metadata.namespace;
  return same && spec.hostname ? spec.hostname : undefined;
}

/** What is to be done to slices. */
export interface SlicePlan {
  create: Omit<EndpointSlice, "metadata">[];
  update: EndpointSlice[];
  delete: EndpointSlice[];
}

/**
 * Brings a Service's slices to hold the groups, changing as few of them as it can: an endpoint stays in the slice that it
 * is in, new ones fill the slices that change anyway, then the fullest with room. A family without endpoints keeps one
 * empty slice, by which consumers tell it from a Service that is not there.
 */
export function planSlices(
  families: readonly IPFamily[],
  groups: readonly EndpointGroup[],
  existing: readonly EndpointSlice[],
  limit = endpointsPerSlice,
): SlicePlan {
  const plan: SlicePlan = { create: [], update: [], delete: [] };
  const unused = new Set(existing);
  const wanted = [...groups];
  for (const family of families) {
    if (!groups.some(({ addressType }) => addressType === family)) {
      wanted.push({ addressType: family, ports: [], endpoints: [] });
    }
  }
  for (const group of wanted) {
    const key = canonical(group.ports);
    const slices = existing.filter(
      ({ addressType, ports, metadata }) =>
        addressType === group.addressType &&
        canonical((ports ?? []).map(normalPort)) === key &&
        metadata.deletionTimestamp === undefined,
    );
    for (const slice of planGroup(plan, group, slices, limit)) unused.delete(slice);
  }
  plan.delete.push(...unused);
  return plan;
}

function normalPort({ name = "", protocol = "TCP", ...rest }: EndpointPort): EndpointPort {
  return { name, protocol, ...rest };
}

/** The slices that stay. */
function planGroup(plan: SlicePlan, group: EndpointGroup, slices: readonly EndpointSlice[], limit: number) {
  const left = new Map(group.endpoints.map((endpoint) => [identityOf(endpoint), endpoint]));
  const kept = slices.map((slice) => {
    const endpoints: Endpoint[] = [];
    for (const before of slice.endpoints ?? []) {
      const identity = identityOf(before);
      const endpoint = left.get(identity);
      if (endpoint === undefined || endpoints.length >= limit) continue;
      left.delete(identity);
      endpoints.push(endpoint);
    }
    return { slice, endpoints, changed: canonical(endpoints) !== canonical(slice.endpoints ?? []) };
  });
  const rest = [...left.values()];
  const byUse = kept.toSorted(
    (a, b) => Number(b.changed) - Number(a.changed) || b.endpoints.length - a.endpoints.length,
  );
  for (const slot of byUse) {
    const added = rest.splice(0, limit - slot.endpoints.length);
    slot.endpoints.push(...added);
    slot.changed ||= added.length > 0;
  }
  while (rest.length > 0) {
    plan.create.push({
      addressType: group.addressType,
      ports: group.ports,
      endpoints: rest.splice(0, limit),
    });
  }
  const filled = kept.filter(({ endpoints }) => endpoints.length > 0);
  if (group.endpoints.length === 0) {
    if (kept.length === 0) plan.create.push({ addressType: group.addressType, ports: [], endpoints: [] });
    else filled.push(kept[0] as (typeof kept)[number]);
  }
  for (const { slice, endpoints, changed } of filled) {
    if (changed) plan.update.push({ ...slice, endpoints });
  }
  return filled.map(({ slice }) => slice);
}

function identityOf({ targetRef, addresses }: Endpoint): string {
  return `${targetRef?.uid ?? targetRef?.name ?? ""} ${addresses.join()}`;
}

/** An Endpoints object holds no more than this; what is over is left out, and annotated. */
export const addressesPerEndpoints = 1000;

/** The subsets of the legacy Endpoints: of the first family only, without pods that go away. */
export function endpointSubsets(service: Service, pods: readonly Pod[]): NonNullable<Endpoints["subsets"]> {
  const [family] = familiesOf(service);
  const staying = pods.filter(
    ({ metadata }) =>
      metadata.deletionTimestamp === undefined || service.spec.publishNotReadyAddresses === true,
  );
  const groups = endpointGroups(service, staying).filter(({ addressType }) => addressType === family);
  return groups.map(({ ports, endpoints }) => {
    const sorted = endpoints.toSorted((a, b) =>
      (a.addresses[0] as string) < (b.addresses[0] as string) ? -1 : 1,
    );
    const kept = sorted.slice(0, addressesPerEndpoints);
    const addresses = kept.filter(({ conditions }) => conditions?.ready).map(legacyAddress);
    const notReadyAddresses = kept.filter(({ conditions }) => !conditions?.ready).map(legacyAddress);
    return {
      ...(addresses.length === 0 ? {} : { addresses }),
      ...(notReadyAddresses.length === 0 ? {} : { notReadyAddresses }),
      ...(ports.length === 0 ? {} : { ports: ports.map(legacyPort) }),
    };
  });
}

function legacyAddress({ addresses, hostname, nodeName, targetRef }: Endpoint): EndpointAddress {
  return {
    ip: addresses[0] as string,
    ...(hostname === undefined ? {} : { hostname }),
    ...(nodeName === undefined ? {} : { nodeName }),
    ...(targetRef === undefined ? {} : { targetRef }),
  };
}

function legacyPort({ name, port = 0, protocol = "TCP", appProtocol }: EndpointPort) {
  return {
    ...(name ? { name } : {}),
    port,
    protocol,
    ...(appProtocol === undefined ? {} : { appProtocol }),
  };
}
