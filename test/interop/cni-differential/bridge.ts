import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Case, Family } from "./case.ts";
import { add, changed, del, dual, hostLocal, refused, two, v4, v6 } from "./common.ts";

const bridgeOf = (more: JsonObject = {}, ipam: JsonObject = v4): JsonObject => ({
  type: "bridge",
  bridge: "br0",
  isDefaultGateway: true,
  ipam,
  ...more,
});
const plain = { isDefaultGateway: false };
const layer2 = { type: "bridge", bridge: "br0" };
const routes = [
  { dst: "192.168.0.0/16" },
  { dst: "10.9.0.0/16", gw: "10.77.0.9" },
  { dst: "fd99::/48" },
  { dst: "fd98::/48", gw: "fd77::9" },
];

const addressing: Case[] = [
  { name: "neither gateway nor routes", config: bridgeOf(plain, dual) },
  { name: "IPv4", config: bridgeOf() },
  { name: "IPv6", config: bridgeOf({}, v6) },
  { name: "both families", config: bridgeOf({}, dual) },
  { name: "isGateway without a default route", config: bridgeOf({ ...plain, isGateway: true }, dual) },
  {
    name: "a route that has no next hop",
    config: bridgeOf(plain, { ...v4, routes: [{ dst: "0.0.0.0/0" }] }),
  },
  { name: "routes of both families", config: bridgeOf({}, { ...dual, routes }) },
  {
    name: "IPAM's own default route",
    config: bridgeOf({}, { ...v4, routes: [{ dst: "0.0.0.0/0", gw: "10.77.0.8" }] }),
  },
  {
    name: "a default route without next hop beside isDefaultGateway",
    config: bridgeOf({}, { ...v4, routes: [{ dst: "0.0.0.0/0" }] }),
    steps: refused,
  },
  {
    name: "another gateway",
    config: bridgeOf(
      {},
      { type: "host-local", ranges: [[{ subnet: "10.77.0.0/24", gateway: "10.77.0.254" }]] },
    ),
  },
  {
    name: "two addresses of a family",
    config: bridgeOf({}, hostLocal(["10.77.0.0/24", "10.78.0.0/24"])),
    steps: refused,
  },
  {
    name: "two addresses of a family without gateway",
    config: bridgeOf(plain, hostLocal(["10.77.0.0/24", "10.78.0.0/24"])),
  },
  { name: "two IPv6 addresses", config: bridgeOf({}, hostLocal(["fd77::/64", "fd78::/64"])) },
  { name: "layer 2 alone", config: layer2 },
  { name: "an empty ipam", config: { ...layer2, ipam: {} } },
  { name: "the default bridge", config: { type: "bridge", isGateway: true, ipam: v4 } },
];

const modes: Case[] = [
  { name: "masquerading", config: bridgeOf({ ipMasq: true }, dual), steps: two },
  { name: "masquerading IPv4 for two containers", config: bridgeOf({ ipMasq: true }), steps: two },
  { name: "an MTU", config: bridgeOf({ mtu: 1400 }) },
  { name: "an MTU beyond the usual", config: bridgeOf({ mtu: 9000 }, dual) },
  { name: "hairpin mode", config: bridgeOf({ hairpinMode: true }) },
  { name: "promiscuous mode", config: bridgeOf({ promiscMode: true }, dual) },
  { name: "two containers", config: bridgeOf({}, dual), steps: two },
  {
    name: "a container with two interfaces",
    config: bridgeOf(plain),
    steps: ["ADD", add("c1", { ifname: "net1" }), del("c1", { ifname: "net1" }), "DEL"],
  },
  {
    name: "dns of the configuration",
    config: bridgeOf({
      dns: { nameservers: ["192.0.2.53"], domain: "d.example", search: ["s.example"], options: ["ndots:2"] },
    }),
  },
  {
    name: "dns of IPAM",
    setup:
      "printf 'nameserver 192.0.2.53\\nsearch a.example b.example\\noptions ndots:3\\n' > $DIR/resolv.conf",
    config: bridgeOf({}, { ...v4, resolvConf: "$DIR/resolv.conf" }),
  },
];

const given: Case[] = [
  {
    name: "a hardware address by the mac capability",
    config: bridgeOf({ runtimeConfig: { mac: "02:00:00:00:00:42" } }),
  },
  {
    name: "a hardware address by args",
    config: bridgeOf({ args: { cni: { mac: "02:00:00:00:00:43" } } }, dual),
  },
  {
    name: "a hardware address by CNI_ARGS",
    config: bridgeOf(),
    args: "IgnoreUnknown=1;MAC=02:00:00:00:00:44",
  },
  { name: "no hardware address", config: bridgeOf({ runtimeConfig: { mac: "blue" } }), steps: refused },
  {
    name: "an address by the ips capability",
    config: bridgeOf({ runtimeConfig: { ips: ["10.77.0.40/24"] } }),
  },
  {
    name: "ranges by the ipRanges capability",
    config: bridgeOf({ runtimeConfig: { ipRanges: [[{ subnet: "10.78.0.0/24" }]] } }, v6),
  },
  { name: "an address by CNI_ARGS", config: bridgeOf(), args: "IgnoreUnknown=1;IP=10.77.0.42" },
  {
    name: "kubelet's arguments",
    config: bridgeOf(),
    args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=blue;K8S_POD_UID=1",
  },
  { name: "an argument that nobody knows", config: bridgeOf(), args: "COLOUR=blue", steps: refused },
  { name: "an unknown key", config: bridgeOf({ colour: "blue" }) },
  {
    name: "keys in another case",
    config: bridgeOf({ isDefaultGateway: undefined, IsDefaultGateway: true, HairpinMode: true }),
  },
];

const found: Case[] = [
  {
    name: "a bridge that is there",
    setup: "ip link add br0 address 02:00:00:00:00:b0 type bridge; ip link set br0 up",
    config: bridgeOf({}, dual),
  },
  { name: "a bridge that is down", setup: "ip link add br0 type bridge", config: bridgeOf() },
  {
    name: "a bridge with another MTU and a port",
    setup: `ip link add br0 mtu 1300 type bridge; ip link set br0 up
            ip link add p0 type veth peer name p1; ip link set p0 master br0 up`,
    config: bridgeOf({ mtu: 1400 }),
  },
  {
    name: "a bridge with another address",
    setup: `ip link add br0 address 02:00:00:00:00:b0 up type bridge; ip address add 10.99.0.1/24 dev br0
            ip link add p0 type veth peer name p1; ip link set p0 master br0 up; ip link set p1 up`,
    config: bridgeOf(),
    steps: refused,
  },
  {
    name: "a bridge with another address and forceAddress",
    setup:
      "ip link add br0 type bridge; ip address add 10.99.0.1/24 dev br0; ip address add fd77::99/64 dev br0 nodad",
    config: bridgeOf({ forceAddress: true }, dual),
  },
  {
    name: "a bridge with an IPv6 address of another network",
    setup: "ip link add br0 type bridge; ip address add fd79::1/64 dev br0 nodad",
    config: bridgeOf({}, v6),
  },
  {
    name: "a bridge that has the gateway's address",
    setup: "ip link add br0 type bridge; ip address add 10.77.0.1/24 dev br0",
    config: bridgeOf(),
  },
  {
    name: "a bridge that is none",
    setup: "ip link add br0 type veth peer name br1",
    config: bridgeOf(),
    steps: refused,
  },
  {
    name: "duplicate address detection as ever",
    setup: "sysctl -qw net.ipv6.conf.default.accept_dad=1",
    config: bridgeOf({ enabledad: true }, v6),
  },
  {
    name: "forwarding is on and router advertisements are taken",
    setup:
      "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_ra=2",
    config: bridgeOf({}, dual),
  },
  {
    name: "IPv6 is off in the container",
    config: bridgeOf({}, v6),
    steps: [
      { at: "c1", run: "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1" },
      "ADD",
      "DEL",
    ],
  },
];

const lives: Case[] = [
  { name: "ADD once more", config: bridgeOf({}, dual), steps: ["ADD", "ADD", "DEL"] },
  {
    name: "the interface is taken",
    config: bridgeOf(),
    steps: [{ at: "c1", run: "ip link add eth0 type veth peer name x" }, "ADD"],
  },
  {
    name: "DEL after the container's end",
    config: bridgeOf({ ipMasq: true }),
    steps: ["ADD", { end: "c1" }, "DEL", "DEL"],
  },
  {
    name: "DEL without a namespace",
    config: bridgeOf(),
    steps: ["ADD", del("c1", { netns: "" }), { end: "c1" }],
  },
  {
    name: "DEL without prevResult",
    config: bridgeOf({ ipMasq: true }, dual),
    steps: ["ADD", del("c1", { forgotten: true })],
  },
  { name: "DEL of what never was", config: bridgeOf({ ipMasq: true }, dual), steps: ["DEL"] },
  {
    name: "DEL when the interface has gone",
    config: bridgeOf({}, dual),
    steps: ["ADD", { at: "c1", run: "ip link del eth0" }, "DEL"],
  },
  {
    name: "CHECK without prevResult",
    config: bridgeOf(),
    steps: ["ADD", { verb: "CHECK", forgotten: true }, "DEL"],
  },
  {
    name: "CHECK misses an address",
    config: bridgeOf({}, dual),
    steps: changed("c1", "ip address del 10.77.0.2/24 dev eth0"),
  },
  { name: "CHECK misses a route", config: bridgeOf({}, v4), steps: changed("c1", "ip route del default") },
  { name: "CHECK misses the interface", config: bridgeOf(), steps: changed("c1", "ip link del eth0") },
  { name: "CHECK misses the bridge", config: bridgeOf(), steps: changed("host", "ip link del br0") },
  {
    name: "CHECK sees another hardware address",
    config: bridgeOf(),
    steps: changed("c1", "ip link set eth0 address 02:00:00:00:00:99"),
  },
  {
    name: "CHECK misses the lease",
    config: bridgeOf(),
    steps: changed("host", "rm /var/lib/cni/networks/net/10.77.0.2"),
  },
  { name: "no such namespace", config: bridgeOf(), steps: [add("c1", { netns: "/run/netns/none" }), "DEL"] },
];

const errors: Case[] = [
  {
    name: "hairpin and promiscuous mode",
    config: bridgeOf({ hairpinMode: true, promiscMode: true }),
    steps: refused,
  },
  { name: "a VLAN beyond the last", config: bridgeOf({ vlan: 4095 }), steps: refused },
  {
    name: "a bridge's name that is too long",
    config: bridgeOf({ bridge: "a-name-much-too-long" }),
    steps: refused,
  },
  { name: "an IPAM plugin that is not there", config: bridgeOf({}, { type: "nowhere" }), steps: refused },
  { name: "a key of another type", config: bridgeOf({ mtu: "1400" }), steps: refused },
  { name: "no name", config: bridgeOf({ name: "" }), steps: refused },
  { name: "a version of the future", config: bridgeOf(), cniVersion: "9.0.0", steps: refused },
];

const versions: Case[] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0"].map((cniVersion) => ({
  name: `version ${cniVersion}`,
  cniVersion,
  config: bridgeOf({ dns: { nameservers: ["192.0.2.53"] } }, { ...dual, routes }),
}));

export const bridge: Family = {
  plugin: "bridge",
  needs: ["bridge", "nftables"],
  cases: [...addressing, ...modes, ...given, ...found, ...lives, ...errors, ...versions],
};
