import { describe, expect, test } from "bun:test";
import { addEntry, canAddEntry, headSize } from "./elf.ts";
import type { Program } from "./interpreter.ts";

interface Segment {
  type: number;
  flags: number;
  offset: number;
  address: number;
  fileSize: number;
  memorySize: number;
}

const load = (address: number, memorySize: number): Segment => ({
  type: 1,
  flags: 5,
  offset: address & 0xffff,
  address,
  fileSize: memorySize,
  memorySize,
});
const notes: Segment = {
  type: 4,
  flags: 4,
  offset: 0x254,
  address: 0x200254,
  fileSize: 0x44,
  memorySize: 0x44,
};
const interpreter: Segment = {
  type: 3,
  flags: 4,
  offset: 0x238,
  address: 0x200238,
  fileSize: 0x1c,
  memorySize: 0x1c,
};
const stack: Segment = { type: 0x6474e551, flags: 6, offset: 0, address: 0, fileSize: 0, memorySize: 0 };

/** The first bytes of an executable. */
function executable(
  segments: readonly Segment[],
  { type = 2, machine = 62, bits = 2 } = {},
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(headSize);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, bits, 1]);
  view.setUint16(16, type, true);
  view.setUint16(18, machine, true);
  view.setBigUint64(24, 0x1a40d00n, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(56, segments.length, true);
  bytes.set(new TextEncoder().encode("/lib64/ld.so\0"), interpreter.offset);
  for (const [i, each] of segments.entries()) {
    const at = 64 + i * 56;
    view.setUint32(at, each.type, true);
    view.setUint32(at + 4, each.flags, true);
    for (const [j, value] of [
      each.offset,
      each.address,
      each.address,
      each.fileSize,
      each.memorySize,
    ].entries())
      view.setBigUint64(at + 8 + j * 8, BigInt(value), true);
  }
  return bytes;
}

/** The types and addresses of the table. */
function tableOf(bytes: Uint8Array): [number, number][] {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return Array.from({ length: view.getUint16(56, true) }, (_, i) => [
    view.getUint32(64 + i * 56, true),
    Number(view.getBigUint64(64 + i * 56 + 16, true)),
  ]);
}

describe("addEntry", () => {
  const segments = [interpreter, load(0x200000, 0x1000), load(0x201000, 0x2345), stack, notes];

  test("puts a segment behind the last that is loaded, in place of the notes, begins there, and hides the linker", () => {
    const head = executable(segments);
    const seen: Program[] = [];
    const { writes } = addEntry(head, 0x54321, (program) => {
      seen.push(program);
      return Uint8Array.of(0xc3);
    });
    const [code, table] = writes;
    expect(seen).toEqual([{ entry: 0x1a40d00, interpreter: "/lib64/ld.so", interpreterHeader: 0x200040 }]);
    expect(code).toEqual({ at: 0x55000, bytes: Uint8Array.of(0xc3) });
    expect(table?.at).toBe(0);
    const bytes = table?.bytes as Uint8Array;
    expect(tableOf(bytes)).toEqual([
      [0, 0x200238],
      [1, 0x200000],
      [1, 0x201000],
      [1, 0x205000],
      [stack.type, 0],
    ]);
    expect(new DataView(bytes.buffer).getBigUint64(24, true)).toBe(0x205000n);
    // The file as it was read is not changed.
    expect(tableOf(head).map(([type]) => type)).toEqual([3, 1, 1, stack.type, 4]);
  });

  const others: [string, Uint8Array<ArrayBuffer>][] = [
    ["another processor's", executable(segments, { machine: 183 })],
    ["one for any address", executable(segments, { type: 3 })],
    ["one of 32 bits", executable(segments, { bits: 1 })],
    ["no executable", new Uint8Array(headSize)],
  ];
  for (const [what, head] of others) {
    test(`${what} is left alone`, () => {
      expect(canAddEntry(head)).toBe(false);
      expect(() => addEntry(head, 1, () => new Uint8Array())).toThrow(/executable/);
    });
  }

  test.each([
    ["notes", [interpreter, load(0x200000, 1)]],
    ["dynamic linker", [load(0x200000, 1), notes]],
    ["notes", [interpreter, notes]],
  ])("one without %s is refused", (what, table) => {
    expect(() => addEntry(executable(table), 1, () => new Uint8Array())).toThrow(`no ${what}`);
  });
});
