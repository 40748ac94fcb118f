import { isDeepStrictEqual } from "node:util";
import type { JsonPatchOperation } from "../interface.ts";
import type { Json } from "../types.ts";

type JsonObject = { [key: string]: Json | undefined };

/** JSON merge patch (RFC 7396). */
export function mergePatch(target: Json | undefined, patch: Json | undefined): Json | undefined {
  if (!isObject(patch)) return patch;
  const result: JsonObject = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else if (value !== undefined) result[key] = mergePatch(result[key], value);
  }
  return result as Json;
}

/** JSON patch (RFC 6902), without move and copy. Throws where an operation does not fit. */
export function jsonPatch(target: Json, operations: readonly JsonPatchOperation[]): Json {
  const root = { "": structuredClone(target) };
  for (const operation of operations) {
    const path = operation.path.split("/").map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    const last = path.pop() as string;
    let parent: Json | undefined = root;
    for (const part of path) parent = (parent as JsonObject | undefined)?.[part];
    if (operation.path === "") parent = root;
    if (typeof parent !== "object" || parent === null) throw new Error(`there is no "${operation.path}"`);
    applyOne(parent as JsonObject | Json[], last, operation);
  }
  return root[""];
}

function applyOne(parent: JsonObject | Json[], last: string, operation: JsonPatchOperation): void {
  const record = parent as JsonObject;
  if (operation.op === "move" || operation.op === "copy")
    throw new Error(`"${operation.op}" is not done here`);
  if (operation.op === "add") {
    if (Array.isArray(parent)) parent.splice(last === "-" ? parent.length : Number(last), 0, operation.value);
    else parent[last] = operation.value;
    return;
  }
  if (!Object.hasOwn(parent, last)) throw new Error(`there is no "${operation.path}"`);
  if (operation.op === "replace") record[last] = operation.value;
  else if (operation.op === "test") {
    if (!isDeepStrictEqual(record[last], operation.value))
      throw new Error(`"${operation.path}" is not as tested`);
  } else if (Array.isArray(parent)) parent.splice(Number(last), 1);
  else delete parent[last];
}

function isObject(value: Json | undefined): value is { [key: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
