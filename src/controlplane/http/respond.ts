import type { Status } from "../../kube/types.ts";
import type { ApiObject } from "../objects.ts";
import { apiVersionOf, type Column, type ResourceType } from "../resources/definition.ts";
import type { Entry } from "../store/entry.ts";
import { fromStored } from "../write/prepare.ts";
import type { Format } from "./accept.ts";

/** What a list says of itself. */
export interface ListInfo {
  readonly resourceVersion: string;
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

/** How much of each object a table's rows carry. */
export type IncludeObject = "None" | "Metadata" | "Object";

/** Makes the text of objects and lists in the format that was asked for. */
export class Renderer {
  readonly #type: ResourceType;
  readonly #format: Format;
  readonly #include: IncludeObject;

  constructor(type: ResourceType, format: Format, include: string | null) {
    this.#type = type;
    this.#format = format;
    this.#include = include === "None" || include === "Object" ? include : "Metadata";
  }

  /** True where the text of an entry can be sent as it is. */
  isPlain(entry: Entry): boolean {
    const { as } = this.#format;
    const same = entry.object.apiVersion === apiVersionOf(this.#type);
    return as === "" && same && this.#type.hooks.fromStorage === undefined;
  }

  object(object: ApiObject, now: number): unknown {
    switch (this.#format.as) {
      case "Table":
        return this.table([object], { resourceVersion: object.metadata.resourceVersion ?? "" }, now, true);
      case "PartialObjectMetadata":
      case "PartialObjectMetadataList":
        return this.#partial(object);
      default:
        return fromStored(object, this.#type);
    }
  }

  /** The text of a list of entries. */
  list(entries: readonly Entry[], info: ListInfo, now: number): string {
    const { as, version } = this.#format;
    if (as === "Table") {
      const objects = entries.map((entry) => entry.object);
      return JSON.stringify(this.table(objects, info, now, true));
    }
    if (as !== "") {
      const items = entries.map((entry) => this.#partial(entry.object));
      const apiVersion = `meta.k8s.io/${version}`;
      return JSON.stringify({ kind: "PartialObjectMetadataList", apiVersion, metadata: info, items });
    }
    const head = JSON.stringify({
      kind: this.#type.listKind,
      apiVersion: apiVersionOf(this.#type),
      metadata: info,
    });
    const items = entries.map((entry) =>
      this.isPlain(entry) ? entry.text : JSON.stringify(this.object(entry.object, now)),
    );
    return `${head.slice(0, -1)},"items":[${items.join(",")}]}`;
  }

  /** A table of objects; `columns` says whether it repeats what its columns are. */
  table(objects: readonly ApiObject[], info: ListInfo, now: number, columns: boolean): unknown {
    const all = this.#type.columns;
    return {
      kind: "Table",
      apiVersion: `meta.k8s.io/${this.#format.version}`,
      metadata: info,
      columnDefinitions: columns ? all.map(definitionOf) : null,
      rows: objects.map((object) => ({
        cells: all.map((column) => column.value(object, now)),
        ...this.#rowObject(object),
      })),
    };
  }

  #rowObject(object: ApiObject): { object?: unknown } {
    if (this.#include === "None") return {};
    return { object: this.#include === "Object" ? fromStored(object, this.#type) : this.#partial(object) };
  }

  #partial({ metadata }: ApiObject): unknown {
    return { kind: "PartialObjectMetadata", apiVersion: `meta.k8s.io/${this.#format.version}`, metadata };
  }
}

const definitionOf = ({ name, type, format = "", description, priority }: Column) => ({
  name,
  type,
  format,
  description,
  priority,
});

/** An answer of JSON text, or of YAML where that was asked for. */
export function jsonResponse(
  text: string,
  code: number,
  format: Format | undefined,
  warnings: readonly string[] = [],
): Response {
  const yaml = format?.yaml === true;
  const headers = new Headers({
    "content-type": yaml ? "application/yaml" : "application/json",
    "cache-control": "no-cache, private",
  });
  for (const warning of warnings) headers.append("warning", `299 - ${JSON.stringify(printable(warning))}`);
  return new Response(yaml ? Bun.YAML.stringify(JSON.parse(text), null, 2) : text, { status: code, headers });
}

/** Headers take printable ASCII only. */
const printable = (text: string) => text.replace(/[^\x20-\x7e]/g, "?").slice(0, 2000);

export function statusResponse(status: Status & { code: number }): Response {
  return jsonResponse(JSON.stringify(status), status.code, undefined);
}
