import type { Table } from "../notation.ts";

/** apimachinery's meta/v1, as far as objects and requests contain it. Notation: see notation.ts. */
export const metaTable: Table = {
  prefix: "io.k8s.apimachinery.pkg.apis.meta.v1",
  text: `
ObjectMeta
  name#1, generateName#2, namespace#3, selfLink#4, uid#5, resourceVersion#6: string
  generation#7: long
  creationTimestamp#8, deletionTimestamp#9: time
  deletionGracePeriodSeconds#10: long?
  labels#11, annotations#12: {string}
  ownerReferences#13: [OwnerReference] key=uid
  finalizers#14: [string] merge set
  managedFields#17: [ManagedFieldsEntry] atomic
DeleteOptions
  apiVersion, kind: string
  gracePeriodSeconds#1: long?
  preconditions#2: Preconditions
  orphanDependents#3: bool?
  propagationPolicy#4: string?
  dryRun#5: [string] atomic
  ignoreStoreReadErrorWithClusterBreakingPotential#6: bool?
OwnerReference atomic
  apiVersion#5, kind#1, name#3, uid#4: string!
  controller#6, blockOwnerDeletion#7: bool?
ManagedFieldsEntry
  manager#1, operation#2, apiVersion#3: string
  time#4: time
  fieldsType#6: string
  fieldsV1#7: raw
  subresource#8: string
Preconditions
  uid#1, resourceVersion#2: string?
Condition
  type#1, status#2: string!
  observedGeneration#3: long
  lastTransitionTime#4: time
  reason#5, message#6: string
LabelSelector atomic
  matchLabels#1: {string}
  matchExpressions#2: [LabelSelectorRequirement] atomic
LabelSelectorRequirement
  key#1, operator#2: string!
  values#3: [string] atomic
FieldSelectorRequirement
  key#1, operator#2: string
  values#3: [string] atomic
`,
};
