import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import type { Result, ResultInterface } from "../../cni/result.ts";
import type { Link } from "../../linux/route/link.ts";
import type { Rtnl } from "../../linux/route/rtnl.ts";

/* What CHECK of many plugins begins with: the result of ADD, and the links that it names. */

/** The result of ADD, or in ADD of the plugin before. Throws a {@link CniError} of code 7 where the runtime did not give it. */
export function requirePrevResult({ invocation, config: { type, prevResult } }: PluginRequest): Result {
  if (prevResult !== undefined) return prevResult;
  throw new CniError(cniErrorCode.invalidNetworkConfig, "Required prevResult missing", {
    remedy:
      invocation.command === "ADD"
        ? `Put ${type} behind the plugin that makes the interface, in a configuration list`
        : "CHECK needs the result of ADD under prevResult",
  });
}

/** How a result describes the container's interface. Throws where it is of another namespace. */
export function describedInterface({ invocation }: PluginRequest, { interfaces }: Result): ResultInterface {
  const { ifname, netns } = invocation;
  const found = interfaces.find(({ name, sandbox }) => name === ifname && sandbox === netns);
  if (found !== undefined) return found;
  const sandbox = interfaces.find(({ name }) => name === ifname)?.sandbox ?? "";
  throw mismatch(`Sandbox in prevResult ${sandbox} doesn't match configured netns: ${netns}`);
}

/** The link that a result describes, of one of the kernel's kinds where one is given. */
export function requireLink(rtnl: Rtnl, { name, mac }: ResultInterface, kind?: string): Link {
  const link = rtnl.links.find(name);
  if (link === undefined) throw mismatch(`Interface name ${name} not found`);
  if (kind !== undefined && link.kind !== kind) {
    throw mismatch(`Interface ${name} does not have link type of ${kind}`);
  }
  if (mac !== undefined && mac.toLowerCase() !== link.mac) {
    throw mismatch(`Interface ${name} Mac doesn't match: ${mac} is expected, it is ${link.mac}`);
  }
  return link;
}

/** A difference between the result and the system. */
export function mismatch(problem: string): CniError {
  return new CniError(cniErrorCode.internal, problem, {
    remedy: "Delete the container's sandbox and make it anew",
  });
}
