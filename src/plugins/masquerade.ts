import type { AttachmentKey } from "../cni/plugin.ts";
import type { Ip } from "../lib/ip.ts";
import type { Prefix } from "../lib/prefix.ts";
import { isErrno, isExists, isNotFound } from "../linux/errors.ts";
import type { Chain, Element, NftMap, Rule } from "../linux/nftables/model.ts";
import { Nftables } from "../linux/nftables/nftables.ts";
import { Transaction } from "../linux/nftables/transaction.ts";
import { type Attachment, commentOf, isOfNetwork, removeEmptyTable, table } from "./nft.ts";
import { daddrIn, ofFamily, saddrVerdict } from "./nft-rules.ts";

/*
 * Packets from a container to outside of its own network leave with an address of the host. In table inet weft-cni:
 *
 *     chain postrouting (nat, srcnat)      ip saddr vmap @masquerade4      the same for IPv6
 *     map masquerade4                      10.244.1.7 : jump masquerade-10.244.1.0/24   comment: the attachment
 *     chain masquerade-10.244.1.0/24       to 10.244.1.0/24 or multicast: leave it; else masquerade
 *
 * One element for each address, one chain for each network's prefix: a packet costs one lookup, however many
 * containers there are.
 */

const srcnat = 100;

/** The map of a family. */
export function masqueradeMap(family: 4 | 6): NftMap {
  return {
    kind: "map",
    name: `masquerade${family}`,
    key: family === 4 ? "ipv4_addr" : "ipv6_addr",
    data: "verdict",
  };
}

const postrouting: Chain = {
  kind: "chain",
  name: "postrouting",
  type: "nat",
  hook: "postrouting",
  priority: srcnat,
};

/** The chain for addresses of a network: "masquerade-10.244.1.0/24". nft's names cannot have colons. */
export function masqueradeChain(network: Prefix): string {
  return `masquerade-${String(network).replaceAll(":", "_")}`;
}

/** What has to be there before the element. Safe to repeat. */
function addStructure(transaction: Transaction, network: Prefix): void {
  const chain = masqueradeChain(network);
  const rule = (...expressions: Rule["expressions"]): Rule => ({ kind: "rule", chain, expressions });
  const multicast = network.family === 4 ? "224.0.0.0/4" : "ff00::/8";
  const result: Rule["expressions"][number] = { name: "immediate", register: 0, data: { verdict: "return" } };
  transaction
    .add({ kind: "table", ...table }, masqueradeMap(4), masqueradeMap(6), postrouting)
    .flush({ kind: "chain", name: postrouting.name })
    .add(
      ...([4, 6] as const).map(
        (family): Rule => ({
          kind: "rule",
          chain: postrouting.name,
          expressions: [...ofFamily(family), ...saddrVerdict(family, masqueradeMap(family).name)],
        }),
      ),
    )
    .add({ kind: "chain", name: chain })
    .flush({ kind: "chain", name: chain })
    .add(
      rule(...daddrIn(String(network)), result),
      rule(...daddrIn(multicast), result),
      rule({ name: "masq" }),
    );
}

function elementOf(attachment: Attachment, address: Prefix): Element {
  return {
    key: address.ip,
    data: { verdict: "jump", chain: masqueradeChain(address.masked()) },
    comment: commentOf(attachment),
  };
}

/**
 * Masquerades what comes from these addresses (each with its network's length). An address that an earlier attachment
 * left behind is taken over.
 */
export function addMasquerade(
  attachment: Attachment,
  addresses: readonly Prefix[],
  nft = new Nftables(),
): void {
  using _ = nft;
  const families = ([4, 6] as const).filter((family) =>
    addresses.some((address) => address.family === family),
  );
  const elements = (op: "create" | "destroy") => {
    const transaction = new Transaction(table);
    for (const family of families) {
      const own = addresses.filter((address) => address.family === family);
      transaction[op]({
        kind: "elements",
        set: masqueradeMap(family),
        elements: own.map((address) => elementOf(attachment, address)),
      });
    }
    return transaction;
  };
  try {
    nft.apply(elements("create"));
  } catch (error) {
    // The first of its network finds no chain; a leftover of the same address is in the way.
    if (!isNotFound(error) && !isExists(error) && !isErrno(error, "EBUSY")) throw error;
    const all = new Transaction(table);
    for (const network of distinctNetworks(addresses)) addStructure(all, network);
    all.operations.push(...elements("destroy").operations, ...elements("create").operations);
    nft.apply(all);
  }
}

function distinctNetworks(addresses: readonly Prefix[]): Prefix[] {
  const networks = addresses.map((address) => address.masked());
  return networks.filter((network, i) => networks.findIndex((other) => other.equals(network)) === i);
}

/**
 * Takes back what {@link addMasquerade} did for an attachment. Without `ips` all elements are looked through. Elements
 * that belong to another attachment by now stay. Nothing to take back is fine.
 */
export function removeMasquerade(
  attachment: Attachment,
  ips: readonly Ip[] | undefined,
  nft = new Nftables(),
): void {
  using _ = nft;
  const comment = commentOf(attachment);
  const wanted = ips === undefined ? undefined : new Set(ips.map(String));
  removeElements(
    nft,
    (element) => element.comment === comment && (wanted === undefined || wanted.has(String(element.key))),
  );
}

/** Removes the elements of a network whose attachment is not among the valid ones. */
export function collectMasquerade(
  network: string,
  valid: readonly AttachmentKey[],
  nft = new Nftables(),
): void {
  using _ = nft;
  const keep = new Set(valid.map(({ containerId, ifname }) => commentOf({ network, containerId, ifname })));
  removeElements(
    nft,
    ({ comment }) => comment !== undefined && isOfNetwork(comment, network) && !keep.has(comment),
  );
}

/** True where the address of the attachment is masqueraded. */
export function isMasqueraded(attachment: Attachment, ip: Ip, nft = new Nftables()): boolean {
  using _ = nft;
  const comment = commentOf(attachment);
  return listElements(nft, masqueradeMap(ip.family)).some(
    (element) => element.key === String(ip) && element.comment === comment,
  );
}

function removeElements(nft: Nftables, isGone: (element: Element) => boolean): void {
  const transaction = new Transaction(table);
  const chains = new Set<string>();
  for (const family of [4, 6] as const) {
    const set = masqueradeMap(family);
    const elements = listElements(nft, set).filter(isGone);
    transaction.destroyElements(set, elements);
    for (const { data } of elements) if (isJump(data)) chains.add(data.chain);
  }
  if (transaction.operations.length === 0) return;
  nft.apply(transaction);
  removeUnusedChains(nft, chains);
}

function isJump(data: Element["data"]): data is { verdict: "jump"; chain: string } {
  return typeof data === "object" && "verdict" in data && data.chain !== undefined;
}

function listElements(nft: Nftables, set: NftMap): Element[] {
  try {
    return nft.elements(table, set);
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  }
}

/** The kernel refuses to delete a chain to which an element still leads; then it is in use. */
function removeUnusedChains(nft: Nftables, chains: ReadonlySet<string>): void {
  for (const name of chains) {
    try {
      nft.apply(new Transaction(table).delete({ kind: "chain", name }));
    } catch (error) {
      if (isErrno(error, "EBUSY") || isNotFound(error)) return;
      throw error;
    }
  }
  removeEmptyTable(nft);
}
