import { InvalidInput } from "../lib/errors.ts";
import { type ObjectRef, type Resource, resourceName } from "./types.ts";

/** The path of a collection: of one namespace, or of all. */
export function collectionPath(resource: Resource, namespace?: string): string {
  const base =
    resource.group === "" ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
  if (!resource.namespaced || namespace === undefined || namespace === "")
    return `${base}/${resource.plural}`;
  return `${base}/namespaces/${segment(namespace, `namespace of ${resource.plural}`)}/${resource.plural}`;
}

/** The path of one object, or of its subresource. */
export function objectPath(resource: Resource, ref: ObjectRef, subresource?: string): string {
  const collection = writablePath(resource, ref.namespace);
  const object = `${collection}/${segment(ref.name, `name of ${resourceName(resource)}`)}`;
  return subresource === undefined ? object : `${object}/${segment(subresource, "subresource")}`;
}

/** As {@link collectionPath}, but a namespaced resource must have its namespace. */
export function writablePath(resource: Resource, namespace: string | undefined): string {
  if (resource.namespaced && !namespace) {
    throw new InvalidInput(`namespace of ${resourceName(resource)}`, namespace, "is missing");
  }
  return collectionPath(resource, namespace);
}

/** "?a=b", without those that are undefined; "" where all are. */
export function queryOf(parameters: Record<string, string | number | boolean | undefined>): string {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== "") query.set(key, String(value));
  }
  const text = query.toString();
  return text === "" ? "" : `?${text}`;
}

/** An empty segment or a dot would make the path that of another object, or of the whole collection. */
function segment(text: string, field: string): string {
  if (typeof text !== "string" || text === "" || text === "." || text === ".." || /[/%]/.test(text)) {
    throw new InvalidInput(field, text, "cannot be part of a path");
  }
  return encodeURIComponent(text);
}
