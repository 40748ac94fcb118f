import { type DaemonSet, keyOf, type Node, type Pod, resources, type Toleration } from "../../kube/types.ts";
import { claimPods, enqueueOwner } from "./claim.ts";
import type { Controller, ControllerContext } from "./controller.ts";
import { matchesNode } from "./nodeaffinity.ts";
import { availableInMs, controllerReference, isFinished, isReady, podFromTemplate } from "./pods.ts";
import { currentRevision, hashOfRevision, revisionHashLabel } from "./revisions.ts";
import { resolve } from "./rollout.ts";
import { untolerated } from "./scheduler.ts";
import { createPod, deletePod, patchStatus } from "./writes.ts";

export interface DaemonPlan {
  /** Nodes that get a pod. */
  create: string[];
  delete: Pod[];
  status: NonNullable<DaemonSet["status"]>;
  againInMs: number | undefined;
}

/** A daemon stays on a node that is in trouble: it may be what is needed to get it out. */
export function daemonTolerations(hostNetwork: boolean): Toleration[] {
  const tolerate = (name: string, effect: "NoSchedule" | "NoExecute"): Toleration => ({
    key: `node.kubernetes.io/${name}`,
    operator: "Exists",
    effect,
  });
  return [
    tolerate("not-ready", "NoExecute"),
    tolerate("unreachable", "NoExecute"),
    ...["not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"].map(
      (name) => tolerate(name, "NoSchedule"),
    ),
    ...(hostNetwork ? [tolerate("network-unavailable", "NoSchedule")] : []),
  ];
}

function templatePod(set: DaemonSet): Pod {
  const { spec } = set.spec.template;
  const tolerations = [...(spec.tolerations ?? []), ...daemonTolerations(spec.hostNetwork === true)];
  return { metadata: { name: "" }, spec: { ...spec, tolerations } };
}

/**
 * One pod on each node that fits: what is missing, what is too many or of an old template, and what the status then says.
 * Pods of an old template are replaced node by node, so that no more than maxUnavailable are missing at a time.
 */
export function planDaemons(
  set: DaemonSet,
  nodes: readonly Node[],
  pods: readonly Pod[],
  hash: string,
  now: number,
): DaemonPlan {
  const model = templatePod(set);
  const wants = (node: Node) =>
    matchesNode(model, node) && untolerated(model, node, ["NoSchedule", "NoExecute"]).length === 0;
  // A pod that is there stays on a node that only ceased to take new ones.
  const keeps = (node: Node) =>
    matchesNode(model, node) && untolerated(model, node, ["NoExecute"]).length === 0;
  const byNode = Map.groupBy(pods, ({ spec }) => spec.nodeName ?? "");
  const plan: DaemonPlan = { create: [], delete: [], status: emptyStatus(set), againInMs: undefined };
  const old: { pod: Pod; available: boolean }[] = [];
  const { status } = plan;
  let unavailable = 0;
  for (const node of nodes) {
    const here = (byNode.get(node.metadata.name) ?? []).filter(
      (pod) => pod.metadata.deletionTimestamp === undefined,
    );
    const leaving = (byNode.get(node.metadata.name)?.length ?? 0) > here.length;
    const working = here
      .filter((pod) => !isFinished(pod))
      .sort((a, b) => Number(isReady(b)) - Number(isReady(a)));
    byNode.delete(node.metadata.name);
    plan.delete.push(...here.filter(isFinished), ...working.slice(1));
    const [pod] = working;
    if (!wants(node)) {
      if (pod === undefined) continue;
      status.numberMisscheduled++;
      if (!keeps(node)) plan.delete.push(pod);
      continue;
    }
    status.desiredNumberScheduled++;
    if (pod === undefined) {
      unavailable++;
      if (!leaving) plan.create.push(node.metadata.name);
      continue;
    }
    const wait = availableInMs(pod, set.spec.minReadySeconds ?? 0, now);
    if (wait > 0) unavailable++;
    if (wait > 0 && Number.isFinite(wait)) plan.againInMs = Math.min(wait, plan.againInMs ?? wait);
    count(status, pod, wait === 0, hash);
    if (pod.metadata.labels?.[revisionHashLabel] !== hash) old.push({ pod, available: wait === 0 });
  }
  // Pods of nodes that are gone are removed with the node.
  status.numberUnavailable = status.desiredNumberScheduled - (status.numberAvailable ?? 0);
  plan.delete.push(...replaced(set, old, unavailable, status.desiredNumberScheduled));
  if (set.metadata.deletionTimestamp !== undefined) return { ...plan, create: [], delete: [] };
  return plan;
}

function emptyStatus(set: DaemonSet): NonNullable<DaemonSet["status"]> {
  return {
    observedGeneration: set.metadata.generation ?? 0,
    currentNumberScheduled: 0,
    numberMisscheduled: 0,
    desiredNumberScheduled: 0,
    numberReady: 0,
    updatedNumberScheduled: 0,
    numberAvailable: 0,
    numberUnavailable: 0,
  };
}

function count(status: NonNullable<DaemonSet["status"]>, pod: Pod, available: boolean, hash: string): void {
  status.currentNumberScheduled++;
  if (isReady(pod)) status.numberReady++;
  if (available) status.numberAvailable = (status.numberAvailable ?? 0) + 1;
  if (pod.metadata.labels?.[revisionHashLabel] === hash) {
    status.updatedNumberScheduled = (status.updatedNumberScheduled ?? 0) + 1;
  }
}

/** Those that do not work go at once; of the others as many as may be missing beside those that are missing already. */
function replaced(
  set: DaemonSet,
  old: readonly { pod: Pod; available: boolean }[],
  unavailable: number,
  desired: number,
): Pod[] {
  if (set.spec.updateStrategy?.type === "OnDelete") return [];
  const { maxUnavailable = 1 } = set.spec.updateStrategy?.rollingUpdate ?? {};
  const limit = Math.max(1, resolve(maxUnavailable, desired, Math.ceil));
  const broken = old.filter(({ available }) => !available);
  const working = old.filter(({ available }) => available).slice(0, Math.max(0, limit - unavailable));
  return [...broken, ...working].map(({ pod }) => pod);
}

/** Keeps one pod on every node that fits. */
export const daemonSet: Controller = {
  name: "daemon-set",
  start(context) {
    const { informers, queue } = context;
    const sets = informers.of(resources.daemonSets);
    const work = queue((key) => sync(context, key));
    const add = (object: DaemonSet) => work.add(keyOf(object.metadata));
    sets.on({ add, update: add, delete: add });
    informers.of(resources.pods).on(enqueueOwner(sets, work, "DaemonSet"));
    const all = () => {
      for (const set of sets.list()) add(set);
    };
    informers.of(resources.nodes).on({
      add: all,
      update: (node, before) => {
        const view = ({ metadata, spec }: Node) => JSON.stringify([metadata.labels, spec?.taints]);
        if (view(node) !== view(before)) all();
      },
      delete: all,
    });
  },
};

async function sync(context: ControllerContext, key: string): Promise<number | undefined> {
  const { client, informers, clock } = context;
  const set = informers.of(resources.daemonSets).getByKey(key);
  if (set === undefined) return undefined;
  const pods = await claimPods(context, resources.daemonSets, set);
  const inUse = new Set(pods.map(({ metadata }) => metadata.labels?.[revisionHashLabel] ?? ""));
  const hash =
    set.metadata.deletionTimestamp === undefined
      ? hashOfRevision(await currentRevision(context, resources.daemonSets, set, inUse))
      : "";
  const nodes = informers.of(resources.nodes).list();
  const plan = planDaemons(set, nodes, pods, hash, clock.now());
  await patchStatus(client, resources.daemonSets, set, plan.status);
  const owner = controllerReference(resources.daemonSets, set);
  const { template } = set.spec;
  await Promise.all(
    plan.create.map((nodeName) => {
      const draft = podFromTemplate(template, set.metadata.namespace, owner, { [revisionHashLabel]: hash });
      draft.metadata.generateName = `${set.metadata.name}-`;
      return createPod(context, set, { ...draft, spec: { ...templatePod(set).spec, nodeName } });
    }),
  );
  await Promise.all(plan.delete.map((pod) => deletePod(context, set, pod)));
  return plan.againInMs;
}
