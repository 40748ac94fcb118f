import type { Family } from "../lib/ip.ts";
import type { Chain, Expression, NftMap, NftSet, Rule, TypeName } from "../linux/nftables/index.ts";
import { type Class, type Entrance, entrances, OUTSIDE, parseChain, REFUSE_CHAIN } from "./classes.ts";
import { setNames } from "./elements.ts";
import * as x from "./expressions.ts";

/** The mark of packets whose source is to be translated; set and cleared without touching other bits. */
export const MASQUERADE_MARK = 0x0008_0000;

/** Clients that are remembered at a time, in each family; those beyond get an endpoint without being remembered. */
const AFFINITY_SIZE = 1 << 20;

const TCP = 6;
const families = [4, 6] as const;

const entryChain = (family: Family) => `services-entry${family}`;
const nodePortChain = (family: Family) => `services-nodeport${family}`;
const specialChain = (family: Family) => `services-special${family}`;

/** Sets and maps, and chains with their rules in order: a part of a table. */
export interface Ruleset {
  readonly sets: readonly (NftSet | NftMap)[];
  readonly chains: readonly ChainWithRules[];
}

export interface ChainWithRules {
  readonly chain: Chain;
  readonly rules: readonly Rule[];
}

/** All that is in the table whatever Services there are; the sets are empty. */
export function servicesRuleset(): Ruleset {
  return {
    sets: families.flatMap((family) => [
      ...entranceSets("service", family),
      ...entranceSets("nodeport", family),
      ...commonSets(family),
    ]),
    chains: [
      refuse(),
      ...families.map(special),
      ...families.map(nodePorts),
      ...families.map(entry),
      base("services-prerouting", "prerouting", -100, dispatch()),
      base("services-output", "output", -100, dispatch()),
      base("services-input", "input", 100, remembering()),
      base("services-postrouting", "postrouting", 100, [...remembering(), ...postrouting()]),
    ],
  };
}

function addressType(family: Family): TypeName {
  return family === 4 ? "ipv4_addr" : "ipv6_addr";
}

function entranceSets(entrance: Entrance, family: Family): (NftSet | NftMap)[] {
  const names = entrances[entrance];
  const address = addressType(family);
  const key: TypeName[] = [...(entrance === "service" ? [address] : []), "inet_proto", "inet_service"];
  return [
    map(names.frontends + family, key, "verdict"),
    map(names.outside + family, key, "verdict"),
    set((entrance === "service" ? setNames.special : setNames.nodePortGate) + family, key),
    map(names.endpoints + family, [...key, "mark"], [address, "inet_service"]),
    map(names.sticky + family, key, "verdict"),
  ];
}

function commonSets(family: Family): (NftSet | NftMap)[] {
  const address = addressType(family);
  const key: TypeName[] = [address, "inet_proto", "inet_service"];
  return [
    set(setNames.restricted + family, key),
    { ...set(setNames.sourceRanges + family, [...key, address]), flags: ["interval"] },
    {
      ...map(setNames.affinity + family, [address, ...key], [address, "inet_service"]),
      flags: ["timeout", "dynamic"],
      size: AFFINITY_SIZE,
    },
    set(setNames.clusterIps + family, address),
    { ...set(setNames.serviceCidrs + family, address), flags: ["interval"] },
    { ...set(setNames.pods + family, address), flags: ["interval"] },
    set(setNames.hairpin + family, [address, address]),
  ];
}

function set(name: string, key: NftSet["key"]): NftSet {
  return { kind: "set", name, key };
}

function map(name: string, key: NftMap["key"], data: NftMap["data"]): NftMap {
  return { kind: "map", name, key, data };
}

function base(
  name: string,
  hook: "prerouting" | "input" | "output" | "postrouting",
  priority: number,
  rules: readonly Expression[][],
): ChainWithRules {
  return withRules({ kind: "chain", name, type: "nat", hook, priority, policy: "accept" }, rules);
}

/** A chain and rules of it that have no more than expressions. */
export function withRules(chain: Chain, rules: readonly (readonly Expression[])[]): ChainWithRules {
  return { chain, rules: rules.map((expressions) => ({ kind: "rule", chain: chain.name, expressions })) };
}

function dispatch(): Expression[][] {
  return families.map((family) => [...x.isFamily(family), x.goTo("jump", entryChain(family))]);
}

/** The key of a frontend, from word `at` of the registers; `next` is the word behind it. */
function loadKey(entrance: Entrance, family: Family, at: number): { load: Expression[]; next: number } {
  const ports = entrance === "service" ? at + x.addressWords(family) : at;
  const load = [x.loadProtocol(ports), x.loadPort(ports + 1)];
  return { load: entrance === "service" ? [x.loadDestination(family, at), ...load] : load, next: ports + 2 };
}

/** Packets from neither this node nor its pods. */
function isFromOutside(family: Family): Expression[] {
  return [x.loadSource(family, 0), x.inSet(setNames.pods + family, 0, true), ...x.isLocal("saddr", 0, true)];
}

/**
 * What the first packet of a connection meets, the cheapest and most likely first: a Service's address, a node port, an
 * address that is ours all the same.
 */
function entry(family: Family): ChainWithRules {
  const service = entrances.service;
  const { load } = loadKey("service", family, 0);
  const destination = [...x.isFamily(family), x.loadDestination(family, 0)];
  return withRules({ kind: "chain", name: entryChain(family) }, [
    [
      ...x.isFamily(family),
      ...load,
      x.inSet(setNames.special + family, 0),
      x.goTo("jump", specialChain(family)),
    ],
    [...x.isFamily(family), ...load, x.byVerdictMap(service.frontends + family, 0)],
    [...destination, x.inSet(setNames.clusterIps + family, 0), x.goTo("goto", REFUSE_CHAIN)],
    [
      ...x.isFamily(family),
      ...loadKey("nodeport", family, 0).load,
      x.inSet(setNames.nodePortGate + family, 0),
      ...x.isLocal("daddr", 0),
      ...x.isNotLoopback(family, 0),
      x.goTo("jump", nodePortChain(family)),
    ],
    // An address of the service prefixes without a Service: sent on, it would travel between routers until it dies. Not
    // refused, as the Service may be so young that this node has not heard of it.
    [
      ...destination,
      x.inSet(setNames.serviceCidrs + family, 0),
      ...x.isLocal("daddr", 0, true),
      x.goTo("drop"),
    ],
  ]);
}

/** Ports of every address of the node but loopback's, which could not be answered from elsewhere. */
function nodePorts(family: Family): ChainWithRules {
  const { frontends, outside } = entrances.nodeport;
  const { load } = loadKey("nodeport", family, 0);
  return withRules({ kind: "chain", name: nodePortChain(family) }, [
    [...x.isFamily(family), ...isFromOutside(family), ...load, x.byVerdictMap(outside + family, 0)],
    [...load, x.byVerdictMap(frontends + family, 0)],
  ]);
}

/** Frontends that not everybody may use, and those that are not the same for everybody. */
function special(family: Family): ChainWithRules {
  const { load, next } = loadKey("service", family, 0);
  return withRules({ kind: "chain", name: specialChain(family) }, [
    [
      ...x.isFamily(family),
      ...load,
      x.inSet(setNames.restricted + family, 0),
      x.loadSource(family, next),
      x.inSet(setNames.sourceRanges + family, 0, true),
      x.goTo("drop"),
    ],
    [
      ...x.isFamily(family),
      ...isFromOutside(family),
      ...load,
      x.byVerdictMap(entrances.service.outside + family, 0),
    ],
  ]);
}

function refuse(): ChainWithRules {
  return withRules({ kind: "chain", name: REFUSE_CHAIN }, [
    [...x.isProtocol(TCP), x.resetTcp],
    [x.refusePort],
  ]);
}

/** The key of a frontend as the client wrote it, of a connection whose destination is translated. */
function loadOriginalKey(entrance: Entrance, family: Family, at: number): Expression[] {
  const ports = entrance === "service" ? at + x.addressWords(family) : at;
  const load = [x.loadProtocol(ports), x.loadOriginalPort(ports + 1)];
  return entrance === "service" ? [x.loadOriginalDestination(family, at), ...load] : load;
}

/** Behind the translation of the destination: clients of sticky frontends are remembered with what they got. */
function remembering(): Expression[][] {
  return families.flatMap((family) =>
    (["service", "nodeport"] as const).map((entrance) => [
      ...x.isTranslated(),
      ...x.isFamily(family),
      ...loadOriginalKey(entrance, family, 0),
      x.byVerdictMap(entrances[entrance].sticky + family, 0),
    ]),
  );
}

function postrouting(): Expression[][] {
  return [
    [...x.hasMark(MASQUERADE_MARK), ...x.clearMark(MASQUERADE_MARK), x.masquerade],
    // A pod that reaches itself through a Service would drop an answer to its own address.
    ...families.map((family) => [
      ...x.isTranslated(),
      ...x.isFamily(family),
      x.loadSource(family, 0),
      x.loadDestination(family, x.addressWords(family)),
      x.inSet(setNames.hairpin + family, 0),
      x.masquerade,
    ]),
  ];
}

/** A chain that comes and goes, by its name. Throws for names of no such chain. */
export function variableChain(name: string): ChainWithRules {
  const parsed = parseChain(name);
  if (parsed === undefined) throw new Error(`"${name}" is not the name of a chain that comes and goes`);
  const rules = parsed.kind === "pick" ? pick(parsed.class) : [remember(parsed.family, parsed.seconds)];
  return withRules({ kind: "chain", name }, rules);
}

/**
 * The endpoint that the client had, or one of the frontend's, each as likely. A packet that is looked up in the moment in
 * which a transaction becomes valid may not find the slot that it drew; the first is there as long as there are any.
 */
function pick({ entrance, family, count, outside, sticky }: Class): Expression[][] {
  const { load, next } = loadKey(entrance, family, 0);
  const draw = (modulus: number) => [
    ...x.isFamily(family),
    ...load,
    x.randomSlot(modulus, outside ? OUTSIDE : 0, next),
    x.fromMap(entrances[entrance].endpoints + family, 0, 0),
    x.translate(family, 0),
  ];
  return [
    ...(outside ? [] : [markForeign(family)]),
    ...(sticky ? [recall(family)] : []),
    ...(count > 1 ? [draw(count)] : []),
    draw(1),
    [x.goTo("drop")],
  ];
}

/**
 * Pods of this node need no translation of their source, as the answer comes back this way; nor does traffic from outside
 * to this node's endpoints. The rest does.
 */
function markForeign(family: Family): Expression[] {
  return [
    ...x.isFamily(family),
    x.loadSource(family, 0),
    x.inSet(setNames.pods + family, 0, true),
    ...x.setMark(MASQUERADE_MARK),
  ];
}

function recall(family: Family): Expression[] {
  const { load } = loadKey("service", family, x.addressWords(family));
  return [
    ...x.isFamily(family),
    x.loadSource(family, 0),
    ...load,
    x.fromMap(setNames.affinity + family, 0, 0),
    x.translate(family, 0),
  ];
}

/** From the translated packet: the client, what it asked for, and the endpoint that it got. */
function remember(family: Family, seconds: number): Expression[] {
  const words = x.addressWords(family);
  const value = 2 * words + 2;
  return [
    ...x.isFamily(family),
    x.loadSource(family, 0),
    ...loadOriginalKey("service", family, words),
    x.loadDestination(family, value),
    x.loadPort(value + words),
    x.remember(setNames.affinity + family, 0, value, seconds),
  ];
}
