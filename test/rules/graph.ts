import { posix } from "node:path";
import { type Import, scanImports } from "./scan.ts";

/** One import: who, where, and what it turns out to be. */
export interface Edge {
  from: string;
  line: number;
  specifier: string;
  /** A path in the project; for what is not ours (`node:fs`, a package) the specifier as it is. */
  to: string;
  /** A source file of the project, another file of it (JSON, YAML, HTML), or something from outside. */
  target: "source" | "asset" | "outside";
}

export interface Violation {
  file: string;
  line: number;
  rule: string;
  /** What was seen, and why it is not allowed. */
  message: string;
}

export interface Project {
  /** Every source file by its path from the top, with its text. */
  sources: ReadonlyMap<string, string>;
  /** Whether there is some other file of this path. */
  exists(path: string): boolean;
  /** What package.json exports: the name after the package's own, to a path. */
  exports: Readonly<Record<string, string>>;
}

export interface Graph {
  edges: readonly Edge[];
  /** What could not be read or followed. */
  faults: readonly Violation[];
}

const readable = new Set(["ts", "tsx", "js", "jsx"] as const);
type Loader = "ts" | "tsx" | "js" | "jsx";

/** The imports that Bun's own parser sees, which are those of values; ours must be among them all. */
function valueImports(file: string, text: string): string[] {
  const ending = posix.extname(file).replace(/^\.[mc]?/, "") as Loader;
  const transpiler = new Bun.Transpiler({ loader: readable.has(ending) ? ending : "ts" });
  return transpiler.scanImports(text.replace(/^#![^\n]*/, "")).map(({ path }) => path);
}

/** The import graph of a project, with each import that leads nowhere as a fault. */
export function readGraph(project: Project): Graph {
  const edges: Edge[] = [];
  const faults: Violation[] = [];
  for (const [file, text] of project.sources) {
    const fault = (line: number, rule: string, message: string) => faults.push({ file, line, rule, message });
    const imports = scanImports(text);
    try {
      const seen = new Set(imports.map(({ specifier }) => specifier));
      for (const path of valueImports(file, text)) {
        if (!seen.has(path))
          fault(1, "misread", `the scanner (test/rules/scan.ts) missed the import of "${path}"`);
      }
    } catch (error) {
      fault(1, "unreadable", `this is not TypeScript that Bun can read: ${String(error)}`);
    }
    for (const found of imports) follow(project, file, found, edges, fault);
  }
  return { edges, faults };
}

function follow(
  project: Project,
  from: string,
  { kind, specifier, line }: Import,
  edges: Edge[],
  fault: (line: number, rule: string, message: string) => void,
): void {
  if (specifier === undefined) {
    const message = `${kind} of something computed: nobody can say what it imports; name it`;
    if (from.startsWith("src/")) fault(line, "computed", message);
    return;
  }
  const own = project.exports[specifier.replace(/^weft\//, "./")];
  const relative = /^\.{1,2}(\/|$)/.test(specifier);
  if (!relative && (own === undefined || !specifier.startsWith("weft/"))) {
    edges.push({ from, line, specifier, to: specifier, target: "outside" });
    return;
  }
  const to = posix.normalize(relative ? posix.join(posix.dirname(from), specifier) : (own as string));
  if (project.sources.has(to)) edges.push({ from, line, specifier, to, target: "source" });
  else if (kind === "url")
    return; // It may name a folder, or what is made later; only code, a worker's say, concerns us.
  else if (project.exists(to)) edges.push({ from, line, specifier, to, target: "asset" });
  else fault(line, "missing", `"${specifier}" is no file: write the path with its ending`);
}

/**
 * Every cycle's shortest way round, once for each knot of files that reach each other. Type-only imports count:
 * two files that cannot be understood one without the other are one idea or need a third.
 */
export function findCycles(edges: readonly Edge[]): Edge[][] {
  const leaving = Map.groupBy(
    edges.filter(({ target }) => target === "source"),
    ({ from }) => from,
  );
  const inKnown = new Set<string>();
  const cycles: Edge[][] = [];
  for (const start of leaving.keys()) {
    if (inKnown.has(start)) continue;
    const cycle = shortestPath(leaving, start, (path) => path === start);
    if (cycle === undefined) continue;
    for (const { from } of cycle) inKnown.add(from);
    cycles.push(cycle);
  }
  return cycles;
}

/** The shortest chain of imports from a file to one that is wanted, by breadth first. */
export function shortestPath(
  leaving: ReadonlyMap<string, readonly Edge[]>,
  start: string,
  wanted: (path: string) => boolean,
): Edge[] | undefined {
  const by = new Map<string, Edge>();
  const queue = [start];
  for (const file of queue) {
    for (const edge of leaving.get(file) ?? []) {
      if (wanted(edge.to)) {
        const chain = [edge];
        for (let at = edge.from; at !== start; ) {
          const before = by.get(at) as Edge;
          chain.unshift(before);
          at = before.from;
        }
        return chain;
      }
      if (edge.target === "source" && !by.has(edge.to) && edge.to !== start) {
        by.set(edge.to, edge);
        queue.push(edge.to);
      }
    }
  }
  return undefined;
}
