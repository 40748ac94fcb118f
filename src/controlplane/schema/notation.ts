import type { Json } from "../../kube/types.ts";
import type { Schema } from "./schema.ts";

/**
 * The notation in which the built-in kinds are described (tables/). A name at the start of a line opens a type; indented
 * lines declare fields, with the numbers that they have in Kubernetes' protobuf form:
 *
 *     Probe
 *       periodSeconds#4, timeoutSeconds#3: int =10 1..
 *       terminationGracePeriodSeconds#7: long?
 *       ports#6: [ContainerPort] key=containerPort keys=containerPort,protocol
 *       ...ProbeHandler#1
 *
 * Types are string, bool, int (32 bit), long (64 bit), number, time, microtime, bytes (base64), quantity, intstr, raw (any
 * JSON), object (any JSON object), the name of a type, [T] for a list and {T} for a map. `?` marks a value whose zero is
 * told from its absence, `!` a required field; `...T` takes over the fields of T. After the type: `=JSON` is the default
 * (no spaces), `in(A,B)` the allowed values, `1..65535` the range, `check=NAME` a check of checks.ts (all three of a list
 * or map: of its values), `key=NAME` the strategic merge key, `keys=A,B` the list map keys where they differ from it,
 * `merge` the strategic merge of a list of values, `patchKey=NAME` a merge key of strategic merge alone, `set` and
 * `atomic` the list or map type, `retainKeys` the strategy of that name.
 */
export type Table = { readonly prefix: string; readonly text: string };

const scalars: Record<string, Schema> = {
  string: { type: "string" },
  bool: { type: "boolean" },
  int: { type: "integer", format: "int32" },
  long: { type: "integer", format: "int64" },
  number: { type: "number", format: "double" },
  time: { type: "string", format: "date-time" },
  microtime: { type: "string", format: "date-time", check: "microtime" },
  bytes: { type: "string", format: "byte" },
  quantity: { "x-kubernetes-int-or-string": true, check: "quantity" },
  intstr: { "x-kubernetes-int-or-string": true },
  object: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
  raw: { type: "object", "x-kubernetes-preserve-unknown-fields": true, raw: true },
};

/** What needs other types to be complete: copies of them with modifiers, and then taking over their fields. */
interface Later {
  readonly copies: (() => void)[];
  readonly spreads: (() => void)[];
}

/** Parses tables into schemas by type name. A name is looked up in its own table first, then in all of them in order. */
export function parseTables(tables: readonly Table[]): Map<string, Schema> {
  const scopes = tables.map(({ prefix, text }) => ({ prefix, text, types: new Map<string, Schema>() }));
  for (const { prefix, text, types } of scopes) {
    for (const line of text.split("\n")) {
      const name = /^(\w+)/.exec(line)?.[1];
      if (name === undefined) continue;
      types.set(name, { definition: `${prefix}.${name}`, type: "object", wire: new Map() });
    }
  }
  const all = new Map<string, Schema>();
  for (const { types } of scopes) {
    for (const [name, schema] of types) if (!all.has(name)) all.set(name, schema);
  }
  const byDefinition = new Map<string, Schema>();
  const later: Later = { copies: [], spreads: [] };
  for (const { text, types } of scopes) {
    const lookup = (name: string): Schema => {
      const found = types.get(name) ?? all.get(name);
      if (found === undefined) throw new TypeError(`schema table: unknown type "${name}"`);
      return found;
    };
    fillTypes(text, types, lookup, later);
    for (const schema of types.values()) byDefinition.set(schema.definition as string, schema);
  }
  for (const finish of [...later.copies, ...later.spreads]) finish();
  return byDefinition;
}

function fillTypes(
  text: string,
  types: Map<string, Schema>,
  lookup: (name: string) => Schema,
  later: Later,
): void {
  let current: Schema = {};
  for (const line of text.split("\n")) {
    if (line.trim() === "") continue;
    const head = /^(\w+)(?: (atomic))?$/.exec(line);
    if (head !== null) {
      current = types.get(head[1] as string) as Schema;
      if (head[2] === "atomic") current["x-kubernetes-map-type"] = "atomic";
      continue;
    }
    current.properties ??= {};
    const spread = /^ +\.\.\.(\w+)#(\d+)$/.exec(line);
    if (spread !== null) {
      const [base, owner] = [lookup(spread[1] as string), current];
      owner.wire?.set(Number(spread[2]), { inline: base });
      // In place, since copies of the owner share its properties. No type that is taken over takes over another.
      later.spreads.push(() => {
        Object.assign(owner.properties ?? {}, { ...base.properties, ...owner.properties });
        if (base.required !== undefined) owner.required = [...base.required, ...(owner.required ?? [])];
      });
      continue;
    }
    parseField(line, current, lookup, later);
  }
}

function parseField(line: string, owner: Schema, lookup: (name: string) => Schema, later: Later): void {
  const match = /^ +([\w$#, -]+): ([^\s?!]+)(\?)?(!)?(?: (.*))?$/.exec(line);
  if (match === null) throw new TypeError(`schema table: cannot read "${line}"`);
  const [, list, type, pointer, bang, modifiers] = match as unknown as [string, string, string, ...string[]];
  const names = list.split(", ").map((item) => {
    const [name, number] = item.split("#") as [string, string?];
    if (number !== undefined) owner.wire?.set(Number(number), { name, optional: pointer !== undefined });
    return name;
  });
  const properties = owner.properties as Record<string, Schema>;
  const base = parseType(type, lookup);
  for (const name of names) properties[name] = base;
  if (bang !== undefined) owner.required = [...(owner.required ?? []), ...names];
  if (modifiers === undefined) return;
  later.copies.push(() => {
    const schema = applyModifiers(base, modifiers.split(" "), line);
    for (const name of names) properties[name] = schema;
  });
}

function parseType(text: string, lookup: (name: string) => Schema): Schema {
  const inner = () => parseType(text.slice(1, -1), lookup);
  if (text.startsWith("[")) return { type: "array", items: inner() };
  if (text.startsWith("{")) return { type: "object", additionalProperties: inner() };
  return scalars[text] ?? lookup(text);
}

function applyModifiers(base: Schema, modifiers: readonly string[], line: string): Schema {
  const schema: Schema = { ...base };
  for (const word of modifiers) {
    const range = /^(-?\d+)?\.\.(-?\d+)?$/.exec(word);
    const choice = /^in\((.*)\)$/.exec(word);
    const pair = /^(\w+)=(.*)$/.exec(word);
    if (word.startsWith("=")) schema.default = JSON.parse(word.slice(1)) as Json;
    else if (range !== null) {
      if (range[1] !== undefined) valuesOf(schema).minimum = Number(range[1]);
      if (range[2] !== undefined) valuesOf(schema).maximum = Number(range[2]);
    } else if (choice !== null) valuesOf(schema).enum = (choice[1] as string).split(",");
    else if (pair?.[1] === "check") valuesOf(schema).check = pair[2] as string;
    else if (pair !== null) applyPair(schema, pair[1] as string, pair[2] as string, line);
    else if (word === "merge") schema["x-kubernetes-patch-strategy"] = "merge";
    else if (word === "set") schema["x-kubernetes-list-type"] = "set";
    else if (word === "atomic") markAtomic(schema);
    else if (word === "retainKeys") {
      const strategy = schema["x-kubernetes-patch-strategy"];
      schema["x-kubernetes-patch-strategy"] = strategy === undefined ? word : `${strategy},${word}`;
    } else throw new TypeError(`schema table: unknown word "${word}" in "${line}"`);
  }
  return schema;
}

/** What ranges, choices and checks are about: the values of a list or map, else the value itself. */
function valuesOf(schema: Schema): Schema {
  if (schema.items !== undefined) {
    schema.items = { ...schema.items };
    return schema.items;
  }
  if (typeof schema.additionalProperties === "object") {
    schema.additionalProperties = { ...schema.additionalProperties };
    return schema.additionalProperties;
  }
  return schema;
}

function applyPair(schema: Schema, key: string, value: string, line: string): void {
  if (key === "key") {
    schema["x-kubernetes-patch-merge-key"] = value;
    schema["x-kubernetes-patch-strategy"] = "merge";
    schema["x-kubernetes-list-type"] ??= "map";
    schema["x-kubernetes-list-map-keys"] ??= [value];
  } else if (key === "keys") {
    schema["x-kubernetes-list-type"] = "map";
    schema["x-kubernetes-list-map-keys"] = value.split(",");
  } else if (key === "patchKey") {
    schema["x-kubernetes-patch-merge-key"] = value;
    schema["x-kubernetes-patch-strategy"] = "merge";
  } else throw new TypeError(`schema table: unknown word "${key}" in "${line}"`);
}

function markAtomic(schema: Schema): void {
  if (schema.type === "array") schema["x-kubernetes-list-type"] = "atomic";
  else schema["x-kubernetes-map-type"] = "atomic";
}
