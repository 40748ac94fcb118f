import { Ip } from "../lib/ip.ts";

/** The nameservers of a resolv.conf(5) file, in its order; lines that name no address are left out. */
export function parseResolvConf(text: string): string[] {
  const servers: string[] = [];
  for (const line of text.split("\n")) {
    const address = /^\s*nameserver\s+(\S+)/.exec(line)?.[1];
    if (address === undefined) continue;
    // A link-local address needs its zone ("fe80::1%eth0"), which the socket takes as it stands.
    const bare = address.replace(/%[\w.-]+$/, "");
    if (Ip.tryParse(bare) !== undefined && !servers.includes(address)) servers.push(address);
  }
  return servers;
}
