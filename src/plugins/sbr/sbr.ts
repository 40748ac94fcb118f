import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { Fields } from "../../cni/fields.ts";
import type { Plugin, PluginRequest } from "../../cni/plugin.ts";
import type { Result, ResultIp } from "../../cni/result.ts";
import { InvalidInput } from "../../lib/errors.ts";
import { Ip } from "../../lib/ip.ts";
import { tryLock } from "../../linux/lean/files.ts";
import { Rtnl } from "../../linux/route/rtnl.ts";
import { requirePrevResult } from "../shared/check-link.ts";
import { type OpenNetns, openNetns, tryOpenNetns } from "../shared/netns.ts";
import { withUndo } from "../shared/undo.ts";
import { validOrNone } from "../shared/valid.ts";
import { waitFor } from "../shared/wait.ts";
import { checkSources, removeRules, routeBySource, ruleOnly } from "./routes.ts";

const keys = ["table", "gateways", "addSourceHints"];
/** How long another instance may be at work in the same container. Milliseconds. */
const patience = 30_000;

/** What source based routing is asked to do. */
export interface SbrConfig {
  /** Rules lead to this table, which somebody else fills; each address gets a table of its own where not given. */
  table?: number;
  /** In place of those of the result; one of a family at most. */
  gateways: Ip[];
  addSourceHints: boolean;
}

/** Makes what a container sends from an interface's address leave by that interface. Chained behind another plugin. */
export const sbr: Plugin = {
  name: "sbr",
  knowsNoArgs: true,
  keys,
  parse: ({ config }) => parseSbr(config.fields),

  async add(request: PluginRequest): Promise<Result> {
    const config = parseSbr(request.config.fields);
    const { prevResult } = request.config;
    if (prevResult === undefined) {
      throw new CniError(cniErrorCode.invalidNetworkConfig, "This plugin must be called as chained plugin", {
        remedy: "Put it behind the plugin that makes the interface",
      });
    }
    const { ifname } = request.invocation;
    const ips = addressesOf(prevResult, ifname);
    if (ips.length === 0) {
      throw new CniError(
        cniErrorCode.invalidNetworkConfig,
        `No IP addresses supplied on interface: ${ifname}`,
        { remedy: 'Give the plugin before this one an "ipam"' },
      );
    }
    using netns = openNetns(request.invocation.netns);
    await lock(netns, request);
    using rtnl = new Rtnl({ netns: { fd: netns.fd } });
    return await withUndo(request, (undo) => {
      const link = rtnl.links.get(ifname);
      if (config.table !== undefined) ruleOnly(rtnl, ips, config.table, undo);
      else routeBySource({ rtnl, link: link.index, ips, undo, ...config });
      return prevResult;
    });
  },

  async del(request: PluginRequest): Promise<void> {
    const { invocation, config } = request;
    const table = validOrNone(() => parseTable(config.fields));
    using netns = tryOpenNetns(invocation.netns);
    if (netns === undefined) return;
    await lock(netns, request);
    using rtnl = new Rtnl({ netns: { fd: netns.fd } });
    const link = rtnl.links.find(invocation.ifname)?.index;
    const present = link === undefined ? [] : rtnl.addresses.list({ link });
    const known = config.prevResult === undefined ? [] : addressesOf(config.prevResult, invocation.ifname);
    removeRules(rtnl, { ips: [...present, ...known].map(({ address }) => address.ip), table, link });
  },

  check(request: PluginRequest): void {
    const { invocation, config } = request;
    const prevResult = requirePrevResult(request);
    using netns = openNetns(invocation.netns);
    using rtnl = new Rtnl({ netns: { fd: netns.fd } });
    const link = rtnl.links.get(invocation.ifname).index;
    const ips = addressesOf(prevResult, invocation.ifname);
    checkSources({ rtnl, link, ips, ...parseSbr(config.fields) });
  },

  status({ config }: PluginRequest): void {
    parseSbr(config.fields);
  },
};

/** The addresses of an interface; those of which the result does not say whose they are count as its own. */
function addressesOf(result: Result, ifname: string): ResultIp[] {
  return result.ips.filter(({ interface: index }) => {
    const described = index === undefined ? undefined : result.interfaces[index];
    return described === undefined || described.name === ifname;
  });
}

/** Two instances at once would choose the same table. The reference locks the same file. */
async function lock(netns: OpenNetns, { invocation }: PluginRequest): Promise<void> {
  if (await waitFor(patience, () => tryLock(netns.fd))) return;
  throw new CniError(cniErrorCode.tryAgainLater, `${invocation.netns} is locked`, {
    remedy: "Look for an instance of sbr that does not come to its end",
  });
}

function parseTable(fields: Fields): number | undefined {
  return fields.integer("table", 1, 2 ** 32 - 1);
}

/** Reads the configuration. Throws {@link InvalidInput}. */
export function parseSbr(fields: Fields): SbrConfig {
  const table = parseTable(fields);
  const addSourceHints = fields.boolean("addSourceHints") ?? false;
  const gateways = (fields.strings("gateways") ?? []).map((text, i) => Ip.parse(text, `gateways[${i}]`));
  for (const family of [4, 6]) {
    const same = gateways.filter((gateway) => gateway.family === family);
    if (same.length < 2) continue;
    throw new InvalidInput("gateways", same.map(String), `has more than one IPv${family} address`, {
      remedy: "Give one of each family at most",
    });
  }
  return { gateways, addSourceHints, ...(table === undefined ? {} : { table }) };
}
