import type { AttachmentKey } from "../../cni/plugin.ts";
import { isNotFound } from "../../linux/errors.ts";
import { drop, ether, isIn, isNotIn, meta, rule } from "../../linux/nftables/expr.ts";
import {
  type Chain,
  Nftables,
  type NftSet,
  type Rule,
  type TableRef,
  Transaction,
} from "../../linux/nftables/index.ts";
import { tableName } from "../netfilter/masquerade-names.ts";
import { sweep } from "../netfilter/nft-table.ts";
import { untilUndisturbed } from "../netfilter/optimistic.ts";
import { removeReferenceRules } from "../netfilter/reference-rules.ts";
import { type Attachment, commentOf, isOfNetwork } from "../shared/attachment.ts";
import { closingLate } from "../shared/closing.ts";
import { macSpoofName } from "./mac-spoof-table.ts";

/*
 * Frames leave a container with its own hardware address, or not at all. In table bridge weft-cni:
 *
 *     set macspoofchk-ports    the ports that are looked at          comment: the attachment
 *     set macspoofchk          port . hardware address
 *     chain macspoofchk        (prerouting) of these ports, not this pair: drop
 *
 * One rule for all containers, ahead of all else that a bridge does with a frame.
 */

const table: TableRef = { family: "bridge", name: tableName };
const raw = -300;

const chain: Chain = {
  kind: "chain",
  name: macSpoofName,
  type: "filter",
  hook: "prerouting",
  priority: raw,
};
const ports: NftSet = { kind: "set", name: `${macSpoofName}-ports`, key: "ifname" };
const pairs: NftSet = { kind: "set", name: macSpoofName, key: ["ifname", "ether_addr"] };

/** Lets frames with this source address alone come in by a port of a bridge, whatever was allowed there before. */
export async function addMacSpoofCheck(attachment: Attachment, port: string, mac: string): Promise<void> {
  const comment = commentOf(attachment);
  using nft = new Nftables();
  await untilUndisturbed(() => {
    const { generation, stale } = pairsOf(nft, port);
    const transaction = new Transaction(table)
      .add({ kind: "table", ...table }, ports, pairs, chain)
      .flush({ kind: "chain", name: chain.name })
      .add(
        rule(
          table.family,
          chain.name,
          isIn(meta.iifname, ports),
          isNotIn([meta.iifname, ether.saddr], pairs),
          drop,
        ),
      )
      .deleteElements(
        pairs,
        stale.map((key) => ({ key })),
      )
      // In place of the one of an earlier container with this port.
      .destroyElements(ports, [{ key: port }])
      .addElements(ports, [{ key: port, comment }])
      .addElements(pairs, [{ key: [port, mac], comment }]);
    nft.apply(transaction, { generation });
  });
}

/** What is allowed at a port. */
function pairsOf(nft: Nftables, port: string): { generation: number; stale: [string, string][] } {
  const generation = nft.generation();
  try {
    const stale = nft
      .elements(table, pairs)
      .map(({ key }) => key as [string, string])
      .filter(([name]) => name === port);
    return { generation, stale };
  } catch (error) {
    if (isNotFound(error)) return { generation, stale: [] };
    throw error;
  }
}

/** True where {@link addMacSpoofCheck} holds. */
export function hasMacSpoofCheck(attachment: Attachment, port: string, mac: string): boolean {
  const comment = commentOf(attachment);
  using nft = new Nftables();
  try {
    const { sets, rules } = nft.dump(table);
    const isOwn = (set: NftSet, key: string) =>
      sets
        .find(({ name }) => name === set.name)
        ?.elements?.some((element) => element.comment === comment && String(element.key) === key) === true;
    return rules.length > 0 && isOwn(ports, port) && isOwn(pairs, `${port},${mac}`);
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

/** Takes back what {@link addMacSpoofCheck} did for an attachment. */
export async function removeMacSpoofCheck(attachment: Attachment): Promise<void> {
  const comment = commentOf(attachment);
  await remove((owner) => owner === comment);
  // What the reference made for it, whose plugins may have been replaced since.
  const id = `${attachment.containerId}-${attachment.ifname}`;
  const chains = [`cni-br-iface-${id}`, `cni-br-iface-${id}-mac`];
  await closingLate(async (open) => {
    const isOwn = ({ chain, comment }: Rule) => chain === "PREROUTING" && comment === `macspoofchk-${id}`;
    await removeReferenceRules(open, { family: "bridge", name: "nat" }, isOwn, chains);
  });
}

/** Removes what is there for attachments of a network that are not among the valid ones. */
export async function collectMacSpoofChecks(network: string, valid: readonly AttachmentKey[]): Promise<void> {
  const keep = new Set(valid.map((key) => commentOf({ network, ...key })));
  await remove((owner) => isOfNetwork(owner, network) && !keep.has(owner));
}

async function remove(isGone: (comment: string) => boolean): Promise<void> {
  await closingLate(async (open) => {
    await sweep(
      open,
      { table, isMap: (name) => name.startsWith(macSpoofName), chains: [] },
      ({ comment = "" }) => isGone(comment),
    );
  });
}
