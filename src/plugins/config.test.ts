/** How the plugins read their configurations: what they make of it, and what they refuse. */
import { expect, test } from "bun:test";
import { parseInvocation } from "../cni/env.ts";
import { toErrorResult } from "../cni/errors.ts";
import type { JsonObject } from "../cni/fields.ts";
import { parseNetworkConfig } from "../cni/netconf.ts";
import type { PluginRequest } from "../cni/plugin.ts";
import { formatResult, parseResult } from "../cni/result.ts";
import { Ip } from "../lib/ip.ts";
import { parseBridgeConfig } from "./bridge/config.ts";
import { gatewaysOf } from "./bridge/gateway.ts";
import { parseHostLocal, parseResolvConf } from "./ipam/host-local.ts";
import { containerAddresses, type PortMapping, parsePortmapConfig } from "./portmap/config.ts";
import { elementsFor, groupOf, keysFor } from "./portmap/elements.ts";
import { commentOf, isOfNetwork } from "./shared/attachment.ts";

function request(raw: JsonObject, args = ""): PluginRequest {
  const invocation = parseInvocation({
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: "blue",
    CNI_NETNS: "/run/netns/blue",
    CNI_IFNAME: "eth0",
    CNI_PATH: "/opt/cni/bin",
    CNI_ARGS: args,
  });
  const config = parseNetworkConfig({ cniVersion: "1.0.0", name: "net", type: "x", ...raw });
  return { invocation, config, warn: () => {}, builtin: async () => undefined, env: {} };
}

function messageOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    const { code, msg, details } = toErrorResult(error, "1.0.0");
    return `${code} ${msg}${details === undefined ? "" : `. ${details}`}`;
  }
  return "accepted";
}

const bridgeMistakes: [string, JsonObject, string][] = [
  ["a bridge's name that no link has", { bridge: "a/b" }, '7 bridge: "a/b" is not an interface name'],
  [
    "a name that is too long with its VLAN",
    { bridge: "a-long-bridge", vlan: 100, isGateway: true },
    "7 bridge and vlan",
  ],
  ["a flag as text", { isGateway: "true" }, '7 isGateway: "true" is neither true nor false'],
  ["an MTU as text", { mtu: "1500" }, '7 mtu: "1500" is not a whole number'],
  ["an MTU below zero", { mtu: -1 }, "7 mtu: -1 is not a whole number from 68 to 65535"],
  ["an MTU that no link takes", { mtu: 60 }, "7 mtu: 60 is not a whole number from 68 to 65535"],
  ["a VLAN out of range", { vlan: 5000 }, "7 vlan: 5000"],
  ["half a trunk range", { vlanTrunk: [{ minID: 5 }] }, "7 vlanTrunk[0].maxID: is missing"],
  [
    "a trunk range backwards",
    { vlanTrunk: [{ minID: 9, maxID: 5 }] },
    "7 vlanTrunk[0].maxID: 5 is less than minID 9",
  ],
  ["a trunk that is no list", { vlanTrunk: { id: 5 } }, "7 vlanTrunk: "],
  [
    "hairpin and promiscuous",
    { hairpinMode: true, promiscMode: true },
    "7 cannot set hairpin mode and promiscuous mode",
  ],
  [
    "a hardware address",
    { runtimeConfig: { mac: "02:00" } },
    '7 runtimeConfig.mac: "02:00" is not a MAC address',
  ],
  [
    "a hardware address of a group",
    { args: { cni: { mac: "01:00:5e:00:00:01" } } },
    '7 args.cni.mac: "01:00:5e:00:00:01" is not a unicast address',
  ],
  [
    "a hardware address of nobody",
    { runtimeConfig: { mac: "00:00:00:00:00:00" } },
    '7 runtimeConfig.mac: "00:00:00:00:00:00" is not a unicast address',
  ],
  ["a backend", { ipMasqBackend: "ipchains" }, '2 unknown ipmasq backend "ipchains"'],
];
test.each(bridgeMistakes)("bridge refuses %s", (_, raw, message) => {
  expect(messageOf(() => parseBridgeConfig(request(raw)))).toStartWith(message);
});

test("bridge's defaults, and what follows from other keys", () => {
  expect(parseBridgeConfig(request({}))).toEqual({
    bridge: "cni0",
    isGateway: false,
    isDefaultGateway: false,
    forceAddress: false,
    ipMasq: false,
    ipMasqBackend: "nftables",
    hairpinMode: false,
    promiscMode: false,
    vlan: 0,
    vlanTrunk: [],
    nativeVlan: 0,
    preserveDefaultVlan: false,
    enableDad: false,
    disableContainerInterface: false,
    macSpoofCheck: false,
    portIsolation: false,
  });
  expect(parseBridgeConfig(request({ isDefaultGateway: true, bridge: "", mtu: 0 }))).toMatchObject({
    bridge: "cni0",
    isGateway: true,
  });
  expect(
    parseBridgeConfig(request({ vlanTrunk: [{ minID: 8, maxID: 10 }, { id: 5 }, { id: 9 }] })).vlanTrunk,
  ).toEqual([5, 8, 9, 10]);
});

const gatewayCases: [string, JsonObject, JsonObject, string[]][] = [
  ["no gateway is wanted", { ips: [{ address: "10.1.0.5/16" }] }, { ips: [{ address: "10.1.0.5/16" }] }, []],
  [
    "isGateway completes the gateway",
    { isGateway: true, ips: [{ address: "10.1.2.5/16" }, { address: "fd00::5/64" }] },
    {
      ips: [
        { address: "10.1.2.5/16", gateway: "10.1.0.1" },
        { address: "fd00::5/64", gateway: "fd00::1" },
      ],
    },
    ["10.1.0.1/16", "fd00::1/64"],
  ],
  [
    "isDefaultGateway adds a default route for each family",
    {
      isDefaultGateway: true,
      ips: [{ address: "10.1.0.5/16", gateway: "10.1.0.9" }, { address: "fd00::5/64" }],
    },
    {
      ips: [
        { address: "10.1.0.5/16", gateway: "10.1.0.9" },
        { address: "fd00::5/64", gateway: "fd00::1" },
      ],
      routes: [
        { dst: "0.0.0.0/0", gw: "10.1.0.9" },
        { dst: "::/0", gw: "fd00::1" },
      ],
    },
    ["10.1.0.9/16", "fd00::1/64"],
  ],
  [
    "a default route with a next hop is left as it is, one without is no default route yet",
    {
      isDefaultGateway: true,
      ips: [{ address: "10.1.0.5/16" }, { address: "10.1.0.6/16" }],
      routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.7" }, { dst: "::/0" }],
    },
    {
      ips: [
        { address: "10.1.0.5/16", gateway: "10.1.0.1" },
        { address: "10.1.0.6/16", gateway: "10.1.0.1" },
      ],
      routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.7" }, { dst: "::/0" }],
    },
    ["10.1.0.1/16", "10.1.0.1/16"],
  ],
];
test.each(gatewayCases)("gateways: %s", (_, { isGateway, isDefaultGateway, ...raw }, expected, gateways) => {
  const result = parseResult(raw, "1.0.0");
  const config = parseBridgeConfig(request({ isGateway, isDefaultGateway }));
  expect(gatewaysOf(result, config).map(String)).toEqual(gateways);
  expect(formatResult(result, "1.0.0")).toEqual({ cniVersion: "1.0.0", ...expected, dns: {} });
});

const ranges = [[{ subnet: "10.1.0.0/16" }], [{ subnet: "fd00::/64" }]];
const ipamMistakes: [string, JsonObject, string][] = [
  ["no ipam", {}, "7 IPAM config missing 'ipam' key"],
  ["no ranges", { ipam: { type: "host-local" } }, "7 no IP ranges specified"],
  ["a range without subnet", { ipam: { ranges: [[{}]] } }, "7 ipam.ranges[0][0].subnet: is missing"],
  [
    "a misspelt subnet",
    { ipam: { ranges: [[{ subnt: "10.1.0.0/16" }]] } },
    '7 ipam.ranges[0][0].subnet: is missing. Write "subnet" in place of "subnt"',
  ],
  ["ranges of null", { ipam: { ranges: null } }, "7 no IP ranges specified. Give ipam.ranges"],
  [
    "misspelt ranges",
    { ipam: { rnages: ranges } },
    '7 no IP ranges specified. Write "ranges" in place of "rnages"',
  ],
  ["ranges that are no lists", { ipam: { ranges: [{ subnet: "10.0.0.0/8" }] } }, "7 ipam.ranges[0]: "],
  ["a subnet with host bits", { ipam: { subnet: "10.1.2.3/16" } }, "7 ipam.subnet: "],
  ["ranges that overlap", { ipam: { subnet: "10.1.0.0/16", ranges } }, "7 ipam.ranges[0][0]: "],
  [
    "a mixed set",
    { ipam: { ranges: [[...(ranges[0] ?? []), ...(ranges[1] ?? [])]] } },
    "7 ipam.ranges[0][1]: ",
  ],
  [
    "a gateway of another family",
    { ipam: { ranges: [[{ subnet: "10.1.0.0/16", gateway: "fd00::1" }]] } },
    "7 ipam.ranges[0][0].gateway",
  ],
  [
    "a requested address that is none",
    { ipam: { ranges }, runtimeConfig: { ips: ["10.1"] } },
    "7 runtimeConfig.ips: ",
  ],
  [
    "two IPv4 sets in an old version",
    { cniVersion: "0.2.0", ipam: { ranges: [...ranges, [{ subnet: "10.2.0.0/16" }]] } },
    "7 CNI version 0.2.0 does not support more than 1 address per family",
  ],
];
test.each(ipamMistakes)("host-local refuses %s", (_, raw, message) => {
  expect(messageOf(() => parseHostLocal(request(raw)))).toStartWith(message);
});

test("host-local: the runtime's ranges come first, then the old single one, then the list", () => {
  const config = parseHostLocal(
    request(
      {
        ipam: {
          dataDir: "/d",
          subnet: "10.9.0.0/24",
          rangeStart: "10.9.0.5",
          ranges,
          routes: [{ dst: "0.0.0.0/0" }],
        },
        runtimeConfig: { ipRanges: [[{ subnet: "10.8.0.0/24" }]], ips: ["10.1.0.7/16", "10.1.0.7"] },
        args: { cni: { ips: ["fd00::7"] } },
      },
      "IP=10.9.0.9",
    ),
  );
  expect(config.rangeSets.map((set) => set.map(({ subnet, start }) => `${subnet} ${start}`))).toEqual([
    ["10.8.0.0/24 10.8.0.1"],
    ["10.9.0.0/24 10.9.0.5"],
    ["10.1.0.0/16 10.1.0.1"],
    ["fd00::/64 fd00::1"],
  ]);
  expect(config.requested.map(String)).toEqual(["10.9.0.9", "fd00::7", "10.1.0.7"]);
  expect(config).toMatchObject({ network: "net", dataDir: "/d" });
});

test("resolv.conf", () => {
  const text = `# comment
; another
nameserver 10.0.0.10
nameserver fd00::a  # rest of line
domain example.org
search a.b  c.d
search e.f
options ndots:5 timeout:1
nameserver
sortlist 1.2.3.4
`;
  expect(parseResolvConf(text)).toEqual({
    nameservers: ["10.0.0.10", "fd00::a"],
    domain: "example.org",
    search: ["a.b", "c.d", "e.f"],
    options: ["ndots:5", "timeout:1"],
  });
  expect(parseResolvConf("")).toEqual({});
});

test("the comment of an element names the attachment, and fits into what nft shows", () => {
  const attachment = { network: "net", containerId: "abc", ifname: "eth0" };
  expect(commentOf(attachment)).toBe("net/abc/eth0");
  expect(isOfNetwork(commentOf(attachment), "net")).toBe(true);
  expect(isOfNetwork(commentOf(attachment), "ne")).toBe(false);
  const long = { network: "n".repeat(100), containerId: "c".repeat(100), ifname: "e".repeat(15) };
  expect(commentOf(long).length).toBeLessThan(128);
  expect(isOfNetwork(commentOf(long), long.network)).toBe(true);
  expect(commentOf({ ...long, containerId: "c".repeat(101) })).not.toBe(commentOf(long));
});

const prevResult = {
  interfaces: [{ name: "br0" }, { name: "eth0", sandbox: "/run/netns/blue" }, { name: "eth0" }],
  ips: [
    { interface: 0, address: "10.9.0.1/24" },
    { interface: 2, address: "10.9.0.2/24" },
    { interface: 1, address: "10.1.0.5/16" },
    { interface: 1, address: "10.1.0.6/16" },
    { address: "fd00::5/64" },
  ],
};

test("portmap takes the first address of each family that is the container's", () => {
  const { config } = request({ prevResult });
  const mapping = { protocol: 6, hostPort: 80, containerPort: 80 };
  const addresses = (mappings: PortMapping[]) => containerAddresses(config, "eth0", mappings).map(String);
  expect(addresses([mapping])).toEqual(["10.1.0.5/16", "fd00::5/64"]);
  expect(addresses([{ ...mapping, hostIp: Ip.parse("::") }])).toEqual(["fd00::5/64"]);
  expect(addresses([])).toEqual([]);
  expect(containerAddresses(request({}).config, "eth0", [mapping])).toEqual([]);
});

test("portmap: keys and data of the elements", () => {
  const mapping = { hostPort: 8080, containerPort: 80, protocol: "udp" };
  const raw = {
    prevResult,
    runtimeConfig: {
      portMappings: [
        { ...mapping, hostIP: "192.0.2.1" },
        { ...mapping, hostPort: 258 },
      ],
    },
  };
  const { config } = request(raw);
  const portmap = parsePortmapConfig(request(raw));
  const elements = elementsFor(portmap, containerAddresses(config, "eth0", portmap.mappings), "c");
  const shown = elements.map(({ set, key, data }) =>
    [set, key.toHex(), typeof data === "string" ? data : data.toHex()].join(" "),
  );
  expect(shown).toEqual([
    "portmap-ip4 c0000201110000001f900000 0a01000500500000",
    "portmap-snat-ip4 c0000201110000001f900000 portmap-snat-10.1.0.0/16-13",
    "portmap4 1100000001020000 0a01000500500000",
    "portmap-snat4 1100000001020000 portmap-snat-10.1.0.0/16-13",
    "portmap6 1100000001020000 fd00000000000000000000000000000500500000",
    "portmap-snat6 1100000001020000 portmap-snat-fd00__/64-13",
  ]);
  // DEL, which may not know the addresses, looks for at least these.
  const keys = keysFor(portmap).map(({ set, key }) => `${set} ${key.toHex()}`);
  expect(keys).toEqual(expect.arrayContaining(elements.map(({ set, key }) => `${set} ${key.toHex()}`)));
});

test("portmap: networks with conditions have maps of their own", () => {
  const conditioned = parsePortmapConfig(request({ conditionsV4: ["!", "-d", "192.0.2.0/24"] }));
  expect(groupOf(parsePortmapConfig(request({}))).suffix).toBe("");
  expect(groupOf(conditioned).suffix).toMatch(/^-[0-9a-f]{8}$/);
});
