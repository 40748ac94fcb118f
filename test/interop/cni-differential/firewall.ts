import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Case, Family } from "./case.ts";
import { add, changed, del, dual, refused, two } from "./common.ts";

/** A firewall of somebody else that lets nothing be forwarded: what the plugin lets through is seen. */
const closed = `iptables -P FORWARD DROP; ip6tables -P FORWARD DROP
  sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`;
const chain = (more: JsonObject = {}): JsonObject[] => [
  { type: "bridge", bridge: "br0", isDefaultGateway: true, ipam: dual },
  { type: "firewall", backend: "iptables", ...more },
];
const others = [
  {
    type: "bridge",
    bridge: "br1",
    isDefaultGateway: true,
    ipam: { type: "host-local", ranges: [[{ subnet: "10.88.0.0/24" }]] },
  },
];

const cases: Case[] = [
  { name: "an open host", config: chain(), steps: two },
  { name: "a closed host", setup: closed, config: chain() },
  { name: "a closed host, two containers", setup: closed, config: chain(), steps: two },
  { name: "the usual backend", setup: closed, config: chain({ backend: undefined }) },
  { name: "policy open", setup: closed, config: chain({ ingressPolicy: "open" }) },
  { name: "policy same-bridge", config: chain({ ingressPolicy: "same-bridge" }), steps: two },
  { name: "an admin chain", setup: closed, config: chain({ iptablesAdminChainName: "BLUE" }) },
  {
    name: "an admin chain that refuses",
    setup: `${closed}; for i in iptables ip6tables; do $i -N BLUE; $i -A BLUE -j DROP; done`,
    config: chain({ iptablesAdminChainName: "BLUE" }),
  },
  {
    name: "behind ptp",
    setup: closed,
    config: [
      { type: "ptp", ipam: dual },
      { type: "firewall", backend: "iptables" },
    ],
  },
  {
    name: "DEL after the container's end",
    setup: closed,
    config: chain(),
    steps: ["ADD", { end: "c1" }, "DEL", "DEL"],
  },
  { name: "DEL without prevResult", config: chain(), steps: ["ADD", { verb: "DEL", forgotten: true }] },
  {
    name: "CHECK misses the rules",
    config: chain(),
    steps: changed("host", "iptables -F CNI-FORWARD; ip6tables -F CNI-FORWARD"),
  },
  { name: "a policy that there is not", config: chain({ ingressPolicy: "blue" }), steps: ["ADD"] },
  { name: "a backend that there is not", config: chain({ backend: "blue" }), steps: ["ADD"] },
  { name: "alone, without prevResult", config: { type: "firewall" }, steps: refused },
  {
    name: "another bridge",
    setup: closed,
    config: [...others, { type: "firewall", backend: "iptables" }],
    steps: ["ADD", add("c2"), "DEL", del("c2")],
  },
  { name: "version 0.4.0", cniVersion: "0.4.0", setup: closed, config: chain() },
];

export const firewall: Family = { plugin: "firewall", needs: ["bridge", "nftables"], cases };
