import { isDict, own } from "../objects.ts";

type Step =
  | { readonly kind: "field"; readonly name: string }
  | { readonly kind: "index"; readonly index: number }
  | { readonly kind: "all" }
  | {
      readonly kind: "filter";
      readonly path: readonly Step[];
      readonly operator: "==" | "!=";
      readonly value: string;
    };

/** A parsed JSONPath; {@link evaluate} reads with it. */
export type JsonPath = readonly Step[];

/**
 * Parses the JSONPath of CustomResourceDefinitions: `.spec.x`, `[0]`, `[*]`, `['a.b']`, `a\.b`, `[?(@.type=="Ready")]`.
 * Undefined where the text is none.
 */
export function parseJsonPath(text: string): JsonPath | undefined {
  const steps: Step[] = [];
  let rest = text.startsWith("{") && text.endsWith("}") ? text.slice(1, -1) : text;
  if (rest.startsWith("$")) rest = rest.slice(1);
  if (rest !== "" && !rest.startsWith(".") && !rest.startsWith("[")) return undefined;
  while (rest !== "") {
    const match = matchStep(rest);
    if (match === undefined) return undefined;
    steps.push(match.step);
    rest = rest.slice(match.length);
  }
  return steps;
}

function matchStep(text: string): { step: Step; length: number } | undefined {
  const field = /^\.((?:\\.|[^.[\]\\])+)/s.exec(text);
  if (field !== null) {
    const name = (field[1] as string).replace(/\\(.)/gs, "$1");
    return { step: name === "*" ? { kind: "all" } : { kind: "field", name }, length: field[0].length };
  }
  const index = /^\.?\[(\d{1,9})\]/.exec(text);
  if (index !== null) return { step: { kind: "index", index: Number(index[1]) }, length: index[0].length };
  const all = /^\.?\[\*\]/.exec(text);
  if (all !== null) return { step: { kind: "all" }, length: all[0].length };
  const quoted = /^\.?\[(?:'([^']*)'|"([^"]*)")\]/.exec(text);
  if (quoted !== null) {
    const name = (quoted[1] ?? quoted[2] ?? "").replace(/\\(.)/gs, "$1");
    return { step: { kind: "field", name }, length: quoted[0].length };
  }
  const filter = /^\.?\[\?\(\s*@([^=!\s]*)\s*(==|!=)\s*(?:'([^']*)'|"([^"]*)"|([\w.-]+))\s*\)\]/.exec(text);
  if (filter === null) return undefined;
  const path = parseJsonPath(filter[1] as string);
  if (path === undefined) return undefined;
  const value = filter[3] ?? filter[4] ?? filter[5] ?? "";
  return {
    step: { kind: "filter", path, operator: filter[2] as "==" | "!=", value },
    length: filter[0].length,
  };
}

/** All values at the path. */
export function evaluate(value: unknown, path: JsonPath): unknown[] {
  let current = [value];
  for (const step of path) current = current.flatMap((item) => advance(item, step));
  return current;
}

function advance(value: unknown, step: Step): unknown[] {
  switch (step.kind) {
    case "field": {
      const found = isDict(value) ? own(value, step.name) : undefined;
      return found === undefined ? [] : [found];
    }
    case "index":
      return Array.isArray(value) && step.index < value.length ? [value[step.index]] : [];
    case "all":
      if (Array.isArray(value)) return value;
      return isDict(value) ? Object.values(value) : [];
    case "filter":
      if (!Array.isArray(value)) return [];
      return value.filter((item) => {
        const equal = evaluate(item, step.path).some((found) => String(found) === step.value);
        return equal === (step.operator === "==");
      });
  }
}

/** The keys of a path that is fields only, as scale and selectable fields want it. */
export function fieldPath(path: JsonPath): string[] | undefined {
  const names = path.map((step) => (step.kind === "field" ? step.name : undefined));
  return names.every((name) => name !== undefined) ? (names as string[]) : undefined;
}
