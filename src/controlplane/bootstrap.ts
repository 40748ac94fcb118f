import type { Service } from "../kube/types.ts";
import { Ip } from "../lib/ip.ts";
import type { Cluster } from "./cluster.ts";
import type { ApiObject, Dict } from "./objects.ts";
import type { ResourceType } from "./resources/definition.ts";
import { createObject } from "./write/create.ts";
import type { WriteOptions } from "./write/prepare.ts";
import { updateObject } from "./write/update.ts";

const namespaces = ["default", "kube-system", "kube-public", "kube-node-lease"];

const options = (): WriteOptions => ({
  dryRun: false,
  fieldManager: "kube-apiserver",
  fieldValidation: "Ignore",
  warnings: [],
});

/** Where pods reach the API server: the endpoints of the Service `kubernetes`. */
export interface Advertised {
  readonly addresses: readonly Ip[];
  readonly port: number;
}

/** Makes what every cluster has from its start. What is there already stays. */
export function bootstrap(cluster: Cluster): void {
  for (const name of namespaces) {
    ensure(cluster, "", "namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name } });
  }
  const [cidr] = cluster.allocator.cidrs;
  if (cidr === undefined) return;
  ensure(cluster, "", "services", {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      name: "kubernetes",
      namespace: "default",
      labels: { component: "apiserver", provider: "kubernetes" },
    },
    spec: {
      clusterIP: Ip.fromBigInt(cidr.first + 1n, cidr.family).toString(),
      ports: [{ name: "https", port: 443, protocol: "TCP", targetPort: 6443 }],
    },
  });
}

/** Points the Service `kubernetes` at where the server listens now. */
export function advertise(cluster: Cluster, { addresses, port }: Advertised): void {
  const service = typeOf(cluster, "", "services");
  const target = { namespace: "default", name: "kubernetes", subresource: "" };
  const spec = (current: ApiObject) => current.spec as Service["spec"];
  updateObject(
    cluster,
    service,
    target,
    (current) => {
      for (const entry of spec(current).ports ?? []) entry.targetPort = port;
      return current;
    },
    options(),
  );
  const family = cluster.allocator.cidrs[0]?.family;
  const usable = addresses.filter((address) => address.family === family).map(String);
  const metadata = { name: "kubernetes", namespace: "default" };
  const ports = [{ name: "https", port, protocol: "TCP" }];
  set(cluster, "", "endpoints", {
    apiVersion: "v1",
    kind: "Endpoints",
    metadata: { ...metadata, labels: { "endpointslice.kubernetes.io/skip-mirror": "true" } },
    subsets: usable.length === 0 ? [] : [{ addresses: usable.map((ip) => ({ ip })), ports }],
  });
  set(cluster, "discovery.k8s.io", "endpointslices", {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { ...metadata, labels: { "kubernetes.io/service-name": "kubernetes" } },
    addressType: family === 6 ? "IPv6" : "IPv4",
    endpoints: usable.map((address) => ({ addresses: [address], conditions: { ready: true } })),
    ports,
  });
}

function typeOf(cluster: Cluster, group: string, plural: string): ResourceType {
  const type = cluster.registry.get(group, "v1", plural);
  if (type === undefined) throw new TypeError(`"${plural}" is not served`);
  return type;
}

function ensure(cluster: Cluster, group: string, plural: string, object: ApiObject): boolean {
  const type = typeOf(cluster, group, plural);
  const namespace = object.metadata.namespace ?? "";
  if (cluster.store.get(type.storage, namespace, object.metadata.name) !== undefined) return false;
  createObject(cluster, type, namespace, object, options());
  return true;
}

function set(cluster: Cluster, group: string, plural: string, object: ApiObject): void {
  if (ensure(cluster, group, plural, structuredClone(object))) return;
  const { namespace = "", name } = object.metadata;
  const target = { namespace, name, subresource: "" };
  const change = (current: ApiObject): Dict => ({
    ...object,
    metadata: { ...current.metadata, labels: object.metadata.labels ?? {} },
  });
  updateObject(cluster, typeOf(cluster, group, plural), target, change, options());
}
