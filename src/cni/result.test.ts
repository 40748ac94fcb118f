import { expect, test } from "bun:test";
import { hasCniCode } from "./errors.ts";
import type { JsonObject } from "./fields.ts";
import { formatResult, parseResult } from "./result.ts";
import { type CniVersion, supportedVersions } from "./versions.ts";

const newest: JsonObject = {
  cniVersion: "1.1.0",
  interfaces: [
    { name: "br0", mac: "0a:00:00:00:00:01", mtu: 1500 },
    { name: "eth0", mac: "0a:00:00:00:00:02", mtu: 1400, sandbox: "/run/netns/blue", pciID: "0000:00:1f.6" },
    { name: "vhost", socketPath: "/run/vhost.sock" },
  ],
  ips: [
    { interface: 1, address: "10.1.0.5/16", gateway: "10.1.0.1" },
    { interface: 1, address: "fd00::5/64" },
    { interface: 0, address: "10.2.0.5/16", gateway: "10.2.0.1" },
  ],
  routes: [
    { dst: "0.0.0.0/0", gw: "10.1.0.1", mtu: 1400, advmss: 1360, priority: 100, table: 50, scope: 0 },
    { dst: "192.168.0.0/16" },
    { dst: "::/0", gw: "fd00::1" },
  ],
  dns: { nameservers: ["10.1.0.10"], domain: "cluster.local", search: ["a.b"], options: ["ndots:5"] },
};

/** Without what came with 1.1.0. */
const old: JsonObject = {
  ...newest,
  interfaces: [
    { name: "br0", mac: "0a:00:00:00:00:01" },
    { name: "eth0", mac: "0a:00:00:00:00:02", sandbox: "/run/netns/blue" },
    { name: "vhost" },
  ],
  routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1" }, { dst: "192.168.0.0/16" }, { dst: "::/0", gw: "fd00::1" }],
};

const withVersions = (newest.ips as JsonObject[]).map((ip) => ({
  version: String(ip.address).includes(":") ? "6" : "4",
  ...ip,
}));

/** Only the first address of each family, routes below the address of their family. */
const legacy: JsonObject = {
  ip4: {
    ip: "10.1.0.5/16",
    gateway: "10.1.0.1",
    routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1" }, { dst: "192.168.0.0/16" }],
  },
  ip6: { ip: "fd00::5/64", routes: [{ dst: "::/0", gw: "fd00::1" }] },
  dns: newest.dns,
};

const shapes: Readonly<Record<CniVersion, JsonObject>> = {
  "0.1.0": { cniVersion: "0.1.0", ...legacy },
  "0.2.0": { cniVersion: "0.2.0", ...legacy },
  "0.3.0": { ...old, cniVersion: "0.3.0", ips: withVersions },
  "0.3.1": { ...old, cniVersion: "0.3.1", ips: withVersions },
  "0.4.0": { ...old, cniVersion: "0.4.0", ips: withVersions },
  "1.0.0": { ...old, cniVersion: "1.0.0" },
  "1.1.0": newest,
};

test.each([...supportedVersions])("a result is written in %s", (version) => {
  const result = parseResult(newest, "1.1.0");
  expect(formatResult(result, version)).toEqual(shapes[version]);
  // In the order in which the reference plugins write it.
  expect(Object.keys(formatResult(result, version))).toEqual(Object.keys(shapes[version]));
});

test.each([...supportedVersions])("what is written in %s is read back", (version) => {
  const read = parseResult(shapes[version], version);
  expect(formatResult(read, version)).toEqual(shapes[version]);
});

test("what an older version cannot say is all that is lost on the way up", () => {
  for (const version of supportedVersions) {
    const up = formatResult(parseResult(shapes[version], version), "1.0.0");
    const expected =
      version === "0.1.0" || version === "0.2.0"
        ? {
            cniVersion: "1.0.0",
            ips: [{ address: "10.1.0.5/16", gateway: "10.1.0.1" }, { address: "fd00::5/64" }],
            routes: old.routes,
            dns: newest.dns,
          }
        : { ...old, cniVersion: "1.0.0" };
    expect(up).toEqual(expected);
  }
});

test("empty lists are left out, dns is always there", () => {
  const empty = parseResult({}, "1.0.0");
  expect(formatResult(empty, "1.0.0")).toEqual({ cniVersion: "1.0.0", dns: {} });
  expect(() => formatResult(empty, "0.2.0")).toThrow(
    "cannot express a result without addresses in version 0.2.0",
  );
});

test("null and empty texts count as absent, as in Go", () => {
  const raw = {
    interfaces: null,
    ips: [{ address: "10.0.0.1/8", gateway: "", interface: null }],
    dns: { nameservers: null, domain: "" },
  };
  expect(formatResult(parseResult(raw, "1.0.0"), "1.0.0")).toEqual({
    cniVersion: "1.0.0",
    ips: [{ address: "10.0.0.1/8" }],
    dns: {},
  });
});

const malformed: [string, CniVersion, unknown, string][] = [
  ["no object", "1.0.0", [], "prevResult: not a JSON object"],
  ["null", "1.0.0", null, "prevResult: not a JSON object"],
  ["ips that are no list", "1.0.0", { ips: {} }, "prevResult.ips: {} is not a list"],
  [
    "an address without length",
    "1.0.0",
    { ips: [{ address: "10.0.0.1" }] },
    'prevResult.ips[0].address: "10.0.0.1"',
  ],
  ["no address", "0.4.0", { ips: [{ version: "4" }] }, "prevResult.ips[0].address: "],
  ["a route without destination", "1.0.0", { routes: [{ gw: "10.0.0.1" }] }, "prevResult.routes[0].dst: "],
  [
    "an index that is no number",
    "1.0.0",
    { ips: [{ address: "1.1.1.1/8", interface: "0" }] },
    "ips[0].interface",
  ],
  ["an old address", "0.2.0", { ip4: { ip: "10.0.0.300/8" } }, "prevResult.ip4.ip"],
];
test.each(malformed)("%s in %s is one decoding error that names the field", (_, version, raw, message) => {
  expect(() => parseResult(raw, version, "prevResult")).toThrow(message);
  try {
    parseResult(raw, version);
  } catch (error) {
    expect(hasCniCode(error, 6)).toBe(true);
  }
});
