import type {
  ControllerRevision,
  DaemonSet,
  Deployment,
  EndpointSlice,
  KubeObject,
  Lease,
  NetworkPolicy,
  ReplicaSet,
  StatefulSet,
} from "../../kube/types.ts";
import { arrayAt, numberAt, stringAt } from "../objects.ts";
import type { Column } from "../resources/definition.ts";
import {
  ageColumn,
  column,
  countColumn,
  createdColumn,
  nameColumn,
  selectorText,
  templateColumns,
  wide,
} from "./columns.ts";
import { shortened } from "./core.ts";

export const deploymentColumns: readonly Column<Deployment>[] = [
  nameColumn,
  column("Ready", ({ spec, status }) => `${status?.readyReplicas ?? 0}/${spec.replicas ?? 1}`),
  countColumn("Up-to-date", ({ status }) => status?.updatedReplicas ?? 0),
  countColumn("Available", ({ status }) => status?.availableReplicas ?? 0),
  ageColumn,
  ...templateColumns<Deployment>(),
];

export const replicaSetColumns: readonly Column<ReplicaSet>[] = [
  nameColumn,
  countColumn("Desired", ({ spec }) => spec.replicas ?? 1),
  countColumn("Current", ({ status }) => status?.replicas ?? 0),
  countColumn("Ready", ({ status }) => status?.readyReplicas ?? 0),
  ageColumn,
  ...templateColumns<ReplicaSet>(),
];

export const daemonSetColumns: readonly Column<DaemonSet>[] = [
  nameColumn,
  countColumn("Desired", ({ status }) => status?.desiredNumberScheduled ?? 0),
  countColumn("Current", ({ status }) => status?.currentNumberScheduled ?? 0),
  countColumn("Ready", ({ status }) => status?.numberReady ?? 0),
  countColumn("Up-to-date", ({ status }) => status?.updatedNumberScheduled ?? 0),
  countColumn("Available", ({ status }) => status?.numberAvailable ?? 0),
  column("Node Selector", ({ spec }) => selectorText({ matchLabels: spec.template.spec.nodeSelector ?? {} })),
  ageColumn,
  ...templateColumns<DaemonSet>(),
];

export const statefulSetColumns: readonly Column<StatefulSet>[] = [
  nameColumn,
  column("Ready", ({ spec, status }) => `${status?.readyReplicas ?? 0}/${spec.replicas ?? 1}`),
  ageColumn,
  ...templateColumns<StatefulSet>().slice(0, 2),
];

export const controllerRevisionColumns: readonly Column<ControllerRevision>[] = [
  nameColumn,
  column("Controller", ({ metadata }) => {
    const owner = metadata.ownerReferences?.find(({ controller }) => controller === true);
    if (owner === undefined) return "<none>";
    const group = owner.apiVersion.includes("/") ? `.${owner.apiVersion.split("/")[0]}` : "";
    return `${owner.kind.toLowerCase()}${group}/${owner.name}`;
  }),
  countColumn("Revision", ({ revision }) => revision),
  ageColumn,
];

export const endpointSliceColumns: readonly Column<EndpointSlice>[] = [
  nameColumn,
  column("AddressType", ({ addressType }) => addressType),
  column("Ports", ({ ports }) =>
    shortened(
      (ports ?? []).map(({ port }) => String(port ?? "*")),
      "<unset>",
    ),
  ),
  column("Endpoints", ({ endpoints }) =>
    shortened(
      endpoints.flatMap(({ addresses }) => addresses),
      "<unset>",
    ),
  ),
  ageColumn,
];

export const networkPolicyColumns: readonly Column<NetworkPolicy>[] = [
  nameColumn,
  column("Pod-Selector", ({ spec }) => selectorText(spec.podSelector)),
  ageColumn,
];

export const ingressColumns: readonly Column<KubeObject>[] = [
  nameColumn,
  column("Class", (ingress) => stringAt(ingress, "spec", "ingressClassName") ?? "<none>"),
  column("Hosts", (ingress) => {
    const hosts = arrayAt(ingress, "spec", "rules").map((rule) => stringAt(rule, "host") ?? "");
    return shortened(
      hosts.filter((host) => host !== ""),
      "*",
    );
  }),
  column("Address", (ingress) => {
    const points = arrayAt(ingress, "status", "loadBalancer", "ingress");
    return points.map((point) => stringAt(point, "ip") ?? stringAt(point, "hostname") ?? "").join(",");
  }),
  column("Ports", (ingress) => (arrayAt(ingress, "spec", "tls").length > 0 ? "80, 443" : "80")),
  ageColumn,
];

export const ingressClassColumns: readonly Column<KubeObject>[] = [
  nameColumn,
  column("Controller", (ingressClass) => stringAt(ingressClass, "spec", "controller") ?? ""),
  column("Parameters", (ingressClass) => {
    const kind = stringAt(ingressClass, "spec", "parameters", "kind");
    const name = stringAt(ingressClass, "spec", "parameters", "name");
    return kind === undefined ? "<none>" : `${kind}/${name}`;
  }),
  ageColumn,
];

export const leaseColumns: readonly Column<Lease>[] = [
  nameColumn,
  column("Holder", ({ spec }) => spec?.holderIdentity ?? ""),
  ageColumn,
];

export const roleColumns: readonly Column<KubeObject>[] = [nameColumn, createdColumn];

export const roleBindingColumns: readonly Column<KubeObject>[] = [
  nameColumn,
  column(
    "Role",
    (binding) => `${stringAt(binding, "roleRef", "kind")}/${stringAt(binding, "roleRef", "name")}`,
  ),
  ageColumn,
  ...["User", "Group", "ServiceAccount"].map((kind) =>
    wide<KubeObject>(`${kind}s`, (binding) => {
      const subjects = arrayAt(binding, "subjects").filter((subject) => stringAt(subject, "kind") === kind);
      return subjects
        .map((subject) =>
          [stringAt(subject, "namespace"), stringAt(subject, "name")].filter(Boolean).join("/"),
        )
        .join(", ");
    }),
  ),
];

export const disruptionBudgetColumns: readonly Column<KubeObject>[] = [
  nameColumn,
  column("Min Available", (budget) => intOrString(budget, "minAvailable")),
  column("Max Unavailable", (budget) => intOrString(budget, "maxUnavailable")),
  countColumn("Allowed Disruptions", (budget) => numberAt(budget, "status", "disruptionsAllowed")),
  ageColumn,
];

function intOrString(budget: KubeObject, key: string): string {
  const spec = (budget as { spec?: Record<string, unknown> }).spec;
  return String(spec?.[key] ?? "N/A");
}

export const definitionColumns: readonly Column<KubeObject>[] = [nameColumn, createdColumn];
