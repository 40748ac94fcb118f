/** Weft's runtime with real plugins: chains in one process, chains with other people's, and several runtimes at once. */
import { expect } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { needs, testWith } from "../lib/needs.ts";
import { CniHost, ownPlugins, referencePlugins } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

const test = testWith(needs.root);
const weft = join(ownPlugins, "../weft");
const links = ({ kernel }: Namespace) => kernel.rtnl.links.list().map(({ name }) => name);

/** A host with one network, "net", of a bridge and these plugins behind it. */
class Runtime implements Disposable {
  readonly host = new CniHost();
  readonly #confDir = join(this.host.dir, "net.d");

  constructor(plugins: readonly JsonObject[]) {
    mkdirSync(this.#confDir);
    const { cniVersion, name, ...bridge } = this.host.config({ ipMasq: true });
    // Tuning's backups would be the machine's own.
    const dataDir = join(this.host.dir, "tuning");
    const behind = plugins.map((each) => (each.type === "tuning" ? { ...each, dataDir } : each));
    const list = { cniVersion, name, plugins: [bridge, ...behind] };
    writeFileSync(join(this.#confDir, "10-net.conflist"), JSON.stringify(list));
  }

  start(args: readonly string[], path = ownPlugins, before: readonly string[] = []) {
    const places = ["--conf-dir", this.#confDir, "--cache-dir", join(this.host.dir, "cache"), "--path", path];
    return this.host.node.in(() =>
      Bun.spawn([...before, weft, "cni", ...args, ...places], {
        env: { PATH: process.env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin" },
        stdout: "pipe",
        stderr: "pipe",
      }),
    );
  }

  async run(args: readonly string[], path = ownPlugins, before: readonly string[] = []): Promise<void> {
    const child = this.start(args, path, before);
    const [said, status] = await Promise.all([child.stderr.text(), child.exited]);
    if (status !== 0) throw new Error(`weft cni ${args.join(" ")}: ${said}`);
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
  }
}

const usual: JsonObject[] = [
  { type: "portmap", capabilities: { portMappings: true } },
  { type: "bandwidth", ingressRate: 100_000_000, ingressBurst: 10_000_000 },
  { type: "tuning", sysctl: { "net.core.somaxconn": "500" } },
];
const mapping = ["--capabilities", '{"portMappings":[{"hostPort":8080,"containerPort":80}]}'];

const traced = testWith(needs.root, needs.command("strace", "strace"));
traced("in one process the usual chain runs without starting another", async () => {
  using runtime = new Runtime(usual);
  const { host } = runtime;
  const blue = host.container();
  await blue.serve(80, "blue");
  const trace = join(host.dir, "trace");
  for (const verb of ["add", "check", "del"]) {
    const strace = ["strace", "-f", "-qq", "-o", trace, "-e", "trace=execve,fork,vfork"];
    await runtime.run([verb, "net", blue.name, ...(verb === "add" ? mapping : [])], ownPlugins, strace);
    const started = readFileSync(trace, "utf8")
      .split("\n")
      .filter((line) => /execve|fork/.test(line));
    expect(started).toHaveLength(1);
    if (verb === "add") expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("blue ");
  }
  expect(links(blue)).toEqual(["lo"]);
  expect(host.leases()).toEqual({});
});

traced("what a kill leaves of a result that was being kept goes with whatever comes next", async () => {
  using runtime = new Runtime([]);
  const { host } = runtime;
  const blue = host.container();
  const cache = join(host.dir, "cache");
  const trace = join(host.dir, "trace");
  const strace = ["strace", "-f", "-qq", "-o", trace, "-e", "trace=/^rename"];
  for (const verb of ["add", "del", "add", "del"]) {
    await runtime.run([verb, "net", blue.name], ownPlugins, verb === "add" ? strace : []);
  }
  // The first are of the leases.
  const last = readFileSync(trace, "utf8").match(/ rename/g)?.length;
  const kill = [...strace, "-e", `inject=/^rename:signal=SIGKILL:when=${last}`];
  // An ADD that finds the interface takes all of it back.
  for (const next of ["del", "add"]) {
    await runtime.start(["add", "net", blue.name, "--container-id", "blue"], ownPlugins, kill).exited;
    expect(readdirSync(cache).sort()).toEqual([
      expect.stringMatching(/^\.draft-[0-9a-f]+$/),
      "results",
      "weft.lock",
    ]);
    await runtime.start([next, "net", blue.name, "--container-id", "blue"]).exited;
    expect(readdirSync(cache).sort()).toEqual(["results", "weft.lock"]);
    expect([links(blue), host.leases(), readdirSync(join(cache, "results"))]).toEqual([["lo"], {}, []]);
  }
});

const mixed = testWith(
  needs.root,
  needs.file(join(referencePlugins, "tuning"), "containernetworking-plugins"),
);
mixed("Weft's plugins and Debian's stand in one chain", async () => {
  using runtime = new Runtime([
    { type: "tuning", mac: "02:00:00:00:00:77" },
    { type: "portmap", capabilities: { portMappings: true } },
  ]);
  const { host } = runtime;
  const theirs = join(host.dir, "theirs");
  mkdirSync(theirs);
  for (const name of ["tuning", "host-local"]) symlinkSync(join(referencePlugins, name), join(theirs, name));
  const path = `${theirs}:${ownPlugins}`;
  const blue = host.container();
  await blue.serve(80, "blue");
  await runtime.run(["add", "net", blue.name, ...mapping], path);
  expect(blue.kernel.rtnl.links.get("eth0").mac).toBe("02:00:00:00:00:77");
  expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("blue ");
  await runtime.run(["check", "net", blue.name], path);
  await runtime.run(["del", "net", blue.name], path);
  expect(links(blue)).toEqual(["lo"]);
  expect(host.leases()).toEqual({});
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("many runtimes at once on one container leave it as the last of them says", async () => {
  using runtime = new Runtime(usual);
  const { host } = runtime;
  const blue = host.container();
  const verbs = ["add", "del", "add", "del", "add", "del"];
  const children = verbs.map((verb) => runtime.start([verb, "net", blue.name, ...mapping]));
  const ended = await Promise.all(
    children.map(async (child) => ({ status: await child.exited, said: await child.stderr.text() })),
  );
  // An ADD that comes upon another's is refused, and takes nothing of it away.
  for (const { status, said } of ended) if (status !== 0) expect(said).toContain("already exists");
  const isThere = links(blue).includes("eth0");
  expect(Object.keys(host.leases())).toHaveLength(isThere ? 2 : 0);
  if (isThere) await runtime.run(["check", "net", blue.name]);
  await runtime.run(["del", "net", blue.name]);
  expect(links(blue)).toEqual(["lo"]);
  expect(host.leases()).toEqual({});
  expect(host.node.kernel.nft.tables()).toEqual([]);
  expect(links(host.node).sort()).toEqual(["br0", "eth0", "lo"]);
});

test("a command that is ended kills the plugin that runs, and takes back what it has added", async () => {
  using runtime = new Runtime([{ type: "slow" }]);
  const { host } = runtime;
  const own = join(host.dir, "own");
  mkdirSync(own);
  const script = `#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] || exit 0\nsleep 1000 &\necho $! > ${own}/pid\nwait\n`;
  writeFileSync(join(own, "slow"), script, { mode: 0o755 });
  const blue = host.container();
  const child = runtime.start(["add", "net", blue.name], `${own}:${ownPlugins}`);
  const pid = await poll(() => {
    const text = existsSync(join(own, "pid")) ? readFileSync(join(own, "pid"), "utf8").trim() : "";
    return text === "" ? undefined : text;
  });
  child.kill("SIGTERM");
  expect(await child.exited).toBe(1);
  expect(await child.stderr.text()).toContain('plugin "slow" failed (ADD): was killed');
  await poll(() => !existsSync(`/proc/${pid}`) || undefined);
  expect(links(blue)).toEqual(["lo"]);
  expect(host.leases()).toEqual({});
});

/** What `look` finds in the end. */
async function poll<T>(look: () => T | undefined): Promise<T> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; await Bun.sleep(5)) {
    const found = look();
    if (found !== undefined) return found;
  }
  throw new Error("it did not come to be");
}

const root = join(import.meta.dir, "../..");
test("examples/cni/chain.ts", async () => {
  const child = Bun.spawn(["unshare", "-n", process.execPath, join(root, "examples/cni/chain.ts")], {
    cwd: root,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: 20_000,
  });
  const [said, complained] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect(complained).toBe("");
  expect(said.trimEnd().split("\n")).toEqual([
    "the pod has 10.85.0.2/24",
    "its links: lo,eth0",
    "its somaxconn: 500",
    "remembered: example/eth0",
    "remembered: 0",
  ]);
  expect(await child.exited).toBe(0);
});
