import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Case, Family } from "./case.ts";
import { add, changed, del, dual, hostLocal, v4, v6 } from "./common.ts";

const chain = (ipam: JsonObject, more: JsonObject = {}, bridge: JsonObject = {}): JsonObject[] => [
  { type: "bridge", bridge: "br0", isGateway: true, ipam, ...bridge },
  { type: "sbr", ...more },
];

const cases: Case[] = [
  { name: "IPv4", config: chain(v4) },
  { name: "IPv6", config: chain(v6) },
  { name: "both families with default routes", config: chain(dual, {}, { isDefaultGateway: true }) },
  {
    name: "several addresses of a family",
    config: chain(hostLocal(["10.77.0.0/24", "10.78.0.0/24"]), {}, { isGateway: false }),
  },
  {
    name: "routes",
    config: chain({ ...v4, routes: [{ dst: "10.9.0.0/16" }, { dst: "10.8.0.0/16", gw: "10.77.0.9" }] }),
  },
  {
    name: "a second interface",
    config: chain(v4),
    steps: ["ADD", add("c1", { ifname: "net1" }), "DEL", del("c1", { ifname: "net1" })],
  },
  {
    name: "a table that is in use",
    config: chain(v4),
    steps: [{ at: "c1", run: "ip route add 198.51.100.0/24 dev lo table 100" }, "ADD", "CHECK", "DEL"],
  },
  { name: "DEL after the container's end", config: chain(v4), steps: ["ADD", { end: "c1" }, "DEL"] },
  { name: "DEL without prevResult", config: chain(v4), steps: ["ADD", { verb: "DEL", forgotten: true }] },
  { name: "CHECK misses the rule", config: chain(v4), steps: changed("c1", "ip rule del from 10.77.0.2") },
  { name: "alone, without prevResult", config: { type: "sbr" }, steps: ["ADD"] },
  { name: "no addresses", config: chain({}, {}, { isGateway: false }), steps: ["ADD", "DEL"] },
];

export const sbr: Family = { plugin: "sbr", needs: ["bridge"], cases };
