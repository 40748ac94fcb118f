import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Case, Family } from "./case.ts";
import { add, changed, del, hostLocal, refused } from "./common.ts";

const of = (ipam: JsonObject, more: JsonObject = {}): JsonObject => ({
  type: "host-local",
  ipam: { type: "host-local", ...ipam },
  ...more,
});
const four = { ranges: [[{ subnet: "10.77.0.0/24" }]] };
const three = ["ADD", add("c2"), add("c3"), del("c2"), add("c2"), "DEL", del("c2"), del("c3")] as const;

const ranges: Case[] = [
  { name: "one subnet", config: of(four), steps: three },
  { name: "both families", config: of(hostLocal(["10.77.0.0/24", "fd77::/64"])), steps: three },
  {
    name: "a subnet of four addresses",
    config: of({ ranges: [[{ subnet: "10.77.0.0/30" }]] }),
    steps: ["ADD", add("c2"), "DEL"],
  },
  {
    name: "a subnet of two addresses",
    config: of({ ranges: [[{ subnet: "10.77.0.0/31" }]] }),
    steps: refused,
  },
  { name: "a small IPv6 subnet", config: of({ ranges: [[{ subnet: "fd77::/126" }]] }), steps: three },
  {
    name: "start and end",
    config: of({
      ranges: [[{ subnet: "10.77.0.0/24", rangeStart: "10.77.0.100", rangeEnd: "10.77.0.101" }]],
    }),
    steps: three,
  },
  {
    name: "several ranges in a set",
    config: of({ ranges: [[{ subnet: "10.77.1.0/30" }, { subnet: "10.77.2.0/30" }]] }),
    steps: three,
  },
  {
    name: "the old single range",
    config: of({ subnet: "10.77.0.0/24", rangeStart: "10.77.0.7", gateway: "10.77.0.1" }),
    steps: three,
  },
  { name: "the old range beside ranges", config: of({ subnet: "10.76.0.0/24", ...four }) },
  {
    name: "another gateway",
    config: of({ ranges: [[{ subnet: "10.77.0.0/24", gateway: "10.77.0.2" }]] }),
    steps: three,
  },
  {
    name: "a gateway elsewhere",
    config: of({ ranges: [[{ subnet: "10.77.0.0/24", gateway: "10.78.0.1" }]] }),
  },
  {
    name: "ranges by the runtime alone",
    config: of({}, { runtimeConfig: { ipRanges: [[{ subnet: "10.78.0.0/24" }]] } }),
  },
  { name: "two sets of a family", config: of(hostLocal(["10.77.0.0/24", "10.78.0.0/24"])), steps: three },
];

const requested: Case[] = [
  { name: "by CNI_ARGS", config: of(four), args: "IP=10.77.0.42" },
  { name: "by CNI_ARGS, with a length", config: of(four), args: "IP=10.77.0.42/24" },
  { name: "by args.cni.ips", config: of(four, { args: { cni: { ips: ["10.77.0.41"] } } }) },
  { name: "by the ips capability", config: of(four, { runtimeConfig: { ips: ["10.77.0.40"] } }) },
  {
    name: "by the ips capability, with a length",
    config: of(four, { runtimeConfig: { ips: ["10.77.0.40/24"] } }),
  },
  {
    name: "of both families",
    config: of(hostLocal(["10.77.0.0/24", "fd77::/64"]), {
      runtimeConfig: { ips: ["10.77.0.40", "fd77::40"] },
    }),
  },
  {
    name: "taken by another",
    config: of(four, { runtimeConfig: { ips: ["10.77.0.40"] } }),
    steps: ["ADD", add("c2"), "DEL"],
  },
  { name: "the gateway", config: of(four, { runtimeConfig: { ips: ["10.77.0.1"] } }), steps: refused },
  {
    name: "outside of all ranges",
    config: of(four, { runtimeConfig: { ips: ["10.99.0.1"] } }),
    steps: refused,
  },
  { name: "no address", config: of(four, { runtimeConfig: { ips: ["blue"] } }), steps: refused },
  { name: "no address by CNI_ARGS", config: of(four), args: "IP=blue", steps: refused },
  {
    name: "one and the next",
    config: of(four),
    steps: [add("c1", { args: "IP=10.77.0.200" }), add("c2"), "DEL", del("c2")],
  },
];

const lives: Case[] = [
  { name: "ADD once more", config: of(four), steps: ["ADD", "ADD", "DEL"] },
  {
    name: "two interfaces of a container",
    config: of(four),
    steps: ["ADD", add("c1", { ifname: "net1" }), "DEL", del("c1", { ifname: "net1" })],
  },
  {
    name: "no address left",
    config: of({ ranges: [[{ subnet: "10.77.0.0/30" }]] }),
    steps: ["ADD", add("c2"), add("c3"), "DEL", add("c3")],
  },
  {
    name: "CHECK misses the lease",
    config: of(four),
    steps: changed("host", "rm /var/lib/cni/networks/net/10.77.0.2"),
  },
  { name: "DEL of what never was", config: of(four), steps: ["DEL"] },
  {
    name: "DEL with ranges that have changed",
    config: of(four),
    steps: ["ADD", del("c1", { more: { ipam: { type: "host-local", subnet: "10.99.0.0/24" } } })],
  },
  {
    name: "a folder of its own",
    setup: "mkdir /var/lib/cni",
    config: of({ ...four, dataDir: "/var/lib/cni/elsewhere" }),
    steps: three,
  },
  {
    name: "the last address of another time",
    setup:
      "mkdir -p /var/lib/cni/networks/net; printf 10.77.0.99 > /var/lib/cni/networks/net/last_reserved_ip.0",
    config: of(four),
    steps: three,
  },
  {
    name: "the last address is out of range by now",
    setup:
      "mkdir -p /var/lib/cni/networks/net; printf 10.99.0.99 > /var/lib/cni/networks/net/last_reserved_ip.0",
    config: of(four),
  },
  {
    name: "a lease in the old form",
    setup: "mkdir -p /var/lib/cni/networks/net; printf c1 > /var/lib/cni/networks/net/10.77.0.2",
    config: of(four),
    steps: [add("c2"), "DEL", del("c2")],
  },
];

const results: Case[] = [
  {
    name: "routes",
    config: of({ ...four, routes: [{ dst: "0.0.0.0/0" }, { dst: "10.9.0.0/16", gw: "10.77.0.9" }] }),
  },
  {
    name: "resolv.conf",
    setup:
      "printf '# by hand\\nnameserver 192.0.2.53\\nnameserver 2001:db8::53\\ndomain d.example\\nsearch a b\\noptions ndots:5 rotate\\n' > $DIR/r",
    config: of({ ...four, resolvConf: "$DIR/r" }),
  },
  {
    name: "a resolv.conf that is not there",
    config: of({ ...four, resolvConf: "$DIR/none" }),
    steps: refused,
  },
  ...["0.2.0", "0.3.1", "0.4.0"].map((cniVersion) => ({
    name: `version ${cniVersion}`,
    cniVersion,
    config: of({ ...hostLocal(["10.77.0.0/24", "fd77::/64"]), routes: [{ dst: "10.9.0.0/16" }] }),
  })),
  {
    name: "version 0.2.0 with two addresses of a family",
    cniVersion: "0.2.0",
    config: of(hostLocal(["10.77.0.0/24", "10.78.0.0/24"])),
    steps: refused,
  },
];

const errors: Case[] = [
  ["no ipam", { type: "host-local" }],
  ["no ranges", of({})],
  ["an empty list of ranges", of({ ranges: [] })],
  ["a set without ranges", of({ ranges: [[]] })],
  ["a subnet with host bits", of({ ranges: [[{ subnet: "10.77.0.5/24" }]] })],
  ["a subnet that is none", of({ ranges: [[{ subnet: "blue" }]] })],
  ["ranges that overlap", of({ ranges: [[{ subnet: "10.77.0.0/24" }], [{ subnet: "10.77.0.0/16" }]] })],
  ["families mixed in a set", of({ ranges: [[{ subnet: "10.77.0.0/24" }, { subnet: "fd77::/64" }]] })],
  ["a start outside of the subnet", of({ ranges: [[{ subnet: "10.77.0.0/24", rangeStart: "10.78.0.1" }]] })],
  [
    "an end before the start",
    of({ ranges: [[{ subnet: "10.77.0.0/24", rangeStart: "10.77.0.9", rangeEnd: "10.77.0.8" }]] }),
  ],
  ["a route that is none", of({ ...four, routes: [{ dst: "blue" }] })],
].map(([name, config]) => ({ name: name as string, config: config as JsonObject, steps: refused }));

export const hostLocalFamily: Family = {
  plugin: "host-local",
  needs: [],
  cases: [...ranges, ...requested, ...lives, ...results, ...errors],
};
