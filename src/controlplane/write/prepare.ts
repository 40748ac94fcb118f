import type { ApiObject, Dict } from "../objects.ts";
import { apiVersionOf, type ResourceType } from "../resources/definition.ts";
import { objectMetaSchema } from "../schema/builtin.ts";
import { applyDefaults } from "../schema/defaults.ts";
import { prune } from "../schema/prune.ts";
import { validateSchema } from "../schema/validate.ts";
import { badRequest, invalid } from "../status.ts";
import { validateMetadata } from "./metadata.ts";

/** What to do about fields that the schema does not know. */
export type FieldValidation = "Strict" | "Warn" | "Ignore";

export interface WriteOptions {
  /** Decide and answer, but store nothing. */
  readonly dryRun: boolean;
  readonly fieldManager: string;
  readonly fieldValidation: FieldValidation;
  /** Collects what the client is told in Warning headers. */
  readonly warnings: string[];
}

/** Removes unknown fields from what a client sent. Throws a Status of 400 for them where validation is strict. */
export function pruneUnknown(body: Dict, type: ResourceType, options: WriteOptions): void {
  const unknown: string[] = [];
  prune(body.metadata, objectMetaSchema, { dropNulls: true, unknown }, "metadata");
  const { apiVersion, kind, metadata, ...rest } = body;
  prune(rest, type.schema, { dropNulls: !type.custom, unknown });
  for (const key of Object.keys(body)) delete body[key];
  Object.assign(body, { apiVersion, kind, metadata }, rest);
  if (unknown.length === 0 || options.fieldValidation === "Ignore") return;
  const texts = unknown.map((path) => `unknown field "${path}"`);
  if (options.fieldValidation === "Strict") throw badRequest(`strict decoding error: ${texts.join(", ")}`);
  options.warnings.push(...texts);
}

/** Fills the defaults of an object and checks all of it. Throws a Status of 422 that names each field. */
export function settle(
  object: ApiObject,
  type: ResourceType,
  old: ApiObject | undefined,
  options: WriteOptions,
): void {
  const name = object.metadata.name ?? object.metadata.generateName ?? "";
  const refuse = (errors: Parameters<typeof invalid>[2]) => {
    if (errors.length > 0) throw invalid(type, name, errors);
  };
  applyDefaults(object, type.schema);
  // Hooks read without looking: they see only what has the right shape.
  const metadata = type.custom ? validateSchema(object.metadata, objectMetaSchema, "metadata") : [];
  refuse([...metadata, ...validateSchema(object, type.schema)]);
  type.hooks.defaults?.(object, old);
  refuse([
    ...validateMetadata(object.metadata, type, old?.metadata),
    ...(type.hooks.validate?.(object, old) ?? []),
  ]);
  options.warnings.push(...(type.hooks.warnings?.(object) ?? []));
}

/** The form in which the store keeps an object of this type. */
export function toStored(object: ApiObject, type: ResourceType): ApiObject {
  type.hooks.toStorage?.(object);
  object.apiVersion = type.storageVersion;
  return object;
}

/** A stored object as this type shows it; the object itself where it is kept in the same form. */
export function fromStored(object: ApiObject, type: ResourceType): ApiObject {
  if (type.hooks.fromStorage !== undefined) return type.hooks.fromStorage(object);
  const apiVersion = apiVersionOf(type);
  return object.apiVersion === apiVersion ? object : { ...object, apiVersion };
}
