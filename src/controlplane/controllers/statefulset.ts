import { keyOf, type Pod, resources, type StatefulSet } from "../../kube/types.ts";
import { claimPods, enqueueOwner } from "./claim.ts";
import type { Controller, ControllerContext } from "./controller.ts";
import { availableInMs, controllerReference, isFinished, isReady, podFromTemplate } from "./pods.ts";
import { currentRevision, hashOfRevision, revisionHashLabel } from "./revisions.ts";
import { createPod, deletePod, patchStatus } from "./writes.ts";

export interface StatefulPlan {
  /** Ordinals of pods to make, with the template's hash for each. */
  create: { ordinal: number; hash: string }[];
  delete: Pod[];
  status: NonNullable<StatefulSet["status"]>;
  againInMs: number | undefined;
}

/** The hash of the template that most pods are of until a rollout is done, and the hash of the present template. */
export interface Revisions {
  current: string;
  update: string;
}

/** The number at the end of a pod's name, or -1. */
export function ordinalOf(set: StatefulSet, pod: Pod): number {
  const prefix = `${set.metadata.name}-`;
  const rest = pod.metadata.name.startsWith(prefix) ? pod.metadata.name.slice(prefix.length) : "";
  return /^(0|[1-9][0-9]*)$/.test(rest) ? Number(rest) : -1;
}

/**
 * The next step of a set: with OrderedReady one pod at a time, upwards when pods are made, downwards when they go or are
 * replaced, and never before its predecessors are available; with Parallel all that are made or go at once.
 */
export function planStateful(
  set: StatefulSet,
  pods: readonly Pod[],
  revisions: Revisions,
  now: number,
): StatefulPlan {
  const { replicas = 1, podManagementPolicy, minReadySeconds = 0, updateStrategy, ordinals } = set.spec;
  const first = ordinals?.start ?? 0;
  const parallel = podManagementPolicy === "Parallel";
  const byOrdinal = new Map(pods.map((pod) => [ordinalOf(set, pod), pod]));
  const wanted = Array.from({ length: replicas }, (_, i) => first + i);
  const surplus = pods
    .filter((pod) => !wanted.includes(ordinalOf(set, pod)))
    .sort((a, b) => ordinalOf(set, b) - ordinalOf(set, a));
  const plan: StatefulPlan = {
    create: [],
    delete: [],
    status: statusOf(set, pods, revisions, now),
    againInMs: undefined,
  };
  if (set.metadata.deletionTimestamp !== undefined) return plan;

  const partition = updateStrategy?.rollingUpdate?.partition ?? 0;
  const hashFor = (ordinal: number) => (ordinal - first < partition ? revisions.current : revisions.update);
  const settled = (pod: Pod): boolean => {
    const wait = availableInMs(pod, minReadySeconds, now);
    if (wait > 0 && Number.isFinite(wait)) plan.againInMs = Math.min(wait, plan.againInMs ?? wait);
    return wait === 0 && pod.metadata.deletionTimestamp === undefined;
  };
  for (const ordinal of wanted) {
    const pod = byOrdinal.get(ordinal);
    if (pod === undefined) plan.create.push({ ordinal, hash: hashFor(ordinal) });
    else if (isFinished(pod) && pod.metadata.deletionTimestamp === undefined) plan.delete.push(pod);
    else if (settled(pod) || parallel) continue;
    else if (plan.create.length + plan.delete.length === 0) {
      // One that never came up with an old template would block the new one for ever, as it does in Kubernetes.
      const alone = pods.filter(isBroken).length === 1 && updateStrategy?.type !== "OnDelete";
      if (alone && isBroken(pod) && isStale(pod, hashFor(ordinal))) plan.delete.push(pod);
      return plan;
    }
    if (!parallel) return plan;
  }
  if (plan.create.length + plan.delete.length > 0 && !parallel) return plan;
  const going = surplus.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  if (parallel) plan.delete.push(...going);
  else if (surplus.length > 0) {
    // The next one goes when the one before it is gone.
    if (going.length === surplus.length) plan.delete.push(...going.slice(0, 1));
    return plan;
  }
  if (updateStrategy?.type === "OnDelete" || plan.create.length > 0) return plan;
  for (const ordinal of wanted.toReversed()) {
    const pod = byOrdinal.get(ordinal);
    if (pod === undefined || ordinal - first < partition) break;
    if (isStale(pod, revisions.update)) {
      if (pod.metadata.deletionTimestamp === undefined) plan.delete.push(pod);
      break;
    }
    if (!settled(pod)) break;
  }
  return plan;
}

function isStale(pod: Pod, hash: string): boolean {
  return pod.metadata.labels?.[revisionHashLabel] !== hash;
}

/** Neither ready nor going away. */
function isBroken(pod: Pod): boolean {
  return !isReady(pod) && pod.metadata.deletionTimestamp === undefined;
}

function statusOf(
  set: StatefulSet,
  pods: readonly Pod[],
  revisions: Revisions,
  now: number,
): NonNullable<StatefulSet["status"]> {
  const { replicas = 1, minReadySeconds = 0, updateStrategy } = set.spec;
  const active = pods.filter((pod) => !isFinished(pod));
  const of = (hash: string) =>
    active.filter((pod) => !isStale(pod, hash) && pod.metadata.deletionTimestamp === undefined).length;
  const ready = active.filter(isReady);
  const updated = of(revisions.update);
  const partition = updateStrategy?.rollingUpdate?.partition ?? 0;
  const done =
    partition === 0 && updated === replicas && active.length === replicas && ready.length === replicas;
  const currentHash = done ? revisions.update : revisions.current;
  const name = (hash: string) => `${set.metadata.name}-${hash}`;
  return {
    observedGeneration: set.metadata.generation ?? 0,
    replicas: active.length,
    readyReplicas: ready.length,
    availableReplicas: active.filter((pod) => availableInMs(pod, minReadySeconds, now) === 0).length,
    currentReplicas: of(currentHash),
    updatedReplicas: updated,
    currentRevision: name(currentHash),
    updateRevision: name(revisions.update),
  };
}

/** Keeps pods with stable names, one after the other. */
export const statefulSet: Controller = {
  name: "stateful-set",
  start(context) {
    const { informers, queue } = context;
    const sets = informers.of(resources.statefulSets);
    const work = queue((key) => sync(context, key));
    const add = (object: StatefulSet) => work.add(keyOf(object.metadata));
    sets.on({ add, update: add, delete: add });
    informers.of(resources.controllerRevisions);
    informers.of(resources.pods).on(enqueueOwner(sets, work, "StatefulSet"));
  },
};

async function sync(context: ControllerContext, key: string): Promise<number | undefined> {
  const { client, informers, clock } = context;
  const set = informers.of(resources.statefulSets).getByKey(key);
  if (set === undefined) return undefined;
  const pods = (await claimPods(context, resources.statefulSets, set)).filter(
    (pod) => ordinalOf(set, pod) >= 0,
  );
  const inUse = new Set(pods.map(({ metadata }) => metadata.labels?.[revisionHashLabel] ?? ""));
  if (set.metadata.deletionTimestamp !== undefined) return undefined;
  const update = hashOfRevision(await currentRevision(context, resources.statefulSets, set, inUse));
  const known = set.status?.currentRevision?.slice(set.metadata.name.length + 1);
  const revisions = { current: known || update, update };
  const plan = planStateful(set, pods, revisions, clock.now());
  await patchStatus(client, resources.statefulSets, set, plan.status);
  await Promise.all(
    plan.create.map((wanted) => createPod(context, set, podOf(context, set, wanted, revisions))),
  );
  await Promise.all(plan.delete.map((pod) => deletePod(context, set, pod)));
  return plan.againInMs;
}

/** Of the present template, or, below the partition of a rollout, of the former one. */
function podOf(
  { informers }: ControllerContext,
  set: StatefulSet,
  { ordinal, hash }: StatefulPlan["create"][number],
  revisions: Revisions,
) {
  const name = `${set.metadata.name}-${ordinal}`;
  const { namespace = "" } = set.metadata;
  const former = informers
    .of(resources.controllerRevisions)
    .get({ name: `${set.metadata.name}-${hash}`, namespace });
  const old = (former?.data as { spec?: { template?: StatefulSet["spec"]["template"] } } | undefined)?.spec
    ?.template;
  const template = hash !== revisions.update && old !== undefined ? old : set.spec.template;
  const draft = podFromTemplate(template, namespace, controllerReference(resources.statefulSets, set), {
    [revisionHashLabel]: template === old ? hash : revisions.update,
    "statefulset.kubernetes.io/pod-name": name,
    "apps.kubernetes.io/pod-index": String(ordinal),
  });
  draft.metadata.name = name;
  draft.spec.hostname = name;
  if (set.spec.serviceName) draft.spec.subdomain = set.spec.serviceName;
  return draft;
}
