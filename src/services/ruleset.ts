import type { Family } from "../lib/ip.ts";
import {
  ct,
  dnat,
  drop,
  fib,
  goto,
  ip,
  ip6,
  is,
  isIn,
  isNot,
  isNotIn,
  jump,
  masked,
  masquerade,
  meta,
  numgen,
  reject,
  type Selector,
  type Statement,
  setBits,
  th,
  update,
  vmap,
} from "../linux/nftables/expr.ts";
import type { Chain, NftMap, NftSet, TypeName } from "../linux/nftables/index.ts";
import { type ChainWithRules, chainOf, type Ruleset } from "../reconcile/table-part.ts";
import { type Class, type Entrance, entrances, OUTSIDE, parseChain, REFUSE_CHAIN } from "./classes.ts";
import { setNames } from "./elements.ts";

/** The mark of packets whose source is to be translated; set and cleared without touching other bits. */
export const MASQUERADE_MARK = 0x0008_0000;

/** Clients that are remembered at a time, in each family; those beyond get an endpoint without being remembered. */
const AFFINITY_SIZE = 1 << 20;

const families = [4, 6] as const;

const entryChain = (family: Family) => `services-entry${family}`;
const nodePortChain = (family: Family) => `services-nodeport${family}`;
const specialChain = (family: Family) => `services-special${family}`;

/** What rules say of one family: its fields of packets, and its sets and maps. */
class FamilyRules {
  readonly family: Family;
  readonly source: Selector;
  readonly destination: Selector;
  /** The destination as the client wrote it, where it has been translated since. */
  readonly originalDestination: Selector;
  readonly service: EntranceSets;
  readonly nodeport: EntranceSets;
  readonly restricted: NftSet;
  readonly special: NftSet;
  readonly gate: NftSet;
  readonly sourceRanges: NftSet;
  readonly affinity: NftMap;
  readonly clusterIps: NftSet;
  readonly serviceCidrs: NftSet;
  readonly pods: NftSet;
  readonly hairpin: NftSet;

  constructor(family: Family) {
    const address: TypeName = family === 4 ? "ipv4_addr" : "ipv6_addr";
    const port = ["inet_proto", "inet_service"] as const;
    const endpoint = [address, "inet_service"] as const;
    const set = (name: string, key: NftSet["key"]): NftSet => ({ kind: "set", name: name + family, key });
    this.family = family;
    ({ saddr: this.source, daddr: this.destination } = family === 4 ? ip : ip6);
    this.originalDestination = (family === 4 ? ct.original.ip : ct.original.ip6).daddr;
    this.service = entranceSets("service", family, [address, ...port], endpoint);
    this.nodeport = entranceSets("nodeport", family, port, endpoint);
    this.restricted = set(setNames.restricted, [address, ...port]);
    this.special = set(setNames.special, [address, ...port]);
    this.gate = set(setNames.nodePortGate, port);
    this.sourceRanges = {
      ...set(setNames.sourceRanges, [address, ...port, address]),
      flags: ["interval"],
    };
    this.affinity = {
      kind: "map",
      name: setNames.affinity + family,
      key: [address, address, ...port],
      data: endpoint,
      flags: ["timeout", "dynamic"],
      size: AFFINITY_SIZE,
    };
    this.clusterIps = set(setNames.clusterIps, address);
    this.serviceCidrs = { ...set(setNames.serviceCidrs, address), flags: ["interval"] };
    this.pods = { ...set(setNames.pods, address), flags: ["interval"] };
    this.hairpin = set(setNames.hairpin, [address, address]);
  }

  get sets(): (NftSet | NftMap)[] {
    return [
      ...Object.values(this.service),
      ...Object.values(this.nodeport),
      ...[this.restricted, this.special, this.gate, this.sourceRanges, this.affinity],
      ...[this.clusterIps, this.serviceCidrs, this.pods, this.hairpin],
    ];
  }

  /** What a frontend of an entrance is found by. */
  key(entrance: Entrance): Selector[] {
    return entrance === "service" ? [this.destination, meta.l4proto, th.dport] : [meta.l4proto, th.dport];
  }

  /** The same of a connection whose destination has been translated. */
  originalKey(entrance: Entrance): Selector[] {
    const port = [meta.l4proto, ct.original.dport];
    return entrance === "service" ? [this.originalDestination, ...port] : port;
  }

  /** Packets from neither this node nor its pods. */
  get fromOutside(): Statement[] {
    return [isNotIn(this.source, this.pods), isNot(fib(["saddr"], "type"), "local")];
  }

  /** Packets of this family whose destination has been translated. */
  get translated(): Statement[] {
    return [is(ct.status, "dnat"), is(meta.nfproto, this.family === 4 ? "ipv4" : "ipv6")];
  }
}

interface EntranceSets {
  readonly frontends: NftMap;
  readonly outside: NftMap;
  readonly endpoints: NftMap;
  readonly sticky: NftMap;
}

function entranceSets(
  entrance: Entrance,
  family: Family,
  key: readonly TypeName[],
  endpoint: readonly TypeName[],
): EntranceSets {
  const names = entrances[entrance];
  const map = (name: string, more: readonly TypeName[], data: NftMap["data"]): NftMap => {
    return { kind: "map", name: name + family, key: [...key, ...more], data };
  };
  return {
    frontends: map(names.frontends, [], "verdict"),
    outside: map(names.outside, [], "verdict"),
    endpoints: map(names.endpoints, ["mark"], endpoint),
    sticky: map(names.sticky, [], "verdict"),
  };
}

const rulesOf = { 4: new FamilyRules(4), 6: new FamilyRules(6) } as const;

/** All that is in the table whatever Services there are; the sets are empty. */
export function servicesRuleset(): Ruleset {
  const both = [rulesOf[4], rulesOf[6]];
  const dispatch = both.map(({ family }) => [
    is(meta.nfproto, family === 4 ? "ipv4" : "ipv6"),
    jump(entryChain(family)),
  ]);
  const base = (name: string, hook: Chain["hook"] & string, priority: number, rules: Statement[][]) =>
    chainOf({ name: `services-${name}`, type: "nat", hook, priority, policy: "accept" }, ...rules);
  return {
    sets: both.flatMap((rules) => rules.sets),
    chains: [
      chainOf({ name: REFUSE_CHAIN }, [reject("tcp reset")], [reject()]),
      ...both.map(special),
      ...both.map(nodePorts),
      ...both.map(entry),
      base("prerouting", "prerouting", -100, dispatch),
      base("output", "output", -100, dispatch),
      base("input", "input", 100, both.flatMap(remembering)),
      base("postrouting", "postrouting", 100, [...both.flatMap(remembering), ...postrouting()]),
    ],
  };
}

/**
 * What the first packet of a connection meets, the cheapest and most likely first: a Service's address, a node port, an
 * address that is ours all the same.
 */
function entry(rules: FamilyRules): ChainWithRules {
  const { family, destination } = rules;
  return chainOf(
    { name: entryChain(family) },
    [isIn(rules.key("service"), rules.special), jump(specialChain(family))],
    [vmap(rules.key("service"), rules.service.frontends)],
    [isIn(destination, rules.clusterIps), goto(REFUSE_CHAIN)],
    [
      isIn(rules.key("nodeport"), rules.gate),
      is(fib(["daddr"], "type"), "local"),
      // What comes from loopback could not be answered from elsewhere.
      isNot(destination, family === 4 ? "127.0.0.0/8" : "::1"),
      jump(nodePortChain(family)),
    ],
    // An address of the service prefixes without a Service: sent on, it would travel between routers until it dies. Not
    // refused, as the Service may be so young that this node has not heard of it.
    [isIn(destination, rules.serviceCidrs), isNot(fib(["daddr"], "type"), "local"), drop],
  );
}

/** Ports of the node's own addresses. */
function nodePorts(rules: FamilyRules): ChainWithRules {
  const key = rules.key("nodeport");
  return chainOf(
    { name: nodePortChain(rules.family) },
    [...rules.fromOutside, vmap(key, rules.nodeport.outside)],
    [vmap(key, rules.nodeport.frontends)],
  );
}

/** Frontends that not everybody may use, and those that are not the same for everybody. */
function special(rules: FamilyRules): ChainWithRules {
  const key = rules.key("service");
  return chainOf(
    { name: specialChain(rules.family) },
    [isIn(key, rules.restricted), isNotIn([...key, rules.source], rules.sourceRanges), drop],
    [...rules.fromOutside, vmap(key, rules.service.outside)],
  );
}

/** Behind the translation of the destination: clients of sticky frontends are remembered with what they got. */
function remembering(rules: FamilyRules): Statement[][] {
  return (["service", "nodeport"] as const).map((entrance) => [
    ...rules.translated,
    vmap(rules.originalKey(entrance), rules[entrance].sticky),
  ]);
}

function postrouting(): Statement[][] {
  const translateSource = masquerade({ fullyRandom: true });
  return [
    [isNot(masked(meta.mark, MASQUERADE_MARK), 0), setBits(meta.mark, 0, MASQUERADE_MARK), translateSource],
    // A pod that reaches itself through a Service would drop an answer to its own address.
    ...families.map((family) => {
      const { translated, source, destination, hairpin } = rulesOf[family];
      return [...translated, isIn([source, destination], hairpin), translateSource];
    }),
  ];
}

/** A chain that comes and goes, by its name. Throws for names of no such chain. */
export function variableChain(name: string): ChainWithRules {
  const parsed = parseChain(name);
  if (parsed === undefined) throw new Error(`"${name}" is not the name of a chain that comes and goes`);
  if (parsed.kind === "pick") return chainOf({ name }, ...pick(parsed.class));
  return chainOf({ name }, [remember(parsed.family, parsed.seconds)]);
}

/**
 * The endpoint that the client had, or one of the frontend's, each as likely. A packet that is looked up in the moment in
 * which a transaction becomes valid may not find the slot that it drew; the first is there as long as there are any.
 */
function pick({ entrance, family, count, outside, sticky }: Class): Statement[][] {
  const rules = rulesOf[family];
  const { source, pods, affinity } = rules;
  const draw = (modulus: number) => [
    dnat(family, {
      key: [...rules.key(entrance), numgen("random", modulus, outside ? OUTSIDE : 0)],
      map: rules[entrance].endpoints,
    }),
  ];
  return [
    // Pods of this node need no translation of their source, as the answer comes back this way; nor does traffic from
    // outside to this node's endpoints. The rest does.
    ...(outside ? [] : [[isNotIn(source, pods), setBits(meta.mark, MASQUERADE_MARK)]]),
    ...(sticky ? [[dnat(family, { key: [source, ...rules.key("service")], map: affinity })]] : []),
    ...(count > 1 ? [draw(count)] : []),
    draw(1),
    [drop],
  ];
}

/** From the translated packet: the client, what it asked for, and the endpoint that it got. */
function remember(family: Family, seconds: number): Statement {
  const rules = rulesOf[family];
  return update(rules.affinity, [rules.source, ...rules.originalKey("service")], {
    data: [rules.destination, th.dport],
    timeout: seconds * 1000,
  });
}
