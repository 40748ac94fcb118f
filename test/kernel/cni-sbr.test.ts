/**
 * The sbr plugin behind bridge, and behind interfaces that a test makes itself. A container on two networks whose hosts
 * know their own network alone, as far as they are not asked otherwise:
 *
 *     outside 192.0.2.2 -- eth0 host -- br0 10.77.0.0/24, fd77::/64 -- eth0 container
 *                                    -- br1 10.88.0.0/24, fd88::/64 -- net1
 */
import { expect, test } from "bun:test";
import type { JsonObject } from "../../src/cni/fields.ts";
import { needs, testWith } from "../lib/needs.ts";
import { type Answer, addressOf, CniHost, referencePlugins } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

const referenceTest = testWith(needs.file(`${referencePlugins}/sbr`, "containernetworking-plugins"));

function sbrConfig(more: JsonObject = {}): JsonObject {
  return { cniVersion: "1.0.0", name: "net", type: "sbr", ...more };
}

/** The rules of a container that nobody but a plugin made: "from 10.77.0.2/32 lookup 100". */
function rulesOf({ kernel }: Namespace): string[] {
  return kernel.rtnl.rules
    .list()
    .filter(({ src }) => src !== undefined)
    .map(({ src, table }) => `from ${src} lookup ${table}`)
    .sort();
}

/** The routes over a link: "table 100: 0.0.0.0/0 via 10.77.0.1"; link-local ones only where asked for. */
function routesOf({ kernel }: Namespace, ifname: string, linkLocal = false): string[] {
  return kernel.rtnl.routes
    .list({ table: "all", oif: ifname })
    .filter(({ table, dst }) => table !== 255 && (linkLocal || !dst.ip.isLinkLocal()))
    .map(({ table, dst, gateway, src }) => {
      const via = gateway === undefined ? "" : ` via ${gateway}`;
      return `table ${table}: ${dst}${via}${src === undefined ? "" : ` src ${src}`}`;
    })
    .sort();
}

/** Attaches a container to a bridge's network, with sbr behind it. */
async function attach(
  host: CniHost,
  container: Namespace,
  { ifname = "eth0", net = 77, sbr = {} }: { ifname?: string; net?: number; sbr?: JsonObject } = {},
): Promise<Answer> {
  const bridge = host.config(
    { bridge: `br${net}`, isDefaultGateway: false, isGateway: true, name: `net${net}` },
    {
      ranges: [[{ subnet: `10.${net}.0.0/24` }], [{ subnet: `fd${net}::/64` }]],
      routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }, { dst: `172.${net}.0.0/16` }],
    },
  );
  const { json: prevResult } = await host.succeed("ADD", container, bridge, { ifname });
  return await host.succeed("ADD", container, sbrConfig({ ...sbr, prevResult }), { ifname });
}

test("each address has a rule and a table with its routes, and the main table has none of them", async () => {
  using host = new CniHost();
  const container = host.container();
  const { json } = await attach(host, container);
  expect(json).toMatchObject({
    cniVersion: "1.0.0",
    ips: [{ address: "10.77.0.2/24" }, { address: "fd77::2/64" }],
    interfaces: [{}, {}, { name: "eth0" }],
  });
  expect(rulesOf(container)).toEqual(["from 10.77.0.2/32 lookup 100", "from fd77::2/128 lookup 101"]);
  expect(routesOf(container, "eth0")).toEqual([
    "table 100: 0.0.0.0/0 via 10.77.0.1",
    "table 100: 10.77.0.0/24 src 10.77.0.2",
    "table 100: 172.77.0.0/16 via 10.77.0.1",
    "table 101: ::/0 via fd77::1",
    "table 101: fd77::/64",
  ]);
  // What a link-local address sends has no other table.
  expect(routesOf(container, "eth0", true)).toContain("table 254: fe80::/64");
});

test("a container on two networks answers on each by it, and reaches out by the address that it chooses", async () => {
  using host = new CniHost();
  const container = host.container();
  const { outside } = host;
  for (const net of [77, 88]) {
    outside.route(`10.${net}.0.0/24`, "192.0.2.1");
    outside.route(`fd${net}::/64`, "2001:db8::1");
  }
  const answers = [
    await attach(host, container, { ifname: "eth0", net: 77 }),
    await attach(host, container, { ifname: "net1", net: 88 }),
  ];
  expect(rulesOf(container)).toEqual([
    "from 10.77.0.2/32 lookup 100",
    "from 10.88.0.2/32 lookup 102",
    "from fd77::2/128 lookup 101",
    "from fd88::2/128 lookup 103",
  ]);
  await container.serve(8080, "container");
  for (const answer of answers) {
    for (const family of [4, 6] as const) {
      const from = family === 4 ? "192.0.2.2" : "2001:db8::2";
      expect(await outside.ask(addressOf(answer, family), 8080)).toStartWith(`container ${from} `);
    }
  }
  const { rtnl } = container.kernel;
  const indexOf = (name: string) => rtnl.links.get(name).index;
  expect(rtnl.routes.lookup("192.0.2.2", { src: "10.88.0.2" }).oif).toBe(indexOf("net1"));
  expect(rtnl.routes.lookup("192.0.2.2", { src: "10.77.0.2" }).oif).toBe(indexOf("eth0"));
  expect(rtnl.routes.lookup("2001:db8::2", { src: "fd88::2" }).oif).toBe(indexOf("net1"));
});

test("DEL removes the rules of its interface, and no others", async () => {
  using host = new CniHost();
  const container = host.container();
  await attach(host, container, { ifname: "eth0", net: 77 });
  const { json: prevResult } = await attach(host, container, { ifname: "net1", net: 88 });
  // Of the container's own, with the same source.
  container.kernel.rtnl.rules.add({ src: "10.88.0.2/32", table: 500, priority: 50, protocol: "static" });
  container.kernel.rtnl.rules.add({ src: "10.88.0.2/32", table: 501, priority: 51, mark: 7 });
  const others = [
    "from 10.77.0.2/32 lookup 100",
    "from 10.88.0.2/32 lookup 500",
    "from 10.88.0.2/32 lookup 501",
    "from fd77::2/128 lookup 101",
  ];
  for (let i = 0; i < 2; i++) {
    await host.succeed("DEL", container, sbrConfig(), { ifname: "net1" });
    expect(rulesOf(container)).toEqual(others);
  }
  await host.succeed("DEL", undefined, sbrConfig({ prevResult }), { containerId: container.name });
  await host.succeed("DEL", container, sbrConfig(), { netns: "/run/netns/weft-t-gone" });
  expect(rulesOf(container)).toEqual(others);
});

test("DEL finds the rules by the result where the interface is gone", async () => {
  using host = new CniHost();
  const container = host.container();
  const { json: prevResult } = await attach(host, container);
  container.kernel.rtnl.links.delete("eth0");
  expect(rulesOf(container)).toHaveLength(2);
  await host.succeed("DEL", container, sbrConfig({ prevResult }));
  expect(rulesOf(container)).toEqual([]);
});

test("with a table there are rules that lead there, and nothing else changes", async () => {
  using host = new CniHost();
  const container = host.container();
  const { json: prevResult } = await attach(host, container, { sbr: { table: 4000 } });
  const rules = ["from 10.77.0.2/32 lookup 4000", "from fd77::2/128 lookup 4000"];
  expect(rulesOf(container)).toEqual(rules);
  expect(routesOf(container, "eth0").every((route) => route.startsWith("table 254"))).toBe(true);
  await host.succeed("CHECK", container, sbrConfig({ table: 4000, prevResult }));
  await host.succeed("DEL", container, sbrConfig({ table: 4001 }));
  expect(rulesOf(container)).toEqual(rules);
  await host.succeed("DEL", container, sbrConfig({ table: 4000 }));
  expect(rulesOf(container)).toEqual([]);
});

test("with source hints the routes on the link stay, with the address as their source", async () => {
  using host = new CniHost();
  const container = host.container();
  await attach(host, container, { sbr: { addSourceHints: true } });
  expect(routesOf(container, "eth0")).toEqual([
    "table 100: 0.0.0.0/0 via 10.77.0.1",
    "table 100: 10.77.0.0/24 src 10.77.0.2",
    "table 100: 172.77.0.0/16 via 10.77.0.1",
    "table 101: ::/0 via fd77::1",
    "table 101: fd77::/64",
    "table 254: 10.77.0.0/24 src 10.77.0.2",
    "table 254: fd77::/64 src fd77::2",
  ]);
});

test("configured gateways stand in for those of the result, by their family", async () => {
  using host = new CniHost();
  const container = host.container();
  await attach(host, container, { sbr: { gateways: ["10.77.0.254"] } });
  const routes = routesOf(container, "eth0");
  expect(routes).toContain("table 100: 0.0.0.0/0 via 10.77.0.254");
  expect(routes).toContain("table 101: ::/0 via fd77::1");
});

/** An interface with addresses and routes that tell what goes where; returns the result of who would have made it. */
function byHand(host: CniHost, container: Namespace): JsonObject {
  const { rtnl } = container.kernel;
  rtnl.links.add({ kind: "veth", name: "net1", peer: { name: "hand0", netns: { name: host.node.name } } });
  host.node.kernel.rtnl.links.set("hand0", { up: true });
  container.address("net1", "10.1.0.2/24", "10.2.0.2/24", "fd01::2/64");
  const routes: [string, string?][] = [
    ["0.0.0.0/0", "10.1.0.1"],
    ["192.168.0.0/16", "10.2.0.1"],
    ["172.20.0.0/16"],
    ["::/0", "fd01::1"],
    ["fd99::/64", "fe80::1"],
  ];
  for (const [dst, gateway] of routes) {
    rtnl.routes.add({ dst, oif: "net1", ...(gateway === undefined ? {} : { gateway }) });
  }
  rtnl.routes.add({ dst: "172.16.0.0/16", gateway: "10.99.0.1", oif: "net1", onlink: true });
  return {
    cniVersion: "1.0.0",
    interfaces: [{ name: "net1", sandbox: `/run/netns/${container.name}` }, { name: "hand0" }],
    ips: [
      { address: "10.1.0.2/24", gateway: "10.1.0.1", interface: 0 },
      { address: "10.2.0.2/24", interface: 0 },
      { address: "10.3.0.2/24", interface: 1 },
      { address: "fd01::2/64", gateway: "fd01::1", interface: 0 },
    ],
  };
}

test("routes go to the addresses that they belong to, those without such an address to all", async () => {
  using host = new CniHost();
  const container = host.container();
  const prevResult = byHand(host, container);
  await host.succeed("ADD", container, sbrConfig({ prevResult }), { ifname: "net1" });
  expect(rulesOf(container)).toEqual([
    "from 10.1.0.2/32 lookup 100",
    "from 10.2.0.2/32 lookup 101",
    "from fd01::2/128 lookup 102",
  ]);
  expect(routesOf(container, "net1")).toEqual([
    "table 100: 0.0.0.0/0 via 10.1.0.1",
    "table 100: 10.1.0.0/24 src 10.1.0.2",
    "table 100: 172.16.0.0/16 via 10.99.0.1",
    "table 100: 172.20.0.0/16",
    "table 101: 10.2.0.0/24 src 10.2.0.2",
    "table 101: 172.16.0.0/16 via 10.99.0.1",
    "table 101: 172.20.0.0/16",
    "table 101: 192.168.0.0/16 via 10.2.0.1",
    "table 102: ::/0 via fd01::1",
    "table 102: fd01::/64",
    "table 102: fd99::/64 via fe80::1",
  ]);
});

referenceTest(
  "rules and IPv4 routes are those of the reference, but for the route that it loses",
  async () => {
    using host = new CniHost();
    const [ours, theirs] = [host.container(), host.container()];
    const ifname = "net1";
    await host.succeed("ADD", ours, sbrConfig({ prevResult: byHand(host, ours) }), { ifname });
    const [rules, routes] = [rulesOf(ours), routesOf(ours, ifname)];
    ours.kernel.rtnl.links.delete(ifname);
    const call = { ifname, plugins: referencePlugins };
    await host.succeed("ADD", theirs, sbrConfig({ prevResult: byHand(host, theirs) }), call);
    expect(rules).toEqual(rulesOf(theirs));
    const isIpv4 = (route: string) => /: [0-9.]+\//.test(route);
    // It gives the one that belongs to all also to the IPv6 address's table, where no packet of IPv4 comes.
    const referenced = routesOf(theirs, ifname).filter(
      (route) => isIpv4(route) && !route.startsWith("table 102"),
    );
    expect(routes.filter((route) => isIpv4(route) && !route.includes("10.99.0.1"))).toEqual(referenced);
  },
);

referenceTest("our DEL takes away what the reference's ADD made, and the other way round", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  for (const [container, first, second] of [
    [blue, referencePlugins, undefined],
    [green, undefined, referencePlugins],
  ] as const) {
    const call = (plugins: string | undefined) => ({
      ifname: "net1",
      ...(plugins === undefined ? {} : { plugins }),
    });
    const prevResult = byHand(host, container);
    await host.succeed("ADD", container, sbrConfig({ prevResult }), call(first));
    expect(rulesOf(container)).toHaveLength(3);
    await host.succeed("DEL", container, sbrConfig({ prevResult }), call(second));
    expect(rulesOf(container)).toEqual([]);
    container.kernel.rtnl.links.delete("net1");
  }
});

test("tables that are in use by anybody are not taken", async () => {
  using host = new CniHost();
  const container = host.container();
  container.kernel.rtnl.rules.add({ src: "10.9.0.9/32", table: 100 });
  container.kernel.rtnl.routes.add({ dst: "10.9.0.0/24", oif: "lo", table: 101 });
  await attach(host, container);
  expect(rulesOf(container)).toEqual([
    "from 10.77.0.2/32 lookup 102",
    "from 10.9.0.9/32 lookup 100",
    "from fd77::2/128 lookup 103",
  ]);
});

test("instances at the same time in one container take tables of their own", async () => {
  using host = new CniHost();
  const container = host.container();
  const prevResult = byHand(host, container);
  const { rtnl } = container.kernel;
  rtnl.links.add({ kind: "veth", name: "net2", peer: { name: "hand1", netns: { name: host.node.name } } });
  host.node.kernel.rtnl.links.set("hand1", { up: true });
  container.address("net2", "10.5.0.2/24");
  const other = { ips: [{ address: "10.5.0.2/24", gateway: "10.5.0.1" }] };
  await Promise.all([
    host.succeed("ADD", container, sbrConfig({ prevResult }), { ifname: "net1" }),
    host.succeed("ADD", container, sbrConfig({ prevResult: other }), { ifname: "net2" }),
  ]);
  const tables = rulesOf(container).map((rule) => rule.replace(/.* lookup /, ""));
  expect(new Set(tables).size).toBe(4);
});

const failures: [string, JsonObject, { code: number; msg: RegExp }][] = [
  ["it stands alone", {}, { code: 7, msg: /must be called as chained plugin/ }],
  [
    "there is no address",
    { prevResult: {} },
    { code: 7, msg: /No IP addresses supplied on interface: net1/ },
  ],
  ["a gateway is none", { gateways: ["x"], prevResult: {} }, { code: 7, msg: /gateways\[0\]: "x" is not/ }],
  [
    "a family has two gateways",
    { gateways: ["10.1.0.1", "10.2.0.1"], prevResult: {} },
    { code: 7, msg: /gateways: .* has more than one IPv4 address/ },
  ],
  ["the table is none", { table: 0, prevResult: {} }, { code: 7, msg: /table: 0 is not/ }],
  [
    "a gateway is out of reach",
    { gateways: ["10.200.0.1"] },
    { code: 999, msg: /0\.0\.0\.0\/0 via 10\.200\.0\.1.*ENETUNREACH/ },
  ],
  [
    "the second family's gateway is out of reach",
    { gateways: ["fd02::1"], addSourceHints: true },
    { code: 999, msg: /fd02::1.*EHOSTUNREACH/ },
  ],
];

test.each(failures)(
  "ADD that fails because %s leaves rules and routes as they were",
  async (name, more, error) => {
    using host = new CniHost();
    const container = host.container();
    const prevResult = byHand(host, container);
    const before = [rulesOf(container), routesOf(container, "net1", true)];
    const config = sbrConfig(name === "it stands alone" ? more : { prevResult, ...more });
    const { json } = await host.call("ADD", container, config, { ifname: "net1" });
    expect(json).toMatchObject({ code: error.code, msg: expect.stringMatching(error.msg) });
    await host.succeed("DEL", container, config, { ifname: "net1" });
    expect([rulesOf(container), routesOf(container, "net1", true)]).toEqual(before);
  },
);

test("ADD that fails at the second address takes back what it made for the first", async () => {
  using host = new CniHost();
  const container = host.container();
  const prevResult = byHand(host, container);
  const before = routesOf(container, "net1", true);
  const [first] = prevResult.ips as JsonObject[];
  const ips = [first, { address: "10.250.0.1/24", gateway: "10.251.0.1" }];
  const { json, stderr } = await host.call(
    "ADD",
    container,
    sbrConfig({ prevResult: { ...prevResult, ips } }),
    {
      ifname: "net1",
    },
  );
  expect(json).toMatchObject({ code: 999, msg: expect.stringContaining("10.251.0.1") });
  expect(stderr).toBe("");
  expect([rulesOf(container), routesOf(container, "net1", true)]).toEqual([[], before]);
});

test("CHECK sees a rule and a default route that are gone", async () => {
  using host = new CniHost();
  const container = host.container();
  const { json: prevResult } = await attach(host, container);
  const config = sbrConfig({ prevResult });
  await host.succeed("CHECK", container, config);
  const { rules, routes } = container.kernel.rtnl;
  routes.delete({ dst: "::/0", table: 101 });
  expect((await host.call("CHECK", container, config)).json.msg).toBe(
    "table 101 of fd77::2 has no default route via fd77::1",
  );
  rules.delete({ src: "10.77.0.2/32", table: 100 });
  expect((await host.call("CHECK", container, config)).json.msg).toMatch(
    /no rule leads packets from 10\.77\.0\.2/,
  );
  expect((await host.call("CHECK", container, sbrConfig())).json).toMatchObject({ code: 7 });
});

test("STATUS reads the configuration; GC has nothing to do", async () => {
  using host = new CniHost();
  const config = sbrConfig({ cniVersion: "1.1.0", table: 7 });
  await host.succeed("STATUS", undefined, config);
  await host.succeed("GC", undefined, { ...config, "cni.dev/valid-attachments": [] });
  expect((await host.call("STATUS", undefined, { ...config, table: -1 })).json).toMatchObject({ code: 7 });
});
