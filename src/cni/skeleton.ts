import { printable } from "../lib/printable.ts";
import { type CniCommand, type Invocation, parseInvocation } from "./env.ts";
import { CniError, cniErrorCode, toErrorResult } from "./errors.ts";
import {
  longestConfig,
  parseJsonObject,
  parseNetworkConfig,
  parseValidAttachments,
  unknownKeys,
} from "./netconf.ts";
import type { NetworkConfig, Plugin, PluginRequest } from "./plugin.ts";
import { formatResult } from "./result.ts";
import { currentVersion, defaultVersion, isAtLeast, isSupportedVersion, versionText } from "./versions.ts";

/** The first version of the specification with each command. */
const commandSince: Readonly<Partial<Record<CniCommand, string>>> = {
  CHECK: "0.4.0",
  GC: "1.1.0",
  STATUS: "1.1.0",
};

/** What a plugin's executable needs; replaced in tests. */
export interface Host {
  env: Readonly<Record<string, string | undefined>>;
  /** Undefined where there is more than {@link longestConfig}. */
  readStdin: () => string | undefined;
  writeStdout: (text: string) => void;
  writeStderr: (text: string) => void;
  /** True where the path is the namespace that this process is in; false where there is no such file. */
  isOwnNetns: (path: string) => boolean;
  /** Plugins to delegate to without starting an executable. */
  builtin: PluginRequest["builtin"];
  deleteLink?: PluginRequest["deleteLink"];
  signal?: AbortSignal;
}

/**
 * One run of a plugin's executable: reads environment and standard input, calls the plugin, prints its result or its
 * error. Resolves to the exit status.
 */
export async function runPlugin(plugin: Plugin, host: Host): Promise<number> {
  let answerVersion: string = currentVersion;
  let request: PluginRequest | undefined;
  let status = 0;
  let text: string;
  try {
    const invocation = parseInvocation(host.env, plugin);
    const raw = parseJsonObject(readConfig(host), "network configuration");
    const asked = raw.cniVersion;
    answerVersion = typeof asked === "string" && isSupportedVersion(asked) ? asked : defaultVersion;
    const config = parseNetworkConfig(raw, { lenientPrevResult: invocation.command === "DEL" });
    request = requestOf(plugin, invocation, config, host);
    text = await dispatch(plugin, request, host);
  } catch (error) {
    status = 1;
    text = JSON.stringify(toErrorResult(error, answerVersion), null, 4);
  }
  try {
    host.writeStdout(text);
  } catch (error) {
    // An ADD of which nobody learns is a failed one.
    if (status === 0 && request?.invocation.command === "ADD") await takeBack(plugin, request);
    host.writeStderr(`${plugin.name}: cannot answer: ${(error as Error).message}\n`);
    status = 1;
  }
  return status;
}

function requestOf(plugin: Plugin, invocation: Invocation, config: NetworkConfig, host: Host): PluginRequest {
  return {
    invocation,
    config,
    warn: (message) => host.writeStderr(`${plugin.name}: ${printable(message)}\n`),
    builtin: host.builtin,
    env: host.env,
    ...(host.deleteLink === undefined ? {} : { deleteLink: host.deleteLink }),
    ...(host.signal === undefined ? {} : { signal: host.signal }),
  };
}

function readConfig(host: Host): string {
  const text = host.readStdin();
  if (text !== undefined) return text;
  throw new CniError(cniErrorCode.decoding, `network configuration: longer than ${longestConfig} bytes`, {
    remedy: "Make it shorter",
  });
}

/** Calls the plugin for one command; the answer is what goes to standard output. */
async function dispatch(plugin: Plugin, request: PluginRequest, host: Host): Promise<string> {
  const { invocation, config } = request;
  const { command } = invocation;
  requireCommandVersion(command, config.cniVersion);
  if (invocation.netns !== "" && !invocation.netnsOverride && host.isOwnNetns(invocation.netns)) {
    throw new CniError(
      cniErrorCode.invalidNetns,
      "plugin's netns and netns from CNI_NETNS should not be the same",
      {
        remedy: `Give the container's namespace instead of "${invocation.netns}", or set CNI_NETNS_OVERRIDE=1`,
      },
    );
  }
  switch (command) {
    case "ADD":
      for (const sentence of unknownKeys(plugin, config)) request.warn(sentence);
      return await add(plugin, request);
    case "DEL":
      await plugin.del(request);
      return "";
    case "CHECK":
      await plugin.check(request);
      return "";
    case "GC":
      await plugin.gc?.({ ...request, valid: parseValidAttachments(config.fields) });
      return "";
    case "STATUS":
      await plugin.status?.(request);
      return "";
    case "VERSION":
      return versionText();
  }
}

async function add(plugin: Plugin, request: PluginRequest): Promise<string> {
  const result = await plugin.add(request);
  try {
    return JSON.stringify(formatResult(result, request.config.cniVersion), null, 4);
  } catch (error) {
    await takeBack(plugin, request);
    throw error;
  }
}

async function takeBack(plugin: Plugin, request: PluginRequest): Promise<void> {
  try {
    await plugin.del(request);
  } catch (error) {
    request.warn(`while taking back a failed ADD: ${(error as Error).message}`);
  }
}

function requireCommandVersion(command: CniCommand, version: string): void {
  const since = commandSince[command];
  if (since === undefined || isAtLeast(version, since)) return;
  throw new CniError(cniErrorCode.incompatibleVersion, `config version does not allow ${command}`, {
    remedy: `cniVersion is "${version}"; ${command} exists since "${since}"`,
  });
}
