/** What a runtime may meet: configurations, plugins' outputs and cache entries that nobody should write. */
import { expect, setDefaultTimeout } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { needs, testWith } from "../lib/needs.ts";
import { CniHost, ownPlugins } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

// Each starts many processes.
setDefaultTimeout(60_000);

const test = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));
const mebibyte = 2 ** 20;
const depth = 100_000;
/** For one command. Milliseconds. */
const soon = 8000;

interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** A host with `weft cni` over a folder with one configuration. */
class Scene implements Disposable {
  readonly host = new CniHost();
  readonly container: Namespace = this.host.container();
  readonly cacheDir = join(this.host.dir, "cache");
  readonly #confDir = join(this.host.dir, "net.d");
  readonly #bin = join(this.host.dir, "bin");

  constructor() {
    for (const dir of [this.#confDir, this.#bin]) mkdirSync(dir);
  }

  configure(text: string | Uint8Array): void {
    writeFileSync(join(this.#confDir, "10-net.conflist"), text);
  }

  /** A configuration that stands as its parts do. */
  list(...plugins: JsonObject[]): void {
    this.configure(JSON.stringify({ cniVersion: "1.1.0", name: "net", plugins }));
  }

  /** A plugin that prints what is in a file, and ends with this status. */
  plugin(name: string, output: string | Uint8Array, status = 0): void {
    writeFileSync(join(this.host.dir, "output"), output);
    const script = `#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] || exit 0\ncat ${this.host.dir}/output\nexit ${status}\n`;
    writeFileSync(join(this.#bin, name), script, { mode: 0o755 });
  }

  cached(): string[] {
    const results = join(this.cacheDir, "results");
    return existsSync(results) ? readdirSync(results) : [];
  }

  /** `weft cni`; fails where it takes long. */
  async run(command: string, ...more: string[]): Promise<Ended> {
    const verb = [command, "net", this.container.name];
    const dirs = ["--conf-dir", this.#confDir, "--path", this.#bin, "--cache-dir", this.cacheDir];
    const child = this.host.node.in(() =>
      Bun.spawn([join(ownPlugins, "../weft"), "cni", ...verb, ...dirs, ...more], {
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
        env: { PATH: process.env.PATH ?? "" },
      }),
    );
    const timer = setTimeout(() => child.kill("SIGKILL"), soon);
    const [stdout, stderr] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    clearTimeout(timer);
    return { status: child.exitCode, stdout, stderr };
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
  }
}

/** What is wrong with a refusal; undefined where it is as it should be. */
function faultOf({ status, stdout, stderr }: Ended): string | undefined {
  if (status === null) return `it took more than ${soon} ms`;
  if (status === 0) return "it succeeded";
  if (/[^\P{Cc}\n]/u.test(stdout + stderr)) return `control characters: ${JSON.stringify(stdout + stderr)}`;
  if (stdout.length + stderr.length > 20_000) return `${stdout.length} and ${stderr.length} characters`;
  let error: JsonObject;
  try {
    error = JSON.parse(stdout);
  } catch {
    return `no JSON: ${JSON.stringify(`${stdout} ${stderr}`.slice(0, 300))}`;
  }
  return typeof error.code === "number" && /\p{Cc}/u.test(String(error.msg)) === false
    ? undefined
    : `no coded error: ${stdout}`;
}

const nested = (open: string, close: string) => `${open.repeat(depth)}${close.repeat(depth)}`;

const lists: [string, string | Uint8Array][] = [
  ["nothing", ""],
  ["garbage", Uint8Array.from([0, 255, 27, 91, 50, 74])],
  ["a list of lists", "[]"],
  ["half of one", '{"cniVersion":"1.1.0","name":"net","plugins":[{"type":"bri'],
  ["nested", `{"cniVersion":"1.1.0","name":"net","plugins":${nested("[", "]")}}`],
  [
    "nested keys",
    `{"cniVersion":"1.1.0","name":"net","plugins":[{"type":"bridge","x":${'{"a":'.repeat(depth)}`,
  ],
  ["a path for a type", '{"cniVersion":"1.1.0","name":"net","plugins":[{"type":"../../bin/sh"}]}'],
  ["an absolute type", '{"cniVersion":"1.1.0","name":"net","plugins":[{"type":"/bin/sh"}]}'],
  ["a type with a line end", '{"cniVersion":"1.1.0","name":"net","plugins":[{"type":"a\\nb"}]}'],
  ["escapes as a type", '{"cniVersion":"1.1.0","name":"net","plugins":[{"type":"\\u001b[2J"}]}'],
  [
    "a path for IPAM",
    '{"cniVersion":"1.1.0","name":"net","plugins":[{"type":"bridge","ipam":{"type":"../x"}}]}',
  ],
  ["another version", '{"cniVersion":"99.0.0","name":"net","plugins":[{"type":"bridge"}]}'],
  ["a number as version", '{"cniVersion":1e400,"name":"net","plugins":[{"type":"bridge"}]}'],
  ["no plugins", '{"cniVersion":"1.1.0","name":"net","plugins":[]}'],
  ["null as plugin", '{"cniVersion":"1.1.0","name":"net","plugins":[null]}'],
  [
    "escapes as keys",
    '{"cniVersion":"1.1.0","name":"net","plugins":[{"type":"bridge","\\u001b[2J":1,"mtu":"x"}]}',
  ],
  [
    "10 MB",
    `{"cniVersion":"1.1.0","name":"net","plugins":[{"type":"bridge","x":"${"x".repeat(10 * mebibyte)}"}]}`,
  ],
];

test.each(lists)("a configuration is refused: %s", async (_, text) => {
  using scene = new Scene();
  scene.configure(text);
  const before = scene.host.state();
  expect(faultOf(await scene.run("add", "--json"))).toBeUndefined();
  const plain = await scene.run("add");
  expect([plain.status === 0, /[^\P{Cc}\n]/u.test(plain.stderr)]).toEqual([false, false]);
  expect(scene.host.state()).toBe(before);
});

const options: [string, string[]][] = [
  ["--container-id", ["../x", "a/b", "a\nb", ".", " ", "x".repeat(300)]],
  ["--ifname", ["../x", "a/b", "a\nb", ".", " ", "x".repeat(16)]],
  ["--args", ["x", "X=1", "=;=", "\u001b=1"]],
  // The kernel takes no longer arguments.
  ["--capabilities", ["x", "[]", "[".repeat(100_000), '{"portMappings":5}']],
];

test.each(options)("an attachment is refused by its %s", async (option, words) => {
  using scene = new Scene();
  scene.list(scene.host.config(), { type: "portmap", capabilities: { portMappings: true } });
  const before = scene.host.state();
  const faults: string[] = [];
  for (const word of words) {
    const ended = await scene.run("add", option, word, "--json");
    const fault = faultOf(ended);
    // What cannot be a call at all is said as any misuse of a command is.
    const isMisuse = ended.stdout === "" && ended.stderr.startsWith(`weft cni: ${option}: `);
    if (fault !== undefined && !(isMisuse && fault.startsWith("no JSON"))) faults.push(`${word}: ${fault}`);
  }
  expect(faults).toEqual([]);
  // The bridge stays, as after any failure of a later plugin.
  expect(withoutBridge(scene.host.state())).toBe(withoutBridge(before));
  expect(scene.cached()).toEqual([]);
});

const withoutBridge = (state: string) =>
  state
    .split("\n")
    .filter((line) => !/\bbr0\b/.test(line) && !/route (fd77|10\.77)/.test(line))
    .join("\n");

const ok = { cniVersion: "1.1.0", ips: [{ address: "10.77.0.9/24" }] };
const outputs: [string, string | Uint8Array, number?][] = [
  ["nothing", ""],
  ["nothing, and fails", "", 1],
  ["null", "null"],
  ["a list", "[]"],
  ["garbage", Uint8Array.from([0, 255, 27, 91, 50, 74])],
  ["garbage, and fails", Uint8Array.from([0, 255, 27, 91, 50, 74]), 1],
  ["half a result", JSON.stringify(ok).slice(0, 30)],
  ["two results", JSON.stringify(ok).repeat(2)],
  ["lists in lists", nested("[", "]")],
  ["objects in objects", `{"cniVersion":"1.1.0","ips":${'{"a":'.repeat(depth)}1${"}".repeat(depth)}}`],
  ["20 MB", "x".repeat(20 * mebibyte)],
  ["another version", JSON.stringify({ ...ok, cniVersion: "\u001b99" })],
  ["an address that is none", JSON.stringify({ ...ok, ips: [{ address: "\u001b[2J" }] })],
  ["a number too large", '{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.1/8","interface":1e400}]}'],
  ["an error with escapes", '{"code":7,"msg":"\\u001b[2J\\u0007","details":"\\u009b"}', 1],
  ["an error with an odd code", '{"code":"x","msg":"bad"}', 1],
  ["an error with a huge code", '{"code":1e400,"msg":"bad"}', 1],
  ["an error that is very long", JSON.stringify({ code: 7, msg: "x".repeat(mebibyte) }), 1],
  ["an error, and succeeds", '{"code":7,"msg":"bad"}', 0],
];

test.each(outputs)("a plugin prints what is no result: %s", async (_, output, status = 0) => {
  using scene = new Scene();
  scene.plugin("evil", output, status);
  const before = scene.host.state();
  // By itself, and as IPAM of ours.
  for (const plugin of [{ type: "evil" }, { type: "ptp", ipam: { type: "evil" } }]) {
    scene.list(plugin);
    expect(faultOf(await scene.run("add", "--json"))).toBeUndefined();
    expect(scene.host.state()).toBe(before);
    expect(scene.cached()).toEqual([]);
  }
});

/** Results that can be read, and yet make no sense. */
const strange: [string, JsonObject][] = [
  ["paths as names", { interfaces: [{ name: "../../../../etc/passwd" }, { name: "eth0", sandbox: "x" }] }],
  [
    "line ends and escapes as names",
    { interfaces: [{ name: "a\nb" }, { name: "\u001b[2J" }, { name: "eth0", sandbox: "/proc/self/ns/net" }] },
  ],
  ["long names", { interfaces: [{ name: "x".repeat(5000) }, { name: "x".repeat(5000), sandbox: "y" }] }],
  ["an interface that is not there", { interfaces: [], ips: [{ address: "10.77.0.9/24", interface: 77 }] }],
  [
    "the last of all addresses",
    { interfaces: [{ name: "lo" }, { name: "eth0" }], ips: [{ address: "255.255.255.255/32" }] },
  ],
  [
    "very many addresses",
    {
      interfaces: [{ name: "eth0" }],
      ips: Array.from({ length: 3000 }, () => ({ address: "10.77.0.9/24" })),
    },
  ],
];

test.each(strange)("plugins behind one whose result makes no sense: %s", async (_, result) => {
  using scene = new Scene();
  scene.plugin("evil", JSON.stringify({ ...ok, ...result }));
  const before = scene.host.state();
  const behind: JsonObject[] = [
    { type: "bandwidth", ingressRate: 8000, ingressBurst: 8000, egressRate: 8000, egressBurst: 8000 },
    { type: "firewall", ingressPolicy: "same-bridge" },
    { type: "firewall", ingressPolicy: "isolated", iptablesAdminChainName: "MINE" },
    { type: "portmap", capabilities: { portMappings: true } },
    { type: "tuning", mtu: 1400, dataDir: join(scene.host.dir, "tuning") },
    { type: "sbr" },
    { type: "ptp", ipam: { type: "evil" } },
    { type: "bridge", bridge: "br7", isGateway: true, ipam: { type: "evil" } },
  ];
  const mapping = [
    "--capabilities",
    '{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}',
  ];
  for (const plugin of behind) {
    scene.list({ type: "evil" }, plugin);
    const added = await scene.run("add", "--json", ...mapping);
    if (added.status !== 0) expect({ plugin, fault: faultOf(added) }).toEqual({ plugin, fault: undefined });
    const deleted = await scene.run("del", "--json");
    expect({ plugin, ...deleted }).toMatchObject({ plugin, status: 0 });
    const { links } = scene.host.node.kernel.rtnl;
    if (links.find("br7") !== undefined) links.delete("br7");
    expect({ plugin, state: scene.host.state() }).toEqual({ plugin, state: before });
  }
});

const entries: [string, (path: string, victim: string) => void][] = [
  ["empty", (path) => writeFileSync(path, "")],
  ["cut short", (path) => writeFileSync(path, '{"kind":"cniCacheV1","contai')],
  ["garbage", (path) => writeFileSync(path, Buffer.from([0, 255, 27]))],
  ["of another kind", (path) => writeFileSync(path, '{"kind":"other","cniVersion":"1.1.0"}')],
  [
    "a result of nonsense",
    (path) => writeFileSync(path, entry({ result: { ips: 5, cniVersion: "\u001b" } })),
  ],
  ["of another container", (path) => writeFileSync(path, entry({ containerId: "../../x", ifName: "a/b" }))],
  ["nested", (path) => writeFileSync(path, nested("[", "]"))],
  ["a link", (path, victim) => symlinkSync(victim, path)],
  ["a link to nowhere", (path) => symlinkSync("/nowhere/at/all", path)],
  ["a pipe", (path) => void Bun.spawnSync(["mkfifo", path])],
];
const entry = (more: JsonObject) =>
  JSON.stringify({
    kind: "cniCacheV1",
    networkName: "net",
    containerId: "x",
    ifName: "eth0",
    result: ok,
    ...more,
  });

test.each(entries)("a cache entry that is none: %s", async (_, spoil) => {
  using scene = new Scene();
  const { host, cacheDir } = scene;
  scene.list(host.config());
  const victim = join(host.dir, "victim");
  writeFileSync(victim, "precious");
  expect((await scene.run("add", "--json")).status).toBe(0);
  const results = join(cacheDir, "results");
  const [name = ""] = readdirSync(results);
  rmSync(join(results, name));
  spoil(join(results, name), victim);
  spoil(join(results, "net-other-eth0"), victim);
  const checked = await scene.run("check", "--json");
  if (checked.status !== 0) expect(faultOf(checked)).toBeUndefined();
  expect((await scene.run("del", "--json")).status).toBe(0);
  const collected = await scene.run("gc", "--json");
  if (collected.status !== 0) expect(faultOf(collected)).toBeUndefined();
  expect(host.leases()).toEqual({});
  expect(readFileSync(victim, "utf8")).toBe("precious");
  expect((await scene.run("add", "--json")).status).toBe(0);
  expect((await scene.run("del", "--json")).status).toBe(0);
  expect(host.leases()).toEqual({});
});
