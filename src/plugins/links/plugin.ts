import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { GcRequest, Plugin, PluginRequest } from "../../cni/plugin.ts";
import { emptyResult, isDnsEmpty, type Result, requireExpressible } from "../../cni/result.ts";
import { InvalidInput } from "../../lib/errors.ts";
import { didYouMean } from "../../lib/suggest.ts";
import { LeanRtnl } from "../../linux/lean/rtnl.ts";
import { Rtnl } from "../../linux/route/rtnl.ts";
import { delegateCheck, delegateDel, delegateGc, delegateStatus } from "../shared/delegate.ts";
import { configureInterface, describeLink, settleAddresses } from "../shared/interface.ts";
import { addIpam } from "../shared/ipam.ts";
import { requireMtuFor } from "../shared/link-keys.ts";
import { openNetns, tryOpenNetns } from "../shared/netns.ts";
import { doAll } from "../shared/steps.ts";
import { type Undo, withUndo } from "../shared/undo.ts";
import { checkChild } from "./check.ts";
import { type ChildConfig, createChild, deleteChild, type Master, requireKind, type Sides } from "./link.ts";
import { type MasterConfig, requireMaster, requireMasterUp, requireMtuWithin } from "./master.ts";

/** What macvlan, ipvlan, vlan and dummy do not have in common. */
export interface ChildTraits {
  /** The plugin's name, and the kernel's for the kind of link. */
  kind: string;
  keys: readonly string[];
  /** Throws InvalidInput. */
  parse(request: PluginRequest): ChildConfig;
  /** The neighbours are told of new addresses. */
  notify: boolean;
  /** The kernel sets the link up only where the master is up. */
  needsMasterUp?: boolean;
  /** An MTU above the master's is refused here; else the kernel is asked. */
  limitsMtu?: boolean;
  /** There is no use for it without addresses. */
  needsAddresses?: boolean;
  /** Addresses and routes come from the plugin before where there is no `ipam`. */
  takesPrevResult?: boolean;
}

/** A plugin that makes a link of one kind in the container. All that it makes goes with the container's namespace. */
export function childPlugin(traits: ChildTraits): Plugin {
  const { kind, keys, parse } = traits;
  return {
    name: kind,
    keys,

    parse(request: PluginRequest): ChildConfig {
      requireAddresses(request, traits);
      return parse(request);
    },

    async add(request: PluginRequest): Promise<Result> {
      const config = parse(request);
      requireAddresses(request, traits);
      using netns = openNetns(request.invocation.netns);
      using host = new Rtnl();
      using container = new Rtnl({ netns: { fd: netns.fd } });
      return await withUndo(request, async (undo) => {
        const result = await attach({ request, traits, config, sides: { netns, host, container }, undo });
        requireExpressible(result, request.config.cniVersion);
        return result;
      });
    },

    async del(request: PluginRequest): Promise<void> {
      const { ipamType } = request.config;
      const release = async () => {
        if (ipamType !== undefined) await delegateDel(ipamType, request);
      };
      const remove = () => deleteAttached(request, kind);
      if (ipamType === "host-local") {
        // While the container still has its address, nobody else may get it.
        await remove();
        await release();
      } else {
        // An IPAM plugin may need the link: a DHCP lease is given back through it.
        await doAll(request, [release, remove]);
      }
    },

    async check(request: PluginRequest): Promise<void> {
      const config = parse(request);
      requireAddresses(request, traits);
      if (request.config.ipamType !== undefined) await delegateCheck(request.config.ipamType, request);
      using netns = openNetns(request.invocation.netns);
      using host = new Rtnl();
      using container = new Rtnl({ netns: { fd: netns.fd } });
      checkChild(request, config, { host, container });
    },

    async gc(request: GcRequest): Promise<void> {
      const { collectContainerLinks } = await import("../shared/links-gc.ts");
      await collectContainerLinks(request, kind);
      if (request.config.ipamType !== undefined) await delegateGc(request.config.ipamType, request);
    },

    async status(request: PluginRequest): Promise<void> {
      const { master } = parse(request);
      requireAddresses(request, traits);
      using host = new Rtnl();
      requireKind(host, kind);
      if (master !== undefined) statusOfMaster(request, traits, master, host);
      if (request.config.ipamType !== undefined) await delegateStatus(request.config.ipamType, request);
    },
  };
}

/** Where the runtime does not say where the container is, host-local's record does. */
async function deleteAttached(request: PluginRequest, kind: string): Promise<void> {
  if (request.invocation.netns === "") {
    const { deleteRecordedLink } = await import("../shared/links-gc.ts");
    await deleteRecordedLink(request, kind);
    return;
  }
  using netns = tryOpenNetns(request.invocation.netns);
  if (netns === undefined) return;
  using container = new Rtnl({ netns: { fd: netns.fd } });
  await deleteChild(request, netns, container, kind);
}

/** Throws where a link is asked for without addresses and nothing can be done with such a one. */
function requireAddresses(
  { config: { ipamType, fields } }: PluginRequest,
  { kind, needsAddresses }: ChildTraits,
): void {
  if (ipamType !== undefined || needsAddresses !== true) return;
  throw new CniError(cniErrorCode.invalidNetworkConfig, `${kind} interface requires an IPAM configuration`, {
    remedy: fields.misspelt("ipam") ?? 'Give it "ipam" with a "type", such as host-local',
  });
}

/** One ADD under way. `undo` takes what has to be done, from the last to the first, if it fails. */
interface Attaching {
  request: PluginRequest;
  traits: ChildTraits;
  config: ChildConfig;
  sides: Sides;
  undo: Undo[];
}

async function attach(attaching: Attaching): Promise<Result> {
  const { request, traits, config, sides, undo } = attaching;
  const { netns, container } = sides;
  const { ifname, netns: sandbox } = request.invocation;
  const master = masterOf(attaching);
  createChild(request, sides, config.link, master);
  undo.push(() => deleteChild(request, netns, container, traits.kind));
  using rtnl = new LeanRtnl(netns.fd);
  const { index } = rtnl.get(ifname);
  const result = await layer3(attaching);
  if (result.ips.length > 0) {
    requireMtuFor(
      result.ips.map(({ address }) => address),
      config.link.mtu,
    );
    configureInterface({ netns, rtnl, ifname, index, enableDad: undefined, notify: traits.notify }, result);
    if (result.ips.some(({ address }) => address.family === 6)) await settleAddresses(rtnl, index, ifname);
  } else {
    rtnl.setUp(index, true);
  }
  result.interfaces = [describeLink(rtnl.get(index), sandbox)];
  if (!isDnsEmpty(request.config.dns)) result.dns = request.config.dns;
  return result;
}

/** The master of a new link, of which all is true that the link needs. */
function masterOf({ config, traits, sides }: Attaching): Master | undefined {
  if (config.master === undefined) return undefined;
  const { inContainer } = config.master;
  const link = requireMaster(inContainer ? sides.container : sides.host, config.master);
  if (traits.limitsMtu === true) requireMtuWithin(config.link.mtu, link);
  if (traits.needsMasterUp === true) requireMasterUp(link);
  return { link, inContainer };
}

/** Addresses and routes, all of them for the link alone. */
async function layer3({ request, traits, undo }: Attaching): Promise<Result> {
  const { ipamType, prevResult } = request.config;
  let result = emptyResult();
  if (ipamType !== undefined) result = await addIpam(ipamType, request, undo);
  else if (traits.takesPrevResult === true && prevResult?.ips[0] !== undefined) result = prevResult;
  return { ...result, ips: result.ips.map((ip) => ({ ...ip, interface: 0 })) };
}

/** Throws a {@link CniError} of code 50 where an ADD would find no master, as far as that can be known. */
function statusOfMaster(request: PluginRequest, traits: ChildTraits, master: MasterConfig, host: Rtnl): void {
  const code = cniErrorCode.pluginNotAvailable;
  const check = (rtnl: Rtnl) => {
    const link = requireMaster(rtnl, master, code);
    if (traits.needsMasterUp === true) requireMasterUp(link, code);
  };
  if (!master.inContainer) {
    check(host);
    return;
  }
  // STATUS is about no container; a caller may name one all the same.
  using netns = tryOpenNetns(request.invocation.netns);
  if (netns === undefined) return;
  using container = new Rtnl({ netns: { fd: netns.fd } });
  check(container);
}

/** One of the words that a key may have; the first where it is absent or "". Throws {@link InvalidInput}. */
export function parseMode<Mode extends string>(
  request: PluginRequest,
  modes: readonly [Mode, ...Mode[]],
): Mode {
  const text = request.config.fields.string("mode") ?? "";
  const mode = text === "" ? modes[0] : modes.find((known) => known === text);
  if (mode !== undefined) return mode;
  throw new InvalidInput("mode", text, `is not a mode of ${request.config.type}${didYouMean(text, modes)}`, {
    remedy: `Use one of ${modes.join(", ")}`,
  });
}
