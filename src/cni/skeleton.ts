import { readSync, writeSync } from "node:fs";
import { type CniCommand, type Invocation, parseInvocation } from "./env.ts";
import { CniError, cniErrorCode, toErrorResult } from "./errors.ts";
import {
  commonKeys,
  longestConfig,
  parseJsonObject,
  parseNetworkConfig,
  parseValidAttachments,
} from "./netconf.ts";
import type { NetworkConfig, Plugin, PluginRequest } from "./plugin.ts";
import { formatResult } from "./result.ts";
import {
  currentVersion,
  defaultVersion,
  isAtLeast,
  isSupportedVersion,
  supportedVersions,
} from "./versions.ts";

/** The first version of the specification with each command. */
const commandSince: Readonly<Partial<Record<CniCommand, string>>> = {
  CHECK: "0.4.0",
  GC: "1.1.0",
  STATUS: "1.1.0",
};

/** What a plugin's executable needs; replaced in tests. */
export interface Host {
  env: Readonly<Record<string, string | undefined>>;
  readStdin: () => string;
  writeStdout: (text: string) => void;
  writeStderr: (text: string) => void;
  /** True where the path is the namespace that this process is in; false where there is no such file. */
  isOwnNetns: (path: string) => boolean;
}

/**
 * One run of a plugin's executable: reads environment and standard input, calls the plugin, prints its result or its
 * error. Resolves to the exit status. `load` is only called for commands that need the plugin itself.
 */
export async function runPlugin(
  name: string,
  version: string,
  load: () => Promise<Plugin>,
  host: Host,
): Promise<number> {
  const command = host.env.CNI_COMMAND ?? "";
  if (command === "") {
    host.writeStderr(
      `CNI ${name} plugin v${version}\nCNI protocol versions supported: ${supportedVersions.join(", ")}\n`,
    );
    return 0;
  }
  if (command === "VERSION") {
    host.writeStdout(`${JSON.stringify({ cniVersion: currentVersion, supportedVersions })}\n`);
    return 0;
  }
  let answerVersion: string = currentVersion;
  try {
    const invocation = parseInvocation(host.env);
    const raw = parseJsonObject(host.readStdin(), "network configuration");
    const asked = raw.cniVersion;
    answerVersion = typeof asked === "string" && isSupportedVersion(asked) ? asked : defaultVersion;
    const config = parseNetworkConfig(raw, { lenientPrevResult: invocation.command === "DEL" });
    const text = await dispatch(await load(), invocation, config, host);
    host.writeStdout(text);
    return 0;
  } catch (error) {
    host.writeStdout(JSON.stringify(toErrorResult(error, answerVersion), null, 4));
    return 1;
  }
}

/** Calls the plugin for one command; the answer is what goes to standard output. */
async function dispatch(
  plugin: Plugin,
  invocation: Invocation,
  config: NetworkConfig,
  host: Host,
): Promise<string> {
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
  const request: PluginRequest = {
    invocation,
    config,
    warn: (message) => host.writeStderr(`${plugin.name}: ${message}\n`),
  };
  switch (command) {
    case "ADD":
      for (const sentence of config.fields.unknownKeys([...commonKeys, ...plugin.keys]))
        request.warn(sentence);
      return JSON.stringify(formatResult(await plugin.add(request), config.cniVersion), null, 4);
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
      return "";
  }
}

function requireCommandVersion(command: CniCommand, version: string): void {
  const since = commandSince[command];
  if (since === undefined || isAtLeast(version, since)) return;
  throw new CniError(cniErrorCode.incompatibleVersion, `config version does not allow ${command}`, {
    remedy: `cniVersion is "${version}"; ${command} exists since "${since}"`,
  });
}

/** All of a descriptor, up to {@link longestConfig}. */
export function readAll(fd: number): string {
  let bytes = new Uint8Array(64 * 1024);
  let length = 0;
  for (;;) {
    if (length === bytes.length) {
      if (length >= longestConfig) {
        throw new CniError(
          cniErrorCode.decoding,
          `network configuration: longer than ${longestConfig} bytes`,
        );
      }
      const larger = new Uint8Array(bytes.length * 4);
      larger.set(bytes);
      bytes = larger;
    }
    const count = readRetrying(fd, bytes, length);
    if (count === 0) return new TextDecoder().decode(bytes.subarray(0, length));
    length += count;
  }
}

function readRetrying(fd: number, bytes: Uint8Array, offset: number): number {
  for (;;) {
    try {
      return readSync(fd, bytes, offset, bytes.length - offset, null);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === "EOF") return 0;
      if (code !== "EAGAIN" && code !== "EINTR") {
        throw new CniError(cniErrorCode.io, `cannot read the network configuration (${code})`, {
          cause: error,
        });
      }
      pause();
    }
  }
}

/** Writes all of a text, also to a pipe that is full or does not block. */
export function writeAll(fd: number, text: string): void {
  let bytes: Uint8Array = new TextEncoder().encode(text);
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(fd, bytes));
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === "EPIPE") return;
      if (code !== "EAGAIN" && code !== "EINTR") throw error;
      pause();
    }
  }
}

function pause(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
}
