/** Plugins, and keys of bridge, that need what the machine's own kernel may lack. */
import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Case, Family } from "./case.ts";
import { add, changed, del, dual, refused, two, v4 } from "./common.ts";

const wire = `ip link add wire address 02:00:00:00:00:03 type veth peer name far address 02:00:00:00:00:04
  ip link set wire up; ip link set far up`;
const ofWire =
  (type: string) =>
  (more: JsonObject = {}, ipam: JsonObject | undefined = v4): JsonObject => ({
    type,
    master: "wire",
    ipam,
    ...more,
  });

const onVlan = ofWire("vlan");
const vlans: Case[] = [
  { name: "IPv4", setup: wire, config: onVlan({ vlanId: 5 }) },
  { name: "both families", setup: wire, config: onVlan({ vlanId: 4094 }, dual) },
  { name: "an MTU", setup: wire, config: onVlan({ vlanId: 5, mtu: 1400 }) },
  {
    name: "two VLANs",
    setup: wire,
    config: onVlan({ vlanId: 5 }),
    steps: ["ADD", add("c2", { more: { vlanId: 6 } }), "DEL", del("c2")],
  },
  { name: "one VLAN twice", setup: wire, config: onVlan({ vlanId: 5 }), steps: ["ADD", add("c2"), "DEL"] },
  { name: "a master that there is not", config: onVlan({ vlanId: 5 }), steps: refused },
  { name: "a VLAN beyond the last", setup: wire, config: onVlan({ vlanId: 4095 }), steps: refused },
  {
    name: "CHECK misses an address",
    setup: wire,
    config: onVlan({ vlanId: 5 }),
    steps: changed("c1", "ip address del 10.77.0.2/24 dev eth0"),
  },
  {
    name: "DEL after the container's end",
    setup: wire,
    config: onVlan({ vlanId: 5 }),
    steps: ["ADD", { end: "c1" }, "DEL"],
  },
];

const onIpvlan = ofWire("ipvlan");
const ipvlans: Case[] = [
  { name: "IPv4", setup: wire, config: onIpvlan() },
  { name: "both families, two containers", setup: wire, config: onIpvlan({}, dual), steps: two },
  { name: "mode l3", setup: wire, config: onIpvlan({ mode: "l3" }) },
  { name: "mode l3s", setup: wire, config: onIpvlan({ mode: "l3s" }) },
  { name: "an MTU", setup: wire, config: onIpvlan({ mtu: 1400 }) },
  { name: "a mode that there is not", setup: wire, config: onIpvlan({ mode: "blue" }), steps: refused },
  { name: "DEL of what never was", setup: wire, config: onIpvlan(), steps: ["DEL"] },
];

const inVrf = (more: JsonObject = {}, ipam: JsonObject = v4) => [
  { type: "bridge", bridge: "br0", isGateway: true, ipam },
  { type: "vrf", vrfname: "blue", ...more },
];
const vrfs: Case[] = [
  { name: "IPv4", config: inVrf() },
  { name: "both families", config: inVrf({}, dual) },
  { name: "a table", config: inVrf({ table: 42 }) },
  {
    name: "two interfaces",
    config: inVrf(),
    steps: ["ADD", add("c1", { ifname: "net1" }), "DEL", del("c1", { ifname: "net1" })],
  },
  {
    name: "a name that is taken",
    config: inVrf(),
    steps: [{ at: "c1", run: "ip link add blue type veth peer name x" }, "ADD"],
  },
  { name: "no name", config: inVrf({ vrfname: undefined }), steps: ["ADD"] },
];

const filtering = (more: JsonObject = {}, ipam: JsonObject = v4): JsonObject => ({
  type: "bridge",
  bridge: "br0",
  isDefaultGateway: true,
  ipam,
  ...more,
});
const bridges: Case[] = [
  { name: "an access port", config: filtering({ vlan: 5 }), steps: two },
  { name: "an access port of both families", config: filtering({ vlan: 5 }, dual) },
  { name: "without a gateway", config: filtering({ vlan: 5, isDefaultGateway: false }) },
  { name: "layer 2 in a VLAN", config: { type: "bridge", bridge: "br0", vlan: 7 } },
  {
    name: "an access port that stays in the default VLAN",
    config: filtering({ vlan: 5, preserveDefaultVlan: true }),
  },
  { name: "a VLAN and an MTU", config: filtering({ vlan: 5, mtu: 1400 }) },
];

/** A guest is slow: without the second DEL. */
const once = (cases: Case[]): Case[] => cases.map((each) => ({ steps: ["ADD", "CHECK", "DEL"], ...each }));

export const guestFamilies: readonly Family[] = [
  { plugin: "vlan", needs: ["vlan"], guest: true, cases: once(vlans) },
  { plugin: "ipvlan", needs: ["ipvlan"], guest: true, cases: once(ipvlans) },
  { plugin: "vrf", needs: ["bridge", "vrf"], guest: true, cases: once(vrfs) },
  { plugin: "bridge", needs: ["bridgeVlanFiltering"], guest: true, cases: once(bridges) },
];
