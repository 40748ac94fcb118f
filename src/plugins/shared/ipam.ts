import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import type { Result } from "../../cni/result.ts";
import { InvalidInput } from "../../lib/errors.ts";
import type { Ip } from "../../lib/ip.ts";
import { anyOf } from "../../lib/lists.ts";
import { findLeases } from "../ipam/host-local.ts";
import { delegateAdd, delegateDel } from "./delegate.ts";
import type { Undo } from "./undo.ts";

/** Asks the IPAM plugin for the container's addresses. Throws a {@link CniError} where it gives none. */
export async function addIpam(ipamType: string, request: PluginRequest, undo: Undo[]): Promise<Result> {
  const ipam = await delegateAdd(ipamType, request);
  undo.push(() => delegateDel(ipamType, request));
  if (ipam.ips.length > 0) return ipam;
  throw new CniError(cniErrorCode.internal, "IPAM plugin returned missing IP config", {
    remedy: `Check what plugin "${ipamType}" is asked for under "ipam"`,
  });
}

/** The attachment's addresses by lease record and prevResult; undefined where neither knows, or the records cannot be read. */
export async function knownAddresses(request: PluginRequest): Promise<Ip[] | undefined> {
  const { prevResult, ipamType } = request.config;
  const known = prevResult?.ips.map(({ address }) => address.ip) ?? [];
  const leases = ipamType === "host-local" ? await readableLeases(request) : [];
  if (leases === undefined) return undefined;
  for (const ip of leases) {
    if (!anyOf(known, (other) => other.equals(ip))) known.push(ip);
  }
  return known.length === 0 ? undefined : known;
}

/** What is wrong with the records is for the IPAM plugin to say: here they are only a short cut. */
async function readableLeases(request: PluginRequest): Promise<readonly Ip[] | undefined> {
  try {
    return await findLeases(request);
  } catch (error) {
    if (error instanceof CniError || error instanceof InvalidInput) return undefined;
    throw error;
  }
}

/**
 * True for IPAM that speaks through the container's interface: it has to be up when addresses are asked for, and still there
 * when they are given back.
 */
export function needsLink(ipamType: string | undefined): boolean {
  return ipamType === "dhcp";
}
