/**
 * The ptp plugin with host-local, as executables in namespaces; see cni-fixture.ts for the picture, in which the bridge is
 * not there: each container has a link with the host alone.
 */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import type { JsonObject } from "../../src/cni/fields.ts";
import { addressOf, CniHost, ownPlugins } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

function configOf(host: CniHost, more: JsonObject = {}, ipam: JsonObject = {}): JsonObject {
  const routes = [{ dst: "0.0.0.0/0" }, { dst: "::/0" }];
  const {
    bridge: _,
    isDefaultGateway: __,
    ...config
  } = host.config({ type: "ptp", ...more }, { routes, ...ipam });
  return config;
}

/** The routes of a namespace but those that the kernel makes by itself: "10.1.0.0/16 via 10.1.0.1 src 10.1.0.2 link". */
function routesOf({ kernel }: Namespace): string[] {
  return kernel.rtnl.routes
    .list()
    .filter(({ protocol }) => protocol !== "kernel")
    .map(({ dst, gateway, src, scope }) =>
      [dst, gateway && `via ${gateway}`, src && `src ${src}`, dst.family === 4 && scope]
        .filter(Boolean)
        .join(" "),
    )
    .sort();
}

test("containers reach the host, each other and are reached, at once and in both families", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  await host.node.serve(8080, "host");
  await blue.serve(8080, "blue");
  const first = await host.succeed("ADD", blue, configOf(host));
  const second = await host.succeed("ADD", green, configOf(host));
  for (const family of [4, 6] as const) {
    const gateway = family === 4 ? "10.77.0.1" : "fd77::1";
    const [ours, theirs] = [addressOf(first, family), addressOf(second, family)];
    // A second is less than looking for duplicates would take.
    expect(await green.ask(ours, 8080, 1000)).toStartWith(`blue ${theirs} `);
    expect(await blue.ask(gateway, 8080, 1000)).toStartWith(`host ${ours} `);
    expect(await green.ask(gateway, 8080, 1000)).toStartWith(`host ${theirs} `);
    expect(await host.node.ask(ours, 8080, 1000)).toStartWith(`blue ${gateway} `);
  }
});

test("a container is reached at once through a host whose links look for duplicates", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  host.node.kernel.sysctl.write("net.ipv6.conf.default.accept_dad", 1);
  await green.serve(8080, "green");
  await host.succeed("ADD", blue, configOf(host));
  const second = await host.succeed("ADD", green, configOf(host));
  for (const family of [4, 6] as const) {
    // What the host forwards before it has heard of green.
    expect(await blue.ask(addressOf(second, family), 8080, 800)).toStartWith("green ");
  }
});

test("the result, and what is at both ends", async () => {
  using host = new CniHost();
  const blue = host.container();
  const dns = { nameservers: ["10.77.0.1"], search: ["example"] };
  const { json } = await host.succeed("ADD", blue, configOf(host, { cniVersion: "1.1.0", mtu: 1400, dns }));
  const { rtnl, sysctl } = host.node.kernel;
  const outside = rtnl.links.list({ kind: "veth" }).find(({ name }) => name !== "eth0");
  const inside = blue.kernel.rtnl.links.get("eth0");
  const sandbox = `/run/netns/${blue.name}`;
  expect(json).toEqual({
    cniVersion: "1.1.0",
    interfaces: [
      { name: outside?.name, mac: outside?.mac, mtu: 1400 },
      { name: "eth0", mac: inside.mac, mtu: 1400, sandbox },
    ],
    ips: [
      { interface: 1, address: "10.77.0.2/24", gateway: "10.77.0.1" },
      { interface: 1, address: "fd77::2/64", gateway: "fd77::1" },
    ],
    routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
    dns,
  });
  expect([outside?.up, outside?.master, inside.up, inside.mtu]).toEqual([true, undefined, true, 1400]);
  expect(routesOf(blue)).toEqual([
    "0.0.0.0/0 via 10.77.0.1 global",
    "10.77.0.0/24 via 10.77.0.1 src 10.77.0.2 global",
    "10.77.0.1/32 src 10.77.0.2 link",
    "::/0 via fd77::1",
    "fd77::/64 via fd77::1 src fd77::2",
    "fd77::1/128 src fd77::2",
  ]);
  expect(routesOf(host.node)).toEqual(["10.77.0.2/32 host", "fd77::2/128"]);
  const addresses = rtnl.addresses
    .list({ link: outside?.name ?? "" })
    .filter(({ scope }) => scope !== "link");
  expect(addresses.map(({ address }) => String(address))).toEqual(["10.77.0.1/32", "fd77::1/128"]);
  expect(sysctl.read("net.ipv4.ip_forward")).toBe("1");
  expect(sysctl.read("net.ipv6.conf.all.forwarding")).toBe("1");
  expect(sysctl.read(`net/ipv6/conf/${outside?.name}/accept_ra`)).toBe("0");
  expect(blue.kernel.sysctl.read("net.ipv4.ip_forward")).toBe("0");
});

const families: [string, JsonObject, 4 | 6][] = [
  ["IPv4", { ranges: [[{ subnet: "10.77.0.0/24" }]], routes: [{ dst: "0.0.0.0/0" }] }, 4],
  ["IPv6", { ranges: [[{ subnet: "fd77::/64" }]], routes: [{ dst: "::/0" }] }, 6],
];
test.each(families)("%s alone leaves the other family as it is", async (_, ipam, family) => {
  using host = new CniHost();
  const blue = host.container();
  await host.outside.serve(8080, "outside");
  const config = configOf(host, { ipMasq: true }, ipam);
  await host.succeed("ADD", blue, config);
  const [target, source] = family === 4 ? ["192.0.2.2", "192.0.2.1"] : ["2001:db8::2", "2001:db8::1"];
  expect(await blue.ask(target, 8080)).toStartWith(`outside ${source} `);
  const { sysctl } = host.node.kernel;
  expect(sysctl.read("net.ipv4.ip_forward")).toBe(family === 4 ? "1" : "0");
  expect(sysctl.read("net.ipv6.conf.all.forwarding")).toBe(family === 6 ? "1" : "0");
  await host.succeed("DEL", blue, config);
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("ipMasq hides containers from the outside and from nobody else", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  await host.outside.serve(8080, "outside");
  await green.serve(8080, "green");
  const config = configOf(host, { ipMasq: true });
  const first = await host.succeed("ADD", blue, config);
  const second = await host.succeed("ADD", green, config);
  expect(await blue.ask("192.0.2.2", 8080)).toStartWith("outside 192.0.2.1 ");
  expect(await blue.ask("2001:db8::2", 8080)).toStartWith("outside 2001:db8::1 ");
  for (const family of [4, 6] as const) {
    expect(await blue.ask(addressOf(second, family), 8080)).toStartWith(`green ${addressOf(first, family)} `);
  }
});

test("DEL leaves what was there before ADD, and is no error when repeated", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  const config = configOf(host, { ipMasq: true });
  await host.succeed("ADD", blue, config);
  const before = host.state();
  await host.succeed("ADD", green, config);
  expect(host.state()).not.toBe(before);
  for (let i = 0; i < 2; i++) {
    expect((await host.succeed("DEL", green, config)).stdout).toBe("");
    expect(host.state()).toBe(before);
  }
  expect(green.kernel.rtnl.links.list().map(({ name }) => name)).toEqual(["lo"]);
  await host.succeed("DEL", blue, config, { netns: "" });
  expect(host.leases()).toEqual({});
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

const failures: [string, JsonObject, JsonObject, string][] = [
  [
    "an unreachable gateway of a route",
    {},
    { routes: [{ dst: "10.9.0.0/16", gw: "10.200.0.1" }] },
    "cannot add route",
  ],
  ["a full range", {}, { ranges: [[{ subnet: "10.77.0.0/30", rangeStart: "10.77.0.3" }]] }, "ipam"],
  ["an MTU that is too small for IPv6", { mtu: 1000 }, {}, "mtu: 1000 is too small for an IPv6 address"],
  ["no IPAM", { ipam: undefined }, {}, "ipam.type: is missing"],
  ["an unknown backend", { ipMasqBackend: "pf" }, {}, "pf"],
];
test.each(failures)("%s leaves nothing behind", async (_, more, ipam, message) => {
  using host = new CniHost();
  const blue = host.container();
  const before = host.state();
  const answer = await host.call("ADD", blue, configOf(host, more, ipam));
  expect(answer.status).toBe(1);
  expect(String(answer.json.msg)).toContain(message);
  expect(host.state()).toBe(before);
  expect(blue.kernel.rtnl.links.list().map(({ name }) => name)).toEqual(["lo"]);
});

test("an address that leads elsewhere by a foreign route is refused, and the route stays", async () => {
  using host = new CniHost();
  const { rtnl } = host.node.kernel;
  rtnl.routes.add({ dst: "10.77.0.2/32", gateway: "192.0.2.9" });
  const before = host.state();
  const answer = await host.call("ADD", host.container(), configOf(host));
  expect(answer.json.msg).toBe("a route to 10.77.0.2/32 is there already, by another link");
  expect(host.state()).toBe(before);
});

test("an address alone in its network, and several addresses of one network", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  await host.node.serve(8080, "host");
  const answer = {
    cniVersion: "1.0.0",
    ips: [
      { address: "10.88.0.9/32", gateway: "10.88.0.1" },
      { address: "fd88::9/128", gateway: "fd88::1" },
    ],
    routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
  };
  const cniPath = `${ownPlugins}:${host.dir}`;
  const add = async (container: Namespace, given: JsonObject) => {
    await Bun.write(`${host.dir}/my-ipam`, `#!/bin/sh\ncat >/dev/null\necho '${JSON.stringify(given)}'\n`);
    Bun.spawnSync(["chmod", "+x", `${host.dir}/my-ipam`]);
    return await host.call("ADD", container, configOf(host, {}, { type: "my-ipam" }), { cniPath });
  };
  expect((await add(blue, answer)).status).toBe(0);
  expect(await blue.ask("10.88.0.1", 8080, 1000)).toStartWith("host 10.88.0.9 ");
  expect(await blue.ask("fd88::1", 8080, 1000)).toStartWith("host fd88::9 ");
  const twice = [
    { address: "10.89.0.8/24", gateway: "10.89.0.1" },
    { address: "10.89.0.9/24", gateway: "10.89.0.1" },
  ];
  expect((await add(green, { ...answer, ips: twice, routes: [] })).status).toBe(0);
  expect(routesOf(green)).toEqual([
    "10.89.0.0/24 via 10.89.0.1 src 10.89.0.8 global",
    "10.89.0.1/32 src 10.89.0.8 link",
  ]);
  const none = await add(host.container(), { cniVersion: "1.0.0", ips: [{ address: "10.90.0.9/24" }] });
  expect(none.json).toMatchObject({ code: 7, msg: "gateway: is no gateway for 10.90.0.9/24" });
});

test("CHECK finds what differs from the result, at both ends", async () => {
  using host = new CniHost();
  const blue = host.container();
  const config = configOf(host, { ipMasq: true });
  const { json: prevResult } = await host.succeed("ADD", blue, config);
  const check = async () => (await host.call("CHECK", blue, { ...config, prevResult })).json.msg;
  expect(await check()).toBeUndefined();
  expect((await host.call("CHECK", blue, config)).json).toMatchObject({
    code: 7,
    msg: "Required prevResult missing",
  });
  const [outside] = prevResult.interfaces as { name: string }[];
  const { rtnl } = host.node.kernel;
  rtnl.routes.delete({ dst: "fd77::2/128" });
  expect(await check()).toBe(`fd77::2 is not reached by interface ${outside?.name}`);
  rtnl.routes.add({ dst: "fd77::2/128", oif: outside?.name ?? "" });
  rtnl.addresses.delete({ link: outside?.name ?? "", address: "10.77.0.1/32" });
  expect(await check()).toBe(`gateway 10.77.0.1 is not an address of interface ${outside?.name}`);
  blue.kernel.rtnl.routes.delete({ dst: "0.0.0.0/0" });
  expect(await check()).toContain("Expected Route 0.0.0.0/0");
  blue.kernel.rtnl.links.set("eth0", { mac: "02:00:00:00:00:99" });
  expect(await check()).toContain("Interface eth0 Mac doesn't match");
});

test("an ADD for an interface that is there asks for no addresses, which might be those that it has", async () => {
  using host = new CniHost();
  const blue = host.container();
  const calls = `${host.dir}/calls`;
  const answer = { cniVersion: "1.0.0", ips: [{ address: "10.78.0.2/24", gateway: "10.78.0.1" }] };
  const script = `#!/bin/sh\necho $CNI_COMMAND >> ${calls}\necho '${JSON.stringify(answer)}'\n`;
  writeFileSync(`${host.dir}/same-ipam`, script, { mode: 0o755 });
  const call = { cniPath: `${ownPlugins}:${host.dir}` };
  const config = { ...configOf(host), ipam: { type: "same-ipam" } };
  await host.succeed("ADD", blue, config, call);
  const again = await host.call("ADD", blue, config, call);
  expect(again.json.msg).toBe('container interface name ("eth0") already exists');
  expect(readFileSync(calls, "utf8")).toBe("ADD\n");
});

test("GC removes leases and masquerading of what is not valid; STATUS tells when no address is left", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  const config = configOf(
    host,
    { cniVersion: "1.1.0", ipMasq: true },
    { ranges: [[{ subnet: "10.77.0.0/24", rangeStart: "10.77.0.7", rangeEnd: "10.77.0.8" }]] },
  );
  await host.succeed("STATUS", undefined, config);
  await host.succeed("ADD", blue, config);
  await host.succeed("ADD", green, config);
  expect((await host.call("STATUS", undefined, config)).json).toMatchObject({ code: 50 });
  const valid = [{ containerID: green.name, ifname: "eth0" }];
  await host.succeed("GC", undefined, { ...config, "cni.dev/valid-attachments": valid });
  expect(Object.values(host.leases())).toEqual([`${green.name}/eth0`]);
  expect(host.state()).not.toContain(`net/${blue.name}`);
  expect(host.state()).toContain(`net/${green.name}/eth0`);
  await host.succeed("STATUS", undefined, config);
});
