import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Case, Family } from "./case.ts";
import { add, changed, del, dual, refused, two, v4, v6 } from "./common.ts";

/** A wire of the host's own, to which nobody else is. */
const wire =
  "ip link add wire address 02:00:00:00:00:03 type veth peer name far address 02:00:00:00:00:04; ip link set wire up; ip link set far up";
const of = (more: JsonObject = {}, ipam: JsonObject | undefined = v4): JsonObject => ({
  type: "macvlan",
  master: "wire",
  ipam,
  ...more,
});

const cases: Case[] = [
  { name: "IPv4", setup: wire, config: of() },
  { name: "IPv6", setup: wire, config: of({}, v6) },
  { name: "both families, two containers", setup: wire, config: of({}, dual), steps: two },
  ...["bridge", "private", "vepa"].map((mode) => ({
    name: `mode ${mode}`,
    setup: wire,
    config: of({ mode }),
    steps: two,
  })),
  { name: "mode passthru", setup: wire, config: of({ mode: "passthru" }) },
  { name: "an MTU", setup: wire, config: of({ mtu: 1400 }) },
  { name: "an MTU beyond that of the master", setup: wire, config: of({ mtu: 9000 }), steps: refused },
  { name: "a hardware address", setup: wire, config: of({ mac: "02:00:00:00:00:55" }) },
  {
    name: "a hardware address by the capability",
    setup: wire,
    config: of({ runtimeConfig: { mac: "02:00:00:00:00:56" } }),
  },
  {
    name: "a hardware address by args",
    setup: wire,
    config: of({ args: { cni: { mac: "02:00:00:00:00:57" } } }),
  },
  {
    name: "a hardware address by CNI_ARGS",
    setup: wire,
    config: of(),
    args: "IgnoreUnknown=1;MAC=02:00:00:00:00:58",
  },
  { name: "no ipam", setup: wire, config: { type: "macvlan", master: "wire" } },
  {
    name: "routes and dns",
    setup: wire,
    config: of(
      { dns: { nameservers: ["192.0.2.53"] } },
      { ...v4, routes: [{ dst: "0.0.0.0/0", gw: "10.77.0.1" }] },
    ),
  },
  {
    name: "the master of the default route",
    setup: "ip route add default via 192.0.2.2",
    config: { type: "macvlan", ipam: v4 },
  },
  { name: "no master and no default route", config: { type: "macvlan", ipam: v4 }, steps: refused },
  { name: "a master that there is not", config: of(), steps: refused },
  { name: "a mode that there is not", setup: wire, config: of({ mode: "blue" }), steps: refused },
  { name: "an MTU below zero", setup: wire, config: of({ mtu: -1 }), steps: refused },
  {
    name: "the interface is taken",
    setup: wire,
    config: of(),
    steps: [{ at: "c1", run: "ip link add eth0 type veth peer name x" }, "ADD", "DEL"],
  },
  {
    name: "DEL after the container's end",
    setup: wire,
    config: of(),
    steps: ["ADD", { end: "c1" }, "DEL", "DEL"],
  },
  {
    name: "DEL without prevResult",
    setup: wire,
    config: of(),
    steps: ["ADD", del("c1", { forgotten: true })],
  },
  { name: "DEL of what never was", setup: wire, config: of(), steps: ["DEL"] },
  {
    name: "CHECK sees another hardware address",
    setup: wire,
    config: of(),
    steps: changed("c1", "ip link set eth0 address 02:00:00:00:00:99"),
  },
  {
    name: "CHECK misses an address",
    setup: wire,
    config: of(),
    steps: changed("c1", "ip address del 10.77.0.2/24 dev eth0"),
  },
  { name: "ADD once more", setup: wire, config: of(), steps: ["ADD", add("c1"), "DEL"] },
  { name: "version 0.3.1", setup: wire, cniVersion: "0.3.1", config: of({}, dual) },
];

export const macvlan: Family = { plugin: "macvlan", needs: ["macvlan"], cases };
