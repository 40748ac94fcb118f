import { longestConfig } from "../cni/netconf.ts";
import { runPlugin } from "../cni/skeleton.ts";
import { readDescriptor, writeDescriptor } from "../linux/lean/files.ts";
import { isOwnNetns, ownBuiltin } from "./host.ts";
import { loadPlugin } from "./load.ts";
import type { PluginName } from "./names.ts";
import { waitForTurn } from "./turns.ts";

/** Runs a plugin as this process; resolves to its exit status. */
export async function main(name: PluginName): Promise<number> {
  await waitForTurn(process.env);
  return await runPlugin(await loadPlugin(name), {
    env: process.env,
    readStdin: () => readDescriptor(0, longestConfig),
    writeStdout: (text) => writeDescriptor(1, text),
    writeStderr: (text) => {
      try {
        writeDescriptor(2, text);
      } catch {
        // Nobody listens: no reason to fail.
      }
    },
    isOwnNetns,
    builtin: ownBuiltin,
  });
}
