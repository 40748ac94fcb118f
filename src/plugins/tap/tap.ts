import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { GcRequest, Plugin, PluginRequest } from "../../cni/plugin.ts";
import { emptyResult, isDnsEmpty, type Result, requireExpressible } from "../../cni/result.ts";
import { requireConfiguredInterface } from "../../cni/validate.ts";
import { quote } from "../../lib/errors.ts";
import { isExists, isNotFound } from "../../linux/errors.ts";
import { exists } from "../../linux/lean/files.ts";
import type { NewLink } from "../../linux/route/link.ts";
import { Rtnl } from "../../linux/route/rtnl.ts";
import { aliasOf, attachmentOf, isAlias } from "../shared/attachment.ts";
import { bringUp, bringUpWith } from "../shared/bring-up.ts";
import { describedInterface, mismatch, requireLink, requirePrevResult } from "../shared/check-link.ts";
import { delegateCheck, delegateDel, delegateGc, delegateStatus } from "../shared/delegate.ts";
import { deleteLink } from "../shared/deletion.ts";
import { checkInterface } from "../shared/interface-check.ts";
import { addIpam } from "../shared/ipam.ts";
import { parseMtu, requestedMac, requireMtuFor } from "../shared/link-keys.ts";
import { type OpenNetns, openNetns, tryOpenNetns } from "../shared/netns.ts";
import { type Undo, withUndo } from "../shared/undo.ts";
import { addLabelled, selinuxContextOf } from "./label.ts";

const keys = ["multiQueue", "mtu", "mac", "owner", "group", "selinuxContext", "bridge"];
const device = "/dev/net/tun";
/** The kernel's kind, for tun links too. */
const kind = "tun";
/** The largest id of a user or group; the one above means "nobody in particular". */
const highestId = 2 ** 32 - 2;

/** What to make. */
export interface TapConfig {
  multiQueue: boolean;
  mtu?: number;
  mac?: string;
  /** Numbers of the user and the group who may open it. */
  owner?: number;
  group?: number;
  /** A bridge in the container's namespace. */
  bridge?: string;
}

/** Makes a tap link in the container, for a virtual machine or another program that carries the frames itself. */
export const tap: Plugin = {
  name: "tap",
  keys,
  parse: parseTap,

  async add(request: PluginRequest): Promise<Result> {
    const config = parseTap(request);
    const context = selinuxContextOf(request);
    using netns = openNetns(request.invocation.netns);
    if (context !== undefined) {
      requireFree(netns, request.invocation.ifname);
      return await addLabelled(request, context, () => detach(request));
    }
    return await withUndo(request, (undo) => attach(request, config, netns, undo));
  },

  del: detach,

  async check(request: PluginRequest): Promise<void> {
    const config = parseTap(request);
    if (request.config.ipamType !== undefined) await delegateCheck(request.config.ipamType, request);
    const prevResult = requirePrevResult(request);
    using netns = openNetns(request.invocation.netns);
    using rtnl = new Rtnl({ netns: { fd: netns.fd } });
    const link = requireLink(rtnl, describedInterface(request, prevResult), kind);
    checkTap(rtnl, link.index, config);
    checkInterface(rtnl, link, prevResult);
  },

  async gc(request: GcRequest): Promise<void> {
    const { collectContainerLinks } = await import("../shared/links-gc.ts");
    await collectContainerLinks(request, kind);
    if (request.config.ipamType !== undefined) await delegateGc(request.config.ipamType, request);
  },

  async status(request: PluginRequest): Promise<void> {
    parseTap(request);
    if (!exists(device)) throw noDevice(cniErrorCode.pluginNotAvailable);
    if (request.config.ipamType !== undefined) await delegateStatus(request.config.ipamType, request);
  },
};

async function attach(
  request: PluginRequest,
  config: TapConfig,
  netns: OpenNetns,
  undo: Undo[],
): Promise<Result> {
  const { ifname, netns: sandbox } = request.invocation;
  using rtnl = new Rtnl({ netns: { fd: netns.fd } });
  createTap(rtnl, ifname, config, aliasOf(attachmentOf(request)));
  undo.push(() => remove(request, netns));
  bringUp(netns, ifname);
  const { ipamType } = request.config;
  const result = ipamType === undefined ? emptyResult() : await addIpam(ipamType, request, undo);
  const { mac, mtu } = rtnl.links.get(ifname);
  result.interfaces = [{ name: ifname, ...(mac === undefined ? {} : { mac }), mtu, sandbox }];
  if (result.ips.length > 0) {
    const addresses = result.ips.map(({ address }) => address);
    requireMtuFor(addresses, config.mtu);
    for (const ip of result.ips) ip.interface = 0;
    await bringUpWith(netns, ifname, result);
  }
  if (!isDnsEmpty(request.config.dns)) result.dns = request.config.dns;
  requireExpressible(result, request.config.cniVersion);
  return result;
}

async function detach(request: PluginRequest): Promise<void> {
  const { ipamType } = request.config;
  try {
    // The link goes last: a DHCP lease is given back through it.
    if (ipamType !== undefined) await delegateDel(ipamType, request);
  } finally {
    using netns = tryOpenNetns(request.invocation.netns);
    if (netns !== undefined) await remove(request, netns);
  }
}

/** Makes the link, down, a bridge's port where one is named. */
function createTap(
  rtnl: Rtnl,
  name: string,
  { bridge, mtu, mac, owner, group, multiQueue }: TapConfig,
  alias: string,
): void {
  const master = bridge === undefined ? undefined : requireBridge(rtnl, bridge);
  const link: NewLink = {
    kind,
    name,
    alias,
    tun: {
      type: "tap",
      multiQueue,
      ...(owner === undefined ? {} : { owner }),
      ...(group === undefined ? {} : { group }),
    },
    ...(mtu === undefined ? {} : { mtu }),
    ...(mac === undefined ? {} : { mac }),
    ...(master === undefined ? {} : { master }),
  };
  try {
    rtnl.links.add(link);
  } catch (error) {
    if (isExists(error)) throw nameTaken(name, error);
    throw isNotFound(error) && !exists(device) ? noDevice(cniErrorCode.internal) : error;
  }
}

/** Whatever is there later under the name is this ADD's own, then, and may be taken back. */
function requireFree(netns: OpenNetns, name: string): void {
  using rtnl = new Rtnl({ netns: { fd: netns.fd } });
  if (rtnl.links.find(name) !== undefined) throw nameTaken(name);
}

function nameTaken(name: string, cause?: unknown): CniError {
  return new CniError(cniErrorCode.internal, `container interface name (${quote(name)}) already exists`, {
    remedy: "Call DEL for the container first, or choose another CNI_IFNAME",
    cause,
  });
}

function requireBridge(rtnl: Rtnl, name: string): number {
  const link = rtnl.links.find(name);
  if (link?.kind === "bridge") return link.index;
  const problem = link === undefined ? "there is no such link" : `it is a link of kind ${link.kind}`;
  throw new CniError(cniErrorCode.internal, `failed to get bridge ${name}: ${problem} in the container`, {
    remedy: "Make the bridge in the container's namespace before the container is attached",
  });
}

function noDevice(code: number): CniError {
  return new CniError(code, `${device} is missing`, {
    remedy: `Load the module (modprobe tun), or make the device: mknod ${device} c 10 200`,
  });
}

/** Deletes the attachment's link. What is no tap has been made by somebody else, as what says that it is another's. None is fine. */
async function remove(request: PluginRequest, netns: OpenNetns): Promise<void> {
  using rtnl = new Rtnl({ netns: { fd: netns.fd } });
  const link = rtnl.links.find(request.invocation.ifname);
  if (link?.tun?.type !== "tap") return;
  const owner = link.alias ?? "";
  if (isAlias(owner) && owner !== aliasOf(attachmentOf(request))) return;
  await deleteLink(request, { index: link.index, netnsFd: netns.fd });
}

function checkTap(
  rtnl: Rtnl,
  index: number,
  { mtu, mac, owner, group, multiQueue, bridge }: TapConfig,
): void {
  const link = rtnl.links.get(index);
  const settings: [string, unknown, unknown][] = [
    ["type", "tap", link.tun?.type],
    ["MTU", mtu, link.mtu],
    ["Mac", mac, link.mac],
    ["owner", owner, link.tun?.owner],
    ["group", group, link.tun?.group],
    ["multiQueue", multiQueue, link.tun?.multiQueue ?? false],
    ["bridge", bridge === undefined ? undefined : requireBridge(rtnl, bridge), link.master],
  ];
  for (const [name, expected, actual] of settings) {
    if (expected === undefined || expected === actual) continue;
    throw mismatch(`Interface ${link.name} ${name} ${actual} does not match expected value: ${expected}`);
  }
}

/** Reads the configuration. Throws InvalidInput. */
export function parseTap(request: PluginRequest): TapConfig {
  const { fields } = request.config;
  const mtu = parseMtu(fields);
  const mac = requestedMac(request, { hasKey: true });
  const owner = fields.integer("owner", 0, highestId);
  const group = fields.integer("group", 0, highestId);
  const bridge = fields.string("bridge") ?? "";
  return {
    multiQueue: fields.boolean("multiQueue") ?? false,
    ...(mtu === undefined ? {} : { mtu }),
    ...(mac === undefined ? {} : { mac }),
    ...(owner === undefined ? {} : { owner }),
    ...(group === undefined ? {} : { group }),
    ...(bridge === "" ? {} : { bridge: requireConfiguredInterface(bridge, "bridge") }),
  };
}
