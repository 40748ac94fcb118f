import type { StructuralSchema } from "../../kube/types.ts";

/** What a protobuf number of a message stands for: one field, or all those of a message that JSON has in line. */
export type WireField =
  | {
      readonly name: string;
      /** Its zero is a value, and not its absence. */
      readonly optional: boolean;
    }
  | { readonly inline: Schema };

/**
 * What a value may look like: the structural subset of OpenAPI v3 that CustomResourceDefinitions use. The built-in kinds
 * are described by the same means, so that one engine prunes, defaults, validates, merges and publishes both.
 */
export interface Schema extends StructuralSchema<Schema> {
  /** Such as "io.k8s.api.core.v1.Pod": where set, OpenAPI documents refer to it by name. */
  definition?: string;
  /** The fields of a built-in type by their protobuf numbers. Not published. */
  wire?: Map<number, WireField>;
  /** Any JSON, which protobuf carries as bytes. Not published. */
  raw?: boolean;
  /** A check of built-in kinds beyond what OpenAPI can say; see checks.ts. Not published. */
  check?: string;
  "x-kubernetes-patch-strategy"?: string;
  "x-kubernetes-patch-merge-key"?: string;
}

/** The schema of one property of an object, declared or by `additionalProperties`; undefined where there is none. */
export function propertySchema(schema: Schema | undefined, key: string): Schema | undefined {
  if (schema === undefined) return undefined;
  if (schema.properties !== undefined && Object.hasOwn(schema.properties, key)) return schema.properties[key];
  return typeof schema.additionalProperties === "object" ? schema.additionalProperties : undefined;
}

/** Joins a field path: `spec`, `ports[0]`, `labels[app.kubernetes.io/name]`. */
export function childPath(path: string, key: string): string {
  return path === "" ? key : `${path}.${key}`;
}
