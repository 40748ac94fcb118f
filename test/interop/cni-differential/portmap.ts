import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Case, Family, Probe } from "./case.ts";
import { add, del, dual, refused, v4 } from "./common.ts";

/** portmap behind bridge. All containers have the same mappings, so the cases have one container that is mapped. */
const chain = (
  portMappings: readonly JsonObject[] | undefined,
  more: JsonObject = {},
  ipam: JsonObject = v4,
) => [
  { type: "bridge", bridge: "br0", isDefaultGateway: true, ipam },
  { type: "portmap", capabilities: { portMappings: true }, runtimeConfig: { portMappings }, ...more },
];

const web = { hostPort: 9090, containerPort: 8080, protocol: "tcp" };
const dns = { hostPort: 9053, containerPort: 8080, protocol: "udp" };
const to = (from: Probe["from"], address: string, by: Probe["by"] = "tcp", port = 9090): Probe => ({
  from,
  to: address,
  by,
  port,
});

/** Everybody who can ask for the port, of IPv4. */
const all4 = [
  to("outside", "192.0.2.1"),
  to("host", "192.0.2.1"),
  to("host", "127.0.0.1"),
  to("c1", "192.0.2.1"),
  to("c1", "10.77.0.1"),
];
const all6 = [to("outside", "2001:db8::1"), to("host", "2001:db8::1"), to("c1", "2001:db8::1")];
/** A neighbour of the mapped container, attached by the same bridge without portmap. */
const neighbour = { more: { runtimeConfig: {} } };

const mapped: Case[] = [
  { name: "a port by TCP", config: chain([web]), probes: all4 },
  { name: "a port of both families", config: chain([web], {}, dual), probes: [...all4, ...all6] },
  {
    name: "without snat",
    config: chain([web], { snat: false }, dual),
    probes: [...all4.slice(0, 2), ...all6.slice(0, 2)],
  },
  { name: "masqAll", config: chain([web], { masqAll: true }, dual), probes: [...all4, ...all6] },
  {
    name: "a port by UDP",
    config: chain([dns]),
    probes: [to("outside", "192.0.2.1", "udp", 9053), to("host", "192.0.2.1", "udp", 9053)],
  },
  {
    name: "the same port by TCP and UDP, and another one",
    config: chain([web, { ...web, protocol: "udp" }, { ...web, hostPort: 9091 }]),
    probes: [
      ...all4,
      to("outside", "192.0.2.1", "udp"),
      to("outside", "192.0.2.1", "tcp", 9091),
      to("outside", "192.0.2.1", "tcp", 9092),
    ],
  },
  {
    name: "an address of the host",
    config: chain([{ ...web, hostIP: "192.0.2.1" }], {}, dual),
    probes: [...all4, ...all6],
  },
  {
    name: "an IPv6 address of the host",
    config: chain([{ ...web, hostIP: "2001:db8::1" }], {}, dual),
    probes: [...all4.slice(0, 2), ...all6],
  },
  { name: "localhost alone", config: chain([{ ...web, hostIP: "127.0.0.1" }]), probes: all4.slice(0, 3) },
  {
    name: "any IPv4 address of the host",
    config: chain([{ ...web, hostIP: "0.0.0.0" }], {}, dual),
    probes: [...all4, ...all6],
  },
  { name: "another bit of the mark", config: chain([web], { markMasqBit: 4 }), probes: all4 },
  { name: "protocol in capitals", config: chain([{ ...web, protocol: "TCP" }]), probes: all4.slice(0, 1) },
  { name: "no mapping", config: chain([]), probes: all4.slice(0, 1) },
  { name: "no runtimeConfig", config: chain(undefined), probes: all4.slice(0, 1) },
  {
    name: "a neighbour",
    config: chain([web]),
    steps: ["ADD", add("c2", neighbour), "DEL", del("c2", neighbour)],
    probes: [...all4, to("c2", "192.0.2.1"), to("c2", "10.77.0.1")],
  },
  {
    name: "traffic to others at the same port",
    setup: "ip address add 198.51.100.1/24 dev eth0",
    config: chain([web]),
    probes: [
      to("outside", "192.0.2.1"),
      to("c1", "192.0.2.2"),
      to("host", "192.0.2.2"),
      to("host", "198.51.100.1"),
    ],
  },
  { name: "version 0.3.1", cniVersion: "0.3.1", config: chain([web]), probes: all4 },
];

const lives: Case[] = [
  {
    name: "DEL after the container's end",
    config: chain([web], {}, dual),
    steps: ["ADD", { end: "c1" }, "DEL", "DEL"],
    probes: all4.slice(0, 2),
  },
  { name: "DEL without prevResult", config: chain([web]), steps: ["ADD", del("c1", { forgotten: true })] },
  {
    name: "ADD, DEL and ADD again",
    config: chain([web, dns]),
    steps: ["ADD", "DEL", "ADD", "DEL"],
    probes: all4,
  },
  {
    name: "the firewall is emptied by somebody",
    config: chain([web]),
    steps: ["ADD", { at: "host", run: "nft flush ruleset" }, "CHECK", "DEL"],
  },
];

const errors: Case[] = [
  ["alone, without prevResult", { type: "portmap", runtimeConfig: { portMappings: [web] } }],
  ["a protocol that is none", chain([{ ...web, protocol: "blue" }])],
  ["a host port beyond the last", chain([{ ...web, hostPort: 70000 }])],
].map(([name, config]) => ({ name: name as string, config: config as JsonObject[], steps: refused }));

// DEL of the reference refuses these too, and the bridge stays.
const refusedAlways: Case[] = [
  { name: "a bit beyond the last", config: chain([web], { markMasqBit: 32 }), steps: ["ADD"] },
  { name: "no host port", config: chain([{ containerPort: 80, protocol: "tcp" }]), steps: ["ADD"] },
  {
    name: "externalSetMarkChain and markMasqBit",
    config: chain([web], { externalSetMarkChain: "KUBE-MARK-MASQ", markMasqBit: 5 }),
    steps: ["ADD"],
  },
];

export const portmap: Family = {
  plugin: "portmap",
  needs: ["bridge", "nftables"],
  cases: [...mapped, ...lives, ...errors, ...refusedAlways],
};
