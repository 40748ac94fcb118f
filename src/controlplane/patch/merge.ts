import { cloneJson, type Dict, isDict, own, setKey } from "../objects.ts";

/** Applies a JSON Merge Patch (RFC 7386); nothing that is given is changed. */
export function applyMergePatch(document: unknown, patch: unknown): unknown {
  if (!isDict(patch)) return cloneJson(patch);
  const result: Dict = isDict(document) ? { ...document } : {};
  for (const key in patch) {
    const value = own(patch, key);
    if (value === null) delete result[key];
    else if (value !== undefined) setKey(result, key, applyMergePatch(own(result, key), value));
  }
  return result;
}
