import { Ip } from "../../lib/ip.ts";
import type { Prefix } from "../../lib/prefix.ts";
import {
  dnat,
  drop,
  fib,
  ip,
  ipOf,
  is,
  isNot,
  jump,
  type Key,
  masked,
  masquerade,
  meta,
  rule,
  type Selector,
  type Statement,
  setBits,
  th,
  vmap,
} from "../../linux/nftables/expr.ts";
import {
  type Chain,
  type Element,
  Nftables,
  type NftMap,
  type NftSet,
  Transaction,
} from "../../linux/nftables/index.ts";
import { sweep, table } from "../netfilter/nft-table.ts";
import { type Condition, parseConditions } from "./conditions.ts";
import { type HostPort, type PortmapConfig, protocols } from "./config.ts";
import {
  conditionsChainName,
  dnatMapName,
  groupOf,
  guardChainName,
  hookChainName,
  localnetSetName,
  mainChainName,
  type PortmapGroup,
  snatChainName,
  snatChainPrefix,
  snatMapName,
} from "./elements.ts";
import { routeLocalnet } from "./localnet.ts";

/*
 * The structure around the elements of elements.ts, and what looks through all of them.
 */

const raw = -300;
const dstnat = -100;
const srcnat = 100;
const families = [4, 6] as const;

function keyTypes(family: 4 | 6, byAddress: boolean): NftMap["key"] {
  const service = ["inet_proto", "inet_service"] as const;
  return byAddress ? [addressType(family), ...service] : service;
}

function addressType(family: 4 | 6): "ipv4_addr" | "ipv6_addr" {
  return family === 4 ? "ipv4_addr" : "ipv6_addr";
}

/** The map for mappings of a family. */
export function dnatMap(family: 4 | 6, byAddress: boolean, group: PortmapGroup): NftMap {
  return {
    kind: "map",
    name: dnatMapName(family, byAddress, group),
    key: keyTypes(family, byAddress),
    data: [addressType(family), "inet_service"],
  };
}

/** The map of what to do before the address is changed. */
export function snatMap(family: 4 | 6, byAddress: boolean, group: PortmapGroup): NftMap {
  return {
    kind: "map",
    name: snatMapName(family, byAddress, group),
    key: keyTypes(family, byAddress),
    data: "verdict",
  };
}

function baseChain(
  name: string,
  hook: Chain["hook"] & string,
  priority: number,
  type: Chain["type"] & string,
): Chain {
  return { kind: "chain", name, type, hook, priority };
}

const localnetSet: NftSet = { kind: "set", name: localnetSetName, key: "ifname" };

/** Notes that route_localnet of a link is turned on. Throws ENOENT where the structure is missing. */
export function noteLocalnet(link: string): void {
  using nft = new Nftables();
  nft.apply(new Transaction(table).add(localnetSet).addElements(localnetSet, [{ key: link }]));
}

/** Makes table, maps and chains for a configuration and the networks of its containers. Safe to repeat. */
export function addPortmapStructure(config: PortmapConfig, networks: readonly Prefix[]): void {
  const group = groupOf(config);
  const transaction = new Transaction(table).add({ kind: "table", ...table });
  for (const family of families) {
    for (const byAddress of [true, false]) {
      transaction.add(dnatMap(family, byAddress, group), snatMap(family, byAddress, group));
    }
  }
  addDispatch(transaction, config, group);
  if (group.suffix !== "") transaction.add({ kind: "chain", name: conditionsChainName });
  addGuard(transaction);
  for (const network of config.snat ? networks : []) addSnat(transaction, network, config.markBit);
  using nft = new Nftables();
  nft.apply(transaction);
}

/** Adds a chain, or empties the one that is there, and gives it its rules. */
function setChain(transaction: Transaction, chain: Chain, rules: readonly (readonly Statement[])[]): void {
  transaction
    .add(chain)
    .flush({ kind: "chain", name: chain.name })
    .add(...rules.map((statements) => rule(table.family, chain.name, ...statements)));
}

function addDispatch(transaction: Transaction, config: PortmapConfig, group: PortmapGroup): void {
  const main = mainChainName(group);
  const rules: Statement[][] = [];
  for (const family of families) {
    const keys: [boolean, Key][] = [
      [true, [ipOf(family).daddr, meta.l4proto, th.dport]],
      [false, [meta.l4proto, th.dport]],
    ];
    const ofFamily = is(meta.nfproto, family === 4 ? "ipv4" : "ipv6");
    for (const [byAddress, key] of keys) rules.push([ofFamily, vmap(key, snatMap(family, byAddress, group))]);
    for (const [byAddress, key] of keys) {
      rules.push([ofFamily, dnat(family, { key, map: dnatMap(family, byAddress, group) })]);
    }
  }
  setChain(transaction, { kind: "chain", name: main }, rules);
  addHooks(transaction, config, group);
}

/** Makes the base chains that lead to a group's chain; `anew`: in front of those of other groups, in place of what is there. */
export function addHooks(
  transaction: Transaction,
  config: PortmapConfig,
  group: PortmapGroup,
  anew = false,
): void {
  const entry = families.map((family) => [
    is(meta.nfproto, family === 4 ? "ipv4" : "ipv6"),
    ...parseConditions(config.conditions[family], family).map((each) => statementOf(each, family)),
    // Only what is meant for this host: ports of other hosts are none of ours.
    is(fib(["daddr"], "type"), "local"),
    jump(mainChainName(group)),
  ]);
  for (const hook of ["prerouting", "output"] as const) {
    if (anew) transaction.delete({ kind: "chain", name: hookChainName(hook, group) });
    setChain(transaction, baseChain(hookChainName(hook, group), hook, dstnat, "nat"), entry);
  }
}

function statementOf({ what, value, negated }: Condition, family: 4 | 6): Statement {
  const selector: Selector = what === "iifname" ? meta.iifname : ipOf(family)[what];
  return negated ? isNot(selector, value) : is(selector, value);
}

/** With route_localnet, neighbours could reach what listens at 127.0.0.1 alone (CVE-2020-8558). */
function addGuard(transaction: Transaction): void {
  setChain(transaction, baseChain(guardChainName, "prerouting", raw, "filter"), [
    [isNot(meta.iifname, "lo"), is(ip.daddr, "127.0.0.0/8"), drop],
  ]);
}

/** Marks connections from a container's own network, whose answers would not come by this host, and from localhost. */
function addSnat(transaction: Transaction, network: Prefix, markBit: number): void {
  const { family } = network;
  const bit = 2 ** markBit;
  const { saddr } = ipOf(family);
  const rules: Statement[][] = [];
  if (network.length === 0) rules.push([setBits(meta.mark, bit)]);
  else rules.push([is(saddr, String(network)), setBits(meta.mark, bit)]);
  if (family === 4 && network.length > 0) rules.push([is(saddr, "127.0.0.0/8"), setBits(meta.mark, bit)]);
  setChain(transaction, { kind: "chain", name: snatChainName(network, markBit) }, rules);
  setChain(transaction, baseChain(`portmap-masquerade-${markBit}`, "postrouting", srcnat, "nat"), [
    [is(masked(meta.mark, bit), bit), masquerade()],
  ]);
}

/**
 * Removes the mappings that a condition is true for, of their comments, and what nothing needs any more; see
 * {@link sweep}. Returns their ports.
 */
export async function sweepPortmap(
  open: Disposable[],
  isGone: (comment: string) => boolean,
): Promise<HostPort[]> {
  const ports = new Map<string, HostPort>();
  const turnedOff = new Set<string>();
  await sweep(
    open,
    {
      isMap: (name) => name.startsWith("portmap"),
      chains: [snatChainPrefix],
      derived: {
        set: localnetSetName,
        isNeeded: (_, used) => [...used].some((chain) => chain.startsWith(snatChainPrefix)),
        prepare: (gone, kept) => {
          // Before the guard goes. Who has come meanwhile and found it turned on gets it back.
          for (const link of kept) if (turnedOff.delete(link)) routeLocalnet(link, true);
          for (const link of gone) {
            routeLocalnet(link, false);
            turnedOff.add(link);
          }
        },
      },
    },
    ({ key, comment = "" }) => {
      if (!isGone(comment)) return false;
      ports.set(String(key), hostPortOf(key));
      return true;
    },
  );
  return [...ports.values()];
}

/** The port of a map's key, which is [address .] protocol . port, with more behind it for one that waits. */
export function hostPortOf(key: Element["key"]): HostPort {
  const fields = Array.isArray(key) ? [...key] : [key];
  const address = Object.hasOwn(protocols, String(fields[0])) ? undefined : fields.shift();
  const [protocol, hostPort] = fields;
  return {
    protocol: protocols[String(protocol) as keyof typeof protocols],
    hostPort: Number(hostPort),
    ...(address === undefined ? {} : { hostIp: Ip.parse(String(address)) }),
  };
}
