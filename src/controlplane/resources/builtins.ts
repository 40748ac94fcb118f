import { formatLabelSelector } from "../../kube/selectors.ts";
import type {
  ConfigMap,
  ControllerRevision,
  CustomResourceDefinition,
  DaemonSet,
  Deployment,
  EndpointSlice,
  Endpoints,
  Event,
  KubeObject,
  Lease,
  Namespace,
  NetworkPolicy,
  Node,
  Pod,
  ReplicaSet,
  Secret,
  Service,
  ServiceAccount,
  StatefulSet,
} from "../../kube/types.ts";
import { definitionHooks } from "../crd/hooks.ts";
import { type ApiObject, dictAt } from "../objects.ts";
import { checkDns1035Label, checkDnsLabel, checkPathSegment } from "../schema/checks.ts";
import { defaultService } from "../services/defaults.ts";
import { validateService } from "../services/validate.ts";
import * as core from "../table/core.ts";
import * as groups from "../table/groups.ts";
import { podColumns } from "../table/pods.ts";
import { type BuiltinSpec, builtin, type ResourceType, type ScalePaths } from "./definition.ts";
import * as misc from "./misc.ts";
import { podHooks } from "./pods.ts";
import * as workloads from "./workloads.ts";

const v1 = <T extends KubeObject>(spec: BuiltinSpec<T>) => builtin("", "v1", "io.k8s.api.core.v1", spec);
const apps = <T extends KubeObject>(spec: BuiltinSpec<T>) =>
  builtin("apps", "v1", "io.k8s.api.apps.v1", spec);
const networking = <T extends KubeObject>(spec: BuiltinSpec<T>) =>
  builtin("networking.k8s.io", "v1", "io.k8s.api.networking.v1", spec);
const rbac = <T extends KubeObject>(spec: BuiltinSpec<T>) =>
  builtin("rbac.authorization.k8s.io", "v1", "io.k8s.api.rbac.v1", spec);

const workloadScale: ScalePaths = {
  specReplicas: ["spec", "replicas"],
  statusReplicas: ["status", "replicas"],
  selector: (object: ApiObject) => formatLabelSelector(dictAt(object, "spec", "selector")),
};

const all = ["all"];

/** The built-in resources: the one place where they are listed. Discovery, OpenAPI and routing follow from it. */
export const builtinResources: readonly ResourceType[] = [
  v1<Namespace>({
    plural: "namespaces",
    kind: "Namespace",
    shortNames: ["ns"],
    clusterScoped: true,
    status: true,
    columns: core.namespaceColumns,
    fields: { "status.phase": "" },
    checkName: checkDnsLabel,
    hooks: misc.namespaceHooks,
  }),
  v1<Node>({
    plural: "nodes",
    kind: "Node",
    shortNames: ["no"],
    clusterScoped: true,
    status: true,
    keepsStatus: true,
    columns: core.nodeColumns,
    fields: { "spec.unschedulable": "false" },
    hooks: misc.nodeHooks,
  }),
  v1<Pod>({
    plural: "pods",
    kind: "Pod",
    shortNames: ["po"],
    categories: all,
    status: true,
    generation: true,
    columns: podColumns,
    fields: {
      "spec.nodeName": "",
      "spec.restartPolicy": "",
      "spec.schedulerName": "",
      "spec.serviceAccountName": "",
      "spec.hostNetwork": "false",
      "status.phase": "",
      "status.podIP": "",
      "status.nominatedNodeName": "",
    },
    hooks: podHooks,
  }),
  v1<Service>({
    plural: "services",
    kind: "Service",
    shortNames: ["svc"],
    categories: all,
    status: true,
    columns: core.serviceColumns,
    fields: { "spec.clusterIP": "", "spec.type": "" },
    checkName: checkDns1035Label,
    hooks: {
      defaults: defaultService,
      prepareCreate: (service) => {
        service.status = { loadBalancer: {} };
      },
      validate: validateService,
    },
  }),
  v1<ConfigMap>({
    plural: "configmaps",
    kind: "ConfigMap",
    shortNames: ["cm"],
    columns: core.configMapColumns,
    hooks: misc.configMapHooks,
  }),
  v1<Secret>({
    plural: "secrets",
    kind: "Secret",
    columns: core.secretColumns,
    fields: { type: "" },
    hooks: misc.secretHooks,
  }),
  v1<ServiceAccount>({
    plural: "serviceaccounts",
    kind: "ServiceAccount",
    shortNames: ["sa"],
    columns: core.serviceAccountColumns,
  }),
  v1<Endpoints>({
    plural: "endpoints",
    kind: "Endpoints",
    shortNames: ["ep"],
    columns: core.endpointsColumns,
  }),
  v1<Event>({
    plural: "events",
    kind: "Event",
    shortNames: ["ev"],
    columns: core.eventColumns,
    fields: {
      "involvedObject.kind": "",
      "involvedObject.namespace": "",
      "involvedObject.name": "",
      "involvedObject.uid": "",
      "involvedObject.apiVersion": "",
      "involvedObject.resourceVersion": "",
      "involvedObject.fieldPath": "",
      reason: "",
      reportingComponent: "",
      type: "",
    },
    hooks: misc.eventHooks,
  }),
  builtin<KubeObject>("events.k8s.io", "v1", "io.k8s.api.events.v1", {
    plural: "events",
    kind: "Event",
    shortNames: ["ev"],
    storage: "events",
    storageVersion: "v1",
    // Tables are made of what is stored, which has core/v1's form.
    columns: core.eventColumns as BuiltinSpec<KubeObject>["columns"],
    hooks: misc.newEventHooks,
  }),
  apps<Deployment>({
    plural: "deployments",
    kind: "Deployment",
    shortNames: ["deploy"],
    categories: all,
    status: true,
    scale: workloadScale,
    generation: true,
    columns: groups.deploymentColumns,
    hooks: workloads.deploymentHooks,
  }),
  apps<ReplicaSet>({
    plural: "replicasets",
    kind: "ReplicaSet",
    shortNames: ["rs"],
    categories: all,
    status: true,
    scale: workloadScale,
    generation: true,
    columns: groups.replicaSetColumns,
    fields: { "status.replicas": "0" },
    hooks: workloads.replicaSetHooks,
  }),
  apps<DaemonSet>({
    plural: "daemonsets",
    kind: "DaemonSet",
    shortNames: ["ds"],
    categories: all,
    status: true,
    generation: true,
    columns: groups.daemonSetColumns,
    hooks: workloads.daemonSetHooks,
  }),
  apps<StatefulSet>({
    plural: "statefulsets",
    kind: "StatefulSet",
    shortNames: ["sts"],
    categories: all,
    status: true,
    scale: workloadScale,
    generation: true,
    columns: groups.statefulSetColumns,
    hooks: workloads.statefulSetHooks,
  }),
  apps<ControllerRevision>({
    plural: "controllerrevisions",
    kind: "ControllerRevision",
    columns: groups.controllerRevisionColumns,
    hooks: misc.revisionHooks,
  }),
  builtin<EndpointSlice>("discovery.k8s.io", "v1", "io.k8s.api.discovery.v1", {
    plural: "endpointslices",
    kind: "EndpointSlice",
    generation: true,
    columns: groups.endpointSliceColumns,
    hooks: misc.endpointSliceHooks,
  }),
  networking<NetworkPolicy>({
    plural: "networkpolicies",
    kind: "NetworkPolicy",
    shortNames: ["netpol"],
    generation: true,
    columns: groups.networkPolicyColumns,
    hooks: misc.networkPolicyHooks,
  }),
  networking<KubeObject>({
    plural: "ingresses",
    kind: "Ingress",
    shortNames: ["ing"],
    status: true,
    generation: true,
    columns: groups.ingressColumns,
  }),
  networking<KubeObject>({
    plural: "ingressclasses",
    kind: "IngressClass",
    clusterScoped: true,
    generation: true,
    columns: groups.ingressClassColumns,
  }),
  builtin<Lease>("coordination.k8s.io", "v1", "io.k8s.api.coordination.v1", {
    plural: "leases",
    kind: "Lease",
    columns: groups.leaseColumns,
  }),
  builtin<KubeObject>("policy", "v1", "io.k8s.api.policy.v1", {
    plural: "poddisruptionbudgets",
    kind: "PodDisruptionBudget",
    shortNames: ["pdb"],
    status: true,
    generation: true,
    columns: groups.disruptionBudgetColumns,
  }),
  builtin<CustomResourceDefinition>(
    "apiextensions.k8s.io",
    "v1",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
    {
      plural: "customresourcedefinitions",
      kind: "CustomResourceDefinition",
      shortNames: ["crd", "crds"],
      categories: ["api-extensions"],
      clusterScoped: true,
      status: true,
      generation: true,
      columns: groups.definitionColumns,
      hooks: definitionHooks,
    },
  ),
  rbac<KubeObject>({
    plural: "roles",
    kind: "Role",
    columns: groups.roleColumns,
    checkName: checkPathSegment,
  }),
  rbac<KubeObject>({
    plural: "rolebindings",
    kind: "RoleBinding",
    columns: groups.roleBindingColumns,
    checkName: checkPathSegment,
    hooks: misc.roleBindingHooks,
  }),
  rbac<KubeObject>({
    plural: "clusterroles",
    kind: "ClusterRole",
    clusterScoped: true,
    columns: groups.roleColumns,
    checkName: checkPathSegment,
  }),
  rbac<KubeObject>({
    plural: "clusterrolebindings",
    kind: "ClusterRoleBinding",
    clusterScoped: true,
    columns: groups.roleBindingColumns,
    checkName: checkPathSegment,
    hooks: misc.roleBindingHooks,
  }),
];
