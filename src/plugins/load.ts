import type { Plugin } from "../cni/plugin.ts";
import { bridge } from "./bridge.ts";
import { hostLocal } from "./host-local.ts";
import { loopback } from "./loopback.ts";
import type { PluginName } from "./names.ts";
import { portmap } from "./portmap.ts";

/*
 * One chunk with all plugins starts faster than a chunk for each: what they share is most of it. What is rarely needed
 * they load themselves.
 */
const plugins: Readonly<Record<PluginName, () => Plugin>> = {
  bridge: () => bridge,
  "host-local": () => hostLocal,
  loopback: () => loopback,
  portmap: () => portmap,
};

/** Weft's own plugin of that name. */
export function loadPlugin(name: PluginName): Plugin {
  return plugins[name]();
}
