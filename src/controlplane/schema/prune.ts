import { type Dict, isDict, own } from "../objects.ts";
import { objectMetaSchema } from "./builtin.ts";
import { childPath, type Schema } from "./schema.ts";

export interface PruneOptions {
  /** Drop every null, as Go's decoder does for built-in kinds. */
  dropNulls: boolean;
  /** Takes the path of each unknown field, as `spec.foo`. */
  unknown?: string[];
}

/** Removes the fields that the schema does not know, in place. Values of a wrong type are left to validation. */
export function prune(value: unknown, schema: Schema, options: PruneOptions, path = ""): void {
  if (Array.isArray(value)) {
    if (schema.items === undefined) return;
    for (const [i, item] of value.entries()) prune(item, schema.items, options, `${path}[${i}]`);
    return;
  }
  if (!isDict(value)) return;
  const embedded = schema["x-kubernetes-embedded-resource"] === true;
  const keepUnknown = schema["x-kubernetes-preserve-unknown-fields"] === true;
  for (const key of Object.keys(value)) {
    const child = schemaOf(schema, key, embedded);
    if (child === undefined) {
      if (keepUnknown || schema.additionalProperties === true) continue;
      delete value[key];
      options.unknown?.push(childPath(path, key));
    } else if (options.dropNulls && own(value, key) === null && !keepUnknown) delete value[key];
    else prune(own(value, key), child, options, childPath(path, key));
  }
}

const anyString: Schema = { type: "string" };

function schemaOf(schema: Schema, key: string, embedded: boolean): Schema | undefined {
  if (embedded && key === "metadata") return objectMetaSchema;
  if (embedded && (key === "apiVersion" || key === "kind")) return anyString;
  if (schema.properties !== undefined && Object.hasOwn(schema.properties, key)) return schema.properties[key];
  return typeof schema.additionalProperties === "object" ? schema.additionalProperties : undefined;
}

/** Removes nulls that the schema gives a default for and does not allow: they count as absent. In place. */
export function pruneNulls(value: Dict, schema: Schema): void {
  for (const [key, child] of Object.entries(schema.properties ?? {})) {
    const current = own(value, key);
    if (current === null && child.default !== undefined && child.nullable !== true) delete value[key];
  }
}
