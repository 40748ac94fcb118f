/** Weft's plugins beside Debian's containernetworking-plugins: the same answers, the same state, each other's leases. */
import { expect } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { type Answer, addressOf, CniHost, ownPlugins, referencePlugins } from "../kernel/cni-fixture.ts";
import type { Namespace } from "../kernel/services-fixture.ts";
import { needs, testWith } from "../lib/needs.ts";

const reference = needs.file(join(referencePlugins, "bridge"), "containernetworking-plugins");
const test = testWith(needs.root, reference);

/** What is made by chance, or names a namespace, replaced by what it is. */
function normalized(text: string, container: Namespace): string {
  return text
    .replaceAll(container.name, "CONTAINER")
    .replace(/([0-9a-f]{2}:){5}[0-9a-f]{2}/g, "MAC")
    .replace(/veth[0-9a-f]{8}/g, "VETH");
}

/** Addresses, routes and link of the container, and what is on the bridge. */
function effect(host: CniHost, container: Namespace, bridge: string): unknown {
  const inside = container.kernel.rtnl;
  const outside = host.node.kernel.rtnl;
  const { mtu, up, operState, kind } = inside.links.get("eth0");
  const routes = inside.routes.list({ table: "all" }).filter(({ dst }) => !dst.ip.isLinkLocal());
  const listed = outside.links.list({ master: bridge })[0];
  // Asked for alone, a link's operational state is brought up to date by the kernel; in a list it may lag.
  const port = listed === undefined ? undefined : outside.links.get(listed.index);
  return {
    link: { mtu, up, operState, kind },
    addresses: inside.addresses
      .list({ link: "eth0" })
      .filter(({ scope }) => scope === "global")
      .map(({ address, broadcast }) => `${address} ${broadcast}`),
    routes: routes
      .map(({ dst, gateway, table, protocol, scope, priority, src }) =>
        [dst, gateway, table, protocol, scope, priority, src].join(" "),
      )
      .sort(),
    bridge: outside.addresses
      .list({ link: bridge })
      .filter(({ scope }) => scope === "global")
      .map(({ address }) => String(address)),
    bridgeMtu: outside.links.get(bridge).mtu,
    promiscuous: outside.links.get(bridge).promiscuous,
    port: { mtu: port?.mtu, hairpin: port?.bridgePort?.hairpin, operState: port?.operState },
    forwarding: [
      host.node.kernel.sysctl.read("net.ipv4.ip_forward"),
      host.node.kernel.sysctl.read("net.ipv6.conf.all.forwarding"),
    ],
    acceptRa: [bridge, port?.name ?? ""].map((name) =>
      host.node.kernel.sysctl.read(`net/ipv6/conf/${name}/accept_ra`),
    ),
    leases: Object.fromEntries(
      Object.entries(host.leases()).map(([ip, owner]) => [ip, owner.replace(container.name, "CONTAINER")]),
    ),
  };
}

const v4 = { ranges: [[{ subnet: "10.77.0.0/24" }]] };
const v6 = { ranges: [[{ subnet: "fd77::/64" }]] };
const configurations: [string, JsonObject, JsonObject, string?][] = [
  ["nothing but a bridge", { isDefaultGateway: false }, {}],
  ["IPv4", {}, v4],
  ["IPv6", {}, v6],
  ["both families", {}, {}],
  ["a gateway without default route", { isDefaultGateway: false, isGateway: true }, {}],
  [
    "routes",
    {},
    { routes: [{ dst: "192.168.0.0/16" }, { dst: "10.9.0.0/16", gw: "10.77.0.9" }, { dst: "fd99::/48" }] },
  ],
  ["a default route from IPAM", {}, { ...v4, routes: [{ dst: "0.0.0.0/0", gw: "10.77.0.8" }] }],
  ["another gateway", {}, { ranges: [[{ subnet: "10.77.0.0/24", gateway: "10.77.0.254" }]] }],
  [
    "a small range",
    {},
    { ranges: [[{ subnet: "10.77.0.0/24", rangeStart: "10.77.0.100", rangeEnd: "10.77.0.101" }]] },
  ],
  ["several ranges in a set", {}, { ranges: [[{ subnet: "10.77.1.0/30" }, { subnet: "10.77.2.0/24" }]] }],
  [
    "the old single range",
    {},
    { ranges: undefined, subnet: "10.77.0.0/24", rangeStart: "10.77.0.7", gateway: "10.77.0.1" },
  ],
  ["a range from the runtime", { runtimeConfig: { ipRanges: [[{ subnet: "10.78.0.0/24" }]] } }, v6],
  ["an address by the ips capability", { runtimeConfig: { ips: ["10.77.0.40/24"] } }, {}],
  ["an address by args", { args: { cni: { ips: ["10.77.0.41"] } } }, {}],
  ["an address by CNI_ARGS", {}, v4, "IgnoreUnknown=1;IP=10.77.0.42"],
  ["a hardware address", { runtimeConfig: { mac: "02:00:00:00:00:42" } }, v4],
  ["masquerading", { ipMasq: true }, {}],
  ["an MTU", { mtu: 1400 }, v4],
  ["hairpin mode", { hairpinMode: true }, v4],
  ["promiscuous mode", { promiscMode: true }, v4],
  ["layer 2 alone", { ipam: undefined, isDefaultGateway: false }, {}],
  ["an empty ipam", { ipam: {}, isDefaultGateway: false }, {}],
  ["dns", { dns: { nameservers: ["1.1.1.1"], domain: "d", search: ["s"], options: ["o"] } }, v4],
  [
    "kubelet's arguments",
    {},
    v4,
    "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=blue;K8S_POD_UID=1",
  ],
  ["an unknown key", { unknown: 1 }, v4],
  ["keys in another case", { isdefaultgateway: undefined, HairpinMode: true }, v4],
];
const versions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"];

/** One ADD, CHECK and DEL with either's plugins on a host of their own. */
async function story(plugins: string, config: (host: CniHost) => JsonObject, args = ""): Promise<unknown> {
  using host = new CniHost();
  const container = host.container();
  const raw = config(host);
  const added = await host.succeed("ADD", container, raw, { plugins, args });
  const seen = {
    result: JSON.parse(normalized(added.stdout, container)),
    effect: effect(host, container, "br0"),
  };
  // The reference's own CHECK does not find routes that have no next hop in the result.
  if (
    plugins === ownPlugins &&
    raw.cniVersion === "1.0.0" &&
    (raw.ipam as JsonObject | undefined)?.type !== undefined
  ) {
    await host.succeed("CHECK", container, { ...raw, prevResult: added.json }, { plugins, args });
  }
  const deleted = await host.succeed("DEL", container, { ...raw, prevResult: added.json }, { plugins, args });
  await host.succeed("DEL", container, { ...raw, prevResult: added.json }, { plugins, args });
  return {
    ...seen,
    del: deleted.stdout,
    leases: host.leases(),
    links: container.kernel.rtnl.links.list().length,
  };
}

// bun:test hands a short row one argument more, its own.
const rows = configurations.map(([name, more, ipam, args = ""]) => [name, more, ipam, args] as const);
test.each(rows)("the same result and the same effect: %s", async (_, more, ipam, args) => {
  const config = (host: CniHost) => host.config(more, ipam);
  expect(await story(ownPlugins, config, args)).toEqual(await story(referencePlugins, config, args));
});

test("where Debian's version of the reference was mended later, Weft is like the later one", async () => {
  using host = new CniHost();
  // 1.1.1 says "file exists" for a default route without next hop beside the one that isDefaultGateway adds, and
  // forgets what IPAM says of DNS.
  const resolvConf = join(host.dir, "resolv.conf");
  await Bun.write(resolvConf, "nameserver 9.9.9.9\nsearch x.y\noptions ndots:3\n");
  const config = host.config({}, { ...v4, routes: [{ dst: "0.0.0.0/0" }], resolvConf });
  const container = host.container();
  const { json } = await host.succeed("ADD", container, config);
  expect(json.dns).toEqual({ nameservers: ["9.9.9.9"], search: ["x.y"], options: ["ndots:3"] });
  expect(json.routes).toEqual([{ dst: "0.0.0.0/0" }, { dst: "0.0.0.0/0", gw: "10.77.0.1" }]);
  expect(container.kernel.rtnl.routes.list({ dst: "0.0.0.0/0" })).toHaveLength(1);
  const refused = await host.call("ADD", host.container(), config, { plugins: referencePlugins });
  expect(refused.json.msg).toContain("file exists");
});

test.each(versions)("the same result in version %s", async (cniVersion) => {
  const config = (host: CniHost) =>
    host.config({ cniVersion, dns: { nameservers: ["1.1.1.1"] } }, { routes: [{ dst: "10.9.0.0/16" }] });
  expect(await story(ownPlugins, config)).toEqual(await story(referencePlugins, config));
});

test("loopback gives the same result", async () => {
  const answers: unknown[] = [];
  for (const plugins of [ownPlugins, referencePlugins]) {
    using host = new CniHost();
    const container = host.container();
    const config = { cniVersion: "1.0.0", name: "lo", type: "loopback" };
    const { stdout } = await host.succeed("ADD", container, config, { plugins, ifname: "lo" });
    answers.push(JSON.parse(normalized(stdout, container)));
  }
  expect(answers[0]).toEqual(answers[1]);
});

/** A folder with one side's bridge and the other side's host-local. */
function mixed(host: CniHost, bridge: string, ipam: string): string {
  const folder = join(host.dir, "mixed");
  mkdirSync(folder);
  symlinkSync(join(bridge, "bridge"), join(folder, "bridge"));
  symlinkSync(join(ipam, "host-local"), join(folder, "host-local"));
  return folder;
}

const mixtures: [string, string, string][] = [
  ["the reference's host-local under Weft's bridge", ownPlugins, referencePlugins],
  ["Weft's host-local under the reference's bridge", referencePlugins, ownPlugins],
];
test.each(mixtures)("%s", async (_, bridge, ipam) => {
  using host = new CniHost();
  const plugins = mixed(host, bridge, ipam);
  const [blue, green] = [host.container(), host.container()];
  await blue.serve(8080, "blue");
  const config = host.config({ ipMasq: true });
  const first = await host.succeed("ADD", blue, config, { plugins });
  const second = await host.succeed("ADD", green, config, { plugins });
  expect(first.json.ips).toEqual([
    { interface: 2, address: "10.77.0.2/24", gateway: "10.77.0.1" },
    { interface: 2, address: "fd77::2/64", gateway: "fd77::1" },
  ]);
  expect(await green.ask(addressOf(first, 4), 8080)).toStartWith(`blue ${addressOf(second, 4)} `);
  await host.succeed("CHECK", blue, { ...config, prevResult: first.json }, { plugins });
  for (const container of [blue, green]) await host.succeed("DEL", container, config, { plugins });
  expect(host.leases()).toEqual({});
});

const takeovers: [string, string, string][] = [
  ["Weft goes on with the reference's leases", referencePlugins, ownPlugins],
  ["the reference goes on with Weft's leases", ownPlugins, referencePlugins],
];
test.each(takeovers)("%s", async (_, before, after) => {
  using host = new CniHost();
  const [blue, green, red] = [host.container(), host.container(), host.container()];
  const config = host.config();
  const added = await host.succeed("ADD", blue, config, { plugins: before });
  await host.succeed("ADD", green, config, { plugins: before });
  // The next address, never one that is taken.
  const next = await host.succeed("ADD", red, config, { plugins: after });
  expect([addressOf(next, 4), addressOf(next, 6)]).toEqual(["10.77.0.4", "fd77::4"]);
  const again = await host.call("ADD", host.container(), config, { plugins: after, containerId: blue.name });
  expect(again.json.msg).toContain(`has been allocated to ${blue.name}, duplicate allocation is not allowed`);
  await host.succeed("CHECK", blue, { ...config, prevResult: added.json }, { plugins: after });
  await host.succeed("DEL", blue, config, { plugins: after });
  expect(Object.keys(host.leases())).toEqual(["10.77.0.3", "10.77.0.4", "fd77::3", "fd77::4"]);
  await host.succeed("DEL", red, config, { plugins: before });
  await host.succeed("DEL", green, config, { plugins: after });
  expect(host.leases()).toEqual({});
});

test("both at the same time never give out an address twice", async () => {
  using host = new CniHost();
  const config = { ...host.config(), type: "host-local" };
  const calls = Array.from({ length: 24 }, (_, i) =>
    host.succeed("ADD", undefined, config, {
      plugins: i % 2 === 0 ? ownPlugins : referencePlugins,
      containerId: `c${i}`,
      netns: "/run/netns/none",
    }),
  );
  const answers: Answer[] = await Promise.all(calls);
  expect(new Set(answers.map((answer) => addressOf(answer, 4))).size).toBe(24);
  expect(Object.keys(host.leases())).toHaveLength(48);
});

test("the lease folder is the same file for file", async () => {
  const folders: unknown[] = [];
  for (const plugins of [ownPlugins, referencePlugins]) {
    using host = new CniHost();
    const config = { ...host.config(), type: "host-local" };
    for (const containerId of ["a", "b", "c"]) {
      await host.succeed("ADD", undefined, config, { plugins, containerId, netns: "/run/netns/none" });
    }
    await host.succeed("DEL", undefined, config, { plugins, containerId: "b" });
    const dir = join(host.dataDir, "net");
    folders.push(
      readdirSync(dir)
        .sort()
        .map((name) => [name, readFileSync(join(dir, name), "utf8")]),
    );
  }
  expect(folders[0]).toEqual(folders[1]);
});

const errors: [string, JsonObject, JsonObject][] = [
  [
    "no address left",
    {},
    { ranges: [[{ subnet: "10.77.0.0/24", rangeStart: "10.77.0.1", rangeEnd: "10.77.0.1" }]] },
  ],
  ["hairpin and promiscuous mode", { hairpinMode: true, promiscMode: true }, {}],
  ["a bridge that is none", { bridge: "eth0" }, {}],
  ["the gateway requested", { runtimeConfig: { ips: ["10.77.0.1"] } }, {}],
  ["an address elsewhere requested", { runtimeConfig: { ips: ["10.99.0.1"] } }, {}],
  ["a subnet with host bits", {}, { ranges: [[{ subnet: "10.77.0.5/24" }]] }],
  ["ranges that overlap", {}, { ranges: [[{ subnet: "10.77.0.0/24" }], [{ subnet: "10.77.0.0/16" }]] }],
  ["no range", {}, { ranges: [] }],
  ["a version of the future", { cniVersion: "9.0.0" }, {}],
  ["no name", { name: "" }, {}],
];
test.each(errors)("what the reference refuses is refused: %s", async (_, more, ipam) => {
  for (const plugins of [ownPlugins, referencePlugins]) {
    using host = new CniHost();
    const { status, json } = await host.call("ADD", host.container(), host.config(more, ipam), { plugins });
    expect(status).toBe(1);
    expect(json).toMatchObject({ code: expect.any(Number), msg: expect.any(String) });
  }
});
