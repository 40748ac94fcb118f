import { isIP } from "node:net";
import {
  type Endpoint,
  type EndpointAddress,
  type Endpoints,
  type IPFamily,
  keyOf,
  resources,
  type Service,
} from "../../kube/types.ts";
import type { Controller, ControllerContext } from "./controller.ts";
import { type EndpointGroup, planSlices } from "./endpoints.ts";
import { canonical } from "./hash.ts";
import { controllerReference } from "./pods.ts";
import { applySlices, managedBy, serviceName } from "./slices.ts";

const mirror = "endpointslicemirroring-controller.k8s.io";
const skip = "endpointslice.kubernetes.io/skip-mirror";

/** The endpoints that somebody wrote by hand, in the groups of EndpointSlices. */
export function mirroredGroups({ subsets = [] }: Endpoints): EndpointGroup[] {
  const groups = new Map<string, EndpointGroup>();
  for (const subset of subsets) {
    const ports = (subset.ports ?? []).map(({ name = "", protocol = "TCP", port, appProtocol }) => ({
      name,
      protocol,
      port,
      ...(appProtocol === undefined ? {} : { appProtocol }),
    }));
    const all = [
      ...(subset.addresses ?? []).map((address) => mirrored(address, true)),
      ...(subset.notReadyAddresses ?? []).map((address) => mirrored(address, false)),
    ];
    for (const endpoint of all) {
      const addressType: IPFamily = isIP(endpoint.addresses[0] as string) === 6 ? "IPv6" : "IPv4";
      const key = `${addressType} ${canonical(ports)}`;
      const group = groups.get(key) ?? { addressType, ports, endpoints: [] };
      groups.set(key, group);
      group.endpoints.push(endpoint);
    }
  }
  return [...groups.values()];
}

function mirrored({ ip, hostname, nodeName, targetRef }: EndpointAddress, ready: boolean): Endpoint {
  return {
    addresses: [ip],
    conditions: { ready },
    ...(hostname === undefined ? {} : { hostname }),
    ...(nodeName === undefined ? {} : { nodeName }),
    ...(targetRef === undefined ? {} : { targetRef }),
  };
}

/** Makes EndpointSlices of the Endpoints that people write for Services without selector. */
export const endpointMirror: Controller = {
  name: "endpoint-mirror",
  start(context) {
    const { informers, queue } = context;
    const work = queue((key) => sync(context, key));
    const add = ({ metadata }: Endpoints | Service) => work.add(keyOf(metadata));
    informers.of(resources.endpoints).on({ add, update: add, delete: add });
    informers.of(resources.services).on({ add, update: add, delete: add });
    informers.of(resources.endpointSlices);
  },
};

async function sync(context: ControllerContext, key: string): Promise<undefined> {
  const { informers } = context;
  const service = informers.of(resources.services).getByKey(key);
  const endpoints = informers.of(resources.endpoints).getByKey(key);
  if (endpoints === undefined) return;
  const { labels = {}, annotations = {} } = endpoints.metadata;
  const written =
    service !== undefined &&
    service.spec.type !== "ExternalName" &&
    Object.keys(service.spec.selector ?? {}).length === 0 &&
    labels[skip] !== "true" &&
    annotations["control-plane.alpha.kubernetes.io/leader"] === undefined;
  const groups = written ? mirroredGroups(endpoints) : [];
  const owner = controllerReference(resources.endpoints, endpoints);
  const own = { ...labels, [serviceName]: endpoints.metadata.name, [managedBy]: mirror };
  await applySlices(context, owner, endpoints.metadata, own, (existing) => planSlices([], groups, existing));
}
