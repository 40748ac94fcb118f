/** The link cnitool: the command line, variables, output and exit status of libcni's tool, over Weft's runtime. */
import { expect } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { needs, testWith } from "../lib/needs.ts";
import { CniHost, ownPlugins, referencePlugins } from "./cni-fixture.ts";

const test = testWith(needs.root);
const cnitool = join(ownPlugins, "../cnitool");

interface Ended {
  status: number;
  stdout: string;
  stderr: string;
}

/** A host with one network, whose /var/lib is a folder of the test's own. */
class Tool implements Disposable {
  readonly host = new CniHost();
  readonly netDir = join(this.host.dir, "net.d");
  readonly #state = join(this.host.dir, "lib");

  constructor(more: JsonObject = {}, plugins: JsonObject[] = []) {
    for (const dir of [this.netDir, join(this.#state, "cni")]) mkdirSync(dir, { recursive: true });
    const { cniVersion, name, ...bridge } = this.host.config({ cniVersion: "1.1.0", ...more });
    const list = { cniVersion, name, plugins: [bridge, ...plugins] };
    writeFileSync(join(this.netDir, "10-net.conflist"), JSON.stringify(list));
  }

  run(args: readonly string[], env: Record<string, string> = {}, cwd = "/"): Ended {
    const script = 'mount --bind "$0" /var/lib && exec "$@"';
    const { exitCode, stdout, stderr } = this.host.node.in(() =>
      Bun.spawnSync(["unshare", "-m", "sh", "-c", script, this.#state, cnitool, ...args], {
        cwd,
        env: {
          PATH: process.env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin",
          CNI_PATH: ownPlugins,
          NETCONFPATH: this.netDir,
          ...env,
        },
      }),
    );
    return { status: exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
  }

  cached(): string[] {
    try {
      return readdirSync(join(this.#state, "cni/results"));
    } catch {
      return [];
    }
  }

  entry(name: string) {
    return JSON.parse(readFileSync(join(this.#state, "cni/results", name), "utf8"));
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
  }
}

const silent = { status: 0, stdout: "", stderr: "" };

/** As cnitool makes it of the namespace's path. */
const idOf = (path: string) =>
  `cnitool-${new Bun.CryptoHasher("sha512").update(path).digest("hex").slice(0, 20)}`;

const withReference = testWith(
  needs.root,
  needs.file(join(referencePlugins, "bridge"), "containernetworking-plugins"),
  needs.command("iptables", "iptables"),
);
test("with Weft's plugins: add, check, status, del", () =>
  attachAndDetach(ownPlugins, "1.1.0", { type: "portmap", capabilities: { portMappings: true } }));
// The CHECK of its portmap does not find the rules that it made.
withReference("with Debian's plugins: add, check, status, del", () =>
  attachAndDetach(referencePlugins, "1.0.0", { type: "tuning", capabilities: { mac: true } }),
);

function attachAndDetach(plugins: string, cniVersion: string, second: JsonObject): void {
  using tool = new Tool({ cniVersion }, [second]);
  const blue = tool.host.container();
  const path = `/run/netns/${blue.name}`;
  const env = {
    CNI_PATH: plugins,
    CNI_IFNAME: "net1",
    CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAME=blue",
    CAP_ARGS: '{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}',
  };
  const added = tool.run(["add", "net", path], env);
  expect(added).toMatchObject({ status: 0, stderr: "" });
  const result = JSON.parse(added.stdout);
  expect(added.stdout).toBe(JSON.stringify(result, null, 4));
  expect(Object.keys(result)).toEqual(["cniVersion", "interfaces", "ips", "routes", "dns"]);
  expect(result).toMatchObject({
    cniVersion,
    interfaces: [{ name: "br0" }, {}, { name: "net1", sandbox: path }],
    ips: [{ address: "10.77.0.2/24" }, { address: "fd77::2/64" }],
  });
  expect(tool.cached()).toEqual([`net-${idOf(path)}-net1`]);
  expect(tool.entry(`net-${idOf(path)}-net1`)).toMatchObject({
    kind: "cniCacheV1",
    netns: path,
    cniArgs: [
      ["IgnoreUnknown", "1"],
      ["K8S_POD_NAME", "blue"],
    ],
    capabilityArgs: { portMappings: [{ hostPort: 8080 }] },
    result: { cniVersion },
  });
  expect(tool.run(["check", "net", path], env)).toEqual(silent);
  expect(tool.run(["status", "net", path], env)).toEqual(silent);
  expect(tool.run(["del", "net", path], env)).toEqual(silent);
  expect(tool.run(["del", "net", path], env)).toEqual(silent);
  expect(tool.cached()).toEqual([]);
  expect(tool.host.leases()).toEqual({});
}

test("cnitool gc removes every attachment of the network", () => {
  using tool = new Tool({ ipMasq: true });
  const containers = [tool.host.container(), tool.host.container()];
  for (const { name } of containers) {
    expect(tool.run(["-i", "net1", "add", "net", `/run/netns/${name}`]).status).toBe(0);
  }
  expect(Object.keys(tool.host.leases())).toHaveLength(4);
  expect(tool.run(["gc", "net", "/run/netns/any"])).toEqual(silent);
  expect(tool.host.leases()).toEqual({});
  expect(tool.cached()).toEqual([]);
  expect(tool.host.node.kernel.nft.tables()).toEqual([]);
  for (const { kernel } of containers)
    expect(kernel.rtnl.links.list().map(({ name }) => name)).toEqual(["lo"]);
});

test("a namespace's path may be relative, and CNI_IFNAME empty", () => {
  using tool = new Tool();
  const blue = tool.host.container();
  expect(tool.run(["add", "net", blue.name], { CNI_IFNAME: "" }, "/run/netns").status).toBe(0);
  expect(tool.cached()).toEqual([`net-${idOf(`/run/netns/${blue.name}`)}-eth0`]);
});

const mistakes: [string, string[], Record<string, string>, string][] = [
  ["too few arguments", ["add", "net"], {}, "cnitool add    <net> <netns>"],
  ["no arguments", [], {}, "cnitool add    <net> <netns>"],
  [
    "a misspelt command",
    ["dell", "net", "/x"],
    {},
    'unknown command "dell" for "cnitool" (did you mean "del"?)',
  ],
  ["an unknown network", ["add", "nowhere", "/x"], {}, 'no network "nowhere" in '],
  [
    "a misspelt option",
    ["add", "net", "/x", "--ifnam", "net1"],
    {},
    'unknown flag: --ifnam (did you mean "--ifname"?)',
  ],
  ["an option without its value", ["add", "net", "/x", "-i"], {}, "flag needs an argument: -i"],
  ["a namespace that is not there", ["add", "net", "/run/netns/weft-t-gone"], {}, "failed to open netns"],
  ["CNI_ARGS that are none", ["add", "net", "/x"], { CNI_ARGS: "a" }, 'invalid CNI_ARGS pair "a"'],
  ["CAP_ARGS that are none", ["add", "net", "/x"], { CAP_ARGS: "{" }, "CAP_ARGS: not JSON"],
];
test.each(mistakes)("%s is said on standard error, with status 1", (_, args, env, message) => {
  using tool = new Tool();
  const ended = tool.run(args, env);
  expect(ended).toMatchObject({ status: 1, stdout: "" });
  expect(ended.stderr).toContain(message);
  expect(tool.cached()).toEqual([]);
});
