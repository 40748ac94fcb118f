#!/usr/bin/env bun
/**
 * The executable `weft-cni`: every CNI plugin of Weft in one file, chosen by the name under which it is started.
 * Nothing heavier than needed is loaded, because a runtime starts it for every pod.
 */
import { statSync } from "node:fs";
import { basename } from "node:path";
import { readAll, runPlugin, writeAll } from "./cni/skeleton.ts";
import { version } from "./lib/version.ts";
import { loadPlugin } from "./plugins/load.ts";
import { isPluginName, pluginNames } from "./plugins/names.ts";

function isOwnNetns(path: string): boolean {
  const theirs = statSync(path, { bigint: true, throwIfNoEntry: false });
  const ours = statSync("/proc/self/ns/net", { bigint: true });
  return theirs !== undefined && theirs.ino === ours.ino && theirs.dev === ours.dev;
}

async function main(): Promise<number> {
  const name = basename(process.argv0);
  if (!isPluginName(name)) {
    writeAll(
      2,
      `weft-cni ${version}: the CNI plugins ${pluginNames.join(", ")} in one executable.
Started by the name of one of them it is that plugin: link it, for example
    ln -s weft-cni bridge
A container runtime then finds it in its CNI folder (usually /opt/cni/bin).
`,
    );
    return name === "weft-cni" && process.env.CNI_COMMAND === undefined ? 0 : 1;
  }
  return await runPlugin(name, version, () => loadPlugin(name), {
    env: process.env,
    readStdin: () => readAll(0),
    writeStdout: (text) => writeAll(1, text),
    writeStderr: (text) => writeAll(2, text),
    isOwnNetns,
  });
}

main().then(
  (status) => process.exit(status),
  (error: unknown) => {
    writeAll(2, `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(1);
  },
);
