/**
 * Configurations, capability arguments, CNI_ARGS and results as nobody should send them, for every plugin: each is read or
 * refused with an error of ours, and soon.
 */
import { expect, test } from "bun:test";
import { parseInvocation } from "../cni/env.ts";
import { CniError, toErrorResult } from "../cni/errors.ts";
import { Fields, type JsonObject } from "../cni/fields.ts";
import { parseJsonObject, parseNetworkConfig, parseValidAttachments, unknownKeys } from "../cni/netconf.ts";
import type { PluginRequest } from "../cni/plugin.ts";
import { formatResult, parseResult, type Result } from "../cni/result.ts";
import { InvalidInput } from "../lib/errors.ts";
import { mutate, scramble } from "../lib/mutate.ts";
import { seededRandom } from "../lib/random.ts";
import { gatewaysOf } from "./bridge/gateway.ts";
import { bridgeOf, parseFirewallConfig } from "./firewall/config.ts";
import { parseResolvConf } from "./ipam/host-local.ts";
import { loadPlugin } from "./load.ts";
import { type PluginName, pluginNames } from "./names.ts";
import { containerAddresses, parsePortmapConfig } from "./portmap/config.ts";
import { elementsFor } from "./portmap/elements.ts";
import { attachmentOf, commentOf } from "./shared/attachment.ts";
import { formatBackup, parseBackup } from "./tuning/backup.ts";

const rounds = 400;

const ipam = {
  type: "host-local",
  ranges: [
    [{ subnet: "10.1.0.0/16", rangeStart: "10.1.2.0", rangeEnd: "10.1.3.0", gateway: "10.1.0.1" }],
    [{ subnet: "fd00::/64" }],
  ],
  routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1", mtu: 1400, table: 5 }],
  dataDir: "/tmp/x",
};
const prevResult = {
  cniVersion: "1.1.0",
  interfaces: [
    { name: "br0", mac: "02:00:00:00:00:01" },
    { name: "veth0" },
    { name: "eth0", sandbox: "/run/netns/blue" },
  ],
  ips: [
    { interface: 2, address: "10.1.0.5/16", gateway: "10.1.0.1" },
    { interface: 2, address: "fd00::5/64" },
  ],
  routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0", gw: "fd00::1" }],
};

/** A configuration of each plugin that is good, with as many keys as it may have. */
const corpus: Readonly<Record<PluginName, readonly JsonObject[]>> = {
  bandwidth: [
    {
      ingressRate: 1000,
      ingressBurst: 1000,
      egressRate: 1000,
      egressBurst: 1000,
      unshapedSubnets: ["10.0.0.0/8"],
    },
    { runtimeConfig: { bandwidth: { ingressRate: 5e6, ingressBurst: 8e6, shapedSubnets: ["fd00::/8"] } } },
  ],
  bridge: [
    {
      bridge: "br0",
      isDefaultGateway: true,
      ipMasq: true,
      ipMasqBackend: "nftables",
      mtu: 1400,
      vlan: 5,
      promiscMode: true,
      macspoofchk: true,
      ipam,
    },
    {
      vlanTrunk: [{ minID: 5, maxID: 9 }, { id: 20 }],
      runtimeConfig: { mac: "02:00:00:00:00:01" },
      args: { cni: { mac: "02:00:00:00:00:02" } },
    },
  ],
  dhcp: [
    { ipam: { type: "dhcp", provide: [{ option: "12", value: "x" }], request: [{ option: "routers" }] } },
  ],
  dummy: [{ ipam }],
  firewall: [{ backend: "nftables", ingressPolicy: "same-bridge", iptablesAdminChainName: "X" }],
  "host-device": [
    { device: "eth1", hwaddr: "02:00:00:00:00:01", dataDir: "/tmp/x", useInterfaceNetwork: true },
    { kernelpath: "/sys/devices/x", runtimeConfig: { deviceID: "0000:00:1f.6" } },
    { pciBusID: "0000:00:1f.6" },
  ],
  "host-local": [
    { ipam, runtimeConfig: { ips: ["10.1.2.5/16"], ipRanges: [[{ subnet: "10.9.0.0/16" }]] } },
    { ipam: { type: "host-local", subnet: "10.1.0.0/16" }, args: { cni: { ips: ["10.1.0.9"] } } },
  ],
  ipvlan: [{ master: "eth0", mode: "l3s", mtu: 1400, linkInContainer: false, ipam }],
  loopback: [{}],
  macvlan: [{ master: "eth0", mode: "bridge", mtu: 1400, mac: "02:00:00:00:00:01", bcqueuelen: 5, ipam }],
  portmap: [
    {
      snat: true,
      masqAll: true,
      markMasqBit: 5,
      conditionsV4: ["!", "-d", "10.0.0.0/8"],
      conditionsV6: ["-d", "fd00::/8"],
      runtimeConfig: {
        portMappings: [
          { hostPort: 80, containerPort: 8080, protocol: "tcp", hostIP: "127.0.0.1" },
          { hostPort: 53, containerPort: 53, protocol: "UDP" },
        ],
      },
    },
    { backend: "iptables", externalSetMarkChain: "KUBE-MARK-MASQ" },
  ],
  ptp: [{ ipMasq: true, ipMasqBackend: "iptables", mtu: 1400, dns: { nameservers: ["10.0.0.1"] }, ipam }],
  sbr: [{ table: 100, addSourceHints: true, gateways: ["10.1.0.1", "fd00::1"] }],
  static: [
    {
      ipam: {
        type: "static",
        addresses: [{ address: "10.1.0.5/16", gateway: "10.1.0.1" }, { address: "fd00::5/64" }],
        routes: [{ dst: "0.0.0.0/0" }],
        dns: { search: ["x"], domain: "y", options: ["z"], nameservers: ["10.0.0.1"] },
      },
      runtimeConfig: { ips: ["10.1.0.7/16"] },
      args: { cni: { ips: ["10.1.0.8/16"] } },
    },
  ],
  tap: [{ multiQueue: true, mtu: 1400, mac: "02:00:00:00:00:01", owner: 5, group: 6, bridge: "br0", ipam }],
  tuning: [
    {
      sysctl: { "net.core.somaxconn": "500", "net/ipv4/conf/IFNAME/arp_filter": "1" },
      mac: "02:00:00:00:00:01",
      mtu: 1400,
      promisc: true,
      txQLen: 5,
      allmulti: true,
      dataDir: "/tmp/x",
    },
    { args: { cni: { mtu: 1400, sysctl: { "net.core.somaxconn": "7" }, promisc: true } } },
  ],
  vlan: [{ master: "eth0", vlanId: 5, mtu: 1400, linkInContainer: true, ipam }],
  vrf: [{ vrfname: "blue", table: 5 }],
};

const goodArgs = "IgnoreUnknown=1;K8S_POD_NAME=x;IP=10.1.2.5;GATEWAY=10.1.0.1;MAC=02:00:00:00:00:01";

/** Runs it; anything but its declared errors is a failure, and so are messages that no terminal should see. */
function attempt(input: () => string, action: () => unknown): boolean {
  try {
    action();
    return true;
  } catch (error) {
    if (!(error instanceof CniError) && !(error instanceof InvalidInput)) {
      throw new Error(`${(error as Error).stack}\nfor ${input().slice(0, 3000)}`);
    }
    const { code, msg, details = "" } = toErrorResult(error, "1.0.0");
    if (!(code > 0) || msg.length > 2000 || /\p{Cc}/u.test(msg + details)) {
      throw new Error(`${code} ${JSON.stringify(msg)}\nfor ${input().slice(0, 3000)}`);
    }
    return false;
  }
}

/** What a plugin reads of a configuration before it does anything. */
async function reader(name: PluginName): Promise<(request: PluginRequest) => void> {
  const plugin = await loadPlugin(name);
  return (request) => {
    unknownKeys(plugin, request.config);
    plugin.parse?.(request);
    if (name === "firewall") parseFirewallConfig(request);
  };
}

function requestOf(raw: JsonObject, args: string, warnings: string[]): PluginRequest {
  const invocation = parseInvocation({
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: "blue",
    CNI_NETNS: "/run/netns/blue",
    CNI_IFNAME: "eth0",
    CNI_PATH: "/opt/cni/bin",
    CNI_ARGS: args,
  });
  const config = parseNetworkConfig(raw);
  return {
    invocation,
    config,
    warn: (text) => warnings.push(text),
    builtin: async () => undefined,
    env: {},
  };
}

/** What plugins make of the result of the one before, or of their IPAM plugin. */
function useResult(request: PluginRequest, result: Result): void {
  const { config, invocation } = request;
  bridgeOf(result, "same-bridge");
  const portmap = parsePortmapConfig(request);
  const addresses = containerAddresses(config, invocation.ifname, portmap.mappings);
  elementsFor(portmap, addresses, commentOf(attachmentOf(request)));
  gatewaysOf(result, { isGateway: true, isDefaultGateway: true });
  formatResult(result, config.cniVersion);
}

test.each(pluginNames)("%s reads a configuration or refuses it", async (name) => {
  const random = seededRandom(Bun.hash.crc32(name));
  const read = await reader(name);
  let accepted = 0;
  for (let i = 0; i < rounds; i++) {
    const common = { cniVersion: "1.1.0", name: "net", type: name, prevResult };
    const { [name]: configs } = corpus;
    let value: unknown = { ...common, ...configs[i % configs.length] };
    // The good ones first.
    const mutations = i < configs.length ? 0 : 1 + Math.floor(random() * 3);
    for (let n = 0; n < mutations; n++) value = mutate(value, random);
    const text = JSON.stringify(value) ?? "null";
    const args = i < configs.length || random() < 0.8 ? "" : scramble(goodArgs, random);
    const whole = random() < 0.1 && mutations > 0 ? scramble(text, random) : text;
    const input = () => `${whole} ${args}`;
    const request = () => requestOf(parseJsonObject(whole, "network configuration"), args, warnings);
    const warnings: string[] = [];
    if (attempt(input, () => read(request()))) accepted++;
    expect(warnings.join("").length).toBeLessThan(5000);
  }
  expect(accepted).toBeGreaterThan(rounds / 20);
});

test("results of the plugin before, and of IPAM plugins", () => {
  const random = seededRandom(11);
  const portMappings = [{ hostPort: 80, containerPort: 80 }];
  const config = { cniVersion: "1.1.0", name: "net", type: "x", runtimeConfig: { portMappings } };
  const edges = ["255.255.255.255/32", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "0.0.0.0/0", "::/0"];
  for (let i = 0; i < rounds * 5; i++) {
    let value: unknown = i < edges.length ? { ...prevResult, ips: [{ address: edges[i] }] } : prevResult;
    if (i >= edges.length) for (let n = 0; n <= random() * 3; n++) value = mutate(value, random);
    attempt(
      () => JSON.stringify(value),
      () => {
        const request = requestOf({ ...config, prevResult: value }, "", []);
        useResult(request, request.config.prevResult ?? parseResult(value, "1.1.0"));
      },
    );
  }
});

test("GC's list of attachments", () => {
  const random = seededRandom(12);
  for (let i = 0; i < rounds; i++) {
    const valid = [
      { containerID: "blue", ifname: "eth0" },
      { containerID: "red", ifname: "eth1" },
    ];
    const value = mutate({ "cni.dev/valid-attachments": valid, "cni.dev/attachments": null }, random);
    attempt(
      () => JSON.stringify(value),
      () => parseValidAttachments(new Fields(parseJsonObject(JSON.stringify(value), "x"))),
    );
  }
});

test("files that plugins and resolvers keep", () => {
  const random = seededRandom(13);
  const backup = formatBackup({ mac: "02:00:00:00:00:01", mtu: 1400, promiscuous: true }, "net");
  for (let i = 0; i < rounds; i++) {
    const text =
      random() < 0.5 ? scramble(backup, random) : JSON.stringify(mutate(JSON.parse(backup), random));
    const parsed = parseBackup(text ?? "")?.link;
    // What stands there is given to the kernel.
    expect(parsed?.mtu ?? 1).toBeGreaterThan(0);
    parseResolvConf(scramble("nameserver 10.0.0.1\nsearch a b\noptions x\n# y\n", random));
  }
});

const many = <T>(count: number, item: (i: number) => T) => Array.from({ length: count }, (_, i) => item(i));
const net = (i: number) => `10.${i >> 8}.${i & 255}.0/24`;

/** As long as a configuration may be, nearly. */
const long: [string, PluginName, () => JsonObject][] = [
  ["keys", "bridge", () => Object.fromEntries(many(250_000, (i) => [`k${i}`, 0]))],
  ["keys of IPAM", "host-local", () => ({ ipam: Object.fromEntries(many(250_000, (i) => [`k${i}`, 0])) })],
  ["a long key", "bridge", () => ({ ["bridge".repeat(500_000)]: 0 })],
  ["VLANs", "bridge", () => ({ vlanTrunk: many(150_000, () => ({ minID: 1, maxID: 4094 })) })],
  ["ranges", "host-local", () => ({ ipam: { ranges: many(60_000, (i) => [{ subnet: net(i) }]) } })],
  [
    "ranges that overlap",
    "host-local",
    () => ({ ipam: { ranges: many(60_000, (i) => [{ subnet: net(i % 59_999) }]) } }),
  ],
  [
    "addresses that are asked for",
    "host-local",
    () => ({
      ipam: { subnet: "10.0.0.0/8" },
      runtimeConfig: { ips: many(150_000, (i) => `10.1.${(i >> 8) & 255}.${i & 255}`) },
    }),
  ],
  ["addresses", "static", () => ({ ipam: { addresses: many(60_000, (i) => ({ address: net(i) })) } })],
  [
    "mappings",
    "portmap",
    () => ({
      runtimeConfig: { portMappings: many(60_000, (i) => ({ hostPort: i + 1, containerPort: 80 })) },
    }),
  ],
  ["conditions", "portmap", () => ({ conditionsV4: many(300_000, () => "!") })],
  ["subnets", "bandwidth", () => ({ ingressRate: 8, ingressBurst: 8, shapedSubnets: many(100_000, net) })],
  [
    "parameters",
    "tuning",
    () => ({ sysctl: Object.fromEntries(many(100_000, (i) => [`net.core.x${i}`, "1"])) }),
  ],
  ["gateways", "sbr", () => ({ gateways: many(100_000, (i) => net(i).slice(0, -3)) })],
  ["a text", "macvlan", () => ({ master: "x".repeat(4_000_000) })],
];

test.each(long)("very many or long: %s of %s are read or refused soon", async (_, name, make) => {
  const read = await reader(name);
  const text = JSON.stringify({ cniVersion: "1.1.0", name: "net", type: name, ...make() });
  const begin = performance.now();
  const warnings: string[] = [];
  attempt(
    () => text,
    () => read(requestOf(parseJsonObject(text, "x"), "", warnings)),
  );
  // What takes time for each pair would take minutes.
  expect(performance.now() - begin).toBeLessThan(4000);
  expect(warnings.join("").length).toBeLessThan(5000);
});
