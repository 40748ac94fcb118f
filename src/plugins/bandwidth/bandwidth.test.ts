import { expect, test } from "bun:test";
import { Fields, type JsonObject } from "../../cni/fields.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import { Prefix } from "../../lib/prefix.ts";
import { aliasOf, isAliasOfNetwork } from "../shared/attachment.ts";
import { bucketOf, isCutOff, parseBandwidthConfig } from "./config.ts";
import { ifbName } from "./ifb.ts";
import { matchesOf } from "./subnets.ts";

const parse = (raw: JsonObject) => {
  const { subnets, ...rest } = parseBandwidthConfig({ config: { fields: new Fields(raw) } } as PluginRequest);
  return { ...rest, subnets: subnets.map(String) };
};
const limits = { ingressRate: 8000, ingressBurst: 80_000, egressRate: 16_000, egressBurst: 160_000 };
const [ingress, egress] = [
  { rate: 1000, burst: 10_000 },
  { rate: 2000, burst: 20_000 },
];

const configs: [string, JsonObject, JsonObject][] = [
  ["both directions", limits, { ingress, egress }],
  ["one direction", { ingressRate: 8000, ingressBurst: 80_000, egressRate: 0 }, { ingress }],
  ["nothing", {}, {}],
  ["nulls and zeros", { ingressRate: 0, ingressBurst: null, egressBurst: 0 }, {}],
  ["the runtime's", { runtimeConfig: { bandwidth: limits } }, { ingress, egress }],
  [
    "the configuration's own before the runtime's",
    { ingressRate: 0, runtimeConfig: { bandwidth: limits } },
    {},
  ],
  ["names in another case, as Go reads them", { IngressRate: 8000, ingressburst: 80_000 }, { ingress }],
  ["bits that make no whole byte", { egressRate: 16_007, egressBurst: 160_007 }, { egress }],
  [
    "the largest burst, as CRI-O gives it",
    { egressRate: 16_000, egressBurst: 0xffffffff * 8 - 1 },
    { egress: { rate: 2000, burst: 0xfffffffe } },
  ],
  [
    "shaped subnets",
    { ...limits, shapedSubnets: ["10.1.2.3/8", "fd00::/8"] },
    { ingress, egress, subnets: ["10.0.0.0/8", "fd00::/8"], isShaped: true },
  ],
  [
    "unshaped subnets of the runtime",
    { runtimeConfig: { bandwidth: { ...limits, unshapedSubnets: ["0.0.0.0/0"] } } },
    { ingress, egress, subnets: ["0.0.0.0/0"] },
  ],
];
test.each(configs)("reads %s", (_, raw, expected) => {
  expect(parse(raw)).toEqual({ subnets: [], isShaped: false, ...expected });
});

const refused: [string, JsonObject, string, string][] = [
  ["a rate without burst", { ingressRate: 8 }, "ingressBurst", "if rate is set, burst must also be set"],
  ["a burst without rate", { egressBurst: 8 }, "egressRate", "if burst is set, rate must also be set"],
  ["a rate of 0", { egressRate: 0, egressBurst: 8 }, "egressRate", "if burst is set, rate must also be set"],
  [
    "a burst of 4 GB",
    { egressRate: 8, egressBurst: 0xffffffff * 8 },
    "egressBurst",
    "cannot be more than 4GB",
  ],
  ["a negative rate", { ingressRate: -8, ingressBurst: 8 }, "ingressRate", "is not a whole number"],
  ["a rate as text", { ingressRate: "1M", ingressBurst: 8 }, "ingressRate", "is not a whole number"],
  ["a rate below a byte", { ingressRate: 7, ingressBurst: 8 }, "ingressRate", "is less than a byte"],
  ["a burst below a byte", { ingressRate: 8, ingressBurst: 7 }, "ingressBurst", "is less than a byte"],
  ["what is no subnet", { shapedSubnets: ["10.0.0.0/8", "hello"] }, "shapedSubnets[1]", '"hello"'],
  [
    "both kinds of subnets",
    { shapedSubnets: ["10.0.0.0/8"], unshapedSubnets: ["192.168.0.0/16"] },
    "unshapedSubnets",
    "cannot be both specified",
  ],
];
test.each(refused)("refuses %s", (_, raw, field, problem) => {
  expect(() => parse(raw)).toThrow(new RegExp(`^${RegExp.escape(field)}: .*${RegExp.escape(problem)}`));
  expect(() => parse({ runtimeConfig: { bandwidth: raw } })).toThrow(`runtimeConfig.bandwidth.${field}: `);
});

test.each([
  // As the reference plugin computes it: whole microseconds.
  [{ rate: 1_000_000, burst: 10_000 }, 156_250, 35_000],
  [{ rate: 3_000_000, burst: 1001 }, Math.floor(333 * 15.625), 76_001],
  // Where that would be no time at all.
  [{ rate: 12_500_000_000, burst: 10_000 }, 12, 312_510_000],
  // What does not fit into 32 bits.
  [{ rate: 125_000, burst: 0x1fffffff }, 0xffffffff, 3125 + 0x1fffffff],
  [{ rate: 1_000_000_000_000, burst: 0xfffffffe }, 67_093, 0xffffffff],
])("the kernel's numbers of %p", (shape, ticks, limit) => {
  expect(bucketOf(shape)).toMatchObject({ ticks, limit });
  expect(isCutOff(bucketOf(shape))).toBe(ticks === 0xffffffff);
});

test("the ifb's name is the reference plugin's", () => {
  const attachment = { network: "cni-plugin-bandwidth-test", containerId: "dummy", ifname: "eth0" };
  expect(ifbName(attachment)).toBe("bwpa8eda89404b7");
});

test("an alias tells the network, however long", () => {
  for (const containerId of ["c", "c".repeat(200)]) {
    const alias = aliasOf({ network: "net", containerId, ifname: "eth0" });
    expect(alias.length).toBeLessThan(256);
    expect(isAliasOfNetwork(alias, "net")).toBe(true);
    expect(isAliasOfNetwork(alias, "ne")).toBe(false);
    expect(isAliasOfNetwork(alias.replace("weft: ", ""), "net")).toBe(false);
  }
});

test("the whole of a family has a key that matches everything", () => {
  expect(matchesOf(Prefix.parse("::/0"), "src")).toEqual([{ offset: 0, value: 0, mask: 0 }]);
  expect(matchesOf(Prefix.parse("10.0.0.0/8"), "src")).toEqual([
    { offset: 12, value: 0x0a000000, mask: 0xff000000 },
  ]);
});
