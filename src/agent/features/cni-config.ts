import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { recordsFolder } from "../../ipam/file.ts";
import type { Node } from "../../kube/types.ts";
import { explain } from "../../lib/errors.ts";
import type { Prefix } from "../../lib/prefix.ts";
import { isNotFound, isNotSupported } from "../../linux/errors.ts";
import type { Kernel } from "../../linux/kernel.ts";
import { type TableRef, Transaction } from "../../linux/nftables/index.ts";
import { pluginNames } from "../../plugins/names.ts";
import { tableName } from "../../plugins/netfilter/masquerade-names.ts";
import { ReconcileLoop } from "../../reconcile/loop.ts";
import { nodeAddress } from "../../routes/plan.ts";
import { conflist, conflistName, networkName } from "../cni/conflist.ts";
import { removeWritten, uninstallPlugins, writeAtomically } from "../cni/install.ts";
import { PluginFolder } from "../cni/plugins.ts";
import { judgePodCidrs } from "../cni/pod-cidrs.ts";
import { preflight } from "../cni/preflight.ts";
import { PluginServer, removeServerSocket } from "../cni/server.ts";
import type { AgentContext, Feature } from "../feature.ts";
import { checkBridgeName, checkIsNode, inFolder } from "../machine.ts";
import { onNodes } from "../nodes.ts";
import { aborted, checkInterval, repeat } from "../timing.ts";

/** Pods get networks only when these can carry their traffic. */
const needed = ["routes", "masquerade"];

/**
 * Installs the plugins and tells the runtime of the network, by 10-weft.conflist, once all that the file promises
 * works: the node has podCIDRs that are its alone, the kernel has what it takes, the plugins start, and routes are in
 * place. A file that is there stays, whatever comes: the runtime goes on with what was last known.
 */
export const cniConfig: Feature = {
  name: "cni-config",

  async run(context) {
    const { clock, config, informers, log, report, signal } = context;
    const nodes = informers.nodes();
    const plugins = new PluginFolder(config);
    const server = new PluginServer(
      config.cniBinDir,
      log,
      (pause) => void clock.after(pause, loop.triggered),
    );
    report("starting", "trying the kernel and the plugins");
    let tried = false;
    const loop = new ReconcileLoop(
      async () => {
        if (!tried) preflight(config.clusterCidrs.map(({ family }) => family));
        tried = true;
        const installed = await inFolder("--cni-bin-dir", config.cniBinDir, () => plugins.ensure());
        if (installed > 0) log.info("Installed the plugins", { folder: config.cniBinDir, files: installed });
        if (signal.aborted) return;
        await server.ensure();
        const cidrs = podCidrsOrWait(context);
        if (typeof cidrs === "string") report("starting", cidrs);
        else await inFolder("--cni-conf-dir", config.cniConfDir, () => writeConflist(context, cidrs));
      },
      { clock, signal, onError: (error) => report("failing", explain(error)) },
    );
    let standing = standingOf(context);
    const follow = () => {
      const now = standingOf(context);
      if (now === standing) return;
      standing = now;
      loop.trigger();
    };
    const stops = [onNodes(nodes, loop.triggered), context.onReport(follow)];
    loop.trigger();
    repeat(context, checkInterval, loop.triggered);
    await aborted(signal);
    for (const stop of stops) stop();
    await server.close();
  },

  async cleanup({ config, kernel, log }) {
    const path = join(config.cniConfDir, conflistName);
    if (removeWritten(path)) log.info("Removed the network configuration", { path });
    const files = uninstallPlugins(config.cniBinDir, pluginNames);
    if (files > 0) log.info("Removed the plugins", { folder: config.cniBinDir, files });
    if (removeServerSocket()) log.info("Removed the plugin server's socket");
    if (removeBridge(kernel, config.bridge))
      log.info("Removed the bridge and the pods' links", { bridge: config.bridge });
    for (const family of ["inet", "bridge"] as const) {
      const table: TableRef = { family, name: tableName };
      if (removeTable(kernel, table)) log.info("Removed the plugins' table from nftables", { ...table });
    }
    const leases = join(config.ipamDir, networkName);
    if (!existsSync(leases)) return;
    const records = recordsFolder(config.ipamDir);
    for (const path of [leases, join(records, networkName)]) rmSync(path, { recursive: true, force: true });
    removeIfEmpty(records);
    log.info("Removed the leases", { folder: leases });
  },
};

function removeIfEmpty(folder: string): void {
  if (existsSync(folder) && readdirSync(folder).length === 0) rmdirSync(folder);
}

/** The node's podCIDRs, or what still stands against pods. */
function podCidrsOrWait(context: AgentContext): Prefix[] | string {
  const { config, informers, kernel, nodeName } = context;
  const nodes = informers.nodes();
  if (!nodes.hasSynced) return "waiting for the API server to list the nodes";
  const names = new Map(kernel.rtnl.links.list().map(({ index, name }) => [index, name]));
  const links = kernel.rtnl.addresses
    .list()
    .map(({ address, link }) => ({ link: names.get(link) ?? "", prefix: address }))
    .filter(({ link }) => link !== config.bridge);
  checkBridgeName(config.bridge, kernel.rtnl.links.find(config.bridge));
  const node = nodes.get({ name: nodeName });
  if (node !== undefined) checkIsNode(node, links);
  const { clusterCidrs } = config;
  const cidrs = judgePodCidrs({ nodeName, nodes: nodes.list(), clusterCidrs, links });
  if (typeof cidrs === "string") return cidrs;
  const waits = standingOf(context);
  return waits === "" ? cidrs : `waiting for ${waits}`;
}

/** The features that are needed and do not work yet, of those that run at all. */
function standingOf(context: AgentContext): string {
  const states = context.states();
  const works = (name: string) => ["ready", "degraded", undefined].includes(states.get(name)?.state);
  return needed.filter((name) => !works(name)).join(" and ");
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

/**
 * The MTU of the link that has the node's address, in bytes, else of the default route's: pods' packets leave by it as
 * they are.
 */
function nodeLinkMtu({ rtnl }: Kernel, node: Node | undefined): number {
  const wanted = node === undefined ? [] : [nodeAddress(node, 4), nodeAddress(node, 6)];
  const found = rtnl.addresses.list().find(({ address }) => wanted.some((ip) => ip?.equals(address.ip)));
  const link = found?.link ?? rtnl.routes.list().find(({ dst, oif }) => dst.length === 0 && oif)?.oif;
  return link === undefined ? 1500 : rtnl.links.get(link).mtu;
}

/** Removes the bridge and the pods' links at it; false where there is none. */
function removeBridge({ rtnl }: Kernel, bridge: string): boolean {
  const link = rtnl.links.find(bridge);
  if (link?.kind !== "bridge") return false;
  for (const port of rtnl.links.list({ master: bridge })) {
    if (port.kind !== "veth") continue;
    try {
      rtnl.links.delete(port.index);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
  rtnl.links.delete(link.index);
  return true;
}

/** Removes what the plugins have in nftables; false where there is none. */
function removeTable({ nft }: Kernel, table: TableRef): boolean {
  try {
    nft.apply(new Transaction(table).delete({ kind: "table", ...table }));
    return true;
  } catch (error) {
    if (!isNotFound(error) && !isNotSupported(error)) throw error;
    return false;
  }
}
