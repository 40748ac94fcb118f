import { afterAll, expect, test } from "bun:test";
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CniError } from "./errors.ts";
import type { Plugin } from "./plugin.ts";
import { emptyResult } from "./result.ts";
import { answer, blue, errorOf, fail, Ground, list, removeGrounds } from "./testing.ts";

afterAll(removeGrounds);

test("a chain: each plugin gets the result before it, the list's name and version, its own capabilities", async () => {
  const ground = new Ground({ a: answer("10.0.0.1/8"), b: answer("10.0.0.2/8") });
  const network = list([
    { type: "a", name: "other", cniVersion: "0.1.0", key: 1, capabilities: { ips: true } },
    { type: "b", capabilities: { portMappings: true, mac: false } },
  ]);
  const attachment = {
    ...blue,
    args: [["K8S_POD_NAME", "blue"]] as const,
    capabilityArgs: { ips: ["10.0.0.1/8"], portMappings: [], mac: "02::" },
  };
  const runtime = ground.runtime();
  const added = await runtime.add(network, attachment);
  expect(added.ips.map(({ address }) => String(address))).toEqual(["10.0.0.2/8"]);
  expect(ground.stdin("a", "ADD")).toEqual({
    type: "a",
    name: "net",
    cniVersion: "1.1.0",
    key: 1,
    capabilities: { ips: true },
    runtimeConfig: { ips: ["10.0.0.1/8"] },
  });
  expect(ground.stdin("b", "ADD")).toMatchObject({
    runtimeConfig: { portMappings: [] },
    prevResult: { cniVersion: "1.1.0", ips: [{ address: "10.0.0.1/8" }] },
  });
  expect(ground.env()).toMatchObject({
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: "blue",
    CNI_NETNS: "/run/netns/blue",
    CNI_IFNAME: "eth0",
    CNI_ARGS: "K8S_POD_NAME=blue",
    CNI_PATH: `${ground.dir}/nowhere:${ground.dir}`,
  });
  await runtime.check(network, blue);
  // What the caller does not say is taken from the cache, the result with it.
  await runtime.del(network, { ...blue, netns: "" });
  expect(ground.calls()).toEqual(["ADD a", "ADD b", "CHECK a", "CHECK b", "DEL b", "DEL a"]);
  for (const command of ["CHECK", "DEL"]) {
    expect(ground.stdin("a", command)).toMatchObject({
      runtimeConfig: { ips: ["10.0.0.1/8"] },
      prevResult: { ips: [{ address: "10.0.0.2/8" }] },
    });
  }
  expect(ground.cached()).toEqual([]);
  await runtime.del(network, { ...blue, netns: "" });
  expect(ground.stdin("a", "DEL").prevResult).toBeUndefined();
});

test("the cache is in libcni's format", async () => {
  const ground = new Ground({ a: answer("10.0.0.1/8") });
  const network = list([{ type: "a" }]);
  await ground.runtime().add(network, { ...blue, args: [["A", "b"]], capabilityArgs: { x: 1 } });
  expect(ground.cached()).toEqual(["net-blue-eth0"]);
  const entry = JSON.parse(readFileSync(join(ground.dir, "cache/results/net-blue-eth0"), "utf8"));
  expect(entry).toEqual({
    kind: "cniCacheV1",
    containerId: "blue",
    config: Buffer.from(network.text).toString("base64"),
    ifName: "eth0",
    networkName: "net",
    netns: "/run/netns/blue",
    cniArgs: [["A", "b"]],
    capabilityArgs: { x: 1 },
    result: { cniVersion: "1.1.0", ips: [{ address: "10.0.0.1/8" }], dns: {} },
  });
  expect(ground.runtime().attachments()).toMatchObject([
    { network: "net", containerId: "blue", ifname: "eth0" },
  ]);
});

test("a failed ADD is taken back by DEL of all plugins, and keeps the plugin's own code", async () => {
  const ground = new Ground({
    a: answer("10.0.0.1/8"),
    b: `[ "$CNI_COMMAND" = ADD ] && { ${fail(11, "later")}; }; exit 1`,
    c: answer("10.0.0.3/8"),
  });
  const error = await errorOf(
    ground.runtime().add(list([{ type: "a" }, { type: "b" }, { type: "c" }]), blue),
  );
  expect(error).toMatchObject({ cniCode: 11, message: 'plugin "b" failed (ADD): later', remedy: "more" });
  // A DEL that fails does not keep the others from theirs.
  expect(ground.calls()).toEqual(["ADD a", "ADD b", "DEL c", "DEL b", "DEL a"]);
  expect(ground.stdin("a", "DEL").prevResult).toMatchObject({ ips: [{ address: "10.0.0.1/8" }] });
  expect(ground.warnings.join()).toContain('while taking back a failed ADD: plugin "b" failed (DEL)');
  expect(ground.cached()).toEqual([]);
});

const rubbish: [string, string, string][] = [
  [
    "prints rubbish",
    "echo hello world",
    'plugin "a" failed (ADD): printed "hello world", which is no result',
  ],
  ["prints nothing", "exit 0", 'plugin "a" failed (ADD): printed nothing, which is no result'],
  ["prints a lot of rubbish", "yes rubbish | head -c 100000", `printed "${"rubbish\\n".repeat(3)}`],
  ["prints a broken result", `echo '{"cniVersion":"1.0.0","ips":[{}]}'`, "ips[0].address: "],
  [
    "fails without a result",
    "echo oops >&2; exit 3",
    'exit status 3, without an error result; it printed "oops"',
  ],
  ["fails without a word", "exit 3", "exit status 3, without an error result; it printed nothing"],
  ["dies", "kill -9 $$", "SIGKILL, without an error result"],
  ["floods", "yes rubbish", `printed more than 16 MiB and was killed; it began "${"rubbish\\n".repeat(3)}`],
];
test.each(rubbish)("a plugin that %s is one error that names it", async (_, script, message) => {
  const ground = new Ground({ a: `[ "$CNI_COMMAND" = ADD ] || exit 0\n${script}` });
  const error = await errorOf(ground.runtime({ timeout: 10_000 }).add(list([{ type: "a" }]), blue));
  expect(error.message).toContain(message);
  expect(error.message.length).toBeLessThan(500);
});

test("what takes longer than a second is told, while it goes on", async () => {
  const answer = `echo '{"cniVersion":"1.0.0"}'`;
  const ground = new Ground({ a: `while [ ! -e $0.go ]; do sleep 0.05; done\n${answer}`, b: answer });
  const told: string[] = [];
  const onWait = ({ type, command }: { type: string; command: string }) => {
    told.push(`${type} ${command}`);
    writeFileSync(join(ground.dir, "a.go"), "");
  };
  await ground.runtime({ onWait }).add(list([{ type: "a" }, { type: "b" }]), blue);
  expect(told).toEqual(["a ADD"]);
});

test("a plugin that hangs is killed with all that it started", async () => {
  const ground = new Ground({ a: '[ "$CNI_COMMAND" = ADD ] || exit 0\nsleep 1000 & echo $! > $0.pid\nwait' });
  const started = Date.now();
  const error = await errorOf(ground.runtime({ timeout: 300 }).add(list([{ type: "a" }]), blue));
  expect(error.message).toContain('plugin "a" failed (ADD): did not end within 0.3 s and was killed');
  expect(Date.now() - started).toBeLessThan(5000);
  const grandchild = Number(readFileSync(join(ground.dir, "a.pid"), "utf8"));
  const deadline = Date.now() + 2000;
  while (existsSync(`/proc/${grandchild}`) && Date.now() < deadline) await Bun.sleep(5);
  expect(existsSync(`/proc/${grandchild}`)).toBe(false);
});

test("a plugin that cannot be started, or is not there, is one error", async () => {
  const ground = new Ground({ a: "" });
  writeFileSync(join(ground.dir, "a"), "not a program");
  chmodSync(join(ground.dir, "a"), 0o644);
  const runtime = ground.runtime();
  expect((await errorOf(runtime.add(list([{ type: "a" }]), blue))).message).toContain(
    `plugin "a" failed (ADD): cannot be started (${ground.dir}/a: EACCES)`,
  );
  const missing = await errorOf(runtime.add(list([{ type: "b" }]), blue));
  expect(missing.message).toBe(`failed to find plugin "b" in path ["${ground.dir}/nowhere","${ground.dir}"]`);
});

test("container ids and interface names are checked before anything is started", async () => {
  const ground = new Ground({ a: answer("10.0.0.1/8") });
  const runtime = ground.runtime();
  for (const bad of [{ containerId: "../x" }, { containerId: "" }, { ifname: "a/b" }, { ifname: "" }]) {
    expect((await errorOf(runtime.add(list([{ type: "a" }]), { ...blue, ...bad }))).cniCode).toBe(4);
  }
  expect(ground.calls()).toEqual([]);
  expect(ground.warnings).toEqual([]);
  for (const containerId of ["a/../../../x", ".."]) {
    for (const verb of ["del", "check"] as const) {
      expect((await errorOf(runtime[verb](list([{ type: "a" }]), { ...blue, containerId }))).cniCode).toBe(4);
    }
  }
  expect(ground.calls()).toEqual([]);
});

test("a second ADD that the first plugin refuses leaves the attachment as it is", async () => {
  const once = `[ "$CNI_COMMAND" = ADD ] && [ -e $0.done ] && { ${fail(999, "is there")}; }; touch $0.done; ${answer("10.0.0.1/8")}`;
  const flaky = `[ "$CNI_COMMAND" = ADD ] && [ -e $0.bad ] && { ${fail(11, "later")}; }; ${answer("10.0.0.1/8")}`;
  const ground = new Ground({ once, flaky });
  const runtime = ground.runtime();
  const network = list([{ type: "once" }, { type: "flaky" }]);
  await runtime.add(network, blue);
  expect((await errorOf(runtime.add(network, blue))).message).toContain("is there");
  expect(ground.calls()).toEqual(["ADD once", "ADD flaky", "ADD once"]);
  expect(ground.cached()).toEqual(["net-blue-eth0"]);
  // What is remembered is stale where the first plugin made it anew: then all is taken back.
  rmSync(join(ground.dir, "once.done"));
  writeFileSync(join(ground.dir, "flaky.bad"), "");
  expect((await errorOf(runtime.add(network, blue))).message).toContain("later");
  expect(ground.calls().slice(3)).toEqual(["ADD once", "ADD flaky", "DEL flaky", "DEL once"]);
});

test("an interface that another network has is not taken away by an ADD that is refused", async () => {
  const ground = new Ground({ a: answer("10.0.0.1/8"), b: fail(11, "refused") });
  const runtime = ground.runtime();
  await runtime.add(list([{ type: "a" }]), blue);
  await errorOf(runtime.add(list([{ type: "b" }], { name: "other" }), blue));
  expect(ground.calls()).toEqual(["ADD a", "ADD b"]);
  await errorOf(runtime.add(list([{ type: "b" }], { name: "other" }), { ...blue, ifname: "eth1" }));
  expect(ground.calls().slice(2)).toEqual(["ADD b", "DEL b"]);
});

test("an ADD whose result cannot be kept is taken back", async () => {
  const ground = new Ground({ a: answer("10.0.0.1/8"), b: `[ "$CNI_COMMAND" = ADD ] && echo '{}'; exit 0` });
  writeFileSync(join(ground.dir, "cache"), "");
  const error = await errorOf(ground.runtime().add(list([{ type: "a" }]), blue));
  expect(error).toMatchObject({ cniCode: 5, remedy: expect.stringContaining("cache folder") });
  expect(ground.calls()).toEqual(["ADD a", "DEL a"]);
  // No version before 0.3.0 can say that there is no address.
  const old = list([{ type: "b" }], { cniVersion: "0.2.0" });
  expect((await errorOf(ground.runtime().add(old, blue))).cniCode).toBe(1);
  expect(ground.calls().slice(2)).toEqual(["ADD b", "DEL b"]);
});

test("CHECK needs 0.4.0, and can be switched off", async () => {
  const ground = new Ground({ a: answer("10.0.0.1/8") });
  const runtime = ground.runtime();
  const old = list([{ type: "a" }], { cniVersion: "0.3.1" });
  expect((await errorOf(runtime.check(old, blue))).cniCode).toBe(1);
  await runtime.check(list([{ type: "a" }], { disableCheck: true }), blue);
  expect(ground.calls()).toEqual([]);
});

test("before 0.4.0 DEL gets no result, and results of old plugins are understood", async () => {
  const ground = new Ground({ a: `[ "$CNI_COMMAND" = ADD ] && echo '{"ip4":{"ip":"10.0.0.1/8"}}'; exit 0` });
  const old = list([{ type: "a" }], { cniVersion: "0.2.0" });
  const runtime = ground.runtime();
  expect((await runtime.add(old, blue)).ips.map(({ address }) => String(address))).toEqual(["10.0.0.1/8"]);
  await runtime.del(old, blue);
  expect(ground.stdin("a", "DEL").prevResult).toBeUndefined();
});

test("GC first DELs what only the cache knows, then tells the plugins what stays", async () => {
  const ground = new Ground({ a: answer("10.0.0.1/8") });
  const network = list([{ type: "a" }]);
  const other = list([{ type: "a" }], { name: "other" });
  const runtime = ground.runtime();
  for (const containerId of ["blue", "green"]) await runtime.add(network, { ...blue, containerId });
  await runtime.add(other, blue);
  await runtime.gc(network, [{ containerId: "green", ifname: "eth0" }]);
  expect(ground.calls().slice(3)).toEqual(["DEL a", "GC a"]);
  expect(ground.stdin("a", "GC")["cni.dev/valid-attachments"]).toEqual([
    { containerID: "green", ifname: "eth0" },
  ]);
  expect(ground.cached().sort()).toEqual(["net-green-eth0", "other-blue-eth0"]);
  await runtime.gc({ ...network, disableGC: true }, []);
  expect(ground.cached()).toHaveLength(2);
});

test("STATUS gives the code of the first plugin that is not ready", async () => {
  const ground = new Ground({ a: "exit 0", b: fail(50, "not yet") });
  const error = await errorOf(ground.runtime().status(list([{ type: "a" }, { type: "b" }])));
  expect(error).toMatchObject({ cniCode: 50, message: 'plugin "b" failed (STATUS): not yet' });
  await ground.runtime().status(list([{ type: "b" }], { cniVersion: "1.0.0" }));
});

test("VERSION is asked of the executable", async () => {
  const ground = new Ground({
    a: `echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'`,
    b: "echo {}",
  });
  expect(await ground.runtime().versions("a")).toEqual({
    cniVersion: "1.0.0",
    supportedVersions: ["0.4.0", "1.0.0"],
  });
  expect((await errorOf(ground.runtime().versions("b"))).message).toContain('plugin "b" failed (VERSION)');
});

test("VERSION is understood by plugins, and of plugins, that are older than it", async () => {
  const ground = new Ground({
    a: fail(100, "unknown CNI_COMMAND: VERSION"),
    b: `[ -n "$CNI_NETNS" ] && [ -n "$CNI_IFNAME" ] && [ -n "$CNI_PATH" ] && echo '{"cniVersion":"0.2.0"}'`,
    c: fail(100, "unknown CNI_COMMAND: VERSIONS"),
  });
  const runtime = ground.runtime();
  expect((await runtime.versions("a")).supportedVersions).toEqual(["0.1.0"]);
  expect((await runtime.versions("b")).supportedVersions).toEqual(["0.1.0", "0.2.0"]);
  expect((await errorOf(runtime.versions("c"))).cniCode).toBe(100);
});

test("a plugin of this process runs without an executable, with the same rules", async () => {
  const seen: string[] = [];
  const own: Plugin = {
    name: "own",
    keys: [],
    add: ({ config, invocation }) => {
      seen.push(`ADD ${config.prevResult?.ips.length} ${invocation.args.podName}`);
      return config.prevResult ?? emptyResult();
    },
    del: () => {
      seen.push("DEL");
      throw new CniError(11, "busy");
    },
    check: () => {},
  };
  const ground = new Ground({ a: answer("10.0.0.1/8") });
  const runtime = ground.runtime({ builtin: async (type) => (type === "own" ? own : undefined) });
  const network = list([{ type: "a" }, { type: "own" }]);
  const added = await runtime.add(network, { ...blue, args: [["K8S_POD_NAME", "b"]] });
  expect(added.ips).toHaveLength(1);
  const error = await errorOf(runtime.del(network, blue));
  expect(error).toMatchObject({ cniCode: 11, message: 'plugin "own" failed (DEL): busy' });
  expect(seen).toEqual(["ADD 1 b", "DEL"]);
  // libcni stops at the first failure, and remembers the attachment for the next try.
  expect(ground.calls()).toEqual(["ADD a"]);
  expect(ground.cached()).toEqual(["net-blue-eth0"]);
});

test("what concerns one container is done one after the other, different ones at the same time", async () => {
  const ground = new Ground({ a: `${answer("10.0.0.1/8").replace("exit 0", "")}\nsleep 0.2` });
  const runtime = ground.runtime();
  const network = list([{ type: "a" }]);
  const started = Date.now();
  await Promise.all([runtime.add(network, blue), runtime.del(network, blue), runtime.add(network, blue)]);
  expect(ground.calls()).toEqual(["ADD a", "DEL a", "ADD a"]);
  const inTurn = Date.now() - started;
  const again = Date.now();
  await Promise.all(["x", "y", "z"].map((containerId) => runtime.add(network, { ...blue, containerId })));
  expect(Date.now() - again).toBeLessThan(inTurn);
});
