import { InvalidInput } from "../../lib/errors.ts";
import { DnsFormatError } from "./errors.ts";

/**
 * A domain name in wire form (RFC 1035 section 3.1) without compression, as a string of one character per byte:
 * "\x04blue\x07default\x00". Such strings are cheap keys of Maps; `nameToText` makes them readable.
 */
export type WireName = string;

/** The root: one empty label. */
export const rootName: WireName = "\0";

const maxName = 255;
const maxLabel = 63;

/**
 * The wire form of "blue.default.svc" or "blue.default.svc."; `\.`, `\\` and `\DDD` are understood as in master files.
 * @throws InvalidInput where a label is empty or longer than 63 bytes, or the name longer than 255
 */
export function nameFromText(text: string, field = "name"): WireName {
  if (text === ".") return rootName;
  const fail = (problem: string) => new InvalidInput(field, text, problem);
  let wire = "";
  let label = "";
  const endLabel = () => {
    if (label === "") throw fail("has an empty label");
    if (label.length > maxLabel) throw fail(`has a label longer than ${maxLabel} bytes`);
    wire += String.fromCharCode(label.length) + label;
    label = "";
  };
  for (let i = 0; i < text.length; i++) {
    const character = text[i] as string;
    if (character === ".") {
      endLabel();
    } else if (character === "\\") {
      const digits = /^[0-9]{3}/.exec(text.slice(i + 1, i + 4))?.[0];
      const byte = digits === undefined ? text.charCodeAt(i + 1) : Number(digits);
      if (!(byte <= 255)) throw fail("has an escape that is not one byte");
      label += String.fromCharCode(byte);
      i += digits === undefined ? 1 : 3;
    } else {
      if (character.charCodeAt(0) > 0x7f) throw fail("has a character outside ASCII");
      label += character;
    }
  }
  if (label !== "") endLabel();
  if (wire === "") throw fail("is empty");
  if (wire.length + 1 > maxName) throw fail(`is longer than ${maxName} bytes`);
  return `${wire}\0`;
}

/** "blue.default.svc.", with what is not plain escaped as in master files (RFC 1035 section 5.1); "." for the root. */
export function nameToText(wire: WireName): string {
  if (wire === rootName) return ".";
  let text = "";
  for (let at = 0; at < wire.length - 1; ) {
    const length = wire.charCodeAt(at);
    const label = wire.slice(at + 1, at + 1 + length);
    text += /^[\w-]*$/.test(label) ? label : label.replace(/[^\w*/:-]/g, escapeByte);
    text += ".";
    at += 1 + length;
  }
  return text;
}

function escapeByte(character: string): string {
  const byte = character.charCodeAt(0);
  if (byte <= 0x20 || byte >= 0x7f) return `\\${String(byte).padStart(3, "0")}`;
  return /[."$;@()\\]/.test(character) ? `\\${character}` : character;
}

/** Lower case for ASCII alone, as names are compared (RFC 4343); length bytes are below "A" and so never change. */
export function lowerName(wire: WireName): WireName {
  const lower = wire.toLowerCase();
  if (lower === wire) return wire;
  return wire.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** The name without its first label; the root's parent is the root. */
export function parentName(wire: WireName): WireName {
  return wire === rootName ? rootName : wire.slice(1 + wire.charCodeAt(0));
}

/** The labels from left to right, without the root's empty one. */
export function labelsOf(wire: WireName): string[] {
  const labels: string[] = [];
  for (let at = 0; at < wire.length - 1; at += 1 + wire.charCodeAt(at)) {
    labels.push(wire.slice(at + 1, at + 1 + wire.charCodeAt(at)));
  }
  return labels;
}

/** One label in wire form; the caller knows that it has 1 to 63 bytes. */
export function wireLabel(label: string): string {
  return String.fromCharCode(label.length) + label;
}

/** True where `wire` is `ancestor` or below it; both of the same case. */
export function isAtOrBelow(wire: WireName, ancestor: WireName): boolean {
  const start = wire.length - ancestor.length;
  if (start < 0 || !wire.endsWith(ancestor)) return false;
  // The tail must begin where a label begins: a label may hold any bytes, also ones that look like the ancestor.
  let at = 0;
  while (at < start) at += 1 + wire.charCodeAt(at);
  return at === start;
}

/** The part of `wire` that is two labels below `ancestor`, such as a Service's name below svc.cluster.local. */
export function secondBelow(wire: WireName, ancestor: WireName): WireName | undefined {
  const start = wire.length - ancestor.length;
  if (start < 0 || !wire.endsWith(ancestor)) return undefined;
  let before = -1;
  let last = -1;
  let at = 0;
  while (at < start) {
    before = last;
    last = at;
    at += 1 + wire.charCodeAt(at);
  }
  return at === start && before >= 0 ? wire.slice(before) : undefined;
}

/**
 * The offset behind the name at `at`, with every label and pointer checked, or a DnsFormatError. Pointers must lead
 * backwards to before the part that they continue (RFC 1035 section 4.1.4), so that no message can make a loop.
 */
export function skipName(bytes: Uint8Array, at: number): number {
  return walkName(bytes, at, undefined);
}

/** The name at `at`, decompressed, pushed on `into` label by label; returns the offset behind it. */
export function readName(bytes: Uint8Array, at: number): { name: WireName; end: number } {
  const parts: string[] = [];
  const end = walkName(bytes, at, parts);
  return { name: `${parts.join("")}\0`, end };
}

function walkName(bytes: Uint8Array, start: number, labels: string[] | undefined): number {
  let at = start;
  let end = -1;
  let floor = start;
  let total = 1;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) throw new DnsFormatError(at, "a name runs past the end");
    if (length === 0) return end < 0 ? at + 1 : end;
    if (length > maxLabel) {
      const low = bytes[at + 1];
      if (length < 0xc0) throw new DnsFormatError(at, "a label has an unknown type");
      if (low === undefined) throw new DnsFormatError(at, "a name runs past the end");
      const target = ((length & 0x3f) << 8) | low;
      if (target >= floor) throw new DnsFormatError(at, "a compression pointer does not lead backwards");
      if (target < 12) throw new DnsFormatError(at, "a compression pointer leads into the header");
      if (end < 0) end = at + 2;
      floor = target;
      at = target;
      continue;
    }
    const next = at + 1 + length;
    total += 1 + length;
    if (next >= bytes.length) throw new DnsFormatError(at, "a name runs past the end");
    if (total > maxName) throw new DnsFormatError(at, `a name is longer than ${maxName} bytes`);
    labels?.push(latin1(bytes, at, next));
    at = next;
  }
}

/** Bytes as a string of one character each. */
export function latin1(bytes: Uint8Array, start: number, end: number): string {
  let text = "";
  for (let i = start; i < end; i++) text += String.fromCharCode(bytes[i] as number);
  return text;
}
