/** The executables as people and runtimes meet them: weft cni, and weft-cni under its own and under foreign names. */
import { expect } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { supportedVersions } from "../../src/cni/versions.ts";
import { pluginNames } from "../../src/plugins/names.ts";
import { needs, testWith } from "../lib/needs.ts";
import { CniHost, ownPlugins } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

const test = testWith(needs.root);
const weft = join(ownPlugins, "../weft");

interface Ended {
  status: number;
  stdout: string;
  stderr: string;
}

/** Runs a program on the host. */
function run(host: CniHost, command: readonly string[], env: Record<string, string> = {}, stdin = ""): Ended {
  const { exitCode, stdout, stderr } = host.node.in(() =>
    Bun.spawnSync([...command], {
      env: { PATH: process.env.PATH ?? "", ...env },
      stdin: Buffer.from(stdin),
    }),
  );
  return { status: exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

/** A folder of configurations, and `weft cni` over it. */
class Cli {
  readonly host = new CniHost();
  readonly confDir = join(this.host.dir, "net.d");

  constructor(files: Readonly<Record<string, unknown>> = {}) {
    mkdirSync(this.confDir);
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(
        join(this.confDir, name),
        typeof content === "string" ? content : JSON.stringify(content),
      );
    }
  }

  network(more: JsonObject = {}): void {
    const { cniVersion, name, ...bridge } = this.host.config({ ipMasq: true, ...more });
    const plugins = [bridge, { type: "portmap", capabilities: { portMappings: true } }];
    writeFileSync(join(this.confDir, "10-net.conflist"), JSON.stringify({ cniVersion, name, plugins }));
  }

  weft(...args: string[]): Ended {
    const dirs = [
      "--conf-dir",
      this.confDir,
      "--cache-dir",
      join(this.host.dir, "cache"),
      "--path",
      ownPlugins,
    ];
    return run(this.host, [weft, "cni", ...args, ...dirs]);
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
  }
}

const mapping = '{"portMappings":[{"hostPort":8080,"containerPort":80}]}';
const links = (container: Namespace) => container.kernel.rtnl.links.list().map(({ name }) => name);

test("weft cni adds, checks and deletes as a runtime would", async () => {
  using cli = new Cli();
  cli.network();
  const { host } = cli;
  const blue = host.container();
  await blue.serve(80, "blue");
  const before = host.state();
  const added = cli.weft("add", "net", blue.name, "--capabilities", mapping);
  expect(added).toMatchObject({ status: 0, stderr: "" });
  expect(added.stdout).toContain(`/run/netns/${blue.name} is attached to "net" as eth0`);
  expect(added.stdout).toContain("address    10.77.0.2/24 gateway 10.77.0.1");
  expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("blue 192.0.2.2 ");
  expect(cli.weft("check", "net", `/run/netns/${blue.name}`)).toMatchObject({ status: 0 });
  // The mapping comes from the cache.
  expect(cli.weft("del", "net", blue.name)).toMatchObject({ status: 0, stderr: "" });
  expect(cli.weft("del", "net", blue.name)).toMatchObject({ status: 0 });
  expect(host.leases()).toEqual({});
  expect(host.node.kernel.nft.tables()).toEqual([]);
  expect(links(blue)).toEqual(["lo"]);
  // All but the bridge, which stays as with the reference.
  host.node.kernel.rtnl.links.delete("br0");
  expect(host.state()).toBe(before);
});

test("weft cni speaks JSON to programs", () => {
  using cli = new Cli();
  cli.network({ cniVersion: "1.1.0" });
  const blue = cli.host.container();
  const added = cli.weft("add", "net", blue.name, "--json", "--container-id", "blue", "--ifname", "net1");
  expect(JSON.parse(added.stdout)).toMatchObject({
    cniVersion: "1.1.0",
    interfaces: [{}, {}, { name: "net1", mtu: 1500, sandbox: `/run/netns/${blue.name}` }],
    ips: [{ address: "10.77.0.2/24" }, { address: "fd77::2/64" }],
  });
  expect(Object.values(cli.host.leases())).toEqual(["blue/net1", "blue/net1"]);
  expect(JSON.parse(cli.weft("status", "net", "--json").stdout)).toEqual({ ok: true });
  const again = cli.weft("add", "net", blue.name, "--json", "--container-id", "other", "--ifname", "net1");
  expect(again.status).toBe(1);
  expect(JSON.parse(again.stdout)).toMatchObject({
    cniVersion: "1.1.0",
    code: 999,
    msg: expect.stringContaining(
      'plugin "bridge" failed (ADD): container interface name ("net1") already exists',
    ),
  });
  expect(JSON.parse(cli.weft("gc", "net", "--json").stdout)).toEqual({ ok: true });
  expect(cli.host.leases()).toEqual({});
  expect(links(blue)).toEqual(["lo"]);
});

test("gc --keep ID means the interface that --ifname says", () => {
  using cli = new Cli();
  cli.network({ cniVersion: "1.1.0" });
  const blue = cli.host.container();
  cli.weft("add", "net", blue.name, "--container-id", "blue", "--ifname", "net1");
  const kept = cli.weft("gc", "net", "--keep", "blue", "--ifname", "net1");
  expect(kept).toMatchObject({ status: 0, stderr: "" });
  expect(Object.values(cli.host.leases())).toEqual(["blue/net1", "blue/net1"]);
  expect(links(blue)).toEqual(["lo", "net1"]);
  expect(cli.weft("gc", "net", "--keep", "blue").status).toBe(0);
  expect(cli.host.leases()).toEqual({});
});

test("variables that are empty say nothing, and a namespace's path may be relative", () => {
  using cli = new Cli();
  cli.network({ cniVersion: "1.1.0" });
  const blue = cli.host.container();
  const variables = ["CNI_ARGS", "CAP_ARGS", "CNI_IFNAME", "CNI_CONTAINERID", "CNI_PATH", "NETCONFPATH"];
  const env = Object.fromEntries(variables.map((name) => [name, ""]));
  const cacheDir = join(cli.host.dir, "cache");
  const script = `cd /run && exec ${weft} cni "$@" --conf-dir ${cli.confDir} --cache-dir ${cacheDir}`;
  const added = run(cli.host, ["sh", "-c", script, "sh", "add", "net", `netns/../netns/${blue.name}`], env);
  expect(added).toMatchObject({ status: 0, stderr: "" });
  const [file = ""] = readdirSync(join(cacheDir, "results"));
  expect(file).toMatch(/^net-cnitool-[0-9a-f]{20}-eth0$/);
  const entry = JSON.parse(readFileSync(join(cacheDir, "results", file), "utf8"));
  expect(entry.netns).toBe(`/run/netns/${blue.name}`);
  expect(run(cli.host, [weft, "cni", "list"], env).stdout).toContain("/etc/cni/net.d");
  expect(cli.weft("gc", "net").stdout).toBe('what network "net" had for containers is removed\n');
  expect(links(blue)).toEqual(["lo"]);
});

test("weft cni add says which capability no plugin is passed", () => {
  using cli = new Cli();
  cli.network();
  const { stderr, status } = cli.weft(
    "add",
    "net",
    cli.host.container().name,
    "--capabilities",
    mapping.replace("M", "m"),
  );
  const warning =
    'no plugin declares the capability "portmappings" (did you mean "portMappings"?): none is passed it';
  expect({ stderr, status }).toEqual({ stderr: `warning: ${warning}\n`, status: 0 });
});

test("weft cni says so where a network has CHECK and GC switched off", () => {
  using cli = new Cli();
  const { cniVersion, name, ...bridge } = cli.host.config({ cniVersion: "1.1.0" });
  const list = { cniVersion, name, disableCheck: true, disableGC: true, plugins: [bridge] };
  writeFileSync(join(cli.confDir, "10-net.conflist"), JSON.stringify(list));
  const blue = cli.host.container();
  expect(cli.weft("add", "net", blue.name).status).toBe(0);
  expect(cli.weft("check", "net", blue.name).stdout).toContain("disableCheck: nothing was looked at");
  expect(cli.weft("gc", "net").stdout).toContain("disableGC: nothing was removed");
  expect(links(blue)).toEqual(["lo", "eth0"]);
});

test("weft cni says so where a network's version is without GC and STATUS", () => {
  using cli = new Cli();
  cli.network({ cniVersion: "1.0.0" });
  const blue = cli.host.container();
  expect(cli.weft("add", "net", blue.name).status).toBe(0);
  expect(cli.weft("status", "net").stdout).toContain("cniVersion 1.0.0, which is without STATUS");
  expect(cli.weft("gc", "net").stdout).toContain("cniVersion 1.0.0, which is without GC");
  expect(links(blue)).toEqual(["lo"]);
});

test("weft cni list shows what there is, and what is wrong with it", () => {
  using cli = new Cli({
    "05-broken.conf": "{",
    "10-a.conflist": {
      name: "a",
      plugins: [
        { type: "bridge", isDefaultGatway: true },
        { type: "foreign", x: 1 },
      ],
    },
    "20-b.conf": { name: "b", cniVersion: "0.4.0", type: "macvlan" },
  });
  const { status, stdout } = cli.weft("list");
  expect(status).toBe(1);
  expect(stdout).toContain("a  0.1.0  bridge -> foreign");
  expect(stdout).toContain('plugins[0].isDefaultGatway: unknown key (did you mean "isDefaultGateway"?)');
  expect(stdout).toContain("b  0.4.0  macvlan");
  expect(stdout).toContain("05-broken.conf: network configuration: not JSON");
  expect(stdout).not.toContain("plugins[1]");
  expect(JSON.parse(cli.weft("list", "--json").stdout)).toMatchObject({
    networks: [{ name: "a" }, { name: "b" }],
    failures: [{ file: join(cli.confDir, "05-broken.conf") }],
  });
});

const commandLines: [string, string[], number, string][] = [
  ["no verb", [], 2, "Usage:"],
  ["a misspelt verb", ["ad"], 2, 'there is no "ad" (did you mean "add"?)'],
  ["too few arguments", ["add", "net"], 2, "missing NETWORK NETNS"],
  [
    "a misspelt option",
    ["list", "--conf-dri", "x"],
    2,
    'no option "--conf-dri" (did you mean "--conf-dir"?)',
  ],
  ["an unknown network", ["add", "nowhere", "x"], 1, 'no network "nowhere" in '],
  ["no namespace", ["add", "net", "weft-t-gone"], 1, 'failed to open netns "/run/netns/weft-t-gone": ENOENT'],
  [
    "capabilities that are no JSON",
    ["add", "net", "x", "--capabilities", "{"],
    1,
    "--capabilities: not JSON",
  ],
  [
    "a timeout that is none",
    ["add", "net", "x", "--timeout", "soon"],
    2,
    '--timeout: "soon" is not a whole number',
  ],
];
test.each(commandLines)("weft cni with %s says so", (_, args, status, message) => {
  using cli = new Cli();
  cli.network();
  const ended = args.length === 0 ? run(cli.host, [weft, "cni"]) : cli.weft(...args);
  expect(ended.status).toBe(status);
  expect(ended.stdout + ended.stderr).toContain(message);
});

test("weft cni --help and version", () => {
  using cli = new Cli();
  const help = run(cli.host, [weft, "cni", "--help"]);
  expect(help.status).toBe(0);
  for (const verb of ["add", "del", "check", "version", "list"])
    expect(help.stdout).toContain(`weft cni ${verb}`);
  expect(run(cli.host, [weft, "cni", "version"]).stdout).toContain(
    "0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0",
  );
  expect(JSON.parse(cli.weft("version", "bridge", "portmap", "--json").stdout)).toEqual({
    bridge: { cniVersion: "1.1.0", supportedVersions: [...supportedVersions] },
    portmap: { cniVersion: "1.1.0", supportedVersions: [...supportedVersions] },
  });
  // As with the other verbs: a plugin of the folder is asked itself, and where there is none it is Weft's own.
  const folder = join(cli.host.dir, "others");
  mkdirSync(folder);
  const script = '#!/bin/sh\necho \'{"cniVersion":"0.4.0","supportedVersions":["0.4.0"]}\'\n';
  writeFileSync(join(folder, "portmap"), script, { mode: 0o755 });
  const others = run(cli.host, [weft, "cni", "version", "bridge", "portmap"], { CNI_PATH: folder });
  expect(others.stdout).toBe(`bridge speaks ${supportedVersions.join(", ")}\nportmap speaks 0.4.0\n`);
});

test.each([...pluginNames])("%s says what it is, and which versions it speaks", (name) => {
  using host = new CniHost();
  const plugin = join(ownPlugins, name);
  const about = run(host, [plugin]);
  expect(about).toMatchObject({ status: 0, stdout: "" });
  expect(about.stderr).toMatch(
    new RegExp(`^CNI ${name} plugin v[0-9.]+\nCNI protocol versions supported: 0\\.1\\.0, .*1\\.1\\.0\n$`),
  );
  const version = run(host, [plugin], { CNI_COMMAND: "VERSION" }, '{"cniVersion":"0.4.0"}');
  expect(version).toMatchObject({ status: 0, stderr: "" });
  expect(JSON.parse(version.stdout)).toEqual({
    cniVersion: "1.1.0",
    supportedVersions: [...supportedVersions],
  });
});

test("weft-cni by its own name explains itself; a foreign name is an error", () => {
  using host = new CniHost();
  const binary = join(ownPlugins, "../weft-cni");
  const own = run(host, [binary]);
  expect(own.status).toBe(0);
  expect(own.stderr).toContain(`the CNI plugins ${pluginNames.join(", ")} in one executable`);
  expect(run(host, [binary, "serve", "--help"])).toEqual(own);
  symlinkSync(binary, join(host.dir, "macvaln"));
  const foreign = run(host, [join(host.dir, "macvaln")], { CNI_COMMAND: "VERSION" });
  expect(foreign).toMatchObject({ status: 1, stdout: "" });
});

test("a copy in another folder, found by PATH, is the plugin of its name", () => {
  using host = new CniHost();
  Bun.spawnSync(["cp", join(ownPlugins, "../weft-cni"), join(host.dir, "loopback")]);
  const { status, stderr } = run(host, ["sh", "-c", `PATH=${host.dir}:$PATH exec loopback`]);
  expect(status).toBe(0);
  expect(stderr).toStartWith("CNI loopback plugin");
});

const environment = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "blue",
  CNI_NETNS: "/run/netns/weft-t-gone",
  CNI_IFNAME: "eth0",
  CNI_PATH: ownPlugins,
};
const good = '{"cniVersion":"1.0.0","name":"net","type":"bridge"}';
const badInput: [string, Record<string, string>, string, number][] = [
  ["no standard input", {}, "", 6],
  ["no JSON", {}, "hello", 6],
  ["a list", {}, "[]", 6],
  ["deeply nested JSON", {}, '{"a":'.repeat(200_000), 6],
  ["a configuration of 10 MB", {}, `{"name":"net","x":"${"x".repeat(10_000_000)}"}`, 6],
  ["no name", {}, '{"cniVersion":"1.0.0","type":"bridge"}', 7],
  ["a name with a way up", {}, '{"cniVersion":"1.0.0","name":"../../x","type":"bridge"}', 7],
  ["an IPAM type with a way up", {}, '{"name":"n","type":"bridge","ipam":{"type":"../../../bin/sh"}}', 7],
  ["a version of the future", {}, '{"cniVersion":"7.0.0","name":"net","type":"bridge"}', 1],
  ["a container id with a slash", { CNI_CONTAINERID: "a/../../b" }, good, 4],
  ["an interface name with a line break", { CNI_IFNAME: "a\nb" }, good, 4],
  ["a missing variable", { CNI_PATH: "" }, good, 4],
  ["an unknown command", { CNI_COMMAND: "ADDD" }, good, 4],
  ["no namespace", {}, good, 8],
  [
    "CHECK in an old version",
    { CNI_COMMAND: "CHECK" },
    '{"cniVersion":"0.3.1","name":"n","type":"bridge"}',
    1,
  ],
  ["GC in an old version", { CNI_COMMAND: "GC" }, good, 1],
  ["STATUS in an old version", { CNI_COMMAND: "STATUS" }, good, 1],
];
test.each(badInput)("%s is one error result with its code, and nothing is made", (_, env, stdin, code) => {
  using host = new CniHost();
  const before = host.state();
  const { status, stdout, stderr } = run(
    host,
    [join(ownPlugins, "bridge")],
    { ...environment, ...env },
    stdin,
  );
  expect(status).toBe(1);
  expect(stderr).toBe("");
  const result = JSON.parse(stdout);
  expect(result).toMatchObject({ code, msg: expect.any(String), cniVersion: expect.any(String) });
  expect(stdout.length).toBeLessThan(2000);
  expect(host.state()).toBe(before);
});

test("unknown keys get a warning on standard error, the result is unharmed", async () => {
  using host = new CniHost();
  const ranges = [[{ subnet: "10.77.0.0/24", rangeStrt: "10.77.0.9" }]];
  const config = host.config({ isDefaultGatway: true }, { rangs: [], ranges });
  const { json, stderr } = await host.succeed("ADD", host.container(), config);
  expect(json.ips).toHaveLength(1);
  expect(stderr).toContain(
    'bridge: isDefaultGatway: unknown key (did you mean "isDefaultGateway"?); it is ignored',
  );
  expect(stderr).toContain('ipam.rangs: unknown key (did you mean "ranges"?); it is ignored');
  expect(stderr).toContain('ipam.ranges[0][0].rangeStrt: unknown key (did you mean "rangeStart"?)');
});

const withoutVlans = testWith(
  needs.root,
  needs.that(needs.kernel("bridgeVlanFiltering") !== undefined, "a kernel without bridge VLAN filtering"),
);
withoutVlans("a kernel that cannot filter VLANs is one clear error", async () => {
  using host = new CniHost();
  const before = host.state();
  for (const more of [{ vlan: 5 }, { vlanTrunk: [{ id: 5 }] }]) {
    const { json } = await host.call("ADD", host.container(), host.config(more));
    expect(json).toMatchObject({
      code: 2,
      msg: expect.stringContaining("vlan: this kernel cannot filter VLANs"),
    });
    expect(host.state()).toBe(before);
  }
});
