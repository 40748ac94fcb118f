import { cloneJson, type Dict, isDict, own } from "../objects.ts";
import {
  duplicate,
  type FieldError,
  invalidValue,
  notSupported,
  required,
  tooLong,
  tooMany,
  wrongType,
} from "../status.ts";
import { checks } from "./checks.ts";
import { checkFormat } from "./formats.ts";
import { childPath, propertySchema, type Schema } from "./schema.ts";

/** Everything about a value that its schema forbids. Unknown fields are not errors: {@link prune} removes them. */
export function validateSchema(value: unknown, schema: Schema, path = ""): FieldError[] {
  const errors: FieldError[] = [];
  walk(value, schema, path, errors);
  return errors;
}

function walk(value: unknown, schema: Schema, path: string, errors: FieldError[]): void {
  if (value === null) {
    if (schema.nullable === true || (schema.type === undefined && !isIntOrString(schema))) return;
    errors.push(wrongType(path, value, `must be ${article(typeName(schema))}, not null`));
    return;
  }
  if (!hasType(value, schema)) {
    errors.push(wrongType(path, value, `must be ${article(typeName(schema))}`));
    return;
  }
  if (schema.enum !== undefined && !schema.enum.some((allowed) => Bun.deepEquals(allowed, value))) {
    errors.push(notSupported(path, value, schema.enum));
  }
  if (typeof value === "string") validateString(value, schema, path, errors);
  else if (typeof value === "number") validateNumber(value, schema, path, errors);
  else if (Array.isArray(value)) validateArray(value, schema, path, errors);
  else if (isDict(value)) validateObject(value, schema, path, errors);
  if (schema.check !== undefined) {
    const problem = checks[schema.check]?.(value);
    if (problem !== undefined) errors.push(invalidValue(path, value, problem));
  }
  validateCombined(value, schema, path, errors);
}

const isIntOrString = (schema: Schema) => schema["x-kubernetes-int-or-string"] === true;
const typeName = (schema: Schema) => (isIntOrString(schema) ? "integer or string" : (schema.type ?? "value"));
const article = (name: string) => `${/^[aio]/.test(name) ? "an" : "a"} ${name}`;

function hasType(value: unknown, schema: Schema): boolean {
  if (isIntOrString(schema)) {
    // A quantity may be written as any number; everything else that is int-or-string only as a whole one.
    if (schema.check === "quantity" && typeof value === "number") return Number.isFinite(value);
    return typeof value === "string" || Number.isInteger(value);
  }
  switch (schema.type) {
    case "string":
      return typeof value === "string";
    case "boolean":
      return typeof value === "boolean";
    case "integer":
      return Number.isInteger(value);
    case "number":
      return typeof value === "number";
    case "array":
      return Array.isArray(value);
    case "object":
      return isDict(value);
    default:
      return true;
  }
}

function validateString(value: string, schema: Schema, path: string, errors: FieldError[]): void {
  if (schema.maxLength !== undefined && [...value].length > schema.maxLength) {
    errors.push(tooLong(path, schema.maxLength));
  }
  if (schema.minLength !== undefined && [...value].length < schema.minLength) {
    errors.push(invalidValue(path, value, `should be at least ${schema.minLength} chars long`));
  }
  if (schema.pattern !== undefined && !patternOf(schema.pattern).test(value)) {
    errors.push(invalidValue(path, value, `should match '${schema.pattern}'`));
  }
  if (schema.format !== undefined && !checkFormat(schema.format, value)) {
    errors.push(invalidValue(path, value, `must be of type ${schema.format}`));
  }
}

const patterns = new Map<string, RegExp>();

/** Compiled once. Go's RE2 and JavaScript differ in corners; what JavaScript cannot read matches everything. */
function patternOf(source: string): RegExp {
  let pattern = patterns.get(source);
  if (pattern === undefined) {
    pattern = compilePattern(source) ?? /(?:)/;
    if (patterns.size > 1000) patterns.clear();
    patterns.set(source, pattern);
  }
  return pattern;
}

/** The pattern as a JavaScript expression, or undefined where it cannot be one. */
export function compilePattern(source: string): RegExp | undefined {
  const translated = source.replaceAll("\\A", "^").replaceAll("\\z", "$").replaceAll("(?P<", "(?<");
  for (const flags of ["u", ""]) {
    try {
      return new RegExp(translated, flags);
    } catch {
      // The next flags, or undefined.
    }
  }
  return undefined;
}

const int32 = 2 ** 31;

function validateNumber(value: number, schema: Schema, path: string, errors: FieldError[]): void {
  const { minimum, maximum } = schema;
  if (minimum !== undefined && (schema.exclusiveMinimum === true ? value <= minimum : value < minimum)) {
    const how = schema.exclusiveMinimum === true ? "greater than" : "greater than or equal to";
    errors.push(invalidValue(path, value, rangeText(schema) ?? `must be ${how} ${minimum}`));
  } else if (
    maximum !== undefined &&
    (schema.exclusiveMaximum === true ? value >= maximum : value > maximum)
  ) {
    const how = schema.exclusiveMaximum === true ? "less than" : "less than or equal to";
    errors.push(invalidValue(path, value, rangeText(schema) ?? `must be ${how} ${maximum}`));
  }
  if (schema.multipleOf !== undefined && !isMultiple(value, schema.multipleOf)) {
    errors.push(invalidValue(path, value, `should be a multiple of ${schema.multipleOf}`));
  }
  if (schema.format === "int32" && (value < -int32 || value >= int32)) {
    errors.push(invalidValue(path, value, "must fit in 32 bits"));
  }
}

function rangeText({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: Schema): string | undefined {
  if (minimum === undefined || maximum === undefined) return undefined;
  if (exclusiveMinimum === true || exclusiveMaximum === true) return undefined;
  return `must be between ${minimum} and ${maximum}, inclusive`;
}

function isMultiple(value: number, of: number): boolean {
  const quotient = value / of;
  return Math.abs(quotient - Math.round(quotient)) < 1e-9;
}

function validateArray(value: unknown[], schema: Schema, path: string, errors: FieldError[]): void {
  if (schema.maxItems !== undefined && value.length > schema.maxItems) {
    errors.push(tooMany(path, value.length, schema.maxItems));
  }
  if (schema.minItems !== undefined && value.length < schema.minItems) {
    errors.push(invalidValue(path, value.length, `should have at least ${schema.minItems} items`));
  }
  if (schema.items !== undefined) {
    for (const [i, item] of value.entries()) walk(item, schema.items, `${path}[${i}]`, errors);
  }
  if (schema.uniqueItems === true || schema["x-kubernetes-list-type"] === "set") {
    reportDuplicates(value, (item) => JSON.stringify(item), path, errors);
  }
  const keys = schema["x-kubernetes-list-map-keys"];
  if (schema["x-kubernetes-list-type"] === "map" && keys !== undefined) {
    reportDuplicates(value, (item) => JSON.stringify(keyValues(item, keys, schema.items)), path, errors);
  }
}

function reportDuplicates(
  items: unknown[],
  keyOf: (item: unknown) => string,
  path: string,
  errors: FieldError[],
): void {
  if (items.length < 2) return;
  const seen = new Set<string>();
  for (const [i, item] of items.entries()) {
    const key = keyOf(item);
    if (seen.has(key)) errors.push(duplicate(`${path}[${i}]`, JSON.parse(key)));
    seen.add(key);
  }
}

/** The values of a list map's keys in one item; a missing key counts as its default. */
export function keyValues(item: unknown, keys: readonly string[], schema: Schema | undefined): Dict {
  const values: Dict = {};
  for (const key of keys) {
    const value = isDict(item) ? own(item, key) : undefined;
    const fallback = propertySchema(schema, key)?.default;
    values[key] = value ?? (fallback === undefined ? null : cloneJson(fallback));
  }
  return values;
}

function validateObject(value: Dict, schema: Schema, path: string, errors: FieldError[]): void {
  for (const key of schema.required ?? []) {
    const current = own(value, key);
    // A null that Go's decoder would see as absent.
    if (current === undefined) errors.push(required(childPath(path, key)));
  }
  const count = Object.keys(value).length;
  if (schema.maxProperties !== undefined && count > schema.maxProperties) {
    errors.push(tooMany(path, count, schema.maxProperties));
  }
  if (schema.minProperties !== undefined && count < schema.minProperties) {
    errors.push(invalidValue(path, count, `should have at least ${schema.minProperties} properties`));
  }
  for (const key in value) {
    const child = propertySchema(schema, key);
    if (child === undefined) continue;
    const declared = schema.properties !== undefined && Object.hasOwn(schema.properties, key);
    walk(value[key], child, declared ? childPath(path, key) : `${path}[${key}]`, errors);
  }
  if (schema["x-kubernetes-embedded-resource"] === true) {
    for (const key of ["apiVersion", "kind"]) {
      if (typeof own(value, key) !== "string") errors.push(required(childPath(path, key)));
    }
  }
}

function validateCombined(value: unknown, schema: Schema, path: string, errors: FieldError[]): void {
  const passes = (candidate: Schema) => validateSchema(value, candidate, path).length === 0;
  for (const part of schema.allOf ?? []) walk(value, part, path, errors);
  if (schema.anyOf !== undefined && !schema.anyOf.some(passes)) {
    errors.push(invalidValue(path, value, "must validate at least one schema (anyOf)"));
  }
  if (schema.oneOf !== undefined) {
    const matching = schema.oneOf.filter(passes).length;
    if (matching !== 1) {
      errors.push(
        invalidValue(
          path,
          value,
          `must validate one and only one schema (oneOf). Found ${matching} valid alternatives`,
        ),
      );
    }
  }
  if (schema.not !== undefined && passes(schema.not)) {
    errors.push(invalidValue(path, value, "must not validate the schema (not)"));
  }
}
