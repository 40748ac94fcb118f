/** The plugins ipvlan, vlan and dummy on a kernel that has such links; see cni-child.ts for the picture. */
import { expect, setDefaultTimeout, test } from "bun:test";
import {
  expectReach,
  ifname,
  stateOf,
  testChild,
  wireConfig,
  wireIpam,
  wireReady,
} from "../../kernel/cni-child.ts";
import { addressOf, CniHost } from "../../kernel/cni-fixture.ts";

setDefaultTimeout(60_000);
testChild("ipvlan", {});
testChild("vlan", { vlanId: 5 });

const call = { ifname };

test("ipvlan: containers, and what is outside, reach each other", async () => {
  using host = new CniHost();
  await expectReach(host, wireConfig(host, "ipvlan"));
});

test("vlan: a container reaches its VLAN outside, and nobody outside of it", async () => {
  using host = new CniHost();
  const { rtnl } = host.outside.kernel;
  for (const id of [5, 6]) {
    rtnl.links.add({ kind: "vlan", name: `eth0.${id}`, parent: "eth0", vlan: { id } });
    host.outside.address(`eth0.${id}`, `10.77.${id}.2/24`, `fd77:${id}::2/64`);
  }
  await host.outside.serve(8080, "outside");
  await wireReady(host);
  const ipam = {
    type: "host-local",
    dataDir: host.dataDir,
    ranges: [
      [{ subnet: "10.77.5.0/24", rangeStart: "10.77.5.100" }],
      [{ subnet: "fd77:5::/64", rangeStart: "fd77:5::100" }],
    ],
    routes: [{ dst: "10.77.6.0/24" }],
  };
  const [blue, green] = [host.container(), host.container()];
  await blue.serve(8080, "blue");
  const first = await host.succeed(
    "ADD",
    blue,
    wireConfig(host, "vlan", { vlanId: 5, ipam: { ...ipam, routes: [] } }),
    call,
  );
  for (const [family, outside] of [
    [4, "10.77.5.2"],
    [6, "fd77:5::2"],
  ] as const) {
    expect(await blue.ask(outside, 8080)).toStartWith(`outside ${addressOf(first, family)} `);
    expect(await host.outside.ask(addressOf(first, family), 8080)).toStartWith(`blue ${outside} `);
  }
  expect(await blue.ask("192.0.2.2", 8080, 300)).not.toContain("outside");
  await host.succeed("ADD", green, wireConfig(host, "vlan", { vlanId: 6, ipam }), call);
  expect(green.kernel.rtnl.links.get(ifname).vlan?.id).toBe(6);
  expect(await green.ask(addressOf(first, 4), 8080, 300)).not.toContain("blue");
});

test("vlan: a VLAN is one container's, the master is up and named, and a VLAN's number is one", async () => {
  using host = new CniHost();
  const given = wireConfig(host, "vlan", { vlanId: 5, cniVersion: "1.1.0" });
  await host.succeed("ADD", host.container(), given, call);
  const second = await host.call("ADD", host.container(), given, call);
  expect(second.json.details).toBe(
    "VLAN 5 of eth0 is in use: every container needs another master or vlanId",
  );
  const refusals: [object, object][] = [
    [{ master: undefined }, { code: 7, msg: "master: is missing" }],
    [{ vlanId: 4095 }, { code: 7, msg: "vlanId: 4095 is not a whole number from 0 to 4094" }],
    [{ mtu: 1501 }, { code: 7, msg: "mtu: 1501 is more than the master's: eth0 has 1500" }],
  ];
  for (const [more, answer] of refusals) {
    const { json } = await host.call("ADD", host.container(), { ...given, ...more }, call);
    expect(json).toMatchObject(answer);
  }
  const { stderr } = await host.succeed("ADD", host.container(), { ...given, vlanId: undefined }, call);
  expect(stderr).toContain("vlanId: is missing; 0 is taken");
  host.node.kernel.rtnl.links.set("eth0", { up: false });
  const down = { ...given, vlanId: 7 };
  for (const [command, code] of [
    ["ADD", 999],
    ["STATUS", 50],
  ] as const) {
    const container = command === "ADD" ? host.container() : undefined;
    expect((await host.call(command, container, down, call)).json).toMatchObject({
      code,
      msg: 'master "eth0" is down',
    });
  }
});

test.each(["", "l2", "l3", "l3s"])("ipvlan: mode %p", async (mode) => {
  using host = new CniHost();
  const blue = host.container();
  const given = wireConfig(host, "ipvlan", { mode });
  const { json } = await host.succeed("ADD", blue, given, call);
  const actual = mode === "" ? "l2" : mode;
  expect(blue.kernel.rtnl.links.get(ifname).ipvlan?.mode).toBe(actual as "l2");
  await host.succeed("CHECK", blue, { ...given, prevResult: json }, call);
  const other = { ...given, mode: actual === "l3" ? "l2" : "l3", prevResult: json };
  expect((await host.call("CHECK", blue, other, call)).json.msg).toContain("does not match expected value");
});

test("ipvlan: master and addresses are those of the plugin before", async () => {
  using host = new CniHost();
  const blue = host.container();
  const prevResult = {
    cniVersion: "1.0.0",
    interfaces: [{ name: "eth0" }],
    ips: [
      { address: "192.0.2.150/24", gateway: "192.0.2.2", interface: 0 },
      { address: "2001:db8::150/64", gateway: "2001:db8::2" },
    ],
    routes: [{ dst: "0.0.0.0/0" }],
    dns: { nameservers: ["192.0.2.53"] },
  };
  const given = wireConfig(host, "ipvlan", { master: undefined, ipam: undefined });
  const { json } = await host.succeed("ADD", blue, { ...given, prevResult }, call);
  const mac = blue.kernel.rtnl.links.get(ifname).mac;
  expect(json).toEqual({
    ...prevResult,
    interfaces: [{ name: ifname, mac, sandbox: `/run/netns/${blue.name}` }],
    ips: prevResult.ips.map((ip) => ({ ...ip, interface: 0 })),
  });
  expect(String(blue.kernel.rtnl.routes.list({ dst: "0.0.0.0/0" })[0]?.gateway)).toBe("192.0.2.2");
  await host.succeed("CHECK", blue, { ...given, prevResult: json }, call);
  await host.succeed("STATUS", undefined, { ...given, cniVersion: "1.1.0" });
  await host.succeed("DEL", blue, { ...given, prevResult: json }, call);
  expect(blue.kernel.rtnl.links.find(ifname)).toBeUndefined();
  for (const interfaces of [[], [{ name: "eth0" }, { name: "eth1" }]]) {
    const answer = await host.call(
      "ADD",
      blue,
      { ...given, prevResult: { ...prevResult, interfaces } },
      call,
    );
    expect(answer.json.msg).toBe("chained master failure. PrevResult lacks a single named interface");
  }
  // With addresses of its own it is not in a chain, and the master is that of the default route.
  const alone = wireConfig(host, "ipvlan", { master: undefined, cniVersion: "1.1.0" });
  expect((await host.call("STATUS", undefined, alone)).json.code).toBe(50);
  host.node.route("::/0", "2001:db8::2");
  await host.succeed("STATUS", undefined, alone);
  await host.succeed("ADD", blue, alone, call);
});

test("ipvlan and macvlan cannot share a master", async () => {
  using host = new CniHost();
  await host.succeed("ADD", host.container(), wireConfig(host, "macvlan"), call);
  const { json } = await host.call("ADD", host.container(), wireConfig(host, "ipvlan"), call);
  expect(json.details).toContain("macvlan and ipvlan cannot share a master");
});

test.each([
  ["IPv4", [4]],
  ["IPv6", [6]],
  ["both families", [4, 6]],
] as [string, (4 | 6)[]][])("dummy: addresses that lead nowhere, %s", async (_, families) => {
  using host = new CniHost();
  const blue = host.container();
  const before = [stateOf(blue), host.state()];
  const ipam = { ...wireIpam(host, families), routes: [] };
  const given = { cniVersion: "1.1.0", name: "net", type: "dummy", ipam };
  const { json } = await host.succeed("ADD", blue, given, { ifname: "eth0" });
  const { mac, kind, up } = blue.kernel.rtnl.links.get("eth0");
  expect({ kind, up }).toEqual({ kind: "dummy", up: true });
  expect(json).toMatchObject({
    interfaces: [{ name: "eth0", mac, mtu: 1500, sandbox: `/run/netns/${blue.name}` }],
    ips: families.map((family) => ({
      interface: 0,
      address: family === 4 ? "192.0.2.100/24" : "2001:db8::100/64",
    })),
  });
  const checked = { ...given, prevResult: json };
  await host.succeed("CHECK", blue, checked, { ifname: "eth0" });
  blue.kernel.rtnl.links.set("eth0", { up: false });
  expect((await host.call("CHECK", blue, checked, { ifname: "eth0" })).json.msg).toBe(
    "interface eth0 is down",
  );
  await host.succeed("STATUS", undefined, given);
  await host.succeed("GC", undefined, { ...given, "cni.dev/valid-attachments": [] });
  expect(host.leases()).toEqual({});
  for (let i = 0; i < 2; i++) await host.succeed("DEL", blue, given, { ifname: "eth0" });
  expect([stateOf(blue), host.state()]).toEqual(before);
});

test("dummy: needs addresses, and a name that is free", async () => {
  using host = new CniHost();
  const blue = host.container();
  const given = { cniVersion: "1.1.0", name: "net", type: "dummy" };
  for (const command of ["ADD", "STATUS"]) {
    const { json } = await host.call(command, blue, given, call);
    expect(json).toMatchObject({ code: 7, msg: "dummy interface requires an IPAM configuration" });
  }
  blue.kernel.rtnl.links.add({ kind: "dummy", name: ifname });
  const taken = await host.call("ADD", blue, { ...given, ipam: wireIpam(host) }, call);
  expect(taken.json.msg).toBe(`container interface name ("${ifname}") already exists`);
  expect(host.leases()).toEqual({});
  const failing = { ...given, ipam: { type: "no-such-plugin" } };
  expect((await host.call("ADD", host.container(), failing, call)).status).toBe(1);
});
