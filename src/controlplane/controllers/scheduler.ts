import { isNotFound } from "../../kube/errors.ts";
import { keyOf, type Node, type Pod, resources, type Taint, type Toleration } from "../../kube/types.ts";
import type { Controller } from "./controller.ts";
import { timestamp } from "./events.ts";
import { matchesNode, preferenceOf } from "./nodeaffinity.ts";
import { conditionOf, controllerOf, isFinished, withCondition } from "./pods.ts";

/** A pod that is on a node, or about to be. */
export interface Placed {
  node: string;
  pod: Pod;
}

export type Decision = { node: string } | { message: string };

/** Kubelets take no more pods where the node does not say how many. */
const podsPerNode = 110;

/**
 * Chooses a node: of those that fit, the one that the pod prefers, then the one with the fewest pods of the same owner,
 * then with the fewest pods at all. Without one, why not, in the words of kube-scheduler.
 */
export function schedulePod(pod: Pod, nodes: readonly Node[], placed: readonly Placed[]): Decision {
  const reasons = new Map<string, number>();
  const candidates: { node: Node; rank: (number | string)[] }[] = [];
  const byNode = Map.groupBy(placed, ({ node }) => node);
  const owner = controllerOf(pod)?.uid;
  for (const node of nodes) {
    const there = (byNode.get(node.metadata.name) ?? [])
      .filter(({ pod }) => !isFinished(pod))
      .map(({ pod }) => pod);
    const reason = misfit(pod, node, there);
    if (reason !== undefined) {
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
      continue;
    }
    const siblings = there.filter(
      (other) => owner !== undefined && controllerOf(other)?.uid === owner,
    ).length;
    const avoided = untolerated(pod, node, ["PreferNoSchedule"]).length;
    const rank = [avoided, -preferenceOf(pod, node), siblings, there.length, node.metadata.name];
    candidates.push({ node, rank });
  }
  candidates.sort((a, b) => compareRanks(a.rank, b.rank));
  const best = candidates[0];
  if (best !== undefined) return { node: best.node.metadata.name };
  const counted = [...reasons].map(([reason, count]) => `${count} ${reason}`).sort();
  if (counted.length === 0) return { message: "no nodes available to schedule pods" };
  return { message: `0/${nodes.length} nodes are available: ${counted.join(", ")}.` };
}

function compareRanks(a: readonly (number | string)[], b: readonly (number | string)[]): number {
  for (const [i, one] of a.entries()) {
    const two = b[i] as number | string;
    if (one !== two) return one < two ? -1 : 1;
  }
  return 0;
}

/** Why a node cannot take a pod, as it stands in kube-scheduler's messages; undefined where it can. */
function misfit(pod: Pod, node: Node, there: readonly Pod[]): string | undefined {
  if (node.metadata.deletionTimestamp !== undefined) return "node(s) were being deleted";
  const tolerates = (taint: Taint) =>
    pod.spec.tolerations?.some((toleration) => tolerated(toleration, taint));
  const cordoned: Taint = { key: "node.kubernetes.io/unschedulable", effect: "NoSchedule" };
  if (node.spec?.unschedulable === true && !tolerates(cordoned)) return "node(s) were unschedulable";
  const [taint] = untolerated(pod, node, ["NoSchedule", "NoExecute"]);
  if (taint !== undefined) return `node(s) had untolerated taint {${taint.key}: ${taint.value ?? ""}}`;
  const notReady: Taint = { key: "node.kubernetes.io/not-ready", effect: "NoSchedule" };
  const ready = conditionOf(node.status?.conditions, "Ready")?.status === "True";
  if (!ready && !tolerates(notReady)) return `node(s) had untolerated taint {${notReady.key}: }`;
  if (!matchesNode(pod, node)) return "node(s) didn't match Pod's node affinity/selector";
  if (there.length >= Number(node.status?.allocatable?.pods ?? podsPerNode)) return "Too many pods";
  if (portsClash(pod, there)) return "node(s) didn't have free ports for the requested pod ports";
  return undefined;
}

/** The taints of a node, of some effects, that a pod does not tolerate. */
export function untolerated(pod: Pod, node: Node, effects: readonly Taint["effect"][]): Taint[] {
  return (node.spec?.taints ?? []).filter(
    (taint) =>
      effects.includes(taint.effect) &&
      !pod.spec.tolerations?.some((toleration) => tolerated(toleration, taint)),
  );
}

/** Without key a toleration of "Exists" is for all taints, and without effect for all effects. */
export function tolerated(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect && toleration.effect !== taint.effect) return false;
  if (toleration.key && toleration.key !== taint.key) return false;
  if (toleration.operator === "Exists") return true;
  return Boolean(toleration.key) && (toleration.value ?? "") === (taint.value ?? "");
}

function hostPorts(pod: Pod): { ip: string; key: string }[] {
  return pod.spec.containers.flatMap(({ ports }) =>
    (ports ?? []).flatMap(({ hostPort, hostIP, protocol, containerPort }) => {
      const port = hostPort || (pod.spec.hostNetwork === true ? containerPort : 0);
      return port ? [{ ip: hostIP || "0.0.0.0", key: `${protocol ?? "TCP"}/${port}` }] : [];
    }),
  );
}

function portsClash(pod: Pod, there: readonly Pod[]): boolean {
  const wanted = hostPorts(pod);
  if (wanted.length === 0) return false;
  const any = (ip: string) => ip === "0.0.0.0" || ip === "::";
  const taken = there.flatMap(hostPorts);
  return wanted.some(({ ip, key }) =>
    taken.some((other) => other.key === key && (other.ip === ip || any(ip) || any(other.ip))),
  );
}

/** Puts pods without a node on one. */
export const scheduler: Controller = {
  name: "scheduler",
  start({ client, informers, events, clock, queue }) {
    const pods = informers.of(resources.pods);
    const nodes = informers.of(resources.nodes);
    /** Decisions on their way to the API server, by the pod's uid. */
    const assumed = new Map<string, Placed>();

    const isWaiting = (pod: Pod) =>
      !pod.spec.nodeName &&
      !isFinished(pod) &&
      pod.metadata.deletionTimestamp === undefined &&
      (pod.spec.schedulerName ?? "default-scheduler") === "default-scheduler" &&
      !pod.spec.schedulingGates?.length &&
      !assumed.has(pod.metadata.uid ?? "");

    const placed = (): Placed[] => {
      const bound = pods.list().filter((pod) => pod.spec.nodeName);
      return [...bound.map((pod) => ({ node: pod.spec.nodeName as string, pod })), ...assumed.values()];
    };

    const bind = async (pod: Pod, node: string): Promise<void> => {
      const { name, namespace, uid = "" } = pod.metadata;
      assumed.set(uid, { node, pod });
      const metadata = { name, uid, ...(namespace === undefined ? {} : { namespace }) };
      const binding = {
        apiVersion: "v1",
        kind: "Binding",
        metadata,
        target: { apiVersion: "v1", kind: "Node", name: node },
      };
      try {
        await client.create(resources.pods, binding as unknown as Pod, { subresource: "binding" });
      } catch (error) {
        assumed.delete(uid);
        throw error;
      }
      events.record(pod, "Normal", "Scheduled", `Successfully assigned ${keyOf(pod.metadata)} to ${node}`);
    };

    const refuse = async (pod: Pod, message: string): Promise<void> => {
      const told = conditionOf(pod.status?.conditions, "PodScheduled");
      if (told?.status === "False" && told.reason === "Unschedulable" && told.message === message) return;
      events.record(pod, "Warning", "FailedScheduling", message);
      const condition = { type: "PodScheduled", status: "False", reason: "Unschedulable", message } as const;
      const conditions = withCondition(pod.status?.conditions, condition, timestamp(clock));
      await client.updateStatus(resources.pods, { ...pod, status: { ...pod.status, conditions } });
    };

    const work = queue(async (key) => {
      const pod = pods.getByKey(key);
      if (pod === undefined || !isWaiting(pod)) return undefined;
      // From here to `assumed.set` nothing is awaited: no two decisions are made on the same picture.
      const decision = schedulePod(pod, nodes.list(), placed());
      try {
        await ("node" in decision ? bind(pod, decision.node) : refuse(pod, decision.message));
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
      return undefined;
    });

    const retryAll = () => {
      for (const pod of pods.by("node", "")) if (isWaiting(pod)) work.add(keyOf(pod.metadata));
    };
    const consider = (pod: Pod) => {
      if (pod.spec.nodeName) assumed.delete(pod.metadata.uid ?? "");
      else if (isWaiting(pod)) work.add(keyOf(pod.metadata));
    };
    pods.on({
      add: consider,
      update: (pod, before) => {
        consider(pod);
        if (isFinished(pod) && !isFinished(before)) retryAll();
      },
      delete: (pod) => {
        assumed.delete(pod.metadata.uid ?? "");
        retryAll();
      },
    });
    nodes.on({
      add: retryAll,
      update: (node, before) => {
        if (schedulingView(node) !== schedulingView(before)) retryAll();
      },
    });
  },
};

/** What of a node decides about pods: its heartbeats do not. */
function schedulingView({ metadata, spec, status }: Node): string {
  const ready = conditionOf(status?.conditions, "Ready")?.status;
  return JSON.stringify([metadata.labels, spec?.taints, spec?.unschedulable, status?.allocatable, ready]);
}
