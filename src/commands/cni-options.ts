import { dirname, join, resolve } from "node:path";
import { type Attachment, CniRuntime } from "../cni/index.ts";
import { parseJsonObject } from "../cni/netconf.ts";
import type { Plugin } from "../cni/plugin.ts";
import { status } from "../linux/lean/files.ts";
import { netnsDir } from "../linux/netns.ts";
import { loadPlugin } from "../plugins/load.ts";
import { isPluginName } from "../plugins/names.ts";
import { exitStatus } from "./command.ts";
import { integerOption, type OptionValues } from "./options.ts";
import { UsageError } from "./usage.ts";

/* What the verbs of `weft cni` and cnitool's share. */

/** The options of `weft cni`. */
export const specs = {
  "conf-dir": {
    type: "string",
    value: "DIR",
    help: "where the configurations are; or NETCONFPATH",
    default: "/etc/cni/net.d",
  },
  path: {
    type: "string",
    value: "DIR[:DIR]",
    help: "where the plugins are; or CNI_PATH. Weft's own need not be there",
    default: "/opt/cni/bin",
  },
  "cache-dir": { type: "string", value: "DIR", help: "where results are kept", default: "/var/lib/cni" },
  ifname: {
    type: "string",
    value: "NAME",
    help: "the container's interface; or CNI_IFNAME",
    default: "eth0",
  },
  "container-id": {
    type: "string",
    value: "ID",
    help: "the container; or CNI_CONTAINERID",
    default: "made of the namespace's path, as cnitool does",
  },
  args: { type: "string", value: "K=V;K=V", help: "CNI_ARGS for the plugins; or CNI_ARGS" },
  capabilities: {
    type: "string",
    value: "JSON",
    help: 'capability arguments, such as {"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}; or CAP_ARGS',
  },
  keep: {
    type: "string",
    value: "ID[/IFNAME]",
    help: "gc: an attachment that is to stay",
    multiple: true,
  },
  timeout: {
    type: "string",
    value: "SECONDS",
    help: "how long a plugin may take before it is killed",
    default: "120",
  },
  json: { type: "boolean", help: "print JSON: the result, or the error with its code" },
} as const;

export type Options = OptionValues<typeof specs>;

export function printJson(value: unknown): void {
  console.log(JSON.stringify(value, null, 2));
}

/** A variable of the environment; one that is empty says nothing. */
function variable(name: string): string | undefined {
  return process.env[name] || undefined;
}

export function confDir(options: Options): string {
  return options["conf-dir"] ?? variable("NETCONFPATH") ?? specs["conf-dir"].default;
}

/** The folders where plugins are looked for. */
export function pathOf(options: Options): string[] {
  const path = options.path ?? variable("CNI_PATH") ?? specs.path.default;
  return path.split(":").filter((folder) => folder !== "");
}

/** Aborted when somebody ends the command: plugins have process groups of their own, which no terminal reaches. */
export function untilStopped(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => stop.abort());
  return stop.signal;
}

export function runtimeOf(options: Options): CniRuntime {
  return new CniRuntime({
    signal: untilStopped(),
    path: pathOf(options),
    cacheDir: options["cache-dir"] ?? specs["cache-dir"].default,
    timeout: 1000 * integerOption("timeout", options.timeout ?? specs.timeout.default, 1, 86_400),
    builtin: ownPlugin,
    onWarning: (message) => console.error(`warning: ${message}`),
    onWait: ({ type, command }) => console.error(`${type} is still at work (${command})`),
  });
}

/** Weft's own plugin where CNI_PATH leads to the `weft-cni` beside this executable, or to nothing. */
export async function ownPlugin(type: string, file: string | undefined): Promise<Plugin | undefined> {
  if (!isPluginName(type)) return undefined;
  if (file === undefined) return await loadPlugin(type);
  const sibling = status(join(dirname(process.execPath), "weft-cni"));
  return sibling !== undefined && sibling.identity === status(file)?.identity
    ? await loadPlugin(type)
    : undefined;
}

/** What a container's interface is called where nothing says so with the container. */
export function ifnameOf(options: Options): string {
  return options.ifname ?? variable("CNI_IFNAME") ?? specs.ifname.default;
}

export function attachmentOf(netns: string, options: Options): Attachment {
  const path = netns.includes("/") ? resolve(netns) : `${netnsDir}/${netns}`;
  const args = options.args ?? variable("CNI_ARGS");
  const capabilities = options.capabilities ?? variable("CAP_ARGS");
  return {
    containerId: options["container-id"] ?? variable("CNI_CONTAINERID") ?? cnitoolId(path),
    ifname: ifnameOf(options),
    netns: path,
    ...(args === undefined ? {} : { args: pairsOf(args) }),
    ...(capabilities === undefined
      ? {}
      : { capabilityArgs: parseJsonObject(capabilities, "--capabilities") }),
  };
}

/** The id that cnitool gives a namespace by its absolute path, so that either goes on with the other's. */
export function cnitoolId(path: string): string {
  return `cnitool-${new Bun.CryptoHasher("sha512").update(path).digest("hex").slice(0, 20)}`;
}

function pairsOf(text: string): [string, string][] {
  return text
    .split(";")
    .filter((pair) => pair !== "")
    .map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1) throw new UsageError(`weft cni: --args: "${pair}" is not like KEY=VALUE`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    });
}

export function done(options: Options, sentence: string): number {
  if (options.json === true) printJson({ ok: true });
  else console.log(sentence);
  return exitStatus.ok;
}
