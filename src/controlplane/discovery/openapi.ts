import type { Dict } from "../objects.ts";
import { apiVersionOf, type ResourceType } from "../resources/definition.ts";
import type { Registry } from "../resources/registry.ts";
import { objectMetaSchema } from "../schema/builtin.ts";
import type { Schema } from "../schema/schema.ts";

/**
 * The OpenAPI documents: all that kubectl uses them for is to check fields and the server's abilities (dry run, field
 * validation) before it applies, to find merge keys, and to explain kinds.
 */
type Version = 2 | 3;

const info = { title: "Kubernetes", version: "v1.34.0" };
const groupVersionKind = ({ group, version, kind }: ResourceType) => ({ group, version, kind });

/** Makes one document's definitions: named schemas are told apart by reference. */
class Definitions {
  readonly #version: Version;
  readonly all: Record<string, Dict> = {};

  constructor(version: Version) {
    this.#version = version;
  }

  /** The schema of a resource, with the kind that it is for. */
  addType(type: ResourceType): void {
    const name = type.schema.definition as string;
    const fixed: Record<string, Schema> = {
      apiVersion: { type: "string" },
      kind: { type: "string" },
      metadata: objectMetaSchema,
    };
    const schema = { ...type.schema, type: "object", properties: { ...type.schema.properties, ...fixed } };
    this.all[name] = {
      ...this.#convert(schema),
      "x-kubernetes-group-version-kind": [groupVersionKind(type)],
    };
  }

  #refer(schema: Schema): Dict {
    const name = schema.definition;
    if (name === undefined) return this.#convert(schema);
    if (this.all[name] === undefined) {
      // Held before it is made, since types may contain themselves.
      this.all[name] = {};
      Object.assign(this.all[name], this.#convert(schema));
    }
    const reference = { $ref: `${this.#version === 2 ? "#/definitions/" : "#/components/schemas/"}${name}` };
    const { definition: _, wire: _w, properties: _p, required: _r, type: _t, check: _c, ...more } = schema;
    if (this.#version === 2 || Object.keys(more).length === 0) return { ...extensionsOf(more), ...reference };
    const { "x-kubernetes-map-type": _m, ...rest } = more;
    return Object.keys(rest).length === 0 ? reference : { ...rest, allOf: [reference] };
  }

  #convert(schema: Schema): Dict {
    const {
      definition: _,
      wire: _w,
      raw: _r,
      check: _c,
      properties,
      items,
      additionalProperties,
      ...rest
    } = schema;
    const result: Dict = this.#version === 2 ? forVersion2(rest) : this.#forVersion3(rest);
    if (properties !== undefined) {
      const entries = Object.entries(properties).map(([name, property]) => [name, this.#refer(property)]);
      result.properties = Object.fromEntries(entries);
    }
    if (items !== undefined) result.items = this.#refer(items);
    if (typeof additionalProperties === "object")
      result.additionalProperties = this.#refer(additionalProperties);
    else if (additionalProperties !== undefined && this.#version === 3)
      result.additionalProperties = additionalProperties;
    return result;
  }

  #forVersion3(schema: Schema): Dict {
    const { allOf, anyOf, oneOf, not, ...rest } = schema;
    const result: Dict = { ...rest };
    for (const [key, parts] of Object.entries({ allOf, anyOf, oneOf })) {
      if (parts !== undefined) result[key] = parts.map((part) => this.#convert(part));
    }
    if (not !== undefined) result.not = this.#convert(not);
    return result;
  }
}

const extensionsOf = (schema: Schema): Dict =>
  Object.fromEntries(Object.entries(schema).filter(([key]) => key.startsWith("x-kubernetes-")));

/** OpenAPI 2 has no nullable, no int-or-string, and no choices among schemas. */
function forVersion2({
  nullable: _n,
  allOf: _a,
  anyOf: _y,
  oneOf: _o,
  not: _t,
  example: _e,
  ...schema
}: Schema): Dict {
  if (schema["x-kubernetes-int-or-string"] !== true) return { ...schema };
  const { "x-kubernetes-int-or-string": _, ...rest } = schema;
  return { ...rest, type: "string", format: "int-or-string" };
}

const writeParameters = ["dryRun", "fieldManager", "fieldValidation"];

/** The operations of one resource, by path: what kubectl looks at to know what the server can do. */
function pathsOf(type: ResourceType, version: Version): Record<string, Dict> {
  const base = type.group === "" ? `/api/${type.version}` : `/apis/${apiVersionOf(type)}`;
  const collection = type.namespaced
    ? `${base}/namespaces/{namespace}/${type.plural}`
    : `${base}/${type.plural}`;
  const query = (name: string) =>
    version === 2
      ? { name, in: "query", type: "string", uniqueItems: true }
      : { name, in: "query", schema: { type: "string", uniqueItems: true } };
  const operation = (action: string, names: readonly string[]): Dict => ({
    operationId: `${action}${type.group}${type.version}${type.plural}`,
    parameters: names.map(query),
    responses: { "200": { description: "OK" } },
    "x-kubernetes-action": action,
    "x-kubernetes-group-version-kind": groupVersionKind(type),
  });
  return {
    [collection]: { get: operation("list", ["watch"]), post: operation("post", writeParameters) },
    [`${collection}/{name}`]: {
      get: operation("get", []),
      put: operation("put", writeParameters),
      patch: operation("patch", [...writeParameters, "force"]),
      delete: operation("delete", ["dryRun"]),
    },
  };
}

/** The document of /openapi/v2: all groups in one. */
export function openApiV2(registry: Registry): Dict {
  const definitions = new Definitions(2);
  const paths: Dict = {};
  for (const type of registry.all()) {
    definitions.addType(type);
    Object.assign(paths, pathsOf(type, 2));
  }
  return { swagger: "2.0", info, paths, definitions: definitions.all };
}

const v3Path = (type: ResourceType) =>
  type.group === "" ? `api/${type.version}` : `apis/${apiVersionOf(type)}`;

/** The index of /openapi/v3: where the document of each group version is. The hash lets clients keep it. */
export function openApiV3Index(registry: Registry): Dict {
  const paths: Dict = {};
  for (const path of new Set(registry.all().map(v3Path))) {
    const types = registry.all().filter((type) => v3Path(type) === path);
    const hash = Bun.hash(
      JSON.stringify(
        types.map(({ plural, schema }) => [plural, schema.definition, Object.keys(schema.properties ?? {})]),
      ),
    ).toString(16);
    paths[path] = { serverRelativeURL: `/openapi/v3/${path}?hash=${hash}-${registry.generation}` };
  }
  return { paths };
}

/** The document of /openapi/v3/PATH; undefined where there is none. */
export function openApiV3(registry: Registry, path: string): Dict | undefined {
  const types = registry.all().filter((type) => v3Path(type) === path);
  if (types.length === 0) return undefined;
  const definitions = new Definitions(3);
  const paths: Dict = {};
  for (const type of types) {
    definitions.addType(type);
    Object.assign(paths, pathsOf(type, 3));
  }
  return { openapi: "3.0.0", info, paths, components: { schemas: definitions.all } };
}
