import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Node } from "../../kube/types.ts";
import { explain, WeftError } from "../../lib/errors.ts";
import type { Prefix } from "../../lib/prefix.ts";
import { pluginExecutable } from "../../lib/self.ts";
import { isNotFound } from "../../linux/errors.ts";
import type { Kernel } from "../../linux/kernel.ts";
import { pluginNames } from "../../plugins/names.ts";
import { ReconcileLoop } from "../../reconcile/loop.ts";
import { nodeAddress, podCidrs, type RouteProblem } from "../../routes/plan.ts";
import { conflist, conflistName, networkName } from "../cni/conflist.ts";
import { installPlugins, uninstallPlugins, writeAtomically } from "../cni/install.ts";
import { preflight } from "../cni/preflight.ts";
import type { AgentContext, Feature } from "../feature.ts";

const self = "cni-config";
/** Pods get networks only when these can carry their traffic. */
const needed = ["routes", "masquerade"];

/**
 * Installs the plugins and tells the runtime of the network, by 10-weft.conflist, once all that the file promises
 * works: the node has podCIDRs, the kernel has what it takes, the plugins start, and routes are in place.
 */
export const cniConfig: Feature = {
  name: self,

  async run(context) {
    const { clock, config, informers, report, signal } = context;
    const nodes = informers.nodes();
    let installed = false;
    const loop = new ReconcileLoop(
      () => {
        if (!installed) {
          preflight();
          installPlugins(pluginExecutable(), config.cniBinDir, pluginNames, config.cniInstall);
          checkPlugin(join(config.cniBinDir, "bridge"));
          installed = true;
        }
        const waits = waitsFor(context, nodes.get({ name: context.nodeName }), nodes.hasSynced);
        if (typeof waits === "string") report("starting", waits);
        else writeConflist(context, waits);
      },
      { clock, signal, onError: (error) => report("failing", explain(error)) },
    );
    const stops = [
      nodes.on({ add: loop.triggered, update: loop.triggered, delete: loop.triggered }),
      context.onReport(loop.triggered),
    ];
    loop.trigger();
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    for (const stop of stops) stop();
  },

  async cleanup({ config, kernel, log }) {
    rmSync(join(config.cniConfDir, conflistName), { force: true });
    uninstallPlugins(config.cniBinDir, pluginNames);
    removeBridge(kernel, config.bridge);
    rmSync(join(config.ipamDir, networkName), { recursive: true, force: true });
    log.info("Removed the CNI configuration, the plugins, the bridge and the leases");
  },
};

/** What still stands against pods, or the node's podCIDRs. */
function waitsFor(context: AgentContext, node: Node | undefined, listed: boolean): Prefix[] | string {
  const { nodeName } = context;
  if (!listed) return "waiting for the API server to list the nodes";
  if (node === undefined)
    return `waiting for the Node object "${nodeName}": is --node right, does its kubelet run?`;
  const problems: RouteProblem[] = [];
  const cidrs = podCidrs(node, problems);
  const [problem] = problems;
  if (problem !== undefined) throw new WeftError("pod-cidr", `node "${nodeName}": ${problem.message}`);
  if (cidrs.length === 0) {
    return `waiting for podCIDRs of node "${nodeName}": the controller allocates them from its --cluster-cidr, which must have room`;
  }
  const states = context.states();
  for (const name of needed) {
    if (states.get(name) !== undefined && states.get(name)?.state !== "ready") return `waiting for ${name}`;
  }
  return cidrs;
}

function writeConflist(context: AgentContext, cidrs: Prefix[]): void {
  const { config, informers, kernel, log, nodeName, report } = context;
  const node = informers.nodes().get({ name: nodeName });
  const mtu = config.mtu ?? nodeLinkMtu(kernel, node);
  const path = join(config.cniConfDir, conflistName);
  const text = `${JSON.stringify(conflist(config, cidrs, mtu), null, 2)}\n`;
  if (!existsSync(path) || readFileSync(path, "utf8") !== text) {
    writeAtomically(path, text);
    log.info("Wrote the network configuration", { path, podCIDRs: cidrs.join(",") });
  }
  report("ready", `${path} with ${cidrs.join(" and ")}`);
}

/** The MTU of the link that has the node's address, in bytes: pods' packets leave by it as they are. */
function nodeLinkMtu({ rtnl }: Kernel, node: Node | undefined): number {
  const wanted = node === undefined ? [] : [nodeAddress(node, 4), nodeAddress(node, 6)];
  const found = rtnl.addresses.list().find(({ address }) => wanted.some((ip) => ip?.equals(address.ip)));
  return found === undefined ? 1500 : rtnl.links.get(found.link).mtu;
}

function checkPlugin(executable: string): void {
  const { exitCode, stdout, stderr } = Bun.spawnSync([executable], {
    env: { CNI_COMMAND: "VERSION" },
    stdin: new TextEncoder().encode('{"cniVersion":"1.0.0"}'),
    timeout: 10_000,
  });
  if (exitCode === 0 && stdout.includes("supportedVersions")) return;
  throw new WeftError(
    "plugin-broken",
    `the plugin executable "${executable}" does not work: ${stderr || stdout}`,
    {
      remedy: "Install it again; it must be of this machine's architecture",
    },
  );
}

/** Removes the bridge and the pods' links at it. */
function removeBridge({ rtnl }: Kernel, bridge: string): void {
  const link = rtnl.links.find(bridge);
  if (link?.kind !== "bridge") return;
  for (const port of rtnl.links.list({ master: bridge })) {
    if (port.kind !== "veth") continue;
    try {
      rtnl.links.delete(port.index);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
  rtnl.links.delete(link.index);
}
