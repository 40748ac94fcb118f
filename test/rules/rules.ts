/**
 * Which way a room may look. See "Which way a room may look" in docs/architecture.md; each rule has its reason beside it, and the
 * reason is printed with each violation.
 */
import { type Edge, findCycles, type Project, readGraph, shortestPath, type Violation } from "./graph.ts";

/** From the ground up. A room may import rooms of the layers below its own. */
export const layers: readonly (readonly string[])[] = [
  ["lib"],
  ["linux"],
  ["cni", "ipam", "kube", "reconcile"],
  ["plugins", "routes", "services", "policy", "dns", "dhcp", "bgp", "tenants"],
  ["cniserver"],
  ["agent", "controlplane", "lab", "console"],
  ["commands"],
];

/** The few rooms that may look at a neighbour of their own layer. */
export const neighbours: readonly { from: string; to: string; reason: string }[] = [
  { from: "routes", to: "bgp", reason: "one of the ways to carry pod routes is to announce them" },
  { from: "ipam", to: "kube", reason: "one of the lease stores is the Kubernetes API" },
  { from: "lab", to: "controlplane", reason: "the lab serves its own control plane" },
  { from: "lab", to: "agent", reason: "the lab runs an agent on each of its nodes" },
  { from: "lab", to: "console", reason: "the lab shows the console" },
];

interface Rule {
  name: string;
  reason: string;
  breaks(edge: Edge): boolean;
}

const isTest = (path: string) => /(^|\/)test\/|\.test\.tsx?$|\/testing\.ts$/.test(path);
const isProduct = (path: string) => path.startsWith("src/") && !isTest(path);
const room = (path: string) => /^src\/([^/]+)\//.exec(path)?.[1];
const layer = (name: string) => layers.findIndex((rooms) => rooms.includes(name));
const isFake = (path: string) => /^src\/[^/]+\/(fake|testdata)\//.test(path);
const builtin = (name: string) => /^(node:|bun:)|^bun$/.test(name);

/** What src/lib may take of Node: computing and formatting, nothing that reads, writes or waits. */
const pure = new Set(["node:util", "node:crypto", "node:assert", "node:path"]);

const rules: readonly Rule[] = [
  {
    name: "rooms look down",
    reason:
      "a room that looks up, or at a neighbour, cannot be understood, tested or published without the rest of the " +
      `house; the layers are ${layers.map((rooms) => rooms.join(", ")).join(" < ")}`,
    breaks: ({ from, to }) => {
      const [a, b] = [room(from), room(to)];
      if (a === undefined || b === undefined || a === b) return false;
      if (neighbours.some((allowed) => allowed.from === a && allowed.to === b)) return false;
      return layer(a) <= layer(b);
    },
  },
  {
    name: "rooms do not look at the entries",
    reason: "src/cni.ts and src/weft.ts start the house; nothing in it depends on how it was started",
    breaks: ({ from, to }) => room(from) !== undefined && /^src\/[^/]+\.ts$/.test(to),
  },
  {
    name: "one file speaks FFI",
    reason: "bun:ffi is marked experimental: it has to be replaceable in one place, src/linux/ffi.ts",
    breaks: ({ from, to }) => to === "bun:ffi" && from !== "src/linux/ffi.ts",
  },
  {
    name: "lib is pure",
    reason: "src/lib is values and tools without input or output, so that everything may use it",
    breaks: ({ from, to, target }) =>
      room(from) === "lib" && !isTest(from) && target === "outside" && !pure.has(to),
  },
  {
    name: "the product stands alone",
    reason: "what is shipped must not need its tests, benches or scripts",
    breaks: ({ from, to }) => isProduct(from) && (/^(test|bench|scripts)\//.test(to) || isTest(to)),
  },
  {
    name: "fakes are for tests",
    reason: "a product that can run on a kernel or an API server that is not there would hide that it does",
    breaks: ({ from, to }) => isProduct(from) && isFake(to) && !isFake(from),
  },
  {
    name: "no package at run time",
    reason: "Weft's executables hold Weft and Bun; a package that src needs is a decision, made here",
    breaks: ({ from, to, target }) => isProduct(from) && target === "outside" && !builtin(to),
  },
  {
    name: "set-up needs Node alone",
    reason: "scripts/ runs before there are packages and before there is a Bun",
    breaks: ({ from, to }) => from.startsWith("scripts/") && !/^(node:|scripts\/)/.test(to),
  },
];

/** What an entry never reaches, however long the way. */
const unreachable: readonly { entry: string; rooms: readonly string[]; reason: string }[] = [
  {
    entry: "src/cni.ts",
    rooms: ["kube", "agent", "console", "controlplane", "lab", "commands"],
    reason: "weft-cni is started for every pod, and its start-up grows with what it could load",
  },
];

/** Checks a project against all rules. */
export function checkImports(project: Project): { imports: number; violations: Violation[] } {
  const { edges, faults } = readGraph(project);
  const violations = [...faults];
  for (const file of project.sources.keys()) {
    const name = room(file);
    if (name === undefined || layer(name) >= 0) continue;
    const message = `src/${name} is in no layer: add it to the layers in test/rules/rules.ts`;
    violations.push({ file, line: 1, rule: "every room has its layer", message });
  }
  for (const edge of edges) {
    for (const { name, reason, breaks } of rules) {
      if (!breaks(edge)) continue;
      violations.push({
        file: edge.from,
        line: edge.line,
        rule: name,
        message: `imports ${edge.to}: ${reason}`,
      });
    }
  }
  violations.push(...cycleViolations(edges), ...reachViolations(edges));
  return { imports: edges.length, violations };
}

const way = (chain: readonly Edge[]) =>
  [...chain.map(({ from, line }) => `${from}:${line}`), chain.at(-1)?.to].join(" -> ");

function cycleViolations(edges: readonly Edge[]): Violation[] {
  return findCycles(edges).map((cycle) => ({
    file: cycle[0]?.from ?? "",
    line: cycle[0]?.line ?? 0,
    rule: "no cycles",
    message: `${way(cycle)}: files that need each other, be it for a type, are one idea or need a third file`,
  }));
}

function reachViolations(edges: readonly Edge[]): Violation[] {
  const leaving = Map.groupBy(edges, ({ from }) => from);
  const violations: Violation[] = [];
  for (const { entry, rooms, reason } of unreachable) {
    for (const name of rooms) {
      const chain = shortestPath(leaving, entry, (path) => room(path) === name);
      const first = chain?.[0];
      if (chain === undefined || first === undefined) continue;
      const message = `${way(chain)}: it must never reach src/${name}, as ${reason}`;
      violations.push({ file: entry, line: first.line, rule: `${entry} stays small`, message });
    }
  }
  return violations;
}
