import { afterAll, expect, test } from "bun:test";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CniError } from "./errors.ts";
import { execPlugin } from "./exec.ts";
import { loadNetworkList, parseNetworkList } from "./list.ts";
import type { Plugin, PluginRequest } from "./plugin.ts";
import { emptyResult, parseResult } from "./result.ts";
import { answer, blue, errorOf, fail, Ground, list, removeGrounds, result, until } from "./testing.ts";

afterAll(removeGrounds);

/* What libcni and the specification's "Lifecycle & Ordering" say beyond a plain chain, one test for each sentence. */

const onAdd = (script: string) => `[ "$CNI_COMMAND" = ADD ] || exit 0\n${script}`;
const single = list([{ type: "a" }]);

test("an error result is one though the plugin ended with status 0", async () => {
  const ground = new Ground({ a: onAdd(`echo '{"cniVersion":"1.1.0","code":11,"msg":"later"}'; exit 0`) });
  const error = await errorOf(ground.runtime().add(single, blue));
  expect(error).toMatchObject({ cniCode: 11, message: 'plugin "a" failed (ADD): later' });
  expect(ground.calls()).toEqual(["ADD a", "DEL a"]);
});

test("a result of a version that nobody speaks is none; one without version is of the list's", async () => {
  const ground = new Ground({
    a: onAdd(`echo '{"cniVersion":"2.0.0"}'`),
    b: onAdd(`echo '{"ips":[{"version":"4","address":"10.0.0.1/8"}]}'`),
  });
  const error = await errorOf(ground.runtime().add(single, blue));
  expect(error.message).toContain('cniVersion: "2.0.0" is none of 0.1.0, ');
  const old = list([{ type: "b" }], { cniVersion: "0.4.0" });
  expect((await ground.runtime().add(old, blue)).ips).toHaveLength(1);
});

test("results are converted: what follows and the cache get the list's version", async () => {
  const ground = new Ground({ a: answer("10.0.0.1/8"), b: answer("10.0.0.1/8") });
  const old = list([{ type: "a" }, { type: "b" }], { cniVersion: "0.4.0" });
  await ground.runtime().add(old, blue);
  const expected = { cniVersion: "0.4.0", ips: [{ version: "4", address: "10.0.0.1/8" }] };
  expect(ground.stdin("b", "ADD").prevResult).toMatchObject(expected);
  expect(
    JSON.parse(readFileSync(join(ground.dir, "cache/results/net-blue-eth0"), "utf8")).result,
  ).toMatchObject(expected);
  // The configuration changed while the container was running.
  await ground.runtime().del(single, blue);
  expect(ground.stdin("a", "DEL").prevResult).toMatchObject({
    cniVersion: "1.1.0",
    ips: [{ address: "10.0.0.1/8" }],
  });
});

test("a plugin that is missing in the middle of the chain: the others get their DEL", async () => {
  const ground = new Ground({ a: answer("10.0.0.1/8"), c: answer("10.0.0.3/8") });
  const network = list([{ type: "a" }, { type: "b" }, { type: "c" }]);
  const error = await errorOf(ground.runtime().add(network, blue));
  expect(error.message).toStartWith('failed to find plugin "b" in path');
  expect(ground.calls()).toEqual(["ADD a", "DEL c", "DEL a"]);
  expect(ground.cached()).toEqual([]);
});

test("before 0.4.0 what is taken back gets no result either", async () => {
  const ground = new Ground({ a: answer("10.0.0.1/8"), b: onAdd(fail(7, "no")) });
  await errorOf(ground.runtime().add(list([{ type: "a" }, { type: "b" }], { cniVersion: "0.3.1" }), blue));
  expect(ground.stdin("a", "DEL").prevResult).toBeUndefined();
});

test("an executable that is just being written is tried again", async () => {
  const ground = new Ground({ a: answer("10.0.0.1/8") });
  writeFileSync(join(ground.dir, "b"), readFileSync("/bin/true"), { mode: 0o755 });
  const fd = openSync(join(ground.dir, "b"), "r+");
  setTimeout(() => closeSync(fd), 100);
  await ground.runtime().status(list([{ type: "b" }]));
});

test("a single configuration is kept as a list, as libcni keeps it", async () => {
  const ground = new Ground({ a: answer("10.0.0.1/8") });
  const dir = join(ground.dir, "net.d");
  mkdirSync(dir);
  writeFileSync(join(dir, "10-net.conf"), '{"cniVersion":"1.0.0","name":"net","type":"a","key":1}');
  const runtime = ground.runtime();
  await runtime.add(loadNetworkList(dir, "net"), blue);
  const [entry] = runtime.attachments("blue");
  expect(JSON.parse(entry?.config ?? "")).toEqual({
    cniVersion: "1.0.0",
    name: "net",
    plugins: [{ cniVersion: "1.0.0", name: "net", type: "a", key: 1 }],
  });
  expect(parseNetworkList(entry?.config ?? "").plugins).toHaveLength(1);
  expect(runtime.attachments("green")).toEqual([]);
});

/** Puts a file among the results. */
function remember(ground: Ground, name: string, content: unknown): void {
  mkdirSync(join(ground.dir, "cache/results"), { recursive: true });
  writeFileSync(
    join(ground.dir, "cache/results", name),
    typeof content === "string" ? content : JSON.stringify(content),
  );
}

test("the older libcni's bare result is understood; what is cut short is an error of CHECK and none of DEL", async () => {
  const ground = new Ground({ a: "exit 0" });
  const runtime = ground.runtime();
  remember(ground, "net-blue-eth0", result("10.0.0.1/8"));
  await runtime.check(single, blue);
  expect(ground.stdin("a", "CHECK").prevResult.ips).toEqual([{ address: "10.0.0.1/8" }]);
  const entry = { kind: "cniCacheV1", networkName: "net", containerId: "blue", ifName: "eth0" };
  remember(ground, "net-blue-eth0", { ...entry, result: { cniVersion: "1.1.0", ips: [{}] } });
  expect((await errorOf(runtime.check(single, blue))).cniCode).toBe(6);
  await runtime.del(single, blue);
  expect(ground.stdin("a", "DEL").prevResult).toBeUndefined();
  expect(ground.cached()).toEqual([]);
  remember(ground, "net-blue-eth0", '{"kind":"cniCacheV1","resu');
  await runtime.del(single, blue);
  expect(ground.cached()).toEqual([]);
});

test("GC knows by the result which namespace an entry of the older libcni means, and refuses ids that lead elsewhere", async () => {
  const ground = new Ground({ a: "exit 0" });
  const entry = { kind: "cniCacheV1", networkName: "net", containerId: "blue", ifName: "eth0" };
  const interfaces = [{ name: "veth1" }, { name: "eth0", sandbox: "/run/netns/blue" }];
  remember(ground, "net-blue-eth0", { ...entry, result: { cniVersion: "1.1.0", interfaces } });
  remember(ground, "net-bad-eth0", { ...entry, containerId: "../bad", result: { cniVersion: "1.1.0" } });
  remember(ground, "net-none", { ...entry, ifName: "", result: { cniVersion: "1.1.0" } });
  const error = await errorOf(ground.runtime().gc(single, []));
  expect(error).toMatchObject({ cniCode: 4 });
  expect(error.message).toStartWith("stale attachment ../bad/eth0: CNI_CONTAINERID");
  expect(ground.calls()).toEqual(["DEL a", "GC a"]);
  expect(ground.stdin("a", "GC")["cni.dev/attachments"]).toEqual([]);
  expect(ground.env()).toMatchObject({ CNI_COMMAND: "GC", CNI_CONTAINERID: "", CNI_NETNS: "" });
});

test("an entry whose file has the same name by chance is another's", async () => {
  const ground = new Ground({ a: answer("10.0.0.1/8") });
  const runtime = ground.runtime();
  await runtime.add(single, { ...blue, containerId: "b-c" });
  const twin = list([{ type: "a" }], { name: "net-b" });
  await runtime.del(twin, { ...blue, containerId: "c" });
  expect(ground.stdin("a", "DEL").prevResult).toBeUndefined();
  expect(ground.cached()).toEqual(["net-b-c-eth0"]);
});

test("GC goes on after failures and has the code of the first", async () => {
  const ground = new Ground({
    a: `[ "$CNI_COMMAND" = DEL ] && [ "$CNI_CONTAINERID" = blue ] && { ${fail(11, "busy")}; }; ${answer("10.0.0.1/8")}`,
    b: `[ "$CNI_COMMAND" = GC ] && { ${fail(50, "away")}; }; ${answer("10.0.0.1/8")}`,
  });
  const network = list([{ type: "b" }, { type: "a" }]);
  const runtime = ground.runtime();
  for (const containerId of ["blue", "green"]) await runtime.add(network, { ...blue, containerId });
  const error = await errorOf(runtime.gc(network, []));
  expect(error.cniCode).toBe(11);
  expect(error.message).toBe(
    'stale attachment blue/eth0: plugin "a" failed (DEL): busy; plugin "b" failed (GC): away',
  );
  expect(ground.cached()).toEqual(["net-blue-eth0"]);
  // Below 1.1.0 there is no GC for plugins, but the stale are deleted all the same.
  const before = ground.calls().length;
  await errorOf(runtime.gc(list([{ type: "a" }], { cniVersion: "1.0.0" }), []));
  expect(ground.calls().slice(before)).toEqual(["DEL a"]);
});

/** A plugin that takes its time, and notes when it begins and ends. */
const noted = (file: string) => {
  const note = (what: string) => `echo "$CNI_COMMAND $CNI_CONTAINERID ${what}" >> ${file}`;
  return `${note("start")}; sleep 0.15; ${note("end")}; ${answer("10.0.0.1/8")}`;
};

test("two runtimes with one cache folder: one container's operations never overlap, others' do", async () => {
  const notes = join(new Ground({}).dir, "notes");
  const ground = new Ground({ a: noted(notes) });
  const [one, other] = [ground.runtime(), ground.runtime()];
  await Promise.all([one.add(single, blue), other.del(single, blue)]);
  const lines = readFileSync(notes, "utf8").trim().split("\n");
  expect(lines).toHaveLength(4);
  expect(lines[0]?.replace("start", "end")).toBe(lines[1] as string);
  expect(lines[2]?.replace("start", "end")).toBe(lines[3] as string);
  writeFileSync(notes, "");
  await Promise.all([one.add(single, blue), other.add(single, { ...blue, containerId: "green" })]);
  const states = readFileSync(notes, "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split(" ")[2]);
  expect(states).toEqual(["start", "start", "end", "end"]);
});

test("another process is kept apart too, and what it had when it was killed is free at once", async () => {
  const ground = new Ground({ a: `touch ${"$"}0.began; sleep 0.2; ${answer("10.0.0.1/8")}` });
  const script = `
    const { CniRuntime, parseNetworkList } = await import(${JSON.stringify(join(import.meta.dir, "index.ts"))});
    const list = parseNetworkList(${JSON.stringify(single.text)});
    await new CniRuntime({ path: [${JSON.stringify(ground.dir)}], cacheDir: ${JSON.stringify(join(ground.dir, "cache"))} })
      .add(list, ${JSON.stringify(blue)});`;
  const begun = () => until(() => existsSync(join(ground.dir, "a.began")));
  const child = Bun.spawn([process.execPath, "-e", script]);
  await begun();
  await ground.runtime().del(single, blue);
  expect(await child.exited).toBe(0);
  expect(ground.calls()).toEqual(["ADD a", "DEL a"]);
  const killed = Bun.spawn([process.execPath, "-e", script]);
  Bun.spawnSync(["rm", join(ground.dir, "a.began")]);
  await begun();
  killed.kill("SIGKILL");
  await killed.exited;
  await ground.runtime({ timeout: 2000 }).del(single, blue);
  expect(ground.calls().slice(2)).toEqual(["ADD a", "DEL a"]);
});

test("while garbage is collected nothing is added, and it begins when what was begun is done", async () => {
  const notes = join(new Ground({}).dir, "notes");
  const ground = new Ground({ a: noted(notes) });
  const [one, other] = [ground.runtime(), ground.runtime()];
  await one.add(single, blue);
  writeFileSync(notes, "");
  const adding = other.add(single, { ...blue, containerId: "green" });
  await until(() => readFileSync(notes, "utf8") !== "");
  const collecting = one.gc(single, []);
  const again = one.add(single, blue);
  const elsewhere = one.add(list([{ type: "a" }], { name: "elsewhere" }), { ...blue, containerId: "white" });
  await Promise.all([adding, collecting, again, elsewhere]);
  const order = readFileSync(notes, "utf8")
    .trim()
    .split("\n")
    .filter((line) => !line.includes("white"))
    .map((line) => line.replace("GC  ", "GC "));
  // Both are stale: who calls GC says that nothing is valid.
  expect(order.filter((_, i) => i % 2 === 0)).toEqual([
    "ADD green start",
    "DEL blue start",
    "DEL green start",
    "GC start",
    "ADD blue start",
  ]);
});

/** A plugin of this process, every command of which is `act`. */
function own(act: (request: PluginRequest) => Promise<unknown>): Plugin {
  return {
    name: "own",
    keys: [],
    add: async (request) => {
      await act(request);
      return parseResult(JSON.parse(result("10.0.0.1/8")), "1.1.0");
    },
    del: async (request) => void (await act(request)),
    check: async (request) => void (await act(request)),
  };
}
const chain = list([{ type: "own" }]);
const builtin = (plugin: Plugin) => ({
  builtin: async (type: string) => (type === "own" ? plugin : undefined),
});

test("a plugin of this process that is too slow is told to stop, and is taken back", async () => {
  const seen: string[] = [];
  const ground = new Ground({});
  const plugin = own(async ({ invocation: { command }, signal }) => {
    seen.push(command);
    if (command === "DEL") return;
    await new Promise((_, reject) => signal?.addEventListener("abort", () => reject(new Error("stopped"))));
  });
  const error = await errorOf(ground.runtime({ timeout: 50, ...builtin(plugin) }).add(chain, blue));
  expect(error).toMatchObject({ cniCode: 11 });
  expect(error.message).toContain('plugin "own" failed (ADD): did not end within 0.05 s and was stopped');
  expect(seen).toEqual(["ADD", "DEL"]);
});

test("what a plugin of this process started is killed with it", async () => {
  const ground = new Ground({ ipam: `echo $$ > ${"$"}0.pid; exec sleep 1000` });
  const plugin = own(async ({ invocation, signal }) => {
    if (invocation.command !== "ADD") return;
    const file = join(ground.dir, "ipam");
    await execPlugin({
      file,
      type: "ipam",
      invocation,
      stdin: "{}",
      timeout: 60_000,
      ownGroup: true,
      signal,
    });
  });
  const error = await errorOf(ground.runtime({ timeout: 300, ...builtin(plugin) }).add(chain, blue));
  expect(error.message).toContain('(plugin "own" failed (ADD): plugin "ipam" failed (ADD): was killed');
  expect(existsSync(`/proc/${readFileSync(join(ground.dir, "ipam.pid"), "utf8").trim()}`)).toBe(false);
});

test("one that does not heed it keeps its container to itself until it ends; then it is taken back", async () => {
  const seen: string[] = [];
  let finish = () => {};
  const ground = new Ground({});
  const plugin = own(async ({ invocation: { command, containerId } }) => {
    seen.push(`${command} ${containerId}`);
    if (seen.length === 1) await new Promise<void>((resolve) => (finish = resolve));
  });
  const runtime = ground.runtime({ timeout: 100, ...builtin(plugin) });
  const error = await errorOf(runtime.add(chain, blue));
  expect(error).toMatchObject({ cniCode: 11, message: expect.stringContaining("goes on though") });
  expect(await errorOf(runtime.del(chain, blue))).toMatchObject({ cniCode: 11 });
  expect(await errorOf(ground.runtime({ timeout: 100, ...builtin(plugin) }).del(chain, blue))).toMatchObject({
    cniCode: 11,
    message: 'another operation on container "blue" goes on and on',
  });
  await runtime.add(chain, { ...blue, containerId: "green" });
  finish();
  await runtime.del(chain, blue);
  expect(seen).toEqual(["ADD blue", "ADD green", "DEL blue", "DEL blue"]);
});

test("a plugin of this process has the codes and the rules of an executable", async () => {
  const ground = new Ground({});
  const { InvalidInput } = await import("../lib/errors.ts");
  const plugin: Plugin = {
    name: "own",
    keys: [],
    add: () => {
      throw new InvalidInput("mtu", 5, "is too small", { remedy: "More" });
    },
    del: () => {},
    check: () => {},
    status: () => {
      throw new CniError(50, "not yet");
    },
  };
  const runtime = ground.runtime(builtin(plugin));
  expect(await errorOf(runtime.add(chain, blue))).toMatchObject({ cniCode: 7, remedy: "More" });
  expect(await errorOf(runtime.status(chain))).toMatchObject({ cniCode: 50 });
  // Not the host itself.
  const host = { ...blue, netns: "/proc/self/ns/net" };
  const harmless = { ...plugin, add: () => emptyResult() };
  expect(await errorOf(ground.runtime(builtin(harmless)).add(chain, host))).toMatchObject({ cniCode: 8 });
});
