import { isDeepStrictEqual } from "node:util";
import type { Selection } from "../interface.ts";
import { matchesFields, matchesRequirements, parseFieldSelector, parseLabelSelector } from "../selectors.ts";
import {
  type KubeObject,
  type Namespace,
  type Pod,
  type Resource,
  resources,
  type WatchEvent,
} from "../types.ts";
import type { Change } from "./store.ts";

/** What of an update counts: the status alone, or all but the status and what the server itself keeps. */
export function merged(before: KubeObject, object: KubeObject, subresource: string | undefined): KubeObject {
  const fixed = before.metadata;
  if (subresource === "status") return { ...before, status: (object as Namespace).status } as KubeObject;
  if (subresource === "finalize") return { ...before, spec: (object as Namespace).spec } as KubeObject;
  const after = structuredClone(object) as KubeObject & { spec?: unknown; status?: unknown };
  const { status, spec } = before as KubeObject & { spec?: unknown; status?: unknown };
  if (status !== undefined) after.status = status;
  else delete after.status;
  for (const field of [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
  ] as const) {
    if (fixed[field] === undefined) delete after.metadata[field];
    else Object.assign(after.metadata, { [field]: fixed[field] });
  }
  if (!isDeepStrictEqual(after.spec, spec)) after.metadata.generation = (fixed.generation ?? 0) + 1;
  return after;
}

/** Only pods on a node are given time: their kubelet removes them. */
export function graceOf(resource: Resource, object: KubeObject, asked: number | undefined): number {
  const pod = object as Pod;
  if (resource !== (resources.pods as Resource) || !pod.spec.nodeName) return 0;
  if (pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed") return 0;
  const grace = asked ?? pod.spec.terminationGracePeriodSeconds ?? 30;
  return Math.min(grace, pod.metadata.deletionGracePeriodSeconds ?? grace);
}

export function selects({
  namespace,
  labelSelector,
  fieldSelector,
}: Selection): (object: KubeObject) => boolean {
  const labels = parseLabelSelector(labelSelector ?? "");
  const fields = parseFieldSelector(fieldSelector ?? "");
  return (object) =>
    (namespace === undefined || object.metadata.namespace === namespace) &&
    matchesRequirements(labels, object.metadata.labels) &&
    matchesFields(fields, object);
}

/** An object that begins or ceases to match the selector is one that comes or goes. */
export function eventOf(change: Change, matches: (object: KubeObject) => boolean): WatchEvent | undefined {
  const before = change.before !== undefined && matches(change.before);
  const after = change.type !== "DELETED" && matches(change.object);
  if (!before && !after) return undefined;
  const type = !before ? "ADDED" : !after ? "DELETED" : "MODIFIED";
  return { type, object: change.object };
}
