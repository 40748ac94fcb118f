import { parseArgs } from "node:util";
import { defaultSocketPath } from "../cni/dhcp-protocol.ts";
import { parseDuration } from "../lib/duration.ts";
import { InvalidInput } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { DaemonSettings } from "./identity.ts";

/** How the daemon is started. */
export interface DaemonOptions extends DaemonSettings {
  /** Without the prefix, as the following. */
  socketPath: string;
  /** "" for none. */
  pidFile: string;
  log: Log;
  signal: AbortSignal;
  env: Readonly<Record<string, string | undefined>>;
}

/** The daemon's options as texts, by their names; "" and false where not given. */
export interface DaemonFlags {
  socketpath: string;
  hostprefix: string;
  pidfile: string;
  broadcast: boolean;
  timeout: string;
  resendmax: string;
  resendtimeout: string;
}

/** The reference's. */
export const defaultFlags: DaemonFlags = {
  socketpath: defaultSocketPath,
  hostprefix: "",
  pidfile: "",
  broadcast: false,
  timeout: "10s",
  resendmax: "1m2s",
  resendtimeout: "3m28s",
};

/** Throws {@link InvalidInput} that names the option. */
export function optionsOf(flags: DaemonFlags): Omit<DaemonOptions, "log" | "signal" | "env"> {
  const absolute = (name: "socketpath" | "pidfile") => {
    // As with the reference: an empty path is one that was not given.
    const path = flags[name] || defaultFlags[name];
    if (path.startsWith("/") || path === "") return path;
    throw new InvalidInput(`--${name}`, path, "is not an absolute path", { remedy: "Begin it with /" });
  };
  const time = (name: "timeout" | "resendmax" | "resendtimeout") => {
    const milliseconds = parseDuration(flags[name], `--${name}`);
    if (milliseconds > 0) return milliseconds;
    throw new InvalidInput(`--${name}`, flags[name], "is no time at all");
  };
  return {
    socketPath: absolute("socketpath"),
    pidFile: absolute("pidfile"),
    hostPrefix: flags.hostprefix,
    broadcast: flags.broadcast,
    timeout: time("timeout"),
    resendMax: time("resendmax"),
    resendTimeout: time("resendtimeout"),
  };
}

/**
 * The flags of the reference's `dhcp daemon`, as Go's package flag reads them: with one dash or two, `-broadcast` or
 * `-broadcast=true`. Throws {@link InvalidInput}.
 */
export function parseGoFlags(args: readonly string[]): DaemonFlags {
  const flags = { ...defaultFlags };
  const names = Object.keys(defaultFlags) as (keyof DaemonFlags)[];
  const dashed = args.map((arg) => arg.replace(/^-(?=[a-z])/, "--"));
  const { tokens } = parseArgs({
    args: dashed,
    options: Object.fromEntries(
      names.map((name) => [name, { type: name === "broadcast" ? "boolean" : "string" }]),
    ),
    strict: false,
    tokens: true,
  });
  for (const token of tokens) {
    const name = names.find((each) => token.kind === "option" && each === token.name);
    if (token.kind !== "option" || name === undefined) {
      throw new InvalidInput("dhcp daemon", args[token.index], "is no flag", {
        remedy: `There are ${names.map((each) => `-${each}`).join(", ")}`,
      });
    }
    if (name === "broadcast") flags.broadcast = isTrue(token.value ?? "true");
    else if (token.value !== undefined) flags[name] = token.value;
    else throw new InvalidInput(`-${name}`, undefined, "wants a value");
  }
  return flags;
}

function isTrue(text: string): boolean {
  if (/^(1|t|true)$/i.test(text)) return true;
  if (/^(0|f|false)$/i.test(text)) return false;
  throw new InvalidInput("-broadcast", text, "is neither true nor false");
}
