/** The test command counts what happened: a failure must not get lost, however it comes about. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { select } from "../../scripts/test/groups.mjs";
import { followOutput, parseJunit, skipReasons } from "../../scripts/test/report.mjs";
import { needs, testWith } from "../lib/needs.ts";
import { Tree } from "./tree.ts";

describe("npm test", () => {
  let tree: Tree;
  beforeAll(() => {
    tree = new Tree({ sharing: true });
    const good = 'import { test } from "bun:test"; test("one", () => {}); test("two", () => {});';
    tree.write("src/lib/good.test.ts", good);
    tree.write("test/rules/good.test.ts", good);
  });
  afterAll(() => tree[Symbol.dispose]());

  const run = async (...args: string[]) => {
    const { status, stdout } = await tree.run(["node", "scripts/test.mjs", ...args]);
    return { status, stdout, last: stdout.trimEnd().split("\n").at(-1) };
  };

  test("ends with one line that counts over all groups", async () => {
    const { status, stdout, last } = await run("unit", "rules");
    expect({ status, last }).toEqual({ status: 0, last: "4 passed, 0 failed" });
    expect(stdout.match(/\d+ passed, \d+ failed/g)).toHaveLength(1);
  });

  test.each<[string, string, string]>([
    ["a test that fails", 'test("wrong", () => { expect(1).toBe(2); });', "2 passed, 1 failed"],
    ["an error while loading", 'throw new Error("at load");', "2 passed, 1 failed"],
    ["a syntax error", "const = ;", "2 passed, 1 failed"],
    ["a file without a test", "export {};", "2 passed, 1 failed"],
    [
      "an error after the test",
      'test("late", () => { setTimeout(() => { throw new Error("late"); }); }); test("waits", () => Bun.sleep(50));',
      "1 failed",
    ],
    [
      "a rejection that nobody awaits",
      'test("late", () => { Promise.reject(new Error("late")); });',
      "1 failed",
    ],
    [
      "a process that is killed",
      'test("dies", () => { process.kill(process.pid, "SIGKILL"); });',
      "1 failed",
    ],
    ["a process that exits early and well", 'test("leaves", () => { process.exit(0); });', "1 failed"],
  ])("counts %s", async (_, body, expected) => {
    tree.write("test/rules/bad.test.ts", `import { expect, test } from "bun:test";\n${body}\n`);
    const { status, last } = await run("rules");
    expect(status).toBe(1);
    expect(last).toContain(expected);
    tree.write("test/rules/bad.test.ts", 'import { test } from "bun:test"; test("mended", () => {});');
  });

  test("shows what a failing test printed, and nothing of those that passed", async () => {
    const body =
      'test("fine", () => { console.log("no" + "ise"); }); test("wrong", () => { console.log("a clue"); throw 1; });';
    tree.write("test/rules/bad.test.ts", `import { test } from "bun:test";\n${body}`);
    const { stdout } = await run("rules");
    expect(stdout).toContain("a clue");
    expect(stdout).not.toContain("noise");
    tree.write("test/rules/bad.test.ts", 'import { test } from "bun:test"; test("mended", () => {});');
  });

  test("says why tests were skipped, and with --strict counts them as failed", async () => {
    const body =
      'import { test } from "bun:test"; test.skip("a -- skipped: needs a moon", () => {}); test("b", () => {});';
    tree.write("test/rules/skips.test.ts", body);
    const { status, stdout, last } = await run("test/rules/skips.test.ts");
    expect({ status, last }).toEqual({ status: 0, last: "1 passed, 0 failed, 1 skipped" });
    expect(stdout).toContain("Skipped:\n  1 needs a moon\n");
    const strict = await run("--strict", "test/rules/skips.test.ts");
    expect(strict).toMatchObject({ status: 1, last: "1 passed, 1 failed" });
  });

  test("refuses what it does not know", async () => {
    expect(await run("nonsense")).toMatchObject({ status: 1, last: "0 passed, 1 failed" });
    expect(await run("--nonsense")).toMatchObject({ status: 2 });
  });

  test("counts a test file that no group would run", async () => {
    tree.write("test/attic/lost.test.ts", 'import { test } from "bun:test"; test("lost", () => {});');
    const { status, stdout } = await run("unit");
    expect(status).toBe(1);
    expect(stdout).toContain("test/attic/lost.test.ts is in no group");
  });

  testWith(needs.root, needs.command("ip", "iproute2"))(
    "removes and counts namespaces left behind",
    async () => {
      const body = `test("leaves", () => {
        for (const word of ["", "-c1"])
          Bun.spawnSync(["ip", "netns", "add", "weft-t-left-" + process.pid + "-0" + word]);
      });`;
      tree.write("test/rules/leaves.test.ts", `import { test } from "bun:test";\n${body}`);
      const { status, stdout } = await run("test/rules/leaves.test.ts");
      const [, left = ""] = /namespaces left behind, now removed: (.+)/.exec(stdout) ?? [];
      // Others may die on the machine meanwhile.
      const names = left.split(", ").filter((name) => name.startsWith("weft-t-left-"));
      expect(status).toBe(1);
      expect(names.sort()).toEqual([
        expect.stringMatching(/^weft-t-left-\d+-0$/),
        expect.stringMatching(/^weft-t-left-\d+-0-c1$/),
      ]);
      for (const name of names) expect(readdirSync("/run/netns")).not.toContain(name);
    },
  );

  test("removes temporary folders that were left behind hours ago", async () => {
    const [old, young] = [1, 2].map(() => mkdtempSync(join(tmpdir(), "weft-t-left-"))) as [string, string];
    utimesSync(old, 0, 0);
    await run("test/rules/good.test.ts");
    const there = [old, young].map((folder) => existsSync(folder));
    for (const folder of [old, young]) rmSync(folder, { recursive: true, force: true });
    expect(there).toEqual([false, true]);
  });
});

test("every test file of the project is in a group", () => {
  expect(select([]).homeless).toEqual([]);
});

test("a report is read as it was meant", () => {
  const xml = `<testsuites><testsuite name="f.test.ts" file="f.test.ts">
    <testcase name="a &lt;b&gt; &amp; &quot;c&quot;&#10;d" classname="s" file="f.test.ts" />
    <testcase name="no" classname="" file="f.test.ts"><failure message="m">text</failure></testcase>
    <testcase name="x -- skipped: needs y" classname="s" file="f.test.ts"><skipped /></testcase>
    <testcase name="z" classname="s" file="f.test.ts"><skipped message="TODO" /></testcase>
  </testsuite></testsuites>`;
  const cases = parseJunit(xml);
  expect(cases).toEqual([
    { file: "f.test.ts", name: 's > a <b> & "c"\nd', outcome: "passed" },
    { file: "f.test.ts", name: "no", outcome: "failed" },
    { file: "f.test.ts", name: "s > x -- skipped: needs y", outcome: "skipped" },
    { file: "f.test.ts", name: "s > z", outcome: "skipped" },
  ]);
  expect([...skipReasons(cases)]).toEqual([
    ["needs y", 1],
    ["no reason given: s > z (f.test.ts)", 1],
  ]);
});

test("output is followed over chunks that end anywhere", () => {
  const text =
    "a.test.ts:\n(pass) one [1ms]\nhint\n(fail) two [1ms]\n(skip) three\nrest\n2 tests failed:\n(fail) two\n";
  for (let size = 1; size < 12; size++) {
    const told: string[] = [];
    const output = followOutput((part) => told.push(part));
    for (let at = 0; at < text.length; at += size) output.write(text.slice(at, at + size));
    expect(output.seen).toEqual({ passed: 1, failed: 1, skipped: 1, file: "a.test.ts" });
    expect(told).toEqual(["hint\n(fail) two [1ms]"]);
    expect(output.last()).toBe("rest\n");
  }
});
