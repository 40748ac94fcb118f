/** Gives an executable code that runs first. ELF: the System V ABI's chapters 4 and 5, and elf(5). */
import { InvalidInput } from "../lib/errors.ts";
import type { Program } from "./interpreter.ts";

const PT_NULL = 0;
const PT_LOAD = 1;
const PT_INTERP = 3;
const PT_NOTE = 4;
const ET_EXEC = 2;
const EM_X86_64 = 62;
const PF_R = 4;
const PF_X = 1;
const page = 0x1000n;
const sizeOfHeader = 64;
const sizeOfSegment = 56;
/** Of a program header: its fields' places. */
const field = {
  type: 0,
  flags: 4,
  offset: 8,
  address: 16,
  physical: 24,
  fileSize: 32,
  memorySize: 40,
  align: 48,
};

/** An executable's first bytes: as much as {@link addEntry} reads. */
export const headSize = 4096;

/** What is to be written into the executable's file. */
export interface Patch {
  /** Offset in the file, in bytes, and what goes there. */
  writes: { at: number; bytes: Uint8Array }[];
}

/** Can this executable be given an entry: 64-bit x86-64 at a fixed address. */
export function canAddEntry(head: Uint8Array): boolean {
  const view = viewOf(head);
  const isElf64 = view.getUint32(0) === 0x7f454c46 && head[4] === 2 && head[5] === 1;
  return isElf64 && view.getUint16(16, true) === ET_EXEC && view.getUint16(18, true) === EM_X86_64;
}

/**
 * Makes `code` run first, in a segment of its own behind all others, in the file and in memory, without the dynamic
 * linker having run: the kernel does not see any more that there is one, and `code` gets what it needs to start it. The
 * segment takes the place of the notes' in the table, which nothing reads at run time.
 * @param head the first {@link headSize} bytes of the file
 * @param fileSize the length of the file in bytes
 */
export function addEntry(
  head: Uint8Array<ArrayBuffer>,
  fileSize: number,
  code: (program: Program) => Uint8Array,
): Patch {
  if (!canAddEntry(head))
    throw new InvalidInput("executable", "its format", "no x86-64 program at a fixed address");
  const bytes = head.slice();
  const view = viewOf(bytes);
  const table = Number(view.getBigUint64(32, true));
  const count = view.getUint16(56, true);
  const segments: Uint8Array[] = Array.from({ length: count }, (_, i) =>
    bytes.slice(table + i * sizeOfSegment, table + (i + 1) * sizeOfSegment),
  );
  const typeOf = (segment: Uint8Array) => viewOf(segment).getUint32(field.type, true);
  const note = segments.findIndex((segment) => typeOf(segment) === PT_NOTE);
  const interpreter = segments.find((segment) => typeOf(segment) === PT_INTERP);
  const loads = segments.filter((segment) => typeOf(segment) === PT_LOAD);
  const last = loads.at(-1);
  const first = loads.find((load) => viewOf(load).getBigUint64(field.offset, true) === 0n);
  if (note < 0 || last === undefined || first === undefined || table !== sizeOfHeader) {
    throw new InvalidInput("executable", "its program headers", "no notes whose place could be taken");
  }
  if (interpreter === undefined)
    throw new InvalidInput("executable", "its program headers", "no dynamic linker");
  const ends = loads.map(
    (load) =>
      viewOf(load).getBigUint64(field.address, true) + viewOf(load).getBigUint64(field.memorySize, true),
  );
  const highest = ends.reduce((a, b) => (a > b ? a : b));
  const offset = roundUp(BigInt(fileSize));
  const address = roundUp(highest) + page;
  segments.splice(note, 1);
  const made = code({
    entry: Number(view.getBigUint64(24, true)),
    interpreter: textOf(bytes, viewOf(interpreter).getBigUint64(field.offset, true)),
    interpreterHeader:
      Number(viewOf(first).getBigUint64(field.address, true)) +
      table +
      segments.indexOf(interpreter) * sizeOfSegment,
  });
  viewOf(interpreter).setUint32(field.type, PT_NULL, true);
  const own = segmentOf(offset, address, BigInt(made.length));
  // The kernel wants those that are loaded in the order of their addresses.
  segments.splice(segments.indexOf(last) + 1, 0, own);
  for (const [i, segment] of segments.entries()) bytes.set(segment, table + i * sizeOfSegment);
  view.setBigUint64(24, address, true);
  return {
    writes: [
      { at: Number(offset), bytes: made },
      { at: 0, bytes: bytes.subarray(0, table + count * sizeOfSegment) },
    ],
  };
}

function segmentOf(offset: bigint, address: bigint, size: bigint): Uint8Array {
  const bytes = new Uint8Array(sizeOfSegment);
  const view = viewOf(bytes);
  view.setUint32(field.type, PT_LOAD, true);
  view.setUint32(field.flags, PF_R | PF_X, true);
  view.setBigUint64(field.offset, offset, true);
  view.setBigUint64(field.address, address, true);
  view.setBigUint64(field.physical, address, true);
  view.setBigUint64(field.fileSize, size, true);
  view.setBigUint64(field.memorySize, size, true);
  view.setBigUint64(field.align, page, true);
  return bytes;
}

/** The text that begins there and ends with a zero byte. */
function textOf(bytes: Uint8Array, offset: bigint): string {
  const start = Number(offset);
  const end = bytes.indexOf(0, start);
  return new TextDecoder().decode(bytes.subarray(start, end));
}

function roundUp(value: bigint): bigint {
  return (value + page - 1n) & ~(page - 1n);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
