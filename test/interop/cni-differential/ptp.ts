import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Case, Family } from "./case.ts";
import { add, changed, del, dual, hostLocal, refused, two, v4, v6 } from "./common.ts";

const ptpOf = (more: JsonObject = {}, ipam: JsonObject = v4): JsonObject => ({ type: "ptp", ipam, ...more });

const cases: Case[] = [
  { name: "IPv4", config: ptpOf() },
  { name: "IPv6", config: ptpOf({}, v6) },
  { name: "both families, two containers", config: ptpOf({}, dual), steps: two },
  { name: "two addresses of a family", config: ptpOf({}, hostLocal(["10.77.0.0/24", "10.78.0.0/24"])) },
  { name: "masquerading", config: ptpOf({ ipMasq: true }, dual), steps: two },
  { name: "an MTU", config: ptpOf({ mtu: 1400 }, dual) },
  { name: "a default route", config: ptpOf({}, { ...v4, routes: [{ dst: "0.0.0.0/0" }] }) },
  {
    name: "routes of both families",
    config: ptpOf(
      {},
      { ...dual, routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }, { dst: "10.9.0.0/16", gw: "10.77.0.1" }] },
    ),
  },
  { name: "dns", config: ptpOf({ dns: { nameservers: ["192.0.2.53"], search: ["s.example"] } }) },
  {
    name: "static addresses",
    config: ptpOf({}, { type: "static", addresses: [{ address: "10.77.0.9/24", gateway: "10.77.0.1" }] }),
  },
  {
    name: "no gateway",
    config: ptpOf({}, { type: "static", addresses: [{ address: "10.77.0.9/24" }] }),
    steps: refused,
  },
  {
    name: "DEL after the container's end",
    config: ptpOf({ ipMasq: true }),
    steps: ["ADD", { end: "c1" }, "DEL", "DEL"],
  },
  { name: "DEL of what never was", config: ptpOf({ ipMasq: true }), steps: ["DEL"] },
  {
    name: "DEL without prevResult",
    config: ptpOf({ ipMasq: true }, dual),
    steps: ["ADD", del("c1", { forgotten: true })],
  },
  {
    name: "CHECK misses an address",
    config: ptpOf(),
    steps: changed("c1", "ip address del 10.77.0.2/24 dev eth0"),
  },
  {
    name: "the interface is taken",
    config: ptpOf(),
    steps: [{ at: "c1", run: "ip link add eth0 type veth peer name x" }, "ADD"],
  },
  { name: "no ipam", config: { type: "ptp" }, steps: ["ADD"] },
  { name: "version 0.3.1", cniVersion: "0.3.1", config: ptpOf({}, dual) },
  { name: "ADD once more", config: ptpOf(), steps: ["ADD", add("c1"), "DEL"] },
];

export const ptp: Family = { plugin: "ptp", needs: ["nftables"], cases };
