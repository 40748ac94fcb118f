import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Case, Family } from "./case.ts";
import { changed, refused, v4 } from "./common.ts";

const chain = (more: JsonObject, common: JsonObject = {}): JsonObject[] => [
  { type: "bridge", bridge: "br0", isDefaultGateway: true, ipam: v4, ...common },
  { type: "tuning", ...more, ...common },
];
const parameters = {
  "net.core.somaxconn": "500",
  "net.ipv4.conf.IFNAME.arp_filter": "1",
  "net/ipv6/conf/IFNAME/accept_ra": "0",
};

const cases: Case[] = [
  { name: "sysctls", config: chain({ sysctl: parameters }) },
  { name: "a hardware address", config: chain({ mac: "02:00:00:00:00:77" }) },
  {
    name: "a hardware address by the capability",
    config: chain({ runtimeConfig: { mac: "02:00:00:00:00:78" } }),
  },
  {
    name: "a hardware address by CNI_ARGS",
    config: chain({}),
    args: "IgnoreUnknown=1;MAC=02:00:00:00:00:79",
  },
  { name: "promiscuous mode", config: chain({ promisc: true }) },
  { name: "all multicast", config: chain({ allmulti: true }) },
  { name: "all multicast off", config: chain({ allmulti: false }) },
  { name: "an MTU", config: chain({ mtu: 1400 }) },
  {
    name: "everything",
    config: chain({ mtu: 1300, mac: "02:00:00:00:00:7a", promisc: true, allmulti: true, sysctl: parameters }),
  },
  {
    name: "everything by args",
    config: chain({
      sysctl: { "net.core.somaxconn": "600" },
      args: {
        cni: { mtu: 1300, mac: "02:00:00:00:00:7b", promisc: true, allmulti: true, sysctl: parameters },
      },
    }),
  },
  { name: "nothing", config: chain({}) },
  { name: "a folder of its own", config: chain({ mtu: 1400, dataDir: "/run/cni/elsewhere" }) },
  {
    name: "DEL after the container's end",
    config: chain({ mtu: 1400 }),
    steps: ["ADD", { end: "c1" }, "DEL", "DEL"],
  },
  {
    name: "DEL without prevResult",
    config: chain({ mtu: 1400 }),
    steps: ["ADD", { verb: "DEL", forgotten: true }],
  },
  {
    name: "CHECK sees another MTU",
    config: chain({ mtu: 1400 }),
    steps: changed("c1", "ip link set eth0 mtu 1300"),
  },
  {
    name: "CHECK sees another value",
    config: chain({ sysctl: parameters }),
    steps: changed("c1", "sysctl -qw net.core.somaxconn=600"),
  },
  {
    name: "CHECK sees another hardware address",
    config: chain({ mac: "02:00:00:00:00:7c" }),
    steps: changed("c1", "ip link set eth0 address 02:00:00:00:00:7d"),
  },
  { name: "a parameter that there is not", config: chain({ sysctl: { "net.blue": "1" } }), steps: refused },
  {
    name: "a parameter of the machine",
    config: chain({ sysctl: { "kernel.threads-max": "1000" } }),
    steps: refused,
  },
  { name: "a hardware address that is none", config: chain({ mac: "blue" }), steps: refused },
  { name: "alone, without prevResult", config: { type: "tuning", mtu: 1400 }, steps: refused },
  {
    name: "an interface that was there before",
    config: {
      type: "tuning",
      mtu: 1400,
      mac: "02:00:00:00:00:7e",
      promisc: true,
      allmulti: true,
      prevResult: { cniVersion: "1.0.0", interfaces: [{ name: "eth0", sandbox: "/run/netns/any" }], ips: [] },
    },
    steps: [
      { at: "c1", run: "ip link add eth0 address 02:00:00:00:00:0a type veth peer name x" },
      "ADD",
      "DEL",
      "DEL",
    ],
  },
  {
    name: "an allow-list that has it",
    setup: "mkdir -p /etc/cni/tuning",
    config: chain({ sysctl: { "net.core.somaxconn": "500" } }, { cniVersion: "0.4.0" }),
  },
];

export const tuning: Family = {
  plugin: "tuning",
  needs: ["bridge"],
  cases: cases.filter(({ name }) => !name.startsWith("an allow-list")),
};
