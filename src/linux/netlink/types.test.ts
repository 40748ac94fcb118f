import { expect, test } from "bun:test";
import { InvalidInput } from "../../lib/errors.ts";
import { list, MalformedMessage, s32, schema, text, u8, u16, u16be, u32, u32be, Writer } from "./codec.ts";
import { Bits, bool, fixed, mac, Names, n64, struct } from "./types.ts";

test("a struct is written in order, and what is missing is zero", () => {
  const point = struct("point", { kind: fixed.u8, flags: fixed.u8, port: fixed.u16be, index: fixed.s32 });
  const writer = new Writer();
  point.put(writer, { kind: 7, port: 0x1234, index: -2 });
  expect([...writer.finish()]).toEqual([7, 0, 0x12, 0x34, 0xfe, 0xff, 0xff, 0xff]);
  expect(point.read(writer.finish())).toEqual({ kind: 7, flags: 0, port: 0x1234, index: -2 });
  expect(() => point.read(new Uint8Array(7))).toThrow(MalformedMessage);
});

const sized = schema({
  u8: [1, u8],
  u16: [2, u16],
  u16be: [3, u16be],
  u32: [4, u32],
  u32be: [5, u32be],
  s32: [6, s32],
  n64: [7, n64],
  text: [8, text],
  point: [9, struct("point", { port: fixed.u16be, index: fixed.s32 })],
});
const unwritable: [Parameters<typeof sized.write>[1], string][] = [
  [{ u8: 256 }, "u8: 256 is not a whole number from 0 to 255"],
  [{ u16: 65_541 }, "u16: 65541 is not a whole number from 0 to 65535"],
  [{ u16be: -1 }, "u16be: -1 is not"],
  [{ u32: 2 ** 32 + 1500 }, "u32: 4294968796 is not a whole number from 0 to 4294967295"],
  [{ u32: 1500.5 }, "u32: 1500.5 is not"],
  [{ u32: Number.NaN }, "u32: null is not"],
  [{ u32be: 2 ** 32 }, "u32be: 4294967296 is not"],
  [{ s32: 2 ** 31 }, "s32: 2147483648 is not a whole number from -2147483648 to 2147483647"],
  [{ n64: -1 }, "n64: -1 is not"],
  [{ text: "eth0\0x" }, 'text: "eth0\\u0000x" has a zero byte in it'],
  [{ point: { port: 70_000, index: 0 } }, "point.port: 70000 is not a whole number from 0 to 65535"],
];
test.each(unwritable)("%j is refused rather than cut to fit", (value, message) => {
  expect(() => sized.write(new Writer(), value)).toThrow(InvalidInput);
  expect(() => sized.write(new Writer(), value)).toThrow(message);
});

test("what fits to the last bit is written", () => {
  const value = { u8: 255, u16: 65_535, u32: 2 ** 32 - 1, s32: -(2 ** 31), n64: Number.MAX_SAFE_INTEGER };
  const writer = new Writer();
  sized.write(writer, value);
  expect(sized.read(writer.finish())).toEqual(value);
});

test("names stand for numbers, and numbers without a name stay numbers", () => {
  const colours = new Names("colour", { red: 1, green: 2 });
  expect([colours.number("red"), colours.number(9), colours.name(2), colours.name(9)]).toEqual([
    1,
    9,
    "green",
    9,
  ]);
  expect(() => colours.number("gren" as "green")).toThrow(
    'colour: "gren" is none of its names (did you mean "green"?)',
  );
  expect(() => colours.number("toString" as "red")).toThrow("is none of its names");
});

test("bits have names in the order of their declaration", () => {
  const flags = new Bits("flag", { high: 0x80000000, low: 1 });
  expect(flags.mask(["low", "high"])).toBe(0x80000001);
  expect(flags.names(0x80000003)).toEqual(["high", "low"]);
  expect(() => flags.mask(["lo" as "low"])).toThrow('flag: "lo" is no such flag');
});

test("a schema reads what it wrote, in any order, and passes over what it does not know", () => {
  const inner = schema({ name: [1, text], on: [2, bool] });
  const outer = schema({
    id: [1, u32],
    mac: [2, mac],
    big: [3, n64],
    inner: [4, inner],
    names: [5, list(9, text)],
  });
  const value = {
    names: ["a", "bc"],
    id: 7,
    inner: { on: true, name: "x" },
    mac: "0a:00:00:00:00:01",
    big: 2 ** 40,
  };
  const writer = new Writer();
  outer.write(writer, value);
  expect(outer.read(writer.finish())).toEqual(value);
  const newer = schema({ id: [1, u32] });
  expect(newer.read(writer.finish())).toEqual({ id: 7 });
  const wrong = schema({ id: [5, u8] });
  expect(() => wrong.read(new Uint8Array([4, 0, 5, 0]))).toThrow(MalformedMessage);
});
