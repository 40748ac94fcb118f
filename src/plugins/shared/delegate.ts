import type { CniCommand } from "../../cni/env.ts";
import { CniError, cniErrorCode } from "../../cni/errors.ts";
import { execPlugin, findPlugin, requirePlugin, rubbishError } from "../../cni/exec.ts";
import { parseJsonObject } from "../../cni/netconf.ts";
import type { GcRequest, Plugin, PluginRequest } from "../../cni/plugin.ts";
import { parseResult, type Result } from "../../cni/result.ts";
import { isSupportedVersion } from "../../cni/versions.ts";
import { quote } from "../../lib/errors.ts";
import { isPluginName, type PluginName } from "../names.ts";

/** A delegate is given as long as a runtime usually gives to everything. Milliseconds. */
const delegateTimeout = 120_000;

const ipamPlugins: readonly PluginName[] = ["dhcp", "host-local", "static"];

/**
 * The plugin where this process has it itself; undefined where an executable is to be started. Throws a {@link CniError}
 * of code 7 for one that is known to be no IPAM plugin: with the caller's configuration it would ask itself, without end.
 */
async function ownPlugin(type: string, { invocation, builtin }: PluginRequest): Promise<Plugin | undefined> {
  if (isPluginName(type) && !ipamPlugins.includes(type)) {
    throw new CniError(cniErrorCode.invalidNetworkConfig, `ipam.type: ${quote(type)} gives no addresses`, {
      remedy: `Name an IPAM plugin, such as ${ipamPlugins.join(", ")}`,
    });
  }
  return await builtin(type, findPlugin(type, invocation.path));
}

/** Calls ADD of a delegate, such as the IPAM plugin, with the caller's whole configuration. */
export async function delegateAdd(type: string, request: PluginRequest): Promise<Result> {
  const own = await ownPlugin(type, request);
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
  const own = await ownPlugin(type, request);
  if (own !== undefined) await own.del(request);
  else await execute(type, "DEL", request);
}

/** Calls CHECK of a delegate. */
export async function delegateCheck(type: string, request: PluginRequest): Promise<void> {
  const own = await ownPlugin(type, request);
  if (own !== undefined) await own.check(request);
  else await execute(type, "CHECK", request);
}

/** Calls GC of a delegate. */
export async function delegateGc(type: string, request: GcRequest): Promise<void> {
  const own = await ownPlugin(type, request);
  if (own !== undefined) await own.gc?.(request);
  else await execute(type, "GC", request);
}

/** Calls STATUS of a delegate. */
export async function delegateStatus(type: string, request: PluginRequest): Promise<void> {
  const own = await ownPlugin(type, request);
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
    timeout: request.delegateTimeout ?? delegateTimeout,
    ownGroup: request.delegateTimeout !== undefined,
    env: request.env,
    signal: request.signal,
    onStderr: (text) => request.warn(`${type}: ${text.trimEnd()}`),
  });
}
