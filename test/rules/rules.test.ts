import { describe, expect, test } from "bun:test";
import { checkImports } from "./rules.ts";

/** What the rules say to a project of these files, as "file:line rule". */
function broken(files: Record<string, string>): string[] {
  const { violations } = checkImports({
    sources: new Map(Object.entries(files)),
    exists: (path) => path === "package.json" || path === "src",
    exports: { "./linux": "./src/linux/index.ts" },
  });
  return violations.map(({ file, line, rule }) => `${file}:${line} ${rule}`).sort();
}

describe("the import rules refuse", () => {
  test.each<[string, Record<string, string>, string[]]>([
    [
      "a room that looks up",
      { "src/linux/a.ts": '\nimport { b } from "../kube/b.ts";', "src/kube/b.ts": "" },
      ["src/linux/a.ts:2 rooms look down"],
    ],
    [
      "a room that looks up for a type",
      { "src/lib/a.ts": 'import type { B } from "../linux/b.ts";', "src/linux/b.ts": "" },
      ["src/lib/a.ts:1 rooms look down"],
    ],
    [
      "a room that looks up by export from",
      { "src/lib/a.ts": 'export * from "../linux/b.ts";', "src/linux/b.ts": "" },
      ["src/lib/a.ts:1 rooms look down"],
    ],
    [
      "a room that looks up by import()",
      { "src/lib/a.ts": 'const b = () => import("../linux/b.ts");', "src/linux/b.ts": "" },
      ["src/lib/a.ts:1 rooms look down"],
    ],
    [
      "a room that looks up by the type of an import()",
      { "src/lib/a.ts": 'export let b: import("../linux/b.ts").B;', "src/linux/b.ts": "" },
      ["src/lib/a.ts:1 rooms look down"],
    ],
    [
      "a room that looks up by the package's own name",
      { "src/lib/a.ts": 'import { b } from "weft/linux";', "src/linux/index.ts": "" },
      ["src/lib/a.ts:1 rooms look down"],
    ],
    [
      "a room that looks up for a worker",
      { "src/lib/a.ts": 'new Worker(new URL("../linux/b.ts", import.meta.url));', "src/linux/b.ts": "" },
      ["src/lib/a.ts:1 rooms look down"],
    ],
    [
      "a domain room that looks at another",
      { "src/dns/a.ts": 'import "../services/b.ts";', "src/services/b.ts": "" },
      ["src/dns/a.ts:1 rooms look down"],
    ],
    [
      "bgp that looks back at routes",
      { "src/bgp/a.ts": 'import "../routes/b.ts";', "src/routes/b.ts": "" },
      ["src/bgp/a.ts:1 rooms look down"],
    ],
    ["a room without a layer", { "src/attic/a.ts": "" }, ["src/attic/a.ts:1 every room has its layer"]],
    [
      "a look at the entry",
      { "src/agent/a.ts": 'import "../weft.ts";', "src/weft.ts": "" },
      ["src/agent/a.ts:1 rooms do not look at the entries"],
    ],
    [
      "FFI elsewhere",
      { "src/linux/ffi.ts": 'import "bun:ffi";', "src/linux/a.ts": 'import { ptr } from "bun:ffi";' },
      ["src/linux/a.ts:1 one file speaks FFI"],
    ],
    [
      "FFI in a test",
      { "test/kernel/a.test.ts": 'import { ptr } from "bun:ffi";' },
      ["test/kernel/a.test.ts:1 one file speaks FFI"],
    ],
    ["input and output in lib", { "src/lib/a.ts": 'import "node:fs";' }, ["src/lib/a.ts:1 lib is pure"]],
    [
      "a product that needs its tests",
      { "src/kube/a.ts": 'import "../../test/lib/b.ts";', "test/lib/b.ts": "" },
      ["src/kube/a.ts:1 the product stands alone"],
    ],
    [
      "a product that runs on the fake kernel",
      { "src/agent/a.ts": 'import "../linux/fake/b.ts";', "src/linux/fake/b.ts": "" },
      ["src/agent/a.ts:1 fakes are for tests"],
    ],
    [
      "a package at run time",
      { "src/kube/a.ts": 'import "@kubernetes/client-node"; import "yaml";' },
      ["src/kube/a.ts:1 no package at run time", "src/kube/a.ts:1 no package at run time"],
    ],
    [
      "a script that needs what set-up brings",
      { "scripts/a.mjs": 'import "../src/lib/b.ts"; import "bun";', "src/lib/b.ts": "" },
      ["scripts/a.mjs:1 set-up needs Node alone", "scripts/a.mjs:1 set-up needs Node alone"],
    ],
    [
      "a cycle, once",
      {
        "src/lib/a.ts": 'import "./b.ts";',
        "src/lib/b.ts": 'import "./c.ts";',
        "src/lib/c.ts": 'import "./a.ts";',
      },
      ["src/lib/a.ts:1 no cycles"],
    ],
    [
      "a cycle of types",
      {
        "src/lib/a.ts": 'import type { B } from "./b.ts";',
        "src/lib/b.ts": 'import type { A } from "./a.ts";',
      },
      ["src/lib/a.ts:1 no cycles"],
    ],
    ["a file that imports itself", { "src/lib/a.ts": 'import "./a.ts";' }, ["src/lib/a.ts:1 no cycles"]],
    [
      "a plugin that reaches Kubernetes over three corners",
      {
        "src/cni.ts": '\nimport "./plugins/a.ts";',
        "src/plugins/a.ts": 'const b = await import("../ipam/b.ts");',
        "src/ipam/b.ts": 'import type { C } from "../kube/c.ts";',
        "src/kube/c.ts": "",
      },
      ["src/cni.ts:2 src/cni.ts stays small"],
    ],
    ["an import of nothing", { "src/lib/a.ts": 'import "./b";' }, ["src/lib/a.ts:1 missing"]],
    [
      "an import of something computed",
      { "src/lib/a.ts": "await import(name);" },
      ["src/lib/a.ts:1 computed"],
    ],
    ["what it cannot read", { "src/lib/a.ts": "const = ;" }, ["src/lib/a.ts:1 unreadable"]],
  ])("%s", (_, files, expected) => {
    expect(broken(files)).toEqual(expected);
  });
});

describe("the import rules allow", () => {
  test.each<[string, Record<string, string>]>([
    [
      "a look down",
      {
        "src/agent/a.ts": 'import "../lib/b.ts"; import "../bgp/c.ts";',
        "src/lib/b.ts": "",
        "src/bgp/c.ts": "",
      },
    ],
    ["routes by bgp", { "src/routes/a.ts": 'import "../bgp/b.ts";', "src/bgp/b.ts": "" }],
    ["plugins with ipam", { "src/plugins/a.ts": 'import "../ipam/b.ts";', "src/ipam/b.ts": "" }],
    [
      "a test on the fake kernel",
      { "src/agent/a.test.ts": 'import "../linux/fake/b.ts";', "src/linux/fake/b.ts": "" },
    ],
    [
      "a file of data",
      { "src/lib/a.ts": '#!/usr/bin/env bun\nimport pkg from "../../package.json" with { type: "json" };' },
    ],
    ["a bench that loads the one that it was told to", { "bench/run.ts": "await import(name);" }],
    ["a folder's URL", { "scripts/a.mjs": 'new URL("..", import.meta.url);' }],
    [
      "Bun and Node",
      { "src/kube/a.ts": 'import "node:fs"; import "bun:sqlite"; import type { Server } from "bun";' },
    ],
  ])("%s", (_, files) => {
    expect(broken(files)).toEqual([]);
  });
});

test("each violation names the file, the line, the way and the reason", () => {
  const sources = new Map([
    ["src/cni.ts", '\nimport "./plugins/a.ts";'],
    ["src/plugins/a.ts", 'import "../kube/b.ts";'],
    ["src/kube/b.ts", ""],
  ]);
  const { imports, violations } = checkImports({ sources, exists: () => false, exports: {} });
  expect(imports).toBe(2);
  expect(violations).toEqual([
    {
      file: "src/cni.ts",
      line: 2,
      rule: "src/cni.ts stays small",
      message:
        "src/cni.ts:2 -> src/plugins/a.ts:1 -> src/kube/b.ts: it must never reach src/kube, as weft-cni is started " +
        "for every pod, and its start-up grows with what it could load",
    },
  ]);
});
