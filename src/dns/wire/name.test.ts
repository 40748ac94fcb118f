import { describe, expect, test } from "bun:test";
import { InvalidInput } from "../../lib/errors.ts";
import { isDnsFormatError } from "./errors.ts";
import {
  isAtOrBelow,
  labelsOf,
  lowerName,
  nameFromText,
  nameToText,
  parentName,
  readName,
  rootName,
  secondBelow,
  skipName,
} from "./name.ts";

describe("names as text", () => {
  test.each([
    [".", "\0", "."],
    ["a.b", "\x01a\x01b\0", "a.b."],
    ["Blue.Default.", "\x04Blue\x07Default\0", "Blue.Default."],
    ["_http._tcp.x", "\x05_http\x04_tcp\x01x\0", "_http._tcp.x."],
    ["a\\.b.c", "\x03a.b\x01c\0", "a\\.b.c."],
    ["a\\000b", "\x03a\0b\0", "a\\000b."],
    ["\\255\\\\", "\x02\xff\\\0", "\\255\\\\."],
    ["*.x", "\x01*\x01x\0", "*.x."],
  ])("%p", (text, wire, back) => {
    expect(nameFromText(text)).toBe(wire);
    expect(nameToText(wire)).toBe(back);
    expect(nameFromText(back)).toBe(wire);
  });

  test.each([
    ["", "is empty"],
    ["a..b", "empty label"],
    [".a", "empty label"],
    ["x".repeat(64), "longer than 63 bytes"],
    [`${"x".repeat(62)}.`.repeat(5), "longer than 255 bytes"],
    ["a\\256", "not one byte"],
    ["a\\", "not one byte"],
    ["köln", "outside ASCII"],
  ])("refuses %p", (text, problem) => {
    expect(() => nameFromText(text, "domain")).toThrow(problem);
    expect(() => nameFromText(text, "domain")).toThrow(InvalidInput);
  });

  test("the longest name has 255 bytes", () => {
    const text = `${`${"x".repeat(63)}.`.repeat(3)}${"y".repeat(61)}`;
    expect(nameFromText(text)).toHaveLength(255);
    expect(() => nameFromText(`${text}y`)).toThrow("255");
  });
});

describe("names in wire form", () => {
  const blue = nameFromText("blue.default.svc");

  test("lower case is for ASCII alone", () => {
    expect(lowerName(nameFromText("BLUE.Default.svc"))).toBe(blue);
    // In Latin-1, these bytes are a letter in both cases; in the DNS they are different names.
    expect(lowerName("\x02A\xc9\0")).toBe("\x02a\xc9\0");
  });

  test("parents and labels", () => {
    expect(nameToText(parentName(blue))).toBe("default.svc.");
    expect(parentName(rootName)).toBe(rootName);
    expect(labelsOf(blue)).toEqual(["blue", "default", "svc"]);
    expect(labelsOf(rootName)).toEqual([]);
  });

  test.each([
    ["blue.default.svc", true],
    ["x.blue.default.svc", true],
    ["default.svc", false],
    ["red.default.svc", false],
    // One label that ends with the bytes of the whole ancestor.
    ["xx\\004blue\\007default\\003svc", false],
  ])("%p is at or below blue.default.svc: %p", (text, below) => {
    expect(isAtOrBelow(nameFromText(text), blue)).toBe(below);
  });
});

test.each([
  ["blue.default.svc.cluster.local", "blue.default.svc.cluster.local."],
  ["a.b.blue.default.svc.cluster.local", "blue.default.svc.cluster.local."],
  ["default.svc.cluster.local", undefined],
  ["svc.cluster.local", undefined],
  ["blue.default.pod.cluster.local", undefined],
  ["a.b.c\\003svc\\007cluster\\005local", undefined],
])("the second name below svc.cluster.local of %p is %p", (text, expected) => {
  const found = secondBelow(nameFromText(text), nameFromText("svc.cluster.local"));
  expect(found === undefined ? undefined : nameToText(found)).toBe(expected);
});

describe("compressed names", () => {
  // A header's worth of bytes, then "svc" at 12, "default.svc" at 17, "blue" + pointer at 27.
  const bytes = Buffer.concat([
    Buffer.alloc(12),
    Buffer.from("\x03svc\0", "latin1"),
    Buffer.from("\x07default\xc0\x0c", "latin1"),
    Buffer.from("\x04blue\xc0\x11", "latin1"),
  ]);

  test("pointers are followed", () => {
    expect(readName(bytes, 27)).toEqual({ name: nameFromText("blue.default.svc"), end: 34 });
    expect(skipName(bytes, 27)).toBe(34);
    expect(readName(bytes, 12)).toEqual({ name: nameFromText("svc"), end: 17 });
  });

  test.each([
    ["to itself", "\xc0\x0c"],
    ["forwards", "\xc0\x0e\x01a\0"],
    ["to the same name's start", "\x01a\xc0\x0c"],
    ["into the header", "\xc0\x02"],
    ["cut off", "\xc0"],
    ["a label past the end", "\x05abc"],
    ["without a final root", "\x03abc"],
    ["label type 01", "\x41a\0"],
    ["label type 10", "\x81a\0"],
    ["256 bytes", `${`\x3f${"a".repeat(63)}`.repeat(4)}\0`],
  ])("refuses a name %s", (_what, tail) => {
    const message = Buffer.concat([Buffer.alloc(12), Buffer.from(tail, "latin1")]);
    let thrown: unknown;
    try {
      readName(message, 12);
    } catch (error) {
      thrown = error;
    }
    expect(isDnsFormatError(thrown)).toBe(true);
  });

  test("two pointers that lead to each other are refused", () => {
    const message = Buffer.concat([Buffer.alloc(12), Buffer.from("\x01a\xc0\x10\x01b\xc0\x0c", "latin1")]);
    expect(() => readName(message, 12)).toThrow("backwards");
    expect(() => readName(message, 16)).toThrow("backwards");
  });
});
