/** Weft's plugins beside Debian's containernetworking-plugins, on twin hosts: see cni-differential/. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { referencePlugins } from "../kernel/cni-fixture.ts";
import { needs } from "../lib/needs.ts";
import { differences } from "./cni-differential/differences.ts";
import { families } from "./cni-differential/families.ts";
import { lineOf, linesOf, pagePath } from "./cni-differential/page.ts";
import { testFamilies } from "./cni-differential/suite.ts";

const reference = needs.file(join(referencePlugins, "bridge"), "containernetworking-plugins");
testFamilies(families, false, [needs.root, reference]);

test("docs/cni/differences.md lists the rules that allow a difference", () => {
  expect(linesOf(readFileSync(pagePath, "utf8"))).toEqual(differences.map(lineOf));
});

test("the cases are many and each has a name of its own", () => {
  const names = families.flatMap(({ plugin, guest, cases }) =>
    cases.map(({ name }) => `${plugin} ${guest === true} ${name}`),
  );
  expect(new Set(names).size).toBe(names.length);
  expect(names.length).toBeGreaterThanOrEqual(120);
});
