import { expect, test } from "bun:test";
import { Prefix } from "../lib/prefix.ts";
import { disjoint, rangeText, tryPrefix } from "./prefixes.ts";

test.each([
  ["", ""],
  ["10.0.0.0/8", "10.0.0.0/8"],
  ["10.1.0.0/16 10.0.0.0/8 10.0.0.1/32 11.0.0.0/8", "10.0.0.0/8 11.0.0.0/8"],
  ["10.0.0.2/32 10.0.0.1/32 10.0.0.2/32", "10.0.0.1 10.0.0.2"],
  ["10.0.0.7/24 10.0.0.0/25", "10.0.0.0/24"],
  ["::/0 0.0.0.0/0 fd00::1/128 1.2.3.4/32", "0.0.0.0/0 ::/0"],
])("disjoint: %s", (given, expected) => {
  const prefixes = given.split(" ").flatMap((text) => (text === "" ? [] : Prefix.parse(text)));
  expect(disjoint(prefixes).map(rangeText).join(" ")).toBe(expected);
});

test("what is no prefix is none", () => {
  expect(tryPrefix("10.0.0.1/8")?.toString()).toBe("10.0.0.0/8");
  expect(tryPrefix("10.0.0.1")).toBeUndefined();
  expect(tryPrefix("")).toBeUndefined();
});
