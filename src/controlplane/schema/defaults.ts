import { cloneJson, isDict, own, setKey } from "../objects.ts";
import { pruneNulls } from "./prune.ts";
import type { Schema } from "./schema.ts";

/** Fills absent fields with the schema's defaults, in place; a default's own fields get theirs. */
export function applyDefaults(value: unknown, schema: Schema): void {
  if (Array.isArray(value)) {
    if (schema.items !== undefined) for (const item of value) applyDefaults(item, schema.items);
    return;
  }
  if (!isDict(value)) return;
  if (schema.properties !== undefined) {
    pruneNulls(value, schema);
    for (const key in schema.properties) {
      const child = schema.properties[key] as Schema;
      let current = own(value, key);
      if (current === undefined) {
        if (child.default === undefined) continue;
        current = cloneJson(child.default);
        setKey(value, key, current);
      }
      if (typeof current === "object" && current !== null) applyDefaults(current, child);
    }
  }
  if (typeof schema.additionalProperties !== "object") return;
  for (const key in value) {
    if (schema.properties !== undefined && Object.hasOwn(schema.properties, key)) continue;
    applyDefaults(value[key], schema.additionalProperties);
  }
}
