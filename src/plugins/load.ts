import type { Plugin } from "../cni/plugin.ts";
import { bandwidth } from "./bandwidth/bandwidth.ts";
import { bridge } from "./bridge/bridge.ts";
import { hostLocal } from "./ipam/host-local.ts";
import { loopback } from "./loopback.ts";
import type { PluginName } from "./names.ts";
import { portmap } from "./portmap/portmap.ts";
import { ptp } from "./ptp/ptp.ts";
import { tuning } from "./tuning/tuning.ts";

/*
 * The plugins of nearly every pod are one chunk, which starts faster than a chunk for each: what they share is most of
 * it. The others come when they are called for.
 */
const plugins: Readonly<Record<PluginName, () => Plugin | Promise<Plugin>>> = {
  bandwidth: () => bandwidth,
  bridge: () => bridge,
  "host-local": () => hostLocal,
  loopback: () => loopback,
  portmap: () => portmap,
  ptp: () => ptp,
  tuning: () => tuning,
  "host-device": async () => (await import("./host-device/host-device.ts")).hostDevice,
  sbr: async () => (await import("./sbr/sbr.ts")).sbr,
  static: async () => (await import("./ipam/static.ts")).staticIpam,
  tap: async () => (await import("./tap/tap.ts")).tap,
  dhcp: async () => (await import("./ipam/dhcp.ts")).dhcp,
  dummy: async () => (await import("./links/dummy.ts")).dummy,
  firewall: async () => (await import("./firewall/firewall.ts")).firewall,
  ipvlan: async () => (await import("./links/ipvlan.ts")).ipvlan,
  macvlan: async () => (await import("./links/macvlan.ts")).macvlan,
  vlan: async () => (await import("./links/vlan.ts")).vlan,
  vrf: async () => (await import("./vrf/vrf.ts")).vrf,
};

/** Weft's own plugin of that name. */
export async function loadPlugin(name: PluginName): Promise<Plugin> {
  return await plugins[name]();
}
