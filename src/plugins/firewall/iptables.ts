import type { PluginRequest } from "../../cni/plugin.ts";
import type { Result } from "../../cni/result.ts";
import type { Ip } from "../../lib/ip.ts";
import { Iptables } from "../netfilter/iptables.ts";
import { forwardChain } from "../netfilter/iptables-names.ts";
import {
  ensureParts,
  type IptablesPart,
  type IptablesParts,
  iptablesWith,
  isThere,
  removeRules,
} from "../netfilter/iptables-rules.ts";
import { noChains, openNft } from "../netfilter/open-nft.ts";
import { attachmentOf, commentOf } from "../shared/attachment.ts";
import { bridgeOf, type FirewallConfig } from "./config.ts";
import { ownedAddresses, rememberOwner } from "./owners.ts";

/*
 * The firewall in iptables, in the chains and with the comments of the reference:
 *
 *     FORWARD                  -j CNI-ISOLATION-STAGE-1, -j CNI-FORWARD
 *     CNI-FORWARD              -j CNI-ADMIN; from a container: ACCEPT; to a container, established: ACCEPT
 *     CNI-ISOLATION-STAGE-1    from a bridge to elsewhere: -j CNI-ISOLATION-STAGE-2, where what goes to a bridge is dropped
 */

const table = "filter";
const stage1 = "CNI-ISOLATION-STAGE-1";
const stage2 = "CNI-ISOLATION-STAGE-2";

function comment(text: string): string[] {
  return ["-m", "comment", "--comment", text];
}

function rule(chain: string, words: readonly string[], first = false): IptablesPart {
  return { kind: "rule", chain, words, ...(first ? { first } : {}) };
}

function withLength(ip: Ip): string {
  return `${ip}/${ip.family === 4 ? 32 : 128}`;
}

/**
 * The two lines for an address are the reference's to the word, so that each deletes what the other made, but in the
 * other order: the reference has what comes to the container first. That tells whose rules they are, as long as they
 * are there.
 */
function wordsFor(ip: string): { out: string[]; back: string[] } {
  return {
    out: ["-s", ip, "-j", "ACCEPT"],
    back: ["-d", ip, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"],
  };
}

function partsFor(config: FirewallConfig, result: Result, family: 4 | 6): IptablesParts {
  const own: IptablesPart[] = [];
  for (const { address } of result.ips) {
    if (address.family !== family) continue;
    const { out, back } = wordsFor(withLength(address.ip));
    own.push(rule(forwardChain, out), rule(forwardChain, back));
  }
  const { adminChain } = config;
  const shared: IptablesPart[] = [
    { kind: "chain", name: forwardChain },
    { kind: "chain", name: adminChain },
    rule("FORWARD", [...comment("CNI firewall plugin rules"), "-j", forwardChain], true),
    rule(forwardChain, [...comment("CNI firewall plugin admin overrides"), "-j", adminChain], true),
  ];
  return { table, shared: [...shared, ...isolation(config, result)], own };
}

function isolation({ policy }: FirewallConfig, result: Result): IptablesPart[] {
  if (policy === "open") return [];
  const { name } = bridgeOf(result, policy);
  const named = (how: string) => comment(`CNI firewall plugin rules (ingressPolicy: ${how})`);
  const common = named("same-bridge");
  return [
    { kind: "chain", name: stage1 },
    { kind: "chain", name: stage2 },
    // In front of CNI-FORWARD, which accepts what a container sends.
    rule("FORWARD", ["-j", stage1, ...common], true),
    rule(stage1, ["-i", name, "!", "-o", name, "-j", stage2, ...common], true),
    ...(policy === "isolated"
      ? [rule(stage1, ["-i", name, "-o", name, "-j", "DROP", ...named("isolated")], true)]
      : []),
    rule(stage1, ["-j", "RETURN", ...common]),
    rule(stage2, ["-o", name, "-j", "DROP", ...common], true),
    rule(stage2, ["-j", "RETURN", ...common]),
  ];
}

function familiesOf({ ips }: Result): (4 | 6)[] {
  return ([4, 6] as const).filter((family) => ips.some(({ address }) => address.family === family));
}

/** Lets packets pass to and from a container's addresses, as far as its policy does, by the host's iptables. */
export async function addIptablesFirewall(
  request: PluginRequest,
  config: FirewallConfig,
  result: Result,
): Promise<void> {
  rememberOwner(
    commentOf(attachmentOf(request)),
    result.ips.map(({ address }) => address.ip),
  );
  for (const family of familiesOf(result)) {
    await ensureParts(new Iptables(request, family), partsFor(config, result, family));
  }
}

/**
 * Takes back what {@link addIptablesFirewall}, or the reference, did for the attachment: for those addresses of prevResult
 * that are not another's by now. Of other addresses that it had, only what Weft made: meanwhile the reference may have
 * removed that and given the address to another. What is of a bridge stays: others may need it.
 */
export async function removeIptablesFirewall(request: PluginRequest): Promise<void> {
  const own = commentOf(attachmentOf(request));
  const owned = ownedAddresses();
  const told = (request.config.prevResult?.ips ?? [])
    .map(({ address }) => address.ip)
    .filter((ip) => !owned.some((other) => other.owner !== own && other.ip.equals(ip)));
  const known = owned
    .filter(({ ip, owner }) => owner === own && !told.some((other) => other.equals(ip)))
    .map(({ ip }) => ip);
  await removeAddresses(request, told, known);
}

/** GC: removes the rules that Weft made for attachments that a condition is true for, of their comments. */
export async function collectIptablesFirewall(
  request: PluginRequest,
  isGone: (owner: string) => boolean,
): Promise<void> {
  const gone = ownedAddresses().filter(({ owner }) => isGone(owner));
  await removeAddresses(
    request,
    [],
    gone.map(({ ip }) => ip),
  );
}

/** Removes all rules for the addresses `whole`, and those that Weft made for the addresses `made`. */
async function removeAddresses(
  request: PluginRequest,
  whole: readonly Ip[],
  made: readonly Ip[],
): Promise<void> {
  if (whole.length + made.length === 0) return;
  using nft = openNft();
  for (const iptables of iptablesWith(nft ?? noChains, request, table, forwardChain)) {
    const isOfFamily = ({ family }: Ip) => family === iptables.family;
    const [all, own] = [whole.filter(isOfFamily), made.filter(isOfFamily)];
    if (all.length + own.length === 0) continue;
    await removeRules(iptables, table, forwardChain, (rules) => [
      ...all.flatMap((ip) => rulesFor(rules, ip)),
      ...own.flatMap((ip) => madeByWeft(rulesFor(rules, ip))),
    ]);
  }
}

/** The lines for an address, of the form that ADD makes; others are the administrator's. */
function rulesFor(rules: readonly string[], ip: Ip): string[] {
  const { out, back } = wordsFor(withLength(ip));
  const lines = [out, back].map((words) => `-A ${forwardChain} ${words.join(" ")}`);
  return rules.filter((each) => lines.includes(each));
}

/** Of the lines for one address those pairs that are in Weft's order. */
function madeByWeft(lines: readonly string[]): string[] {
  const made: string[] = [];
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const [first = "", second = ""] = lines.slice(i, i + 2);
    if (first.includes(" -s ") && second.includes(" -d ")) made.push(first, second);
  }
  return made;
}

/** What CHECK misses in iptables; undefined where all is there. */
export async function missingInIptables(
  request: PluginRequest,
  config: FirewallConfig,
  result: Result,
): Promise<string | undefined> {
  for (const family of familiesOf(result)) {
    const { shared, own } = partsFor(config, result, family);
    for (const part of [...shared, ...own]) {
      if (await isThere(new Iptables(request, family), table, part)) continue;
      return part.kind === "chain"
        ? `iptables, where chain ${part.name} is not there`
        : `chain ${part.chain} of iptables: "${part.words.join(" ")}"`;
    }
  }
  return undefined;
}
