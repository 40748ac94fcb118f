import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { AttachmentKey, PluginRequest } from "../../cni/plugin.ts";
import { quote } from "../../lib/errors.ts";
import type { Prefix } from "../../lib/prefix.ts";
import { Iptables, type IptablesCaller } from "./iptables.ts";
import { iptablesChain } from "./iptables-names.ts";
import {
  ensureParts,
  goneContainers,
  type IptablesPart,
  type IptablesParts,
  iptablesWith,
  isThere,
  removeChain,
} from "./iptables-rules.ts";
import { noChains, openNft } from "./open-nft.ts";

/*
 * Masquerading by iptables, in the chains and with the comments of the reference:
 *
 *     POSTROUTING           -s 10.244.1.7 -j CNI-<hash>          comment: name: "net" id: "<container>"
 *     CNI-<hash>            -d 10.244.1.0/24 -j ACCEPT; ! -d 224.0.0.0/4 -j MASQUERADE
 */

const table = "nat";
const entry = "POSTROUTING";

function partsFor(request: PluginRequest, addresses: readonly Prefix[]): IptablesParts {
  const { network, containerId } = ownerOf(request);
  const chain = iptablesChain(network, containerId);
  const comment = ["-m", "comment", "--comment", `name: ${quote(network)} id: ${quote(containerId)}`];
  const own: IptablesPart[] = [{ kind: "chain", name: chain }];
  for (const address of addresses) {
    const multicast = address.family === 4 ? "224.0.0.0/4" : "ff00::/8";
    own.push(
      { kind: "rule", chain, words: ["-d", String(address.masked()), "-j", "ACCEPT", ...comment] },
      { kind: "rule", chain, words: ["!", "-d", multicast, "-j", "MASQUERADE", ...comment] },
      { kind: "rule", chain: entry, words: ["-s", String(address.ip), "-j", chain, ...comment] },
    );
  }
  return { table, shared: [], own: own.filter(isFirst) };
}

/** Several addresses of a family need the rule for multicast once. */
function isFirst(part: IptablesPart, at: number, all: readonly IptablesPart[]): boolean {
  const text = JSON.stringify(part);
  return all.findIndex((other) => JSON.stringify(other) === text) === at;
}

function ownerOf({ config, invocation }: PluginRequest): { network: string; containerId: string } {
  return { network: config.name, containerId: invocation.containerId };
}

function familiesOf(addresses: readonly Prefix[]): [4 | 6, Prefix[]][] {
  return ([4, 6] as const)
    .map((family): [4 | 6, Prefix[]] => [family, addresses.filter((each) => each.family === family)])
    .filter(([, own]) => own.length > 0);
}

/** Masquerades what comes from these addresses (each with its network's length). */
export async function addIptablesMasquerade(
  request: PluginRequest,
  addresses: readonly Prefix[],
): Promise<void> {
  for (const [family, own] of familiesOf(addresses)) {
    await ensureParts(new Iptables(request, family), partsFor(request, own));
  }
}

/** Takes back what {@link addIptablesMasquerade}, or the reference, did for a container. */
export async function removeIptablesMasquerade(request: PluginRequest): Promise<void> {
  const { network, containerId } = ownerOf(request);
  const chain = iptablesChain(network, containerId);
  using nft = openNft();
  for (const iptables of iptablesWith(nft ?? noChains, request, table, chain)) {
    await removeChain(iptables, { table, chain, entry });
  }
}

/** Throws a {@link CniError} where something of {@link addIptablesMasquerade} is missing. */
export async function checkIptablesMasquerade(
  request: PluginRequest,
  addresses: readonly Prefix[],
): Promise<void> {
  for (const [family, own] of familiesOf(addresses)) {
    const iptables = new Iptables(request, family);
    for (const part of partsFor(request, own).own) {
      if (await isThere(iptables, table, part)) continue;
      throw new CniError(
        cniErrorCode.internal,
        `traffic from ${own.map(({ ip }) => ip).join(" and ")} is not masqueraded: iptables has no ${
          part.kind === "chain" ? `chain ${part.name}` : `rule "${part.words.join(" ")}" in ${part.chain}`
        }`,
        { remedy: "Delete the container's sandbox and make it anew" },
      );
    }
  }
}

/** Removes what is there for containers of a network that are not among the valid ones. */
export async function collectIptablesMasquerade(
  caller: IptablesCaller,
  network: string,
  valid: readonly AttachmentKey[],
): Promise<void> {
  using nft = openNft();
  for (const iptables of iptablesWith(nft ?? noChains, caller, table, entry)) {
    const rules = (await iptables.rules(table, entry)) ?? [];
    for (const chain of goneContainers(rules, network, valid)) {
      await removeChain(iptables, { table, chain, entry });
    }
  }
}
