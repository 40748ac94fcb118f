/** The bridge plugin with host-local, as executables in namespaces; see cni-fixture.ts for the picture. */
import { expect, test } from "bun:test";
import { rmSync } from "node:fs";
import type { JsonObject } from "../../src/cni/fields.ts";
import { Transaction } from "../../src/linux/nftables/index.ts";
import type { Rtnl } from "../../src/linux/route/rtnl.ts";
import { addressOf, CniHost, ownPlugins } from "./cni-fixture.ts";

test("a container has its addresses, routes and gateway, and reaches and is reached at once", async () => {
  using host = new CniHost();
  const blue = host.container();
  const green = host.container();
  await host.node.serve(8080, "host");
  await blue.serve(8080, "blue");
  const first = await host.succeed("ADD", blue, host.config());
  const second = await host.succeed("ADD", green, host.config());
  for (const family of [4, 6] as const) {
    const gateway = family === 4 ? "10.77.0.1" : "fd77::1";
    const [ours, theirs] = [addressOf(first, family), addressOf(second, family)];
    // A second is less than duplicate address detection, stale ARP entries or an unready port would take.
    expect(await green.ask(ours, 8080, 1000)).toStartWith(`blue ${theirs} `);
    expect(await blue.ask(gateway, 8080, 1000)).toStartWith(`host ${ours} `);
    expect(await host.node.ask(ours, 8080, 1000)).toStartWith(`blue ${gateway} `);
    expect(
      blue.kernel.rtnl.routes.list({ family, dst: family === 4 ? "0.0.0.0/0" : "::/0" })[0],
    ).toMatchObject({
      gateway: expect.anything(),
    });
  }
  expect(first.json).toMatchObject({
    cniVersion: "1.0.0",
    interfaces: [
      { name: "br0" },
      { name: expect.stringMatching(/^veth[0-9a-f]{8}$/) },
      { name: "eth0", sandbox: `/run/netns/${blue.name}` },
    ],
    ips: [
      { interface: 2, address: "10.77.0.2/24", gateway: "10.77.0.1" },
      { interface: 2, address: "fd77::2/64", gateway: "fd77::1" },
    ],
    routes: [
      { dst: "0.0.0.0/0", gw: "10.77.0.1" },
      { dst: "::/0", gw: "fd77::1" },
    ],
    dns: {},
  });
});

test("of two default routes the later interface has the IPv4 one, and both share the IPv6 one, as with the reference", async () => {
  using host = new CniHost();
  const blue = host.container();
  await host.succeed("ADD", blue, host.config());
  const ranges = [[{ subnet: "10.78.0.0/24" }], [{ subnet: "fd78::/64" }]];
  await host.succeed("ADD", blue, host.config({ name: "another", bridge: "br1" }, { ranges }), {
    ifname: "eth1",
  });
  const gateways = (dst: string) =>
    blue.kernel.rtnl.routes.list({ dst }).map(({ gateway }) => String(gateway));
  expect(gateways("0.0.0.0/0")).toEqual(["10.78.0.1", "10.77.0.1"]);
  const [shared, ...others] = blue.kernel.rtnl.routes.list({ dst: "::/0" });
  expect(shared?.nextHops?.map(({ gateway }) => String(gateway)).sort()).toEqual(["fd77::1", "fd78::1"]);
  expect(others).toEqual([]);
});

test("the result names the hardware addresses that the links have", async () => {
  using host = new CniHost();
  const blue = host.container();
  const { json } = await host.succeed("ADD", blue, host.config());
  const macs = (json.interfaces as { name: string; mac: string }[]).map(({ mac }) => mac);
  const names = (json.interfaces as { name: string }[]).map(({ name }) => name);
  expect(macs).toEqual([
    host.node.kernel.rtnl.links.get(names[0] as string).mac as string,
    host.node.kernel.rtnl.links.get(names[1] as string).mac as string,
    blue.kernel.rtnl.links.get("eth0").mac as string,
  ]);
});

test("ipMasq hides containers from the outside and from nobody else", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  await host.outside.serve(8080, "outside");
  await green.serve(8080, "green");
  const config = host.config({ ipMasq: true });
  const first = await host.succeed("ADD", blue, config);
  const second = await host.succeed("ADD", green, config);
  expect(await blue.ask("192.0.2.2", 8080)).toStartWith("outside 192.0.2.1 ");
  expect(await blue.ask("2001:db8::2", 8080)).toStartWith("outside 2001:db8::1 ");
  for (const family of [4, 6] as const) {
    expect(await blue.ask(addressOf(second, family), 8080)).toStartWith(`green ${addressOf(first, family)} `);
  }
  // Without the address of the other, its own masquerading goes on.
  await host.succeed("DEL", green, config);
  expect(await blue.ask("192.0.2.2", 8080)).toStartWith("outside 192.0.2.1 ");
  expect(await blue.ask("2001:db8::2", 8080)).toStartWith("outside 2001:db8::1 ");
});

test("CHECK finds masquerading whose rules somebody took away, and the next ADD makes them anew", async () => {
  using host = new CniHost();
  const blue = host.container();
  const config = host.config({ ipMasq: true });
  const { json } = await host.succeed("ADD", blue, config);
  const check = async () => (await host.call("CHECK", blue, { ...config, prevResult: json })).json.msg;
  for (const chain of ["postrouting", "masquerade-10.77.0.0/24"]) {
    expect(await check()).toBeUndefined();
    const table = { family: "inet", name: "weft-cni" } as const;
    host.node.kernel.nft.apply(new Transaction(table).flush({ kind: "chain", name: chain }));
    expect(await check()).toBe("traffic from 10.77.0.2 is not masqueraded");
    if (chain === "postrouting") await host.succeed("ADD", host.container(), config);
  }
});

test("without ipMasq the outside sees the container", async () => {
  using host = new CniHost();
  const blue = host.container();
  host.outside.route("10.77.0.0/24", "192.0.2.1");
  host.outside.route("fd77::/64", "2001:db8::1");
  await host.outside.serve(8080, "outside");
  await host.succeed("ADD", blue, host.config());
  expect(await blue.ask("192.0.2.2", 8080)).toStartWith("outside 10.77.0.2 ");
  expect(await blue.ask("2001:db8::2", 8080)).toStartWith("outside fd77::2 ");
});

test("DEL leaves what was there before ADD, and is no error when repeated", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  const config = host.config({ ipMasq: true });
  await host.succeed("ADD", blue, config);
  const before = host.state();
  await host.succeed("ADD", green, config);
  expect(host.state()).not.toBe(before);
  for (let i = 0; i < 2; i++) {
    const { stdout } = await host.succeed("DEL", green, config);
    expect(stdout).toBe("");
    expect(host.state()).toBe(before);
  }
  expect(green.kernel.rtnl.links.list().map(({ name }) => name)).toEqual(["lo"]);
  await host.succeed("DEL", blue, config);
  expect(host.leases()).toEqual({});
  expect(host.node.kernel.nft.tables()).toEqual([]);
  expect(host.node.kernel.rtnl.links.list({ master: "br0" })).toEqual([]);
});

const withoutNetns: [string, (host: CniHost, name: string) => { netns: string }][] = [
  ["no namespace", () => ({ netns: "" })],
  ["a namespace that is gone", () => ({ netns: "/run/netns/weft-t-gone" })],
  ["a path that is no namespace", (host) => ({ netns: host.dir })],
];
test.each(withoutNetns)("DEL with %s releases address and masquerading", async (_, callOf) => {
  using host = new CniHost();
  const blue = host.container();
  const config = host.config({ ipMasq: true });
  await host.succeed("ADD", blue, config);
  await host.succeed("DEL", blue, config, callOf(host, blue.name));
  expect(host.leases()).toEqual({});
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("DEL finds masquerading by its mark when the leases are lost", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  const config = host.config({ ipMasq: true });
  await host.succeed("ADD", blue, config);
  await host.succeed("ADD", green, config);
  rmSync(host.dataDir, { recursive: true });
  await host.succeed("DEL", blue, config);
  expect(host.state()).toContain(`masquerade4 10.77.0.3 net/${green.name}/eth0`);
  expect(host.state()).not.toContain(blue.name);
  await host.succeed("DEL", green, config);
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("DEL does away with what one before left that was killed when its elements were gone", async () => {
  using host = new CniHost();
  const container = host.container();
  const config = host.config({ ipMasq: true });
  await host.succeed("ADD", container, config);
  host.node.nft("flush map inet weft-cni masquerade4; flush map inet weft-cni masquerade6");
  await host.succeed("DEL", container, config);
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("DEL of a container that was never added is no error and makes nothing", async () => {
  using host = new CniHost();
  const blue = host.container();
  const before = host.state();
  await host.succeed("DEL", blue, host.config({ ipMasq: true }));
  expect(host.state()).toBe(before);
});

test("an address that changed hands without DEL is masqueraded for its present owner alone", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  const config = host.config(
    { ipMasq: true },
    { ranges: [[{ subnet: "10.77.0.0/24", rangeStart: "10.77.0.5" }]] },
  );
  await host.succeed("ADD", blue, config);
  // As after a crash that lost the leases but not the rules.
  rmSync(host.dataDir, { recursive: true });
  await host.succeed("ADD", green, config);
  expect(host.state()).toContain(`masquerade4 10.77.0.5 net/${green.name}/eth0`);
  await host.succeed("DEL", blue, config, { netns: "" });
  expect(host.state()).toContain(`masquerade4 10.77.0.5 net/${green.name}/eth0`);
});

const failures: [string, JsonObject, JsonObject, Partial<{ code: number; msg: RegExp }>][] = [
  [
    "no address is left",
    { ipMasq: true },
    { ranges: [[{ subnet: "10.77.0.0/30", rangeStart: "10.77.0.1", rangeEnd: "10.77.0.1" }]] },
    { code: 11, msg: /no IP addresses available in range set: 10\.77\.0\.1-10\.77\.0\.1 \(leases in / },
  ],
  [
    "the second family has no address left",
    {},
    {
      ranges: [
        [{ subnet: "10.77.0.0/24" }],
        [{ subnet: "fd77::/64", rangeStart: "fd77::1", rangeEnd: "fd77::1" }],
      ],
    },
    { code: 11, msg: /fd77::1-fd77::1/ },
  ],
  ["the bridge's name is taken by another link", { bridge: "eth0" }, {}, { code: 999, msg: /not a bridge/ }],
  [
    "a route leads to a gateway out of reach",
    {},
    { routes: [{ dst: "10.9.0.0/16", gw: "10.200.0.1" }] },
    { code: 999, msg: /^cannot add route 10\.9\.0\.0\/16 via 10\.200\.0\.1 on eth0 \(ENETUNREACH/ },
  ],
  [
    "the IPAM plugin is not there",
    {},
    { type: "nowhere" },
    { code: 7, msg: /failed to find plugin "nowhere"/ },
  ],
  ["both hairpin and promiscuous mode", { hairpinMode: true, promiscMode: true }, {}, { code: 7 }],
  ["a VLAN out of range", { vlan: 4095 }, {}, { code: 7, msg: /^vlan: 4095 / }],
  ["an MTU that no link has", { mtu: 3 }, {}, { code: 7, msg: /^mtu: 3 is not/ }],
  ["an MTU too small for IPv6", { mtu: 1000 }, {}, { code: 7, msg: /^mtu: 1000 is too small .* fd77::2/ }],
  [
    "a multicast hardware address",
    { runtimeConfig: { mac: "01:00:5e:00:00:01" } },
    {},
    { code: 7, msg: /^runtimeConfig.mac: / },
  ],
];
test.each(failures)("a failed ADD leaves nothing behind: %s", async (_, more, ipam, expected) => {
  using host = new CniHost();
  const blue = host.container();
  const before = host.state();
  const { status, json } = await host.call("ADD", blue, host.config(more, ipam));
  expect(status).toBe(1);
  expect(json).toMatchObject({ cniVersion: "1.0.0", code: expected.code as number });
  if (expected.msg !== undefined) expect(json.msg).toMatch(expected.msg);
  expect(host.state()).toBe(before);
  expect(blue.kernel.rtnl.links.list().map(({ name }) => name)).toEqual(["lo"]);
});

test("layer 2 in a version that cannot say so is refused, and nothing is left", async () => {
  using host = new CniHost();
  const blue = host.container();
  const before = host.state();
  const { ipam: _, ...config } = host.config({
    cniVersion: "0.2.0",
    isGateway: false,
    isDefaultGateway: false,
  });
  const { status, json } = await host.call("ADD", blue, config);
  expect([status, json.code]).toEqual([1, 1]);
  expect(json.msg).toContain("without addresses in version 0.2.0");
  expect(host.state()).toBe(before);
  expect(blue.kernel.rtnl.links.list().map(({ name }) => name)).toEqual(["lo"]);
});

test("a route of scope link has no gateway but its own; a gateway may lie elsewhere", async () => {
  using host = new CniHost();
  const blue = host.container();
  const routes = [
    { dst: "10.9.0.0/16", scope: 253 },
    { dst: "10.8.0.0/16", mtu: 1300, priority: 5, table: 100 },
  ];
  await host.succeed("ADD", blue, host.config({ cniVersion: "1.1.0" }, { routes }));
  const [onLink] = blue.kernel.rtnl.routes.list({ dst: "10.9.0.0/16" });
  expect(onLink).toMatchObject({ scope: "link" });
  expect(onLink?.gateway).toBeUndefined();
  const [other] = blue.kernel.rtnl.routes.list({ dst: "10.8.0.0/16", table: 100 });
  expect(other).toMatchObject({ priority: 5, metrics: { mtu: 1300 } });
  expect(String(other?.gateway)).toBe("10.77.0.1");

  const green = host.container();
  const ranges = [[{ subnet: "10.78.0.0/24", gateway: "10.79.0.1" }]];
  const layer2 = { bridge: "br1", isGateway: false, isDefaultGateway: false };
  const answer = await host.succeed("ADD", green, host.config(layer2, { ranges }));
  expect(answer.json.ips).toEqual([{ interface: 2, address: "10.78.0.1/24", gateway: "10.79.0.1" }]);
});

test("a route goes by the first gateway of its family that there is", async () => {
  using host = new CniHost();
  const blue = host.container();
  const addresses = [
    { address: "10.78.0.2/24" },
    { address: "10.79.0.2/24", gateway: "10.79.0.1" },
    { address: "fd78::2/64" },
    { address: "fd79::2/64", gateway: "fd79::1" },
  ];
  const ipam = { type: "static", addresses, routes: [{ dst: "0.0.0.0/0" }, { dst: "10:9::/32" }] };
  await host.succeed("ADD", blue, host.config({ isDefaultGateway: false, ipam }));
  const gatewayTo = (dst: string) => String(blue.kernel.rtnl.routes.list({ dst })[0]?.gateway);
  expect(gatewayTo("0.0.0.0/0")).toBe("10.79.0.1");
  expect(gatewayTo("10:9::/32")).toBe("fd79::1");
});

test("a failed ADD leaves the mode of a bridge that was there before", async () => {
  using host = new CniHost();
  host.node.kernel.rtnl.links.add({ kind: "bridge", name: "br0", up: true });
  const config = host.config({ promiscMode: true });
  const before = host.state();
  const routes = [{ dst: "10.9.0.0/16", gw: "10.200.0.1" }];
  const refused = { isDefaultGateway: false, promiscMode: true };
  expect((await host.call("ADD", host.container(), host.config(refused, { routes }))).status).toBe(1);
  const old = { ...config, cniVersion: "0.2.0", ipam: undefined, isDefaultGateway: false };
  expect((await host.call("ADD", host.container(), old)).status).toBe(1);
  expect(host.state()).toBe(before);
  await host.succeed("ADD", host.container(), config);
  expect(host.node.kernel.rtnl.links.get("br0").promiscuous).toBe(true);
});

test("an ADD that finds the interface there already does not touch it", async () => {
  using host = new CniHost();
  const blue = host.container();
  await host.succeed("ADD", blue, host.config());
  const before = host.state();
  const { status, json } = await host.call("ADD", blue, host.config(), { containerId: "other" });
  expect(status).toBe(1);
  expect(json.msg).toContain('"eth0") already exists');
  expect(host.state()).toBe(before);
});

test("an ADD without a namespace says so", async () => {
  using host = new CniHost();
  const before = host.state();
  for (const netns of ["/run/netns/weft-t-gone", host.dir]) {
    const { status, json } = await host.call("ADD", undefined, host.config(), { netns });
    expect(status).toBe(1);
    expect(json).toMatchObject({ code: 8, msg: expect.stringContaining(`failed to open netns "${netns}"`) });
  }
  expect(host.state()).toBe(before);
});

test("the plugin's own namespace is refused, unless CNI_NETNS_OVERRIDE says otherwise", async () => {
  using host = new CniHost();
  const netns = `/run/netns/${host.node.name}`;
  const refused = await host.call("ADD", undefined, host.config(), { netns, ifname: "own" });
  expect(refused.json).toMatchObject({ code: 8 });
  const env = { CNI_NETNS_OVERRIDE: "1" };
  await host.succeed("ADD", undefined, host.config(), { netns, ifname: "own", env });
  await host.succeed("DEL", undefined, host.config(), { netns, ifname: "own", env });
});

test("ADDs and DELs at the same time do not disturb each other", async () => {
  using host = new CniHost();
  const containers = Array.from({ length: 8 }, () => host.container());
  const config = host.config({ ipMasq: true });
  const before = host.node.kernel.nft.tables();
  // The first ones race to make lease folder, bridge, gateway address and nftables structure.
  const answers = await Promise.all(containers.map((container) => host.succeed("ADD", container, config)));
  expect(new Set(answers.map((answer) => addressOf(answer, 4))).size).toBe(8);
  expect(Object.keys(host.leases())).toHaveLength(16);
  expect(host.node.kernel.rtnl.links.list({ master: "br0" })).toHaveLength(8);
  // Half go while others come.
  const [leaving, staying] = [containers.slice(0, 4), containers.slice(4)];
  const coming = Array.from({ length: 4 }, () => host.container());
  await Promise.all([
    ...leaving.map((container) => host.succeed("DEL", container, config)),
    ...coming.map((container) => host.succeed("ADD", container, config)),
  ]);
  const present = [...staying, ...coming].map(({ name }) => `${name}/eth0`).sort();
  expect([...new Set(Object.values(host.leases()))].sort()).toEqual(present);
  await Promise.all([...staying, ...coming].map((container) => host.succeed("DEL", container, config)));
  expect(host.leases()).toEqual({});
  expect(host.node.kernel.nft.tables()).toEqual(before);
  expect(host.node.kernel.rtnl.links.list({ master: "br0" })).toEqual([]);
}, 30_000);

const macs: [string, JsonObject, string, string][] = [
  ["CNI_ARGS", {}, "MAC=02:00:00:00:00:01", "02:00:00:00:00:01"],
  ["args", { args: { cni: { mac: "02:00:00:00:00:02" } } }, "MAC=02:00:00:00:00:01", "02:00:00:00:00:02"],
  [
    "the mac capability",
    { args: { cni: { mac: "02:00:00:00:00:02" } }, runtimeConfig: { mac: "02:00:00:00:00:03" } },
    "IgnoreUnknown=1;K8S_POD_NAME=blue",
    "02:00:00:00:00:03",
  ],
];
test.each(macs)("the hardware address by %s", async (_, more, args, mac) => {
  using host = new CniHost();
  const blue = host.container();
  const { json } = await host.succeed("ADD", blue, host.config(more), { args });
  expect((json.interfaces as unknown[])[2]).toMatchObject({ mac });
  expect(blue.kernel.rtnl.links.get("eth0").mac).toBe(mac);
});

const addresses: [string, JsonObject, string][] = [
  ["CNI_ARGS", {}, "IP=10.77.0.50"],
  ["args", { args: { cni: { ips: ["10.77.0.50"] } } }, ""],
  ["the ips capability", { runtimeConfig: { ips: ["10.77.0.50/24"] } }, ""],
];
test.each(addresses)("the address by %s", async (_, more, args) => {
  using host = new CniHost();
  const answer = await host.succeed("ADD", host.container(), host.config(more), { args });
  expect(addressOf(answer, 4)).toBe("10.77.0.50");
  expect(addressOf(answer, 6)).toBe("fd77::2");
  const again = await host.call("ADD", host.container(), host.config(more), { args });
  expect(again.json).toMatchObject({
    code: 11,
    msg: expect.stringContaining("requested IP address 10.77.0.50 is not available in range set"),
  });
});

test("modes of bridge and port", async () => {
  using host = new CniHost();
  const { rtnl } = host.node.kernel;
  await host.succeed("ADD", host.container(), host.config({ hairpinMode: true, mtu: 1400 }));
  const [port] = rtnl.links.list({ master: "br0" });
  expect(port).toMatchObject({ mtu: 1400, bridgePort: { hairpin: true, isolated: false } });
  const quiet = host.config({ bridge: "br1", promiscMode: true, portIsolation: true, ipam: undefined });
  await host.succeed("ADD", host.container(), quiet);
  expect(rtnl.links.get("br1").promiscuous).toBe(true);
  expect(rtnl.links.list({ master: "br1" })[0]?.bridgePort).toMatchObject({ hairpin: false, isolated: true });
  expect(rtnl.addresses.list({ link: "br1", family: 4 })).toEqual([]);
});

test("disableContainerInterface leaves the interface down, on layer 2 alone", async () => {
  using host = new CniHost();
  const blue = host.container();
  const config = host.config({ disableContainerInterface: true, ipam: undefined });
  const { json } = await host.succeed("ADD", blue, config);
  expect(blue.kernel.rtnl.links.get("eth0").up).toBe(false);
  await host.succeed("CHECK", blue, { ...config, prevResult: json });
  const refused = await host.call("ADD", host.container(), host.config({ disableContainerInterface: true }));
  expect(refused.json).toMatchObject({ code: 7 });
});

test("another address in the way of the gateway's is an error, or goes with forceAddress", async () => {
  using host = new CniHost();
  const { rtnl } = host.node.kernel;
  rtnl.links.add({ kind: "bridge", name: "br0", up: true });
  for (const address of ["10.1.1.1/24", "fd77::99/64", "fd01::1/64"])
    rtnl.addresses.add({ link: "br0", address });
  const before = host.state();
  const refused = await host.call("ADD", host.container(), host.config());
  expect(refused.json.msg).toContain('"br0" already has an IP address different from 10.77.0.1/24');
  expect(host.state()).toBe(before);
  await host.succeed("ADD", host.container(), host.config({ forceAddress: true }));
  const present = rtnl.addresses.list({ link: "br0" }).filter(({ scope }) => scope !== "link");
  // An IPv6 network that does not overlap stays.
  expect(present.map(({ address }) => String(address)).sort()).toEqual([
    "10.77.0.1/24",
    "fd01::1/64",
    "fd77::1/64",
  ]);
});

test("neighbours learn of an address's new owner at once", async () => {
  using host = new CniHost();
  const [blue, green, watcher] = [host.container(), host.container(), host.container()];
  const fixed = { runtimeConfig: { ips: ["10.77.0.50", "fd77::50"] } };
  await host.succeed("ADD", watcher, host.config());
  for (const [container, name] of [
    [blue, "blue"],
    [green, "green"],
  ] as const) {
    await container.serve(8080, name);
    await host.succeed("ADD", container, host.config(fixed));
    // The second time both have the first one's hardware address in their tables.
    for (const asking of [watcher, host.node]) {
      expect(await asking.ask("10.77.0.50", 8080, 1000)).toStartWith(`${name} `);
      expect(await asking.ask("fd77::50", 8080, 1000)).toStartWith(`${name} `);
    }
    await host.succeed("DEL", container, host.config(fixed));
  }
});

test("CHECK finds what differs from the result", async () => {
  using host = new CniHost();
  const blue = host.container();
  const config = host.config({ ipMasq: true });
  const { json: prevResult } = await host.succeed("ADD", blue, config);
  const check = () => host.call("CHECK", blue, { ...config, prevResult });
  expect((await check()).status).toBe(0);
  const missing = await host.call("CHECK", blue, config);
  expect(missing.json).toMatchObject({ code: 7, msg: "Required prevResult missing" });
  const { addresses, links } = host.node.kernel.rtnl;
  const port = (prevResult.interfaces as { name: string }[])[1]?.name ?? "";
  for (const name of ["br0", port]) {
    links.set(name, { up: false });
    expect((await check()).json.msg).toBe(
      `${name === port ? "Interface" : "Bridge interface"} ${name} is down`,
    );
    links.set(name, { up: true });
  }
  addresses.delete({ link: "br0", address: "10.77.0.1/24" });
  // That of IPv6 the kernel took away when the bridge went down.
  for (const address of ["10.77.0.1/24", "fd77::1/64"]) {
    const problem = `Gateway ${address} of the container is not on interface br0`;
    expect((await check()).json.msg).toBe(problem);
    addresses.add({ link: "br0", address });
  }
  expect((await check()).status).toBe(0);
  blue.kernel.rtnl.routes.delete({ dst: "0.0.0.0/0" });
  expect((await check()).json.msg).toContain("Expected Route 0.0.0.0/0 via 10.77.0.1 not found");
  blue.kernel.rtnl.addresses.delete({ link: "eth0", address: "10.77.0.2/24" });
  expect((await check()).json.msg).toContain("Failed to match addr 10.77.0.2/24 on interface eth0");
  host.node.kernel.rtnl.links.set(port, { bridgePort: { isolated: true } });
  expect((await check()).json.msg).toBe(`Interface ${port} port isolation is not false`);
  host.node.kernel.rtnl.links.set(port, { master: null });
  expect((await check()).json.msg).toContain(`${port} is not a port of bridge br0`);
  rmSync(host.dataDir, { recursive: true });
  expect((await check()).json).toMatchObject({ code: 3 });
});

test("GC removes what is not among the valid attachments of its network", async () => {
  using host = new CniHost();
  const [blue, green, other] = [host.container(), host.container(), host.container()];
  const config = host.config({ cniVersion: "1.1.0", ipMasq: true });
  const elsewhere = host.config(
    { name: "net2", bridge: "br1", ipMasq: true },
    { ranges: [[{ subnet: "10.78.0.0/24" }]] },
  );
  await host.succeed("ADD", blue, config);
  await host.succeed("ADD", green, config);
  await host.succeed("ADD", other, elsewhere);
  const valid = [{ containerID: green.name, ifname: "eth0" }];
  await host.succeed("GC", undefined, { ...config, "cni.dev/valid-attachments": valid });
  expect([...new Set(Object.values(host.leases()))]).toEqual([`${green.name}/eth0`]);
  const state = host.state();
  expect(state).not.toContain(`net/${blue.name}`);
  expect(state).toContain(`masquerade4 10.77.0.3 net/${green.name}/eth0`);
  expect(state).toContain(`masquerade4 10.78.0.2 net2/${other.name}/eth0`);
  expect((await host.call("GC", undefined, config)).json).toMatchObject({ code: 7 });
  expect((await host.call("GC", undefined, { ...config, cniVersion: "1.0.0" })).json).toMatchObject({
    code: 1,
  });
});

test.each(["bridge", "ptp"])("%s: DEL and GC remove what was made while ipMasq was on", async (type) => {
  using host = new CniHost();
  const [blue, green, old] = [host.container(), host.container(), host.container()];
  const on = host.config({ cniVersion: "1.1.0", type, ipMasq: true });
  const { ipMasq: _, ...off } = on;
  const { json: prevResult } = await host.succeed("ADD", blue, on);
  await host.succeed("ADD", green, on);
  await host.succeed("ADD", old, on);
  await host.succeed("DEL", blue, { ...off, prevResult });
  expect(host.state()).not.toContain(`net/${blue.name}`);
  // Without its result, by the lease.
  await host.succeed("DEL", green, off, { netns: "" });
  expect(host.state()).not.toContain(`net/${green.name}`);
  const valid = (ids: string[]) => ids.map((containerID) => ({ containerID, ifname: "eth0" }));
  await host.succeed("GC", undefined, { ...off, "cni.dev/valid-attachments": valid([old.name]) });
  expect(host.state()).toContain(`masquerade4 10.77.0.4 net/${old.name}/eth0`);
  await host.succeed("GC", undefined, { ...off, "cni.dev/valid-attachments": [] });
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("STATUS tells when no address is left", async () => {
  using host = new CniHost();
  const config = host.config(
    { cniVersion: "1.1.0" },
    { ranges: [[{ subnet: "10.77.0.0/24", rangeStart: "10.77.0.7", rangeEnd: "10.77.0.7" }]] },
  );
  const blue = host.container();
  await host.succeed("STATUS", undefined, config);
  await host.succeed("ADD", blue, config);
  expect((await host.call("STATUS", undefined, config)).json).toMatchObject({ code: 50 });
  await host.succeed("DEL", blue, config);
  await host.succeed("STATUS", undefined, config);
});

const obstacles: [string, (rtnl: Rtnl) => void, JsonObject, string | undefined][] = [
  ["nothing in the way", () => {}, {}, undefined],
  [
    "another link of the name",
    (rtnl) => rtnl.links.add({ kind: "veth", name: "br0", peer: { name: "other" } }),
    {},
    '"br0" already exists but is not a bridge',
  ],
  [
    "another address on the bridge",
    (rtnl) => {
      rtnl.links.add({ kind: "bridge", name: "br0", up: true });
      rtnl.addresses.add({ link: "br0", address: "10.1.1.1/24" });
    },
    {},
    '"br0" already has an IP address different from 10.77.0.1/24: 10.1.1.1/24',
  ],
  [
    "another address, which has to go",
    (rtnl) => {
      rtnl.links.add({ kind: "bridge", name: "br0", up: true });
      rtnl.addresses.add({ link: "br0", address: "10.1.1.1/24" });
    },
    { forceAddress: true },
    undefined,
  ],
  [
    "an IPv6 address that does not overlap",
    (rtnl) => {
      rtnl.links.add({ kind: "bridge", name: "br0", up: true });
      rtnl.addresses.add({ link: "br0", address: "fd01::1/64" });
    },
    {},
    undefined,
  ],
  ["VLANs", () => {}, { vlan: 5 }, undefined],
];
test.each(obstacles)("STATUS says what ADD would: %s", async (_, prepare, keys, message) => {
  using host = new CniHost();
  prepare(host.node.kernel.rtnl);
  const config = host.config({ cniVersion: "1.1.0", ...keys });
  const { json } = await host.call("STATUS", undefined, config);
  expect(json).toMatchObject(message === undefined ? {} : { code: 50, msg: message });
  const before = host.state();
  // A kernel that cannot filter VLANs tells so when there is a bridge.
  if (keys.vlan !== undefined) return;
  const added = await host.call("ADD", host.container(), config);
  expect(added.json.msg).toBe(message as string);
  if (message !== undefined) expect(host.state()).toBe(before);
});

test("loopback is brought up and down", async () => {
  using host = new CniHost();
  const blue = host.container();
  blue.kernel.rtnl.links.set("lo", { up: false });
  const config = { cniVersion: "1.0.0", name: "lo", type: "loopback" };
  const sandbox = `/run/netns/${blue.name}`;
  expect((await host.call("CHECK", blue, config, { ifname: "lo" })).json.msg).toBe(
    "loopback interface is down",
  );
  const { json } = await host.succeed("ADD", blue, config, { ifname: "lo" });
  expect(json).toEqual({
    cniVersion: "1.0.0",
    interfaces: [{ name: "lo", mac: "00:00:00:00:00:00", sandbox }],
    ips: [
      { interface: 0, address: "127.0.0.1/8" },
      { interface: 0, address: "::1/128" },
    ],
    dns: {},
  });
  await host.succeed("CHECK", blue, config, { ifname: "lo" });
  await host.succeed("DEL", blue, config, { ifname: "lo" });
  expect(blue.kernel.rtnl.links.get("lo").up).toBe(false);
  await host.succeed("DEL", blue, config, { ifname: "lo", netns: "/run/netns/weft-t-gone" });
  for (const address of ["10.5.0.1/32", "fd05::1/128"]) {
    const green = host.container();
    green.kernel.rtnl.links.set("lo", { up: false });
    green.kernel.rtnl.addresses.add({ link: "lo", address });
    const foreign = await host.call("ADD", green, config, { ifname: "lo" });
    expect(foreign.json.msg).toBe(
      `loopback interface found with non-loopback address "${address.replace(/\/.*/, "")}"`,
    );
    expect(green.kernel.rtnl.links.get("lo").up).toBe(false);
  }
});

for (const type of ["bridge", "ptp"]) {
  test(`${type}: DEL without a namespace and GC remove the pairs of attachments, and nobody else's`, async () => {
    using host = new CniHost();
    const config = host.config({ cniVersion: "1.1.0", type, ipMasq: true });
    const ranges = [[{ subnet: "10.79.0.0/24" }]];
    const another = host.config({ name: "another", type, bridge: "br1" }, { ranges });
    const [blue, red, green] = [host.container(), host.container(), host.container()];
    host.node.kernel.rtnl.links.add({ kind: "veth", name: "veth0000abcd", peer: { name: "other" } });
    await host.succeed("ADD", blue, config);
    await host.succeed("ADD", red, another, { ifname: "eth1" });
    const before = host.state();
    for (const each of [red, green]) await host.succeed("ADD", each, config);
    await host.succeed("DEL", undefined, config, { containerId: green.name });
    expect(green.kernel.rtnl.links.find("eth0")).toBeUndefined();
    const valid = [{ containerID: blue.name, ifname: "eth0" }];
    await host.succeed("GC", undefined, { ...config, "cni.dev/valid-attachments": valid });
    expect(red.kernel.rtnl.links.find("eth0")).toBeUndefined();
    expect(red.kernel.rtnl.links.find("eth1")).toBeDefined();
    expect(host.state()).toBe(before);
  });
}

for (const type of ["bridge", "ptp"]) {
  test(`${type}: DEL leaves an interface of that name alone which another network or something else made`, async () => {
    using host = new CniHost();
    const blue = host.container();
    const own = host.config({ type, name: "own" }, { ranges: [[{ subnet: "10.78.0.0/24" }]] });
    const other = host.config({ type, bridge: "br1" });
    await host.succeed("ADD", blue, other);
    const before = host.state();
    expect((await host.call("ADD", blue, own)).json.msg).toContain("already exists");
    await host.succeed("DEL", blue, own);
    expect(blue.kernel.rtnl.links.find("eth0")).toBeDefined();
    expect(host.state().replaceAll(/^.* br0 .*\n/gm, "")).toBe(before.replaceAll(/^.* br0 .*\n/gm, ""));
    blue.kernel.rtnl.links.add({ kind: "bridge", name: "eth1" });
    await host.succeed("DEL", blue, own, { ifname: "eth1" });
    expect(blue.kernel.rtnl.links.find("eth1")).toBeDefined();
    await host.succeed("DEL", blue, other);
    expect(blue.kernel.rtnl.links.find("eth0")).toBeUndefined();
  });
}

test("a foreign IPAM plugin is executed with the whole configuration, and taken back on failure", async () => {
  using host = new CniHost();
  const calls = `${host.dir}/calls`;
  const script = `#!/bin/sh
echo "$CNI_COMMAND" >> ${calls}
cat > ${host.dir}/stdin
[ "$CNI_COMMAND" = ADD ] && cat ${host.dir}/answer
exit 0
`;
  await Bun.write(`${host.dir}/my-ipam`, script);
  Bun.spawnSync(["chmod", "+x", `${host.dir}/my-ipam`]);
  const blue = host.container();
  const cniPath = `${ownPlugins}:${host.dir}`;
  const config = host.config({}, { type: "my-ipam", own: 1 });
  const add = async (answer: JsonObject) => {
    await Bun.write(`${host.dir}/answer`, JSON.stringify(answer));
    return await host.call("ADD", blue, config, { cniPath });
  };
  // An older version than asked for, as some IPAM plugins answer.
  const old = { version: "4", address: "10.88.0.9/24", gateway: "10.88.0.1" };
  const { json } = await add({ cniVersion: "0.4.0", ips: [old] });
  expect(json.ips).toEqual([{ interface: 2, address: "10.88.0.9/24", gateway: "10.88.0.1" }]);
  expect(await Bun.file(`${host.dir}/stdin`).json()).toEqual(config);
  await host.succeed("DEL", blue, config, { cniPath });
  const before = host.state();
  expect((await add({ cniVersion: "1.0.0" })).json.msg).toBe("IPAM plugin returned missing IP config");
  const unreachable = { dst: "10.9.0.0/16", gw: "10.200.0.1" };
  const failed = await add({
    cniVersion: "1.0.0",
    ips: [{ address: "10.88.0.9/24" }],
    routes: [unreachable],
  });
  expect(failed.json.msg).toContain("cannot add route 10.9.0.0/16");
  expect(host.state()).toBe(before);
  expect((await Bun.file(calls).text()).trim().split("\n")).toEqual([
    "ADD",
    "DEL",
    "ADD",
    "DEL",
    "ADD",
    "DEL",
  ]);
  await Bun.write(`${host.dir}/answer`, "");
  await Bun.write(`${host.dir}/my-ipam`, "#!/bin/sh\necho what is this\n");
  const rubbish = await host.call("ADD", blue, config, { cniPath });
  expect(rubbish.json.msg).toStartWith(
    'plugin "my-ipam" failed (ADD): printed "what is this", which is no result',
  );
});

test("a port with whose MTU the bridge would lose its IPv6 address is refused", async () => {
  using host = new CniHost();
  await host.succeed("ADD", host.container(), host.config());
  const before = host.state();
  // IPv4 alone by itself, but the bridge takes on the least MTU of its ports.
  const four = { ranges: [[{ subnet: "10.77.0.0/24" }]] };
  const { json } = await host.call("ADD", host.container(), host.config({ mtu: 1000 }, four));
  expect(json).toMatchObject({ code: 7, msg: expect.stringMatching(/^mtu: 1000 is too small .* fd77::1/) });
  expect(host.state()).toBe(before);
});
