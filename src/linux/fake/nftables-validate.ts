import { errno } from "../errno.ts";
import type { Expression } from "../nftables/expressions.ts";
import type { Chain, Hook, Rule, Verdict } from "../nftables/model.ts";
import { Refused } from "./nftables-elements.ts";

/** NFT_JUMP_STACK_SIZE: how deep jumps may go. */
const JUMPS = 16;

/** The hooks from which an expression may be reached, where not all; those of translation in chains of type nat alone. */
function hooksOf(expression: Expression): { hooks: readonly Hook[]; nat?: true } | undefined {
  switch (expression.name) {
    case "masq":
      return { hooks: ["postrouting"], nat: true };
    case "redir":
      return { hooks: ["prerouting", "output"], nat: true };
    case "nat":
      return expression.type === "snat"
        ? { hooks: ["postrouting", "input"], nat: true }
        : { hooks: ["prerouting", "output"], nat: true };
    case "reject":
      return { hooks: ["prerouting", "input", "forward", "output", "ingress"] };
    case "tproxy":
      return { hooks: ["prerouting"] };
    case "socket":
      return { hooks: ["prerouting", "input", "output"] };
    default:
      return undefined;
  }
}

/** What of a table decides where packets go. */
interface Paths {
  readonly chains: ReadonlyMap<string, { readonly chain: Chain; readonly rules: readonly Rule[] }>;
  readonly sets: ReadonlyMap<string, { readonly elements: { verdicts(): Verdict[] } }>;
}

/** The verdicts that expressions give by themselves. */
export function verdictsOf({ expressions }: { expressions: readonly Expression[] }): Verdict[] {
  return expressions.flatMap((one) =>
    one.name === "immediate" && one.data !== undefined && !(one.data instanceof Uint8Array) ? [one.data] : [],
  );
}

/**
 * Follows all jumps from the base chains, as the kernel does before it takes a rule or verdict (nft_chain_validate): too
 * deep or in a circle is EMLINK, an expression in the wrong place EOPNOTSUPP.
 */
export function validateTable(table: Paths): void {
  for (const { chain } of table.chains.values()) {
    if (chain.hook !== undefined) validateChain(table, chain.name, chain, 0);
  }
}

function validateChain(table: Paths, name: string, base: Chain, level: number): void {
  if (level === JUMPS) throw new Refused(errno.EMLINK);
  for (const rule of table.chains.get(name)?.rules ?? []) {
    for (const expression of rule.expressions) validateExpression(expression, base);
    for (const { chain } of targets(table, rule)) {
      if (chain !== undefined) validateChain(table, chain, base, level + 1);
    }
  }
}

function targets(table: Paths, rule: Rule): Verdict[] {
  const maps = rule.expressions.flatMap((one) =>
    one.name === "lookup" && one.register === 0 && one.set !== undefined ? [one.set] : [],
  );
  return [...verdictsOf(rule), ...maps.flatMap((map) => table.sets.get(map)?.elements.verdicts() ?? [])];
}

function validateExpression(expression: Expression, base: Chain): void {
  const allowed = hooksOf(expression);
  if (allowed === undefined) return;
  const wrongType = allowed.nat === true && base.type !== "nat";
  if (wrongType || !allowed.hooks.includes(base.hook as Hook)) throw new Refused(errno.EOPNOTSUPP);
}
