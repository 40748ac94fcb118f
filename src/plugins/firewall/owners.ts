import { Ip } from "../../lib/ip.ts";
import { isNotFound, isNotSupported } from "../../linux/errors.ts";
import { Nftables, type NftSet, Transaction } from "../../linux/nftables/index.ts";
import { table } from "../netfilter/nft-table.ts";
import { openNft } from "../netfilter/open-nft.ts";

/*
 * Whose addresses have rules in iptables: the rules, which are the reference's to the word, do not say more
 * than that Weft made them (by their order, see iptables.ts). It is kept in sets
 * of the plugins' table, where the rules are: in the host's namespace, until it ends. A kernel without nftables does
 * without, and then DEL goes by prevResult alone.
 */

/** An address and the comment that says whose it is. */
export interface OwnedAddress {
  ip: Ip;
  owner: string;
}

const families = [4, 6] as const;

function setOf(family: 4 | 6): NftSet {
  return { kind: "set", name: `firewall-iptables${family}`, key: family === 4 ? "ipv4_addr" : "ipv6_addr" };
}

/** Remembers whose the addresses are, in place of whoever had them before. */
export function rememberOwner(owner: string, ips: readonly Ip[]): void {
  if (!hasNftables()) return;
  const transaction = new Transaction(table).add({ kind: "table", ...table }, ...families.map(setOf));
  for (const ip of ips) {
    const set = setOf(ip.family);
    transaction.destroyElements(set, [{ key: ip }]).addElements(set, [{ key: ip, comment: owner }]);
  }
  using nft = new Nftables();
  try {
    nft.apply(transaction);
  } catch (error) {
    // A kernel can have nftables of other families only.
    if (!isNotSupported(error)) throw error;
  }
}

function hasNftables(): boolean {
  using nft = openNft();
  return nft !== undefined;
}

/** All that is remembered. */
export function ownedAddresses(): OwnedAddress[] {
  if (!hasNftables()) return [];
  using nft = new Nftables();
  return families.flatMap((family) => {
    try {
      return nft.elements(table, setOf(family)).flatMap(({ key, comment: owner = "" }) => {
        const ip = Ip.tryParse(String(key));
        return ip === undefined ? [] : [{ ip, owner }];
      });
    } catch (error) {
      if (isNotFound(error)) return [];
      throw error;
    }
  });
}
