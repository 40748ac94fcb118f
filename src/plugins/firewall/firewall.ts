import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { GcRequest, Plugin, PluginRequest } from "../../cni/plugin.ts";
import type { Result } from "../../cni/result.ts";
import type { LeanNft } from "../../linux/lean/nft.ts";
import { forwardChain, isFiltered, placesOf } from "../netfilter/iptables-names.ts";
import { noChains, noNftables, openNft, requireNftables } from "../netfilter/open-nft.ts";
import { attachmentOf, commentOf, isOfNetwork } from "../shared/attachment.ts";
import { closingLate } from "../shared/closing.ts";
import { withUndo } from "../shared/undo.ts";
import { type FirewallConfig, firewallKeys, parseFirewallConfig } from "./config.ts";
import { addFirewall, missingInNftables, removeFirewall } from "./nftables.ts";

/** The reference leaves its chain behind, with the rule that leads to it and one in it. */
const usesOfEmptyChain = 2;

/** Lets packets to and from containers pass the host's firewall. Comes behind the plugin that made the interface. */
export const firewall: Plugin = {
  name: "firewall",
  knowsNoArgs: true,
  keys: firewallKeys,
  parse: parseFirewallConfig,

  async add(request: PluginRequest): Promise<Result> {
    const result = requirePrevious(request);
    const config = parseFirewallConfig(request);
    using nft = openNft();
    if ((await backendFor(nft, request, config, result)) === "iptables") {
      const { addIptablesFirewall } = await import("./iptables.ts");
      await withUndo(request, (undo) => {
        undo.push(() => closingLate((open) => removeBoth(open, nft, request)));
        return addIptablesFirewall(request, config, result);
      });
      return result;
    }
    if (nft === undefined) throw noNftables();
    await withUndo(request, async (undo) => {
      undo.push(() => closingLate((open) => removeFirewall(open, nft, request)));
      await addFirewall(request, config, result);
    });
    if (config.backend === undefined) warnOfFirewalld(nft, request);
    return result;
  },

  async del(request: PluginRequest): Promise<void> {
    await closingLate(async (open) => {
      const nft = openNft();
      if (nft !== undefined) open.push(nft);
      // Whoever made them: this plugin by backend iptables, or the reference before it was replaced.
      if (placesOf(nft ?? noChains, "filter", forwardChain, usesOfEmptyChain + 1).length > 0) {
        await removeBoth(open, nft, request);
      } else if (nft !== undefined) await removeFirewall(open, nft, request);
    });
  },

  async check(request: PluginRequest): Promise<void> {
    const result = requirePrevious(request);
    const config = parseFirewallConfig(request);
    let missing: string | undefined;
    using nft = openNft();
    if (config.backend !== "iptables") {
      missing =
        nft === undefined
          ? "nftables, which the kernel lacks"
          : await missingInNftables(request, config, result);
    }
    // Where nothing is said, the host decided at the time of ADD.
    if (config.backend === "iptables" || (config.backend === undefined && missing !== undefined)) {
      if (config.backend === "iptables" || placesOf(nft ?? noChains, "filter", forwardChain).length > 0) {
        const { missingInIptables } = await import("./iptables.ts");
        missing = await missingInIptables(request, config, result);
      }
    }
    if (missing === undefined) return;
    throw new CniError(cniErrorCode.internal, `a rule of the firewall is missing in ${missing}`, {
      remedy: "Delete the container's sandbox and make it anew",
    });
  },

  async gc(request: GcRequest): Promise<void> {
    const { network } = attachmentOf(request);
    const keep = new Set(request.valid.map((key) => commentOf({ network, ...key })));
    const isGone = (owner: string) => isOfNetwork(owner, network) && !keep.has(owner);
    const { collectIptablesFirewall } = await import("./iptables.ts");
    await collectIptablesFirewall(request, isGone);
    using nft = openNft();
    if (nft === undefined) return;
    const { sweepFirewall } = await import("./table.ts");
    await closingLate((open) => sweepFirewall(open, isGone));
  },

  async status(request: PluginRequest): Promise<void> {
    const { backend } = parseFirewallConfig(request);
    const { hasIptables, requireIptables } = await import("../netfilter/iptables.ts");
    if (backend === "iptables") requireIptables(request);
    else if (backend === "nftables" || !hasIptables(request)) requireNftables();
  },
};

/** In this order: the second also takes what tells whose the rules in iptables are, which a DEL done once more has to know. */
async function removeBoth(
  open: Disposable[],
  nft: LeanNft | undefined,
  request: PluginRequest,
): Promise<void> {
  const { removeIptablesFirewall } = await import("./iptables.ts");
  await removeIptablesFirewall(request);
  if (nft !== undefined) await removeFirewall(open, nft, request);
}

function requirePrevious({ config }: PluginRequest): Result {
  if (config.prevResult !== undefined) return config.prevResult;
  throw new CniError(cniErrorCode.invalidNetworkConfig, "missing prevResult from earlier plugin", {
    remedy: "Put firewall behind the plugin that makes the interface, in a configuration list",
  });
}

/**
 * nftables, unless iptables filters what the host forwards: then only a rule in iptables can let it pass, since an accept
 * in one table does not keep the next one from dropping.
 */
async function backendFor(
  nft: LeanNft | undefined,
  request: PluginRequest,
  { backend }: FirewallConfig,
  { ips }: Result,
): Promise<"nftables" | "iptables"> {
  if (backend !== undefined) return backend;
  if (nft !== undefined && !ips.some(({ address }) => isFiltered(nft, address.family))) return "nftables";
  const { hasIptables } = await import("../netfilter/iptables.ts");
  return hasIptables(request) ? "iptables" : "nftables";
}

/** The reference would put the container into a zone of firewalld's. */
function warnOfFirewalld(nft: LeanNft, request: PluginRequest): void {
  if (nft.chainOf({ family: "inet", name: "firewalld" }, "filter_FORWARD") === undefined) return;
  const bridge = request.config.prevResult?.interfaces[0]?.name ?? "BRIDGE";
  request.warn(
    `firewalld decides by itself what this host forwards; let it pass the containers: firewall-cmd --permanent --zone=trusted --add-interface=${bridge}`,
  );
}
