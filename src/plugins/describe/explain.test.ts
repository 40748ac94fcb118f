import { describe, expect, test } from "bun:test";
import type { JsonObject } from "../../cni/fields.ts";
import { parseNetworkList } from "../../cni/list.ts";
import { pluginNames } from "../names.ts";
import type { Finding } from "./description.ts";
import { type ExplainOptions, type Explanation, explainNetwork } from "./explain.ts";
import { descriptionOf } from "./table.ts";

const options: ExplainOptions = {
  others: [],
  find: () => undefined,
  isOwn: async (type) => descriptionOf(type) !== undefined,
  versions: async () => ({ supportedVersions: [] }),
};

function listOf(plugins: JsonObject[], more: JsonObject = {}) {
  return parseNetworkList(JSON.stringify({ cniVersion: "1.1.0", name: "net", plugins, ...more }));
}

async function explained(
  plugins: JsonObject[],
  more: JsonObject = {},
  with_: Partial<ExplainOptions> = {},
): Promise<Explanation> {
  return await explainNetwork(listOf(plugins, more), { ...options, ...with_ });
}

const line = ({ level, field, message }: Finding) => `${level}: ${field}: ${message}`;
const hostLocal = { type: "host-local", ranges: [[{ subnet: "10.1.0.0/16" }], [{ subnet: "fd00::/64" }]] };
const bridge = { type: "bridge", isDefaultGateway: true, ipam: hostLocal };

/** A configuration of each plugin with most of its keys, and words that its description has to have. */
const complete: [string, JsonObject, string[]][] = [
  [
    "bridge",
    {
      ...bridge,
      bridge: "br0",
      ipMasq: true,
      hairpinMode: true,
      mtu: 1400,
      vlan: 5,
      preserveDefaultVlan: false,
      portIsolation: true,
      enabledad: true,
      dns: { nameservers: ["10.1.0.53"] },
    },
    [
      `host's bridge "br0"`,
      "10.1.0.1/16 and fd00::1/64",
      `"br0.5"`,
      "default gateway",
      "masquerades",
      "VLAN 5",
      "MTU to 1400",
      "hairpin",
      "10.1.0.53",
    ],
  ],
  [
    "bridge",
    { vlanTrunk: [{ id: 7 }, { minID: 10, maxID: 12 }] },
    ["VLANs 7 and 10-12", "in VLAN 1", "layer 2"],
  ],
  ["bridge", { vlan: 5, preserveDefaultVlan: true }, ["VLAN 5", "default VLAN as well"]],
  ["bridge", { vlan: 5 }, ["VLAN 5", "out of the bridge's default VLAN"]],
  ["ptp", { ipam: hostLocal, ipMasq: true, ipMasqBackend: "iptables" }, ["host alone", "by iptables"]],
  ["macvlan", { master: "eth0", mode: "private", mac: "02:00:00:00:00:01" }, [`"eth0"`, "private", "02:"]],
  ["ipvlan", { mode: "l3", ipam: hostLocal }, ["default route", "mode l3"]],
  ["vlan", { master: "eth0", vlanId: 9, ipam: hostLocal }, ["VLAN 9", `"eth0"`]],
  ["host-device", { hwaddr: "02:00:00:00:00:01" }, ["hardware address 02:00:00:00:00:01", "back"]],
  ["host-device", { capabilities: { deviceID: true } }, ["that the runtime names"]],
  ["tap", { owner: 5, group: 6, multiQueue: true, bridge: "br1" }, ["user 5 and group 6", "queues", `"br1"`]],
  ["dummy", { ipam: hostLocal }, ["leads nowhere"]],
  ["loopback", {}, ["lo"]],
  [
    "tuning",
    { sysctl: { "net.core.somaxconn": "500" }, mtu: 1400, promisc: true, allmulti: false },
    ["net.core.somaxconn=500", "MTU 1400, promiscuous and not all multicast"],
  ],
  [
    "portmap",
    { capabilities: { portMappings: true }, masqAll: true, conditionsV4: ["-s", "10.0.0.0/8"] },
    ["portMappings", "all connections", "-s 10.0.0.0/8"],
  ],
  [
    "portmap",
    { capabilities: { portMappings: true }, conditionsV4: ["-m", "state", "--state", "NEW"] },
    ["(by iptables)"],
  ],
  [
    "portmap",
    { capabilities: { portMappings: true }, conditionsV4: ["!", "-d", "192.0.2.0/24"] },
    ["(nftables table inet weft-cni)"],
  ],
  [
    "bandwidth",
    { ingressRate: 10_000_000, ingressBurst: 1500, shapedSubnets: ["10.0.0.0/8"] },
    ["receives to 10 Mbit/s, 1.5 kbit of it at once", "only to and from 10.0.0.0/8"],
  ],
  ["bandwidth", { capabilities: { bandwidth: true } }, ["as the runtime says"]],
  ["firewall", { ingressPolicy: "same-bridge" }, ["other bridges", "allows"]],
  ["sbr", { table: 100, addSourceHints: true }, ["routing table 100", "source address"]],
  ["vrf", { vrfname: "blue", table: 7 }, [`VRF "blue"`, "routing table 7"]],
];

test.each(complete)("%s is described: %j", async (type, config, words) => {
  const isChained = descriptionOf(type)?.role === "chained";
  const { plugins, findings } = await explained([...(isChained ? [bridge] : []), { type, ...config }]);
  const text = plugins.at(-1)?.does?.join("\n") ?? "";
  for (const word of words) expect(text).toContain(word);
  expect(text).not.toMatch(/undefined|NaN|\[object/);
  expect(findings.map(line)).toEqual([]);
});

const ipams: [JsonObject, string[]][] = [
  [
    {
      ...hostLocal,
      routes: [{ dst: "0.0.0.0/0" }, { dst: "10.0.0.0/8", gw: "10.1.0.9" }],
      dataDir: "/run/x",
    },
    ["10.1.0.0/16", "fd00::/64", "0.0.0.0/0 and 10.0.0.0/8 via 10.1.0.9", "/run/x/net"],
  ],
  [{ type: "host-local", subnet: "10.1.0.0/16", rangeStart: "10.1.0.10" }, ["10.1.0.0/16 from 10.1.0.10"]],
  [{ type: "static", addresses: [{ address: "10.1.0.5/16" }] }, ["10.1.0.5/16"]],
  [{ type: "dhcp", provide: [{ option: "host-name", value: "x" }] }, ["daemon", "host-name"]],
];
test.each(ipams)("the plugin's IPAM is described: %j", async (ipam, words) => {
  const { plugins, findings } = await explained([{ type: "bridge", ipam }]);
  const text = plugins[0]?.ipam?.does?.join("\n") ?? "";
  for (const word of words) expect(text).toContain(word);
  expect(findings.map(line)).toEqual([]);
});

test("a gateway that several ranges have is named once; a list that is none gives no address", async () => {
  const range = { subnet: "10.1.0.0/16" };
  const ranges = [[range, { ...range, rangeStart: "10.1.9.0" }]];
  const once = await explained([{ ...bridge, ipam: { ...hostLocal, ranges } }]);
  expect(once.plugins[0]?.does).toContain('puts 10.1.0.1/16 on "cni0" and turns forwarding on');
  const bare = await explained([{ ...bridge, ipam: { ...hostLocal, ranges: [range] } }]);
  expect(bare.plugins[0]?.ipam?.does?.join("\n")).not.toContain("gives one free address");
  expect(bare.findings).toMatchObject([
    { field: "plugins[0].ipam.ranges[0]", remedy: expect.stringContaining("[[{ ... }]]") },
  ]);
});

test("a VRF without a name is described as none", async () => {
  const { plugins, findings } = await explained([bridge, { type: "vrf" }]);
  expect(plugins[1]?.does).toEqual([]);
  expect(findings.map(line)).toEqual(["error: plugins[1].vrfname: is missing"]);
});

test("every plugin has a description, and says what it does with nothing configured", () => {
  const reference = ["bridge", "ptp", "macvlan", "ipvlan", "vlan", "host-device", "tap", "dummy", "loopback"];
  const others = ["host-local", "static", "dhcp", "tuning", "portmap", "bandwidth", "firewall", "sbr", "vrf"];
  for (const name of [...reference, ...others, ...pluginNames])
    expect(descriptionOf(name), name).toBeDefined();
});

test("a plugin of somebody else is not known, and is asked which versions it speaks", async () => {
  const foreign = {
    find: (type: string) => `/opt/cni/bin/${type}`,
    isOwn: async () => false,
    versions: async () => ({ supportedVersions: ["0.3.1", "0.4.0"] }),
  };
  const { plugins, findings } = await explained(
    [{ type: "flannel", x: 1, capabilities: { y: true } }],
    {},
    foreign,
  );
  expect(plugins).toEqual([{ type: "flannel", does: undefined, executable: "/opt/cni/bin/flannel" }]);
  expect(findings).toEqual([
    {
      level: "error",
      field: "cniVersion",
      message: "/opt/cni/bin/flannel does not speak 1.1.0",
      remedy: "It speaks 0.3.1, 0.4.0",
    },
  ]);
  const [masquerading] = (await explained([{ ...bridge, ipMasq: true }], { cniVersion: "0.4.0" }, foreign))
    .plugins;
  expect(masquerading?.does?.join()).not.toContain("weft");
});

/** What is wrong, and what is said of it; what is left out is the level's order. */
const mistakes: [string, JsonObject[], JsonObject, string[]][] = [
  [
    "several wrong values are all named",
    [{ ...bridge, mtu: 5, vlan: "x", hairpinMode: 1 }],
    {},
    [
      "error: plugins[0].mtu: 5 is not a whole number from 68 to 65535",
      "error: plugins[0].hairpinMode: 1 is neither true nor false",
      'error: plugins[0].vlan: "x" is not a whole number from 0 to 4094',
    ],
  ],
  [
    "contradictions",
    [{ ...bridge, hairpinMode: true, promiscMode: true }],
    {},
    ["error: plugins[0]: cannot set hairpin mode and promiscuous mode at the same time"],
  ],
  [
    "a range that cannot be",
    [{ type: "bridge", ipam: { type: "host-local", ranges: [[{ subnet: "10.1.0.5/16" }]] } }],
    {},
    ['error: plugins[0].ipam.ranges[0][0].subnet: "10.1.0.5/16" has host bits set'],
  ],
  [
    "unknown keys, at every depth",
    [
      {
        ...bridge,
        isGatway: true,
        dns: { nameserver: [] },
        ipam: { ...hostLocal, rangs: [], ranges: [[{ subnet: "10.1.0.0/16", rangeStrat: "10.1.0.9" }]] },
      },
    ],
    { disableGc: true, plugin: 1 },
    [
      'warning: plugin: unknown key (did you mean "plugins"?); it is ignored',
      'warning: plugins[0].isGatway: unknown key (did you mean "isGateway"?); it is ignored',
      'warning: plugins[0].ipam.rangs: unknown key (did you mean "ranges"?); it is ignored',
      'warning: plugins[0].ipam.ranges[0][0].rangeStrat: unknown key (did you mean "rangeStart"?); it is ignored',
      'warning: plugins[0].dns.nameserver: unknown key (did you mean "nameservers"?); it is ignored',
    ],
  ],
  [
    "what is not there",
    [{ type: "brigde" }],
    {},
    [
      'error: plugins[0].type: there is no plugin "brigde" in CNI_PATH, and Weft has none (did you mean "bridge"?)',
    ],
  ],
  [
    "capabilities that nobody knows, and one that is missing",
    [
      { ...bridge, capabilities: { mac: true, portMapings: true } },
      { type: "portmap" },
      { type: "bandwidth" },
    ],
    {},
    [
      'warning: plugins[0].capabilities.portMapings: neither bridge nor host-local knows it (did you mean "portMappings"?)',
      "warning: plugins[1].capabilities: portMappings is not declared: the runtime passes no port mappings, so that it does nothing",
      "warning: plugins[2].capabilities: bandwidth is not declared: and no rate is given, so that it limits nothing",
    ],
  ],
  [
    "ranges only by the runtime",
    [{ type: "bridge", capabilities: { ipRanges: true }, ipam: { type: "host-local" } }],
    {},
    [],
  ],
  [
    "a device that nothing names",
    [{ type: "host-device", device: "", ipam: { type: "dhcp", daemonSocketPath: "dhcp.sock" } }],
    {},
    [
      "error: plugins[0]: nothing says which device it is",
      'error: plugins[0].ipam.daemonSocketPath: "dhcp.sock" is not an absolute path',
    ],
  ],
  [
    "no ranges at all",
    [{ type: "bridge", ipam: { type: "host-local" } }],
    {},
    ["error: plugins[0]: no IP ranges specified"],
  ],
  [
    "what a version cannot do",
    [bridge],
    { cniVersion: "0.3.1" },
    [
      "warning: cniVersion: 0.3.1 has no CHECK, and DEL gets no prevResult",
      "note: cniVersion: with 0.3.1 no plugin is asked for GC or STATUS",
    ],
  ],
  [
    "a chained plugin first",
    [{ type: "tuning", mtu: 1400 }, bridge],
    {},
    ["error: plugins[0]: tuning works on the interface of a plugin before it, and there is none"],
  ],
  [
    "a limit where there is no veth pair, a policy where there is no bridge",
    [
      { type: "macvlan", ipam: hostLocal },
      { type: "bandwidth", ingressRate: 1e6, ingressBurst: 1e6 },
      { type: "firewall", ingressPolicy: "isolated" },
    ],
    {},
    [
      "error: plugins[1]: bandwidth works on the host's end of a veth pair, and macvlan makes none",
      "error: plugins[2].ingressPolicy: isolated is about the containers of a bridge, and macvlan has none",
    ],
  ],
  [
    "what needs addresses where there are none",
    [{ type: "bridge" }, { type: "portmap", capabilities: { portMappings: true } }, { type: "sbr" }],
    {},
    [
      "error: plugins[2]: sbr has nothing to do without addresses, and bridge gives none",
      "warning: plugins[1]: portmap has nothing to do without addresses, and bridge gives none",
    ],
  ],
  [
    "a DHCP option that is none",
    [{ type: "bridge", ipam: { type: "dhcp", provde: [] } }],
    {},
    ['warning: plugins[0].ipam.provde: unknown key (did you mean "provide"?); it is ignored'],
  ],
  [
    "keys that are none within lists of DHCP",
    [
      {
        type: "bridge",
        ipam: {
          type: "dhcp",
          provide: [{ option: "host-name", values: "x" }],
          request: [{ skipDefaults: true }],
        },
      },
    ],
    {},
    [
      'warning: plugins[0].ipam.provide[0].values: unknown key (did you mean "value"?); it is ignored',
      'warning: plugins[0].ipam.request[0].skipDefaults: unknown key (did you mean "skipDefault"?); it is ignored',
    ],
  ],
  [
    "keys that are none within routes and dns of IPAM",
    [
      {
        type: "bridge",
        ipam: {
          type: "static",
          addresses: [{ address: "10.1.0.2/16" }],
          routes: [{ dst: "10.9.0.0/16", metric: 5 }],
          dns: { nameserver: ["10.1.0.1"] },
        },
      },
      { type: "bandwidth", ingressRate: 1000, ingressBurst: 1000 },
    ],
    {},
    [
      "warning: plugins[0].ipam.routes[0].metric: unknown key; it is ignored",
      'warning: plugins[0].ipam.dns.nameserver: unknown key (did you mean "nameservers"?); it is ignored',
    ],
  ],
  [
    "two interfaces of one name",
    [bridge, { type: "macvlan", master: "eth0" }],
    {},
    [
      "error: plugins[1]: macvlan makes an interface of the same name as plugins[0] (bridge) before it: ADD fails",
    ],
  ],
  [
    "an IPAM plugin by itself",
    [hostLocal],
    {},
    [
      "error: plugins[0]: IPAM config missing 'ipam' key",
      "warning: plugins[0]: host-local gives addresses to a plugin that makes an interface; by itself it makes none",
    ],
  ],
  [
    "addresses for whom has no use for them",
    [bridge, { type: "sbr", ipam: { type: "static", addresses: [{ address: "10.1.0.5/16" }] } }],
    {},
    [
      "warning: plugins[1].ipam: sbr makes no interface and gives no addresses",
      "warning: plugins[1].ipam.addresses[0]: gives out addresses that plugins[0].ipam.ranges[0][0] gives out too",
    ],
  ],
  [
    "layer 3 without addresses",
    [{ type: "bridge", isGateway: true, ipMasq: true }],
    {},
    [
      "warning: plugins[0].isGateway: has no effect without addresses",
      "warning: plugins[0].ipMasq: has no effect without addresses",
    ],
  ],
  [
    "a gateway that is not there",
    [
      {
        type: "macvlan",
        ipam: { type: "static", addresses: [{ address: "10.1.0.5/24", gateway: "10.9.0.1" }] },
      },
    ],
    {},
    [
      "warning: plugins[0].ipam.addresses[0].gateway: 10.9.0.1 is outside of 10.1.0.0/24: containers have no route to it",
    ],
  ],
  [
    "a gateway outside of its range's subnet",
    [
      {
        type: "bridge",
        ipam: { type: "host-local", ranges: [[{ subnet: "10.1.0.0/24", gateway: "10.9.0.1" }]] },
      },
    ],
    {},
    ["warning: plugins[0].ipam: gateway 10.9.0.1 is outside of 10.1.0.0/24"],
  ],
  [
    "what is the runtime's to write",
    [{ ...bridge, runtimeConfig: { mac: "02:00:00:00:00:01" }, name: "other" }],
    {},
    [
      "warning: plugins[0].runtimeConfig: is not for a configuration",
      'warning: plugins[0].name: the plugin gets the list\'s, "net", in place of "other"',
    ],
  ],
];
test.each(mistakes)("%s", async (_, plugins, more, expected) => {
  const { findings } = await explained(plugins, more);
  expect(findings.map(line)).toEqual(expected);
});

describe("other networks of the folder", () => {
  const other = (name: string, subnet: string, file: string) =>
    ({ ...listOf([{ ...bridge, ipam: { type: "host-local", subnet } }], { name }), file }) as const;

  test("that give out the same addresses", async () => {
    const others = [other("a", "10.2.0.0/16", "/a"), other("b", "10.0.0.0/8", "/b")];
    const { findings } = await explained([bridge], {}, { others });
    expect(findings.map(line)).toEqual([
      'warning: plugins[0].ipam.ranges[0][0]: network "b" (/b) gives out addresses of 10.0.0.0/8 too, and neither knows the other\'s leases',
    ]);
  });

  test("that have the same name", async () => {
    const others = [other("net", "10.1.0.0/16", "/a")];
    const { findings } = await explained([bridge], {}, { others });
    expect(findings.map(line)).toEqual([
      'warning: name: "net" is the network of /a too: of two, runtimes take the first',
    ]);
  });
});
