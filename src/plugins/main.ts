import { longestConfig } from "../cni/netconf.ts";
import type { Plugin } from "../cni/plugin.ts";
import { runPlugin } from "../cni/skeleton.ts";
import { readDescriptor, status, writeDescriptor } from "../linux/lean/files.ts";
import { loadPlugin } from "./load.ts";
import { isPluginName, type PluginName } from "./names.ts";

/** Runs a plugin as this process; resolves to its exit status. */
export async function main(name: PluginName): Promise<number> {
  return await runPlugin(loadPlugin(name), {
    env: process.env,
    readStdin: () => readDescriptor(0, longestConfig),
    writeStdout: (text) => writeDescriptor(1, text),
    writeStderr: (text) => writeDescriptor(2, text),
    isOwnNetns,
    builtin,
  });
}

function isOwnNetns(path: string): boolean {
  return status(path)?.identity === status("/proc/self/ns/net")?.identity;
}

/** Weft's own plugin where CNI_PATH leads to this very executable, or to nothing at all. */
function builtin(type: string, file: string | undefined): Plugin | undefined {
  if (!isPluginName(type)) return undefined;
  const isOwn = file === undefined || status(file)?.identity === status(process.execPath)?.identity;
  return isOwn ? loadPlugin(type) : undefined;
}
