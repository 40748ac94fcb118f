import type { Handlers } from "../kube/informer.ts";
import type { EndpointSlice, KubeObject, Namespace, Pod, Service } from "../kube/types.ts";
import { explain } from "../lib/errors.ts";
import { type Log, silentLog } from "../lib/log.ts";
import type { DnsEndpointSlice, DnsService } from "./records.ts";
import type { DnsPod, Zone } from "./zone.ts";

/** The label by which an EndpointSlice names its Service. */
const serviceNameLabel = "kubernetes.io/service-name";

/** What a Service's names depend on. */
export function dnsService({ metadata, spec }: Service): DnsService {
  const headless = spec.clusterIP === "None";
  const external = spec.type === "ExternalName";
  const clusterIPs = spec.clusterIPs ?? (spec.clusterIP === undefined ? [] : [spec.clusterIP]);
  return {
    namespace: metadata.namespace ?? "default",
    name: metadata.name,
    clusterIPs: headless || external ? [] : clusterIPs.filter((ip) => ip !== ""),
    headless,
    externalName: external ? spec.externalName : undefined,
    publishNotReadyAddresses: spec.publishNotReadyAddresses,
    ports: (spec.ports ?? []).map(({ name, protocol = "TCP", port }) => ({ name, protocol, port })),
  };
}

/** What names depend on of an EndpointSlice; undefined for one of no Service, or of names instead of addresses. */
export function dnsEndpointSlice(slice: EndpointSlice): DnsEndpointSlice | undefined {
  const { metadata, addressType, endpoints, ports } = slice;
  const service = metadata.labels?.[serviceNameLabel];
  if (service === undefined || addressType === "FQDN") return undefined;
  return {
    namespace: metadata.namespace ?? "default",
    name: metadata.name,
    service,
    endpoints: (endpoints ?? []).map(({ addresses, hostname, conditions }) => ({
      addresses,
      hostname,
      ready: conditions?.ready,
    })),
    ports: (ports ?? []).flatMap(({ name, protocol = "TCP", port }) =>
      port === undefined || port === null ? [] : [{ name, protocol, port }],
    ),
  };
}

/** What names depend on of a Pod; undefined for one that has no address, or has ended and so gave it back. */
export function dnsPod({ metadata, status }: Pod): DnsPod | undefined {
  const ended = status?.phase === "Succeeded" || status?.phase === "Failed";
  const addresses = (status?.podIPs ?? []).map(({ ip }) => ip);
  if (ended || addresses.length === 0) return undefined;
  return { namespace: metadata.namespace ?? "default", name: metadata.name, addresses };
}

/** Handlers for informers that keep a zone as the API has it. */
export interface ZoneHandlers {
  namespaces: Required<Handlers<Namespace>>;
  services: Required<Handlers<Service>>;
  endpointSlices: Required<Handlers<EndpointSlice>>;
  /** Needed only where the zone answers for pods that are "verified". */
  pods: Required<Handlers<Pod>>;
}

/**
 * Turns the events of informers into changes of a zone. They may come in any order of the kinds. An object that cannot be
 * in the DNS is logged, and what was known of it before stays.
 */
export function zoneHandlers(zone: Zone, log: Log = silentLog): ZoneHandlers {
  const handlers = <T extends KubeObject>(
    kind: string,
    set: (object: T) => void,
    remove: (namespace: string, name: string) => void,
  ): Required<Handlers<T>> => {
    const guarded = (object: T) => {
      try {
        set(object);
      } catch (error) {
        const { namespace, name } = object.metadata;
        log.warn("Cannot give an object names", { kind, namespace, name, error: explain(error) });
      }
    };
    return {
      add: guarded,
      update: guarded,
      delete: ({ metadata }) => remove(metadata.namespace ?? "default", metadata.name),
    };
  };
  const setSlice = (slice: EndpointSlice) => {
    const records = dnsEndpointSlice(slice);
    if (records !== undefined) zone.setEndpointSlice(records);
    else zone.deleteEndpointSlice(slice.metadata.namespace ?? "default", slice.metadata.name);
  };
  const setPod = (pod: Pod) => {
    const records = dnsPod(pod);
    if (records !== undefined) zone.setPod(records);
    else zone.deletePod(pod.metadata.namespace ?? "default", pod.metadata.name);
  };
  return {
    namespaces: handlers<Namespace>(
      "Namespace",
      ({ metadata }) => zone.setNamespace(metadata.name),
      (_, name) => zone.deleteNamespace(name),
    ),
    services: handlers<Service>(
      "Service",
      (service) => zone.setService(dnsService(service)),
      (namespace, name) => zone.deleteService(namespace, name),
    ),
    endpointSlices: handlers("EndpointSlice", setSlice, (namespace, name) =>
      zone.deleteEndpointSlice(namespace, name),
    ),
    pods: handlers("Pod", setPod, (namespace, name) => zone.deletePod(namespace, name)),
  };
}
