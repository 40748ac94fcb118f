import type { Node } from "../../kube/types.ts";
import { explain } from "../../lib/errors.ts";
import { Ip } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";
import { ReconcileLoop } from "../../reconcile/loop.ts";
import { MasqueradeDriver } from "../../services/masquerade.ts";
import { tryPrefix } from "../../services/prefixes.ts";
import type { AgentContext, Feature } from "../feature.ts";
import { onNodes } from "../nodes.ts";
import { aborted, checkInterval, repeat } from "../timing.ts";

/** Gives pods' traffic that leaves the cluster the node's address; pods and nodes among themselves keep theirs. */
export const masquerade: Feature = {
  name: "masquerade",

  async run(context) {
    const { clock, informers, kernel, log, nodeName, report, signal } = context;
    const driver = new MasqueradeDriver(kernel.nft);
    const nodes = informers.nodes();
    let written = 0;
    let check = false;
    const loop = new ReconcileLoop(
      () => {
        if (!nodes.hasSynced) return;
        const pods = podPrefixes(nodes.get({ name: nodeName }));
        if (pods.length === 0) {
          // What is there stays: the pods of a node that is registered again go on.
          report("starting", `waiting for the podCIDRs of node "${nodeName}"`);
          return;
        }
        const operations =
          driver.update(pods, exceptions(context, nodes.list())) + (check ? driver.check() : 0);
        check = false;
        written += operations;
        if (operations > 0) log.info("Masquerade written", { pods: pods.join(",") });
        report("ready", `pods in ${pods.join(" and ")} leave with the node's address`);
      },
      { clock, signal, onError: (error) => report("failing", explain(error)) },
    );
    context.metrics.register(
      "counter",
      "weft_masquerade_writes_total",
      "Objects and elements of masquerade written to nftables",
      () => written,
    );
    report("starting", "waiting for the API server to list the nodes");
    await Promise.race([nodes.synced, aborted(signal)]).catch(() => {});
    onNodes(nodes, loop.triggered);
    loop.trigger();
    repeat(context, checkInterval, () => {
      check = true;
      loop.trigger();
    });
    await aborted(signal);
  },

  async cleanup({ kernel, log }) {
    if (new MasqueradeDriver(kernel.nft).remove()) log.info("Removed masquerade");
  },
};

/** The prefixes of a node's pods; none while it has none. */
export function podPrefixes(node: Node | undefined): Prefix[] {
  const { podCIDR, podCIDRs } = node?.spec ?? {};
  return (podCIDRs ?? [podCIDR ?? ""]).flatMap((text) => tryPrefix(text) ?? []);
}

/** The addresses by which nodes reach each other. */
export function nodeAddresses(node: Node | undefined): Ip[] {
  return (node?.status?.addresses ?? [])
    .filter(({ type }) => type === "InternalIP")
    .flatMap(({ address }) => Ip.tryParse(address) ?? []);
}

/** Where pods are known by their own addresses. */
function exceptions({ config }: AgentContext, nodes: readonly Node[]): Prefix[] {
  return [
    ...config.clusterCidrs,
    ...config.serviceCidrs,
    ...config.nonMasqueradeCidrs,
    ...nodes.flatMap(nodeAddresses).map((ip) => Prefix.host(ip)),
  ];
}
