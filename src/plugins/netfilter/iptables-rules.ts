import type { AttachmentKey } from "../../cni/plugin.ts";
import type { LeanNft } from "../../linux/lean/nft.ts";
import {
  hasIptables,
  Iptables,
  type IptablesCaller,
  type IptablesTable,
  isRefusal,
  line,
} from "./iptables.ts";
import { iptablesChain, placesOf } from "./iptables-names.ts";

/** A chain or a rule that has to be there. */
export type IptablesPart =
  | { kind: "chain"; name: string }
  /** `first`: at the start of its chain, otherwise at the end. */
  | { kind: "rule"; chain: string; words: readonly string[]; first?: boolean };

/** What an ADD needs in a table. */
export interface IptablesParts {
  table: IptablesTable;
  /** What all containers share, in the order in which it is made. It is there, save for the first container. */
  shared: readonly IptablesPart[];
  /** What is this container's, and is not there yet, save for an ADD that is done once more. */
  own: readonly IptablesPart[];
}

const tries = 5;

/**
 * Sees to it that all parts are there, in one start of iptables where the shared ones are: iptables checks them and adds
 * the others in one go. Else each is looked for, and what is missing is added, all or none.
 */
export async function ensureParts(iptables: Iptables, parts: IptablesParts): Promise<void> {
  const { table, shared, own } = parts;
  try {
    await iptables.restore(table, [...shared.flatMap(check), ...own.map(addition)]);
    return;
  } catch (error) {
    if (!isRefusal(error)) throw error;
  }
  for (let i = 1; ; i++) {
    const missing = await missingParts(iptables, table, [...shared, ...own]);
    if (missing.length === 0) return;
    try {
      await iptables.restore(table, missing.map(addition));
      return;
    } catch (error) {
      // Somebody else made the same chain in this moment.
      if (!isRefusal(error) || i === tries) throw error;
    }
  }
}

async function missingParts(
  iptables: Iptables,
  table: IptablesTable,
  parts: readonly IptablesPart[],
): Promise<IptablesPart[]> {
  const missing: IptablesPart[] = [];
  const newChains = new Set<string>();
  for (const part of parts) {
    // A chain that is not there has no rules. (The old ip6tables takes rules for equal whose matches differ.)
    const isMissing =
      part.kind === "rule" && newChains.has(part.chain) ? true : !(await isThere(iptables, table, part));
    if (!isMissing) continue;
    missing.push(part);
    if (part.kind === "chain") newChains.add(part.name);
  }
  return missing;
}

function check(part: IptablesPart): string[] {
  // A chain is known to be there by the rule that jumps to it.
  return part.kind === "chain" ? [] : [`-C ${part.chain} ${line(...part.words)}`];
}

function addition(part: IptablesPart): string {
  if (part.kind === "chain") return `-N ${part.name}`;
  return `${part.first === true ? "-I" : "-A"} ${part.chain} ${line(...part.words)}`;
}

/** True where the part is there. */
export async function isThere(
  iptables: Iptables,
  table: IptablesTable,
  part: IptablesPart,
): Promise<boolean> {
  if (part.kind === "rule") return await iptables.has(table, part.chain, part.words);
  return (await iptables.rules(table, part.name)) !== undefined;
}

/** A chain of a container's and where it is jumped to from. */
export interface OwnChain {
  table: IptablesTable;
  chain: string;
  entry: string;
}

/**
 * Removes a container's chain with the rules that jump to it, and returns the rules that it had. What is not there is
 * fine.
 */
export async function removeChain(iptables: Iptables, { table, chain, entry }: OwnChain): Promise<string[]> {
  const jump = new RegExp(`-[jg] ${chain}(?: |$)`);
  let removed: string[] = [];
  await removeRepeatedly(iptables, table, async () => {
    const rules = await iptables.rules(table, chain);
    if (rules === undefined) return [];
    removed = rules;
    const entries = (await iptables.rules(table, entry)) ?? [];
    return [...entries.filter((rule) => jump.test(rule)).map(deletion), `-F ${chain}`, `-X ${chain}`];
  });
  return removed;
}

/** Removes those rules of a chain that are chosen from all of its `-A` lines, in their order. */
export async function removeRules(
  iptables: Iptables,
  table: IptablesTable,
  chain: string,
  choose: (rules: readonly string[]) => readonly string[],
): Promise<void> {
  await removeRepeatedly(iptables, table, async () =>
    choose((await iptables.rules(table, chain)) ?? []).map(deletion),
  );
}

/** The line that deletes a rule, said as iptables itself says it. */
function deletion(rule: string): string {
  return rule.replace(/^-A/, "-D");
}

async function removeRepeatedly(
  iptables: Iptables,
  table: IptablesTable,
  find: () => Promise<string[]>,
): Promise<void> {
  for (let i = 1; ; i++) {
    const lines = await find();
    if (lines.length === 0) return;
    try {
      await iptables.restore(table, lines);
      return;
    } catch (error) {
      // Somebody else removed one of them in this moment.
      if (!isRefusal(error) || i === tries) throw error;
    }
  }
}

/**
 * The host's iptables that may have such a chain; see {@link placesOf}. The old one's table can be in use on a host
 * without its programs, such as by a container of its own (kube-proxy): then nobody's chain of a plugin is there.
 */
export function iptablesWith(
  nft: Pick<LeanNft, "chainOf">,
  caller: IptablesCaller,
  table: IptablesTable,
  chain: string,
  leastUse = 0,
): Iptables[] {
  return placesOf(nft, table, chain, leastUse)
    .filter(({ variant }) => variant === "nft" || hasIptables(caller))
    .map(({ family, variant }) => new Iptables(caller, family, variant));
}

/**
 * The containers that a chain's rules lead to by the reference's comments (`name: "net" id: "abc"`), as far as they are
 * of a network and not valid any more, each with its chain.
 */
export function goneContainers(
  rules: readonly string[],
  network: string,
  valid: readonly AttachmentKey[],
  prefix = "",
): string[] {
  const gone = new Set<string>();
  for (const rule of rules) {
    const named = /name: \\?"([^"\\]+)\\?" id: \\?"([^"\\]+)\\?"/.exec(rule);
    if (named === null || named[1] !== network) continue;
    const id = named[2] as string;
    if (valid.some(({ containerId }) => containerId === id)) continue;
    const chain = iptablesChain(network, id, prefix);
    if (rule.includes(`-j ${chain}`)) gone.add(chain);
  }
  return [...gone];
}
