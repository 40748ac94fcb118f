/** The static plugin beside the reference: alone as its caller would call it, and under bridge. */
import { describe, expect, test } from "bun:test";
import type { JsonObject } from "../../src/cni/fields.ts";
import { needs, testWith } from "../lib/needs.ts";
import { CniHost, ownPlugins, referencePlugins } from "./cni-fixture.ts";

const referenceTest = testWith(needs.file(`${referencePlugins}/static`, "containernetworking-plugins"));

/** A network of plugin static itself, which as IPAM is started with the configuration of its caller. */
function configOf(ipam: JsonObject, more: JsonObject = {}): JsonObject {
  return { cniVersion: "1.0.0", name: "net", type: "static", ipam: { type: "static", ...ipam }, ...more };
}

const v4 = { address: "10.10.0.1/24" };
const v6 = { address: "fd10::1/64", gateway: "fd10::ff" };

const cases: [string, { ipam: JsonObject; more?: JsonObject; args?: string; result: JsonObject }][] = [
  [
    "configured addresses in their order, with routes and dns",
    {
      ipam: {
        addresses: [v6, v4],
        routes: [{ dst: "0.0.0.0/0" }, { dst: "192.168.0.0/16", gw: "10.10.0.9" }],
        dns: { nameservers: ["192.0.2.53"], domain: "example.com", search: ["example.com"], options: ["a"] },
      },
      result: {
        ips: [v6, v4],
        routes: [{ dst: "0.0.0.0/0" }, { dst: "192.168.0.0/16", gw: "10.10.0.9" }],
        dns: { nameservers: ["192.0.2.53"], domain: "example.com", search: ["example.com"], options: ["a"] },
      },
    },
  ],
  [
    "CNI_ARGS behind the configured ones, gateways for those whose prefix they are in",
    {
      ipam: { addresses: [v4] },
      args: "IP=10.20.0.3/16, fd20::3/64,10.30.0.3/24;GATEWAY=10.20.0.1,10.10.0.254, fd20::1",
      result: {
        ips: [
          v4,
          { address: "10.20.0.3/16", gateway: "10.20.0.1" },
          { address: "fd20::3/64", gateway: "fd20::1" },
          { address: "10.30.0.3/24" },
        ],
        dns: {},
      },
    },
  ],
  [
    "args.cni.ips in place of the configured ones and of CNI_ARGS",
    {
      ipam: { addresses: [v4] },
      more: { args: { cni: { ips: ["10.1.0.1/24", "fd01::1/64"] } } },
      args: "IP=10.20.0.3/16;GATEWAY=10.1.0.254",
      result: { ips: [{ address: "10.1.0.1/24" }, { address: "fd01::1/64" }], dns: {} },
    },
  ],
  [
    "the ips capability in place of all others",
    {
      ipam: { addresses: [v4] },
      more: { args: { cni: { ips: ["10.1.0.1/24"] } }, runtimeConfig: { ips: ["10.2.0.1/24"] } },
      args: "IP=10.20.0.3/16",
      result: { ips: [{ address: "10.2.0.1/24" }], dns: {} },
    },
  ],
  [
    "empty lists as none",
    {
      ipam: { addresses: [v4] },
      more: { args: { cni: { ips: [] } }, runtimeConfig: { ips: [] } },
      args: "IP=;GATEWAY=",
      result: { ips: [v4], dns: {} },
    },
  ],
  ["no address at all", { ipam: {}, result: { dns: {} } }],
  [
    "versions before 1.0.0 with the family of each address",
    {
      ipam: { addresses: [v4, v6] },
      more: { cniVersion: "0.3.1" },
      result: {
        cniVersion: "0.3.1",
        ips: [
          { version: "4", ...v4 },
          { version: "6", ...v6 },
        ],
        dns: {},
      },
    },
  ],
];

describe.each(cases)("gives out %s", (_, { ipam, more = {}, args = "", result }) => {
  for (const plugins of [ownPlugins, referencePlugins]) {
    const isOwn = plugins === ownPlugins;
    (isOwn ? test : referenceTest)(isOwn ? "as expected" : "as the reference does", async () => {
      using host = new CniHost();
      const call = { args, plugins };
      const { json } = await host.succeed("ADD", host.container(), configOf(ipam, more), call);
      expect(json).toEqual({ cniVersion: "1.0.0", ...result });
    });
  }
});

const refusals: [string, { ipam: JsonObject; more?: JsonObject; args?: string; msg: string }][] = [
  [
    "an address without a length",
    { ipam: { addresses: [{ address: "10.10.0.1" }] }, msg: 'ipam.addresses[0].address: "10.10.0.1" is not' },
  ],
  ["an address that is missing", { ipam: { addresses: [{}] }, msg: "ipam.addresses[0].address: is missing" }],
  [
    "a gateway that is none",
    { ipam: { addresses: [{ ...v4, gateway: "x" }] }, msg: 'ipam.addresses[0].gateway: "x" is not' },
  ],
  [
    "a capability without a length",
    { ipam: {}, more: { runtimeConfig: { ips: ["10.2.0.1"] } }, msg: "ips[0]" },
  ],
  ["CNI_ARGS without a length", { ipam: {}, args: "IP=10.2.0.1", msg: 'CNI_ARGS IP: "10.2.0.1" is not' }],
  [
    "a gateway of CNI_ARGS that is none",
    { ipam: {}, args: "GATEWAY=x", msg: 'CNI_ARGS GATEWAY: "x" is not' },
  ],
  ["a route that is none", { ipam: { routes: [{ dst: "x" }] }, msg: 'ipam.routes[0].dst: "x" is not' }],
  [
    "two addresses of a family before 0.3.0",
    {
      ipam: { addresses: [v4, { address: "10.10.0.2/24" }] },
      more: { cniVersion: "0.2.0" },
      msg: "more than 1 address per family",
    },
  ],
];

test.each(refusals)("refuses %s", async (_, { ipam, more = {}, args = "", msg }) => {
  using host = new CniHost();
  const container = host.container();
  const config = configOf(ipam, more);
  const { json, status } = await host.call("ADD", container, config, { args });
  expect({ status, ...json }).toMatchObject({ status: 1, code: 7, msg: expect.stringContaining(msg) });
});

referenceTest.each(refusals)("the reference refuses %s too", async (_, { ipam, more = {}, args = "" }) => {
  using host = new CniHost();
  const call = { args, plugins: referencePlugins };
  expect((await host.call("ADD", host.container(), configOf(ipam, more), call)).status).toBe(1);
});

test("says which keys it does not know, and that a gateway is for no address", async () => {
  using host = new CniHost();
  const ipam = { addresses: [{ ...v4, gatway: "10.10.0.3" }], routs: [] };
  const { stderr } = await host.succeed("ADD", host.container(), configOf(ipam), {
    args: "IP=10.20.0.3/16;GATEWAY=10.30.0.1",
  });
  expect(stderr).toContain('ipam.routs: unknown key (did you mean "routes"?)');
  expect(stderr).toContain('ipam.addresses[0].gatway: unknown key (did you mean "gateway"?)');
  expect(stderr).toContain("GATEWAY: 10.30.0.1 is in the prefix of no address");
});

test("CHECK compares with the result, DEL and GC have nothing to do, STATUS reads the configuration", async () => {
  using host = new CniHost();
  const container = host.container();
  const config = configOf({ addresses: [v4, v6] }, { cniVersion: "1.1.0" });
  const { json: prevResult } = await host.succeed("ADD", container, config);
  await host.succeed("CHECK", container, { ...config, prevResult });
  for (const ips of [[v4], [v4, { ...v6, gateway: "fd10::fe" }]]) {
    const { json } = await host.call("CHECK", container, { ...config, prevResult: { ...prevResult, ips } });
    expect(json).toMatchObject({ code: 999, msg: "static: Failed to match addr fd10::1 on interface eth0" });
  }
  expect((await host.call("CHECK", container, config)).json).toMatchObject({ code: 7 });
  await host.succeed("DEL", container, config);
  await host.succeed("DEL", undefined, config);
  await host.succeed("STATUS", undefined, config);
  await host.succeed("GC", undefined, { ...config, "cni.dev/valid-attachments": [] });
  expect(
    (await host.call("STATUS", undefined, configOf({ addresses: [{}] }, { cniVersion: "1.1.0" }))).json,
  ).toMatchObject({
    code: 7,
  });
});

test("under bridge the container has the addresses and routes", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  await blue.serve(8080, "blue");
  const config = {
    ...host.config(),
    ipam: {
      type: "static",
      addresses: [
        { address: "10.77.0.9/24", gateway: "10.77.0.1" },
        { address: "fd77::9/64", gateway: "fd77::1" },
      ],
      routes: [{ dst: "192.0.2.0/24" }],
    },
  };
  await host.succeed("ADD", blue, config);
  const moved = { runtimeConfig: { ips: ["10.77.0.10/24", "fd77::10/64"] } };
  await host.succeed("ADD", green, { ...config, ...moved });
  expect(await green.ask("10.77.0.9", 8080)).toStartWith("blue 10.77.0.10 ");
  expect(await green.ask("fd77::9", 8080)).toStartWith("blue fd77::10 ");
  expect(String(blue.kernel.rtnl.routes.list({ dst: "192.0.2.0/24" })[0]?.gateway)).toBe("10.77.0.1");
  await host.succeed("DEL", blue, config);
  await host.succeed("DEL", green, config);
});
