import {
  fieldOf,
  matchesRequirements,
  parseFieldSelector as parseFields,
  parseLabelSelector as parseLabels,
} from "../../kube/selectors.ts";
import { InvalidInput } from "../../lib/errors.ts";
import type { ApiObject } from "../objects.ts";
import { badRequest, type StatusError } from "../status.ts";

/** The fields that a resource can be selected by, beside its name and namespace, and what an absent one counts as. */
export type SelectableFields = Readonly<Record<string, string>>;

export interface Selector {
  matches(object: ApiObject): boolean;
  /** The name, where the selector demands one. */
  readonly name: string | undefined;
}

const always: SelectableFields = { "metadata.name": "", "metadata.namespace": "" };

/**
 * The label and field selectors of a request as one; undefined where they select everything. A field that the resource
 * does not offer is refused. Throws a Status of 400.
 */
export function parseSelectors(
  labelSelector: string,
  fieldSelector: string,
  selectable: SelectableFields,
): Selector | undefined {
  const labels = orBadRequest(() => parseLabels(labelSelector));
  const fields = orBadRequest(() => parseFields(fieldSelector));
  if (labels.length === 0 && fields.length === 0) return undefined;
  const terms = fields.map(({ path, operator, value }) => {
    const absent = fallbackOf(path, selectable);
    return { path, value, absent, equal: operator === "=" };
  });
  return {
    matches: (object) =>
      matchesRequirements(labels, object.metadata.labels) &&
      terms.every(
        ({ path, value, absent, equal }) => ((fieldOf(object, path) || absent) === value) === equal,
      ),
    name: terms.find(({ path, equal }) => equal && path === "metadata.name")?.value,
  };
}

function fallbackOf(path: string, selectable: SelectableFields): string {
  for (const fields of [always, selectable]) {
    if (Object.hasOwn(fields, path)) return fields[path] as string;
  }
  throw badRequest(`field label not supported: ${path}`);
}

function orBadRequest<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw error instanceof InvalidInput ? asBadRequest(error) : error;
  }
}

const asBadRequest = (error: InvalidInput): StatusError =>
  badRequest(`unable to parse the selector: ${error.explain()}`);
