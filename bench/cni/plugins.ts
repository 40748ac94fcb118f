/** The configurations that the bench `cni` measures. */
import { deviceName, devices, dhcp, dhcpSocket } from "./scenes.ts";
import type { Plugin, Side } from "./side.ts";

const hostLocal = ({ dir }: Side) => ({
  type: "host-local",
  dataDir: dir,
  ranges: [[{ subnet: "10.77.0.0/16" }]],
});

const bridgeWith =
  (more: Record<string, unknown>): Plugin =>
  (side) => ({ type: "bridge", bridge: "br0", isDefaultGateway: true, ipam: hostLocal(side), ...more });

export const bridge = bridgeWith({});
export const bridgeMasq = bridgeWith({ ipMasq: true });

/** With a mapping for each container. */
export const portmap: Plugin = (_, pod) => ({
  type: "portmap",
  capabilities: { portMappings: true },
  runtimeConfig: { portMappings: [{ hostPort: 20_000 + pod, containerPort: 80, protocol: "tcp" }] },
});

export const bandwidth: Plugin = () => ({
  type: "bandwidth",
  ingressRate: 100_000_000,
  ingressBurst: 10_000_000,
  egressRate: 100_000_000,
  egressBurst: 10_000_000,
});

export const tuning: Plugin = ({ dir }) => ({
  type: "tuning",
  dataDir: `${dir}/tuning`,
  mtu: 1400,
  sysctl: { "net.core.somaxconn": "500" },
});

/** What a cluster's nodes have mostly. */
export const usualChain: readonly Plugin[] = [bridgeMasq, portmap, bandwidth, tuning];

/** A plugin that is measured alone, behind others that are not. */
export interface Alone {
  name: string;
  before: readonly Plugin[];
  plugin: Plugin;
  /** Makes what it needs on the host. */
  scene?: (side: Side) => Disposable | Promise<Disposable>;
}

/** All others that the kernel of any machine has what they need for. */
export const alone: readonly Alone[] = [
  { name: "loopback", before: [], plugin: () => ({ type: "loopback" }) },
  {
    name: "ptp + host-local",
    before: [],
    plugin: (side) => ({ type: "ptp", ipMasq: false, ipam: hostLocal(side) }),
  },
  {
    name: "macvlan + host-local",
    before: [],
    plugin: (side) => ({ type: "macvlan", master: "eth0", ipam: hostLocal(side) }),
  },
  {
    name: "bridge + static",
    before: [],
    plugin: (side, pod) =>
      bridgeWith({
        bridge: "br1",
        ipam: {
          type: "static",
          addresses: [{ address: `10.79.0.${pod + 2}/16`, gateway: "10.79.0.1" }],
        },
      })(side, pod),
  },
  {
    name: "macvlan + dhcp",
    before: [],
    plugin: (side) => ({
      type: "macvlan",
      master: "eth0",
      ipam: { type: "dhcp", daemonSocketPath: dhcpSocket(side) },
    }),
    scene: dhcp,
  },
  {
    name: "host-device",
    before: [],
    plugin: (_, pod) => ({ type: "host-device", device: deviceName(pod) }),
    scene: devices,
  },
  { name: "host-local", before: [], plugin: (side) => ({ type: "host-local", ipam: hostLocal(side) }) },
  { name: "portmap", before: [bridge], plugin: portmap },
  { name: "bandwidth", before: [bridge], plugin: bandwidth },
  { name: "tuning", before: [bridge], plugin: tuning },
  { name: "firewall", before: [bridge], plugin: () => ({ type: "firewall" }) },
  { name: "sbr", before: [bridge], plugin: () => ({ type: "sbr" }) },
];

/** Plugins that need a kernel with their kind of link. */
export const ofKind: Readonly<Record<string, Alone>> = {
  ipvlan: {
    name: "ipvlan + host-local",
    before: [],
    plugin: (side) => ({ type: "ipvlan", master: "eth0", ipam: hostLocal(side) }),
  },
  vlan: {
    name: "vlan + host-local",
    before: [],
    plugin: (side, pod) => ({ type: "vlan", master: "eth0", vlanId: pod + 1, ipam: hostLocal(side) }),
  },
  vrf: { name: "vrf", before: [bridge], plugin: () => ({ type: "vrf", vrfname: "blue" }) },
};
