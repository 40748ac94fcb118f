import { type Dict, isDict, own } from "../objects.ts";
import { childPath, type Schema } from "../schema/schema.ts";
import { compilePattern, validateSchema } from "../schema/validate.ts";
import { type FieldError, forbiddenField, invalidValue, notSupported, required } from "../status.ts";

const TYPES = ["array", "boolean", "integer", "number", "object", "string"];
const DEEPEST = 100;

/** Keywords that a structural schema may have, and of what type their values are. */
const keywords: Record<string, "string" | "number" | "boolean" | "array" | "object" | "any"> = {
  type: "string",
  format: "string",
  title: "string",
  description: "string",
  default: "any",
  example: "any",
  externalDocs: "object",
  enum: "array",
  nullable: "boolean",
  minimum: "number",
  maximum: "number",
  exclusiveMinimum: "boolean",
  exclusiveMaximum: "boolean",
  multipleOf: "number",
  minLength: "number",
  maxLength: "number",
  pattern: "string",
  minItems: "number",
  maxItems: "number",
  uniqueItems: "boolean",
  minProperties: "number",
  maxProperties: "number",
  required: "array",
  properties: "object",
  additionalProperties: "any",
  items: "object",
  allOf: "array",
  anyOf: "array",
  oneOf: "array",
  not: "object",
  "x-kubernetes-preserve-unknown-fields": "boolean",
  "x-kubernetes-int-or-string": "boolean",
  "x-kubernetes-embedded-resource": "boolean",
  "x-kubernetes-list-type": "string",
  "x-kubernetes-list-map-keys": "array",
  "x-kubernetes-map-type": "string",
  "x-kubernetes-validations": "array",
};

/**
 * Checks that a value from outside is a structural schema (apiextensions/v1): every node says its type, what is inside of
 * allOf, anyOf, oneOf and not only narrows, and defaults fit. Returns what is wrong; none means that it is a `Schema`.
 */
export function checkStructural(value: unknown, path: string): FieldError[] {
  const errors = checkNode(value, path, { root: true, narrowing: false, depth: 0 });
  if (errors.length === 0) errors.push(...checkDefaults(value as Schema, path));
  return errors;
}

interface Place {
  root: boolean;
  /** Inside of allOf, anyOf, oneOf or not: no types, defaults or new structure there. */
  narrowing: boolean;
  depth: number;
}

function checkNode(value: unknown, path: string, place: Place): FieldError[] {
  if (!isDict(value)) return [invalidValue(path, value, "must be an object")];
  if (place.depth > DEEPEST) return [invalidValue(path, "...", `is nested more than ${DEEPEST} levels deep`)];
  const errors: FieldError[] = [];
  for (const [key, given] of Object.entries(value)) errors.push(...checkKeyword(key, given, path));
  if (errors.length > 0) return errors;
  const schema = value as Schema;
  errors.push(...checkType(schema, path, place), ...checkLists(schema, path));
  if (schema.pattern !== undefined && compilePattern(schema.pattern) === undefined) {
    errors.push(invalidValue(`${path}.pattern`, schema.pattern, "must be a valid regular expression"));
  }
  if (schema.properties !== undefined && typeof schema.additionalProperties === "object") {
    errors.push(forbiddenField(`${path}.additionalProperties`, "must not be used together with properties"));
  }
  return [...errors, ...checkChildren(value, path, place)];
}

function checkKeyword(key: string, given: unknown, path: string): FieldError[] {
  const kind = Object.hasOwn(keywords, key) ? keywords[key] : undefined;
  if (kind === undefined) {
    return [forbiddenField(childPath(path, key), "is not a keyword of structural schemas")];
  }
  const is = Array.isArray(given) ? "array" : given === null ? "null" : typeof given;
  return kind === "any" || is === kind
    ? []
    : [invalidValue(childPath(path, key), given, `must be of type ${kind}`)];
}

function checkType(schema: Schema, path: string, place: Place): FieldError[] {
  const { type } = schema;
  const intOrString = schema["x-kubernetes-int-or-string"] === true;
  const anything = schema["x-kubernetes-preserve-unknown-fields"] === true;
  if (place.narrowing) return [];
  if (type === undefined || type === "") {
    if (intOrString || (anything && !place.root)) return [];
    return [required(`${path}.type`, "must not be empty for specified object fields")];
  }
  if (!TYPES.includes(type)) return [notSupported(`${path}.type`, type, TYPES)];
  if (place.root && type !== "object")
    return [invalidValue(`${path}.type`, type, "must be object at the root")];
  if (intOrString)
    return [invalidValue(`${path}.type`, type, "must be empty if x-kubernetes-int-or-string is specified")];
  if (type === "array" && schema.items === undefined) return [required(`${path}.items`, "must be specified")];
  if (schema["x-kubernetes-embedded-resource"] === true && type !== "object") {
    return [invalidValue(`${path}.type`, type, "must be object if x-kubernetes-embedded-resource is true")];
  }
  return [];
}

function checkLists(schema: Schema, path: string): FieldError[] {
  const kind = schema["x-kubernetes-list-type"];
  const keys = schema["x-kubernetes-list-map-keys"];
  if (kind === undefined) return [];
  const at = `${path}.x-kubernetes-list-type`;
  if (!["atomic", "set", "map"].includes(kind)) return [notSupported(at, kind, ["atomic", "map", "set"])];
  if (schema.type !== "array")
    return [
      invalidValue(`${path}.type`, schema.type ?? "", "must be array if x-kubernetes-list-type is specified"),
    ];
  if (kind !== "map") return [];
  if (keys === undefined || keys.length === 0) return [required(`${path}.x-kubernetes-list-map-keys`)];
  const missing = keys.filter((key) => schema.items?.properties?.[key] === undefined);
  return missing.map((key) =>
    invalidValue(`${path}.x-kubernetes-list-map-keys`, key, "is not a property of the items"),
  );
}

function checkChildren(value: Dict, path: string, place: Place): FieldError[] {
  const schema = value as Schema;
  const inside = { root: false, narrowing: place.narrowing, depth: place.depth + 1 };
  const narrowing = { ...inside, narrowing: true };
  const errors: FieldError[] = [];
  for (const [name, child] of Object.entries(schema.properties ?? {})) {
    const at = `${path}.properties[${name}]`;
    if (!place.root || !["apiVersion", "kind", "metadata"].includes(name))
      errors.push(...checkNode(child, at, inside));
  }
  if (schema.items !== undefined) errors.push(...checkNode(schema.items, `${path}.items`, inside));
  const more = schema.additionalProperties;
  if (more !== undefined && typeof more !== "boolean") {
    errors.push(...checkNode(more, `${path}.additionalProperties`, inside));
  }
  for (const key of ["allOf", "anyOf", "oneOf"] as const) {
    for (const [i, part] of (schema[key] ?? []).entries())
      errors.push(...checkNode(part, `${path}.${key}[${i}]`, narrowing));
  }
  if (schema.not !== undefined) errors.push(...checkNode(schema.not, `${path}.not`, narrowing));
  if (!place.narrowing) return errors;
  for (const key of ["default", "nullable", "additionalProperties"]) {
    if (own(value, key) !== undefined)
      errors.push(forbiddenField(`${path}.${key}`, "must be undefined to be structural"));
  }
  return errors;
}

function checkDefaults(schema: Schema, path: string): FieldError[] {
  const errors: FieldError[] = [];
  if (schema.default !== undefined) errors.push(...validateSchema(schema.default, schema, `${path}.default`));
  for (const [name, child] of Object.entries(schema.properties ?? {})) {
    if (isDict(child)) errors.push(...checkDefaults(child, `${path}.properties[${name}]`));
  }
  if (schema.items !== undefined) errors.push(...checkDefaults(schema.items, `${path}.items`));
  if (typeof schema.additionalProperties === "object") {
    errors.push(...checkDefaults(schema.additionalProperties, `${path}.additionalProperties`));
  }
  return errors;
}
