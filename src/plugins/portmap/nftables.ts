import type { PluginRequest } from "../../cni/plugin.ts";
import type { Prefix } from "../../lib/prefix.ts";
import type { LeanElement, LeanKey, LeanNft } from "../../linux/lean/nft.ts";
import { isAnyUnused, removeOwn, withStructure } from "../netfilter/elements.ts";
import { tableName } from "../netfilter/masquerade-names.ts";
import { noNftables, openNft } from "../netfilter/open-nft.ts";
import { untilUndisturbed } from "../netfilter/optimistic.ts";
import { attachmentOf, commentOf } from "../shared/attachment.ts";
import { type HostPort, type PortmapConfig, udp } from "./config.ts";
import {
  conditionsChainName,
  elementsFor,
  groupOf,
  guardChainName,
  hookChainName,
  keysFor,
  snatChainName,
  snatNetwork,
  waitingMapName,
} from "./elements.ts";

/*
 * Port mappings in nftables: the elements, which is all that an ordinary ADD or DEL changes. See elements.ts.
 */

/** How many rules a chain of {@link snatChainName} has at most. */
const rulesOfSnatChain = 2;

/**
 * Maps the ports to a container. A port that another one has goes to the latest, as with the reference, and the other
 * waits for it (see waiting.ts), or keeps what only its own conditions fit (see precedence.ts).
 */
export async function addMappings(
  request: PluginRequest,
  config: PortmapConfig,
  addresses: readonly Prefix[],
): Promise<void> {
  const comment = commentOf(attachmentOf(request));
  const elements = elementsFor(config, addresses, comment);
  if (elements.length === 0) return;
  using nft = openNft();
  if (nft === undefined) throw noNftables();
  const chains = new Set(elements.flatMap(({ data }) => (typeof data === "string" ? [data] : [])));
  const isComplete = chains.size > 0 && [...chains].every((chain) => nft.chainUse(chain) !== undefined);
  await withStructure(
    isComplete,
    () => makeStructure(config, addresses),
    async () => {
      if (await untilUndisturbed(() => addUnlessTaken(nft, elements, comment))) return;
      const { takeOver } = await import("./waiting.ts");
      for (const sentence of await takeOver(config, addresses, comment)) request.warn(sentence);
    },
  );
  if (nft.chainUse(conditionsChainName) === undefined) return;
  const { comeFirst } = await import("./precedence.ts");
  for (const sentence of await comeFirst(config, addresses, comment)) request.warn(sentence);
}

/** False, and nothing is done, where another attachment has one of the ports. */
function addUnlessTaken(nft: LeanNft, elements: readonly LeanElement[], comment: string): boolean {
  const generation = nft.generation();
  const present: LeanKey[] = [];
  for (const { set, key } of elements) {
    const owner = nft.find({ set, key })?.comment;
    if (owner === undefined) continue;
    if (owner !== comment) return false;
    present.push({ set, key });
  }
  nft.add(elements, present, generation);
  return true;
}

async function makeStructure(config: PortmapConfig, addresses: readonly Prefix[]): Promise<void> {
  const { addPortmapStructure } = await import("./table.ts");
  addPortmapStructure(
    config,
    addresses.map((address) => snatNetwork(address, config)),
  );
}

/**
 * Takes back what {@link addMappings} did, with or without the configuration's list of ports. `open` takes the sockets;
 * see closingLate.
 */
export async function removeMappings(
  open: Disposable[],
  nft: LeanNft,
  request: PluginRequest,
  config: PortmapConfig,
): Promise<void> {
  const comment = commentOf(attachmentOf(request));
  const chains = await removeOwn(nft, keysFor(config), comment);
  const group = groupOf(config);
  const isWaitedFor = ([4, 6] as const).some((family) => nft.hasSet(waitingMapName(family, group)));
  // What the runtime forgot to say, or says otherwise than at ADD, is found by the comment, and what a DEL left that was
  // killed is done away with, unless nobody has mapped a port. Also this container itself may wait for a port.
  const mayBeLeft =
    isWaitedFor ||
    (chains === undefined
      ? nft.chainUse(guardChainName) !== undefined
      : chains.size === 0 || isAnyUnused(nft, chains, rulesOfSnatChain));
  if (mayBeLeft) await sweepMappings(open, (owner) => owner === comment);
  if (chains !== undefined) await forgetFlows(config.mappings);
}

/** Removes the mappings that a condition is true for, of their comments, and what nothing needs any more. */
export async function sweepMappings(open: Disposable[], isGone: (comment: string) => boolean): Promise<void> {
  const { sweepPortmap } = await import("./table.ts");
  const ports = await sweepPortmap(open, isGone);
  const { handBack } = await import("./waiting.ts");
  await handBack(open);
  await forgetFlows(ports);
}

/** UDP flows that were seen before the mapping changed would go on to where they went. */
export async function forgetFlows(ports: readonly HostPort[]): Promise<void> {
  if (!ports.some(({ protocol }) => protocol === udp)) return;
  const { forgetUdpFlows } = await import("./flows.ts");
  forgetUdpFlows(ports);
}

/** The map that lacks one of a container's mappings, or the chain without rules; undefined where all are there. */
export function missingMapping(
  request: PluginRequest,
  config: PortmapConfig,
  addresses: readonly Prefix[],
): string | undefined {
  const comment = commentOf(attachmentOf(request));
  using nft = openNft();
  if (nft === undefined) throw noNftables();
  const elements = elementsFor(config, addresses, comment);
  const missing = elements.find((element) => nft.find(element)?.comment !== comment);
  if (missing === undefined) {
    if (elements.length === 0) return undefined;
    const group = groupOf(config);
    const chains = [hookChainName("prerouting", group), hookChainName("output", group)];
    const empty = chains.find((chain) => (nft.chainUse(chain) ?? 0) === 0);
    return empty === undefined ? undefined : `chain ${empty} of table ${tableName}`;
  }
  const owner = nft.find(missing)?.comment ?? "";
  return `map ${missing.set} of table ${tableName}${owner === "" ? "" : `: the port belongs to ${owner} now`}`;
}
