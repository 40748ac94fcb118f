import { expect, test } from "bun:test";
import { CniError, parseErrorResult, toErrorResult } from "./errors.ts";
import { Fields } from "./fields.ts";
import { parseJsonObject, parseNetworkConfig, parseValidAttachments } from "./netconf.ts";
import { requirePluginType } from "./validate.ts";
import { compareVersions, isVersion } from "./versions.ts";

const errors: [string, unknown, number, string][] = [
  ["no name", { type: "bridge" }, 7, "missing network name"],
  ["an empty name", { name: "", type: "bridge" }, 7, "missing network name"],
  ["a name with a way up", { name: "../x", type: "bridge" }, 7, 'name: "../x" is not a network name'],
  ["a name that is no text", { name: 5, type: "bridge" }, 7, "name: 5 is not a network name"],
  ["no type", { name: "n" }, 7, "type: a plugin's type is missing"],
  [
    "a type with a folder",
    { name: "n", type: "../../bin/sh" },
    7,
    'type: "../../bin/sh" is not a plugin type',
  ],
  ["a type that is a folder", { name: "n", type: ".." }, 7, 'type: ".." is not a plugin type'],
  ["an IPAM type with a folder", { name: "n", type: "bridge", ipam: { type: "/bin/sh" } }, 7, "ipam.type"],
  ["IPAM that is no object", { name: "n", type: "bridge", ipam: "host-local" }, 7, "ipam: "],
  ["a version of the future", { cniVersion: "1.2.0", name: "n", type: "b" }, 1, "incompatible CNI versions"],
  [
    "no version at all",
    { cniVersion: "latest", name: "n", type: "b" },
    6,
    'cniVersion: "latest" is not a version',
  ],
  [
    "a version that is a number",
    { cniVersion: 1, name: "n", type: "b" },
    6,
    "cniVersion: 1 is not a version",
  ],
  [
    "a broken prevResult",
    { name: "n", type: "b", cniVersion: "1.0.0", prevResult: { ips: 1 } },
    6,
    "prevResult.ips",
  ],
  [
    "a prevResult of the future",
    { name: "n", type: "b", cniVersion: "1.0.0", prevResult: { cniVersion: "9.0.0" } },
    1,
    'prevResult.cniVersion: "9.0.0" is no version',
  ],
  ["dns that is no object", { name: "n", type: "b", dns: [] }, 7, "dns: "],
];
test.each(errors)("%s", (_, raw, code, message) => {
  try {
    parseNetworkConfig(parseJsonObject(JSON.stringify(raw), "network configuration"));
    expect.unreachable();
  } catch (error) {
    expect(toErrorResult(error, "1.0.0")).toMatchObject({ code, msg: expect.stringContaining(message) });
  }
});

test.each(["", "{", "[]", "null", '"x"', "[".repeat(100_000), '{"a":'.repeat(100_000)])(
  "what is no JSON object is one decoding error",
  (text) => {
    expect(() => parseJsonObject(text, "network configuration")).toThrow(CniError);
    expect(() => parseJsonObject(text, "network configuration")).toThrow(/^network configuration: /);
  },
);

test("the common keys are read, whatever their case, the exact one first", () => {
  const raw = parseJsonObject(
    '{"CNIVERSION":"0.4.0","Name":"n","name":"net","TYPE":"bridge","ipam":{"Type":"host-local"},"dns":{"Domain":"d"}}',
    "x",
  );
  expect(parseNetworkConfig(raw)).toMatchObject({
    cniVersion: "0.4.0",
    name: "net",
    type: "bridge",
    ipamType: "host-local",
    dns: { domain: "d" },
  });
});

test("no version means 0.1.0, as with libcni", () => {
  expect(parseNetworkConfig({ name: "n", type: "bridge" }).cniVersion).toBe("0.1.0");
  expect(parseNetworkConfig({ name: "n", type: "bridge", cniVersion: "" }).cniVersion).toBe("0.1.0");
});

test.each([
  ["0.2.0", { ip4: { ip: "10.0.0.2/24" } }],
  ["0.4.0", { ips: [{ version: "4", address: "10.0.0.2/24" }] }],
  ["", { ips: [{ address: "10.0.0.2/24" }] }],
])("a prevResult is read in its own version, %p", (cniVersion, result) => {
  const raw = { name: "n", type: "b", cniVersion: "1.0.0", prevResult: { cniVersion, ...result } };
  const { prevResult } = parseNetworkConfig(raw);
  expect(prevResult?.ips.map(({ address }) => String(address))).toEqual(["10.0.0.2/24"]);
});

test("DEL takes a broken prevResult for none", () => {
  const raw = { name: "n", type: "bridge", cniVersion: "1.0.0", prevResult: { ips: 1 } };
  expect(parseNetworkConfig(raw, { lenientPrevResult: true }).prevResult).toBeUndefined();
});

test("keys from the object's prototype are not taken for configuration", () => {
  const raw = parseJsonObject('{"name":"n","type":"bridge","__proto__":{"mtu":1}}', "x");
  const { fields } = parseNetworkConfig(raw);
  expect(fields.get("mtu")).toBeUndefined();
  expect(fields.get("constructor")).toBeUndefined();
  expect(fields.get("toString")).toBeUndefined();
});

test("unknown keys get a sentence with the likeliest intended one", () => {
  const fields = new Fields({ isDefaultGatway: true, mtu: 1, MTU: 2, zzz: 0 }, "plugins[0]");
  expect(fields.unknownKeys(["isDefaultGateway", "mtu"])).toEqual([
    'plugins[0].isDefaultGatway: unknown key (did you mean "isDefaultGateway"?); it is ignored',
    "plugins[0].zzz: unknown key; it is ignored",
  ]);
});

test("the attachments that GC keeps, by either key", () => {
  const list = [{ containerID: "a", ifname: "eth0" }];
  const expected = [{ containerId: "a", ifname: "eth0" }];
  expect(parseValidAttachments(new Fields({ "cni.dev/valid-attachments": list }))).toEqual(expected);
  expect(parseValidAttachments(new Fields({ "cni.dev/attachments": list }))).toEqual(expected);
  expect(parseValidAttachments(new Fields({ "cni.dev/valid-attachments": [] }))).toEqual([]);
  // libcni writes an empty list of Go so.
  expect(parseValidAttachments(new Fields({ "cni.dev/valid-attachments": null }))).toEqual([]);
  expect(() => parseValidAttachments(new Fields({}))).toThrow("cni.dev/valid-attachments: is missing");
});

test("plugin types are bare file names", () => {
  for (const good of ["bridge", "host-local", "my_plugin.v2", "_x", "c++"])
    expect(requirePluginType(good)).toBe(good);
  for (const bad of ["", ".", "..", "a/b", "/a", "a\0", "a\nb", "a b", "-a", 5, null, undefined, {}, "é"]) {
    expect(() => requirePluginType(bad)).toThrow(CniError);
  }
});

test("versions are compared as numbers", () => {
  expect(compareVersions("0.10.0", "0.9.0")).toBeGreaterThan(0);
  expect(compareVersions("1.0.0", "1.0.0")).toBe(0);
  expect(compareVersions("0.3.1", "0.4.0")).toBeLessThan(0);
  for (const bad of ["", "1", "1.0", "1.0.0.0", "v1.0.0", "1.0.0-rc1", "01.0.0", "1..0"])
    expect(isVersion(bad)).toBe(false);
});

test("an error result is recognised, and nothing else", () => {
  expect(parseErrorResult('{"code":11,"msg":"later","details":"d","cniVersion":"1.0.0"}')).toEqual({
    cniVersion: "1.0.0",
    code: 11,
    msg: "later",
    details: "d",
  });
  expect(parseErrorResult('{"code":-1,"msg":"x"}')).toEqual({ cniVersion: "", code: 0, msg: "x" });
  for (const other of ["", "{}", "[]", "null", '{"msg":5}', '{"code":1}', "panic: x"]) {
    expect(parseErrorResult(other)).toBeUndefined();
  }
});

test("what is nested too deeply is refused, whatever stands in its texts", () => {
  const nested = (depth: number, more = "") =>
    `{"x":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)},"y":"${more}"}`;
  const traps = '\\"[[{{'.repeat(9000);
  expect(parseJsonObject(nested(10_000, traps), "it").y).toBe('"[[{{'.repeat(9000));
  expect(() => parseJsonObject(nested(10_001, traps), "it")).toThrow("it: nested more than 10000 times");
  expect(() => parseJsonObject('{"x":'.repeat(100_000), "it")).toThrow("it: nested more than 10000 times");
});
