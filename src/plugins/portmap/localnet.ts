import type { Prefix } from "../../lib/prefix.ts";
import { isNotFound } from "../../linux/errors.ts";
import { readText } from "../../linux/lean/files.ts";
import { LeanRtnl } from "../../linux/lean/rtnl.ts";
import { tryWriteSysctl } from "../shared/interface.ts";

function keyOf(link: string): string {
  return `net/ipv4/conf/${link}/route_localnet`;
}

/** Turns on or off that packets of 127.0.0.0/8 may leave and come by a link. */
export function routeLocalnet(link: string, on: boolean): void {
  tryWriteSysctl(keyOf(link), on ? "1" : "0");
}

function isOff(link: string): boolean {
  try {
    return readText(`/proc/sys/${keyOf(link)}`).trim() === "0";
  } catch (error) {
    // The link has just gone.
    if (isNotFound(error)) return false;
    throw error;
  }
}

/**
 * Lets connections from 127.0.0.1 leave by the link to the container (route_localnet). The structure, which has to be
 * there, has a rule that keeps the neighbours there from reaching 127.0.0.0/8 (CVE-2020-8558). `remember` is called
 * before, for a link that does not go with the container.
 */
export async function allowLocalhost(
  addresses: readonly Prefix[],
  remember: (link: string) => void | Promise<void>,
): Promise<void> {
  const address = addresses.find(({ family }) => family === 4);
  if (address === undefined) return;
  using rtnl = new LeanRtnl();
  // The host itself may have no way to the container, such as behind macvlan: so has localhost.
  const index = rtnl.outgoingLink(address.ip);
  const link = index === undefined ? undefined : rtnl.find(index);
  if (link === undefined || !isOff(link.name)) return;
  if (link.kind !== "veth") await remember(link.name);
  routeLocalnet(link.name, true);
}
