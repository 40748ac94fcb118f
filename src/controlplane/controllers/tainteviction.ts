import { keyOf, type Node, type Pod, resources, type Taint } from "../../kube/types.ts";
import type { Controller } from "./controller.ts";
import { isFinished } from "./pods.ts";
import { tolerated } from "./scheduler.ts";
import { deleteObject } from "./writes.ts";

/**
 * When a pod has to leave its node because of taints with the effect NoExecute, in milliseconds since 1970; undefined
 * where it may stay. `sinceOf` tells when a taint was added. (For nodes in trouble the API server gives each pod tolerations of five minutes.)
 */
export function evictionTime(pod: Pod, node: Node, sinceOf: (taint: Taint) => number): number | undefined {
  const times = (node.spec?.taints ?? [])
    .filter(({ effect }) => effect === "NoExecute")
    .map((taint) => timeOf(pod, taint, sinceOf(taint)))
    .filter((time) => time !== undefined);
  return times.length === 0 ? undefined : Math.min(...times);
}

function timeOf(pod: Pod, taint: Taint, since: number): number | undefined {
  const tolerations = (pod.spec.tolerations ?? []).filter((toleration) => tolerated(toleration, taint));
  if (tolerations.length === 0) return since;
  if (tolerations.some(({ tolerationSeconds }) => tolerationSeconds === undefined)) return undefined;
  const seconds = tolerations.map(({ tolerationSeconds = 0 }) => Math.max(0, tolerationSeconds));
  return since + Math.min(...seconds) * 1000;
}

/** Deletes pods from nodes whose taints they do not tolerate. */
export const taintEviction: Controller = {
  name: "taint-eviction",
  start({ client, informers, events, clock, queue }) {
    const pods = informers.of(resources.pods);
    const nodes = informers.of(resources.nodes);
    /** When taints that do not tell it themselves were first seen. */
    const seen = new Map<string, number>();
    const taintKey = (node: Node, { key, value = "" }: Taint) => `${node.metadata.uid} ${key}=${value}`;
    const sinceOf = (node: Node, taint: Taint): number => {
      const added = Date.parse(taint.timeAdded ?? "");
      return Number.isNaN(added) ? (seen.get(taintKey(node, taint)) ?? clock.now()) : added;
    };
    const work = queue(async (key) => {
      const pod = pods.getByKey(key);
      const node = nodes.get({ name: pod?.spec.nodeName ?? "" });
      if (pod === undefined || node === undefined) return undefined;
      if (pod.metadata.deletionTimestamp !== undefined || isFinished(pod)) return undefined;
      const time = evictionTime(pod, node, (taint) => sinceOf(node, taint));
      if (time === undefined) return undefined;
      if (time > clock.now()) return time - clock.now();
      if (await deleteObject(client, resources.pods, pod)) {
        events.record(pod, "Normal", "TaintManagerEviction", `Marking for deletion Pod ${key}`);
      }
      return undefined;
    });
    const tainted = (node: Node) => node.spec?.taints?.some(({ effect }) => effect === "NoExecute") === true;
    const forget = (node: Node) => {
      for (const taint of node.spec?.taints ?? []) seen.delete(taintKey(node, taint));
    };
    const addNode = (node: Node) => {
      if (!tainted(node)) return;
      for (const taint of node.spec?.taints ?? []) {
        const key = taintKey(node, taint);
        if (taint.timeAdded === undefined) seen.set(key, seen.get(key) ?? clock.now());
      }
      for (const pod of pods.by("node", node.metadata.name)) work.add(keyOf(pod.metadata));
    };
    nodes.on({
      add: addNode,
      update: (node, before) => {
        if (JSON.stringify(node.spec?.taints) === JSON.stringify(before.spec?.taints)) return;
        const kept = node.spec?.taints?.map((taint) => taintKey(node, taint)) ?? [];
        for (const taint of before.spec?.taints ?? []) {
          if (!kept.includes(taintKey(before, taint))) seen.delete(taintKey(before, taint));
        }
        addNode(node);
      },
      delete: forget,
    });
    const addPod = (pod: Pod) => {
      const node = nodes.get({ name: pod.spec.nodeName ?? "" });
      if (node !== undefined && tainted(node)) work.add(keyOf(pod.metadata));
    };
    pods.on({ add: addPod, update: addPod });
  },
};
