import type { Table } from "../notation.ts";

/** apimachinery's meta/v1, as far as objects contain it. Notation: see notation.ts. */
export const metaTable: Table = {
  prefix: "io.k8s.apimachinery.pkg.apis.meta.v1",
  text: `
ObjectMeta
  name, generateName, namespace, uid, resourceVersion, selfLink: string
  generation, deletionGracePeriodSeconds: long
  creationTimestamp, deletionTimestamp: time
  labels, annotations: {string}
  ownerReferences: [OwnerReference] key=uid
  finalizers: [string] merge set
  managedFields: [object] atomic
OwnerReference atomic
  apiVersion, kind, name, uid: string!
  controller, blockOwnerDeletion: bool
LabelSelector atomic
  matchLabels: {string}
  matchExpressions: [LabelSelectorRequirement] atomic
LabelSelectorRequirement
  key, operator: string!
  values: [string] atomic
Condition
  type, status: string!
  observedGeneration: long
  lastTransitionTime: time
  reason, message: string
`,
};
