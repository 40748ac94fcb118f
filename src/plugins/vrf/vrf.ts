import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { Plugin, PluginRequest } from "../../cni/plugin.ts";
import type { Result } from "../../cni/result.ts";
import { requireConfiguredInterface } from "../../cni/validate.ts";
import { quote } from "../../lib/errors.ts";
import { isExists } from "../../linux/errors.ts";
import type { Link } from "../../linux/route/link.ts";
import { Rtnl } from "../../linux/route/rtnl.ts";
import { requireKind } from "../links/link.ts";
import { aliasOf, attachmentOf, isAlias } from "../shared/attachment.ts";
import { mismatch } from "../shared/check-link.ts";
import { openNetns, tryOpenNetns } from "../shared/netns.ts";
import { withUndo } from "../shared/undo.ts";
import { validOrNone } from "../shared/valid.ts";
import { joinVrf } from "./member.ts";
import { freeTable } from "./table.ts";

const highestTable = 2 ** 32 - 1;

interface VrfConfig {
  name: string;
  /** Undefined: any that is free. */
  table?: number;
}

/** Puts a container's interface into a VRF of the container. Runs after the plugin that made the interface. */
export const vrf: Plugin = {
  name: "vrf",
  knowsNoArgs: true,
  keys: ["vrfname", "table"],
  parse: parseVrfConfig,

  async add(request: PluginRequest): Promise<Result> {
    const config = parseVrfConfig(request);
    const result = requirePrevResult(request);
    const { ifname } = request.invocation;
    using netns = openNetns(request.invocation.netns);
    using rtnl = new Rtnl({ netns: { fd: netns.fd } });
    return await withUndo(request, async (undo) => {
      const link = requireFreeLink(rtnl, ifname);
      const { vrf: master, created } = ensureVrf(rtnl, config, aliasOf(attachmentOf(request)));
      // Another interface may have joined meanwhile.
      if (created) undo.push(() => deleteUnused(rtnl, master));
      undo.push(() => rtnl.links.set(link.index, { master: null }));
      await joinVrf(rtnl, link, master);
      return result;
    });
  },

  del(request: PluginRequest): void {
    const name = validOrNone(() => vrfName(request));
    using netns = tryOpenNetns(request.invocation.netns);
    if (name === undefined || netns === undefined) return;
    using rtnl = new Rtnl({ netns: { fd: netns.fd } });
    const found = rtnl.links.find(name);
    if (found?.kind !== "vrf") return;
    const link = rtnl.links.find(request.invocation.ifname);
    // In another's hands it is none of ours.
    const isMember = link?.master === found.index;
    if (isMember) rtnl.links.set(link.index, { master: null });
    // An empty one that the container's own programs made is theirs, whatever its name.
    if (isMember || isAlias(found.alias ?? "")) deleteUnused(rtnl, found);
  },

  check(request: PluginRequest): void {
    const config = parseVrfConfig(request);
    requirePrevResult(request);
    const { ifname } = request.invocation;
    using netns = openNetns(request.invocation.netns);
    using rtnl = new Rtnl({ netns: { fd: netns.fd } });
    const found = rtnl.links.find(config.name);
    if (found === undefined) throw mismatch(`VRF ${config.name} not found`);
    requireVrf(found, config);
    if (!found.up) throw mismatch(`VRF ${config.name} is down`);
    if (rtnl.links.find(ifname)?.master !== found.index) {
      throw mismatch(`Failed to find ${ifname} associated to vrf ${config.name}`);
    }
  },

  status(request: PluginRequest): void {
    parseVrfConfig(request);
    using host = new Rtnl();
    requireKind(host, "vrf");
  },
};

function parseVrfConfig(request: PluginRequest): VrfConfig {
  const table = request.config.fields.integer("table", 0, highestTable) ?? 0;
  return { name: vrfName(request), ...(table === 0 ? {} : { table }) };
}

function vrfName({ config: { fields } }: PluginRequest): string {
  const name = fields.string("vrfname") ?? "";
  if (name === "") throw fields.missing("vrfname", 'Give the VRF a name, such as "blue"');
  return requireConfiguredInterface(name, "vrfname");
}

function requirePrevResult({ config: { prevResult } }: PluginRequest): Result {
  if (prevResult !== undefined) return prevResult;
  throw new CniError(cniErrorCode.invalidNetworkConfig, "missing prevResult from earlier plugin", {
    remedy: "Put vrf behind the plugin that makes the interface",
  });
}

/** The container's interface, which belongs to no bridge, bond or VRF so far. */
function requireFreeLink(rtnl: Rtnl, ifname: string): Link {
  const link = rtnl.links.find(ifname);
  if (link === undefined) {
    throw new CniError(cniErrorCode.internal, `could not get link by name ${ifname}`, {
      remedy: "Put vrf behind the plugin that makes the interface",
    });
  }
  if (link.master === undefined) return link;
  const master = rtnl.links.find(link.master)?.name ?? `link ${link.master}`;
  throw new CniError(cniErrorCode.internal, `interface ${ifname} has already a master set: ${master}`, {
    remedy: "Call DEL first, or take it out of what it belongs to",
  });
}

/** Deletes a VRF that has no interface. */
function deleteUnused(rtnl: Rtnl, { index }: Link): void {
  if (rtnl.links.list({ master: index }).length === 0) rtnl.links.delete(index);
}

/** The alias says that Weft made it. */
function ensureVrf(rtnl: Rtnl, config: VrfConfig, alias: string): { vrf: Link; created: boolean } {
  const found = rtnl.links.find(config.name);
  if (found !== undefined) return { vrf: requireVrf(found, config), created: false };
  const table = config.table ?? freeTable(rtnl);
  try {
    rtnl.links.add({ kind: "vrf", name: config.name, vrf: { table }, up: true, alias });
  } catch (error) {
    // Another ADD was quicker.
    if (!isExists(error)) throw error;
    return { vrf: requireVrf(rtnl.links.get(config.name), config), created: false };
  }
  return { vrf: rtnl.links.get(config.name), created: true };
}

function requireVrf(link: Link, { name, table }: VrfConfig): Link {
  if (link.kind !== "vrf") {
    throw new CniError(cniErrorCode.internal, `${quote(name)} is not a VRF`, {
      remedy: 'Choose another "vrfname": the container has a link of that name',
    });
  }
  if (table === undefined || table === link.vrf?.table) return link;
  throw new CniError(
    cniErrorCode.internal,
    `VRF ${name} already exist with different routing table ${link.vrf?.table}`,
    { remedy: `Set "table" to ${link.vrf?.table}, leave it out, or choose another "vrfname"` },
  );
}
