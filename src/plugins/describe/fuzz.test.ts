/** Whatever a list says, it is explained: nothing of it throws, and no sentence speaks of what is not there. */
import { expect, test } from "bun:test";
import { type NetworkList, parseNetworkList } from "../../cni/list.ts";
import { mutate } from "../../lib/mutate.ts";
import { seededRandom } from "../../lib/random.ts";
import { explainNetwork } from "./explain.ts";
import { descriptionOf } from "./table.ts";

const ranges = [
  [{ subnet: "10.0.0.0/8", rangeStart: "10.0.0.9", gateway: "10.0.0.1" }],
  [{ subnet: "fd00::/64" }],
];
const hostLocal = {
  type: "host-local",
  ranges,
  routes: [{ dst: "0.0.0.0/0", gw: "10.0.0.1" }],
  dataDir: "/run/x",
};
const fixed = {
  type: "static",
  addresses: [{ address: "10.0.0.5/8", gateway: "10.0.0.1" }],
  dns: { domain: "x" },
};
const leased = {
  type: "dhcp",
  provide: [{ option: "host-name", value: "x" }],
  request: [{ skipDefault: true }],
};
const chained = [
  {
    type: "portmap",
    capabilities: { portMappings: true },
    conditionsV4: ["-s", "10.0.0.0/8"],
    backend: "nftables",
  },
  { type: "bandwidth", ingressRate: 8000, ingressBurst: 8000, unshapedSubnets: ["10.0.0.0/8"] },
  { type: "tuning", sysctl: { "net.core.somaxconn": "5" }, mac: "02:00:00:00:00:01", allmulti: true },
  { type: "firewall", ingressPolicy: "isolated" },
  { type: "sbr", table: 5, gateways: ["10.0.0.1"] },
  { type: "vrf", vrfname: "blue", table: 5 },
];
const makers = [
  {
    type: "bridge",
    isDefaultGateway: true,
    ipMasq: true,
    vlanTrunk: [{ id: 5 }, { minID: 1, maxID: 9 }],
    ipam: hostLocal,
  },
  { type: "ptp", mtu: 1400, ipam: fixed, dns: { nameservers: ["10.0.0.1"] } },
  { type: "macvlan", master: "eth0", mode: "vepa", bcqueuelen: 5, ipam: leased },
  { type: "ipvlan", mode: "l3s", linkInContainer: true },
  { type: "vlan", master: "eth0", vlanId: 5 },
  { type: "host-device", pciBusID: "0000:00:1f.6", capabilities: { deviceID: true } },
  { type: "tap", owner: 5, group: 5, bridge: "br0", multiQueue: true },
  { type: "dummy", ipam: hostLocal },
  { type: "loopback" },
];

function tryParse(text: string): NetworkList | undefined {
  try {
    return parseNetworkList(text);
  } catch {
    return undefined;
  }
}

test("mutated lists of every plugin are explained", async () => {
  const random = seededRandom(20260303);
  let explained = 0;
  for (let i = 0; i < 1000; i++) {
    let plugins: unknown = [makers[i % makers.length], ...chained];
    for (let n = 0; n <= random() * 4; n++) plugins = mutate(plugins, random);
    const list = tryParse(JSON.stringify({ cniVersion: "1.1.0", name: "net", plugins }));
    if (list === undefined) continue;
    explained++;
    const explanation = await explainNetwork(list, {
      others: [list],
      find: () => undefined,
      isOwn: async (type) => descriptionOf(type) !== undefined,
      versions: async () => ({ supportedVersions: [] }),
    });
    for (const { type, does } of explanation.plugins) {
      expect(does === undefined).toBe(descriptionOf(type) === undefined);
      for (const sentence of does ?? []) expect(sentence).not.toMatch(/\bNaN\b|\[object/);
    }
    for (const { field, message } of explanation.findings) {
      expect(field).toMatch(/^[^\n]*$/);
      expect(message).not.toBe("");
    }
  }
  expect(explained).toBeGreaterThan(300);
});
