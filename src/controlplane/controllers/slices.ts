import { type EndpointSlice, type ObjectMeta, type OwnerReference, resources } from "../../kube/types.ts";
import type { ControllerContext } from "./controller.ts";
import type { SlicePlan } from "./endpoints.ts";
import { canonical } from "./hash.ts";
import { deleteObject } from "./writes.ts";

export const managedBy = "endpointslice.kubernetes.io/managed-by";
export const serviceName = "kubernetes.io/service-name";

/**
 * Carries out a plan for the slices of one Service that one manager has, those of the labels `serviceName` and
 * `managedBy`. All of them get the labels.
 */
export async function applySlices(
  { client, informers }: ControllerContext,
  owner: OwnerReference,
  { name, namespace = "" }: ObjectMeta,
  labels: Record<string, string>,
  planOf: (existing: EndpointSlice[]) => SlicePlan,
): Promise<void> {
  const existing = informers
    .of(resources.endpointSlices)
    .by("namespace", namespace)
    .filter(
      ({ metadata }) =>
        metadata.labels?.[serviceName] === name && metadata.labels[managedBy] === labels[managedBy],
    );
  const plan = planOf(existing);
  for (const slice of existing) {
    const planned =
      plan.update.some(({ metadata }) => metadata.uid === slice.metadata.uid) || plan.delete.includes(slice);
    if (!planned && canonical(slice.metadata.labels) !== canonical(labels)) plan.update.push(slice);
  }
  // New and changed ones first: at no time is an endpoint missing that there was before and will be after.
  for (const slice of plan.create) {
    const metadata = { generateName: `${name}-`, namespace, labels, ownerReferences: [owner] };
    await client.create(resources.endpointSlices, { ...slice, metadata });
  }
  for (const slice of plan.update) {
    await client.update(resources.endpointSlices, { ...slice, metadata: { ...slice.metadata, labels } });
  }
  for (const slice of plan.delete) await deleteObject(client, resources.endpointSlices, slice);
}
