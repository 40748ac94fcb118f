import { type Node, resources } from "../../kube/types.ts";
import { type CidrPlan, type NodeCidrs, planNodeCidrs } from "./cidrs.ts";
import type { Controller } from "./controller.ts";
import { byAge } from "./pods.ts";

/** Hands a part of each cluster CIDR to every node, as its `spec.podCIDRs`. */
export const nodeIpam: Controller = {
  name: "node-ipam",
  start({ client, informers, events, networks, log, queue }) {
    const nodes = informers.of(resources.nodes);
    let cursors: number[] = [];
    const told = new Set<string>();

    const complain = (node: Node, reason: string, message: string) => {
      const key = `${node.metadata.uid} ${message}`;
      if (told.has(key)) return;
      told.add(key);
      log.error(message, { node: node.metadata.name });
      events.record(node, "Warning", reason, message);
    };
    const report = (plan: CidrPlan) => {
      for (const { name, pool, nodeMask, taken } of plan.exhausted) {
        const node = nodes.get({ name });
        if (node === undefined) continue;
        const message = `Node "${name}" gets no podCIDR: cluster CIDR "${pool}" has no free /${nodeMask} left (${taken} are taken). Remove nodes, or use a larger --cluster-cidr`;
        complain(node, "CIDRNotAvailable", message);
      }
      for (const { name, podCIDR, other } of plan.conflicts) {
        const node = nodes.get({ name });
        if (node === undefined) continue;
        const message = `Node "${name}" has podCIDR "${podCIDR}", which overlaps with that of node "${other}". Delete and register one of them again`;
        complain(node, "CIDRConflict", message);
      }
    };

    const work = queue(
      async () => {
        if (networks.clusterCIDRs.length === 0) return undefined;
        const plan = planNodeCidrs(networks.clusterCIDRs, nodes.list().sort(byAge).map(cidrsOf), cursors);
        cursors = plan.cursors;
        report(plan);
        await Promise.all(
          plan.assigned.map(async ({ name, podCIDRs }) => {
            const { uid } = nodes.get({ name })?.metadata ?? {};
            if (uid === undefined) return;
            const spec = { podCIDR: podCIDRs[0] as string, podCIDRs };
            await client.patch(
              resources.nodes,
              { name },
              { type: "merge", body: { metadata: { uid }, spec } },
            );
            log.info("A node has its podCIDRs", { node: name, podCIDRs: podCIDRs.join(",") });
          }),
        );
        return undefined;
      },
      { concurrency: 1 },
    );
    nodes.on({
      add: () => work.add("nodes"),
      update: (node, before) => {
        if (cidrsOf(node).podCIDRs.join() !== cidrsOf(before).podCIDRs.join()) work.add("nodes");
      },
      delete: () => {
        // What was exhausted may have room again, and is told again if not.
        told.clear();
        work.add("nodes");
      },
    });
  },
};

function cidrsOf(node: Node): NodeCidrs {
  const { podCIDR, podCIDRs } = node.spec ?? {};
  return { name: node.metadata.name, podCIDRs: podCIDRs ?? (podCIDR ? [podCIDR] : []) };
}
