import { InvalidInput } from "../lib/errors.ts";
import type { LabelSelector } from "./types.ts";

/** One condition on labels; `values` is empty for exists and not-exists. */
export interface LabelRequirement {
  key: string;
  operator: "in" | "notin" | "exists" | "doesnotexist" | "gt" | "lt";
  values: string[];
}

/**
 * Reads the text form of a label selector: "app=blue,tier in (front,back),!legacy,cores>4". "" selects all. Throws
 * `InvalidInput`.
 */
export function parseLabelSelector(text: string, field = "labelSelector"): LabelRequirement[] {
  return splitOutside(text).map((part) => parseRequirement(part.trim(), text, field));
}

const labelKey = /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const labelValue = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;

function parseRequirement(part: string, text: string, field: string): LabelRequirement {
  const invalid = (problem: string) =>
    new InvalidInput(field, text, problem, {
      remedy: 'Write it like "app=blue,tier in (front,back),!legacy"',
    });
  const negated = /^!\s*([^\s=!<>(),]+)$/.exec(part);
  const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(part);
  const compared = /^([^\s=!<>(),]+)\s*(==|=|!=|>|<)\s*([^\s=!<>(),]*)$/.exec(part);
  let requirement: LabelRequirement;
  if (negated !== null) {
    requirement = { key: negated[1] as string, operator: "doesnotexist", values: [] };
  } else if (set !== null) {
    const values = (set[3] as string).split(",").map((value) => value.trim());
    requirement = { key: set[1] as string, operator: set[2] as "in" | "notin", values };
  } else if (compared !== null) {
    const operator =
      ({ ">": "gt", "<": "lt", "!=": "notin" } as const)[compared[2] as ">" | "<" | "!="] ?? "in";
    requirement = { key: compared[1] as string, operator, values: [compared[3] as string] };
  } else if (/^[^\s=!<>(),]+$/.test(part)) {
    requirement = { key: part, operator: "exists", values: [] };
  } else {
    throw invalid(`has a part "${part}" that is no condition`);
  }
  if (!labelKey.test(requirement.key))
    throw invalid(`has the key "${requirement.key}", which no label can have`);
  const odd = requirement.values.find((value) => !labelValue.test(value));
  if (odd !== undefined) throw invalid(`has the value "${odd}", which no label can have`);
  if (/^(gt|lt)$/.test(requirement.operator) && !/^-?\d+$/.test(requirement.values[0] as string)) {
    throw invalid(`compares with "${requirement.values[0]}", which is no whole number`);
  }
  return requirement;
}

/** At commas outside of parentheses. */
function splitOutside(text: string): string[] {
  if (text.trim() === "") return [];
  return text.split(/,(?![^(]*\))/);
}

export function matchesRequirements(
  requirements: readonly LabelRequirement[],
  labels: Record<string, string> = {},
): boolean {
  return requirements.every((requirement) => meets(requirement, labels));
}

function meets({ key, operator, values }: LabelRequirement, labels: Record<string, string>): boolean {
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
  switch (operator) {
    case "exists":
      return value !== undefined;
    case "doesnotexist":
      return value === undefined;
    case "in":
      return value !== undefined && values.includes(value);
    case "notin":
      return value === undefined || !values.includes(value);
    case "gt":
    case "lt": {
      if (value === undefined || !/^-?\d+$/.test(value)) return false;
      const difference = Number(value) - Number(values[0]);
      return operator === "gt" ? difference > 0 : difference < 0;
    }
  }
}

/** The conditions of a LabelSelector object. One without any matches everything, as the API defines it. */
export function requirementsOf(selector: LabelSelector): LabelRequirement[] {
  const equal = Object.entries(selector.matchLabels ?? {}).map(
    ([key, value]): LabelRequirement => ({ key, operator: "in", values: [value] }),
  );
  const expressions = (selector.matchExpressions ?? []).map(
    ({ key, operator, values }): LabelRequirement => ({
      key,
      operator: operator.toLowerCase() as Lowercase<typeof operator>,
      values: values ?? [],
    }),
  );
  return [...equal, ...expressions];
}

/** An absent selector matches nothing, an empty one everything (LabelSelectorAsSelector of apimachinery). */
export function matchesSelector(
  selector: LabelSelector | undefined,
  labels: Record<string, string> | undefined,
): boolean {
  return selector !== undefined && matchesRequirements(requirementsOf(selector), labels);
}

/** The text form of a LabelSelector, for a query. */
export function formatLabelSelector(selector: LabelSelector): string {
  const format = ({ key, operator, values }: LabelRequirement): string => {
    if (operator === "exists") return key;
    if (operator === "doesnotexist") return `!${key}`;
    if (operator === "in" && values.length === 1) return `${key}=${values[0]}`;
    return `${key} ${operator} (${values.join(",")})`;
  };
  return requirementsOf(selector).map(format).join(",");
}

/** One condition of a field selector. */
export interface FieldRequirement {
  /** Such as "spec.nodeName". */
  path: string;
  operator: "=" | "!=";
  value: string;
}

/** Reads "metadata.name=blue,status.phase!=Running"; backslash escapes ",", "=" and itself in values. */
export function parseFieldSelector(text: string, field = "fieldSelector"): FieldRequirement[] {
  if (text.trim() === "") return [];
  return text.split(/(?<!\\),/).map((part) => {
    const match = /^\s*([A-Za-z0-9_.[\]/-]+)\s*(==|=|!=)\s*((?:\\[\\,=]|[^\\,=])*?)\s*$/.exec(part);
    if (match === null) {
      throw new InvalidInput(field, text, `has a part "${part}" that is no condition`, {
        remedy: 'Write it like "metadata.name=blue,spec.nodeName!=node-1"',
      });
    }
    const value = (match[3] as string).replace(/\\(.)/g, "$1");
    return { path: match[1] as string, operator: match[2] === "!=" ? "!=" : "=", value };
  });
}

/** Compares what stands at each path of the object, as text; nothing there counts as "". */
export function matchesFields(requirements: readonly FieldRequirement[], object: object): boolean {
  return requirements.every(
    ({ path, operator, value }) => (fieldOf(object, path) === value) === (operator === "="),
  );
}

/** What stands at a path such as "spec.nodeName", as text; "" for nothing, and for objects and lists. */
export function fieldOf(object: object, path: string): string {
  let value: unknown = object;
  for (const name of path.split(".")) {
    const there = typeof value === "object" && value !== null && Object.hasOwn(value, name);
    value = there ? (value as Record<string, unknown>)[name] : undefined;
  }
  return value === undefined || value === null || typeof value === "object" ? "" : String(value);
}
