/** Calls of plugins that nobody should make, and what each must name when it refuses. */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { type PluginName, pluginNames } from "../../src/plugins/names.ts";
import { CniHost, PluginServer } from "./cni-fixture.ts";

/** A host, with the plugins' server where that is wanted. */
export class Stage implements AsyncDisposable {
  readonly host = new CniHost();
  readonly server: PluginServer | undefined;

  private constructor(served: boolean) {
    this.server = served ? new PluginServer(this.host.node) : undefined;
  }

  static async make(served: boolean): Promise<Stage> {
    const stage = new Stage(served);
    await stage.server?.ready;
    return stage;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server?.[Symbol.dispose]();
    await this.server?.child.exited;
    this.host[Symbol.dispose]();
  }
}

/** One start of a plugin's executable, with anything at all. */
export interface Hostile {
  what: string;
  command: "ADD" | "DEL" | "CHECK" | "GC" | "STATUS";
  /** Standard input. */
  text: string | Uint8Array;
  /** Variables other than the good ones. */
  env?: Record<string, string>;
  /** What the message has to name. */
  names: string;
  /** The error's code. */
  code: number;
}

/** As what makes one name of a link, a file or a chain into another. */
const crooked = ["../x", "a/b", "/bin/sh", "..", ".", "a\nb", "a b", " ", "\u001b[2J", "a:b/", "-x\u0000"];
const mebibyte = 2 ** 20;
const depth = 100_000;

/** A good configuration of each plugin, but that the master, the device or the daemon is missing. */
export function goodConfigs(host: CniHost): Record<PluginName, JsonObject> {
  const { ipam } = host.config();
  const own: Record<PluginName, JsonObject> = {
    bandwidth: { ingressRate: 1_000_000, ingressBurst: 1_000_000 },
    bridge: { bridge: "br0", isDefaultGateway: true, ipMasq: true, ipam },
    dhcp: { ipam: { type: "dhcp", daemonSocketPath: join(host.dir, "dhcp.sock") } },
    dummy: { ipam },
    firewall: {},
    "host-device": { device: "eth7", dataDir: join(host.dir, "devices") },
    "host-local": { ipam },
    ipvlan: { master: "eth0", ipam },
    loopback: {},
    macvlan: { master: "eth0", ipam },
    portmap: { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80 }] } },
    ptp: { ipMasq: true, ipam },
    sbr: {},
    static: { ipam: { type: "static", addresses: [{ address: "10.77.0.9/24" }] } },
    tap: { ipam },
    tuning: { mtu: 1400, dataDir: join(host.dir, "tuning") },
    vlan: { master: "eth0", vlanId: 5, ipam },
    vrf: { vrfname: "blue" },
  };
  for (const type of pluginNames) own[type] = { cniVersion: "1.1.0", name: "net", type, ...own[type] };
  return own;
}

/** Calls that every plugin has to refuse; all have in common how. `few`: some of each kind. */
export function hostileCalls(good: JsonObject, few: boolean): Hostile[] {
  const kinds = [environments(good), names(good), texts(good), types(good)];
  const step = few ? 5 : 1;
  return kinds
    .flatMap((calls) => calls.filter((_, i) => i % step === 0))
    .filter(({ command }) => command !== "GC" || !withoutGc.includes(good.type));
}

function call(
  what: string,
  names: string,
  code: number,
  config: unknown,
  more: Partial<Hostile> = {},
): Hostile {
  return { what, command: "ADD", text: JSON.stringify(config), names, code, ...more };
}

function environments(good: JsonObject): Hostile[] {
  const calls: Hostile[] = [];
  // No variable can have a zero byte in it.
  const words = ["", ...crooked.filter((word) => !word.includes("\0"))];
  for (const command of ["ADD", "DEL", "CHECK"] as const) {
    for (const word of [...words, "x".repeat(300)]) {
      const env = { CNI_CONTAINERID: word };
      calls.push(call(`container ${JSON.stringify(word)}`, "CNI_CONTAINERID", 4, good, { command, env }));
    }
    for (const word of [...words, "x".repeat(16), "a:b", "eth%d", "\u00e4/0", "\u00e4".repeat(8)]) {
      const env = { CNI_IFNAME: word };
      calls.push(call(`interface ${JSON.stringify(word)}`, "CNI_IFNAME", 4, good, { command, env }));
    }
  }
  for (const word of ["add", "ADD\n", "ADD;DEL", "\u001b[31m", "x".repeat(100_000)]) {
    calls.push(call("a command", "CNI_COMMAND", 4, good, { env: { CNI_COMMAND: word } }));
  }
  for (const word of [
    "x",
    "=",
    "IP=1=2",
    "X=1",
    "IgnoreUnknown=maybe",
    "\u001b=\u0007",
    "A=;B=".repeat(20_000),
  ]) {
    if (word === "X=1" && knowNoArgs.includes(good.type)) continue;
    calls.push(call("arguments", "CNI_ARGS", 4, good, { env: { CNI_ARGS: word } }));
  }
  calls.push(call("no path", "CNI_PATH", 4, good, { env: { CNI_PATH: "" } }));
  return calls;
}

function names(good: JsonObject): Hostile[] {
  const calls: Hostile[] = [];
  for (const word of [...crooked, "", 5, null, [], {}, true, "x".repeat(300)]) {
    calls.push(call(`type ${JSON.stringify(word)}`, "type", 7, { ...good, type: word }));
    const missing = word === "" || word === null;
    calls.push(
      call(`name ${JSON.stringify(word)}`, missing ? "network name" : "name", 7, { ...good, name: word }),
    );
    if (missing) continue;
    const ipam = { ...(good.ipam as JsonObject | undefined), type: word };
    calls.push(call(`ipam.type ${JSON.stringify(word)}`, "ipam.type", 7, { ...good, ipam }));
  }
  for (const word of ["9.9.9", "1.2.0"]) calls.push(call(word, "versions", 1, { ...good, cniVersion: word }));
  for (const word of ["1.1.0\n", "../..", 1.1, [], "1".repeat(1000), "1e400"]) {
    calls.push(call(`version ${word}`, "cniVersion", 6, { ...good, cniVersion: word }));
  }
  return calls;
}

/** What is no JSON, or more of it than anybody needs. */
function texts(good: JsonObject): Hostile[] {
  const what = "network configuration";
  const text = JSON.stringify(good);
  const inside = (json: string) => `${text.slice(0, -1)},"x":${json}}`;
  const raw: [string, string | Uint8Array][] = [
    ["nothing", ""],
    ["white space", " \n".repeat(1000)],
    ["half of it", text.slice(0, text.length / 2)],
    ["a list", `[${text}]`],
    ["null", "null"],
    ["a number", "1e400"],
    ["a text", '"bridge"'],
    ["zero bytes", new Uint8Array(5000)],
    ["a zero byte behind it", `${text}\0`],
    ["two of it", text + text],
    ["no UTF-8", Uint8Array.from([0x7b, 0x22, 0xff, 0xfe, 0xc0, 0x80])],
    ["escapes for a terminal", "\u001b]0;x\u0007\u009b2J"],
    ["10 MB of white space", text + " ".repeat(10 * mebibyte)],
    ["a text of 10 MB", inside(JSON.stringify("x".repeat(10 * mebibyte)))],
    ["a million keys", inside(`{${Array.from({ length: 10 ** 6 }, (_, i) => `"${i}":0`).join()}}`)],
    ["lists that do not end", inside("[".repeat(depth))],
    ["objects that do not end", inside('{"a":'.repeat(depth))],
  ];
  return raw.map(([name, bytes]) => ({ what: name, command: "ADD", text: bytes, names: what, code: 6 }));
}

/** Values of another type than they should have. */
function types(good: JsonObject): Hostile[] {
  const calls: Hostile[] = [];
  const nested = `${"[".repeat(depth)}${"]".repeat(depth)}`;
  for (const key of ["dns", "ipam"]) {
    for (const word of [5, "x", [], true]) {
      calls.push(call(`${key} ${JSON.stringify(word)}`, key, 7, { ...good, [key]: word }));
    }
    // Too deep for a stack, or of the wrong type.
    const text = `${JSON.stringify({ ...good, [key]: undefined }).slice(0, -1)},"${key}":${nested}}`;
    calls.push({
      what: `${key} nested`,
      command: "ADD",
      text,
      names: `${key}|network configuration`,
      code: -1,
    });
  }
  const results: unknown[] = [
    5,
    "x",
    [],
    { ips: 5 },
    { ips: [{ address: "x" }] },
    { ips: [{}] },
    { interfaces: [5] },
  ];
  results.push({ routes: [{ dst: "10.0.0.0/99" }] }, { dns: [] }, { interfaces: [{ name: [] }] });
  results.push({ ips: [{ address: "10.0.0.1/8", interface: 1e300 }] });
  for (const prevResult of results) {
    for (const command of ["ADD", "CHECK"] as const) {
      const what = `prevResult ${JSON.stringify(prevResult)}`;
      calls.push(call(what, "prevResult", 6, { ...good, prevResult }, { command }));
    }
  }
  for (const list of [5, "x", {}, [5], [[]], [{ containerID: 5 }], [{ containerID: "a", ifname: [] }]]) {
    const config = { ...good, "cni.dev/valid-attachments": list };
    calls.push(call(`valid ${JSON.stringify(list)}`, "valid-attachments", 7, config, { command: "GC" }));
  }
  calls.push(call("GC without a list", "valid-attachments", 7, good, { command: "GC" }));
  return calls;
}

const badNames = ["../x", "a/b", "a\nb", "a%d", "..", "\u001b[2J", "x".repeat(16), 5, [], "a\0b"];

/** Keys of one plugin with values that would lead it elsewhere. */
const ownKeys: Readonly<Partial<Record<PluginName, Readonly<Record<string, readonly unknown[]>>>>> = {
  bandwidth: {
    ingressRate: ["8", -1, 1e300, {}],
    ingressBurst: [2 ** 40, null],
    shapedSubnets: [["\n"], "x", ["10.0.0.0/99"]],
  },
  bridge: {
    bridge: badNames,
    mtu: ["1500", 1e9, 1.5, -1],
    vlan: [4095, "5"],
    vlanTrunk: [{}, [{ minID: 1 }], [{ id: 0 }]],
    ipMasqBackend: ["\u001b[31m", "/bin/sh"],
  },
  firewall: {
    backend: ["\u001b[31m", "x".repeat(10_000)],
    ingressPolicy: ["../open", 5],
    iptablesAdminChainName: ["a b", "x".repeat(500), "; drop", "\n"],
  },
  "host-device": {
    device: badNames,
    dataDir: ["../x", "x", 5],
    pciBusID: ["../../..", "a/b"],
    kernelpath: ["/etc", "/sys/devices/../../etc", "\u001b"],
    hwaddr: ["x", "00:00"],
  },
  "host-local": {
    ipam: [
      { type: "host-local", dataDir: "x/../y", subnet: "10.77.0.0/24" },
      { type: "host-local", resolvConf: "/etc/../\u001b", subnet: "10.77.0.0/24" },
      { type: "host-local", resolvConf: "relative", subnet: "10.77.0.0/24" },
      { type: "host-local", dataDir: "/\0", subnet: "10.77.0.0/24" },
      { type: "host-local", subnet: "10.77.0.0/99" },
      { type: "host-local", subnet: "10.77.0.0/24", rangeStart: "10.78.0.1" },
      { type: "host-local", ranges: [[]] },
    ],
  },
  ipvlan: { master: badNames, mode: ["../l2", 5] },
  macvlan: { master: badNames, mode: ["../bridge", "\u001b"], mac: ["x", "01:00:00:00:00:01"] },
  portmap: {
    backend: ["\u001b", {}],
    conditionsV4: ["x", [5]],
    externalSetMarkChain: ["a b", "x".repeat(100)],
    markMasqBit: [32, -1, "5"],
  },
  ptp: { ipMasqBackend: ["\u001b"], mtu: [1e9] },
  sbr: { table: [-1, 2 ** 32], gateways: [["\u001b"], "x"] },
  static: {
    ipam: [
      { type: "static", addresses: [{ address: "10.0.0.1" }] },
      { type: "static", addresses: [{ address: "\u001b/8" }] },
      { type: "static", addresses: 5 },
    ],
  },
  tap: { bridge: badNames, owner: [-1, 2 ** 32, "root"], mac: ["x"] },
  tuning: {
    dataDir: ["x", "../x", 5],
    mac: ["x"],
    sysctl: [
      { "kernel.hostname": "x" },
      { "net/../kernel/hostname": "x" },
      { "net.ipv4\n.x": "x" },
      { "/etc/passwd": "x" },
      { "net.core.somaxconn": 5 },
      [],
    ],
  },
  vlan: { master: badNames, vlanId: [4095, -1, "5"] },
  vrf: { vrfname: badNames, table: [-1, 2 ** 32] },
};

/** Calls that one plugin has to refuse, with what the chained ones need. */
export function ownCalls(good: JsonObject): Hostile[] {
  const interfaces = [{ name: "br0" }, { name: "veth0" }, { name: "eth0", sandbox: "/run/netns/x" }];
  const prevResult = { cniVersion: "1.1.0", interfaces, ips: [{ address: "10.77.0.9/24", interface: 2 }] };
  const keys = ownKeys[good.type as PluginName] ?? {};
  return Object.entries(keys).flatMap(([key, values]) =>
    values.map((value) => {
      // Another property that names the device would count first.
      const others = key === "device" || good.device === undefined ? {} : { device: "" };
      const what = `${key} ${JSON.stringify(value)?.slice(0, 100)}`;
      return call(what, key, -1, { ...good, ...others, prevResult, [key]: value });
    }),
  );
}

/** Plugins to which no key of CNI_ARGS is unknown: they look at none. */
const knowNoArgs: readonly unknown[] = ["bandwidth", "firewall", "loopback", "portmap", "sbr", "vrf"];

/** Plugins that have nothing to collect. */
const withoutGc: readonly unknown[] = ["loopback", "sbr", "static", "vrf"];

/** Plugins that have nothing to do in the container's namespace. */
const outside: readonly unknown[] = ["bandwidth", "dhcp", "firewall", "host-local", "portmap", "static"];

/** Calls with paths that lead to no network namespace. */
export function namespaceCalls(host: CniHost, good: JsonObject): Hostile[] {
  if (outside.includes(good.type)) return [];
  const dir = join(host.dir, "namespaces");
  mkdirSync(dir);
  writeFileSync(join(dir, "text"), "x");
  symlinkSync("loop", join(dir, "loop"));
  symlinkSync(join(dir, "gone"), join(dir, "dangling"));
  Bun.spawnSync(["mkfifo", join(dir, "pipe")]);
  const paths = ["text", "loop", "dangling", "pipe", "text/x", "."].map((name) => join(dir, name));
  const others = [
    "/proc/self/ns/mnt",
    "/dev/null",
    "/run/netns/\u001b[31m",
    `/${"x".repeat(5000)}`,
    "x",
    "\n",
  ];
  const result = {
    interfaces: [{ name: "eth0", sandbox: "x" }],
    ips: [{ address: "10.77.0.9/24", interface: 0 }],
  };
  const prevResult = { cniVersion: "1.1.0", ...result };
  return [...paths, ...others].map((path) => {
    const env = { CNI_NETNS: path };
    const names = "netns|network namespace";
    return call(`namespace ${path.slice(0, 100)}`, names, 8, { ...good, prevResult }, { env });
  });
}
