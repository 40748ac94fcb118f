import { matchesSelector } from "../../kube/selectors.ts";
import { type Condition, keyOf, type Pod, type ReplicaSet, resources } from "../../kube/types.ts";
import { explain } from "../../lib/errors.ts";
import { claimPods, enqueueOwner } from "./claim.ts";
import type { Controller, ControllerContext } from "./controller.ts";
import { timestamp } from "./events.ts";
import {
  availableInMs,
  controllerReference,
  isActive,
  isReady,
  podFromTemplate,
  withCondition,
} from "./pods.ts";
import { createPod, deletePod, patchStatus } from "./writes.ts";

export interface ReplicaPlan {
  create: number;
  delete: Pod[];
  status: NonNullable<ReplicaSet["status"]>;
  /** When a ready pod will be available, in milliseconds. */
  againInMs: number | undefined;
}

/** What is to be done so that as many of the set's pods are there as it wants, and what its status then says. */
export function planReplicas(replicaSet: ReplicaSet, pods: readonly Pod[], now: number): ReplicaPlan {
  const wanted = replicaSet.spec.replicas ?? 1;
  const active = pods.filter(isActive);
  const waits = active.map((pod) => availableInMs(pod, replicaSet.spec.minReadySeconds ?? 0, now));
  const labels = Object.entries(replicaSet.spec.template?.metadata?.labels ?? {});
  const soon = Math.min(...waits.filter((wait) => wait > 0));
  return {
    create: replicaSet.metadata.deletionTimestamp === undefined ? Math.max(0, wanted - active.length) : 0,
    delete:
      replicaSet.metadata.deletionTimestamp === undefined
        ? rankForDeletion(active).slice(0, Math.max(0, active.length - wanted))
        : [],
    status: {
      observedGeneration: replicaSet.metadata.generation ?? 0,
      replicas: active.length,
      fullyLabeledReplicas: active.filter(({ metadata }) =>
        labels.every(([key, value]) => metadata.labels?.[key] === value),
      ).length,
      readyReplicas: active.filter(isReady).length,
      availableReplicas: waits.filter((wait) => wait === 0).length,
    },
    againInMs: Number.isFinite(soon) ? soon : undefined,
  };
}

const phases: Record<string, number> = { Pending: 0, Unknown: 1, Running: 2 };

/**
 * The pods that are missed least first, in the order of client-go's ActivePodsWithRanks: without a node, not running, not
 * ready, cheap to delete, on a node with others of the set, ready for a short time, restarted often, young. Of the pods of
 * a node only those count as doubled that are there beside a better one, so that each node keeps its best as long as
 * others have two.
 */
function rankForDeletion(pods: readonly Pod[]): Pod[] {
  const cost = (pod: Pod) =>
    Number(pod.metadata.annotations?.["controller.kubernetes.io/pod-deletion-cost"] ?? 0);
  const restarts = (pod: Pod) =>
    Math.max(0, ...(pod.status?.containerStatuses ?? []).map(({ restartCount }) => restartCount));
  const rank = (pod: Pod, doubled: number): number[] => [
    pod.spec.nodeName ? 1 : 0,
    phases[pod.status?.phase ?? "Pending"] ?? 1,
    isReady(pod) ? 1 : 0,
    cost(pod) || 0,
    -doubled,
    -restarts(pod),
  ];
  const sorted = (list: { pod: Pod; rank: number[] }[]) => list.sort(byRank).map(({ pod }) => pod);
  const onNode = new Map<string | undefined, number>();
  const bestFirst = sorted(pods.map((pod) => ({ pod, rank: rank(pod, 0) }))).reverse();
  return sorted(
    bestFirst.map((pod) => {
      const better = onNode.get(pod.spec.nodeName) ?? 0;
      onNode.set(pod.spec.nodeName, better + 1);
      return { pod, rank: rank(pod, better) };
    }),
  );
}

function byRank(a: { pod: Pod; rank: number[] }, b: { pod: Pod; rank: number[] }): number {
  const i = a.rank.findIndex((value, j) => value !== b.rank[j]);
  if (i >= 0) return (a.rank[i] as number) - (b.rank[i] as number);
  const born = ({ pod }: { pod: Pod }) => pod.metadata.creationTimestamp ?? "";
  return born(a) < born(b) ? 1 : born(a) > born(b) ? -1 : 0;
}

/** Keeps as many pods of a template as are wanted. */
export const replicaSet: Controller = {
  name: "replica-set",
  start(context) {
    const { informers, queue } = context;
    const sets = informers.of(resources.replicaSets);
    const pods = informers.of(resources.pods);
    const work = queue((key) => sync(context, key));
    const add = (object: ReplicaSet) => work.add(keyOf(object.metadata));
    sets.on({ add, update: add, delete: add });
    pods.on(enqueueOwner(sets, work, "ReplicaSet"));
  },
};

async function sync(context: ControllerContext, key: string): Promise<number | undefined> {
  const { informers, clock } = context;
  const set = informers.of(resources.replicaSets).getByKey(key);
  if (set === undefined) return undefined;
  const pods = await claimPods(context, resources.replicaSets, set);
  const plan = planReplicas(set, pods, clock.now());
  try {
    await createPods(context, set, plan.create);
    await Promise.all(plan.delete.map((pod) => deletePod(context, set, pod)));
  } catch (error) {
    const reason = plan.create > 0 ? "FailedCreate" : "FailedDelete";
    const failure: Condition = { type: "ReplicaFailure", status: "True", reason, message: explain(error) };
    await writeStatus(context, set, failure);
    throw error;
  }
  await writeStatus(context, set, undefined);
  return plan.againInMs;
}

function ownPods({ informers }: ControllerContext, set: ReplicaSet): Pod[] {
  const selected = (pod: Pod) => matchesSelector(set.spec.selector, pod.metadata.labels);
  return informers
    .of(resources.pods)
    .by("controller", set.metadata.uid ?? "")
    .filter(selected);
}

/** In batches that double, so that a template which the server refuses costs one request and not hundreds. */
async function createPods(context: ControllerContext, set: ReplicaSet, count: number): Promise<void> {
  const owner = controllerReference(resources.replicaSets, set);
  const { template } = set.spec;
  if (template === undefined) return;
  const draft = podFromTemplate(template, set.metadata.namespace, owner);
  draft.metadata.generateName = `${set.metadata.name}-`;
  for (let left = count, batch = 1; left > 0; left -= batch, batch = Math.min(left, batch * 2)) {
    await Promise.all(Array.from({ length: batch }, () => createPod(context, set, draft)));
  }
}

async function writeStatus(
  context: ControllerContext,
  set: ReplicaSet,
  failure: Condition | undefined,
): Promise<void> {
  const { client, clock } = context;
  const others = (set.status?.conditions ?? []).filter(({ type }) => type !== "ReplicaFailure");
  const conditions =
    failure === undefined ? others : withCondition(set.status?.conditions, failure, timestamp(clock));
  const counts = planReplicas(set, ownPods(context, set), clock.now()).status;
  const shown =
    conditions.length === 0 && set.status?.conditions === undefined ? counts : { ...counts, conditions };
  await patchStatus(client, resources.replicaSets, set, shown);
}
