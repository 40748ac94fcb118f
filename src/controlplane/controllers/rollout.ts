import type { Deployment, IntOrString, ReplicaSet } from "../../kube/types.ts";
import { canonical } from "./hash.ts";
import { byAge } from "./pods.ts";

/** How a Deployment's ReplicaSets should be scaled next, and which of them it no longer needs. */
export interface RolloutPlan {
  /** The set of the present template, where there is one. */
  current: ReplicaSet | undefined;
  /** Undefined: make the set of the present template, with so many replicas. */
  create: number | undefined;
  scale: { set: ReplicaSet; replicas: number }[];
  remove: ReplicaSet[];
}

export const revisionAnnotation = "deployment.kubernetes.io/revision";
export const desiredAnnotation = "deployment.kubernetes.io/desired-replicas";
export const maxAnnotation = "deployment.kubernetes.io/max-replicas";
export const templateHashLabel = "pod-template-hash";

/** maxSurge and maxUnavailable in pods: of percentages the one rounds up and the other down, and not both are 0. */
export function rolloutLimits(deployment: Deployment): { maxSurge: number; maxUnavailable: number } {
  const { strategy, replicas = 1 } = deployment.spec;
  if (strategy?.type === "Recreate") return { maxSurge: 0, maxUnavailable: replicas };
  const { maxSurge = "25%", maxUnavailable = "25%" } = strategy?.rollingUpdate ?? {};
  const surge = resolve(maxSurge, replicas, Math.ceil);
  const unavailable = resolve(maxUnavailable, replicas, Math.floor);
  return { maxSurge: surge, maxUnavailable: surge + unavailable === 0 ? 1 : Math.min(unavailable, replicas) };
}

/** A number of pods, or a percentage of all of them. */
export function resolve(value: IntOrString, total: number, round: (x: number) => number): number {
  if (typeof value === "number") return value;
  return round((Number.parseInt(value, 10) * total) / 100) || 0;
}

/** The oldest set with the Deployment's template; which hash it was labelled with does not matter. */
export function currentSet(deployment: Deployment, sets: readonly ReplicaSet[]): ReplicaSet | undefined {
  const wanted = templateKey(deployment.spec.template);
  return sets.toSorted(byAge).find((set) => templateKey(set.spec.template) === wanted);
}

function templateKey(template: ReplicaSet["spec"]["template"]): string {
  const { [templateHashLabel]: _, ...labels } = template?.metadata?.labels ?? {};
  return canonical({ ...template, metadata: { ...template?.metadata, labels } });
}

const desired = (set: ReplicaSet) => set.spec.replicas ?? 1;
const available = (set: ReplicaSet) => set.status?.availableReplicas ?? 0;
const sum = (sets: readonly ReplicaSet[], value: (set: ReplicaSet) => number) =>
  sets.reduce((total, set) => total + value(set), 0);

/** One step of a rollout, from what the sets want and have now. `oldPods`: pods of old sets still exist (Recreate). */
export function planRollout(
  deployment: Deployment,
  sets: readonly ReplicaSet[],
  oldPods: boolean,
): RolloutPlan {
  const { paused, replicas = 1, strategy, revisionHistoryLimit = 10 } = deployment.spec;
  const current = currentSet(deployment, sets);
  const old = sets.filter((set) => set !== current).toSorted(byAge);
  const plan: RolloutPlan = { current, create: undefined, scale: [], remove: [] };
  if (deployment.metadata.deletionTimestamp !== undefined) return plan;
  if (paused === true || isScaling(deployment, sets)) {
    plan.scale = proportional(deployment, current, old);
    if (plan.scale.length > 0 || paused === true) return plan;
  }
  if (strategy?.type === "Recreate") recreate(plan, old, replicas, oldPods);
  else roll(plan, deployment, old);
  plan.remove = spent(old, current, replicas, revisionHistoryLimit);
  return plan;
}

/** The Deployment's size was changed since its sets were last scaled. */
function isScaling(deployment: Deployment, sets: readonly ReplicaSet[]): boolean {
  return sets.some((set) => {
    const noted = set.metadata.annotations?.[desiredAnnotation];
    return desired(set) > 0 && noted !== undefined && Number(noted) !== (deployment.spec.replicas ?? 1);
  });
}

/**
 * Changes the size without changing how far a rollout has come: each set grows or shrinks by its share, as it was under
 * the former limit; what rounding leaves goes to the largest set.
 */
function proportional(deployment: Deployment, current: ReplicaSet | undefined, old: readonly ReplicaSet[]) {
  const { replicas = 1 } = deployment.spec;
  const all = current === undefined ? [...old] : [...old, current];
  const active = all.filter((set) => desired(set) > 0);
  const [only] = active.length === 0 ? (current === undefined ? old.slice(-1) : [current]) : active;
  const scale: RolloutPlan["scale"] = [];
  const want = (set: ReplicaSet, count: number) => {
    if (desired(set) !== count) scale.push({ set, replicas: count });
  };
  if (only === undefined) return scale;
  if (active.length <= 1) {
    want(only, replicas);
    return scale;
  }
  if (deployment.spec.strategy?.type === "Recreate") return scale;
  const total = sum(active, desired);
  const allowed = replicas > 0 ? replicas + rolloutLimits(deployment).maxSurge : 0;
  const toAdd = allowed - total;
  const largestFirst = active.toSorted((a, b) => desired(b) - desired(a) || byAge(b, a));
  let left = toAdd;
  const shares = largestFirst.map((set) => {
    const before = Number(set.metadata.annotations?.[maxAnnotation] ?? 0) || total;
    const share = Math.round((desired(set) * allowed) / before) - desired(set);
    const bounded = toAdd > 0 ? Math.min(Math.max(share, 0), left) : Math.max(Math.min(share, 0), left);
    left -= bounded;
    return bounded;
  });
  for (const [i, set] of largestFirst.entries()) {
    want(set, Math.max(0, desired(set) + (shares[i] as number) + (i === 0 ? left : 0)));
  }
  return scale;
}

function recreate(plan: RolloutPlan, old: readonly ReplicaSet[], replicas: number, oldPods: boolean): void {
  plan.scale = old.filter((set) => desired(set) > 0).map((set) => ({ set, replicas: 0 }));
  if (plan.scale.length > 0 || oldPods) return;
  if (plan.current === undefined) plan.create = replicas;
  else if (desired(plan.current) !== replicas) plan.scale = [{ set: plan.current, replicas }];
}

/** Grows the new set as far as maxSurge lets it, and shrinks the old ones as far as maxUnavailable lets them. */
function roll(plan: RolloutPlan, deployment: Deployment, old: readonly ReplicaSet[]): void {
  const { replicas = 1 } = deployment.spec;
  const { maxSurge, maxUnavailable } = rolloutLimits(deployment);
  const { current } = plan;
  const oldTotal = sum(old, desired);
  const currentSize = current === undefined ? 0 : desired(current);
  const room = Math.max(0, replicas + maxSurge - oldTotal - currentSize);
  const wanted = Math.min(replicas, currentSize + room);
  if (current === undefined) plan.create = wanted;
  else if (wanted !== currentSize) plan.scale.push({ set: current, replicas: wanted });
  if (oldTotal === 0) return;

  const least = replicas - maxUnavailable;
  const unavailable = currentSize - (current === undefined ? 0 : available(current));
  let spare = oldTotal + currentSize - least - unavailable;
  const sizes = new Map(old.map((set) => [set, desired(set)]));
  const shrink = (set: ReplicaSet, by: number) => sizes.set(set, (sizes.get(set) as number) - by);
  // Pods that do not work are no loss: they go first.
  for (const set of old) {
    const broken = Math.min(desired(set) - available(set), Math.max(0, spare));
    if (broken <= 0) continue;
    shrink(set, broken);
    spare -= broken;
  }
  let surplus = sum(old, available) + (current === undefined ? 0 : available(current)) - least;
  for (const set of old) {
    const by = Math.min(sizes.get(set) as number, Math.max(0, surplus), Math.max(0, spare));
    if (by <= 0) continue;
    shrink(set, by);
    surplus -= by;
    spare -= by;
  }
  for (const [set, size] of sizes) if (size !== desired(set)) plan.scale.push({ set, replicas: size });
}

/** Old sets beyond the history limit, once the rollout is done. */
function spent(
  old: readonly ReplicaSet[],
  current: ReplicaSet | undefined,
  replicas: number,
  limit: number,
): ReplicaSet[] {
  if (current === undefined || available(current) < replicas) return [];
  const empty = old.filter(
    (set) =>
      desired(set) === 0 && (set.status?.replicas ?? 0) === 0 && set.metadata.deletionTimestamp === undefined,
  );
  const byRevision = empty.toSorted((a, b) => revisionOf(a) - revisionOf(b) || byAge(a, b));
  return byRevision.slice(0, Math.max(0, old.length - limit));
}

export function revisionOf(object: { metadata: ReplicaSet["metadata"] }): number {
  return Number(object.metadata.annotations?.[revisionAnnotation] ?? 0) || 0;
}
