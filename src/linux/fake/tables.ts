import type { FdbEntry, Neighbour } from "../route/neighbour.ts";
import type { Rule } from "../route/rule.ts";
import type { Filter, NewFilter, Qdisc, TcClass } from "../route/tc.ts";
import type { BridgeVlan, NewBridgeVlan } from "../route/vlan.ts";
import type { FakeNamespace } from "./namespace.ts";
import { refuse } from "./refusal.ts";

type Mode = "add" | "replace" | "append";

/** True where `given` has nothing that differs from `held`; what it leaves open matches. */
function covers(given: object, held: object, keys: readonly string[]): boolean {
  return keys.every((key) => {
    const wanted = (given as Record<string, unknown>)[key];
    return wanted === undefined || String(wanted) === String((held as Record<string, unknown>)[key]);
  });
}

const ruleKeys = [
  "family",
  "src",
  "dst",
  "iif",
  "oif",
  "tos",
  "mark",
  "mask",
  "ipProtocol",
  "l3mdev",
  "invert",
  "table",
  "goto",
  "suppressPrefixLength",
  "suppressGroup",
];

export function addRule(namespace: FakeNamespace, given: Rule, priority: number | undefined): void {
  const ofFamily = namespace.rules.filter((rule) => rule.family === given.family);
  const rule: Rule = { ...given, priority: priority ?? Math.max(0, (ofFamily[1]?.priority ?? 1) - 1) };
  if (rule.mark !== undefined) rule.mask ??= 0xffffffff;
  const same = (held: Rule) =>
    held.priority === rule.priority &&
    held.action === rule.action &&
    covers(rule, held, ruleKeys) &&
    covers(held, rule, ruleKeys);
  if (priority !== undefined && ofFamily.some(same)) refuse("EEXIST");
  // Behind those of the same priority.
  namespace.rules = [...namespace.rules, rule].sort((a, b) => a.family - b.family || a.priority - b.priority);
  namespace.emit({ object: "rule", action: "new", rule });
}

/** `given` has action 0 where it was left open. */
export function deleteRule(namespace: FakeNamespace, given: Rule, priority: number | undefined): void {
  const found = namespace.rules.find(
    (rule) =>
      (priority === undefined || rule.priority === priority) &&
      (given.action === 0 || rule.action === given.action) &&
      covers(given, rule, ruleKeys),
  );
  if (found === undefined) refuse("ENOENT");
  namespace.rules = namespace.rules.filter((rule) => rule !== found);
  namespace.emit({ object: "rule", action: "delete", rule: found });
}

const isProxy = (neighbour: Neighbour) => neighbour.flags.includes("proxy");
const sameNeighbour = (a: Neighbour, b: Neighbour) =>
  a.link === b.link && a.ip.equals(b.ip) && isProxy(a) === isProxy(b);

export function addNeighbour(namespace: FakeNamespace, given: Neighbour, mode: Mode): void {
  namespace.get(given.link);
  const held = namespace.neighbours.find((one) => sameNeighbour(one, given));
  if (held !== undefined && mode === "add") refuse("EEXIST");
  const neighbour = isProxy(given) ? { ...given, state: 0 as const } : given;
  namespace.neighbours = [...namespace.neighbours.filter((one) => one !== held), neighbour];
  namespace.emit({ object: "neighbour", action: "new", neighbour });
}

export function deleteNeighbour(namespace: FakeNamespace, given: Neighbour): void {
  namespace.get(given.link);
  const held = namespace.neighbours.find((one) => sameNeighbour(one, given));
  if (held === undefined) refuse("ENOENT");
  namespace.neighbours = namespace.neighbours.filter((one) => one !== held);
  namespace.emit({ object: "neighbour", action: "delete", neighbour: held });
}

/** "master" chooses whose entry it is; it is not among an entry's flags when listed. */
function entryOf(namespace: FakeNamespace, given: FdbEntry): FdbEntry {
  const link = namespace.get(given.link);
  if (!given.flags.includes("master")) return given;
  if (link.master?.own.kind !== "bridge") refuse("EOPNOTSUPP");
  return { ...given, flags: given.flags.filter((flag) => flag !== "master"), master: link.master.own.index };
}

const sameEntry = (a: FdbEntry, b: FdbEntry) =>
  a.link === b.link && a.mac === b.mac && a.vlan === b.vlan && a.master === b.master;

export function addFdbEntry(namespace: FakeNamespace, given: FdbEntry, mode: Mode): void {
  const entry = entryOf(namespace, given);
  const held = namespace.fdb.filter((one) => sameEntry(one, entry));
  if (held.length > 0 && mode === "add") refuse("EEXIST");
  const others = mode === "append" ? namespace.fdb : namespace.fdb.filter((one) => !held.includes(one));
  namespace.fdb = [...others, entry];
  namespace.emit({ object: "fdb", action: "new", entry });
}

export function deleteFdbEntry(namespace: FakeNamespace, given: FdbEntry): void {
  const entry = entryOf(namespace, given);
  const held = namespace.fdb.find(
    (one) => sameEntry(one, entry) && (entry.dst === undefined || one.dst?.equals(entry.dst) === true),
  );
  if (held === undefined) refuse("ENOENT");
  namespace.fdb = namespace.fdb.filter((one) => one !== held);
  namespace.emit({ object: "fdb", action: "delete", entry: held });
}

/** Splits into single VLANs, changes those, and joins neighbours that are alike. */
function changeVlans(
  namespace: FakeNamespace,
  link: number,
  change: (single: Map<number, BridgeVlan>) => void,
): void {
  const single = new Map<number, BridgeVlan>();
  for (const vlan of namespace.vlans.filter((one) => one.link === link)) {
    for (let vid = vlan.vid; vid <= vlan.vidEnd; vid++) single.set(vid, { ...vlan, vid, vidEnd: vid });
  }
  change(single);
  const joined: BridgeVlan[] = [];
  for (const vlan of [...single.values()].sort((a, b) => a.vid - b.vid)) {
    const last = joined.at(-1);
    const alike =
      last?.vidEnd === vlan.vid - 1 && !last.pvid && !vlan.pvid && last.untagged === vlan.untagged;
    if (last !== undefined && alike) last.vidEnd = vlan.vid;
    else joined.push(vlan);
  }
  namespace.vlans = [...namespace.vlans.filter((one) => one.link !== link), ...joined];
}

function bridgeLink(namespace: FakeNamespace, vlan: NewBridgeVlan): number {
  const { own, master } = namespace.get(vlan.link);
  if (own.kind !== "bridge" && master?.own.kind !== "bridge") refuse("EOPNOTSUPP");
  const { vid, vidEnd = vid } = vlan;
  if (vid < 1 || vidEnd > 4094 || vid > vidEnd) refuse("EINVAL");
  return own.index;
}

export function addBridgeVlan(namespace: FakeNamespace, given: NewBridgeVlan): void {
  const link = bridgeLink(namespace, given);
  const { vid, vidEnd = vid, pvid = false, untagged = false } = given;
  if (pvid && vid !== vidEnd) refuse("EINVAL");
  changeVlans(namespace, link, (single) => {
    if (pvid) for (const vlan of single.values()) vlan.pvid = false;
    for (let one = vid; one <= vidEnd; one++)
      single.set(one, { link, vid: one, vidEnd: one, pvid, untagged });
  });
}

export function deleteBridgeVlan(namespace: FakeNamespace, given: NewBridgeVlan): void {
  const link = bridgeLink(namespace, given);
  changeVlans(namespace, link, (single) => {
    const { vid, vidEnd = vid } = given;
    // What is not there is no error.
    for (let one = vid; one <= vidEnd; one++) single.delete(one);
  });
}

const qdiscNames = new Set([
  "tbf",
  "htb",
  "ingress",
  "clsact",
  "fq_codel",
  "pfifo",
  "bfifo",
  "noqueue",
  "pfifo_fast",
]);

export function addQdisc(namespace: FakeNamespace, given: Qdisc, mode: Mode): void {
  namespace.get(given.link);
  if (!qdiscNames.has(given.kind)) refuse("ENOENT", "Specified qdisc kind is unknown");
  const held = namespace.qdiscs.find((one) => one.link === given.link && one.parent === given.parent);
  if (held !== undefined && mode === "add") refuse("EEXIST", "Exclusivity flag on, cannot modify");
  const handle = given.handle === "0:" ? `${(0x8001 + namespace.qdiscs.length).toString(16)}:` : given.handle;
  namespace.qdiscs = [...namespace.qdiscs.filter((one) => one !== held), { ...given, handle }];
}

export function deleteQdisc(namespace: FakeNamespace, given: Qdisc): void {
  const held = namespace.qdiscs.find((one) => one.link === given.link && one.parent === given.parent);
  if (held === undefined) {
    if (given.parent === "clsact") refuse("EINVAL", "Cannot find specified qdisc on specified device");
    refuse("ENOENT", "Cannot delete qdisc with handle of zero");
  }
  namespace.qdiscs = namespace.qdiscs.filter((one) => one !== held);
  namespace.classes = namespace.classes.filter((one) => one.link !== held.link || held.parent === "clsact");
  const parents = held.parent === "clsact" ? ["ffff:", "ingress", "egress"] : [held.handle];
  namespace.filters = namespace.filters.filter(
    (one) => one.link !== held.link || !parents.includes(one.parent),
  );
}

export function addClass(namespace: FakeNamespace, given: TcClass, mode: Mode): void {
  namespace.get(given.link);
  const major = given.handle.replace(/:.*/, ":");
  if (!namespace.qdiscs.some((one) => one.link === given.link && one.handle === major)) refuse("ENOENT");
  const held = namespace.classes.find((one) => one.link === given.link && one.handle === given.handle);
  if (held !== undefined && mode === "add") refuse("EEXIST");
  const parent = given.parent.endsWith(":") ? "root" : given.parent;
  namespace.classes = [...namespace.classes.filter((one) => one !== held), { ...given, parent }];
}

export function deleteClass(namespace: FakeNamespace, given: TcClass): void {
  const held = namespace.classes.find((one) => one.link === given.link && one.handle === given.handle);
  if (held === undefined) refuse("ENOENT");
  namespace.classes = namespace.classes.filter((one) => one !== held);
}

export function addFilter(namespace: FakeNamespace, given: Filter): void {
  namespace.get(given.link);
  const handles = namespace.qdiscs.filter((one) => one.link === given.link).map((one) => one.handle);
  const major = ["ingress", "egress"].includes(given.parent) ? "ffff:" : given.parent.replace(/:.*/, ":");
  if (!handles.includes(major)) refuse("EINVAL", "Parent Qdisc doesn't exists");
  const priority = given.priority === 0 ? 0xc000 - namespace.filters.length : given.priority;
  const handle = given.handle === 0 ? 0x80000800 + namespace.filters.length : given.handle;
  namespace.filters = [...namespace.filters, { ...given, priority, handle }];
}

export function deleteFilter(namespace: FakeNamespace, given: Filter, spec: NewFilter): void {
  const matches = (one: Filter) =>
    one.link === given.link &&
    one.parent === given.parent &&
    (spec.priority === undefined || one.priority === spec.priority) &&
    (spec.handle === undefined || one.handle === spec.handle);
  if (!namespace.filters.some(matches)) refuse("ENOENT");
  namespace.filters = namespace.filters.filter((one) => !matches(one));
}
