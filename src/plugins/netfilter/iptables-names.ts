import { InvalidInput } from "../../lib/errors.ts";
import { isNotFound, isNotSupported } from "../../linux/errors.ts";
import { readText } from "../../linux/lean/files.ts";
import type { FoundChain, LeanNft } from "../../linux/lean/nft.ts";
import type { IptablesTable, IptablesVariant } from "./iptables.ts";

/*
 * What the reference calls its chains, and how to see without starting a program whether iptables may have them.
 * Apart from iptables.ts, so that an ordinary DEL, which has to ask, need not load it.
 */

/** The kernel's longest name of a chain in iptables. */
export const longestChainName = 28;

/** The chain for what containers send and get, in table filter. */
export const forwardChain = "CNI-FORWARD";

/** What chains of port mappings have in their names. */
export const dnatPrefix = "DN-";

/**
 * A container's chain, named as the reference does ("CNI-DN-0123456789abcdef01234"): each finds what the other made. The
 * reference leaves the interface out.
 */
export function iptablesChain(network: string, containerId: string, prefix = ""): string {
  const hash = new Bun.CryptoHasher("sha512").update(`${network}${containerId}`).digest("hex");
  return `CNI-${prefix}${hash}`.slice(0, longestChainName);
}

/** Throws {@link InvalidInput} for what cannot be a chain's name, neither in iptables nor in nft. */
export function requireChainName(name: string, field: string): string {
  if (/^[A-Za-z][\w.-]*$/.test(name) && name.length <= longestChainName) return name;
  throw new InvalidInput(field, name, "cannot be the name of a chain", {
    remedy: `Use up to ${longestChainName} letters, digits, "-", "_" and ".", a letter first`,
  });
}

/** Where rules of iptables are in the kernel. */
export interface IptablesPlace {
  family: 4 | 6;
  variant: Exclude<IptablesVariant, "default">;
}

/**
 * Where a table of iptables may have a chain that is used at least so many times. For iptables over nf_tables the kernel
 * tells; of the old one only whether somebody uses the table.
 */
export function placesOf(
  nft: Pick<LeanNft, "chainOf">,
  table: IptablesTable,
  chain: string,
  leastUse = 0,
): IptablesPlace[] {
  const places: IptablesPlace[] = [];
  for (const family of [4, 6] as const) {
    if ((chainIn(nft, family, table, chain)?.use ?? -1) >= leastUse) places.push({ family, variant: "nft" });
    if (isLegacyTable(family, table)) places.push({ family, variant: "legacy" });
  }
  return places;
}

function chainIn(
  nft: Pick<LeanNft, "chainOf">,
  family: 4 | 6,
  table: IptablesTable,
  chain: string,
): FoundChain | undefined {
  try {
    return nft.chainOf({ family: family === 4 ? "ip" : "ip6", name: table }, chain);
  } catch (error) {
    if (isNotSupported(error)) return undefined;
    throw error;
  }
}

/** True where iptables has a say in what the host forwards: rules of any kind, a policy, or its old table in use. */
export function isFiltered(nft: Pick<LeanNft, "chainOf">, family: 4 | 6): boolean {
  const forward = chainIn(nft, family, "filter", "FORWARD");
  return (
    (forward !== undefined && (forward.dropsByPolicy || forward.use > 0)) || isLegacyTable(family, "filter")
  );
}

/** True where the old iptables' table is in use in this namespace. */
export function isLegacyTable(family: 4 | 6, table: IptablesTable): boolean {
  try {
    const names = readText(`/proc/net/ip${family === 6 ? "6" : ""}_tables_names`);
    return names.split("\n").includes(table);
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}
