/** The plugins that `weft-cni` is: each name is a link to the executable. Sorted. */
export const pluginNames = ["bridge", "host-local", "loopback", "portmap"] as const;

/** The name of one of Weft's own plugins. */
export type PluginName = (typeof pluginNames)[number];

/** True where Weft itself has a plugin of that type. */
export function isPluginName(name: string): name is PluginName {
  return (pluginNames as readonly string[]).includes(name);
}
