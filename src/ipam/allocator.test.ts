import { expect, test } from "bun:test";
import { Ip } from "../lib/ip.ts";
import { Prefix } from "../lib/prefix.ts";
import { seededRandom } from "../lib/random.ts";
import { allocate } from "./allocator.ts";
import { completeRange, type IpRange, type RangeSet, rangeContains, requireDistinctRanges } from "./range.ts";

const ip = (text: string) => Ip.parse(text);
const range = (subnet: string, more: { start?: string; end?: string; gateway?: string } = {}): IpRange =>
  completeRange(
    {
      subnet: Prefix.parse(subnet),
      ...Object.fromEntries(Object.entries(more).map(([key, text]) => [key, ip(text)])),
    },
    "range",
  );
const free = () => false;
const takenSet = (...texts: string[]) => {
  const taken = new Set(texts);
  return (address: Ip) => taken.has(String(address));
};
const next = (set: IpRange[], taken: (address: Ip) => boolean, last?: string) =>
  allocate(set, taken, last === undefined ? undefined : ip(last))?.ip.toString();

const completed: [string, { start?: string; end?: string; gateway?: string }, string, string, string][] = [
  ["10.1.0.0/24", {}, "10.1.0.1", "10.1.0.254", "10.1.0.1"],
  ["10.1.0.0/30", {}, "10.1.0.1", "10.1.0.2", "10.1.0.1"],
  ["fd00::/64", {}, "fd00::1", "fd00::ffff:ffff:ffff:ffff", "fd00::1"],
  [
    "10.1.0.0/24",
    { start: "10.1.0.10", end: "10.1.0.20", gateway: "10.1.0.254" },
    "10.1.0.10",
    "10.1.0.20",
    "10.1.0.254",
  ],
  ["10.1.0.0/24", { start: "10.1.0.0", end: "10.1.0.255" }, "10.1.0.0", "10.1.0.255", "10.1.0.1"],
  // As with the reference: then the subnet's first address is one like the others.
  ["10.1.0.0/24", { gateway: "10.2.0.1" }, "10.1.0.1", "10.1.0.254", "10.2.0.1"],
];
test.each(completed)("%s with %p is %s to %s behind %s", (subnet, more, start, end, gateway) => {
  const made = range(subnet, more);
  expect([made.start, made.end, made.gateway].map(String)).toEqual([start, end, gateway]);
});

const refused: [string, { start?: string; end?: string; gateway?: string }, string][] = [
  ["10.1.0.0/31", {}, 'range.subnet: "10.1.0.0/31" is too small to allocate from'],
  ["fd00::/127", {}, "is too small"],
  ["10.1.0.7/24", {}, 'range.subnet: "10.1.0.7/24" has host bits set'],
  ["10.1.0.0/24", { gateway: "fd00::1" }, 'range.gateway: "fd00::1" is of another family than 10.1.0.0/24'],
  ["10.1.0.0/24", { start: "10.2.0.1" }, "range.rangeStart"],
  ["10.1.0.0/24", { end: "fd00::1" }, "range.rangeEnd"],
  [
    "10.1.0.0/24",
    { start: "10.1.0.20", end: "10.1.0.10" },
    'range.rangeEnd: "10.1.0.10" is before rangeStart 10.1.0.20',
  ],
];
test.each(refused)("%s with %p is refused", (subnet, more, message) => {
  expect(() => range(subnet, more)).toThrow(message);
});

test("sets must not overlap and are of one family each", () => {
  const requireDistinct = (...sets: RangeSet[]) =>
    requireDistinctRanges(
      sets.map((set, i) => ({ set, at: `sets[${i}]`, rangesAt: set.map((_, j) => `ranges[${i}][${j}]`) })),
    );
  const set = [range("10.1.0.0/24"), range("10.2.0.0/24")];
  requireDistinct(set, [range("fd00::/64")]);
  expect(() => requireDistinct(set, [range("10.2.0.0/16")])).toThrow(
    'ranges[1][0]: "10.2.0.0/16" overlaps 10.2.0.0/24 of ranges[0][1]',
  );
  expect(() => requireDistinct([range("10.1.0.0/24"), range("fd00::/64")])).toThrow("another family");
  expect(() => requireDistinct([])).toThrow("sets[0]: [] has no range");
  // Parts of one subnet that do not touch are fine.
  requireDistinct(
    [range("10.1.0.0/24", { end: "10.1.0.9" })],
    [range("10.1.0.0/24", { start: "10.1.0.10" })],
  );
});

test("the search begins behind the last address, passes the gateway over and wraps around", () => {
  const set = [range("10.1.0.0/29")];
  expect(next(set, free)).toBe("10.1.0.2");
  expect(next(set, free, "10.1.0.2")).toBe("10.1.0.3");
  expect(next(set, free, "10.1.0.6")).toBe("10.1.0.2");
  expect(next(set, takenSet("10.1.0.4"), "10.1.0.3")).toBe("10.1.0.5");
  expect(next(set, takenSet("10.1.0.6", "10.1.0.2"), "10.1.0.5")).toBe("10.1.0.3");
  // One that is not of the set counts as none.
  expect(next(set, free, "10.9.0.1")).toBe("10.1.0.2");
});

test("a set goes on with its next range, and gives up after the last", () => {
  const set = [range("10.1.0.0/30"), range("10.2.0.0/30", { gateway: "10.2.0.2" })];
  expect(next(set, free)).toBe("10.1.0.2");
  expect(next(set, takenSet("10.1.0.2"))).toBe("10.2.0.1");
  expect(next(set, free, "10.2.0.1")).toBe("10.1.0.2");
  expect(next(set, takenSet("10.1.0.2", "10.2.0.1"))).toBeUndefined();
  expect(next(set, takenSet("10.1.0.2", "10.2.0.1"), "10.2.0.1")).toBeUndefined();
});

test("a wide IPv6 range is not walked through", () => {
  expect(next([range("fd00::/64")], free, "fd00::ffff:ffff:ffff:fffe")).toBe("fd00::ffff:ffff:ffff:ffff");
  expect(next([range("fd00::/64")], free, "fd00::ffff:ffff:ffff:ffff")).toBe("fd00::2");
});

/** The reference's walk, step by step: slow and plain. */
function naive(
  set: readonly IpRange[],
  taken: (address: Ip) => boolean,
  last: Ip | undefined,
): string | undefined {
  const all: { address: Ip; range: IpRange }[] = [];
  for (const each of set) {
    for (let value = each.start.toBigInt(); value <= each.end.toBigInt(); value++) {
      all.push({ address: Ip.fromBigInt(value, each.subnet.family), range: each });
    }
  }
  const at = last === undefined ? -1 : all.findIndex(({ address }) => address.equals(last));
  for (let i = 1; i <= all.length; i++) {
    const { address, range: own } = all[(at + i) % all.length] as (typeof all)[number];
    if (!address.equals(own.gateway) && !taken(address)) return address.toString();
  }
  return undefined;
}

test("random sets, leases and last addresses agree with the naive walk", () => {
  const random = seededRandom(42);
  for (let round = 0; round < 2000; round++) {
    const set = Array.from({ length: 1 + Math.floor(random() * 3) }, (_, i) => {
      const base = `10.${i}.0`;
      const [a, b] = [1 + Math.floor(random() * 14), 1 + Math.floor(random() * 14)];
      const gateway = `${base}.${1 + Math.floor(random() * 14)}`;
      return range(`${base}.0/28`, {
        start: `${base}.${Math.min(a, b)}`,
        end: `${base}.${Math.max(a, b)}`,
        gateway,
      });
    });
    const density = random();
    const taken = new Set<string>();
    for (let i = 0; i < 3; i++) {
      for (let host = 0; host < 16; host++) if (random() < density) taken.add(`10.${i}.0.${host}`);
    }
    const isTaken = (address: Ip) => taken.has(String(address));
    const last =
      random() < 0.2 ? undefined : ip(`10.${Math.floor(random() * 3)}.0.${Math.floor(random() * 16)}`);
    const found = allocate(set, isTaken, last);
    expect(found?.ip.toString()).toBe(naive(set, isTaken, last));
    if (found !== undefined) expect(rangeContains(found.range, found.ip)).toBe(true);
  }
});
