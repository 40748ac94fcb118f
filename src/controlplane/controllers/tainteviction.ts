import { keyOf, type Node, type Pod, resources, type Taint } from "../../kube/types.ts";
import type { Controller } from "./controller.ts";
import { isFinished } from "./pods.ts";
import { tolerated } from "./scheduler.ts";
import { deleteObject } from "./writes.ts";

/** Taints of nodes in trouble: without a toleration of their own, pods tolerate them for a while. */
const troubles = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/**
 * When a pod has to leave its node because of taints with the effect NoExecute, in milliseconds since 1970; undefined
 * where it may stay. (The API server of a real cluster gives each pod tolerations of five minutes for nodes in trouble;
 * `patienceMs` is in their place.)
 */
export function evictionTime(pod: Pod, node: Node, patienceMs: number, now: number): number | undefined {
  const times = (node.spec?.taints ?? [])
    .filter(({ effect }) => effect === "NoExecute")
    .map((taint) => timeOf(pod, taint, patienceMs, now))
    .filter((time) => time !== undefined);
  return times.length === 0 ? undefined : Math.min(...times);
}

function timeOf(pod: Pod, taint: Taint, patienceMs: number, now: number): number | undefined {
  const added = Date.parse(taint.timeAdded ?? "");
  const since = Number.isNaN(added) ? now : added;
  const tolerations = (pod.spec.tolerations ?? []).filter((toleration) => tolerated(toleration, taint));
  if (tolerations.length === 0) return troubles.includes(taint.key) ? since + patienceMs : since;
  if (tolerations.some(({ tolerationSeconds }) => tolerationSeconds === undefined)) return undefined;
  const seconds = tolerations.map(({ tolerationSeconds = 0 }) => Math.max(0, tolerationSeconds));
  return since + Math.min(...seconds) * 1000;
}

/** Deletes pods from nodes whose taints they do not tolerate. */
export const taintEviction: Controller = {
  name: "taint-eviction",
  start({ client, informers, events, evictionMs, clock, queue }) {
    const pods = informers.of(resources.pods);
    const nodes = informers.of(resources.nodes);
    const work = queue(async (key) => {
      const pod = pods.getByKey(key);
      const node = nodes.get({ name: pod?.spec.nodeName ?? "" });
      if (pod === undefined || node === undefined) return undefined;
      if (pod.metadata.deletionTimestamp !== undefined || isFinished(pod)) return undefined;
      const time = evictionTime(pod, node, evictionMs, clock.now());
      if (time === undefined) return undefined;
      if (time > clock.now()) return time - clock.now();
      if (await deleteObject(client, resources.pods, pod)) {
        events.record(pod, "Normal", "TaintManagerEviction", `Marking for deletion Pod ${key}`);
      }
      return undefined;
    });
    const tainted = (node: Node) => node.spec?.taints?.some(({ effect }) => effect === "NoExecute") === true;
    const addNode = (node: Node) => {
      if (!tainted(node)) return;
      for (const pod of pods.by("node", node.metadata.name)) work.add(keyOf(pod.metadata));
    };
    nodes.on({
      add: addNode,
      update: (node, before) => {
        if (JSON.stringify(node.spec?.taints) !== JSON.stringify(before.spec?.taints)) addNode(node);
      },
    });
    const addPod = (pod: Pod) => {
      const node = nodes.get({ name: pod.spec.nodeName ?? "" });
      if (node !== undefined && tainted(node)) work.add(keyOf(pod.metadata));
    };
    pods.on({ add: addPod, update: addPod });
  },
};
