import type { Bridge, IngressPolicy } from "./config.ts";

/*
 * What may be forwarded to containers. In table inet weft-cni:
 *
 *     chain firewall-admin-CNI-ADMIN     (forward, before the next) jump CNI-ADMIN, which is the administrator's
 *     chain firewall                     (forward) established: accept; else ip daddr vmap @firewall4
 *     map firewall4                      10.244.1.7 : jump firewall-same-bridge-cni0     comment: the attachment
 *     chain firewall-open                accept
 *     chain firewall-same-bridge-cni0    from cni0: accept; from another bridge with such a policy: drop
 *     chain firewall-isolated-cni0       from any bridge with such a policy: drop
 *     set firewall-bridges               the bridges with such a policy
 *
 * The same for IPv6. A packet that begins a connection costs one lookup. What containers of a bridge send each other
 * the bridge forwards by itself; where that has to be dropped, table bridge weft-cni has the ports (see table.ts).
 */

/** The map of a family. */
export function firewallMap(family: 4 | 6): string {
  return `firewall${family}`;
}

/** The base chain that asks an administrator's chain first. */
export function adminEntry(adminChain: string): string {
  return `firewall-admin-${adminChain}`;
}

/** The chain for containers with a policy. */
export function firewallChain(policy: IngressPolicy, bridge: Bridge | undefined): string {
  return bridge === undefined ? `firewall-${policy}` : `firewall-${policy}-${bridge.vlan ?? bridge.name}`;
}

/** True where the chain of a policy, by its name, is for this bridge, or for one of its VLANs. */
export function isChainOfBridge(chain: string, bridge: string): boolean {
  const name = /^firewall-(?:same-bridge|isolated)-(.+)$/.exec(chain)?.[1];
  return name === bridge || name?.startsWith(`${bridge}.`) === true;
}

/** The base chain in which connections to containers are looked up. */
export const forwardHookChain = "firewall";
