import type { KubeObject } from "../../kube/types.ts";
import type { ApiObject } from "../objects.ts";
import type { SelectableFields } from "../query/selectors.ts";
import { builtinSchema } from "../schema/builtin.ts";
import { checkDnsSubdomain } from "../schema/checks.ts";
import type { Schema } from "../schema/schema.ts";
import type { FieldError } from "../status.ts";

/** What stands in a cell of a table. */
export type Cell = string | number | boolean | null;

/** One column of the tables that kubectl prints. */
export interface Column<T = ApiObject> {
  readonly name: string;
  readonly type: "string" | "integer" | "number" | "boolean" | "date";
  /** "name" marks the column that holds the name. */
  readonly format?: string;
  readonly description: string;
  /** 0 is always shown, 1 with `-o wide`. */
  readonly priority: number;
  /** `now` in milliseconds since the epoch, for ages. */
  value(object: T, now: number): Cell;
}

/** Where the scale subresource finds its numbers. */
export interface ScalePaths {
  readonly specReplicas: readonly string[];
  readonly statusReplicas: readonly string[];
  /** The text of the selector of the pods that are counted. */
  selector(object: ApiObject): string | undefined;
}

export type Verb = "create" | "delete" | "deletecollection" | "get" | "list" | "patch" | "update" | "watch";

export const allVerbs: readonly Verb[] = [
  "create",
  "delete",
  "deletecollection",
  "get",
  "list",
  "patch",
  "update",
  "watch",
];

/** The parts of the strategy of one kind that no table can say. All are called with objects that fit the schema. */
export interface Hooks<T = ApiObject> {
  /** Sets what the schema's defaults cannot, on every write. `old` is what is there, on an update. */
  defaults?(object: T, old: T | undefined): void;
  /** Sets or clears what the server owns when an object is created, such as its status. */
  prepareCreate?(object: T, now: string): void;
  /** As {@link prepareCreate}, for updates of the main resource. */
  prepareUpdate?(object: T, old: T): void;
  /** What is wrong beyond the schema. */
  validate?(object: T, old: T | undefined): FieldError[];
  /** What the client is told in Warning headers about an object that is taken all the same. */
  warnings?(object: T): string[];
  /** The object as the store keeps it, for a second API of the same objects (events.k8s.io). */
  toStorage?(object: ApiObject): void;
  fromStorage?(object: ApiObject): ApiObject;
}

/** One resource that the server serves: built-in, or of a CustomResourceDefinition's version. */
export interface ResourceType {
  /** "" for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly listKind: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  readonly verbs: readonly Verb[];
  /** The collection of the store. Versions of one custom resource share it, and so do both event APIs. */
  readonly storage: string;
  /** The apiVersion in the store. */
  readonly storageVersion: string;
  readonly schema: Schema;
  readonly custom: boolean;
  /** Has the subresource "status": the main resource does not change it, and the subresource nothing else. */
  readonly status: boolean;
  /** Takes a status at creation all the same, as a kubelet gives one when it registers its Node. */
  readonly keepsStatus: boolean;
  readonly scale: ScalePaths | undefined;
  readonly columns: readonly Column[];
  readonly fields: SelectableFields;
  /** `metadata.generation` counts the changes of what is desired. */
  readonly generation: boolean;
  checkName(name: string): string | undefined;
  readonly hooks: Hooks;
  /** Shown to clients as a Warning header. */
  readonly deprecationWarning: string | undefined;
}

/** What {@link builtin} needs to be told; all else follows. */
export interface BuiltinSpec<T extends KubeObject> {
  plural: string;
  kind: string;
  singular?: string;
  shortNames?: readonly string[];
  categories?: readonly string[];
  clusterScoped?: true;
  storage?: string;
  storageVersion?: string;
  status?: true;
  keepsStatus?: true;
  scale?: ScalePaths;
  columns: readonly Column<T>[];
  fields?: SelectableFields;
  generation?: true;
  checkName?: (name: string) => string | undefined;
  hooks?: Hooks<T>;
}

/** Defines a built-in resource of a group; `definitions` is the prefix of its schema's name. */
export function builtin<T extends KubeObject>(
  group: string,
  version: string,
  definitions: string,
  spec: BuiltinSpec<T>,
): ResourceType {
  const apiVersion = group === "" ? version : `${group}/${version}`;
  return {
    group,
    version,
    plural: spec.plural,
    singular: spec.singular ?? spec.kind.toLowerCase(),
    kind: spec.kind,
    listKind: `${spec.kind}List`,
    shortNames: spec.shortNames ?? [],
    categories: spec.categories ?? [],
    namespaced: spec.clusterScoped !== true,
    verbs: allVerbs,
    storage: spec.storage ?? (group === "" ? spec.plural : `${spec.plural}.${group}`),
    storageVersion: spec.storageVersion ?? apiVersion,
    schema: builtinSchema(`${definitions}.${spec.kind}`),
    custom: false,
    status: spec.status === true,
    keepsStatus: spec.keepsStatus === true,
    scale: spec.scale,
    // The schema has checked that objects are of type T before any of these see them.
    columns: spec.columns as unknown as readonly Column[],
    hooks: (spec.hooks ?? {}) as unknown as Hooks,
    fields: spec.fields ?? {},
    generation: spec.generation === true,
    checkName: spec.checkName ?? checkDnsSubdomain,
    deprecationWarning: undefined,
  };
}

/** "v1" or "apps/v1". */
export function apiVersionOf(type: { group: string; version: string }): string {
  return type.group === "" ? type.version : `${type.group}/${type.version}`;
}
