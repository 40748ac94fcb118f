import { type Dict, isDict, own, setKey } from "../objects.ts";
import { propertySchema, type Schema } from "../schema/schema.ts";
import { badRequest } from "../status.ts";

const DIRECTIVE = "$patch";
const RETAIN = "$retainKeys";
const DELETE_PREFIX = "$deleteFromPrimitiveList/";
const ORDER_PREFIX = "$setElementOrder/";

/**
 * Applies a strategic merge patch: as a JSON merge patch, but lists whose schema has a merge key (or the strategy
 * "merge") are merged item by item, and directives ($patch, $retainKeys, $deleteFromPrimitiveList/, $setElementOrder/)
 * say what cannot be said by values. Nothing that is given is changed. Throws a Status of 400.
 */
export function applyStrategicMerge(document: unknown, patch: unknown, schema: Schema): unknown {
  if (!isDict(patch)) throw badRequest("a strategic merge patch must be an object");
  return mergeObjects(isDict(document) ? document : {}, patch, schema);
}

function mergeObjects(original: Dict, patch: Dict, schema: Schema | undefined): Dict {
  const directive = own(patch, DIRECTIVE);
  if (directive === "replace") return cleaned(omit(patch, DIRECTIVE)) as Dict;
  if (directive === "delete") return {};
  if (directive !== undefined && directive !== "merge") throw unknownDirective(directive);
  const result: Dict = { ...original };
  const orders = new Map<string, unknown[]>();
  applyRetainKeys(result, patch);
  for (const key in patch) {
    if (!key.startsWith(DELETE_PREFIX) && !key.startsWith(ORDER_PREFIX)) continue;
    const list = own(patch, key);
    const target = key.slice(key.indexOf("/") + 1);
    if (!Array.isArray(list)) throw badRequest(`"${key}" must be a list`);
    if (key.startsWith(ORDER_PREFIX)) orders.set(target, list);
    else deleteValues(result, target, list);
  }
  for (const key in patch) {
    if (key.startsWith("$")) continue;
    const value = own(patch, key);
    const order = orders.get(key);
    orders.delete(key);
    if (value === null) delete result[key];
    else setKey(result, key, mergeValues(own(result, key), value, propertySchema(schema, key), order, key));
  }
  for (const [key, order] of orders) {
    const current = own(result, key);
    if (Array.isArray(current))
      setKey(result, key, ordered(current, current, order, propertySchema(schema, key)));
  }
  return result;
}

const unknownDirective = (value: unknown) =>
  badRequest(`unknown patch directive ${JSON.stringify(value)}: "replace", "delete" and "merge" are known`);

function mergeValues(
  current: unknown,
  value: unknown,
  schema: Schema | undefined,
  order: unknown[] | undefined,
  key: string,
): unknown {
  const strategies = schema?.["x-kubernetes-patch-strategy"]?.split(",") ?? [];
  if (isDict(value)) {
    // "replace" as the field's strategy, whatever the patch says.
    if (strategies.includes("replace") || (current !== undefined && !isDict(current))) return cleaned(value);
    return mergeObjects(isDict(current) ? current : {}, value, schema);
  }
  if (Array.isArray(value) && strategies.includes("merge")) {
    const list = Array.isArray(current) ? current : [];
    const merged = mergeLists(list, value, schema, key);
    return order === undefined ? merged : ordered(merged, list, order, schema);
  }
  return cleaned(value);
}

/** Drops what the object has and `$retainKeys` does not name: fields of another branch of a union. */
function applyRetainKeys(result: Dict, patch: Dict): void {
  const retained = own(patch, RETAIN);
  if (retained === undefined) return;
  if (!Array.isArray(retained)) throw badRequest(`"${RETAIN}" must be a list`);
  for (const key of Object.keys(patch)) {
    if (key.startsWith("$") || own(patch, key) === null || retained.includes(key)) continue;
    throw badRequest(`"${key}" is in the patch, but not in its "${RETAIN}"`);
  }
  for (const key of Object.keys(result)) if (!retained.includes(key)) delete result[key];
}

function deleteValues(result: Dict, key: string, values: readonly unknown[]): void {
  const current = own(result, key);
  if (Array.isArray(current))
    setKey(
      result,
      key,
      current.filter((item) => !values.includes(item)),
    );
}

function mergeLists(
  current: readonly unknown[],
  patch: readonly unknown[],
  schema: Schema | undefined,
  key: string,
): unknown[] {
  const mergeKey = schema?.["x-kubernetes-patch-merge-key"];
  if (mergeKey === undefined) {
    const values = cleaned(patch) as unknown[];
    return ordered([...new Set([...current, ...values])], current, values, schema);
  }
  const items = patch.map((item) => {
    if (!isDict(item)) throw badRequest(`"${key}" is a list of objects, merged by "${mergeKey}"`);
    return item;
  });
  const plain = items.filter((item) => own(item, DIRECTIVE) === undefined);
  if (items.some((item) => own(item, DIRECTIVE) === "replace")) return plain.map(cleaned);
  const keyOf = (item: unknown): unknown => {
    const value = isDict(item) ? own(item, mergeKey) : undefined;
    if (value !== undefined) return value;
    throw badRequest(`an item of "${key}" does not contain declared merge key: ${mergeKey}`);
  };
  const gone = new Set<unknown>();
  for (const item of items) {
    const directive = own(item, DIRECTIVE);
    if (directive === "delete") gone.add(keyOf(item));
    else if (directive !== undefined) throw unknownDirective(directive);
  }
  const kept = current.filter((item) => !isDict(item) || !gone.has(own(item, mergeKey)));
  const result = [...kept];
  for (const item of plain) {
    const wanted = keyOf(item);
    const index = result.findIndex((other) => isDict(other) && own(other, mergeKey) === wanted);
    if (index < 0) result.push(mergeObjects({}, item, schema?.items));
    else result[index] = mergeObjects(result[index] as Dict, item, schema?.items);
  }
  return ordered(result, kept, plain, schema);
}

/**
 * Puts a merged list into the order of a patch (or of its $setElementOrder), as apimachinery does: items that only the
 * server knows keep their order among themselves, and go before the next item of the patch where they stood before it.
 */
function ordered(
  merged: readonly unknown[],
  before: readonly unknown[],
  order: readonly unknown[],
  schema: Schema | undefined,
): unknown[] {
  const mergeKey = schema?.["x-kubernetes-patch-merge-key"];
  const keyOf = (item: unknown) => (mergeKey !== undefined && isDict(item) ? own(item, mergeKey) : item);
  const rank = new Map(order.map((item, i) => [keyOf(item), i]));
  const place = new Map(before.map((item, i) => [keyOf(item), i]));
  const known = merged.filter((item) => rank.has(keyOf(item)));
  known.sort((a, b) => (rank.get(keyOf(a)) as number) - (rank.get(keyOf(b)) as number));
  const others = merged.filter((item) => !rank.has(keyOf(item)));
  const result: unknown[] = [];
  for (const item of known) {
    const there = place.get(keyOf(item));
    while (others.length > 0 && there !== undefined && (place.get(keyOf(others[0])) ?? there) < there) {
      result.push(others.shift());
    }
    result.push(item);
  }
  return [...result, ...others];
}

function omit(value: Dict, key: string): Dict {
  const { [key]: _, ...rest } = value;
  return rest;
}

/** A value of a patch as it is stored: without directives and nulls. */
function cleaned(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(cleaned);
  if (!isDict(value)) return value;
  const result: Dict = {};
  for (const key in value) {
    const child = own(value, key);
    const directive =
      key === DIRECTIVE || key === RETAIN || key.startsWith(DELETE_PREFIX) || key.startsWith(ORDER_PREFIX);
    if (!directive && child !== null) setKey(result, key, cleaned(child));
  }
  return result;
}
