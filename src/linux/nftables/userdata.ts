import { InvalidInput } from "../../lib/errors.ts";
import { dataTypes, type TypeSpec } from "./datatypes.ts";
import type { Element, NftMap, NftSet } from "./model.ts";
import { layoutOf } from "./values.ts";

/** User data is nft's own: type, length and value in bytes, at most 256 in all; the kernel only keeps it. */
export type UserData = readonly (readonly [type: number, value: Uint8Array])[];

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** For tables, chains, rules, elements and named objects, a comment is type 0; for sets, type 7. */
const COMMENT = 0;
const SET_KEYBYTEORDER = 0;
const SET_DATABYTEORDER = 1;
const SET_MERGE_ELEMENTS = 2;
const SET_COMMENT = 7;

/** The bytes of user data. */
export function encodeUserData(entries: UserData): Uint8Array {
  const bytes = new Uint8Array(entries.reduce((sum, [, value]) => sum + 2 + value.length, 0));
  let at = 0;
  for (const [type, value] of entries) {
    bytes[at] = type;
    bytes[at + 1] = value.length;
    bytes.set(value, at + 2);
    at += 2 + value.length;
  }
  return bytes;
}

/** The entries by type, as far as they can be read: other programs may keep there what they like. */
export function decodeUserData(bytes: Uint8Array): Map<number, Uint8Array> {
  const entries = new Map<number, Uint8Array>();
  let at = 0;
  while (at + 2 <= bytes.length) {
    const [type, length] = [bytes[at] as number, bytes[at + 1] as number];
    if (at + 2 + length > bytes.length) break;
    entries.set(type, bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return entries;
}

/** As nft has it (NFTNL_UDATA_COMMENT_MAXLEN). */
const COMMENT_MAX = 128;

function textValue(text: string): Uint8Array {
  const bytes = encoder.encode(`${text}\0`);
  if (bytes.length <= COMMENT_MAX && !text.includes("\0")) return bytes;
  throw new InvalidInput("comment", text, `is longer than ${COMMENT_MAX - 1} bytes or holds a zero`);
}

function readText(bytes: Uint8Array | undefined): string | undefined {
  if (bytes === undefined) return undefined;
  const end = bytes.indexOf(0);
  return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** User data that holds a comment alone. */
export function commentData(comment: string): Uint8Array {
  return encodeUserData([[COMMENT, textValue(comment)]]);
}

/** The comment of a table, chain, rule, element or named object. Foreign user data counts as none. */
export function readComment(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : readText(decodeUserData(bytes).get(COMMENT));
}

function u32(value: number): Uint8Array {
  return new Uint8Array(new Uint32Array([value]).buffer);
}

/** What nft wants to know of a set beyond the kernel's description: byte orders, merging, comment. */
export function setUserData(set: NftSet | NftMap): Uint8Array {
  const entries: [number, Uint8Array][] = [[SET_KEYBYTEORDER, u32(byteorderOf(set.key))]];
  if (set.kind === "map") {
    entries.push([SET_DATABYTEORDER, u32(set.data === "verdict" ? 0 : byteorderOf(set.data))]);
  }
  if (set.autoMerge === true) entries.push([SET_MERGE_ELEMENTS, u32(1)]);
  if (set.comment !== undefined) entries.push([SET_COMMENT, textValue(set.comment)]);
  return encodeUserData(entries);
}

function byteorderOf(spec: TypeSpec): number {
  const layout = layoutOf(spec);
  return layout.concatenated ? 0 : dataTypes[spec as keyof typeof dataTypes].byteorder;
}

/** Comment and merging of a set. */
export function readSetUserData(bytes: Uint8Array | undefined): { comment?: string; autoMerge?: true } {
  if (bytes === undefined) return {};
  const entries = decodeUserData(bytes);
  const comment = readText(entries.get(SET_COMMENT));
  const merge = entries.get(SET_MERGE_ELEMENTS)?.some((byte) => byte !== 0) ?? false;
  return { ...(comment !== undefined && { comment }), ...(merge && { autoMerge: true as const }) };
}

/** The comment of an element. */
export function elementComment(element: Element): Uint8Array | undefined {
  return element.comment === undefined ? undefined : commentData(element.comment);
}
