import { isAlreadyExists } from "../../kube/errors.ts";
import { type Condition, type Deployment, keyOf, type ReplicaSet, resources } from "../../kube/types.ts";
import { claim, enqueueOwner } from "./claim.ts";
import type { Controller, ControllerContext } from "./controller.ts";
import { timestamp } from "./events.ts";
import { hashOf } from "./hash.ts";
import { conditionOf, controllerOf, controllerReference, isFinished, withCondition } from "./pods.ts";
import {
  currentSet,
  desiredAnnotation,
  maxAnnotation,
  planRollout,
  revisionAnnotation,
  revisionOf,
  rolloutLimits,
  templateHashLabel,
} from "./rollout.ts";
import { deleteObject, patchStatus } from "./writes.ts";

type Status = NonNullable<Deployment["status"]>;

/** What the status says of a Deployment's sets. */
export function deploymentStatus(deployment: Deployment, sets: readonly ReplicaSet[], now: string): Status {
  const current = currentSet(deployment, sets);
  const total = (value: (set: ReplicaSet) => number | undefined) =>
    sets.reduce((sum, set) => sum + (value(set) ?? 0), 0);
  const { replicas = 1 } = deployment.spec;
  const availableReplicas = total(({ status }) => status?.availableReplicas);
  const replicasNow = total(({ status }) => status?.replicas);
  const status: Status = {
    observedGeneration: deployment.metadata.generation ?? 0,
    replicas: replicasNow,
    updatedReplicas: current?.status?.replicas ?? 0,
    readyReplicas: total(({ status }) => status?.readyReplicas),
    availableReplicas,
    unavailableReplicas: Math.max(0, total(({ spec }) => spec.replicas) - availableReplicas),
    ...(deployment.status?.collisionCount === undefined
      ? {}
      : { collisionCount: deployment.status.collisionCount }),
  };
  const enough = availableReplicas >= replicas - rolloutLimits(deployment).maxUnavailable;
  const before = deployment.status?.conditions;
  const conditions = withCondition(before, availability(enough), now);
  const progress = progressOf(deployment, status, current, now);
  status.conditions = progress === undefined ? conditions : withCondition(conditions, progress, now);
  for (const condition of status.conditions) stampUpdate(condition, conditionOf(before, condition.type), now);
  return status;
}

function availability(enough: boolean): Condition {
  return {
    type: "Available",
    status: enough ? "True" : "False",
    reason: enough ? "MinimumReplicasAvailable" : "MinimumReplicasUnavailable",
    message: `Deployment ${enough ? "has" : "does not have"} minimum availability.`,
  };
}

/** `lastUpdateTime` moves when anything of the condition does: for Progressing, the deadline counts from it. */
function stampUpdate(condition: Condition, before: Condition | undefined, now: string): void {
  const same =
    before?.status === condition.status &&
    before.reason === condition.reason &&
    before.message === condition.message;
  condition.lastUpdateTime = same ? (before.lastUpdateTime ?? now) : now;
}

/** Whether the rollout is done, goes on, or hangs (kubectl rollout status waits on this). */
function progressOf(
  deployment: Deployment,
  status: Status,
  current: ReplicaSet | undefined,
  now: string,
): Condition | undefined {
  const { replicas = 1, paused } = deployment.spec;
  const before = conditionOf(deployment.status?.conditions, "Progressing");
  const name =
    current === undefined
      ? `Deployment "${deployment.metadata.name}"`
      : `ReplicaSet "${current.metadata.name}"`;
  const condition = (conditionStatus: "True" | "False", reason: string, message: string): Condition => ({
    type: "Progressing",
    status: conditionStatus,
    reason,
    message,
  });
  if (paused === true) {
    return {
      type: "Progressing",
      status: "Unknown",
      reason: "DeploymentPaused",
      message: "Deployment is paused",
    };
  }
  const done =
    status.updatedReplicas === replicas &&
    status.replicas === replicas &&
    status.availableReplicas === replicas;
  if (current !== undefined && done) {
    return condition("True", "NewReplicaSetAvailable", `${name} has successfully progressed.`);
  }
  // A finished rollout that loses pods is not a new one.
  const moved = movement(deployment.status, status);
  if (before?.reason === "NewReplicaSetAvailable" && !moved) return before;
  if (before === undefined || moved || before.reason === "DeploymentPaused") {
    const counts = `${status.updatedReplicas} updated, ${status.availableReplicas} available`;
    return condition("True", "ReplicaSetUpdated", `${name} is progressing (${counts}).`);
  }
  if (deadlineInMs(deployment, Date.parse(now)) > 0) return before;
  return condition("False", "ProgressDeadlineExceeded", `${name} has timed out progressing.`);
}

function movement(before: Deployment["status"], after: Status): boolean {
  if (before?.updatedReplicas === undefined) return true;
  const old = (status: Status) => (status.replicas ?? 0) - (status.updatedReplicas ?? 0);
  return (
    (after.updatedReplicas ?? 0) > (before.updatedReplicas ?? 0) ||
    old(after) < old(before) ||
    (after.readyReplicas ?? 0) > (before.readyReplicas ?? 0) ||
    (after.availableReplicas ?? 0) > (before.availableReplicas ?? 0)
  );
}

/** How long the rollout may stand still yet. */
function deadlineInMs(deployment: Deployment, now: number): number {
  const progress = conditionOf(deployment.status?.conditions, "Progressing");
  const since = Date.parse(progress?.lastUpdateTime ?? "");
  const { progressDeadlineSeconds = 600 } = deployment.spec;
  return Number.isNaN(since) ? Number.POSITIVE_INFINITY : since + progressDeadlineSeconds * 1000 - now;
}

/** Rolls templates out by means of ReplicaSets. */
export const deployment: Controller = {
  name: "deployment",
  start(context) {
    const { informers, queue } = context;
    const deployments = informers.of(resources.deployments);
    const sets = informers.of(resources.replicaSets);
    const work = queue((key) => sync(context, key));
    const add = (object: Deployment) => work.add(keyOf(object.metadata));
    deployments.on({ add, update: add, delete: add });
    sets.on(enqueueOwner(deployments, work, "Deployment"));
    // Recreate waits for the last old pod to go.
    informers.of(resources.pods).on({
      delete: (pod) => {
        const set = sets.get({
          name: controllerOf(pod)?.name ?? "",
          namespace: pod.metadata.namespace ?? "",
        });
        const owner = set === undefined ? undefined : controllerOf(set);
        if (owner !== undefined)
          work.add(keyOf({ name: owner.name, namespace: pod.metadata.namespace ?? "" }));
      },
    });
  },
};

async function sync(context: ControllerContext, key: string): Promise<number | undefined> {
  const { client, informers, clock } = context;
  const object = informers.of(resources.deployments).getByKey(key);
  if (object === undefined) return undefined;
  const sets = await claim(context, resources.replicaSets, resources.deployments, object);
  const plan = planRollout(object, sets, hasOldPods(context, object, sets));
  if (plan.create !== undefined) sets.push(await createSet(context, object, sets, plan.create));
  if (plan.current !== undefined) await noteRevision(context, object, plan.current, sets);
  for (const { set, replicas } of plan.scale) await scaleSet(context, object, set, replicas);
  for (const set of plan.remove) {
    await deleteObject(client, resources.replicaSets, set);
  }
  const now = informers.of(resources.replicaSets).by("controller", object.metadata.uid ?? "");
  await patchStatus(client, resources.deployments, object, deploymentStatus(object, now, timestamp(clock)));
  const left = deadlineInMs(object, clock.now());
  const reason = conditionOf(object.status?.conditions, "Progressing")?.reason;
  return reason === "ReplicaSetUpdated" && Number.isFinite(left) ? Math.max(1000, left) : undefined;
}

function hasOldPods(
  { informers }: ControllerContext,
  object: Deployment,
  sets: readonly ReplicaSet[],
): boolean {
  const current = currentSet(object, sets);
  const pods = informers.of(resources.pods);
  const old = sets.filter((set) => set !== current);
  return old.some(({ metadata }) =>
    pods.by("controller", metadata.uid ?? "").some((pod) => !isFinished(pod)),
  );
}

async function createSet(
  { client, events }: ControllerContext,
  object: Deployment,
  sets: readonly ReplicaSet[],
  replicas: number,
): Promise<ReplicaSet> {
  const { template, selector, minReadySeconds } = object.spec;
  const hash = hashOf(template, object.status?.collisionCount ?? 0);
  const label = { [templateHashLabel]: hash };
  const name = `${object.metadata.name}-${hash}`;
  const { namespace = "default" } = object.metadata;
  const draft: ReplicaSet = {
    metadata: {
      name,
      namespace,
      labels: { ...template.metadata?.labels, ...label },
      annotations: setAnnotations(object, nextRevision(sets)),
      ownerReferences: [controllerReference(resources.deployments, object)],
    },
    spec: {
      replicas,
      ...(minReadySeconds === undefined ? {} : { minReadySeconds }),
      selector: { ...selector, matchLabels: { ...selector.matchLabels, ...label } },
      template: {
        ...template,
        metadata: { ...template.metadata, labels: { ...template.metadata?.labels, ...label } },
      },
    },
  };
  try {
    const created = await client.create(resources.replicaSets, draft);
    events.record(object, "Normal", "ScalingReplicaSet", `Scaled up replica set ${name} to ${replicas}`);
    return created;
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    const there = await client.get(resources.replicaSets, { name, namespace });
    const ours = controllerOf(there)?.uid === object.metadata.uid;
    if (ours && currentSet(object, [there]) !== undefined) return there;
    // Another template has this hash: the next attempt takes another one.
    const status = { collisionCount: (object.status?.collisionCount ?? 0) + 1 };
    await client.patch(
      resources.deployments,
      object.metadata,
      { type: "merge", body: { status } },
      { subresource: "status" },
    );
    throw error;
  }
}

/** Those of the Deployment, without what belongs to kubectl or to the Deployment alone. */
function setAnnotations(object: Deployment, revision: number): Record<string, string> {
  const own = [
    "kubectl.kubernetes.io/last-applied-configuration",
    revisionAnnotation,
    desiredAnnotation,
    maxAnnotation,
  ];
  const others = Object.entries(object.metadata.annotations ?? {}).filter(([key]) => !own.includes(key));
  return {
    ...Object.fromEntries(others),
    [revisionAnnotation]: String(revision),
    ...sizeAnnotations(object),
  };
}

function sizeAnnotations(object: Deployment): Record<string, string> {
  const { replicas = 1 } = object.spec;
  return {
    [desiredAnnotation]: String(replicas),
    [maxAnnotation]: String(replicas + rolloutLimits(object).maxSurge),
  };
}

function nextRevision(sets: readonly ReplicaSet[]): number {
  return Math.max(0, ...sets.map(revisionOf)) + 1;
}

/** A template that comes back (`kubectl rollout undo`) makes its set the newest revision. */
async function noteRevision(
  { client }: ControllerContext,
  object: Deployment,
  current: ReplicaSet,
  sets: readonly ReplicaSet[],
): Promise<void> {
  const others = sets.filter((set) => set !== current);
  const revision = Math.max(revisionOf(current), nextRevision(others));
  const body = { metadata: { annotations: { [revisionAnnotation]: String(revision) } } };
  const { minReadySeconds = 0 } = object.spec;
  if (revisionOf(current) !== revision || (current.spec.minReadySeconds ?? 0) !== minReadySeconds) {
    const patch = { ...body, spec: { minReadySeconds } };
    await client.patch(resources.replicaSets, current.metadata, { type: "merge", body: patch });
  }
  if (revisionOf(object) !== revision) {
    await client.patch(resources.deployments, object.metadata, { type: "merge", body });
  }
}

async function scaleSet(
  { client, events }: ControllerContext,
  object: Deployment,
  set: ReplicaSet,
  replicas: number,
): Promise<void> {
  const body = { spec: { replicas }, metadata: { annotations: sizeAnnotations(object) } };
  await client.patch(resources.replicaSets, set.metadata, { type: "merge", body });
  const before = set.spec.replicas ?? 1;
  const verb = replicas > before ? "up" : "down";
  const message = `Scaled ${verb} replica set ${set.metadata.name} from ${before} to ${replicas}`;
  events.record(object, "Normal", "ScalingReplicaSet", message);
}
