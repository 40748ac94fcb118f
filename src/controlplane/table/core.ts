import type {
  ConfigMap,
  Endpoints,
  Event,
  KubeObject,
  Namespace,
  Node,
  Secret,
  Service,
  ServiceAccount,
} from "../../kube/types.ts";
import type { Column } from "../resources/definition.ts";
import { ageColumn, column, countColumn, nameColumn, since, wide } from "./columns.ts";

const size = (map: object | undefined) => Object.keys(map ?? {}).length;

export const namespaceColumns: readonly Column<Namespace>[] = [
  nameColumn,
  column("Status", (namespace) => namespace.status?.phase ?? ""),
  ageColumn,
];

export const nodeColumns: readonly Column<Node>[] = [
  nameColumn,
  column("Status", nodeStatus),
  column("Roles", nodeRoles),
  ageColumn,
  column("Version", (node) => nodeInfo(node, "kubeletVersion")),
  wide("Internal-IP", (node) => nodeAddress(node, "InternalIP")),
  wide("External-IP", (node) => nodeAddress(node, "ExternalIP")),
  wide("OS-Image", (node) => nodeInfo(node, "osImage") || "<unknown>"),
  wide("Kernel-Version", (node) => nodeInfo(node, "kernelVersion") || "<unknown>"),
  wide("Container-Runtime", (node) => nodeInfo(node, "containerRuntimeVersion") || "<unknown>"),
];

const nodeInfo = (node: Node, key: string) => String(node.status?.nodeInfo?.[key] ?? "");
const nodeAddress = (node: Node, type: string) =>
  node.status?.addresses?.find((address) => address.type === type)?.address ?? "<none>";

function nodeStatus(node: Node): string {
  const ready = node.status?.conditions?.find(({ type }) => type === "Ready");
  const words = [ready === undefined ? "Unknown" : ready.status === "True" ? "Ready" : "NotReady"];
  if (node.spec?.unschedulable === true) words.push("SchedulingDisabled");
  return words.join(",");
}

function nodeRoles(node: Node): string {
  const prefix = "node-role.kubernetes.io/";
  const labels = Object.entries(node.metadata.labels ?? {});
  const roles = labels.flatMap(([key, value]) => {
    if (key.startsWith(prefix) && key.length > prefix.length) return [key.slice(prefix.length)];
    return key === "kubernetes.io/role" && value !== "" ? [value] : [];
  });
  return [...new Set(roles)].sort().join(",") || "<none>";
}

export const serviceColumns: readonly Column<Service>[] = [
  nameColumn,
  column("Type", ({ spec }) => spec.type ?? ""),
  column("Cluster-IP", ({ spec }) => spec.clusterIPs?.[0] ?? (spec.clusterIP || "<none>")),
  column("External-IP", externalIps),
  column("Port(s)", ({ spec }) => {
    const ports = (spec.ports ?? []).map(({ port, nodePort, protocol }) =>
      nodePort ? `${port}:${nodePort}/${protocol}` : `${port}/${protocol}`,
    );
    return ports.join(",") || "<none>";
  }),
  ageColumn,
  wide("Selector", ({ spec }) => pairs(spec.selector)),
];

const pairs = (map: Record<string, string> | undefined) =>
  Object.entries(map ?? {})
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(",") || "<none>";

function externalIps({ spec, status }: Service): string {
  const external = spec.externalIPs ?? [];
  if (spec.type === "ExternalName") return spec.externalName ?? "<none>";
  if (spec.type !== "LoadBalancer") return external.join(",") || "<none>";
  const ingress = (status?.loadBalancer?.ingress ?? []).map(({ ip, hostname }) => ip ?? hostname ?? "");
  return [...ingress, ...external].filter((text) => text !== "").join(",") || "<pending>";
}

export const endpointsColumns: readonly Column<Endpoints>[] = [
  nameColumn,
  column("Endpoints", (endpoints) => {
    const all = (endpoints.subsets ?? []).flatMap(({ addresses = [], ports = [] }) => {
      if (ports.length === 0) return addresses.map(({ ip }) => ip);
      return ports.flatMap(({ port }) => addresses.map(({ ip }) => hostPort(ip, port)));
    });
    return shortened(all);
  }),
  ageColumn,
];

const hostPort = (ip: string, port: number) => (ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`);

/** The first three, and how many more there are. */
export function shortened(items: readonly string[], none = "<none>"): string {
  if (items.length === 0) return none;
  if (items.length <= 3) return items.join(",");
  return `${items.slice(0, 3).join(",")} + ${items.length - 3} more...`;
}

export const configMapColumns: readonly Column<ConfigMap>[] = [
  nameColumn,
  countColumn("Data", (map) => size(map.data) + size(map.binaryData)),
  ageColumn,
];

export const secretColumns: readonly Column<Secret>[] = [
  nameColumn,
  column("Type", (secret) => secret.type ?? ""),
  countColumn("Data", (secret) => size(secret.data)),
  ageColumn,
];

export const serviceAccountColumns: readonly Column<ServiceAccount>[] = [
  nameColumn,
  countColumn("Secrets", (account) => account.secrets?.length ?? 0),
  ageColumn,
];

export const eventColumns: readonly Column<Event>[] = [
  column("Last Seen", (event, now) => since(lastSeen(event), now)),
  column("Type", (event) => event.type ?? ""),
  column("Reason", (event) => event.reason ?? ""),
  column("Object", ({ involvedObject: { kind, name } }) => `${(kind ?? "").toLowerCase()}/${name ?? ""}`),
  wide("Subobject", ({ involvedObject }) => involvedObject.fieldPath ?? ""),
  wide("Source", ({ source, reportingComponent, reportingInstance }) => {
    const parts = source?.component
      ? [source.component, source.host]
      : [reportingComponent, reportingInstance];
    return parts.filter(Boolean).join(", ");
  }),
  column("Message", (event) => (event.message ?? "").trim()),
  wide("First Seen", (event, now) => since(event.firstTimestamp ?? event.eventTime, now)),
  wide("Count", (event) => String(event.count ?? 1)),
  { ...(nameColumn as Column<KubeObject>), priority: 1 },
];

function lastSeen(event: Event): string | null | undefined {
  const { series } = event as { series?: { lastObservedTime?: string } };
  return series?.lastObservedTime ?? event.lastTimestamp ?? event.eventTime ?? event.firstTimestamp;
}
