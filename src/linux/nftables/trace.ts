import { type Fields, littleEndian, type Schema, type Type } from "../netlink/codec.ts";

const NLA_HEADER = 4;
const NLA_TYPE_MASK = 0x3fff;

/** One step from a message down to an attribute: its number, and its place among its siblings. */
interface Step {
  number: number;
  index: number;
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
    found.push({ number, index });
    if (inside === offset) return found;
    [start, end] = [inside + NLA_HEADER, inside + length];
  }
}

/**
 * The name of the attribute that begins at an offset of a message's attributes, such as "chain", "hook.priority" or
 * "expressions[2]", and the place of the element that it belongs to, if any.
 */
export function nameAttribute(
  bytes: Uint8Array,
  offset: number,
  schema: Type<unknown>,
): { path: string; element: number | undefined } {
  let path = "";
  let fields = fieldsOf(schema);
  for (const { number, index } of steps(bytes, offset)) {
    const field = Object.entries(fields).find(([, [candidate]]) => candidate === number);
    if (field === undefined) {
      // Inside of a list, where the place counts and not the number; what is further down has no name of its own.
      return path === "" ? { path, element: undefined } : { path: `${path}[${index}]`, element: index };
    }
    path += path === "" ? field[0] : `.${field[0]}`;
    fields = fieldsOf(field[1][1]);
  }
  return { path, element: undefined };
}

function fieldsOf(type: Type<unknown>): Fields {
  return "fields" in type ? (type as Schema<Fields>).fields : {};
}
