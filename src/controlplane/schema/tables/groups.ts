import type { Table } from "../notation.ts";

/** apps/v1. Notation: see notation.ts. */
export const appsTable: Table = {
  prefix: "io.k8s.api.apps.v1",
  text: `
Deployment
  apiVersion, kind: string
  metadata: ObjectMeta
  spec: DeploymentSpec!
  status: DeploymentStatus ={}
DeploymentSpec
  replicas: int =1 0..
  selector: LabelSelector!
  template: PodTemplateSpec!
  strategy: DeploymentStrategy ={} retainKeys
  minReadySeconds: int 0..
  revisionHistoryLimit: int =10 0..
  progressDeadlineSeconds: int =600 0..
  paused: bool
DeploymentStrategy
  type: string ="RollingUpdate" in(Recreate,RollingUpdate)
  rollingUpdate: RollingUpdate
RollingUpdate
  maxUnavailable, maxSurge: intstr check=percent
DeploymentStatus
  observedGeneration: long
  replicas, updatedReplicas, readyReplicas, availableReplicas, unavailableReplicas, terminatingReplicas, collisionCount: int
  conditions: [DeploymentCondition] key=type
DeploymentCondition
  type, status: string!
  lastUpdateTime, lastTransitionTime: time
  reason, message: string
ReplicaSet
  apiVersion, kind: string
  metadata: ObjectMeta
  spec: ReplicaSetSpec!
  status: ReplicaSetStatus ={"replicas":0}
ReplicaSetSpec
  replicas: int =1 0..
  minReadySeconds: int 0..
  selector: LabelSelector!
  template: PodTemplateSpec
ReplicaSetStatus
  replicas: int!
  fullyLabeledReplicas, readyReplicas, availableReplicas, terminatingReplicas: int
  observedGeneration: long
  conditions: [Condition] key=type
DaemonSet
  apiVersion, kind: string
  metadata: ObjectMeta
  spec: DaemonSetSpec!
  status: DaemonSetStatus ={"currentNumberScheduled":0,"numberMisscheduled":0,"desiredNumberScheduled":0,"numberReady":0}
DaemonSetSpec
  selector: LabelSelector!
  template: PodTemplateSpec!
  updateStrategy: DaemonSetUpdateStrategy ={}
  minReadySeconds: int 0..
  revisionHistoryLimit: int =10 0..
DaemonSetUpdateStrategy
  type: string ="RollingUpdate" in(RollingUpdate,OnDelete)
  rollingUpdate: RollingUpdate
DaemonSetStatus
  currentNumberScheduled, numberMisscheduled, desiredNumberScheduled, numberReady: int!
  observedGeneration: long
  updatedNumberScheduled, numberAvailable, numberUnavailable, collisionCount: int
  conditions: [Condition] key=type
StatefulSet
  apiVersion, kind: string
  metadata: ObjectMeta
  spec: StatefulSetSpec!
  status: StatefulSetStatus ={"replicas":0}
StatefulSetSpec
  replicas: int =1 0..
  selector: LabelSelector!
  template: PodTemplateSpec!
  volumeClaimTemplates: [object] atomic
  serviceName: string
  podManagementPolicy: string ="OrderedReady" in(OrderedReady,Parallel)
  updateStrategy: StatefulSetUpdateStrategy ={}
  revisionHistoryLimit: int =10 0..
  minReadySeconds: int 0..
  persistentVolumeClaimRetentionPolicy: StatefulSetClaimRetention ={}
  ordinals: StatefulSetOrdinals
StatefulSetUpdateStrategy
  type: string ="RollingUpdate" in(RollingUpdate,OnDelete)
  rollingUpdate: RollingUpdateStatefulSet
RollingUpdateStatefulSet
  partition: int 0..
  maxUnavailable: intstr check=percent
StatefulSetClaimRetention
  whenDeleted, whenScaled: string ="Retain" in(Retain,Delete)
StatefulSetOrdinals
  start: int! 0..
StatefulSetStatus
  observedGeneration: long
  replicas: int!
  readyReplicas, currentReplicas, updatedReplicas, availableReplicas, collisionCount: int
  currentRevision, updateRevision: string
  conditions: [Condition] key=type
ControllerRevision
  apiVersion, kind: string
  metadata: ObjectMeta
  data: object
  revision: long!
`,
};

/** networking.k8s.io/v1. */
export const networkingTable: Table = {
  prefix: "io.k8s.api.networking.v1",
  text: `
NetworkPolicy
  apiVersion, kind: string
  metadata: ObjectMeta
  spec: NetworkPolicySpec ={}
NetworkPolicySpec
  podSelector: LabelSelector ={}
  ingress: [NetworkPolicyIngressRule] atomic
  egress: [NetworkPolicyEgressRule] atomic
  policyTypes: [string] atomic in(Ingress,Egress)
NetworkPolicyIngressRule
  ports: [NetworkPolicyPort] atomic
  from: [NetworkPolicyPeer] atomic
NetworkPolicyEgressRule
  ports: [NetworkPolicyPort] atomic
  to: [NetworkPolicyPeer] atomic
NetworkPolicyPort
  protocol: string ="TCP" in(TCP,UDP,SCTP)
  port: intstr check=port
  endPort: int 1..65535
NetworkPolicyPeer
  podSelector, namespaceSelector: LabelSelector
  ipBlock: IPBlock
IPBlock
  cidr: string! check=cidr
  except: [string] atomic check=cidr
Ingress
  apiVersion, kind: string
  metadata: ObjectMeta
  spec: IngressSpec ={}
  status: IngressStatus ={}
IngressSpec
  ingressClassName: string
  defaultBackend: IngressBackend
  tls: [IngressTLS] atomic
  rules: [IngressRule] atomic
IngressBackend
  service: IngressServiceBackend
  resource: object
IngressServiceBackend
  name: string!
  port: ServiceBackendPort
ServiceBackendPort atomic
  name: string
  number: int 0..65535
IngressTLS
  hosts: [string] atomic
  secretName: string
IngressRule
  host: string
  http: HTTPIngressRuleValue
HTTPIngressRuleValue
  paths: [HTTPIngressPath]! atomic
HTTPIngressPath
  path: string
  pathType: string! in(Exact,ImplementationSpecific,Prefix)
  backend: IngressBackend!
IngressStatus
  loadBalancer: object ={}
IngressClass
  apiVersion, kind: string
  metadata: ObjectMeta
  spec: IngressClassSpec ={}
IngressClassSpec
  controller: string
  parameters: object
`,
};

/** discovery.k8s.io/v1. */
export const discoveryTable: Table = {
  prefix: "io.k8s.api.discovery.v1",
  text: `
EndpointSlice
  apiVersion, kind: string
  metadata: ObjectMeta
  addressType: string! in(IPv4,IPv6,FQDN)
  endpoints: [Endpoint] =[] atomic
  ports: [EndpointPort] atomic
Endpoint
  addresses: [string]! set
  conditions: EndpointConditions ={}
  hostname, nodeName, zone: string
  targetRef: ObjectReference
  deprecatedTopology: {string}
  hints: EndpointHints
EndpointConditions
  ready, serving, terminating: bool
EndpointHints
  forZones: [ForZone] atomic
  forNodes: [ForZone] atomic
ForZone
  name: string!
EndpointPort
  name: string =""
  protocol: string ="TCP" in(TCP,UDP,SCTP)
  port: int 1..65535
  appProtocol: string
`,
};

/** events.k8s.io/v1. */
export const eventsTable: Table = {
  prefix: "io.k8s.api.events.v1",
  text: `
Event
  apiVersion, kind: string
  metadata: ObjectMeta
  eventTime: microtime
  series: EventSeries
  reportingController, reportingInstance, action, reason, note, type: string
  regarding, related: ObjectReference
  deprecatedSource: EventSource
  deprecatedFirstTimestamp, deprecatedLastTimestamp: time
  deprecatedCount: int
`,
};

/** coordination.k8s.io/v1. */
export const coordinationTable: Table = {
  prefix: "io.k8s.api.coordination.v1",
  text: `
Lease
  apiVersion, kind: string
  metadata: ObjectMeta
  spec: LeaseSpec ={}
LeaseSpec
  holderIdentity, strategy, preferredHolder: string
  leaseDurationSeconds: int 1..
  leaseTransitions: int 0..
  acquireTime, renewTime: microtime
`,
};

/** rbac.authorization.k8s.io/v1: kept so that manifests apply; every known user may do everything. */
export const rbacTable: Table = {
  prefix: "io.k8s.api.rbac.v1",
  text: `
Role
  apiVersion, kind: string
  metadata: ObjectMeta
  rules: [PolicyRule] atomic
ClusterRole
  apiVersion, kind: string
  metadata: ObjectMeta
  rules: [PolicyRule] atomic
  aggregationRule: object
PolicyRule
  verbs: [string]! atomic
  apiGroups, resources, resourceNames, nonResourceURLs: [string] atomic
RoleBinding
  apiVersion, kind: string
  metadata: ObjectMeta
  subjects: [Subject] atomic
  roleRef: RoleRef!
ClusterRoleBinding
  apiVersion, kind: string
  metadata: ObjectMeta
  subjects: [Subject] atomic
  roleRef: RoleRef!
Subject atomic
  kind, name: string!
  apiGroup, namespace: string
RoleRef atomic
  kind, name: string!
  apiGroup: string ="rbac.authorization.k8s.io"
`,
};

/** policy/v1. */
export const policyTable: Table = {
  prefix: "io.k8s.api.policy.v1",
  text: `
PodDisruptionBudget
  apiVersion, kind: string
  metadata: ObjectMeta
  spec: PodDisruptionBudgetSpec ={}
  status: object ={}
PodDisruptionBudgetSpec
  minAvailable, maxUnavailable: intstr check=percent
  selector: LabelSelector
  unhealthyPodEvictionPolicy: string
Eviction
  apiVersion, kind: string
  metadata: ObjectMeta
  deleteOptions: object
`,
};

/** apiextensions.k8s.io/v1. The schema of a version is checked by crd/structural.ts. */
export const apiextensionsTable: Table = {
  prefix: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
  text: `
CustomResourceDefinition
  apiVersion, kind: string
  metadata: ObjectMeta
  spec: CustomResourceDefinitionSpec!
  status: CustomResourceDefinitionStatus
CustomResourceDefinitionSpec
  group: string!
  names: CustomResourceDefinitionNames!
  scope: string! in(Cluster,Namespaced)
  versions: [CustomResourceDefinitionVersion]! atomic
  conversion: CustomResourceConversion ={"strategy":"None"}
  preserveUnknownFields: bool
CustomResourceDefinitionNames
  plural, kind: string!
  singular, listKind: string
  shortNames, categories: [string] atomic
CustomResourceDefinitionVersion
  name: string!
  served, storage: bool!
  deprecated: bool
  deprecationWarning: string
  schema: CustomResourceValidation
  subresources: CustomResourceSubresources
  additionalPrinterColumns: [CustomResourceColumnDefinition] atomic
  selectableFields: [SelectableField] atomic
CustomResourceValidation
  openAPIV3Schema: object
CustomResourceSubresources
  status: object
  scale: CustomResourceSubresourceScale
CustomResourceSubresourceScale
  specReplicasPath, statusReplicasPath: string!
  labelSelectorPath: string
CustomResourceColumnDefinition
  name, type, jsonPath: string!
  format, description: string
  priority: int
SelectableField
  jsonPath: string!
CustomResourceConversion
  strategy: string! in(None,Webhook)
  webhook: object
CustomResourceDefinitionStatus
  conditions: [Condition] key=type keys=type
  acceptedNames: CustomResourceDefinitionNames
  storedVersions: [string] atomic
  observedGeneration: long
`,
};

/** autoscaling/v1: the body of a scale subresource. */
export const autoscalingTable: Table = {
  prefix: "io.k8s.api.autoscaling.v1",
  text: `
Scale
  apiVersion, kind: string
  metadata: ObjectMeta
  spec: ScaleSpec ={}
  status: ScaleStatus
ScaleSpec
  replicas: int 0..
ScaleStatus
  replicas: int!
  selector: string
`,
};
