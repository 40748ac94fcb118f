import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { GcRequest, Plugin, PluginRequest } from "../../cni/plugin.ts";
import type { Result } from "../../cni/result.ts";
import { type LeanLink, LeanRtnl } from "../../linux/lean/rtnl.ts";
import { LeanTc } from "../../linux/lean/tc.ts";
import { attachmentOf } from "../shared/attachment.ts";
import { deleteLink } from "../shared/deletion.ts";
import { hostEnd } from "../shared/host-end.ts";
import { type Undo, withUndo } from "../shared/undo.ts";
import { type BandwidthConfig, bandwidthKeys, bucketOf, parseBandwidthConfig, type Shape } from "./config.ts";
import { addIfb, findIfb } from "./ifb.ts";

/** Limits how fast a container sends and receives. Comes behind the plugin that made the interface, a veth pair. */
export const bandwidth: Plugin = {
  name: "bandwidth",
  knowsNoArgs: true,
  keys: bandwidthKeys,
  parse: parseBandwidthConfig,

  async add(request: PluginRequest): Promise<Result> {
    const config = parseBandwidthConfig(request);
    const { prevResult } = request.config;
    if (prevResult === undefined) throw notChained();
    if (config.ingress === undefined && config.egress === undefined) return prevResult;
    using host = new LeanRtnl();
    using tc = new LeanTc();
    return await withUndo(request, (undo) => shape({ request, config, host, tc, undo }, prevResult));
  },

  async del(request: PluginRequest): Promise<void> {
    using host = new LeanRtnl();
    const ifb = findIfb(host, attachmentOf(request));
    if (ifb !== undefined) await deleteLink(request, { index: ifb.index });
  },

  async check(request: PluginRequest): Promise<void> {
    const config = parseBandwidthConfig(request);
    if (request.config.prevResult === undefined) throw notChained();
    const { checkBandwidth } = await import("./check.ts");
    checkBandwidth(request, config, request.config.prevResult);
  },

  async gc(request: GcRequest): Promise<void> {
    const { collectIfbs } = await import("./check.ts");
    await collectIfbs(request);
  },

  async status(request: PluginRequest): Promise<void> {
    const { subnets } = parseBandwidthConfig(request);
    const { requireKernel } = await import("./check.ts");
    requireKernel(subnets.length > 0 ? "htb" : "tbf");
  },
};

function notChained(): CniError {
  return new CniError(cniErrorCode.invalidNetworkConfig, "must be called as chained plugin", {
    remedy: "Put bandwidth behind the plugin that makes the interface, in a configuration list",
  });
}

/** One ADD under way. */
interface Shaping {
  request: PluginRequest;
  config: BandwidthConfig;
  host: LeanRtnl;
  tc: LeanTc;
  undo: Undo[];
}

async function shape(shaping: Shaping, prevResult: Result): Promise<Result> {
  const { request, config, host, tc, undo } = shaping;
  const port = hostEnd(request, host, prevResult);
  if (config.ingress !== undefined) {
    await limit(shaping, port, config.ingress, "src");
    undo.push(() => tc.deleteRoot(port.index));
  }
  if (config.egress === undefined) return prevResult;
  const ifb = addIfb(shaping, attachmentOf(request), port);
  await limit(shaping, ifb, config.egress, "dst");
  host.setUp(ifb.index, true);
  tc.addIngress(port.index);
  undo.push(() => tc.deleteIngress(port.index));
  tc.redirectIngress(port.index, ifb.index);
  return { ...prevResult, interfaces: [...prevResult.interfaces, { name: ifb.name, mac: ifb.mac }] };
}

/** Makes what leaves by a link wait; `peer` is the side of a packet on which the container is not. */
async function limit(
  { request, config, tc }: Shaping,
  link: LeanLink,
  wanted: Shape,
  peer: "src" | "dst",
): Promise<void> {
  if (config.subnets.length > 0) {
    const { addClasses } = await import("./subnets.ts");
    addClasses(link.index, wanted, config, peer);
    return;
  }
  const bucket = bucketOf(wanted);
  tc.addTbf(link.index, bucket);
  if (bucket.bytes >= link.mtu + ethernetHeader) return;
  const direction = peer === "src" ? "ingress" : "egress";
  request.warn(
    `${direction}Burst: ${wanted.burst * 8} bits are less than a packet of ${link.mtu} bytes; larger ones are dropped`,
  );
}

/** ETH_HLEN */
const ethernetHeader = 14;
