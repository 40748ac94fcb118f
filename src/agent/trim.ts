/**
 * What the agent keeps of each object: a cluster's worth of them lies in every agent's memory. Only what some feature
 * reads; what many objects have in common is kept once.
 */
import type {
  Endpoint,
  EndpointPort,
  EndpointSlice,
  KubeObject,
  Namespace,
  Node,
  ObjectMeta,
  Pod,
  Service,
  ServicePort,
} from "../kube/types.ts";

/** The labels that features ask for. */
const labelNames = [
  "kubernetes.io/service-name",
  "service.kubernetes.io/headless",
  "service.kubernetes.io/service-proxy-name",
  "topology.kubernetes.io/zone",
] as const;

/** The given fields of an object, where it has them. */
function pick<T extends object, K extends keyof T>(object: T, ...names: readonly K[]): Pick<T, K> {
  const kept: Partial<Pick<T, K>> = {};
  for (const name of names) {
    const value = object[name];
    if (value !== undefined && value !== null) kept[name] = value;
  }
  return kept as Pick<T, K>;
}

const texts = new Map<string, string>();

/** The same text for equal texts: for such as few objects differ in, since what is kept here is kept for ever. */
function shared(text: string): string {
  const known = texts.get(text);
  if (known === undefined) texts.set(text, text);
  return known ?? text;
}

function trimMeta(meta: ObjectMeta): ObjectMeta {
  const kept: ObjectMeta = pick(meta, "name", "namespace", "uid", "resourceVersion", "deletionTimestamp");
  if (kept.namespace !== undefined) kept.namespace = shared(kept.namespace);
  const labels = pick(meta.labels ?? {}, ...labelNames);
  if (Object.keys(labels).length > 0) kept.labels = labels;
  return kept;
}

/** The kind and version, the same for all of a list. */
function trimType({ apiVersion, kind }: KubeObject): Pick<KubeObject, "apiVersion" | "kind"> {
  return {
    ...(apiVersion !== undefined && { apiVersion: shared(apiVersion) }),
    ...(kind !== undefined && { kind: shared(kind) }),
  };
}

/** The name alone. */
export function trimNamespace(namespace: Namespace): Namespace {
  return { ...trimType(namespace), metadata: trimMeta(namespace.metadata) };
}

/** Name, zone, podCIDRs and addresses. */
export function trimNode(node: Node): Node {
  return {
    ...trimType(node),
    metadata: trimMeta(node.metadata),
    spec: pick(node.spec ?? {}, "podCIDR", "podCIDRs"),
    status: pick(node.status ?? {}, "addresses"),
  };
}

/** How it is reached and balanced; not which pods it selects, which its slices tell. */
export function trimService(service: Service): Service {
  const { ports, ...spec } = pick(
    service.spec,
    "type",
    "ports",
    "clusterIP",
    "clusterIPs",
    "externalName",
    "externalIPs",
    "externalTrafficPolicy",
    "internalTrafficPolicy",
    "publishNotReadyAddresses",
    "sessionAffinity",
    "sessionAffinityConfig",
    "loadBalancerSourceRanges",
  );
  const { loadBalancer } = service.status ?? {};
  return {
    ...trimType(service),
    metadata: {
      ...trimMeta(service.metadata),
      // The older of two Services keeps an address that both want.
      ...pick(service.metadata, "creationTimestamp"),
    },
    spec: { ...spec, ...(ports !== undefined && { ports: ports.map(trimServicePort) }) },
    ...(loadBalancer?.ingress !== undefined && { status: { loadBalancer } }),
  };
}

function trimServicePort(port: ServicePort): ServicePort {
  const kept: ServicePort = pick(port, "name", "protocol", "port", "nodePort");
  if (kept.protocol !== undefined) kept.protocol = shared(kept.protocol) as typeof kept.protocol;
  return kept;
}

/** Its Service, and the endpoints with what chooses among them. */
export function trimSlice(slice: EndpointSlice): EndpointSlice {
  const { ports, endpoints } = slice;
  return {
    ...trimType(slice),
    metadata: trimMeta(slice.metadata),
    addressType: shared(slice.addressType) as EndpointSlice["addressType"],
    // Such as null for none, as the API writes it.
    endpoints: (endpoints ?? []).map(trimEndpoint),
    ...(ports && { ports: ports.map(trimEndpointPort) }),
  };
}

const conditionsKept = new Map<string, Endpoint["conditions"]>();

function trimEndpoint(endpoint: Endpoint): Endpoint {
  const kept: Endpoint = pick(endpoint, "addresses", "hostname", "nodeName", "hints");
  if (kept.nodeName !== undefined) kept.nodeName = shared(kept.nodeName);
  if (endpoint.conditions) {
    const conditions = pick(endpoint.conditions, "ready", "serving", "terminating");
    const key = JSON.stringify(conditions);
    const known = conditionsKept.get(key);
    if (known === undefined) conditionsKept.set(key, conditions);
    kept.conditions = known ?? conditions;
  }
  return kept;
}

function trimEndpointPort(port: EndpointPort): EndpointPort {
  const kept: EndpointPort = pick(port, "name", "protocol", "port");
  if (kept.protocol !== undefined) kept.protocol = shared(kept.protocol) as typeof kept.protocol;
  return kept;
}

/** Name, node, host names and addresses. */
export function trimPod(pod: Pod): Pod {
  return {
    ...trimType(pod),
    metadata: trimMeta(pod.metadata),
    spec: { containers: [], ...pick(pod.spec, "nodeName", "hostNetwork", "hostname", "subdomain") },
    status: pick(pod.status ?? {}, "phase", "podIP", "podIPs"),
  };
}
