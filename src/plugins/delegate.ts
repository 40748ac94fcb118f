import type { CniCommand } from "../cni/env.ts";
import { execPlugin, findPlugin, requirePlugin, rubbishError } from "../cni/exec.ts";
import { parseJsonObject } from "../cni/netconf.ts";
import type { GcRequest, Plugin, PluginRequest } from "../cni/plugin.ts";
import { parseResult, type Result } from "../cni/result.ts";
import { isSupportedVersion } from "../cni/versions.ts";
import { status } from "../linux/lean/files.ts";

/** A delegate is given as long as a runtime usually gives to everything. Milliseconds. */
const delegateTimeout = 120_000;

/**
 * Weft's own plugin where CNI_PATH leads to this very executable, or to nothing at all; undefined where another
 * binary is to be run.
 */
function ownPlugin(type: string, { invocation, builtin }: PluginRequest): Plugin | undefined {
  const own = builtin(type);
  if (own === undefined) return undefined;
  const file = findPlugin(type, invocation.path);
  return file === undefined || isThisExecutable(file) ? own : undefined;
}

function isThisExecutable(file: string): boolean {
  return status(file)?.identity === status(process.execPath)?.identity;
}

/** Calls ADD of a delegate, such as the IPAM plugin, with the caller's whole configuration. */
export async function delegateAdd(type: string, request: PluginRequest): Promise<Result> {
  const own = ownPlugin(type, request);
  if (own !== undefined) return await own.add(request);
  const output = await execute(type, "ADD", request);
  try {
    const raw = parseJsonObject(output, "result");
    const version = raw.cniVersion;
    const known = typeof version === "string" && isSupportedVersion(version);
    return parseResult(raw, known ? version : request.config.cniVersion);
  } catch (error) {
    throw rubbishError(type, "ADD", output, error);
  }
}

/** Calls DEL of a delegate. */
export async function delegateDel(type: string, request: PluginRequest): Promise<void> {
  const own = ownPlugin(type, request);
  if (own !== undefined) await own.del(request);
  else await execute(type, "DEL", request);
}

/** Calls CHECK of a delegate. */
export async function delegateCheck(type: string, request: PluginRequest): Promise<void> {
  const own = ownPlugin(type, request);
  if (own !== undefined) await own.check(request);
  else await execute(type, "CHECK", request);
}

/** Calls GC of a delegate. */
export async function delegateGc(type: string, request: GcRequest): Promise<void> {
  const own = ownPlugin(type, request);
  if (own !== undefined) await own.gc?.(request);
  else await execute(type, "GC", request);
}

/** Calls STATUS of a delegate. */
export async function delegateStatus(type: string, request: PluginRequest): Promise<void> {
  const own = ownPlugin(type, request);
  if (own !== undefined) await own.status?.(request);
  else await execute(type, "STATUS", request);
}

async function execute(type: string, command: CniCommand, request: PluginRequest): Promise<string> {
  const { invocation, config } = request;
  return await execPlugin({
    file: requirePlugin(type, invocation.path),
    type,
    invocation: { ...invocation, command },
    stdin: JSON.stringify(config.fields.raw),
    timeout: delegateTimeout,
    ownGroup: false,
    onStderr: (text) => request.warn(`${type}: ${text.trimEnd()}`),
  });
}
