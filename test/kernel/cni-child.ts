/**
 * What the plugins macvlan, ipvlan and vlan have in common, tried with one of them. Containers are on the host's own wire:
 *
 *     outside 192.0.2.2 -- eth0 host 192.0.2.1        the master is the host's eth0
 *             2001:db8::2       |    2001:db8::1
 *                               +-- net1 container    192.0.2.100, 2001:db8::100 and so on
 */
import { expect, test } from "bun:test";
import { chmodSync, writeFileSync } from "node:fs";
import { join as path } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { vethName, vethPurpose } from "../../src/plugins/shared/veth.ts";
import { waitFor } from "../../src/plugins/shared/wait.ts";
import { addressOf, CniHost, ownPlugins } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

export const ifname = "net1";

/** Addresses of the wire, by family or by both. */
export function wireIpam(host: CniHost, families: readonly (4 | 6)[] = [4, 6]): JsonObject {
  const ranges = {
    4: { subnet: "192.0.2.0/24", rangeStart: "192.0.2.100", gateway: "192.0.2.2" },
    6: { subnet: "2001:db8::/64", rangeStart: "2001:db8::100", gateway: "2001:db8::2" },
  };
  return {
    type: "host-local",
    dataDir: host.dataDir,
    ranges: families.map((family) => [ranges[family]]),
    routes: families.map((family) => ({ dst: family === 4 ? "0.0.0.0/0" : "::/0" })),
  };
}

/** A configuration of the plugin with host-local. */
export function wireConfig(host: CniHost, type: string, more: JsonObject = {}): JsonObject {
  return { cniVersion: "1.0.0", name: "net", type, master: "eth0", ipam: wireIpam(host), ...more };
}

/** A folder for CNI_PATH with an IPAM plugin that does what the shell script says. */
function ipamScript(host: CniHost, script: string): string {
  const file = path(host.dir, "scripted");
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
  return `${host.dir}:${ownPlugins}`;
}

/** Everything in a container, as text that can be compared. */
export function stateOf(container: Namespace): string {
  const { rtnl } = container.kernel;
  return JSON.stringify([
    rtnl.links.list().map(({ name, kind, up }) => ({ name, kind, up })),
    rtnl.addresses.list().map(({ address }) => String(address)),
    rtnl.routes.list({ table: "all" }).map(({ dst, table }) => `${dst} ${table}`),
  ]);
}

/** The tests that hold for each of them; `more` is what the plugin's configuration has beside the master. */
export function testChild(type: string, more: JsonObject): void {
  const config = (host: CniHost, extra: JsonObject = {}) => wireConfig(host, type, { ...more, ...extra });
  const call = { ifname };

  test.each([
    ["IPv4", [4]],
    ["IPv6", [6]],
    ["both families", [4, 6]],
  ] as [string, (4 | 6)[]][])(
    `${type}: a container has its addresses and routes, %s`,
    async (_, families) => {
      using host = new CniHost();
      const blue = host.container();
      const before = stateOf(blue);
      const hostBefore = host.state();
      const given = config(host, { ipam: wireIpam(host, families) });
      const added = await host.succeed("ADD", blue, given, call);
      const link = blue.kernel.rtnl.links.get(ifname);
      expect(link).toMatchObject({
        kind: type,
        up: true,
        parent: host.node.kernel.rtnl.links.get("eth0").index,
      });
      const four = { interface: 0, address: "192.0.2.100/24", gateway: "192.0.2.2" };
      const six = { interface: 0, address: "2001:db8::100/64", gateway: "2001:db8::2" };
      expect(added.json).toEqual({
        cniVersion: "1.0.0",
        interfaces: [{ name: ifname, mac: link.mac, sandbox: `/run/netns/${blue.name}` }],
        ips: families.map((family) => (family === 4 ? four : six)),
        routes: families.map((family) => ({ dst: family === 4 ? "0.0.0.0/0" : "::/0" })),
        dns: {},
      });
      for (const family of families) {
        const dst = family === 4 ? "0.0.0.0/0" : "::/0";
        const [route] = blue.kernel.rtnl.routes.list({ dst });
        expect(String(route?.gateway)).toBe(family === 4 ? "192.0.2.2" : "2001:db8::2");
      }
      const flags = blue.kernel.rtnl.addresses.list({ link: ifname }).flatMap((address) => address.flags);
      expect(flags).not.toContain("tentative");
      await host.succeed("CHECK", blue, { ...given, prevResult: added.json }, call);
      for (let i = 0; i < 2; i++) await host.succeed("DEL", blue, { ...given, prevResult: added.json }, call);
      expect(stateOf(blue)).toBe(before);
      expect(host.state()).toBe(hostBefore);
    },
  );

  test(`${type}: layer 2 alone, with an empty ipam and without one`, async () => {
    using host = new CniHost();
    for (const ipam of [{}, undefined]) {
      const blue = host.container();
      const given = config(host, { ipam });
      const { json } = await host.succeed("ADD", blue, given, call);
      expect(json).toMatchObject({ interfaces: [{ name: ifname }], dns: {} });
      expect(json.ips).toBeUndefined();
      expect(blue.kernel.rtnl.links.get(ifname).up).toBe(true);
      await host.succeed("CHECK", blue, { ...given, prevResult: json }, call);
      await host.succeed("DEL", blue, given, call);
      expect(blue.kernel.rtnl.links.find(ifname)).toBeUndefined();
    }
  });

  test(`${type}: an interface may be called as one of the host is`, async () => {
    using host = new CniHost();
    const blue = host.container();
    await host.succeed("ADD", blue, config(host), { ifname: "eth0" });
    expect(blue.kernel.rtnl.links.get("eth0").kind).toBe(type);
    expect(host.node.kernel.rtnl.links.get("eth0").kind).toBe("veth");
  });

  test(`${type}: version 1.1.0 tells the MTU, which is the master's or the configuration's`, async () => {
    using host = new CniHost();
    for (const [mtu, expected] of [
      [undefined, 1500],
      [0, 1500],
      [1400, 1400],
    ]) {
      const blue = host.container();
      const given = config(host, { cniVersion: "1.1.0", mtu });
      const { json } = await host.succeed("ADD", blue, given, call);
      expect(json.interfaces).toMatchObject([{ mtu: expected }]);
      expect(blue.kernel.rtnl.links.get(ifname).mtu).toBe(expected as number);
      await host.succeed("DEL", blue, given, call);
    }
  });

  test(`${type}: the configuration's dns is the result's`, async () => {
    using host = new CniHost();
    const dns = { nameservers: ["192.0.2.53"], search: ["weft.example"] };
    const { json } = await host.succeed("ADD", host.container(), config(host, { dns }), call);
    expect(json.dns).toEqual(dns);
  });

  test(`${type}: the master may be in the container`, async () => {
    using host = new CniHost();
    const blue = host.container();
    const { rtnl } = blue.kernel;
    rtnl.links.add({ kind: "veth", name: "up0", peer: { name: "up1" } });
    for (const name of ["up0", "up1"]) rtnl.links.set(name, { up: true });
    const given = config(host, { master: "up0", linkInContainer: true });
    const { json } = await host.succeed("ADD", blue, given, call);
    const link = rtnl.links.get(ifname);
    expect({ parent: link.parent, netns: link.parentNetnsId }).toEqual({
      parent: rtnl.links.get("up0").index,
      netns: undefined,
    });
    await host.succeed("CHECK", blue, { ...given, prevResult: json }, call);
    const elsewhere = { ...given, linkInContainer: false, master: "eth0", prevResult: json };
    expect((await host.call("CHECK", blue, elsewhere, call)).json.msg).toContain("is not on master eth0");
    await host.succeed("DEL", blue, given, call);
    expect(
      rtnl.links
        .list()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(["lo", "up0", "up1"]);
    const missing = await host.call("ADD", blue, { ...given, master: "up9" }, call);
    expect(missing.json.msg).toContain(
      'failed to lookup master "up9": there is no such link in the container',
    );
  });

  test(`${type}: a failed ADD leaves nothing behind`, async () => {
    using host = new CniHost();
    const blue = host.container();
    const before = [host.state(), stateOf(blue)];
    const failing =
      'cat >/dev/null; [ "$CNI_COMMAND" = DEL ] || { echo \'{"code": 100, "msg": "none"}\'; exit 1; }';
    const failures: [JsonObject, string][] = [
      [{ ipam: { type: "scripted" } }, "none"],
      [{ master: "eth9" }, 'failed to lookup master "eth9": there is no such link in the host'],
      [
        { ipam: { ...wireIpam(host, [4]), routes: [{ dst: "10.0.0.0/8", gw: "203.0.113.1" }] } },
        "ENETUNREACH",
      ],
      [{ mtu: 1000, ipam: wireIpam(host, [6]) }, "mtu: 1000 is too small for an IPv6 address"],
      [{ mtu: -1 }, "mtu: -1"],
      [{ cniVersion: "0.2.0", ipam: {} }, "cannot express a result without addresses"],
    ];
    for (const [wrong, message] of failures) {
      const answer = await host.call("ADD", blue, config(host, wrong), {
        ...call,
        cniPath: ipamScript(host, failing),
      });
      expect(answer.json.msg).toContain(message);
      expect([host.state(), stateOf(blue)]).toEqual(before);
    }
  });

  test(`${type}: a name that is taken is left alone`, async () => {
    using host = new CniHost();
    const blue = host.container();
    blue.kernel.rtnl.links.add({ kind: "bridge", name: ifname });
    const answer = await host.call("ADD", blue, config(host), call);
    expect(answer.json.msg).toBe(`container interface name ("${ifname}") already exists`);
    expect(host.leases()).toEqual({});
    // What a runtime does next must not take somebody else's interface.
    await host.succeed("DEL", blue, config(host), call);
    expect(blue.kernel.rtnl.links.get(ifname).kind).toBe("bridge");
  });

  test(`${type}: DEL leaves an interface that another network made`, async () => {
    using host = new CniHost();
    const blue = host.container();
    await host.succeed("ADD", blue, config(host), call);
    const before = [host.state(), stateOf(blue)];
    const other = config(host, { name: "another" });
    expect((await host.call("ADD", blue, other, call)).status).toBe(1);
    await host.succeed("DEL", blue, other, call);
    expect([host.state(), stateOf(blue)]).toEqual(before);
    await host.succeed("DEL", blue, config(host), call);
    expect(blue.kernel.rtnl.links.find(ifname)).toBeUndefined();
  });

  test(`${type}: what an ADD that was killed left goes with the next ADD or DEL`, async () => {
    using host = new CniHost();
    for (const next of ["ADD", "DEL"]) {
      const blue = host.container();
      const { node } = host;
      const purpose = vethPurpose({ containerId: blue.name, ifname } as Parameters<typeof vethPurpose>[0]);
      const child = {
        [type]: type === "vlan" ? { id: more.vlanId } : { mode: type === "ipvlan" ? "l2" : "bridge" },
      };
      node.kernel.rtnl.links.add({
        kind: type,
        name: vethName(purpose, 1).replace("veth", "weft"),
        parent: "eth0",
        netns: { name: blue.name },
        ...child,
      });
      expect(blue.kernel.rtnl.links.list()).toHaveLength(2);
      await host.succeed(next, blue, config(host), call);
      expect(blue.kernel.rtnl.links.list().map(({ name }) => name)).toEqual(
        next === "ADD" ? ["lo", ifname] : ["lo"],
      );
      await host.succeed("DEL", blue, config(host), call);
    }
  });

  test(`${type}: DEL works without namespace and without prevResult, and CHECK sees what is gone`, async () => {
    using host = new CniHost();
    const blue = host.container();
    const given = config(host);
    const { json } = await host.succeed("ADD", blue, given, call);
    const checked = { ...given, prevResult: json };
    const { rtnl } = blue.kernel;
    const changes: [() => void, string][] = [
      [() => rtnl.addresses.delete({ link: ifname, address: "192.0.2.100/24" }), "Failed to match addr"],
      [() => rtnl.links.set(ifname, { up: false }), `interface ${ifname} is down`],
      [() => rtnl.links.delete(ifname), `Interface name ${ifname} not found`],
    ];
    for (const [change, message] of changes) {
      change();
      expect((await host.call("CHECK", blue, checked, call)).json.msg).toContain(message);
    }
    const without = await host.call("CHECK", blue, given, call);
    expect(without.json).toMatchObject({ code: 7, msg: "Required prevResult missing" });
    expect(Object.keys(host.leases())).toHaveLength(2);
    await host.succeed("DEL", blue, given, { ...call, netns: "/run/netns/weft-t-no-such" });
    expect(host.leases()).toEqual({});
    await host.succeed("DEL", blue, given, { ...call, netns: "" });
  });

  test(`${type}: DEL that is not told where the container is takes its interface all the same`, async () => {
    using host = new CniHost();
    const [blue, green] = [host.container(), host.container()];
    await host.succeed("ADD", blue, config(host), call);
    // No two containers can have the same VLAN of a master.
    await host.succeed("ADD", green, config(host, type === "vlan" ? { vlanId: 6 } : {}), call);
    const has = ({ kernel }: Namespace) => kernel.rtnl.links.find(ifname) !== undefined;
    for (let i = 0; i < 2; i++) {
      await host.succeed("DEL", blue, config(host), { ...call, netns: "" });
      expect([has(blue), has(green)]).toEqual([false, true]);
      expect([...new Set(Object.values(host.leases()))]).toEqual([`${green.name}/${ifname}`]);
    }
  });

  test(`${type}: nothing stays on the host when a container ends`, async () => {
    using host = new CniHost();
    const blue = host.container();
    const before = host.state();
    await host.succeed("ADD", blue, config(host), call);
    const path = `/run/netns/${blue.name}`;
    blue.close();
    await host.succeed("DEL", undefined, config(host), { ...call, containerId: blue.name, netns: path });
    expect(host.state()).toBe(before);
  });

  test(`${type}: GC frees the leases of attachments that are not valid and deletes their links`, async () => {
    using host = new CniHost();
    const [blue, green] = [host.container(), host.container()];
    const given = config(host, { cniVersion: "1.1.0" });
    await host.succeed("ADD", blue, given, call);
    if (type !== "vlan") await host.succeed("ADD", green, given, call);
    const valid = [{ containerID: blue.name, ifname }];
    await host.succeed("GC", undefined, { ...given, "cni.dev/valid-attachments": valid });
    expect([...new Set(Object.values(host.leases()))]).toEqual([`${blue.name}/${ifname}`]);
    expect(blue.kernel.rtnl.links.find(ifname)).toBeDefined();
    expect(green.kernel.rtnl.links.find(ifname)).toBeUndefined();
  });

  test(`${type}: GC leaves the link of another attachment, at the path of an old one`, async () => {
    using host = new CniHost();
    const blue = host.container();
    const given = config(host, { cniVersion: "1.1.0" });
    await host.succeed("ADD", blue, given, { ...call, containerId: "old" });
    blue.kernel.rtnl.links.delete(ifname);
    await host.succeed("ADD", blue, given, { ...call, containerId: "new" });
    const valid = [{ containerID: "new", ifname }];
    await host.succeed("GC", undefined, { ...given, "cni.dev/valid-attachments": valid });
    expect([...new Set(Object.values(host.leases()))]).toEqual([`new/${ifname}`]);
    expect(blue.kernel.rtnl.links.find(ifname)).toBeDefined();
  });

  test(`${type}: STATUS tells of a missing master`, async () => {
    using host = new CniHost();
    const given = config(host, { cniVersion: "1.1.0" });
    await host.succeed("STATUS", undefined, given);
    const missing = await host.call("STATUS", undefined, { ...given, master: "eth9" });
    expect(missing.json).toMatchObject({ code: 50, msg: expect.stringContaining('master "eth9"') });
    // Which container, is not said.
    const inside = { ...given, master: "eth9", linkInContainer: true };
    await host.succeed("STATUS", undefined, inside);
    const told = await host.call("STATUS", host.container(), inside);
    expect(told.json).toMatchObject({ code: 50, msg: expect.stringContaining("in the container") });
    const full = {
      ...wireIpam(host, [4]),
      ranges: [[{ subnet: "192.0.2.0/24", rangeStart: "192.0.2.100", rangeEnd: "192.0.2.100" }]],
    };
    await host.succeed("ADD", host.container(), { ...given, ipam: full }, call);
    expect((await host.call("STATUS", undefined, { ...given, mode: 5, mtu: -1 })).json.code).toBe(7);
  });
}

/** The wire's ends are young: a link takes part in neighbour discovery when the kernel has seen its carrier. */
export async function wireReady({ node, outside }: CniHost): Promise<void> {
  const isUp = ({ kernel }: Namespace) => kernel.rtnl.links.get("eth0").operState === "up";
  const ready = await waitFor(5000, () => isUp(node) && isUp(outside));
  if (!ready) throw new Error("the wire has no carrier");
}

/** Containers reach each other and the outside, which reaches them, by both families. */
export async function expectReach(host: CniHost, config: JsonObject): Promise<void> {
  const [blue, green] = [host.container(), host.container()];
  await blue.serve(8080, "blue");
  await host.outside.serve(8080, "outside");
  await wireReady(host);
  const first = await host.succeed("ADD", blue, config, { ifname });
  const second = await host.succeed("ADD", green, config, { ifname });
  for (const family of [4, 6] as const) {
    const [ours, theirs] = [addressOf(first, family), addressOf(second, family)];
    const outside = family === 4 ? "192.0.2.2" : "2001:db8::2";
    expect(await green.ask(ours, 8080, 1000)).toStartWith(`blue ${theirs} `);
    expect(await host.outside.ask(ours, 8080, 1000)).toStartWith(`blue ${outside} `);
    expect(await green.ask(outside, 8080, 1000)).toStartWith(`outside ${theirs} `);
  }
}
