/** The plugins that `weft-cni` is: each name is a link to the executable. Sorted. */
export const pluginNames = [
  "bandwidth",
  "bridge",
  "dhcp",
  "dummy",
  "firewall",
  "host-device",
  "host-local",
  "ipvlan",
  "loopback",
  "macvlan",
  "portmap",
  "ptp",
  "sbr",
  "static",
  "tap",
  "tuning",
  "vlan",
  "vrf",
] as const;

/** Where processes of this boot meet: the sockets of the plugins' servers, and who has which turn. */
export const runDir = "/run/weft";

/**
 * The group of the host's links that are about to be deleted ("weft"). Whoever deletes one deletes all of them: what a
 * process that died left in it goes with the next.
 */
export const doomedGroup = 0x77656674;

/**
 * The group of a host's end from its making until its alias says whose it is, which the kernel does not take with the
 * request that makes a link. One that stays in it is of an ADD that was killed in between: GC removes it.
 */
export const unfinishedGroup = 0x77656675;

/** The name of one of Weft's own plugins. */
export type PluginName = (typeof pluginNames)[number];

/** True where Weft itself has a plugin of that type. */
export function isPluginName(name: string): name is PluginName {
  return (pluginNames as readonly string[]).includes(name);
}
