import type { Plugin } from "../cni/plugin.ts";
import { status } from "../linux/lean/files.ts";
import { loadPlugin } from "./load.ts";
import { isPluginName } from "./names.ts";

/** True where the path is the namespace that this process is in. */
export function isOwnNetns(path: string): boolean {
  return status(path)?.identity === status("/proc/self/ns/net")?.identity;
}

/** Weft's own plugin where CNI_PATH leads to this very executable, or to nothing at all. */
export async function ownBuiltin(type: string, file: string | undefined): Promise<Plugin | undefined> {
  if (!isPluginName(type)) return undefined;
  const isOwn = file === undefined || status(file)?.identity === status(process.execPath)?.identity;
  return isOwn ? await loadPlugin(type) : undefined;
}
