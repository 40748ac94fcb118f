/** The plugin macvlan, as an executable in namespaces; see cni-child.ts for the picture. */
import { expect, test } from "bun:test";
import type { JsonObject } from "../../src/cni/fields.ts";
import { expectReach, ifname, testChild, wireConfig, wireIpam } from "./cni-child.ts";
import { CniHost } from "./cni-fixture.ts";

testChild("macvlan", {});

const call = { ifname };

test("containers, and what is outside, reach each other at once", async () => {
  using host = new CniHost();
  await expectReach(host, wireConfig(host, "macvlan"));
});

test.each(["", "bridge", "private", "vepa", "passthru"])("mode %p", async (mode) => {
  using host = new CniHost();
  const blue = host.container();
  const given = wireConfig(host, "macvlan", { mode });
  const { json } = await host.succeed("ADD", blue, given, call);
  const actual = mode === "" ? "bridge" : mode;
  expect(blue.kernel.rtnl.links.get(ifname).macvlan?.mode).toBe(actual as "bridge");
  await host.succeed("CHECK", blue, { ...given, prevResult: json }, call);
  const other = { ...given, mode: actual === "vepa" ? "private" : "vepa", prevResult: json };
  expect((await host.call("CHECK", blue, other, call)).json.msg).toBe(
    `Interface ${ifname} mode ${actual} does not match expected value: ${other.mode}`,
  );
});

test("a mode that is none is named, with the one that was meant", async () => {
  using host = new CniHost();
  const { json } = await host.call(
    "ADD",
    host.container(),
    wireConfig(host, "macvlan", { mode: "brdge" }),
    call,
  );
  expect(json).toMatchObject({
    code: 7,
    msg: 'mode: "brdge" is not a mode of macvlan (did you mean "bridge"?)',
    details: "Use one of bridge, private, vepa, passthru",
  });
});

test("passthru has room for one container", async () => {
  using host = new CniHost();
  const given = wireConfig(host, "macvlan", { mode: "passthru" });
  await host.succeed("ADD", host.container(), given, call);
  const green = host.container();
  const second = await host.call("ADD", green, given, call);
  expect(second.json.details).toBe(
    "In mode passthru eth0 has room for one container alone: look for another one on it",
  );
  expect(green.kernel.rtnl.links.list()).toHaveLength(1);
  expect(Object.keys(host.leases())).toHaveLength(2);
});

test("the hardware address: the capability before args, CNI_ARGS and the key", async () => {
  using host = new CniHost();
  const mac = "02:00:00:00:00:0";
  const sources: [JsonObject, string, string][] = [
    [{ mac: `${mac}1` }, "", "1"],
    [{ mac: `${mac}1` }, `IgnoreUnknown=1;MAC=${mac}2`, "2"],
    [{ mac: `${mac}1`, args: { cni: { mac: `${mac}3` } } }, `IgnoreUnknown=1;MAC=${mac}2`, "3"],
    [{ mac: `${mac}1`, runtimeConfig: { mac: `${mac}4` } }, `IgnoreUnknown=1;MAC=${mac}2`, "4"],
  ];
  for (const [more, args, expected] of sources) {
    const blue = host.container();
    const { json } = await host.succeed("ADD", blue, wireConfig(host, "macvlan", more), { ...call, args });
    expect(blue.kernel.rtnl.links.get(ifname).mac).toBe(mac + expected);
    expect(json.interfaces).toMatchObject([{ mac: mac + expected }]);
    await host.succeed("DEL", blue, wireConfig(host, "macvlan", more), { ...call, args });
  }
  for (const wrong of ["01:00:5e:00:00:01", "02:00:00:00:00"]) {
    const { json } = await host.call(
      "ADD",
      host.container(),
      wireConfig(host, "macvlan", { mac: wrong }),
      call,
    );
    expect(json).toMatchObject({ code: 7, msg: expect.stringContaining(`mac: "${wrong}"`) });
  }
});

test("bcqueuelen is the kernel's for 0, else what is said", async () => {
  using host = new CniHost();
  const usual = 1000;
  for (const [bcqueuelen, expected] of [
    [0, usual],
    [1500, 1500],
  ] as const) {
    const blue = host.container();
    const given = wireConfig(host, "macvlan", { bcqueuelen });
    const { json } = await host.succeed("ADD", blue, given, call);
    expect(blue.kernel.rtnl.links.get(ifname).macvlan?.broadcastQueueLength).toBe(expected);
    await host.succeed("CHECK", blue, { ...given, prevResult: json }, call);
    await host.succeed("DEL", blue, given, call);
  }
});

test("without a master it is the link of the default route", async () => {
  using host = new CniHost();
  const given = wireConfig(host, "macvlan", { master: undefined, cniVersion: "1.1.0" });
  const none = await host.call("ADD", host.container(), given, call);
  expect(none.json.msg).toBe("no default route interface found");
  expect((await host.call("STATUS", undefined, given)).json).toMatchObject({ code: 50 });
  const { rtnl } = host.node.kernel;
  rtnl.links.add({ kind: "bridge", name: "worse0", up: true });
  rtnl.addresses.add({ link: "worse0", address: "203.0.113.1/24" });
  rtnl.routes.add({ dst: "0.0.0.0/0", gateway: "203.0.113.9", priority: 500 });
  for (const [dst, gateway] of [
    ["0.0.0.0/0", "192.0.2.2"],
    ["::/0", "2001:db8::2"],
  ] as const) {
    rtnl.routes.add({ dst, gateway, priority: 100 });
    const blue = host.container();
    const { json } = await host.succeed("ADD", blue, given, call);
    expect(blue.kernel.rtnl.links.get(ifname).parent).toBe(rtnl.links.get("eth0").index);
    await host.succeed("CHECK", blue, { ...given, prevResult: json }, call);
    await host.succeed("DEL", blue, given, call);
    await host.succeed("STATUS", undefined, given);
    for (const { dst: other, priority } of rtnl.routes.list({ dst: "0.0.0.0/0" })) {
      rtnl.routes.delete({ dst: other, ...(priority === undefined ? {} : { priority }) });
    }
  }
});

test("an MTU above the master's is refused", async () => {
  using host = new CniHost();
  const { json } = await host.call("ADD", host.container(), wireConfig(host, "macvlan", { mtu: 1501 }), call);
  expect(json).toMatchObject({ code: 7, msg: "mtu: 1501 is more than the master's: eth0 has 1500" });
});

test("a link is made before the IPAM plugin is asked, and goes after", async () => {
  using host = new CniHost();
  const blue = host.container();
  const log = `${host.dir}/log`;
  const answer =
    '{"cniVersion":"1.0.0","ips":[{"address":"192.0.2.150/24"}],"dns":{"nameservers":["192.0.2.53"]}}';
  await Bun.write(
    `${host.dir}/watching`,
    `#!/bin/sh
cat >/dev/null
ip netns exec ${blue.name} ip -o link show ${ifname} >/dev/null && echo "$CNI_COMMAND" >>${log}
[ "$CNI_COMMAND" != ADD ] || echo '${answer}'
`,
  );
  Bun.spawnSync(["chmod", "755", `${host.dir}/watching`]);
  const given = wireConfig(host, "macvlan", { ipam: { type: "watching" } });
  const paths = { ...call, cniPath: host.dir };
  const { json } = await host.succeed("ADD", blue, given, paths);
  // Where the configuration says nothing, what the IPAM plugin learnt is told.
  expect(json).toMatchObject({
    ips: [{ interface: 0, address: "192.0.2.150/24" }],
    dns: { nameservers: ["192.0.2.53"] },
  });
  await host.succeed("CHECK", blue, { ...given, prevResult: json }, paths);
  await host.succeed("DEL", blue, given, paths);
  expect(await Bun.file(log).text()).toBe("ADD\nCHECK\nDEL\n");
});

test("a plugin that is killed in mid-ADD leaves what DEL takes away, and then ADD works", async () => {
  using host = new CniHost();
  const blue = host.container();
  const before = [host.state(), blue.kernel.rtnl.links.list().length];
  await Bun.write(
    `${host.dir}/deadly`,
    '#!/bin/sh\ncat >/dev/null\n[ "$CNI_COMMAND" != ADD ] || kill -9 $PPID\n',
  );
  Bun.spawnSync(["chmod", "755", `${host.dir}/deadly`]);
  const given = wireConfig(host, "macvlan", { ipam: { type: "deadly" } });
  const paths = { ...call, cniPath: host.dir };
  expect((await host.call("ADD", blue, given, paths)).status).not.toBe(0);
  expect(blue.kernel.rtnl.links.find(ifname)).toBeDefined();
  await host.succeed("DEL", blue, given, paths);
  expect([host.state(), blue.kernel.rtnl.links.list().length]).toEqual(before);
  await host.succeed("ADD", blue, wireConfig(host, "macvlan"), call);
});

test("an IPAM plugin that fails in DEL does not keep the link", async () => {
  using host = new CniHost();
  const blue = host.container();
  await host.succeed("ADD", blue, wireConfig(host, "macvlan", { ipam: {} }), call);
  const broken = wireConfig(host, "macvlan", { ipam: { type: "no-such-plugin" } });
  expect((await host.call("DEL", blue, broken, call)).status).toBe(1);
  expect(blue.kernel.rtnl.links.find(ifname)).toBeUndefined();
});

test("an address that another host has is refused where the container looks for duplicates", async () => {
  using host = new CniHost();
  const blue = host.container();
  blue.kernel.sysctl.write("net.ipv6.conf.default.accept_dad", 1);
  host.outside.kernel.rtnl.addresses.add({ link: "eth0", address: "2001:db8::100/64", flags: ["nodad"] });
  const given = wireConfig(host, "macvlan", { ipam: wireIpam(host, [6]) });
  const refused = await host.call("ADD", blue, given, call);
  expect(refused.json.msg).toBe(`an IPv6 address of ${ifname} is in use by another host`);
  expect(host.leases()).toEqual({});
  expect(blue.kernel.rtnl.links.find(ifname)).toBeUndefined();
  const free = await host.succeed("ADD", blue, given, call);
  expect(free.json.ips).toMatchObject([{ address: "2001:db8::101/64" }]);
  expect(blue.kernel.sysctl.read(`net.ipv6.conf.${ifname}.accept_dad`)).toBe("1");
});

test.each(["0.3.1", "0.4.0", "1.0.0", "1.1.0"])("version %s", async (cniVersion) => {
  using host = new CniHost();
  const blue = host.container();
  const given = wireConfig(host, "macvlan", { cniVersion });
  const { json } = await host.succeed("ADD", blue, given, call);
  expect(json).toMatchObject({
    cniVersion,
    interfaces: [{ name: ifname }],
    ips: [{ interface: 0 }, { interface: 0 }],
  });
  if (cniVersion !== "0.3.1") await host.succeed("CHECK", blue, { ...given, prevResult: json }, call);
  await host.succeed("DEL", blue, { ...given, prevResult: json }, call);
  expect(host.leases()).toEqual({});
});

test("neighbours are told of new addresses", async () => {
  using host = new CniHost();
  const blue = host.container();
  await host.succeed("ADD", blue, wireConfig(host, "macvlan"), call);
  const { sysctl } = blue.kernel;
  expect(sysctl.read(`net.ipv4.conf.${ifname}.arp_notify`)).toBe("1");
  expect(sysctl.read(`net.ipv6.conf.${ifname}.ndisc_notify`)).toBe("1");
});

test("where the kernel has no such links, STATUS and ADD say so", async () => {
  using host = new CniHost();
  const { kernel } = host.node;
  const kinds = ["vlan", "ipvlan"].filter((kind) => {
    try {
      kernel.rtnl.links.add({ kind, name: "probe", parent: "eth0" });
    } catch (error) {
      return (error as { errnoName?: string }).errnoName === "EOPNOTSUPP";
    }
    kernel.rtnl.links.delete("probe");
    return false;
  });
  const answers = await Promise.all(
    kinds.flatMap((kind) => {
      const given = wireConfig(host, kind, { vlanId: 5, cniVersion: "1.1.0" });
      return [host.call("STATUS", undefined, given), host.call("ADD", host.container(), given, call)];
    }),
  );
  expect(answers.map(({ json }) => [json.code, String(json.details).includes("modprobe")])).toEqual(
    kinds.flatMap(() => [
      [50, true],
      [999, true],
    ]),
  );
});
