/** The bandwidth plugin behind bridge, as executables in namespaces; see cni-fixture.ts for the picture. */
import { expect } from "bun:test";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { needs, testWith } from "../lib/needs.ts";
import { attach, bandwidthOf, both, burst, interfacesOf, portOf, rate } from "./cni-bandwidth-fixture.ts";
import { type Answer, CniHost, ownPlugins, referencePlugins } from "./cni-fixture.ts";

const wanted = [needs.root, needs.kernel("ifb"), needs.command("tc", "iproute2")];
const test = testWith(...wanted);
const reference = needs.file(join(referencePlugins, "bandwidth"), "containernetworking-plugins");
const referenceTest = testWith(...wanted, reference);

const ifbs = (host: CniHost) => host.node.kernel.rtnl.links.list({ kind: "ifb" }).map(({ name }) => name);
const qdiscs = (host: CniHost, link: string) =>
  host.node.kernel.rtnl.tc.qdiscs(link).map(({ kind, parent }) => `${kind} ${parent}`);

function tc(host: CniHost, ...args: string[]): string {
  const { success, stdout, stderr } = host.node.in(() => Bun.spawnSync(["tc", ...args]));
  if (!success) throw new Error(`tc ${args.join(" ")}: ${stderr}`);
  return stdout.toString();
}

test("the result has the ifb behind what was there, and says nothing else new", async () => {
  using host = new CniHost();
  const container = host.container();
  const { first, added } = await attach(host, container, both);
  const [name] = ifbs(host);
  const { mac, up, mtu, alias, txQueueLength } = host.node.kernel.rtnl.links.get(name as string);
  expect(added.json).toEqual({
    ...first.json,
    interfaces: [...interfacesOf(first), { name: name as string, mac: mac as string }],
  });
  expect({ up, mtu, alias, txQueueLength }).toEqual({
    up: true,
    mtu: 1500,
    alias: `weft: net/${container.name}/eth0`,
    txQueueLength: 1000,
  });
});

test.each([
  ["no limits", {}],
  ["limits of 0", { ingressRate: 0, ingressBurst: 0, runtimeConfig: { bandwidth: both } }],
  ["ingress alone", { ingressRate: rate, ingressBurst: burst }],
])("with %s the result is handed on as it is", async (_, limits) => {
  using host = new CniHost();
  const { first, added } = await attach(host, host.container(), limits);
  expect(added.json).toEqual(first.json);
  expect(ifbs(host)).toEqual([]);
});

test.each(["0.3.1", "0.4.0", "1.1.0"])("a configuration of version %s", async (cniVersion) => {
  using host = new CniHost();
  const container = host.container();
  const first = await host.succeed("ADD", container, host.config({ cniVersion }));
  const config = { ...bandwidthOf({ ...both, cniVersion }), prevResult: first.json };
  const { json } = await host.succeed("ADD", container, config);
  expect(json).toMatchObject({
    cniVersion,
    ips: first.json.ips,
    interfaces: [{}, {}, {}, { name: ifbs(host)[0] }],
  });
  await host.succeed("DEL", container, { ...config, prevResult: json });
  expect(ifbs(host)).toEqual([]);
});

const numbers: [string, JsonObject][] = [
  ["both directions", both],
  [
    "odd numbers",
    { ingressRate: 12_345_678, ingressBurst: 987_654, egressRate: 1_000_007, egressBurst: 131_071 },
  ],
  ["ingress alone", { ingressRate: 10_000_000_000, ingressBurst: 10_000_000 }],
  ["egress alone, fast", { egressRate: 80_000_000_000, egressBurst: 800_000_000 }],
];
referenceTest.each(numbers)("%s: the kernel has what the reference plugin puts there", async (_, limits) => {
  using ours = new CniHost();
  using theirs = new CniHost();
  const seen = [];
  for (const [host, plugins] of [
    [ours, ownPlugins],
    [theirs, referencePlugins],
  ] as const) {
    // The names of host's end and ifb are hashes of the container's.
    const container = host.container();
    const call = { plugins, containerId: "c1" };
    const first = await host.succeed("ADD", container, host.config(), { containerId: "c1" });
    const config = { ...bandwidthOf(limits), prevResult: first.json };
    const added = await host.succeed("ADD", container, config, call);
    const links = [portOf(first), ...ifbs(host)];
    const filters = JSON.parse(tc(host, "-j", "filter", "show", "dev", portOf(first), "ingress"));
    seen.push({
      interfaces: interfacesOf(added).map(({ name }) => name),
      qdiscs: links.map((link) => [link, JSON.parse(tc(host, "-j", "qdisc", "show", "dev", link))]),
      filters: filters.map(({ options = {}, ...rest }: Record<string, { actions?: JsonObject[] }>) => ({
        ...rest,
        options: { ...options, actions: (options.actions ?? []).slice(0, 1).map(withoutIndex) },
      })),
    });
    // Either's CHECK and DEL understand what the other made.
    const other = plugins === ownPlugins ? referencePlugins : ownPlugins;
    const later = { ...config, prevResult: added.json };
    await host.succeed("CHECK", container, later, { ...call, plugins: other });
    await host.succeed("DEL", container, later, { ...call, plugins: other });
    expect(ifbs(host)).toEqual([]);
  }
  expect(seen[0]).toEqual(seen[1] as (typeof seen)[0]);
});

const withoutIndex = ({ index: _, ...rest }: JsonObject): JsonObject => rest;

test("DEL removes the ifb however little it is told, and may be repeated", async () => {
  for (const [netns, goneFirst] of [
    [undefined, false],
    ["", false],
    ["/run/netns/weft-t-gone", true],
  ] as const) {
    using host = new CniHost();
    const container = host.container();
    const { first } = await attach(host, container, both);
    if (goneFirst) await host.succeed("DEL", container, host.config());
    expect(ifbs(host)).toHaveLength(1);
    for (let i = 0; i < 2; i++) {
      const call = netns === undefined ? {} : { netns };
      const { stdout } = await host.succeed("DEL", container, bandwidthOf(), call);
      expect(stdout).toBe("");
      expect(ifbs(host)).toEqual([]);
    }
    if (!goneFirst) expect(host.node.kernel.rtnl.links.find(portOf(first))).toBeDefined();
  }
});

test("DEL does not mind limits that ADD refused", async () => {
  using host = new CniHost();
  const container = host.container();
  await attach(host, container, both);
  await host.succeed("DEL", container, bandwidthOf({ ingressRate: 8, unshapedSubnets: ["hello"] }));
  expect(ifbs(host)).toEqual([]);
});

test("two interfaces of a container on one network have an ifb each", async () => {
  using host = new CniHost();
  const container = host.container();
  const first = await attach(host, container, both);
  const second = await attach(host, container, both, { ifname: "eth1" });
  expect(new Set(ifbs(host)).size).toBe(2);
  for (const [{ added, config }, ifname] of [
    [first, "eth0"],
    [second, "eth1"],
  ] as const) {
    await host.succeed("CHECK", container, { ...config, prevResult: added.json }, { ifname });
  }
  await host.succeed("DEL", container, first.config);
  expect(ifbs(host)).toEqual([interfacesOf(second.added)[3]?.name as string]);
  await host.succeed("DEL", container, second.config, { ifname: "eth1" });
  expect(ifbs(host)).toEqual([]);
});

test("DEL leaves alone what is another attachment's", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  const { added } = await attach(host, blue, both);
  await host.succeed("DEL", green, bandwidthOf());
  await host.succeed("DEL", blue, bandwidthOf({}, "other"));
  await host.succeed("DEL", blue, bandwidthOf(), { ifname: "eth1" });
  expect(ifbs(host)).toEqual([interfacesOf(added)[3]?.name as string]);
});

const foreign: [string, (host: CniHost, port: string, ifb: string) => void, string, string[]][] = [
  [
    "a root qdisc",
    (host, port) => void tc(host, "qdisc", "add", "dev", port, "root", "handle", "1:", "pfifo"),
    "EEXIST",
    ["pfifo root"],
  ],
  [
    "an ingress qdisc",
    (host, port) => void tc(host, "qdisc", "add", "dev", port, "ingress"),
    "EEXIST",
    ["noqueue root", "ingress clsact"],
  ],
  [
    "an ifb of that name",
    (host, _, name) => host.node.kernel.rtnl.links.add({ kind: "ifb", name }),
    "already exists",
    ["noqueue root"],
  ],
];
test.each(foreign)(
  "an ADD that finds %s leaves nothing, and that as it was",
  async (_, prepare, problem, left) => {
    for (const subnets of [{}, { unshapedSubnets: ["10.0.0.0/8"] }]) {
      using host = new CniHost();
      const container = host.container();
      const { added, config } = await attach(host, container, both);
      const name = interfacesOf(added)[3]?.name as string;
      await host.succeed("DEL", container, config);
      const port = portOf(added);
      tc(host, "qdisc", "del", "dev", port, "root");
      tc(host, "qdisc", "del", "dev", port, "ingress");
      prepare(host, port, name);
      const before = host.state();
      const { status, json } = await host.call("ADD", container, { ...config, ...subnets });
      expect(status).toBe(1);
      expect(json.msg).toContain(problem);
      expect(host.state()).toBe(before);
      expect(qdiscs(host, port)).toEqual(left);
    }
  },
);

test("a second ADD of an attachment fails and leaves the first as it is", async () => {
  using host = new CniHost();
  const container = host.container();
  const { added, config } = await attach(host, container, both);
  const { json } = await host.call("ADD", container, config);
  expect(json).toMatchObject({ code: 999, msg: expect.stringContaining("EEXIST") });
  await host.succeed("CHECK", container, { ...config, prevResult: added.json });
});

test("without a result before it, or without a pair, ADD says what is wrong", async () => {
  using host = new CniHost();
  const container = host.container();
  const { first, config } = await attach(host, container, {});
  const alone = await host.call("ADD", container, bandwidthOf(both));
  expect(alone.json).toMatchObject({ code: 7, msg: "must be called as chained plugin" });
  const cases: [JsonObject, JsonObject, string][] = [
    [{ ...first.json, interfaces: [] }, {}, "no interfaces provided"],
    [first.json, { ifname: "lo" }, 'container interface "lo" has no veth peer'],
    [first.json, { ifname: "eth7" }, 'container interface "eth7" has no veth peer'],
    [
      { ...first.json, interfaces: [{ name: "br0" }, { name: "eth0", sandbox: "/run/netns/x" }] },
      {},
      "no veth peer of container interface found in host ns",
    ],
  ];
  for (const [prevResult, call, msg] of cases) {
    const { json } = await host.call("ADD", container, { ...config, ...both, prevResult }, call);
    expect(json).toMatchObject({ code: 999, msg });
  }
  const gone = await host.call("ADD", container, { ...config, ...both }, { netns: "/run/netns/weft-t-gone" });
  expect(gone.json).toMatchObject({ code: 8 });
  expect(ifbs(host)).toEqual([]);
});

test("a limit that cannot be is refused with its key", async () => {
  using host = new CniHost();
  const container = host.container();
  const { config } = await attach(host, container, {});
  const { json } = await host.call("ADD", container, { ...config, ingressRate: 8000 });
  expect(json).toEqual({
    cniVersion: "1.0.0",
    code: 7,
    msg: "ingressBurst: if rate is set, burst must also be set",
    details: "Give both, or neither of them for no limit",
  });
});

test("a burst that is less than a packet is warned of", async () => {
  using host = new CniHost();
  const { added } = await attach(host, host.container(), { egressRate: 8000, egressBurst: 8000 });
  expect(added.stderr).toContain("egressBurst: 8000 bits are less than a packet of 1500 bytes");
});

type Damage = (host: CniHost, port: string, ifb: string) => void;
const change =
  (link: "port" | "ifb", ...args: string[]): Damage =>
  (host, port, ifb) => {
    const [object = "", command = "", ...rest] = args;
    tc(host, object, command, "dev", link === "port" ? port : ifb, ...rest);
  };
const slow = ["root", "handle", "1:", "tbf", "rate", "7mbit", "burst", "10000", "limit", "35000"];
const damages: [string, JsonObject, Damage, string][] = [
  ["the qdisc for ingress gone", both, change("port", "qdisc", "del", "root"), "Failed to find qdisc"],
  ["another rate for ingress", both, change("port", "qdisc", "change", ...slow), "Rate of"],
  ["another rate for egress", both, change("ifb", "qdisc", "change", ...slow), "Rate of bwp"],
  [
    "another burst",
    both,
    change("ifb", "qdisc", "change", ...slow.with(5, "8mbit").with(7, "20000")),
    "Burst of bwp",
  ],
  ["no redirection", both, change("port", "filter", "del", "ingress"), "is not redirected to bwp"],
  ["no ingress qdisc", both, change("port", "qdisc", "del", "ingress"), "is not redirected to bwp"],
  ["the ifb down", both, (host, _, ifb) => host.node.kernel.rtnl.links.set(ifb, { up: false }), "is down"],
  ["the ifb gone", both, (host, _, ifb) => host.node.kernel.rtnl.links.delete(ifb), "is missing"],
  [
    "a class with another rate",
    { ...both, shapedSubnets: ["10.0.0.0/8"] },
    change("port", "class", "change", "classid", "1:30", "htb", "rate", "9mbit", "burst", "10000"),
    "Rate of",
  ],
  [
    "what is not shaped held up",
    { ...both, unshapedSubnets: ["10.0.0.0/8"] },
    change("ifb", "class", "change", "classid", "1:1", "htb", "rate", "9mbit"),
    "uncapped class",
  ],
  [
    "a filter gone",
    { ...both, unshapedSubnets: ["10.0.0.0/8", "fd00::/8"] },
    change("ifb", "filter", "del", "parent", "1:", "prio", "15", "protocol", "ipv6"),
    "the filter for fd00::/8 on bwp",
  ],
  [
    "the default class of the other kind of subnets",
    { ...both, shapedSubnets: ["10.0.0.0/8"] },
    (host, port) => {
      tc(host, "qdisc", "del", "dev", port, "root");
      tc(host, "qdisc", "add", "dev", port, "root", "handle", "1:", "htb", "default", "30");
    },
    "Default class of",
  ],
];
test.each(damages)("CHECK sees %s", async (_, limits, damage, problem) => {
  using host = new CniHost();
  const container = host.container();
  const { added, config } = await attach(host, container, limits);
  const later = { ...config, prevResult: added.json };
  await host.succeed("CHECK", container, later);
  damage(host, portOf(added), interfacesOf(added)[3]?.name as string);
  const { status, json } = await host.call("CHECK", container, later);
  expect(status).toBe(1);
  expect(json).toMatchObject({ code: 999, msg: expect.stringContaining(problem) });
});

test("CHECK takes the classes that newer reference plugins make for all traffic", async () => {
  using host = new CniHost();
  const container = host.container();
  const { added, config } = await attach(host, container, { ingressRate: rate, ingressBurst: burst });
  const port = portOf(added);
  tc(host, "qdisc", "del", "dev", port, "root");
  tc(host, "qdisc", "add", "dev", port, "root", "handle", "1:", "htb", "default", "30");
  tc(
    host,
    "class",
    "add",
    "dev",
    port,
    "parent",
    "1:",
    "classid",
    "1:30",
    "htb",
    "rate",
    "8mbit",
    "burst",
    "10000",
  );
  tc(host, "class", "add", "dev", port, "parent", "1:", "classid", "1:1", "htb", "rate", "800gbit");
  await host.succeed("CHECK", container, { ...config, prevResult: added.json });
  const { json } = await host.call("CHECK", container, {
    ...config,
    ingressRate: 2 * rate,
    prevResult: added.json,
  });
  expect(json.msg).toContain("Rate of");
});

test("GC removes the ifbs of the network's other attachments", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  const kept = await attach(host, blue, both);
  await attach(host, green, both);
  const other = await attach(host, green, {}, { ifname: "eth1" });
  const elsewhere = await host.succeed(
    "ADD",
    green,
    { ...bandwidthOf(both, "other"), prevResult: other.first.json },
    { ifname: "eth1" },
  );
  host.node.kernel.rtnl.links.add({ kind: "ifb", name: "bwp0123456789ab" });
  host.node.kernel.rtnl.links.add({ kind: "ifb", name: "ifb0" });
  expect(ifbs(host)).toHaveLength(5);
  const config = { ...bandwidthOf(), cniVersion: "1.1.0" };
  const valid = [{ containerID: blue.name, ifname: "eth0" }];
  await host.succeed("GC", undefined, { ...config, "cni.dev/valid-attachments": valid });
  const named = (answer: Answer) => interfacesOf(answer)[3]?.name as string;
  expect(ifbs(host).sort()).toEqual(["bwp0123456789ab", "ifb0", named(kept.added), named(elsewhere)].sort());
  await host.succeed("GC", undefined, { ...config, "cni.dev/valid-attachments": [] });
  expect(ifbs(host).sort()).toEqual(["bwp0123456789ab", "ifb0", named(elsewhere)].sort());
});

test.each([{}, { unshapedSubnets: ["10.0.0.0/8"] }])(
  "STATUS asks the kernel and makes nothing (%p)",
  async (more) => {
    using host = new CniHost();
    const before = host.state();
    const config = bandwidthOf({ cniVersion: "1.1.0", ...both, ...more });
    const { stdout } = await host.succeed("STATUS", undefined, config);
    expect(stdout).toBe("");
    expect(host.state()).toBe(before);
    expect(qdiscs(host, "lo")).toEqual(["noqueue root"]);
    const wrong = await host.call("STATUS", undefined, { ...config, ingressRate: 0 });
    expect(wrong.json).toMatchObject({ code: 7 });
  },
);
