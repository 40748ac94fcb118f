import { expect, test } from "bun:test";
import type { Datum, TypeName } from "./datatypes.ts";
import { mergeRanges, predecessor, refuseOverlaps, successor } from "./ranges.ts";
import { encodeRange, layoutOf } from "./values.ts";

test.each([
  ["ipv4_addr", [], []],
  ["ipv4_addr", ["10.0.0.1"], ["10.0.0.1"]],
  ["ipv4_addr", ["10.0.0.1", "10.0.0.1"], ["10.0.0.1"]],
  ["ipv4_addr", ["10.255.0.0/16", "10.0.0.0/8"], ["10.0.0.0/8"]],
  ["ipv4_addr", ["10.0.1.0/24", "10.0.0.0/24"], ["10.0.0.0/23"]],
  ["ipv4_addr", ["10.0.1.0/24", "10.0.2.0/24"], ["10.0.1.0-10.0.2.255"]],
  ["ipv4_addr", ["10.0.0.0/24", "10.0.0.200-10.0.1.7"], ["10.0.0.0-10.0.1.7"]],
  ["ipv4_addr", ["10.0.0.1", "10.0.0.3"], ["10.0.0.1", "10.0.0.3"]],
  ["ipv4_addr", ["128.0.0.0/1", "0.0.0.0/1"], ["0.0.0.0/0"]],
  ["ipv4_addr", ["255.255.255.255", "255.255.255.254"], ["255.255.255.254/31"]],
  ["ipv6_addr", ["fd00::/64", "fd00:0:0:1::/64"], ["fd00::/63"]],
  ["inet_service", [80, "79-81", 443], ["79-81", 443]],
] as [TypeName, Datum[], unknown[]][])("%p: %p merged", (type, values, merged) => {
  expect(mergeRanges(type, values) as unknown[]).toEqual(merged);
});

test("merging covers what was given and nothing else, for random ranges of ports", () => {
  let state = 7;
  const below = (limit: number) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >>> 8) % limit;
  };
  for (let round = 0; round < 200; round++) {
    const given = Array.from({ length: 1 + below(6) }, () => {
      const from = below(40);
      return `${from}-${from + below(8)}`;
    });
    const covered = (list: readonly Datum[]) =>
      Array.from({ length: 64 }, (_, port) =>
        list.some((value) => {
          const [from, to] = encodeRange(layoutOf("inet_service"), value).map((bytes) => bytes[1] as number);
          return port >= (from as number) && port <= (to as number);
        }),
      );
    const merged = mergeRanges("inet_service", given);
    expect([given, covered(merged)]).toEqual([given, covered(given)]);
    expect(() =>
      refuseOverlaps(
        portRanges,
        merged.map((key) => ({ key })),
      ),
    ).not.toThrow();
  }
});

const portRanges = { kind: "set", name: "ports", key: "inet_service", flags: ["interval"] } as const;

test("overlaps within an operation are refused, equal elements are not", () => {
  const refuse =
    (...keys: string[]) =>
    () =>
      refuseOverlaps(
        portRanges,
        keys.map((key) => ({ key })),
      );
  expect(refuse("1-5", "9", "6-8")).not.toThrow();
  expect(refuse("1-5", "1-5", "*")).not.toThrow();
  expect(refuse("9", "1-5", "3-5")).toThrow('elements of set "ports": ["1-5","3-5"] overlap');
  expect(refuse("1-5", "1-6")).toThrow("overlap");
});

test("the next and the last value", () => {
  expect(successor(Uint8Array.of(1, 255))).toEqual(Uint8Array.of(2, 0));
  expect(successor(Uint8Array.of(255, 255))).toBeUndefined();
  expect(predecessor(Uint8Array.of(2, 0))).toEqual(Uint8Array.of(1, 255));
});
