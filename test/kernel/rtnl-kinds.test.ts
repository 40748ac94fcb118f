/**
 * Links of kinds that not every kernel has, and bridge VLANs. Runs under any kernel; what this one lacks is
 * skipped and said so:
 *
 *     bun test test/kernel/rtnl-kinds.test.ts
 *     test/kernels/uml-run -- node_modules/.bin/bun test test/kernel/rtnl-kinds.test.ts
 */
import { expect } from "bun:test";
import type { NewLink } from "../../src/linux/route/link.ts";
import { refusal } from "../conformance/lab.ts";
import { type KernelFeature, needs, testWith } from "../lib/needs.ts";
import { RtnlNamespace } from "./rtnl-fixture.ts";

const kernelTest = (...features: KernelFeature[]) =>
  testWith(needs.root, needs.command("ip", "iproute2"), ...features.map((feature) => needs.kernel(feature)));

/** What `ip -d -json link` says of the link's kind. */
function dataOf(namespace: RtnlNamespace, name: string): Record<string, unknown> | undefined {
  const [link] = namespace.json(`ip -d link show ${name}`);
  return link?.linkinfo as Record<string, unknown> | undefined;
}

const up: NewLink = { kind: "veth", name: "up", peer: { name: "other" } };

const cases: [kind: KernelFeature, link: NewLink, listed: object, ip: object][] = [
  ["dummy", { kind: "dummy", name: "k" }, { kind: "dummy" }, { info_kind: "dummy" }],
  [
    "vlan",
    { kind: "vlan", name: "k", parent: "up", vlan: { id: 5 } },
    { vlan: { id: 5, protocol: "802.1Q", flags: ["reorderHeader"] } },
    { info_data: { id: 5, protocol: "802.1Q", flags: ["REORDER_HDR"] } },
  ],
  [
    "vlan",
    { kind: "vlan", name: "k", parent: "up", vlan: { id: 4094, protocol: "802.1ad", flags: [] } },
    // No flags are listed as none.
    { vlan: { id: 4094, protocol: "802.1ad" } },
    { info_data: { id: 4094, protocol: "802.1ad" } },
  ],
  [
    "ipvlan",
    { kind: "ipvlan", name: "k", parent: "up", ipvlan: { mode: "l3s", flags: "private" } },
    { ipvlan: { mode: "l3s", flags: "private" } },
    { info_data: { mode: "l3s" } },
  ],
  [
    "vrf",
    { kind: "vrf", name: "k", vrf: { table: 1000 } },
    { vrf: { table: 1000 } },
    { info_data: { table: 1000 } },
  ],
  [
    "macvlan",
    { kind: "macvlan", name: "k", parent: "up", macvlan: { mode: "private" } },
    { macvlan: { mode: "private" } },
    { info_data: { mode: "private" } },
  ],
  [
    "vxlan",
    {
      kind: "vxlan",
      name: "k",
      vxlan: {
        id: 7,
        port: 4789,
        local6: "fd00::1",
        ttl: 3,
        df: "set",
        portRange: { low: 4000, high: 5000 },
      },
    },
    {
      vxlan: {
        id: 7,
        port: 4789,
        local6: "fd00::1",
        ttl: 3,
        df: "set",
        portRange: { low: 4000, high: 5000 },
      },
    },
    { info_data: { id: 7, local6: "fd00::1", ttl: 3, df: "set", port_range: { low: 4000, high: 5000 } } },
  ],
  ["ifb", { kind: "ifb", name: "k" }, { kind: "ifb" }, { info_kind: "ifb" }],
  [
    "tun",
    { kind: "tun", name: "k", tun: { type: "tun", group: 4711, vnetHeader: true } },
    { tun: { type: "tun", group: 4711, vnetHeader: true, multiQueue: false } },
    { info_data: { type: "tun", group: 4711, vnet_hdr: true } },
  ],
  [
    "tun",
    { kind: "tun", name: "k", mac: "0a:00:00:00:00:07", mtu: 1400, tun: { type: "tap", multiQueue: true } },
    { mac: "0a:00:00:00:00:07", mtu: 1400, tun: { type: "tap", multiQueue: true } },
    { info_data: { type: "tap", multi_queue: true } },
  ],
  [
    "ipip",
    { kind: "ipip", name: "k", ipip: { local: "192.0.2.1", remote: "192.0.2.2", ttl: 9 } },
    { ipip: { local: "192.0.2.1", remote: "192.0.2.2", ttl: 9 } },
    { info_data: { local: "192.0.2.1", remote: "192.0.2.2", ttl: 9 } },
  ],
  [
    "gre",
    { kind: "gretap", name: "k", gretap: { local: "192.0.2.1", remote: "192.0.2.2" } },
    { gretap: { local: "192.0.2.1", remote: "192.0.2.2" } },
    { info_data: { local: "192.0.2.1", remote: "192.0.2.2" } },
  ],
  [
    "geneve",
    { kind: "geneve", name: "k", geneve: { id: 9, remote: "192.0.2.2", port: 6081 } },
    { geneve: { id: 9, remote: "192.0.2.2", port: 6081 } },
    { info_data: { id: 9, remote: "192.0.2.2", port: 6081 } },
  ],
  ["wireguard", { kind: "wireguard", name: "k" }, { kind: "wireguard" }, { info_kind: "wireguard" }],
];
for (const [feature, link, listed, ip] of cases) {
  const attributes = JSON.stringify((link as unknown as Record<string, unknown>)[link.kind] ?? {});
  kernelTest(feature)(`a ${link.kind} link ${attributes}`, () => {
    using namespace = new RtnlNamespace();
    const { links } = namespace.rtnl;
    links.add(up);
    links.add(link);
    expect(links.get("k")).toMatchObject({ name: "k", kind: link.kind, ...listed });
    if (link.parent !== undefined) expect(links.get("k").parent).toBe(links.index("up"));
    expect(dataOf(namespace, "k")).toMatchObject(ip);
    expect(links.list({ kind: link.kind }).map((one) => one.name)).toContain("k");
    links.delete("k");
    expect(links.find("k")).toBeUndefined();
  });
}

kernelTest("vrf")("links of a VRF have its table", () => {
  using namespace = new RtnlNamespace();
  const { links, addresses, routes } = namespace.rtnl;
  links.add({ kind: "vrf", name: "red", up: true, vrf: { table: 1000 } });
  links.add({ ...up, up: true, master: "red" });
  links.set("other", { up: true });
  addresses.add({ link: "up", address: "10.0.0.1/24" });
  expect(links.list({ master: "red" }).map((link) => link.name)).toEqual(["up"]);
  expect(
    routes.list({ family: 4, table: 1000, protocol: "kernel" }).map((route) => String(route.dst)),
  ).toContain("10.0.0.0/24");
  expect(routes.list({ family: 4 })).toEqual([]);
});

kernelTest("vlan")("a VLAN goes with the link below, and two of one id are refused", () => {
  using namespace = new RtnlNamespace();
  const { links } = namespace.rtnl;
  links.add(up);
  links.add({ kind: "vlan", name: "v5", parent: "up", vlan: { id: 5 } });
  expect(refusal(() => links.add({ kind: "vlan", name: "again", parent: "up", vlan: { id: 5 } }))).toBe(
    "EEXIST",
  );
  expect(refusal(() => links.add({ kind: "vlan", name: "none", parent: "up" }))).toBe("EINVAL");
  links.delete("up");
  expect(links.find("v5")).toBeUndefined();
});

kernelTest("bridgeVlanFiltering")("a filtering bridge's ports carry the VLANs they are given", () => {
  using namespace = new RtnlNamespace();
  const { links, bridgeVlans } = namespace.rtnl;
  links.add({ kind: "bridge", name: "br0", bridge: { vlanFiltering: true, vlanDefaultPvid: 0 } });
  expect(links.get("br0").bridge).toMatchObject({ vlanFiltering: true, vlanDefaultPvid: 0 });
  links.add({ ...up, master: "br0" });
  const shown = (link: string) =>
    bridgeVlans
      .list(link)
      .map(
        ({ vid, vidEnd, pvid, untagged }) =>
          `${vid}-${vidEnd}${pvid ? " pvid" : ""}${untagged ? " untagged" : ""}`,
      );
  expect(shown("up")).toEqual([]);
  bridgeVlans.add({ link: "up", vid: 10, pvid: true, untagged: true });
  bridgeVlans.add({ link: "up", vid: 100, vidEnd: 199 });
  bridgeVlans.add({ link: "br0", vid: 10, self: true });
  expect(shown("up")).toEqual(["10-10 pvid untagged", "100-199"]);
  expect(shown("br0")).toEqual(["10-10"]);
  expect(namespace.json("bridge -compressvlans vlan show dev up")).toMatchObject([
    {
      ifname: "up",
      vlans: [
        { vlan: 10, flags: ["PVID", "Egress Untagged"] },
        { vlan: 100, vlanEnd: 199 },
      ],
    },
  ]);
  bridgeVlans.delete({ link: "up", vid: 120, vidEnd: 129 });
  expect(shown("up")).toEqual(["10-10 pvid untagged", "100-119", "130-199"]);
});

kernelTest("vxlan")("a VXLAN's forwarding entries name remote ends", () => {
  using namespace = new RtnlNamespace();
  const { links, fdb } = namespace.rtnl;
  links.add({ kind: "vxlan", name: "vx", vxlan: { id: 7, port: 4789, learning: false } });
  const mac = "0a:00:00:00:00:05";
  fdb.add({ link: "vx", mac, dst: "192.0.2.5" });
  fdb.append({ link: "vx", mac: "00:00:00:00:00:00", dst: "192.0.2.6" });
  fdb.append({ link: "vx", mac: "00:00:00:00:00:00", dst: "192.0.2.7", vni: 9, port: 4790 });
  const listed = () =>
    fdb
      .list({ link: "vx" })
      .filter((entry) => entry.dst !== undefined)
      .map(({ mac: to, dst, vni, port }) => [to, dst, vni, port].filter(Boolean).map(String).join(" "))
      .toSorted();
  expect(listed()).toEqual([
    "00:00:00:00:00:00 192.0.2.6",
    "00:00:00:00:00:00 192.0.2.7 9 4790",
    "0a:00:00:00:00:05 192.0.2.5",
  ]);
  expect(refusal(() => fdb.add({ link: "vx", mac, dst: "192.0.2.9" }))).toBe("EEXIST");
  fdb.replace({ link: "vx", mac, dst: "192.0.2.9" });
  fdb.delete({ link: "vx", mac: "00:00:00:00:00:00", dst: "192.0.2.6" });
  expect(listed()).toEqual(["00:00:00:00:00:00 192.0.2.7 9 4790", "0a:00:00:00:00:05 192.0.2.9"]);
});
