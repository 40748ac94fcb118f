/**
 * Rules that read like nft's own: `rule("inet", "pre", is(ip.daddr, "10.96.0.0/16"), vmap([ip.daddr, th.dport], map))`.
 * Conditions are functions of a selector (`is`, `isIn`), actions are statements (`accept`, `dnat`).
 */
export { type Key, rule, type Selector, type Statement } from "./builder.ts";
export * from "./dynset.ts";
export * from "./matches.ts";
export * from "./nat.ts";
export * from "./selectors.ts";
export * from "./statements.ts";
