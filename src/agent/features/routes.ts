import { explain } from "../../lib/errors.ts";
import { isNotFound } from "../../linux/errors.ts";
import type { Kernel } from "../../linux/kernel.ts";
import { ReconcileLoop } from "../../reconcile/loop.ts";
import { removeHostGateway, syncHostGateway } from "../../routes/host-gw.ts";
import { type PodRoute, planRoutes, type RouteProblem } from "../../routes/plan.ts";
import type { AgentContext, Feature, FeatureState } from "../feature.ts";

/** Routes to every other node's pods by that node's address, and forwarding between this node's links. */
export const routes: Feature = {
  name: "routes",

  async run(context) {
    const { clock, informers, kernel, log, report, signal } = context;
    enableForwarding(kernel);
    const nodes = informers.nodes();
    let written = 0;
    let held = 0;
    const loop = new ReconcileLoop(
      () => {
        if (!nodes.hasSynced) return;
        const { routes: wanted, problems } = planRoutes(context.nodeName, nodes.list());
        const result = syncHostGateway(kernel, wanted);
        written += result.changed;
        held = wanted.length;
        if (result.changed > 0)
          log.info("Routes written", { changed: result.changed, routes: wanted.length });
        const { state, message } = judge(wanted, [...problems, ...result.problems]);
        report(state, message);
      },
      { clock, signal, onError: (error) => report("failing", explain(error)) },
    );
    context.metrics.register("gauge", "weft_routes", "Routes to other nodes' pods", () => held);
    context.metrics.register(
      "counter",
      "weft_route_writes_total",
      "Routes added, replaced or removed",
      () => written,
    );
    nodes.on({ add: loop.triggered, update: loop.triggered, delete: loop.triggered });
    report("starting", "waiting for the API server to list the nodes");
    await Promise.race([nodes.synced, aborted(signal)]).catch(() => {});
    loop.trigger();
    await followKernel(context, loop.triggered);
  },

  async cleanup({ kernel, log }) {
    const removed = removeHostGateway(kernel);
    log.info("Removed routes", { removed });
  },
};

/** What to report: problems that pass by themselves do not make the feature fail. */
function judge(wanted: readonly PodRoute[], problems: readonly RouteProblem[]): FeatureState {
  const lasting = problems.filter(({ passing }) => passing !== true);
  const first = lasting[0] ?? problems[0];
  const count = `routes to ${new Set(wanted.map(({ node }) => node)).size} nodes`;
  if (first === undefined) return { state: "ready", message: count };
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  const message = `node "${first.node}": ${first.message}${more}`;
  return lasting.length > 0
    ? { state: "failing", message }
    : { state: "ready", message: `${count}; ${message}` };
}

/** Puts back what somebody else removes, and routes again when a link or address comes back. */
async function followKernel({ kernel, log, signal }: AgentContext, changed: () => void): Promise<void> {
  const monitor = kernel.rtnl.monitor("links", "addresses", "routes");
  signal.addEventListener("abort", () => void monitor.close(), { once: true });
  for await (const event of monitor) {
    if (signal.aborted) return;
    const ours = event.object === "route" && event.route.protocol === "weft";
    const link = event.object === "link" || event.object === "address" || event.object === "overrun";
    if ((ours && event.action === "delete") || link) {
      log.debug("The kernel's network changed", { object: event.object });
      changed();
    }
  }
}

/**
 * A node forwards between pods and its own links. With IPv6, forwarding makes the kernel ignore router advertisements
 * unless accept_ra is 2 (Documentation/networking/ip-sysctl): a node that got its default route by one keeps it.
 */
function enableForwarding({ rtnl, sysctl }: Kernel): void {
  if (sysctl.read("net.ipv4.ip_forward") !== "1") sysctl.write("net.ipv4.ip_forward", 1);
  try {
    if (sysctl.read("net.ipv6.conf.all.forwarding") === "1") return;
    for (const { name } of rtnl.links.list()) {
      const key = `net/ipv6/conf/${name}/accept_ra`;
      if (sysctl.read(key) === "1") sysctl.write(key, 2);
    }
    sysctl.write("net.ipv6.conf.all.forwarding", 1);
  } catch (error) {
    // A kernel without IPv6 has no such parameters.
    if (!isNotFound(error)) throw error;
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
