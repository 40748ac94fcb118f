import type { Pod } from "../../kube/types.ts";
import type { Cluster } from "../cluster.ts";
import { type ApiObject, at, cloneJson, type Dict, isDict, own, timestamp } from "../objects.ts";
import type { ResourceType } from "../resources/definition.ts";
import { badRequest, conflict, forbidden, invalid, notSupported } from "../status.ts";
import type { Entry } from "../store/entry.ts";
import { hasContent } from "./update.ts";

export interface DeleteRequest {
  readonly dryRun: boolean;
  /** Seconds; what the object itself asks for where not given. */
  readonly gracePeriod?: number;
  readonly propagation?: "Orphan" | "Background" | "Foreground";
  readonly uid?: string;
  readonly resourceVersion?: string;
}

/** Kubernetes' own finalizers, which its garbage collector takes off. */
const ORPHAN = "orphan";
const FOREGROUND = "foregroundDeletion";
/** Namespaces that a cluster cannot be without. */
const LASTING = ["default", "kube-system", "kube-public"];
const CUSTOM_RESOURCE_CLEANUP = "customresourcecleanup.apiextensions.k8s.io";

/** Reads the options of a deletion from its body and its query, which old clients use. Throws a Status of 400. */
export function parseDeleteOptions(body: Dict | undefined, query: URLSearchParams): DeleteRequest {
  const read = (key: string): unknown =>
    (body === undefined ? undefined : own(body, key)) ?? query.get(key) ?? undefined;
  const grace = read("gracePeriodSeconds");
  const gracePeriod = grace === undefined || grace === null ? undefined : Number(grace);
  if (gracePeriod !== undefined && !Number.isInteger(gracePeriod)) {
    throw badRequest(`gracePeriodSeconds: ${JSON.stringify(grace)} is not a whole number`);
  }
  let propagation = read("propagationPolicy");
  const orphan = read("orphanDependents");
  if (propagation === undefined && orphan !== undefined)
    propagation = String(orphan) === "true" ? "Orphan" : "Background";
  const policies = ["Orphan", "Background", "Foreground"] as const;
  const known = policies.find((policy) => policy === propagation);
  if (propagation !== undefined && known === undefined) {
    const error = notSupported("propagationPolicy", propagation, policies);
    throw invalid({ group: "meta.k8s.io", kind: "DeleteOptions" }, "", [error]);
  }
  const uid = at(body, "preconditions", "uid");
  const resourceVersion = at(body, "preconditions", "resourceVersion");
  const dryRun = read("dryRun");
  return {
    dryRun:
      dryRun === "All" ||
      (Array.isArray(dryRun) && dryRun.includes("All")) ||
      query.getAll("dryRun").includes("All"),
    ...(gracePeriod === undefined ? {} : { gracePeriod }),
    ...(known === undefined ? {} : { propagation: known }),
    ...(typeof uid === "string" ? { uid } : {}),
    ...(typeof resourceVersion === "string" ? { resourceVersion } : {}),
  };
}

/**
 * Deletes an object, or marks it to be deleted where a finalizer or a grace period holds it. Returns it as it now is, and
 * whether it is gone. Throws a Status of 409 where a precondition does not hold.
 */
export function deleteObject(
  cluster: Cluster,
  type: ResourceType,
  entry: Entry,
  request: DeleteRequest,
): { object: ApiObject; gone: boolean } {
  checkPreconditions(type, entry, request);
  if (type.storage === "namespaces" && LASTING.includes(entry.name)) {
    throw forbidden(type, entry.name, "this namespace may not be deleted");
  }
  const next = cloneJson(entry.object);
  const { metadata } = next;
  setFinalizers(next, type, request.propagation);
  const grace = gracePeriodOf(next, type, request);
  const held = (metadata.finalizers ?? []).length > 0 || (type.storage === "namespaces" && hasContent(next));
  if (!held && grace === 0) {
    const object = request.dryRun ? entry.object : cluster.store.delete(type.storage, entry).object;
    return { object, gone: true };
  }
  const shorter = grace < (metadata.deletionGracePeriodSeconds ?? Number.POSITIVE_INFINITY);
  if (metadata.deletionTimestamp === undefined || shorter) {
    const first = metadata.deletionTimestamp === undefined;
    metadata.deletionTimestamp = timestamp(cluster.now() + grace * 1000);
    metadata.deletionGracePeriodSeconds = grace;
    if (first && type.generation) metadata.generation = (metadata.generation ?? 0) + 1;
  }
  if (type.storage === "namespaces")
    next.status = { ...(isDict(next.status) ? next.status : {}), phase: "Terminating" };
  if (request.dryRun || Bun.deepEquals(next, entry.object)) return { object: next, gone: false };
  return { object: cluster.store.update(type.storage, entry, next).object, gone: false };
}

function checkPreconditions(type: ResourceType, entry: Entry, { uid, resourceVersion }: DeleteRequest): void {
  const { metadata } = entry.object;
  if (uid !== undefined && uid !== metadata.uid) {
    const why = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${metadata.uid}`;
    throw conflict(type, entry.name, why);
  }
  if (resourceVersion !== undefined && resourceVersion !== String(entry.revision)) {
    const why = `Precondition failed: ResourceVersion in precondition: ${resourceVersion}, ResourceVersion in object meta: ${entry.revision}`;
    throw conflict(type, entry.name, why);
  }
}

/** Seconds that the object stays after its deletion was asked for; only pods, which a kubelet must stop, stay at all. */
function gracePeriodOf(object: ApiObject, type: ResourceType, { gracePeriod }: DeleteRequest): number {
  if (type.storage !== "pods") return 0;
  const { spec, status } = object as unknown as Pod;
  const over = status?.phase === "Succeeded" || status?.phase === "Failed";
  if (!spec.nodeName || over) return 0;
  return Math.max(0, gracePeriod ?? spec.terminationGracePeriodSeconds ?? 30);
}

function setFinalizers(
  object: ApiObject,
  type: ResourceType,
  propagation: DeleteRequest["propagation"],
): void {
  const { metadata } = object;
  const finalizers = new Set(metadata.finalizers ?? []);
  if (propagation !== undefined) {
    for (const name of [ORPHAN, FOREGROUND]) finalizers.delete(name);
    if (propagation === "Orphan") finalizers.add(ORPHAN);
    if (propagation === "Foreground") finalizers.add(FOREGROUND);
  }
  if (type.storage === "customresourcedefinitions.apiextensions.k8s.io")
    finalizers.add(CUSTOM_RESOURCE_CLEANUP);
  if (finalizers.size === 0) delete metadata.finalizers;
  else metadata.finalizers = [...finalizers];
}
