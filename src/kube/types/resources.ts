import type {
  ConfigMap,
  Endpoints,
  Event,
  Namespace,
  Node,
  Pod,
  Secret,
  Service,
  ServiceAccount,
} from "./core.ts";
import type {
  ControllerRevision,
  CustomResourceDefinition,
  DaemonSet,
  Deployment,
  EndpointSlice,
  Lease,
  NetworkPolicy,
  ReplicaSet,
  StatefulSet,
} from "./groups.ts";
import type { KubeObject } from "./meta.ts";

declare const objectType: unique symbol;

/** Where the objects of one kind live in the API; `T` is the type of its objects. */
export interface Resource<T extends KubeObject = KubeObject> {
  /** "" for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Only for the type checker: ties the descriptor to its objects. */
  readonly [objectType]?: T;
}

/** A descriptor for a resource that is not in {@link resources}, such as a custom one. */
export function resource<T extends KubeObject>(
  group: string,
  version: string,
  plural: string,
  kind: string,
  namespaced: boolean,
): Resource<T> {
  return { group, version, plural, kind, namespaced };
}

/** The resources that Weft itself uses. */
export const resources = {
  configMaps: resource<ConfigMap>("", "v1", "configmaps", "ConfigMap", true),
  endpoints: resource<Endpoints>("", "v1", "endpoints", "Endpoints", true),
  events: resource<Event>("", "v1", "events", "Event", true),
  namespaces: resource<Namespace>("", "v1", "namespaces", "Namespace", false),
  nodes: resource<Node>("", "v1", "nodes", "Node", false),
  pods: resource<Pod>("", "v1", "pods", "Pod", true),
  secrets: resource<Secret>("", "v1", "secrets", "Secret", true),
  serviceAccounts: resource<ServiceAccount>("", "v1", "serviceaccounts", "ServiceAccount", true),
  services: resource<Service>("", "v1", "services", "Service", true),
  controllerRevisions: resource<ControllerRevision>(
    "apps",
    "v1",
    "controllerrevisions",
    "ControllerRevision",
    true,
  ),
  daemonSets: resource<DaemonSet>("apps", "v1", "daemonsets", "DaemonSet", true),
  deployments: resource<Deployment>("apps", "v1", "deployments", "Deployment", true),
  replicaSets: resource<ReplicaSet>("apps", "v1", "replicasets", "ReplicaSet", true),
  statefulSets: resource<StatefulSet>("apps", "v1", "statefulsets", "StatefulSet", true),
  endpointSlices: resource<EndpointSlice>("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true),
  leases: resource<Lease>("coordination.k8s.io", "v1", "leases", "Lease", true),
  networkPolicies: resource<NetworkPolicy>(
    "networking.k8s.io",
    "v1",
    "networkpolicies",
    "NetworkPolicy",
    true,
  ),
  customResourceDefinitions: resource<CustomResourceDefinition>(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    false,
  ),
} as const;

/** "v1" or "apps/v1": what stands in an object's `apiVersion`. */
export function apiVersionOf(resource: Resource): string {
  return resource.group === "" ? resource.version : `${resource.group}/${resource.version}`;
}

/** "pods" or "deployments.apps": how messages and CustomResourceDefinitions name a resource. */
export function resourceName(resource: Resource): string {
  return resource.group === "" ? resource.plural : `${resource.plural}.${resource.group}`;
}

/** "namespace/name", or "name" for cluster-scoped objects: the key of caches and work queues. */
export function keyOf(ref: { name: string; namespace?: string }): string {
  return ref.namespace === undefined || ref.namespace === "" ? ref.name : `${ref.namespace}/${ref.name}`;
}

/** The inverse of {@link keyOf}. */
export function refOf(key: string): { name: string; namespace?: string } {
  const slash = key.indexOf("/");
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}
