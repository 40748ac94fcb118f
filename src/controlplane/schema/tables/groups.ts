import type { Table } from "../notation.ts";

/** events.k8s.io/v1. Notation: see notation.ts. */
export const eventsTable: Table = {
  prefix: "io.k8s.api.events.v1",
  text: `
Event
  apiVersion, kind: string
  metadata#1: ObjectMeta
  eventTime#2: microtime
  series#3: EventSeries
  reportingController#4, reportingInstance#5, action#6, reason#7: string
  regarding#8, related#9: ObjectReference
  note#10, type#11: string
  deprecatedSource#12: EventSource
  deprecatedFirstTimestamp#13, deprecatedLastTimestamp#14: time
  deprecatedCount#15: int
EventSeries
  count#1: int!
  lastObservedTime#2: microtime!
`,
};

/** coordination.k8s.io/v1. */
export const coordinationTable: Table = {
  prefix: "io.k8s.api.coordination.v1",
  text: `
Lease
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: LeaseSpec ={}
LeaseSpec
  holderIdentity#1: string?
  leaseDurationSeconds#2: int? 1..
  acquireTime#3, renewTime#4: microtime
  leaseTransitions#5: int? 0..
  strategy#6, preferredHolder#7: string?
`,
};

/** rbac.authorization.k8s.io/v1: kept so that manifests apply; every known user may do everything. */
export const rbacTable: Table = {
  prefix: "io.k8s.api.rbac.v1",
  text: `
Role
  apiVersion, kind: string
  metadata#1: ObjectMeta
  rules#2: [PolicyRule] atomic
RoleBinding
  apiVersion, kind: string
  metadata#1: ObjectMeta
  subjects#2: [Subject] atomic
  roleRef#3: RoleRef!
ClusterRole
  apiVersion, kind: string
  metadata#1: ObjectMeta
  rules#2: [PolicyRule] atomic
  aggregationRule#3: AggregationRule
ClusterRoleBinding
  apiVersion, kind: string
  metadata#1: ObjectMeta
  subjects#2: [Subject] atomic
  roleRef#3: RoleRef!
PolicyRule
  verbs#1: [string]! atomic
  apiGroups#2, resources#3, resourceNames#4, nonResourceURLs#5: [string] atomic
Subject atomic
  kind#1: string!
  apiGroup#2: string
  name#3: string!
  namespace#4: string
RoleRef atomic
  apiGroup#1: string ="rbac.authorization.k8s.io"
  kind#2, name#3: string!
AggregationRule
  clusterRoleSelectors#1: [LabelSelector] atomic
`,
};

/** authorization.k8s.io/v1. */
export const authorizationTable: Table = {
  prefix: "io.k8s.api.authorization.v1",
  text: `
SelfSubjectAccessReview
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: SelfSubjectAccessReviewSpec
  status#3: SubjectAccessReviewStatus
SubjectAccessReview
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: SubjectAccessReviewSpec
  status#3: SubjectAccessReviewStatus
LocalSubjectAccessReview
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: SubjectAccessReviewSpec
  status#3: SubjectAccessReviewStatus
SelfSubjectRulesReview
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: SelfSubjectRulesReviewSpec
  status#3: SubjectRulesReviewStatus
SelfSubjectAccessReviewSpec
  resourceAttributes#1: ResourceAttributes
  nonResourceAttributes#2: NonResourceAttributes
SubjectAccessReviewStatus
  allowed#1, denied#4: bool
  reason#2, evaluationError#3: string
SubjectAccessReviewSpec
  resourceAttributes#1: ResourceAttributes
  nonResourceAttributes#2: NonResourceAttributes
  user#3: string
  groups#4: [string] atomic
  extra#5: {[string]}
  uid#6: string
SelfSubjectRulesReviewSpec
  namespace#1: string
SubjectRulesReviewStatus
  resourceRules#1: [ResourceRule] atomic
  nonResourceRules#2: [NonResourceRule] atomic
  incomplete#3: bool
  evaluationError#4: string
ResourceAttributes
  namespace#1, verb#2, group#3, version#4, resource#5, subresource#6, name#7: string
  fieldSelector#8: FieldSelectorAttributes
  labelSelector#9: LabelSelectorAttributes
NonResourceAttributes
  path#1, verb#2: string
ResourceRule
  verbs#1, apiGroups#2, resources#3, resourceNames#4: [string] atomic
NonResourceRule
  verbs#1, nonResourceURLs#2: [string] atomic
FieldSelectorAttributes
  rawSelector#1: string
  requirements#2: [FieldSelectorRequirement] atomic
LabelSelectorAttributes
  rawSelector#1: string
  requirements#2: [LabelSelectorRequirement] atomic
`,
};

/** authentication.k8s.io/v1. */
export const authenticationTable: Table = {
  prefix: "io.k8s.api.authentication.v1",
  text: `
TokenRequest
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: TokenRequestSpec
  status#3: TokenRequestStatus
SelfSubjectReview
  apiVersion, kind: string
  metadata#1: ObjectMeta
  status#2: SelfSubjectReviewStatus
TokenReview
  apiVersion, kind: string
  metadata#1: ObjectMeta
  spec#2: TokenReviewSpec
  status#3: TokenReviewStatus
TokenRequestSpec
  audiences#1: [string] atomic
  expirationSeconds#4: long?
  boundObjectRef#3: BoundObjectReference
TokenRequestStatus
  token#1: string
  expirationTimestamp#2: time
SelfSubjectReviewStatus
  userInfo#1: UserInfo
TokenReviewSpec
  token#1: string
  audiences#2: [string] atomic
TokenReviewStatus
  authenticated#1: bool
  user#2: UserInfo
  audiences#4: [string] atomic
  error#3: string
BoundObjectReference
  kind#1, apiVersion#2, name#3, uid#4: string
UserInfo
  username#1, uid#2: string
  groups#3: [string] atomic
  extra#4: {[string]}
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
