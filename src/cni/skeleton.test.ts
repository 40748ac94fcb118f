import { expect, test } from "bun:test";
import { CniError } from "./errors.ts";
import type { Plugin } from "./plugin.ts";
import { emptyResult } from "./result.ts";
import { type Host, runPlugin } from "./skeleton.ts";

/** A plugin that notes its calls, and a host that notes what is said. */
function ground(config: object, more: Partial<Host> = {}) {
  const calls: string[] = [];
  const said = { stdout: "", stderr: "" };
  const plugin: Plugin = {
    name: "plugin",
    keys: [],
    add: () => {
      calls.push("add");
      return emptyResult();
    },
    del: () => {
      calls.push("del");
      throw new CniError(11, "busy");
    },
    check: () => {},
  };
  const host: Host = {
    env: { CNI_COMMAND: "ADD", CNI_CONTAINERID: "c", CNI_IFNAME: "eth0", CNI_NETNS: "/n", CNI_PATH: "/p" },
    readStdin: () => JSON.stringify({ cniVersion: "1.0.0", name: "net", type: "plugin", ...config }),
    writeStdout: (text) => {
      said.stdout += text;
    },
    writeStderr: (text) => {
      said.stderr += text;
    },
    isOwnNetns: () => false,
    builtin: async () => undefined,
    ...more,
  };
  return { calls, said, run: () => runPlugin(plugin, host) };
}

test("a result is printed", async () => {
  const { calls, said, run } = ground({});
  expect(await run()).toBe(0);
  expect(JSON.parse(said.stdout)).toEqual({ cniVersion: "1.0.0", dns: {} });
  expect(calls).toEqual(["add"]);
});

test("an ADD whose result the version cannot express is taken back, and is one error", async () => {
  const { calls, said, run } = ground({ cniVersion: "0.2.0" });
  expect(await run()).toBe(1);
  expect(JSON.parse(said.stdout)).toMatchObject({ cniVersion: "0.2.0", code: 1 });
  expect(calls).toEqual(["add", "del"]);
  expect(said.stderr).toBe("plugin: while taking back a failed ADD: busy\n");
});

test("an ADD whose result nobody can read is taken back", async () => {
  const writeStdout = () => {
    throw new Error("no space");
  };
  const { calls, said, run } = ground({}, { writeStdout });
  expect(await run()).toBe(1);
  expect(calls).toEqual(["add", "del"]);
  expect(said.stderr).toContain("plugin: cannot answer: no space\n");
  const failing = ground({ name: "../net" }, { writeStdout });
  expect(await failing.run()).toBe(1);
  expect(failing.calls).toEqual([]);
});
