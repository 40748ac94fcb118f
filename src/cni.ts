#!/usr/bin/env bun
/**
 * The executable `weft-cni`: every CNI plugin of Weft in one file, chosen by the name under which it is started.
 * A runtime starts it for every pod, so that nothing is loaded before it is needed, node:fs (a third of the start)
 * among it.
 */
import { supportedVersions, versionText } from "./cni/versions.ts";
import { version } from "./lib/version.ts";
import { isPluginName, type PluginName, pluginNames } from "./plugins/names.ts";

const usage = `weft-cni ${version}: the CNI plugins ${pluginNames.join(", ")} in one executable.
Started by the name of one of them it is that plugin: link it, for example
    ln -s weft-cni bridge
A container runtime then finds it in its CNI folder (usually /opt/cni/bin).
    weft-cni serve
does the work of all that are started in this network namespace, faster than they would themselves, until it is
terminated or the pipe that is its standard input ends. The agent (weft agent) keeps one on its node.`;

/** Answers what needs no plugin: the exit status, or undefined. */
function answerAtOnce(name: string): number | undefined {
  const command = process.env.CNI_COMMAND ?? "";
  if (!isPluginName(name)) {
    console.error(usage);
    return name === "weft-cni" && command === "" ? 0 : 1;
  }
  if (command === "") {
    console.error(`CNI ${name} plugin v${version}`);
    console.error(`CNI protocol versions supported: ${supportedVersions.join(", ")}`);
    return 0;
  }
  if (command !== "VERSION") return undefined;
  console.log(versionText());
  return 0;
}

async function run(name: PluginName): Promise<number> {
  const { main } = await import("./plugins/main.ts");
  return await main(name);
}

async function serve(): Promise<number> {
  const { serve } = await import("./cniserver/main.ts");
  return await serve();
}

/** The reference's plugin is its own daemon, too: units start `dhcp daemon`. */
async function dhcpDaemon(): Promise<number> {
  const { goDaemon } = await import("./dhcp/main.ts");
  return await goDaemon(process.argv.slice(3));
}

const name = process.argv0.slice(process.argv0.lastIndexOf("/") + 1);
const isServer = name === "weft-cni" && process.argv[2] === "serve" && process.argv.length === 3;
const isDhcpDaemon = name === "dhcp" && process.argv[2] === "daemon";
const status = isServer || isDhcpDaemon ? undefined : answerAtOnce(name);
if (status !== undefined) process.exit(status);
(isServer ? serve() : isDhcpDaemon ? dhcpDaemon() : run(name as PluginName)).then(
  (result) => process.exit(result),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
