/**
 * An nftables set of networks that may not send to us, changed while it is in use.
 *
 * Run as root: node_modules/.bin/bun examples/linux/nft-set.ts
 */
import { createNetns, deleteNetns, expr, nftables, openKernel } from "weft/linux";

const netns = { name: `weft-example-${process.pid}` };
const table = { family: "inet", name: "example" } as const;
const blocked: nftables.NftSet = {
  kind: "set",
  name: "blocked",
  key: "ipv4_addr",
  flags: ["interval"],
  comment: "may not send to us",
};

createNetns(netns.name);
try {
  using kernel = openKernel(netns);
  const { nft } = kernel;

  // All of a transaction, or nothing.
  nft.apply(
    new nftables.Transaction(table)
      .add({ kind: "table", ...table })
      .add(blocked, { kind: "chain", name: "in", type: "filter", hook: "input", priority: 0 })
      .add(expr.rule("inet", "in", expr.isIn(expr.ip.saddr, blocked), expr.counter, expr.drop))
      .addElements(blocked, [{ key: "192.0.2.0/24" }, { key: "198.51.100.7" }]),
  );
  nft.apply(
    new nftables.Transaction(table)
      .addElements(blocked, [{ key: "203.0.113.0/24" }])
      .deleteElements(blocked, [{ key: "192.0.2.0/24" }]),
  );
  for (const { key } of nft.elements(table, blocked)) console.log(`blocked: ${key}`);

  const { chains, rules } = nft.dump(table);
  console.log(`${chains.length} chain, ${rules.length} rule`);

  try {
    nft.apply(new nftables.Transaction(table).deleteElements(blocked, [{ key: "10.0.0.0/8" }]));
  } catch (error) {
    console.log(error instanceof nftables.NftError ? error.message : error);
  }
} finally {
  deleteNetns(netns.name);
}
