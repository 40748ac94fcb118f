import type { PluginRequest } from "../../cni/plugin.ts";
import type { Result } from "../../cni/result.ts";
import { anyOf } from "../../lib/lists.ts";
import { type LeanElement, LeanNft } from "../../linux/lean/nft.ts";
import { isAnyUnused, removeOwn, setElements, withStructure } from "../netfilter/elements.ts";
import { tableName } from "../netfilter/masquerade-names.ts";
import { attachmentOf, commentOf } from "../shared/attachment.ts";
import { type Bridge, bridgeOf, type FirewallConfig } from "./config.ts";
import { adminEntry, firewallChain, firewallMap, forwardHookChain } from "./names.ts";

/* The elements of names.ts; the structure around them is in table.ts. */

/** How many rules a chain of {@link firewallChain} has at most. */
const rulesOfChain = 3;

function elementsFor(
  request: PluginRequest,
  { policy }: FirewallConfig,
  result: Result,
): { elements: LeanElement[]; bridge: Bridge | undefined } {
  const bridge = policy === "open" ? undefined : bridgeOf(result, policy);
  const comment = commentOf(attachmentOf(request));
  const data = firewallChain(policy, bridge);
  const elements = result.ips.map(({ address: { ip } }) => ({
    set: firewallMap(ip.family),
    key: ip.bytes,
    data,
    comment,
  }));
  return { elements, bridge };
}

/** Lets packets pass to a container's addresses, as far as its policy does. */
export async function addFirewall(
  request: PluginRequest,
  config: FirewallConfig,
  result: Result,
): Promise<void> {
  const { elements, bridge } = elementsFor(request, config, result);
  if (elements.length === 0) return;
  const comment = commentOf(attachmentOf(request));
  using nft = new LeanNft(tableName);
  // The administrator's chain itself may be there already, made by him.
  const chains = [firewallChain(config.policy, bridge), adminEntry(config.adminChain)];
  await withStructure(
    !anyOf(chains, (chain) => nft.chainUse(chain) === undefined),
    () => makeStructure(config, bridge),
    () => setElements(nft, elements),
  );
  if (config.policy !== "isolated" || bridge?.port === undefined) return;
  const { isolatePort } = await import("./table.ts");
  isolatePort(bridge.port, comment);
}

async function makeStructure(config: FirewallConfig, bridge: Bridge | undefined): Promise<void> {
  const { addFirewallStructure } = await import("./table.ts");
  addFirewallStructure(config, bridge);
}

/** Takes back what {@link addFirewall} did. `open` takes the sockets; see closingLate. */
export async function removeFirewall(
  open: Disposable[],
  nft: LeanNft,
  request: PluginRequest,
): Promise<void> {
  const comment = commentOf(attachmentOf(request));
  const keys = (request.config.prevResult?.ips ?? []).map(({ address: { family, ip } }) => ({
    set: firewallMap(family),
    key: ip.bytes,
  }));
  const chains = await removeOwn(nft, keys, comment);
  // What the runtime does not say is found by the comment, and the last one takes the structure along.
  const isPlain = chains !== undefined && !anyOf(chains, (chain) => chain.startsWith("firewall-isolated-"));
  if (isPlain && !isAnyUnused(nft, chains, rulesOfChain)) return;
  const { sweepFirewall } = await import("./table.ts");
  await sweepFirewall(open, (owner) => owner === comment);
}

/** The map that lacks one of a container's addresses or the chain without rules; undefined where all is as it should be. */
export async function missingInNftables(
  request: PluginRequest,
  config: FirewallConfig,
  result: Result,
): Promise<string | undefined> {
  const { elements, bridge } = elementsFor(request, config, result);
  if (elements.length === 0) return undefined;
  using nft = new LeanNft(tableName);
  for (const element of elements) {
    const found = nft.find(element);
    if (found?.comment === element.comment && found.chain === element.data) continue;
    return `map ${element.set} of table ${tableName}`;
  }
  for (const chain of [adminEntry(config.adminChain), forwardHookChain]) {
    if ((nft.chainUse(chain) ?? 0) === 0) return `chain ${chain} of table ${tableName}`;
  }
  if (config.policy !== "isolated" || bridge?.port === undefined) return undefined;
  const { isIsolatedPort } = await import("./table.ts");
  return isIsolatedPort(bridge.port) ? undefined : `set of isolated ports of table bridge ${tableName}`;
}
