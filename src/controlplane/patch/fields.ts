import { cloneJson, type Dict, isDict, own, setKey } from "../objects.ts";
import { propertySchema, type Schema } from "../schema/schema.ts";
import { keyValues } from "../schema/validate.ts";

/**
 * A set of fields, in the form of managedFields' `fieldsV1`: `f:NAME` is a field, `k:{...}` the item of a list with these
 * keys, `v:VALUE` a value of a set, and `.` the thing itself. A node without members is a leaf: the thing itself.
 */
export type FieldSet = { [step: string]: FieldSet };

const SELF = ".";

/** How a list is owned: as one value, item by item under keys, or value by value. */
function listKind(schema: Schema | undefined): "atomic" | "set" | "map" {
  const kind = schema?.["x-kubernetes-list-type"] ?? "atomic";
  return kind === "map" && schema?.["x-kubernetes-list-map-keys"] === undefined ? "atomic" : kind;
}

const isAtomicMap = (schema: Schema | undefined) => schema?.["x-kubernetes-map-type"] === "atomic";

/** The step that names an item of a list that is owned by items. */
function itemStep(item: unknown, schema: Schema | undefined): string {
  if (listKind(schema) === "set") return `v:${JSON.stringify(item)}`;
  const keys = [...(schema?.["x-kubernetes-list-map-keys"] ?? [])].sort();
  return `k:${JSON.stringify(keyValues(item, keys, schema?.items))}`;
}

/** The members of a value by their steps, or undefined where it is owned as one. */
function membersOf(
  value: unknown,
  schema: Schema | undefined,
): [step: string, value: unknown, schema: Schema | undefined][] | undefined {
  if (Array.isArray(value) && listKind(schema) !== "atomic") {
    return value.map((item) => [itemStep(item, schema), item, schema?.items]);
  }
  if (!isDict(value) || isAtomicMap(schema)) return undefined;
  return Object.keys(value).map((key) => [`f:${key}`, own(value, key), propertySchema(schema, key)]);
}

/** All fields of a value. */
export function fieldsOf(value: unknown, schema: Schema | undefined): FieldSet {
  const result: FieldSet = {};
  for (const [step, member, memberSchema] of membersOf(value, schema) ?? []) {
    const child = fieldsOf(member, memberSchema);
    if (step.startsWith("k:")) child[SELF] = {};
    setKey(result, step, child);
  }
  return result;
}

const isLeaf = (set: FieldSet) => Object.keys(set).length === 0;
const child = (set: FieldSet, step: string): FieldSet | undefined =>
  Object.hasOwn(set, step) ? set[step] : undefined;
const hasSelf = (set: FieldSet) => isLeaf(set) || Object.hasOwn(set, SELF);

/** A node from its parts. */
function node(self: boolean, members: FieldSet): FieldSet {
  return self && !isLeaf(members) ? { [SELF]: {}, ...members } : members;
}

export function union(a: FieldSet, b: FieldSet): FieldSet {
  const result: FieldSet = { ...a };
  for (const step of Object.keys(b)) {
    const [mine, theirs] = [child(a, step), b[step] as FieldSet];
    if (step === SELF || mine === undefined) setKey(result as Dict, step, theirs);
    else setKey(result as Dict, step, node(hasSelf(mine) || hasSelf(theirs), union(mine, theirs)));
  }
  return result;
}

/** The fields of `a` that are not in `b`. */
export function subtract(a: FieldSet, b: FieldSet): FieldSet {
  const result: FieldSet = {};
  for (const [step, mine] of Object.entries(a)) {
    if (step === SELF) continue;
    const theirs = child(b, step);
    if (theirs === undefined) {
      setKey(result as Dict, step, mine);
      continue;
    }
    const self = hasSelf(mine) && !hasSelf(theirs);
    const members = subtract(mine, theirs);
    if (self || !isLeaf(members)) setKey(result as Dict, step, node(self, members));
  }
  return result;
}

export const isEmpty = isLeaf;

/** The paths of all fields in the set, as kubectl shows them in conflicts: `.spec.containers[name="a"].image`. */
export function pathsOf(set: FieldSet, prefix = ""): string[] {
  const paths: string[] = [];
  for (const [step, sub] of Object.entries(set)) {
    if (step === SELF) {
      paths.push(prefix);
      continue;
    }
    const path = prefix + stepText(step);
    paths.push(...(isLeaf(sub) ? [path] : pathsOf(sub, path)));
  }
  return paths;
}

function stepText(step: string): string {
  const text = step.slice(2);
  if (step.startsWith("f:")) return `.${text}`;
  if (step.startsWith("v:")) return `[=${text}]`;
  const keys = Object.entries(JSON.parse(text) as Dict).map(
    ([key, value]) => `${key}=${JSON.stringify(value)}`,
  );
  return `[${keys.join(",")}]`;
}

/** The fields in which two values differ: set in one only, or to another value. */
export function differences(a: unknown, b: unknown, schema: Schema | undefined): FieldSet {
  const [before, after] = [membersOf(a, schema), membersOf(b, schema)];
  if (before === undefined || after === undefined) return {};
  const result: FieldSet = {};
  const old = new Map(before.map(([step, value]) => [step, value]));
  for (const [step, value, memberSchema] of after) {
    if (!old.has(step)) setKey(result as Dict, step, fieldsOf(value, memberSchema));
    else if (!Bun.deepEquals(old.get(step), value)) {
      setKey(result as Dict, step, differences(old.get(step), value, memberSchema));
    }
    old.delete(step);
  }
  for (const [step, value, memberSchema] of before) {
    if (old.has(step)) setKey(result as Dict, step, fieldsOf(value, memberSchema));
  }
  return result;
}

/** Of the fields in `set`, those whose values differ between two values. */
export function differing(set: FieldSet, a: unknown, b: unknown, schema: Schema | undefined): FieldSet {
  const [left, right] = [membersOf(a, schema), membersOf(b, schema)];
  const result: FieldSet = {};
  if (left === undefined || right === undefined) return result;
  const other = new Map(right.map(([step, value]) => [step, value]));
  for (const [step, value, memberSchema] of left) {
    const inner = child(set, step);
    if (inner === undefined) continue;
    const theirs = other.get(step);
    if (isLeaf(inner)) {
      if (!Bun.deepEquals(value, theirs) && !bothContainers(value, theirs, memberSchema))
        setKey(result as Dict, step, {});
      continue;
    }
    const deeper = differing(inner, value, theirs, memberSchema);
    if (!isLeaf(deeper)) setKey(result as Dict, step, deeper);
  }
  return result;
}

function bothContainers(a: unknown, b: unknown, schema: Schema | undefined): boolean {
  return membersOf(a, schema) !== undefined && membersOf(b, schema) !== undefined;
}

/** Lays one value over another: members of objects and of keyed lists one by one, all else as a whole. */
export function overlay(base: unknown, over: unknown, schema: Schema | undefined): unknown {
  if (Array.isArray(base) && Array.isArray(over) && listKind(schema) !== "atomic") {
    const result = [...base];
    const places = new Map(base.map((item, i) => [itemStep(item, schema), i]));
    for (const item of over) {
      const place = places.get(itemStep(item, schema));
      if (place === undefined) result.push(cloneJson(item));
      else result[place] = overlay(result[place], item, schema?.items);
    }
    return result;
  }
  if (!isDict(base) || !isDict(over) || isAtomicMap(schema)) return cloneJson(over);
  const result: Dict = { ...base };
  for (const key of Object.keys(over)) {
    setKey(result, key, overlay(own(base, key), own(over, key), propertySchema(schema, key)));
  }
  return result;
}

/** The value without the fields in the set. Containers that this empties go too. */
export function without(value: unknown, set: FieldSet, schema: Schema | undefined): unknown {
  if (Array.isArray(value) && listKind(schema) !== "atomic") {
    const kept = value.flatMap((item) => {
      const inner = child(set, itemStep(item, schema));
      if (inner === undefined) return [item];
      return hasSelf(inner) ? [] : [without(item, inner, schema?.items)];
    });
    return kept.length === 0 ? undefined : kept;
  }
  if (!isDict(value) || isAtomicMap(schema)) return value;
  const result: Dict = {};
  for (const key of Object.keys(value)) {
    const inner = child(set, `f:${key}`);
    const current = own(value, key);
    if (inner === undefined) setKey(result, key, current);
    else if (!isLeaf(inner)) {
      const rest = without(current, inner, propertySchema(schema, key));
      if (rest !== undefined) setKey(result, key, rest);
    }
  }
  return Object.keys(result).length === 0 ? undefined : result;
}
