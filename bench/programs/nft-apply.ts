/**
 * The whole-process side of the bench `nft`: does what `nft -f` does for a table with one map, from a JSON file with the
 * elements.
 */
import { readFileSync } from "node:fs";
import { type Element, Nftables, type NftMap, Transaction } from "../../src/linux/nftables/index.ts";

const table = { family: "inet", name: "bench" } as const;
const map: NftMap = {
  kind: "map",
  name: "frontends",
  key: ["ipv4_addr", "inet_proto", "inet_service"],
  data: ["ipv4_addr", "inet_service"],
};
const elements: Element[] = JSON.parse(readFileSync(process.argv[2] ?? "/dev/stdin", "utf8"));
using nft = new Nftables();
nft.apply(new Transaction(table).add({ kind: "table", ...table }, map).addElements(map, elements));
