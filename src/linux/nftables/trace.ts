import { littleEndian, type Schema, type Type } from "../netlink/codec.ts";

const NLA_HEADER = 4;
const NLA_TYPE_MASK = 0x3fff;

/** One step from a message down to an attribute: its number, and its place among its siblings. */
interface Step {
  number: number;
  index: number;
  payload: Uint8Array;
}

/** The attributes around an offset (from the start of `bytes`), from the outermost to the one that begins there. */
function steps(bytes: Uint8Array, offset: number): Step[] {
  const found: Step[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let [start, end] = [0, bytes.length];
  for (;;) {
    let at = start;
    let index = 0;
    let inside: number | undefined;
    while (at + NLA_HEADER <= end) {
      const length = view.getUint16(at, littleEndian);
      if (length < NLA_HEADER || at + length > end) return found;
      if (offset >= at && offset < at + length) {
        inside = at;
        break;
      }
      at += (length + 3) & ~3;
      index++;
    }
    if (inside === undefined) return found;
    const length = view.getUint16(inside, littleEndian);
    const number = view.getUint16(inside + 2, littleEndian) & NLA_TYPE_MASK;
    found.push({ number, index, payload: bytes.subarray(inside + NLA_HEADER, inside + length) });
    if (inside === offset) return found;
    [start, end] = [inside + NLA_HEADER, inside + length];
  }
}

/**
 * The name of the attribute that begins at an offset of a message's attributes, such as "expressions[2].lookup.set",
 * and the place of the element that it belongs to, if any.
 */
export function nameAttribute(
  bytes: Uint8Array,
  offset: number,
  schema: Type<unknown>,
): { path: string; element: number | undefined } {
  const path: string[] = [];
  let element: number | undefined;
  let type: Type<unknown> | undefined = schema;
  for (const { number, index } of steps(bytes, offset)) {
    const fields: Record<string, readonly [number, Type<unknown>]> = fieldsOf(type);
    const field = Object.entries(fields).find(([, [candidate]]) => candidate === number);
    if (field === undefined) {
      // Inside of a list: the place counts, not the number.
      if (path.length === 0) break;
      path[path.length - 1] += `[${index}]`;
      if (path.length === 1 && path[0]?.startsWith("elements[")) element = index;
      type = undefined;
      continue;
    }
    path.push(field[0]);
    type = field[1][1];
  }
  return { path: path.join("."), element };
}

function fieldsOf(type: Type<unknown> | undefined): Record<string, readonly [number, Type<unknown>]> {
  return type !== undefined && "fields" in type
    ? ((type as Schema<Record<string, readonly [number, Type<unknown>]>>).fields as Record<
        string,
        readonly [number, Type<unknown>]
      >)
    : {};
}
