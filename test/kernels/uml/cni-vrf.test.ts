/**
 * The plugin vrf behind bridge, on a kernel that has VRFs:
 *
 *     outside 192.0.2.2 -- eth0 host, br0 10.77.0.1 -- eth0 in VRF blue of the container
 *             2001:db8::2            fd77::1
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Route } from "../../../src/linux/route/route.ts";
import { type Answer, CniHost } from "../../kernel/cni-fixture.ts";
import type { Namespace } from "../../kernel/services-fixture.ts";

setDefaultTimeout(60_000);

const vrf = { cniVersion: "1.0.0", name: "net", type: "vrf", vrfname: "blue" };

/** Calls bridge, then vrf with its result. */
async function attach(
  host: CniHost,
  container: Namespace,
  config: JsonObject = vrf,
  { ifname = "eth0", ipam = {} }: { ifname?: string; ipam?: JsonObject } = {},
): Promise<Answer> {
  const before = await host.succeed("ADD", container, host.config({}, ipam), { ifname });
  return await host.call("ADD", container, { ...config, prevResult: before.json }, { ifname });
}

const text = ({ dst, gateway, table, metrics }: Route) =>
  `${dst}${gateway === undefined ? "" : ` via ${gateway}`} table ${table}${metrics?.mtu === undefined ? "" : ` mtu ${metrics.mtu}`}`;

/** The unicast routes of a link, but those of link-local addresses. */
function routesOf(container: Namespace, ifname = "eth0"): string[] {
  const { rtnl } = container.kernel;
  return rtnl.routes
    .list({ table: "all", oif: ifname, type: "unicast" })
    .filter(({ dst }) => !dst.ip.isLinkLocal())
    .map(text)
    .sort();
}

function addressesOf(container: Namespace, ifname = "eth0"): string[] {
  const all = container.kernel.rtnl.addresses.list({ link: ifname });
  return all.filter(({ scope }) => scope === "global").map(({ address }) => String(address));
}

test("the interface joins the VRF with its addresses and routes, and leaves it", async () => {
  using host = new CniHost();
  const container = host.container();
  const routes = [
    { dst: "10.9.0.0/16", gw: "10.77.0.9" },
    { dst: "fd99::/48", gw: "fd77::9" },
    { dst: "198.51.100.0/24" },
  ];
  const added = await attach(host, container, vrf, { ipam: { routes } });
  expect(added.json).toMatchObject({
    interfaces: [{}, {}, { name: "eth0" }],
    ips: [{}, {}],
  });
  const { rtnl } = container.kernel;
  const made = rtnl.links.get("blue");
  expect({ kind: made.kind, up: made.up, table: made.vrf?.table }).toEqual({
    kind: "vrf",
    up: true,
    table: 1,
  });
  expect(rtnl.links.get("eth0").master).toBe(made.index);
  expect(addressesOf(container)).toEqual(["10.77.0.2/24", "fd77::2/64"]);
  expect(routesOf(container)).toEqual([
    "0.0.0.0/0 via 10.77.0.1 table 1",
    "10.77.0.0/24 table 1",
    "10.9.0.0/16 via 10.77.0.9 table 1",
    "198.51.100.0/24 via 10.77.0.1 table 1",
    "::/0 via fd77::1 table 1",
    "fd77::/64 table 1",
    "fd99::/48 via fd77::9 table 1",
  ]);
  const flags = rtnl.addresses.list({ link: "eth0" }).flatMap((address) => address.flags);
  expect(flags).not.toContain("tentative");
  for (const gateway of ["10.77.0.1", "fd77::1"]) {
    const ping = Bun.spawnSync([
      "ip",
      "netns",
      "exec",
      container.name,
      "ping",
      "-c1",
      "-W2",
      "-I",
      "blue",
      gateway,
    ]);
    expect(ping.exitCode).toBe(0);
  }
  const checked = { ...vrf, prevResult: added.json };
  await host.succeed("CHECK", container, checked);
  await host.succeed("CHECK", container, { ...host.config(), prevResult: added.json });
  for (let i = 0; i < 2; i++) {
    await host.succeed("DEL", container, checked);
    expect(rtnl.links.find("blue")).toBeUndefined();
    expect(rtnl.links.get("eth0").master).toBeUndefined();
  }
  await host.succeed("DEL", container, host.config());
  expect(rtnl.links.list()).toHaveLength(1);
});

test("a VRF stays until its last interface leaves", async () => {
  using host = new CniHost();
  const container = host.container();
  await attach(host, container);
  await attach(host, container, vrf, { ifname: "eth1" });
  const { rtnl } = container.kernel;
  const { index } = rtnl.links.get("blue");
  expect(rtnl.links.list({ master: index }).map(({ name }) => name)).toEqual(["eth0", "eth1"]);
  await host.succeed("DEL", container, vrf);
  expect(rtnl.links.list({ master: index }).map(({ name }) => name)).toEqual(["eth1"]);
  expect(addressesOf(container, "eth1")).toEqual(["10.77.0.3/24", "fd77::3/64"]);
  // The interface may be gone by then.
  await host.succeed("DEL", container, host.config(), { ifname: "eth1" });
  await host.succeed("DEL", container, vrf, { ifname: "eth1" });
  expect(rtnl.links.find("blue")).toBeUndefined();
});

test("a VRF that somebody else made stays when DEL takes nothing out of it", async () => {
  using host = new CniHost();
  const container = host.container();
  const { rtnl } = container.kernel;
  rtnl.links.add({ kind: "vrf", name: "blue", vrf: { table: 9 }, up: true });
  await host.succeed("DEL", container, vrf);
  expect(rtnl.links.find("blue")?.vrf?.table).toBe(9);
  await attach(host, container, vrf);
  // As the reference does: with the last interface that leaves.
  await host.succeed("DEL", container, vrf);
  expect(rtnl.links.find("blue")).toBeUndefined();
});

test("each VRF has a table of its own, which nobody else uses", async () => {
  using host = new CniHost();
  const container = host.container();
  const { rtnl } = container.kernel;
  rtnl.routes.add({ dst: "203.0.113.0/24", type: "blackhole", table: 1 });
  rtnl.rules.add({ family: 4, table: 3, priority: 500 });
  await attach(host, container, { ...vrf, vrfname: "blue" });
  await attach(host, container, { ...vrf, vrfname: "green" }, { ifname: "eth1" });
  await attach(host, container, { ...vrf, vrfname: "red", table: 1001 }, { ifname: "eth2" });
  const tables = ["blue", "green", "red"].map((name) => rtnl.links.get(name).vrf?.table);
  expect(tables).toEqual([2, 4, 1001]);
  expect(routesOf(container, "eth2")).toContain("0.0.0.0/0 via 10.77.0.1 table 1001");
  const again = await attach(host, container, { ...vrf, vrfname: "red", table: 7 }, { ifname: "eth3" });
  expect(again.json.msg).toBe("VRF red already exist with different routing table 1001");
  const same = await attach(host, container, { ...vrf, vrfname: "red", table: 1001 }, { ifname: "eth4" });
  expect(same.status).toBe(0);
});

test("what cannot be is refused, and what was made goes with it", async () => {
  using host = new CniHost();
  const container = host.container();
  const { rtnl } = container.kernel;
  const added = await host.succeed("ADD", container, host.config());
  const withResult = { ...vrf, prevResult: added.json };
  rtnl.links.add({ kind: "bridge", name: "other", up: true });
  const refusals: [JsonObject, string, string?][] = [
    [vrf, "missing prevResult from earlier plugin"],
    [{ ...withResult, vrfname: undefined }, "vrfname: is missing"],
    [{ ...withResult, vrfname: "a/b" }, 'vrfname: "a/b" is not an interface name'],
    [{ ...withResult, table: -1 }, "table: -1"],
    [{ ...withResult, vrfname: "other" }, '"other" is not a VRF'],
    [withResult, "could not get link by name eth9", "eth9"],
  ];
  for (const [config, message, ifname = "eth0"] of refusals) {
    expect((await host.call("ADD", container, config, { ifname })).json.msg).toContain(message);
    expect(rtnl.links.list({ kind: "vrf" })).toEqual([]);
    await host.succeed("DEL", container, config, { ifname });
  }
  rtnl.links.set("eth0", { master: "other" });
  const bound = await host.call("ADD", container, withResult);
  expect(bound.json.msg).toBe("interface eth0 has already a master set: other");
  await host.succeed("DEL", container, withResult);
  await host.succeed("DEL", container, { ...withResult, vrfname: "other" });
  expect(rtnl.links.get("eth0").master).toBe(rtnl.links.get("other").index);
});

test("CHECK sees what is not so any more; DEL does without namespace", async () => {
  using host = new CniHost();
  const container = host.container();
  const { rtnl } = container.kernel;
  const { json } = await attach(host, container);
  const checked = { ...vrf, prevResult: json };
  expect((await host.call("CHECK", container, { ...checked, table: 5 })).json.msg).toBe(
    "VRF blue already exist with different routing table 1",
  );
  const changes: [() => void, string][] = [
    [() => rtnl.links.set("blue", { up: false }), "VRF blue is down"],
    [() => rtnl.links.set("blue", { up: true }), ""],
    [() => rtnl.links.set("eth0", { master: null }), "Failed to find eth0 associated to vrf blue"],
    [() => rtnl.links.delete("blue"), "VRF blue not found"],
  ];
  for (const [change, message] of changes) {
    change();
    const { status, json: said } = await host.call("CHECK", container, checked);
    expect({ status, msg: said.msg ?? "" }).toEqual({ status: message === "" ? 0 : 1, msg: message });
  }
  await host.succeed("DEL", container, vrf, { netns: "/run/netns/weft-t-no-such" });
  await host.succeed("DEL", container, vrf, { netns: "" });
  await host.succeed("STATUS", undefined, { ...vrf, cniVersion: "1.1.0" });
  await host.succeed("GC", undefined, { ...vrf, cniVersion: "1.1.0", "cni.dev/valid-attachments": [] });
});

test("link-local addresses that somebody gave come back too, as others do", async () => {
  using host = new CniHost();
  const container = host.container();
  const { rtnl } = container.kernel;
  const added = await host.succeed("ADD", container, host.config());
  rtnl.addresses.add({ link: "eth0", address: "fe80::5/64", flags: ["nodad"] });
  const addresses = () =>
    rtnl.addresses
      .list({ link: "eth0", family: 6 })
      .map(({ address }) => String(address))
      .sort();
  const before = addresses();
  await host.succeed("ADD", container, { ...vrf, prevResult: added.json });
  expect(addresses()).toEqual(before);
});

test("routes in other tables and with metrics come back as they were", async () => {
  using host = new CniHost();
  const container = host.container();
  const { rtnl } = container.kernel;
  const added = await host.succeed("ADD", container, host.config());
  rtnl.routes.add({ dst: "10.5.0.0/16", gateway: "10.77.0.5", table: 100, oif: "eth0" });
  rtnl.routes.add({ dst: "10.6.0.0/16", gateway: "10.77.0.6", metrics: { mtu: 1300 }, priority: 7 });
  rtnl.routes.add({ dst: "fd66::/48", gateway: "fd77::6", metrics: { mtu: 1300 } });
  rtnl.routes.add({ dst: "fd67::/48", gateway: "fd77::6", oif: "eth0", expires: 900 });
  rtnl.routes.add({
    dst: "10.7.0.0/16",
    nextHops: [{ gateway: "10.77.0.7", weight: 2 }, { gateway: "10.77.0.8" }],
  });
  await host.succeed("ADD", container, { ...vrf, prevResult: added.json });
  expect(routesOf(container)).toEqual(
    expect.arrayContaining([
      "10.5.0.0/16 via 10.77.0.5 table 100",
      "10.6.0.0/16 via 10.77.0.6 table 1 mtu 1300",
      "fd66::/48 via fd77::6 table 1 mtu 1300",
    ]),
  );
  const [ending] = rtnl.routes.list({ table: 1, dst: "fd67::/48" });
  expect(ending?.expires).toBeGreaterThan(800);
  const [spread] = rtnl.routes.list({ table: 1, dst: "10.7.0.0/16" });
  expect(spread?.nextHops?.map(({ gateway, weight }) => `${gateway} ${weight}`)).toEqual([
    "10.77.0.7 2",
    "10.77.0.8 1",
  ]);
});
