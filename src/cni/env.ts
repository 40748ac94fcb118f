import { quote } from "../lib/errors.ts";
import { firstOf } from "../lib/lists.ts";
import { didYouMean } from "../lib/suggest.ts";
import { CniError, cniErrorCode } from "./errors.ts";
import { requireContainerId, requireInterfaceName } from "./validate.ts";

/** What a runtime can ask of a plugin. */
export const commands = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"] as const;
export type CniCommand = (typeof commands)[number];

/** CNI_ARGS, as far as anything here knows its keys. */
export interface CniArgs {
  /** The variable as it came, to be handed on. */
  readonly text: string;
  ignoreUnknown?: boolean;
  /** A requested address (host-local), or several with their prefix lengths (static). */
  ip?: string;
  /** The gateways of the addresses under `ip` (static). */
  gateway?: string;
  /** A requested hardware address (bridge, macvlan, tap, tuning). */
  mac?: string;
  podNamespace?: string;
  podName?: string;
  podInfraContainerId?: string;
  podUid?: string;
}

const argKeys = {
  IP: "ip",
  GATEWAY: "gateway",
  MAC: "mac",
  K8S_POD_NAMESPACE: "podNamespace",
  K8S_POD_NAME: "podName",
  K8S_POD_INFRA_CONTAINER_ID: "podInfraContainerId",
  K8S_POD_UID: "podUid",
} as const;

/**
 * Reads CNI_ARGS ("K=V;K2=V2"). Keys that nothing here knows are an error of code 4 unless `ignoreUnknown`, or IgnoreUnknown
 * is "1" or "true".
 */
export function parseCniArgs(text: string, ignoreUnknown = false): CniArgs {
  const args: CniArgs = { text };
  const unknown: string[] = [];
  for (const pair of text.split(";")) {
    if (pair === "") continue;
    const [key, value, ...more] = pair.split("=");
    if (key === undefined || key === "" || value === undefined || more.length > 0) {
      throw argsError(`${quote(pair)} is not a pair`, "Write pairs like KEY=VALUE, with ; between them");
    }
    if (key === "IgnoreUnknown") args.ignoreUnknown = parseBoolean(key, value);
    else if (Object.hasOwn(argKeys, key)) args[argKeys[key as keyof typeof argKeys]] = value;
    else unknown.push(key);
  }
  if (unknown.length > 0 && !ignoreUnknown && args.ignoreUnknown !== true) {
    const known = ["IgnoreUnknown", ...Object.keys(argKeys)];
    const named = unknown.map((key) => `${quote(key)}${didYouMean(key, known)}`).join(", ");
    throw argsError(`unknown key ${named}`, "Remove it or add IgnoreUnknown=1");
  }
  return args;
}

/**
 * CNI_ARGS for one command. What is wrong with them must not keep DEL from removing what an ADD has made.
 * `knowsNone`: for a plugin that looks at no key, so that none is unknown to it.
 */
export function argsOf(command: CniCommand, text: string, knowsNone: boolean): CniArgs {
  if (command !== "DEL") return parseCniArgs(text, knowsNone);
  try {
    return parseCniArgs(text);
  } catch {
    return { text };
  }
}

function parseBoolean(key: string, value: string): boolean {
  const lower = value.toLowerCase();
  if (lower === "1" || lower === "true") return true;
  if (lower === "0" || lower === "false") return false;
  throw argsError(`${key}=${value} is neither true nor false`, "Use 1 or 0");
}

function argsError(problem: string, remedy: string): CniError {
  return new CniError(cniErrorCode.invalidEnvironment, `CNI_ARGS: ${problem}`, { remedy });
}

/** The variables with which a runtime starts a plugin, checked. */
export interface Invocation {
  command: CniCommand;
  /** "" for GC, STATUS and VERSION. */
  containerId: string;
  /** Path of the namespace's file; "" where none was given. */
  netns: string;
  /** "" for GC, STATUS and VERSION. */
  ifname: string;
  args: CniArgs;
  /** The folders of CNI_PATH. */
  path: string[];
  /** CNI_NETNS_OVERRIDE: the namespace may be the plugin's own. */
  netnsOverride: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

const attachmentVariables = ["CNI_CONTAINERID", "CNI_IFNAME"];
const required: Readonly<Record<CniCommand, readonly string[]>> = {
  ADD: [...attachmentVariables, "CNI_NETNS", "CNI_PATH"],
  CHECK: [...attachmentVariables, "CNI_NETNS", "CNI_PATH"],
  DEL: [...attachmentVariables, "CNI_PATH"],
  GC: ["CNI_PATH"],
  STATUS: ["CNI_PATH"],
  VERSION: [],
};

/** Reads CNI_COMMAND; throws code 4 for what is no command. */
export function parseCommand(text: string): CniCommand {
  const command = firstOf(commands, (known) => known === text);
  if (command !== undefined) return command;
  throw new CniError(
    cniErrorCode.invalidEnvironment,
    `unknown CNI_COMMAND: ${quote(text)}${didYouMean(text, commands)}`,
    {
      remedy: `Use one of ${commands.join(", ")}`,
    },
  );
}

/**
 * Reads and checks a plugin's environment. Throws a {@link CniError} of code 4 that names each missing variable, or what
 * is wrong with CNI_ARGS.
 */
export function parseInvocation(env: Environment, { knowsNoArgs = false } = {}): Invocation {
  const command = parseCommand(env.CNI_COMMAND ?? "");
  const missing: string[] = [];
  for (const name of required[command]) if ((env[name] ?? "") === "") missing.push(name);
  if (missing.length > 0) {
    throw new CniError(
      cniErrorCode.invalidEnvironment,
      `required env variables [${missing.join(",")}] missing`,
      { remedy: `${command} needs them` },
    );
  }
  const isAttachment = required[command].includes("CNI_CONTAINERID");
  const override = (env.CNI_NETNS_OVERRIDE ?? "").toLowerCase();
  return {
    command,
    containerId: isAttachment ? requireContainerId(env.CNI_CONTAINERID ?? "") : "",
    netns: env.CNI_NETNS ?? "",
    ifname: isAttachment ? requireInterfaceName(env.CNI_IFNAME ?? "") : "",
    args: argsOf(command, env.CNI_ARGS ?? "", knowsNoArgs),
    path: foldersOf(env.CNI_PATH ?? ""),
    netnsOverride: override === "true" || override === "1",
  };
}

function foldersOf(path: string): string[] {
  const folders: string[] = [];
  for (const folder of path.split(":")) if (folder !== "") folders.push(folder);
  return folders;
}

/** The variables for starting another plugin: those of {@link parseInvocation}, written. */
export function formatEnvironment(invocation: Invocation): Record<string, string> {
  return {
    CNI_COMMAND: invocation.command,
    CNI_CONTAINERID: invocation.containerId,
    CNI_NETNS: invocation.netns,
    CNI_IFNAME: invocation.ifname,
    CNI_ARGS: invocation.args.text,
    CNI_PATH: invocation.path.join(":"),
    ...(invocation.netnsOverride ? { CNI_NETNS_OVERRIDE: "1" } : {}),
  };
}
