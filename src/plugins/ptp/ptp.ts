import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { GcRequest, Plugin, PluginRequest } from "../../cni/plugin.ts";
import { isDnsEmpty, type Result } from "../../cni/result.ts";
import { InvalidInput } from "../../lib/errors.ts";
import type { Ip } from "../../lib/ip.ts";
import { anyOf } from "../../lib/lists.ts";
import { Prefix } from "../../lib/prefix.ts";
import { isExists } from "../../linux/errors.ts";
import { type LeanLink, type LeanRoute, LeanRtnl } from "../../linux/lean/rtnl.ts";
import { addIpMasq, collectIpMasq, removeAnyIpMasq, requireIpMasq } from "../netfilter/ip-masq.ts";
import { closingLate } from "../shared/closing.ts";
import { delegateCheck, delegateDel, delegateGc, delegateStatus } from "../shared/delegate.ts";
import {
  addRoutes,
  bringUp,
  describeLink,
  enableForwarding,
  settleAddresses,
  tryWriteSysctl,
} from "../shared/interface.ts";
import { addIpam } from "../shared/ipam.ts";
import { requireMtuFor } from "../shared/link-keys.ts";
import { type OpenNetns, openNetns, tryOpenNetns } from "../shared/netns.ts";
import { doAll } from "../shared/steps.ts";
import { type Undo, withUndo } from "../shared/undo.ts";
import { createVeth, deleteVeth, interfaceExists } from "../shared/veth.ts";
import { waitFor } from "../shared/wait.ts";
import { type PtpConfig, parsePtpConfig } from "./config.ts";

/** <linux/rtnetlink.h> */
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RT_SCOPE_HOST = 254;
/** Milliseconds. */
const settling = 1000;

/** Connects a container to the host alone: a veth pair without a bridge, and routes at both ends. */
export const ptp: Plugin = {
  name: "ptp",
  keys: ["ipMasq", "ipMasqBackend", "mtu"],
  parse: parsePtpConfig,

  async add(request: PluginRequest): Promise<Result> {
    const config = parsePtpConfig(request);
    using netns = openNetns(request.invocation.netns);
    using host = new LeanRtnl();
    using container = new LeanRtnl(netns.fd);
    return await withUndo(request, (undo) => attach({ request, config, netns, host, container, undo }));
  },

  async del(request: PluginRequest): Promise<void> {
    // Hardly any key is looked at: what was added before somebody made a mistake in one can still be removed.
    const { ipamType } = request.config;
    await closingLate((open) =>
      doAll(request, [
        () => removeAnyIpMasq(open, request),
        async () => {
          using netns = tryOpenNetns(request.invocation.netns);
          await deleteVeth(netns, request);
          // While the container still has its address, nobody else may get it.
          if (ipamType !== undefined) await delegateDel(ipamType, request);
        },
      ]),
    );
  },

  async check(request: PluginRequest): Promise<void> {
    const config = parsePtpConfig(request);
    await delegateCheck(config.ipamType, request);
    const { checkPtp } = await import("./check.ts");
    await checkPtp(request, config);
  },

  async gc(request: GcRequest): Promise<void> {
    const { ipamType } = parsePtpConfig(request);
    const { collectLinks } = await import("../shared/links-gc.ts");
    await collectLinks(request, "veth");
    await collectIpMasq(request);
    await delegateGc(ipamType, request);
  },

  async status(request: PluginRequest): Promise<void> {
    const { ipamType, ipMasq, ipMasqBackend } = parsePtpConfig(request);
    if (ipMasq) await requireIpMasq(request, ipMasqBackend);
    await delegateStatus(ipamType, request);
  },
};

/** One ADD under way. `undo` takes what has to be done, from the last to the first, if it fails. */
interface Attaching {
  request: PluginRequest;
  config: PtpConfig;
  netns: OpenNetns;
  host: LeanRtnl;
  container: LeanRtnl;
  undo: Undo[];
}

async function attach(attaching: Attaching): Promise<Result> {
  const { request, config, netns, host, container, undo } = attaching;
  const { ifname, netns: sandbox } = request.invocation;
  // Before the addresses: an IPAM plugin may give again those that the interface has, which must not be taken back then.
  if (container.find(ifname) !== undefined) throw interfaceExists(ifname);
  const result = await addIpam(config.ipamType, request, undo);
  const addresses = result.ips.map(({ address }) => address);
  requireMtuFor(addresses, config.mtu);
  const ends = endsOf(result);
  const { mtu } = config;
  const input = { netns, container, mtu, mac: undefined, master: undefined };
  const { host: outside, container: inside } = createVeth(request, host, input, undo);
  result.interfaces = [describeLink(outside), describeLink(inside, sandbox)];
  for (const ip of result.ips) ip.interface = 1;
  // Nobody else is on the link: there are no duplicates to look for and no neighbours to tell.
  const { index } = inside;
  // While the link-local address of its end is tentative, the host could not ask for the container either, and would drop
  // what it forwards (RFC 4862 section 5.4).
  const hasIpv6 = anyOf(addresses, ({ family }) => family === 6);
  if (hasIpv6) tryWriteSysctl(`net/ipv6/conf/${outside.name}/accept_dad`, "0");
  bringUp({ netns, rtnl: container, ifname, index, enableDad: false, notify: false }, result);
  configureHost(host, outside, ends);
  if (hasIpv6) await settleAddresses(container, index, ifname);
  addContainerRoutes({ rtnl: container, index, ifname }, ends, result);
  // The kernel makes an IPv6 address known to itself a moment later.
  for (const { gateway } of ends) await waitFor(settling, () => host.isLocal(gateway));
  if (config.ipMasq) await addIpMasq(request, config.ipMasqBackend, addresses, undo);
  if (!isDnsEmpty(request.config.dns)) result.dns = request.config.dns;
  return result;
}

/** The two ends of the link in one network: the container's address, and the host's, by which all traffic goes. */
interface Ends {
  address: Prefix;
  gateway: Ip;
}

function endsOf({ ips }: Result): Ends[] {
  return ips.map(({ address, gateway }) => {
    if (gateway?.family === address.family) return { address, gateway };
    throw new InvalidInput("gateway", gateway?.toString(), `is no gateway for ${address}`, {
      remedy: "Let the IPAM plugin give each address a gateway: the host gets it at its end of the link",
    });
  });
}

/** The address alone, as what a route leads to. */
function alone(ip: Ip): Prefix {
  return new Prefix(ip, ip.bits);
}

/** The host is the gateway: it has that address, forwards, and knows the container behind the link. */
function configureHost(host: LeanRtnl, link: LeanLink, ends: readonly Ends[]): void {
  for (const { gateway, address } of ends) {
    // Two addresses may have the same gateway.
    unlessThere(() => host.addAddress(link.index, alone(gateway), { nodad: true }));
    const dst = alone(address.ip);
    const isNew = unlessThere(() => host.addRoute(route(link, dst, { scope: RT_SCOPE_HOST })));
    if (!isNew && host.outgoingLink(address.ip) !== link.index) {
      throw new CniError(cniErrorCode.internal, `a route to ${dst} is there already, by another link`, {
        remedy: `Remove it, or take the address out of the range; see "ip route show ${dst}"`,
      });
    }
  }
  for (const family of [4, 6] as const) {
    if (anyOf(ends, ({ address }) => address.family === family)) enableForwarding(host, family);
  }
}

/**
 * In the container everything goes by the gateway, its own network too: the others there are behind other links of the
 * host's. So the route to the network that the kernel made with the address gives way to one by the gateway.
 */
function addContainerRoutes(
  inside: { rtnl: LeanRtnl; index: number; ifname: string },
  ends: readonly Ends[],
  result: Result,
): void {
  const { rtnl, index } = inside;
  const link = { index };
  for (const { address, gateway } of ends) {
    const options = { scope: RT_SCOPE_LINK, src: address.ip };
    unlessThere(() => rtnl.addRoute(route(link, alone(gateway), options)));
  }
  addRoutes(inside, result);
  const networks = ends.filter(({ address }) => address.length < address.ip.bits);
  for (const { address } of networks) rtnl.deleteRoute(address.masked(), index);
  for (const { address, gateway } of networks) {
    unlessThere(() => rtnl.addRoute(route(link, address.masked(), { gateway, src: address.ip })));
  }
}

function route(
  { index }: Pick<LeanLink, "index">,
  dst: Prefix,
  { gateway, scope = RT_SCOPE_UNIVERSE, src }: Partial<LeanRoute>,
): LeanRoute {
  const unset = { priority: undefined, table: undefined, mtu: undefined, advmss: undefined };
  return { ...unset, dst, oif: index, gateway, scope, src };
}

/** False where what is to be added is there already. */
function unlessThere(add: () => void): boolean {
  try {
    add();
    return true;
  } catch (error) {
    if (isExists(error)) return false;
    throw error;
  }
}
