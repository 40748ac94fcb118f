import type { Pod } from "../../kube/types.ts";
import type { Cluster } from "../cluster.ts";
import { type Dict, stringAt, timestamp } from "../objects.ts";
import type { ResourceType } from "../resources/definition.ts";
import { badRequest, conflict, forbidden } from "../status.ts";
import { deleteObject, parseDeleteOptions } from "../write/delete.ts";
import type { WriteOptions } from "../write/prepare.ts";
import { requireEntry } from "../write/update.ts";

/** Gives a pod to the node that a Binding names: what a scheduler does, once for each pod. Throws a Status. */
export function bindPod(
  cluster: Cluster,
  type: ResourceType,
  namespace: string,
  name: string,
  binding: Dict,
  options: WriteOptions,
): void {
  const node = stringAt(binding, "target", "name") ?? "";
  if (node === "") throw badRequest("Binding: target.name: Required value: the name of a node");
  const kind = stringAt(binding, "target", "kind") ?? "Node";
  if (kind !== "Node") throw badRequest(`Binding: target.kind: ${JSON.stringify(kind)} is not "Node"`);
  const entry = requireEntry(cluster, type, namespace, name);
  const pod = entry.object as unknown as Pod;
  const uid = stringAt(binding, "metadata", "uid") ?? "";
  const refuse = (why: string) => conflict({ group: "", plural: "pods/binding" }, name, why);
  if (uid !== "" && uid !== pod.metadata.uid) {
    throw refuse(`Precondition failed: UID in precondition: ${uid}, UID in object meta: ${pod.metadata.uid}`);
  }
  if (pod.metadata.deletionTimestamp !== undefined)
    throw refuse(`pod ${name} is being deleted, cannot be assigned to a host`);
  if (pod.spec.nodeName) throw refuse(`pod ${name} is already assigned to node "${pod.spec.nodeName}"`);
  if ((pod.spec.schedulingGates ?? []).length > 0) {
    throw refuse(`pod ${name} has non-empty .spec.schedulingGates`);
  }
  if (options.dryRun) return;
  const conditions = (pod.status?.conditions ?? []).filter((condition) => condition.type !== "PodScheduled");
  const scheduled = {
    type: "PodScheduled",
    status: "True",
    lastProbeTime: null,
    lastTransitionTime: timestamp(cluster.now()),
  };
  cluster.store.update(type.storage, entry, {
    ...entry.object,
    spec: { ...pod.spec, nodeName: node },
    status: { ...pod.status, conditions: [...conditions, scheduled] },
  });
}

/** Deletes a pod on behalf of a drain. No disruption budget is counted here: that is a controller's work. */
export function evictPod(
  cluster: Cluster,
  type: ResourceType,
  namespace: string,
  name: string,
  eviction: Dict,
  options: WriteOptions,
): void {
  const entry = requireEntry(cluster, type, namespace, name);
  const given = stringAt(eviction, "metadata", "name") ?? name;
  if (given !== name)
    throw forbidden(type, name, `name in URL does not match name in Eviction object: ${given}`);
  const wanted = eviction.deleteOptions;
  const request = parseDeleteOptions(wanted as Dict | undefined, new URLSearchParams());
  deleteObject(cluster, type, entry, { ...request, dryRun: request.dryRun || options.dryRun });
}
