import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Case, Family } from "./case.ts";
import { add, changed, del, dual } from "./common.ts";

const chain = (more: JsonObject, runtimeConfig?: JsonObject): JsonObject[] => [
  { type: "bridge", bridge: "br0", isDefaultGateway: true, ipam: dual },
  {
    type: "bandwidth",
    capabilities: { bandwidth: true },
    ...more,
    ...(runtimeConfig === undefined ? {} : { runtimeConfig }),
  },
];
const ingress = { ingressRate: 8_000_000, ingressBurst: 2_000_000 };
const egress = { egressRate: 16_000_000, egressBurst: 4_000_000 };

const cases: Case[] = [
  { name: "both directions", config: chain({ ...ingress, ...egress }) },
  { name: "ingress alone", config: chain(ingress) },
  { name: "egress alone", config: chain(egress) },
  { name: "nothing", config: chain({}) },
  { name: "by the capability", config: chain({}, { bandwidth: { ...ingress, ...egress } }) },
  { name: "an empty capability", config: chain({}, { bandwidth: {} }) },
  {
    name: "kubelet's burst",
    config: chain(
      {},
      {
        bandwidth: {
          ingressRate: 10_000_000,
          ingressBurst: 2_147_483_647,
          egressRate: 10_000_000,
          egressBurst: 2_147_483_647,
        },
      },
    ),
  },
  {
    name: "an MTU that the mirror takes over",
    config: [
      { ...chain({})[0], mtu: 1400 },
      { type: "bandwidth", ...egress },
    ],
  },
  {
    name: "two containers",
    config: chain({ ...ingress, ...egress }),
    steps: ["ADD", add("c2"), "DEL", del("c2")],
  },
  {
    name: "behind ptp",
    config: [
      { type: "ptp", ipam: dual },
      { type: "bandwidth", ...ingress, ...egress },
    ],
  },
  {
    name: "DEL after the container's end",
    config: chain({ ...ingress, ...egress }),
    steps: ["ADD", { end: "c1" }, "DEL", "DEL"],
  },
  { name: "DEL without prevResult", config: chain(egress), steps: ["ADD", { verb: "DEL", forgotten: true }] },
  {
    name: "CHECK misses the shaping",
    config: chain(ingress),
    steps: changed(
      "host",
      "tc qdisc del dev $(ip -o link show master br0 | sed 's/^[0-9]*: \\([^@]*\\)@.*/\\1/') root",
    ),
  },
  { name: "a rate without burst", config: chain({ ingressRate: 8_000_000 }), steps: ["ADD"] },
  { name: "a burst without rate", config: chain({ egressBurst: 8_000_000 }), steps: ["ADD"] },
  { name: "a rate below zero", config: chain({ ingressRate: -1, ingressBurst: 1 }), steps: ["ADD"] },
  {
    name: "a burst beyond the largest",
    config: chain({ ingressRate: 8_000_000, ingressBurst: 40_000_000_000 }),
    steps: ["ADD"],
  },
  { name: "alone, without prevResult", config: { type: "bandwidth", ...ingress }, steps: ["ADD"] },
  { name: "version 0.3.1", cniVersion: "0.3.1", config: chain({ ...ingress, ...egress }) },
];

export const bandwidth: Family = { plugin: "bandwidth", needs: ["bridge", "ifb"], cases };
