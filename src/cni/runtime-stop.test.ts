import { afterAll, expect, test } from "bun:test";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "./plugin.ts";
import { emptyResult } from "./result.ts";
import type { CniRuntime } from "./runtime.ts";
import { answer, blue, errorOf, Ground, list, removeGrounds, until } from "./testing.ts";

afterAll(removeGrounds);

/* What becomes of operations whose runtime is told to stop. */

const single = list([{ type: "a" }]);

test("what runs is killed and what was added is taken back", async () => {
  const ground = new Ground({
    a: answer("10.0.0.1/8"),
    b: `[ "$CNI_COMMAND" = ADD ] || exit 0; touch ${"$"}0.began; sleep 1000`,
  });
  const stop = new AbortController();
  const runtime = ground.runtime({ signal: stop.signal });
  const adding = errorOf(runtime.add(list([{ type: "a" }, { type: "b" }]), blue));
  await until(() => existsSync(join(ground.dir, "b.began")));
  stop.abort();
  expect(await adding).toMatchObject({
    cniCode: 11,
    message: expect.stringContaining("was killed: nobody waits"),
  });
  expect(ground.calls()).toEqual(["ADD a", "ADD b", "DEL b", "DEL a"]);
  expect(await errorOf(runtime.add(single, blue))).toMatchObject({ cniCode: 11 });
  // What was not begun is not taken back.
  expect(ground.calls()).toHaveLength(4);
});

test("no more plugins are called", async () => {
  const stopsAt = (command: string) => `[ "$CNI_COMMAND" = ${command} ] && { touch $0.began; sleep 1000; }`;
  const network = list([{ type: "a" }, { type: "b" }]);
  const operations: [string, (runtime: CniRuntime) => Promise<unknown>, string[]][] = [
    ["DEL", (runtime) => runtime.gc(network, []), ["DEL b"]],
    ["GC", (runtime) => runtime.gc(network, [{ containerId: "x", ifname: "eth0" }, blue]), ["GC a"]],
    ["CHECK", (runtime) => runtime.check(network, blue), ["CHECK a"]],
    ["STATUS", (runtime) => runtime.status(network), ["STATUS a"]],
  ];
  for (const [command, operate, expected] of operations) {
    const slow = `${stopsAt(command)}; ${answer("10.0.0.1/8")}`;
    const ground = new Ground({ a: slow, b: slow });
    for (const containerId of ["blue", "x"]) await ground.runtime().add(network, { ...blue, containerId });
    const before = ground.calls().length;
    const stop = new AbortController();
    const runtime = ground.runtime({ signal: stop.signal });
    const operating = errorOf(operate(runtime));
    await until(() => readdirSync(ground.dir).some((name) => name.endsWith(".began")));
    stop.abort();
    expect(await operating).toMatchObject({
      cniCode: 11,
      message: expect.stringContaining("was killed: nobody waits"),
    });
    for (const again of operations) expect(await errorOf(again[1](runtime))).toMatchObject({ cniCode: 11 });
    expect(ground.calls().slice(before)).toEqual(expected);
  }
});

test("who waits for another's operation heeds a stop", async () => {
  const gate = join(new Ground({}).dir, "gate");
  const ground = new Ground({ a: `while [ ! -e ${gate} ]; do sleep 0.02; done; ${answer("10.0.0.1/8")}` });
  const adding = ground.runtime().add(single, blue);
  await until(() => ground.calls().length === 1);
  for (const operate of [
    (runtime: CniRuntime) => runtime.del(single, blue),
    (runtime: CniRuntime) => runtime.gc(single, []),
  ]) {
    const stop = new AbortController();
    const waiting = errorOf(operate(ground.runtime({ signal: stop.signal })));
    await Bun.sleep(20);
    stop.abort();
    expect(await waiting).toMatchObject({
      cniCode: 11,
      message: expect.stringContaining("while another operation went on: the runtime was told to stop"),
    });
  }
  writeFileSync(gate, "");
  await adding;
  expect(ground.calls()).toEqual(["ADD a"]);
});

test("a plugin of this process that heeds no stop is the last that is called", async () => {
  const stop = new AbortController();
  const own: Plugin = { name: "own", add: emptyResult, del: () => stop.abort(), check: () => {} };
  const ground = new Ground({ a: answer("10.0.0.1/8") });
  const runtime = ground.runtime({
    signal: stop.signal,
    builtin: async (type) => (type === "own" ? own : undefined),
  });
  const error = await errorOf(runtime.del(list([{ type: "a" }, { type: "own" }]), blue));
  expect(error).toMatchObject({ cniCode: 11, message: "DEL was broken off: the runtime was told to stop" });
  expect(ground.calls()).toEqual([]);
});

test("a plugin of this process that heeds it fails as one that was killed", async () => {
  const stop = new AbortController();
  const own: Plugin = {
    name: "own",
    add: async ({ signal }) => {
      stop.abort();
      signal?.throwIfAborted();
      return emptyResult();
    },
    del: () => {},
    check: () => {},
  };
  const runtime = new Ground({}).runtime({ signal: stop.signal, builtin: async () => own });
  const error = await errorOf(runtime.add(list([{ type: "own" }]), blue));
  expect(error).toMatchObject({
    cniCode: 11,
    message: 'plugin "own" failed (ADD): was stopped: nobody waits for it any more',
  });
});
