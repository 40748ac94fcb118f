import { expect, test } from "bun:test";
import { Prefix } from "../../lib/prefix.ts";
import { matchPrefix } from "./tc-filters.ts";
import { formatHandle, parseHandle } from "./tc-handle.ts";

test.each([
  ["1:", 0x10000],
  ["1:10", 0x10010],
  ["ffff:", 0xffff0000],
  ["abcd:ef01", 0xabcdef01],
  ["0:", 0],
  ["root", 0xffffffff],
  ["clsact", 0xfffffff1],
  ["ingress", 0xfffffff2],
  ["egress", 0xfffffff3],
])("the handle %s is %d", (text, number) => {
  expect(parseHandle(text)).toBe(number);
  expect(formatHandle(number)).toBe(text);
});

test.each(["", "1", "1:2:3", "12345:", "1:g", "toString"])("%p is no handle", (text) => {
  expect(() => parseHandle(text)).toThrow("is no handle");
});

test("a prefix is matched word by word, as far as it goes", () => {
  const match = (prefix: string, side: "src" | "dst") =>
    matchPrefix(Prefix.parse(prefix), side).map(
      ({ offset, value, mask }) => `${value.toString(16)}/${mask.toString(16)} at ${offset}`,
    );
  expect(match("10.1.2.3/16", "src")).toEqual(["a010000/ffff0000 at 12"]);
  expect(match("10.1.2.3/32", "dst")).toEqual(["a010203/ffffffff at 16"]);
  expect(match("0.0.0.0/0", "dst")).toEqual([]);
  expect(match("fd00:1::/36", "src")).toEqual(["fd000001/ffffffff at 8", "0/f0000000 at 12"]);
  expect(match("fd00::1/128", "dst")).toHaveLength(4);
});
