/*
 * What `find` and `some` do, as plain loops: JavaScriptCore compiles each of its own from source when it is first called,
 * which takes a twentieth of a millisecond, and a CNI plugin's process, which lives for ten, calls most only once.
 */

/** The first item that a condition is true for. */
export function firstOf<T>(items: Iterable<T>, matches: (item: T) => boolean): T | undefined {
  for (const item of items) if (matches(item)) return item;
  return undefined;
}

/** True where a condition is true for some item. */
export function anyOf<T>(items: Iterable<T>, matches: (item: T) => boolean): boolean {
  for (const item of items) if (matches(item)) return true;
  return false;
}
