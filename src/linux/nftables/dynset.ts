import { InvalidInput } from "../../lib/errors.ts";
import {
  checkKey,
  type Key,
  type RuleBuilder,
  registerAt,
  type Selector,
  SLOTS,
  type Statement,
  slotsOf,
} from "./builder.ts";
import type { Datum, TypeName, TypeSpec } from "./datatypes.ts";
import type { Expression } from "./expressions.ts";
import type { NftMap, NftSet } from "./model.ts";
import { encodeValue, layoutOf } from "./values.ts";

const FIRST = registerAt(0);

export interface DynamicElement {
  /** Of a map: a value or selector for each field of its data. */
  readonly data?: readonly (Datum | Selector)[];
  /** Milliseconds; the set's own where not given. */
  readonly timeout?: number;
  /** State that the element begins with, such as a limit. */
  readonly expressions?: readonly Expression[];
}

/** Adds the key to a set or map from the path of the packet; one that is there is left as it is. */
export function addTo(set: NftSet | NftMap, key: Key, element: DynamicElement = {}): Statement {
  return dynset("add", set, key, element);
}

/** As {@link addTo}, but the time of an element that is there begins anew. */
export function update(set: NftSet | NftMap, key: Key, element: DynamicElement = {}): Statement {
  return dynset("update", set, key, element);
}

/** Deletes the key from a set. */
export function deleteFrom(set: NftSet | NftMap, key: Key): Statement {
  return dynset("delete", set, key, {});
}

function dynset(
  op: "add" | "update" | "delete",
  set: NftSet | NftMap,
  key: Key,
  element: DynamicElement,
): Statement {
  return (rule) => {
    checkKey(`key of "${set.name}"`, key, set.key);
    const after = rule.loadKey(key);
    const data = set.kind === "map" ? dataRegister(rule, set, op, element, after) : undefined;
    const [first] = element.expressions ?? [];
    const several = element.expressions !== undefined && element.expressions.length > 1;
    rule.push({
      name: "dynset",
      set: set.name,
      op,
      key: FIRST,
      ...(data !== undefined && { data }),
      ...(element.timeout !== undefined && { timeout: element.timeout }),
      ...(several
        ? { flags: ["expr" as const], expressions: element.expressions ?? [] }
        : first !== undefined && { expression: first }),
    });
  };
}

/** The register of a map's data. The kernel wants one for a deletion too, and does not look at it (nft_dynset_init). */
function dataRegister(
  rule: RuleBuilder,
  map: NftMap,
  op: "add" | "update" | "delete",
  element: DynamicElement,
  after: number,
): number {
  if (map.data === "verdict") {
    throw new InvalidInput(`data of "${map.name}"`, "verdict", "cannot be set from a packet");
  }
  if (op !== "delete") return loadData(rule, map.name, map.data, element.data ?? [], after);
  const { length } = layoutOf(map.data);
  if (length <= 4 * after) return FIRST;
  const register = registerAt(after);
  rule.push({ name: "immediate", register, data: new Uint8Array(length) });
  return register;
}

/** Puts a map's data into registers behind the key, at the start of a whole register where that leaves enough room. */
function loadData(
  rule: RuleBuilder,
  map: string,
  spec: TypeSpec,
  data: readonly (Datum | Selector)[],
  after: number,
): number {
  const what = `data of "${map}"`;
  const types: readonly TypeName[] = typeof spec === "string" ? [spec] : spec;
  if (types.length !== data.length) {
    throw new InvalidInput(what, data.length, `is not as many values as ${types.join(" . ")} has`);
  }
  const length = types.reduce((sum, type) => sum + slotsOf(type), 0);
  const aligned = Math.ceil(after / 4) * 4;
  const start = aligned + length <= SLOTS ? aligned : after;
  if (start + length > SLOTS) {
    throw new InvalidInput(what, types.join(" . "), "does not fit in the kernel's registers beside its key");
  }
  let slot = start;
  for (const [i, type] of types.entries()) {
    const value = data[i] as Datum | Selector;
    if (typeof value === "object" && "load" in value) {
      checkKey(what, value, type);
      rule.loadKey(value, slot);
    } else {
      const bytes = encodeValue(layoutOf(type), value);
      rule.push({ name: "immediate", register: registerAt(slot), data: bytes });
    }
    slot += slotsOf(type);
  }
  return registerAt(start);
}
