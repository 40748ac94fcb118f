import { bandwidth, firewall, portmap, sbr, tuning, vrf } from "./chained.ts";
import type { Description } from "./description.ts";
import { bridge, dummy, hostDevice, ipvlan, loopback, macvlan, ptp, tap, vlan } from "./interfaces.ts";
import { dhcp, hostLocal, staticIpam } from "./ipam.ts";

/** What is known of each plugin, by the names of the reference plugins. */
const descriptions: Readonly<Record<string, Description>> = {
  bandwidth,
  bridge,
  dhcp,
  dummy,
  firewall,
  "host-device": hostDevice,
  "host-local": hostLocal,
  ipvlan,
  loopback,
  macvlan,
  portmap,
  ptp,
  sbr,
  static: staticIpam,
  tap,
  tuning,
  vlan,
  vrf,
};

/** The description of a plugin; undefined for one of somebody else. */
export function descriptionOf(type: string): Description | undefined {
  return Object.hasOwn(descriptions, type) ? descriptions[type] : undefined;
}

/** The capabilities that any of the plugins understands. */
export function allCapabilities(): string[] {
  return [...new Set(Object.values(descriptions).flatMap(({ capabilities }) => Object.keys(capabilities)))];
}
