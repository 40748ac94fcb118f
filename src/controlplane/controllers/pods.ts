import type {
  Condition,
  KubeObject,
  OwnerReference,
  Pod,
  PodTemplateSpec,
  Resource,
} from "../../kube/types.ts";
import { apiVersionOf, keyOf } from "../../kube/types.ts";

/** What controllers ask of pods and other objects, as plain functions. */

export function conditionOf(
  conditions: readonly Condition[] | undefined,
  type: string,
): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

export function isReady(pod: Pod): boolean {
  return conditionOf(pod.status?.conditions, "Ready")?.status === "True";
}

/** Neither done nor going away: counts as a replica. */
export function isActive(pod: Pod): boolean {
  return !isFinished(pod) && pod.metadata.deletionTimestamp === undefined;
}

export function isFinished(pod: Pod): boolean {
  return pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
}

/** Ready for at least `minReadySeconds`: 0 for that, or else the milliseconds until then; Infinity when not ready. */
export function availableInMs(pod: Pod, minReadySeconds: number, now: number): number {
  const ready = conditionOf(pod.status?.conditions, "Ready");
  if (ready?.status !== "True") return Number.POSITIVE_INFINITY;
  if (minReadySeconds === 0) return 0;
  const since = Date.parse(ready.lastTransitionTime ?? "");
  if (Number.isNaN(since)) return Number.POSITIVE_INFINITY;
  return Math.max(0, since + minReadySeconds * 1000 - now);
}

/** The owner that controls an object. */
export function controllerOf(object: KubeObject): OwnerReference | undefined {
  return object.metadata.ownerReferences?.find(({ controller }) => controller === true);
}

export function controllerReference(resource: Resource, owner: KubeObject): OwnerReference {
  return {
    apiVersion: apiVersionOf(resource),
    kind: resource.kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid ?? "",
    controller: true,
    blockOwnerDeletion: true,
  };
}

/** The pod that a template describes, without a name. */
export function podFromTemplate(
  template: PodTemplateSpec,
  namespace: string | undefined,
  owner: OwnerReference,
  labels: Record<string, string> = {},
): { metadata: Partial<Pod["metadata"]>; spec: Pod["spec"] } {
  const { metadata = {}, spec } = template;
  return {
    metadata: {
      ...(namespace === undefined ? {} : { namespace }),
      labels: { ...metadata.labels, ...labels },
      ...(metadata.annotations === undefined ? {} : { annotations: metadata.annotations }),
      ownerReferences: [owner],
    },
    spec: structuredClone(spec),
  };
}

/** The condition in place of the one of its type; its transition time stays while its status does. */
export function withCondition(
  conditions: readonly Condition[] | undefined,
  next: Condition,
  now: string,
): Condition[] {
  const before = conditionOf(conditions, next.type);
  const lastTransitionTime = before?.status === next.status ? (before.lastTransitionTime ?? now) : now;
  const condition = { ...next, lastTransitionTime };
  if (before === undefined) return [...(conditions ?? []), condition];
  return (conditions ?? []).map((other) => (other === before ? condition : other));
}

/** Older objects first, so that a restart and a race decide alike. */
export function byAge(a: KubeObject, b: KubeObject): number {
  const [one, two] = [a.metadata.creationTimestamp ?? "", b.metadata.creationTimestamp ?? ""];
  return one === two ? (keyOf(a.metadata) < keyOf(b.metadata) ? -1 : 1) : one < two ? -1 : 1;
}
