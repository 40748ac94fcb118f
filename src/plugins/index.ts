/**
 * Weft's CNI plugins, for a runtime that runs them in its own process.
 * @module
 */
import type { Plugin } from "../cni/plugin.ts";
import { loadPlugin } from "./load.ts";
import { isPluginName } from "./names.ts";

export { loadPlugin } from "./load.ts";
export { isPluginName, type PluginName, pluginNames } from "./names.ts";

/** For a runtime's `builtin`: Weft's plugin of each type of which CNI_PATH has no executable. */
export async function builtin(type: string, file: string | undefined): Promise<Plugin | undefined> {
  return file === undefined && isPluginName(type) ? await loadPlugin(type) : undefined;
}
