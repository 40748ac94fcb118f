import { beforeEach, expect, test } from "bun:test";
import { FakeNftables } from "../linux/fake/nftables.ts";
import { accept, drop, goto, ip, is, isIn } from "../linux/nftables/expr.ts";
import { type NftMap, type NftSet, Transaction } from "../linux/nftables/index.ts";
import { chainOf, type DesiredPart, elementOf, elementText, TablePart, weftTable } from "./table-part.ts";

const hosts: NftSet = { kind: "set", name: "services-hosts", key: "ipv4_addr" };
const ways: NftMap = {
  kind: "map",
  name: "services-ways",
  key: ["ipv4_addr", "inet_service"],
  data: "verdict",
};
const seen: NftSet = { kind: "set", name: "services-seen", key: "ipv4_addr", flags: ["dynamic"], size: 8 };

function desired(elements: Record<string, Record<string, string>> = {}): DesiredPart {
  return {
    sets: [hosts, ways, seen],
    chains: [
      chainOf({ name: "services-out" }, [drop]),
      chainOf(
        { name: "services-in", type: "filter", hook: "forward", priority: 0, policy: "accept" },
        [isIn(ip.saddr, hosts), accept],
        [is(ip.saddr, "10.0.0.1"), goto("services-out")],
      ),
    ],
    elements: (set) => new Map(Object.entries(elements[set] ?? {})),
  };
}

const filled = {
  "services-hosts": { "10.0.0.2": "" },
  "services-ways": { "10.0.0.3 . 80": "goto services-out" },
};
let nft: FakeNftables;
let part: TablePart;

beforeEach(() => {
  nft = new FakeNftables();
  part = new TablePart(nft, "services");
});

const apply = (change: (transaction: Transaction) => void) => {
  const transaction = new Transaction(weftTable);
  change(transaction);
  nft.apply(transaction);
};
const names = () => {
  const { chains, sets } = nft.dump(weftTable);
  return [...chains, ...sets].map(({ name }) => name).sort();
};
const all = ["services-hosts", "services-in", "services-out", "services-seen", "services-ways"];

test.each([
  [hosts, "10.0.0.1", ""],
  [ways, "10.0.0.1 . 80", "goto services-out"],
  [ways, "10.0.0.1 . 80", "drop"],
  [{ kind: "map", name: "m", key: "mark", data: "ipv4_addr" }, "7", "10.0.0.1"],
  [{ kind: "map", name: "m", key: "mark", data: ["ipv6_addr", "inet_service"] }, "7", "fd00::1 . 80"],
] as const)("elements are text: %# %s", (set, key, value) => {
  expect(elementText(elementOf(set, key, value))).toEqual([key, value]);
});

test("makes all, then nothing", () => {
  expect(part.maybeChanged).toBe(true);
  expect(part.repair(desired(filled))).toBeGreaterThan(0);
  expect(names()).toEqual(all);
  expect(part.maybeChanged).toBe(false);
  const generation = nft.generation();
  expect(part.repair(desired(filled))).toBe(0);
  expect(new TablePart(nft, "services").repair(desired(filled))).toBe(0);
  expect(nft.generation()).toBe(generation);
});

test("what was read is not read again, unless something changed", () => {
  part.repair(desired(filled));
  const { dump } = nft;
  let dumps = 0;
  nft.dump = (...given) => {
    dumps++;
    return dump.apply(nft, given);
  };
  expect([...part.read().elements("services-ways")]).toEqual([["10.0.0.3 . 80", "goto services-out"]]);
  part.repair(desired(filled));
  expect(dumps).toBe(1);
  part.read();
  apply((tx) => tx.deleteElements(hosts, [{ key: "10.0.0.2" }]));
  expect(part.repair(desired(filled))).toBe(1);
  expect(dumps).toBe(3);
});

test("does not look at the elements of dynamic sets", () => {
  part.repair(desired());
  apply((tx) => tx.addElements(seen, [{ key: "1.1.1.1" }]));
  expect(part.repair(desired())).toBe(0);
  expect([...part.elementsOf(seen)]).toEqual([["1.1.1.1", ""]]);
});

test("another part's objects stay; a stranger's, and those of an older version of its own, go", () => {
  part.repair(desired(filled));
  apply((tx) =>
    tx.add(
      { kind: "set", name: "masquerade-pods", key: "ipv4_addr" },
      { kind: "chain", name: "services-old" },
      { kind: "chain", name: "stranger" },
      ...chainOf({ name: "stranger" }, [goto("services-old")]).rules,
      { kind: "set", name: "services-old", key: "ipv4_addr" },
    ),
  );
  expect(part.maybeChanged).toBe(true);
  part.repair(desired(filled));
  expect(names()).toEqual(["masquerade-pods", ...all]);
});

test("a set that became another, with all that hangs on it, is made anew", () => {
  part.repair(desired(filled));
  const before = nft.dump(weftTable);
  const wider: NftSet = { ...hosts, flags: ["interval"] };
  const next = { ...desired(filled), sets: [wider, ways, seen] };
  expect(part.repair(next)).toBeGreaterThan(0);
  expect(part.repair(next)).toBe(0);
  part.repair(desired(filled));
  const bare = ({ sets, rules }: typeof before) =>
    JSON.stringify([sets, rules], (name, value) => (name === "handle" ? undefined : value));
  expect(bare(nft.dump(weftTable))).toBe(bare(before));
});

test("somebody's transaction between two of its own makes it look again", () => {
  part.repair(desired());
  apply((tx) => tx.addElements(hosts, [{ key: "9.9.9.9" }]));
  part.apply(new Transaction(weftTable).addElements(hosts, [{ key: "10.0.0.2" }]));
  expect(part.maybeChanged).toBe(true);
  part.repair(desired(filled));
  expect([...part.elementsOf(hosts)]).toEqual([["10.0.0.2", ""]]);
});

test("goes alone, and with the table where it is the last", () => {
  expect(part.remove()).toBe(false);
  part.repair(desired({ ...filled, "services-ways": { "10.0.0.3 . 80": "drop" } }));
  apply((tx) => tx.add({ kind: "set", name: "masquerade-pods", key: "ipv4_addr" }));
  expect(part.remove()).toBe(true);
  expect(names()).toEqual(["masquerade-pods"]);
  expect(part.remove()).toBe(false);
  expect(new TablePart(nft, "masquerade").remove()).toBe(true);
  expect(nft.tables()).toEqual([]);
});
