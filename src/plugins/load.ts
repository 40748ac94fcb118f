import type { Plugin } from "../cni/plugin.ts";
import type { PluginName } from "./names.ts";

/** Loads one plugin and what it stands on. */
export async function loadPlugin(name: PluginName): Promise<Plugin> {
  switch (name) {
    case "bridge":
      return (await import("./bridge.ts")).bridge;
    case "host-local":
      return (await import("./host-local.ts")).hostLocal;
    case "loopback":
      return (await import("./loopback.ts")).loopback;
    case "portmap":
      return (await import("./portmap.ts")).portmap;
  }
}
