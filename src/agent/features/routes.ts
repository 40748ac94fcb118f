import { counted } from "../../lib/count.ts";
import { explain } from "../../lib/errors.ts";
import { isNotFound } from "../../linux/errors.ts";
import type { Kernel } from "../../linux/kernel.ts";
import type { RtnlEvent } from "../../linux/route/monitor.ts";
import { RT_TABLE_MAIN } from "../../linux/route/route.ts";
import { ReconcileLoop } from "../../reconcile/loop.ts";
import { removeHostGateway, syncHostGateway } from "../../routes/host-gw.ts";
import { type PodRoute, planRoutes, type RouteProblem } from "../../routes/plan.ts";
import type { AgentConfig } from "../config.ts";
import type { AgentContext, Feature, FeatureState } from "../feature.ts";
import { onNodes } from "../nodes.ts";
import { aborted, checkInterval, followKernel, repeat } from "../timing.ts";

/** Routes to every other node's pods by that node's address, and forwarding between this node's links. */
export const routes: Feature = {
  name: "routes",

  async run(context) {
    const { clock, config, informers, kernel, log, report, signal } = context;
    const nodes = informers.nodes();
    const state = { written: 0, wanted: new Set<string>() };
    const loop = new ReconcileLoop(
      () => {
        enableForwarding(kernel, config);
        if (!nodes.hasSynced) return;
        const { routes: wanted, problems } = planRoutes(context.nodeName, nodes.list());
        state.wanted = new Set(wanted.map(({ dst }) => dst.toString()));
        const result = syncHostGateway(kernel, wanted);
        state.written += result.changed;
        if (result.changed > 0) {
          log.info("Routes written", { changed: result.changed, routes: wanted.length });
        }
        const now = judge(wanted, [...problems, ...result.problems]);
        report(now.state, now.message);
      },
      { clock, signal, onError: (error) => report("failing", explain(error)) },
    );
    registerMetrics(context, state);
    onNodes(nodes, loop.triggered);
    report("starting", "waiting for the API server to list the nodes");
    await Promise.race([nodes.synced, aborted(signal)]).catch(() => {});
    loop.trigger();
    repeat(context, checkInterval, loop.triggered);
    await followKernel(context, ["links", "addresses", "routes"], (event) => {
      if (!concerns(event, state.wanted)) return;
      log.debug("The kernel's network changed", { object: event.object });
      loop.trigger();
    });
  },

  async cleanup({ kernel, log }) {
    const removed = removeHostGateway(kernel);
    if (removed > 0) log.info("Removed routes", { removed });
  },
};

/** What to report: another node that cannot be reached does not keep this one from reaching the others. */
function judge(wanted: readonly PodRoute[], problems: readonly RouteProblem[]): FeatureState {
  const lasting = problems.filter(({ passing }) => passing !== true);
  const first = lasting[0] ?? problems[0];
  const count = `routes to ${counted(new Set(wanted.map(({ node }) => node)).size, "node")}`;
  if (first === undefined) return { state: "ready", message: count };
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  const message = `${count}; node "${first.node}": ${first.message}${more}`;
  return { state: lasting.length > 0 ? "degraded" : "ready", message };
}

/**
 * Whether routes may be missing now: somebody removed or replaced one (of a replacement the kernel tells the new route
 * alone), or a link or an address came or went that is not a pod's.
 */
function concerns(event: RtnlEvent, wanted: ReadonlySet<string>): boolean {
  switch (event.object) {
    case "route": {
      const { dst, protocol, table } = event.route;
      return table === RT_TABLE_MAIN && (protocol === "weft" || wanted.has(dst.toString()));
    }
    case "link":
      return event.link.master === undefined;
    case "address":
      return !event.address.address.ip.isLinkLocal();
    default:
      return true;
  }
}

/**
 * A node forwards between pods and its own links. With IPv6, forwarding makes the kernel ignore router advertisements
 * unless accept_ra is 2 (Documentation/networking/ip-sysctl): a node that got its default route by one keeps it.
 */
function enableForwarding({ rtnl, sysctl }: Kernel, { clusterCidrs }: AgentConfig): void {
  const families = clusterCidrs.map(({ family }) => family);
  if (families.includes(4) && sysctl.read("net.ipv4.ip_forward") !== "1") {
    sysctl.write("net.ipv4.ip_forward", 1);
  }
  try {
    if (!families.includes(6) || sysctl.read("net.ipv6.conf.all.forwarding") === "1") return;
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

function registerMetrics({ metrics }: AgentContext, state: { written: number; wanted: Set<string> }): void {
  metrics.register("gauge", "weft_routes", "Routes to other nodes' pods", () => state.wanted.size);
  metrics.register(
    "counter",
    "weft_route_writes_total",
    "Routes added, replaced or removed",
    () => state.written,
  );
}
