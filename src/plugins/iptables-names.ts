import { isNotFound, isNotSupported, KernelError } from "../linux/errors.ts";
import { readText } from "../linux/lean/files.ts";
import type { LeanNft } from "../linux/lean/nft.ts";
import type { IptablesTable, IptablesVariant } from "./iptables.ts";

/*
 * What the reference calls its chains, and how to see without starting a program whether iptables may have them.
 * Apart from iptables.ts, so that an ordinary DEL, which has to ask, need not load it.
 */

/** The kernel's longest name of a chain in iptables. */
export const longestChainName = 28;

/**
 * A container's chain, named as the reference does ("CNI-DN-0123456789abcdef01234"): each finds what the other made. The
 * reference leaves the interface out.
 */
export function iptablesChain(network: string, containerId: string, prefix = ""): string {
  const hash = new Bun.CryptoHasher("sha512").update(`${network}${containerId}`).digest("hex");
  return `CNI-${prefix}${hash}`.slice(0, longestChainName);
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
    if (useOf(nft, family, table, chain) >= leastUse) places.push({ family, variant: "nft" });
    if (isLegacyTable(family, table)) places.push({ family, variant: "legacy" });
  }
  return places;
}

function useOf(nft: Pick<LeanNft, "chainOf">, family: 4 | 6, table: string, chain: string): number {
  try {
    return nft.chainOf({ family: family === 4 ? "ip" : "ip6", name: table }, chain)?.use ?? -1;
  } catch (error) {
    if (error instanceof KernelError && isNotSupported(error)) return -1;
    throw error;
  }
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
