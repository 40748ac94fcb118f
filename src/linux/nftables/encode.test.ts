import { expect, test } from "bun:test";
import { Writer } from "../netlink/codec.ts";
import { encodeOperations } from "./encode.ts";
import { elementListAttributes, message } from "./messages.ts";
import type { Chain, Element, NftMap, NftObject, NftSet } from "./model.ts";
import { Transaction } from "./transaction.ts";

const table = { family: "inet", name: "t" } as const;
const map: NftMap = { kind: "map", name: "m", key: "ipv4_addr", data: "inet_service" };
const verdicts: NftMap = { kind: "map", name: "v", key: "ipv4_addr", data: "verdict" };
const ranges: NftSet = { kind: "set", name: "r", key: "ipv4_addr", flags: ["interval"] };
const chain: Chain = { kind: "chain", name: "c", type: "filter", hook: "input", priority: 0 };

const encode = ({ operations }: Transaction, destroy = true) =>
  encodeOperations(operations, table, { destroy });
const elements = (count: number): Element[] =>
  Array.from({ length: count }, (_, i) => ({ key: `10.0.${i >> 8}.${i & 255}`, data: i & 0xffff }));

test("elements are parted into messages below the size of an attribute, and keep their order", () => {
  const messages = encode(new Transaction(table).addElements(map, elements(5000)));
  expect(messages.length).toBeGreaterThan(2);
  const sizes = messages.map(({ write }) => {
    const writer = new Writer();
    write(writer);
    return writer.length;
  });
  expect(Math.max(...sizes)).toBeLessThan(65_536);
  expect(messages.flatMap(({ elements: owners = [] }) => owners)).toEqual(elements(5000));
});

test("both ends of an interval stay in one message", () => {
  const keys = Array.from({ length: 4000 }, (_, i) => ({ key: `10.${i >> 6}.${(i & 63) * 4}.0/24` }));
  for (const { write } of encode(new Transaction(table).addElements(ranges, keys))) {
    const writer = new Writer();
    write(writer);
    const list = elementListAttributes.read(writer.finish()).elements ?? [];
    expect(list.length % 2).toBe(0);
    expect(list.at(-1)?.flags).toEqual(["end"]);
  }
});

test("what may not be there is destroyed by the kernel, or deleted piece by piece", () => {
  const tx = new Transaction(table).destroyElements(map, elements(3)).destroy(chain);
  expect(encode(tx).map(({ type }) => type)).toEqual([message.DESTROYSETELEM, message.DESTROYCHAIN]);
  expect(encode(tx, false).map(({ type }) => type)).toEqual([
    message.DELSETELEM,
    message.DELSETELEM,
    message.DELSETELEM,
    message.DELCHAIN,
  ]);
});

test("intervals are never destroyed by the kernel, which would take the ends of others", () => {
  const tx = new Transaction(table).destroyElements(ranges, [{ key: "10.0.0.0/24" }, { key: "10.0.1.0/24" }]);
  expect(encode(tx).map(({ type }) => type)).toEqual([message.DELSETELEM, message.DELSETELEM]);
});

test("no elements make no message", () => {
  expect(encode(new Transaction(table).addElements(map, []).deleteElements(map, []))).toEqual([]);
});

test.each([
  ["a chain with half of a hook", { kind: "chain", name: "c", hook: "input" }, "is not a base chain"],
  ["a hook of another family", { ...chain, table: { family: "arp", name: "t" }, hook: "forward" }, ""],
  [
    "a hook that there is not",
    { ...chain, table: { family: "arp", name: "t" }, hook: "ingress" },
    "is not a base chain",
  ],
  [
    "intervals of marks",
    { kind: "set", name: "s", key: "mark", flags: ["interval"] },
    "cannot have intervals",
  ],
  ["an unknown type", { kind: "set", name: "s", key: "ipv4" }, '"ipv4" is not a known data type'],
  [
    "an address that is none",
    { kind: "elements", set: map, elements: [{ key: "x", data: 1 }] },
    'element of map "m"',
  ],
  [
    "an element without data",
    { kind: "elements", set: map, elements: [{ key: "10.0.0.1" }] },
    "is missing in an element",
  ],
  [
    "data in a set",
    { kind: "elements", set: ranges, elements: [{ key: "10.0.0.1", data: 1 }] },
    "is given for an element",
  ],
  [
    "a value for a verdict",
    { kind: "elements", set: verdicts, elements: [{ key: "10.0.0.1", data: 1 }] },
    "is not a verdict",
  ],
  [
    "a verdict for a value",
    { kind: "elements", set: map, elements: [{ key: "10.0.0.1", data: { verdict: "drop" } }] },
    "is a verdict in a map of values",
  ],
  [
    "overlaps",
    { kind: "elements", set: ranges, elements: [{ key: "10.0.0.0/8" }, { key: "10.255.0.0/16" }] },
    "overlap",
  ],
  ["too long a comment", { kind: "table", ...table, comment: "x".repeat(128) }, "is longer than 127 bytes"],
] as [string, NftObject, string][])("%s", (_, object, problem) => {
  const attempt = () => encode(new Transaction(table).add(object));
  if (problem === "") expect(attempt).not.toThrow();
  else expect(attempt).toThrow(problem);
});
