import type { ObjectMeta } from "../kube/types.ts";

/** Any JSON object, before a schema has been seen. */
export type Dict = { [key: string]: unknown };

/** An object of any kind as the server keeps it. What is in the store is never changed: clone before writing. */
export interface ApiObject extends Dict {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
}

export function isDict(value: unknown): value is Dict {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A deep copy of plain JSON, several times faster than `structuredClone`. */
export function cloneJson<T>(value: T): T {
  if (Array.isArray(value)) return value.map(cloneJson) as T;
  if (typeof value !== "object" || value === null) return value;
  const copy: Dict = {};
  for (const key in value) setKey(copy, key, cloneJson((value as Dict)[key]));
  return copy as T;
}

/** Assigns also where the key is "__proto__", which plain assignment would lose. */
export function setKey(target: Dict, key: string, value: unknown): void {
  if (key !== "__proto__") {
    target[key] = value;
    return;
  }
  Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
}

/** The object's own property; never one of `Object.prototype`, such as "constructor". */
export function own(object: Dict, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** The value at a path of keys, or undefined where any step is missing. */
export function at(value: unknown, ...path: readonly string[]): unknown {
  let current = value;
  for (const key of path) {
    if (!isDict(current)) return undefined;
    current = own(current, key);
  }
  return current;
}

/** As {@link at}, where the value is a string. */
export function stringAt(value: unknown, ...path: readonly string[]): string | undefined {
  const found = at(value, ...path);
  return typeof found === "string" ? found : undefined;
}

/** As {@link at}, where the value is a number; 0 else. */
export function numberAt(value: unknown, ...path: readonly string[]): number {
  const found = at(value, ...path);
  return typeof found === "number" ? found : 0;
}

/** As {@link at}, where the value is an array; empty else. */
export function arrayAt(value: unknown, ...path: readonly string[]): unknown[] {
  const found = at(value, ...path);
  return Array.isArray(found) ? found : [];
}

/** As {@link at}, where the value is an object; empty else. */
export function dictAt(value: unknown, ...path: readonly string[]): Dict {
  const found = at(value, ...path);
  return isDict(found) ? found : {};
}

/** Now, to the second, as `metadata.creationTimestamp` wants it. */
export function timestamp(now = Date.now()): string {
  return `${new Date(now).toISOString().slice(0, 19)}Z`;
}
