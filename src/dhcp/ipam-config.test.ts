import { describe, expect, test } from "bun:test";
import { isJsonObject, type JsonObject } from "../cni/fields.ts";
import { InvalidInput } from "../lib/errors.ts";
import { mutate, scramble } from "../lib/mutate.ts";
import { seededRandom } from "../lib/random.ts";
import { parseDhcpConfig } from "./ipam-config.ts";

const text = (bytes: Uint8Array | undefined) => new TextDecoder().decode(bytes);

describe("ipam of dhcp", () => {
  test("asks by default for mask, routes and DNS, 121 before 3 (RFC 3442)", () => {
    const { requested, provided, priority, suppressGateway } = parseDhcpConfig({ type: "dhcp" }, "");
    expect(requested).toEqual([1, 121, 3, 33, 6, 15, 119, 58, 59]);
    expect([provided.size, priority, suppressGateway]).toEqual([0, 0, false]);
  });

  test("asks for what is requested, and for it alone where the default is skipped", () => {
    const request = [{ option: "routers" }, { option: "42" }];
    expect(parseDhcpConfig({ request }, "").requested.slice(0, 3)).toEqual([3, 42, 1]);
    expect(parseDhcpConfig({ request: [...request, { skipDefault: true }] }, "").requested).toEqual([3, 42]);
  });

  test("provides values, and those of CNI_ARGS over them", () => {
    const provide = [
      { option: "host-name", value: "plain", fromArg: "K8S_POD_NAME" },
      { option: "vendor-class-identifier", value: "weft" },
      { option: "77", fromArg: "ABSENT" },
    ];
    const { provided } = parseDhcpConfig({ provide }, "IgnoreUnknown=1;K8S_POD_NAME=blue=1");
    expect([...provided.keys()]).toEqual([12, 60]);
    expect(text(provided.get(12))).toBe("blue=1");
    expect(text(parseDhcpConfig({ provide }, "").provided.get(12))).toBe("plain");
  });

  const bad: [string, object][] = [
    ["ipam.provide[0].option", { provide: [{ option: "hostname", value: "a" }] }],
    ["ipam.provide[0].option", { provide: [{ option: "53", value: "a" }] }],
    ["ipam.provide[0].option", { provide: [{ value: "a" }] }],
    ["ipam.provide[0].value", { provide: [{ option: "12", value: "a".repeat(256) }] }],
    ["ipam.request[0].option", { request: [{ option: "256" }] }],
    ["ipam.request[0].option", { request: [{ option: "0" }] }],
    ["ipam.suppress", { suppress: ["routes"] }],
    ["ipam.priority", { priority: -1 }],
  ];
  test.each(bad)("refuses %s of %p", (field, ipam) => {
    try {
      parseDhcpConfig({ ...ipam }, "");
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(InvalidInput);
      expect((error as InvalidInput).field).toBe(field);
    }
  });
});

test("what nobody should write is read or refused with an error of ours", () => {
  const random = seededRandom(21);
  const good: JsonObject = {
    type: "dhcp",
    provide: [
      { option: "host-name", fromArg: "K8S_POD_NAME" },
      { option: "60", value: "x" },
    ],
    request: [{ skipDefault: true }, { option: "routers" }],
    suppress: ["gateway"],
    priority: 5,
  };
  let accepted = 0;
  for (let i = 0; i < 800; i++) {
    let value: unknown = good;
    for (let n = 0; n <= random() * 2; n++) value = mutate(value, random);
    const args = random() < 0.5 ? "K8S_POD_NAME=a;X=b" : scramble("K8S_POD_NAME=a;X=b", random);
    try {
      parseDhcpConfig(isJsonObject(value) ? value : {}, args);
      accepted++;
    } catch (error) {
      if (!(error instanceof InvalidInput)) throw error;
    }
  }
  expect(accepted).toBeGreaterThan(40);
});
