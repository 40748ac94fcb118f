import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { GcRequest, Plugin, PluginRequest } from "../../cni/plugin.ts";
import type { Result } from "../../cni/result.ts";
import { dnatPrefix, iptablesChain, placesOf } from "../netfilter/iptables-names.ts";
import { noChains, openNft, requireNftables } from "../netfilter/open-nft.ts";
import { attachmentOf, commentOf, isOfNetwork } from "../shared/attachment.ts";
import { closingLate } from "../shared/closing.ts";
import { withUndo } from "../shared/undo.ts";
import {
  containerAddresses,
  type PortmapConfig,
  parsePortmapConfig,
  parsePortmapForDel,
  portmapKeys,
} from "./config.ts";
import { allowLocalhost } from "./localnet.ts";
import { addMappings, forgetFlows, missingMapping, removeMappings, sweepMappings } from "./nftables.ts";

/** Of the newer reference's backend nftables. */
const referenceTable = "cni_hostport";

/** Leads ports of the host to a container. Comes behind the plugin that made the interface. */
export const portmap: Plugin = {
  name: "portmap",
  knowsNoArgs: true,
  keys: portmapKeys,
  parse: parsePortmapConfig,

  async add(request: PluginRequest): Promise<Result> {
    const { prevResult } = request.config;
    if (prevResult === undefined) {
      throw new CniError(cniErrorCode.invalidNetworkConfig, "must be called as chained plugin", {
        remedy: "Put portmap behind the plugin that makes the interface, in a configuration list",
      });
    }
    const config = parsePortmapConfig(request);
    const addresses = containerAddresses(request.config, request.invocation.ifname, config.mappings);
    if (addresses.length === 0) return prevResult;
    await withUndo(request, async (undo) => {
      if (config.backend === "nftables") {
        undo.push(() => removeOwn(request, config));
        await addMappings(request, config, addresses);
        if (config.snat) await allowLocalhost(addresses, rememberLocalnet);
      } else {
        const { addIptablesMappings } = await import("./iptables.ts");
        await addIptablesMappings(request, config, addresses, undo);
        if (config.snat) await allowLocalhost(addresses, () => undefined);
      }
      await forgetFlows(config.mappings);
    });
    return prevResult;
  },

  async del(request: PluginRequest): Promise<void> {
    const config = parsePortmapForDel(request);
    await closingLate(async (open) => {
      const nft = openNft();
      if (nft !== undefined) {
        open.push(nft);
        await removeMappings(open, nft, request, config);
      }
      for (const family of ["ip", "ip6"] as const) {
        const table = { family, name: referenceTable };
        if (nft?.chainOf(table, "hostports") === undefined) continue;
        const { removeReferenceRules } = await import("../netfilter/reference-rules.ts");
        await removeReferenceRules(open, table, ({ comment }) => comment === request.invocation.containerId);
      }
      // Whoever made them: this plugin by backend iptables, or the reference before it was replaced.
      const chain = iptablesChain(request.config.name, request.invocation.containerId, dnatPrefix);
      if (placesOf(nft ?? noChains, "nat", chain).length === 0) return;
      const { removeIptablesMappings } = await import("./iptables.ts");
      await forgetFlows(await removeIptablesMappings(request));
    });
  },

  async check(request: PluginRequest): Promise<void> {
    const { prevResult } = request.config;
    if (prevResult === undefined) {
      throw new CniError(cniErrorCode.invalidNetworkConfig, "Required prevResult missing", {
        remedy: "CHECK needs the result of ADD under prevResult",
      });
    }
    const config = parsePortmapConfig(request);
    const addresses = containerAddresses(request.config, request.invocation.ifname, config.mappings);
    const missing =
      config.backend === "nftables"
        ? missingMapping(request, config, addresses)
        : await (await import("./iptables.ts")).missingIptablesMapping(request, config, addresses);
    if (missing === undefined) return;
    throw new CniError(cniErrorCode.internal, `a port mapping is missing in ${missing}`, {
      remedy: "Delete the container's sandbox and make it anew",
    });
  },

  async gc(request: GcRequest): Promise<void> {
    const { network } = attachmentOf(request);
    const keep = new Set(request.valid.map((key) => commentOf({ network, ...key })));
    await closingLate(async (open) => {
      const nft = openNft();
      if (nft === undefined) return;
      open.push(nft);
      await sweepMappings(open, (owner) => isOfNetwork(owner, network) && !keep.has(owner));
    });
    const { collectIptablesMappings } = await import("./iptables.ts");
    await forgetFlows(await collectIptablesMappings(request));
  },

  async status(request: PluginRequest): Promise<void> {
    if (parsePortmapConfig(request).backend === "nftables") return requireNftables();
    const { requireIptables } = await import("../netfilter/iptables.ts");
    requireIptables(request);
  },
};

async function removeOwn(request: PluginRequest, config: PortmapConfig): Promise<void> {
  await closingLate(async (open) => {
    const nft = openNft();
    if (nft === undefined) return;
    open.push(nft);
    await removeMappings(open, nft, request, config);
  });
}

async function rememberLocalnet(link: string): Promise<void> {
  const { noteLocalnet } = await import("./table.ts");
  noteLocalnet(link);
}
