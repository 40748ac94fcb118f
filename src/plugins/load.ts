import type { Plugin } from "../cni/plugin.ts";
import { bridge } from "./bridge.ts";
import { hostLocal } from "./host-local.ts";
import { loopback } from "./loopback.ts";
import type { PluginName } from "./names.ts";
import { portmap } from "./portmap.ts";

/*
 * The plugins of nearly every pod are one chunk, which starts faster than a chunk for each: what they share is most of
 * it. The others come when they are called for.
 */
const plugins: Readonly<Record<PluginName, () => Plugin | Promise<Plugin>>> = {
  bridge: () => bridge,
  "host-local": () => hostLocal,
  loopback: () => loopback,
  portmap: () => portmap,
};

/** Weft's own plugin of that name. */
export async function loadPlugin(name: PluginName): Promise<Plugin> {
  return await plugins[name]();
}
