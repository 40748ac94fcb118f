import { Prefix } from "../../lib/prefix.ts";
import type { LeanElement, LeanKey } from "../../linux/lean/nft.ts";
import type { PortMapping, PortmapConfig } from "./config.ts";
import { isOfFamily } from "./config.ts";

/*
 * A connection to one of the host's own addresses and a mapped port leads to the container. In table inet weft-cni:
 *
 *     chain portmap-prerouting, -output    fib daddr type local: jump portmap
 *     chain portmap                        mark what has to be masqueraded, then dnat by map
 *     map portmap-ip4, portmap4            [host address .] protocol . port : container's address . port
 *     map portmap-snat-ip4, portmap-snat4  the same keys : jump portmap-snat-10.244.1.0/24-13
 *     chain portmap-snat-10.244.1.0/24-13  from 10.244.1.0/24 or 127.0.0.0/8: set bit 13 of the mark
 *     chain portmap-masquerade-13          bit 13 of the mark: masquerade
 *
 * Two elements for each mapping and no chain for each container. The same for IPv6. Networks with conditions have all
 * of it once more, with the conditions' hash at the end of the names: their conditions stand before the jump.
 */

/** The names of one set of chains and maps. */
export interface PortmapGroup {
  /** "" or "-" and a hash of the conditions. */
  suffix: string;
}

/** The group of a configuration. */
export function groupOf({ conditions }: PortmapConfig): PortmapGroup {
  if (conditions[4].length === 0 && conditions[6].length === 0) return { suffix: "" };
  const text = JSON.stringify([conditions[4], conditions[6]]);
  return { suffix: `-${new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 8)}` };
}

/** The chain that all connections to mapped ports go through. */
export function mainChainName({ suffix }: PortmapGroup): string {
  return `portmap${suffix}`;
}

/** The base chains that lead there, by what the kernel calls their place. */
export function hookChainName(hook: "prerouting" | "output", { suffix }: PortmapGroup): string {
  return `portmap-${hook}${suffix}`;
}

/** The chain that keeps neighbours from 127.0.0.0/8: there as long as anybody has a mapping, in whatever group. */
export const guardChainName = "portmap-guard";

/** An empty chain that is there where some group has conditions; see precedence.ts. */
export const conditionsChainName = "portmap-conditions";

/** The set of the links for which route_localnet was turned on, to be turned off with the last mapping that needs it. */
export const localnetSetName = "portmap-localnet";

/** How the names of {@link snatChainName} begin. */
export const snatChainPrefix = "portmap-snat-";

/** The map for mappings of a family, at one address of the host or at all. */
export function dnatMapName(family: 4 | 6, byAddress: boolean, { suffix }: PortmapGroup): string {
  return `portmap${byAddress ? "-ip" : ""}${family}${suffix}`;
}

/** The map of what to do before the address is changed. */
export function snatMapName(family: 4 | 6, byAddress: boolean, { suffix }: PortmapGroup): string {
  return `portmap-snat${byAddress ? "-ip" : ""}${family}${suffix}`;
}

/** The map of mappings whose port a later container has; see waiting.ts. */
export function waitingMapName(family: 4 | 6, { suffix }: PortmapGroup): string {
  return `portmap-waiting${family}${suffix}`;
}

/** The chain that marks connections from a network. nft's names cannot have colons. */
export function snatChainName(network: Prefix, markBit: number): string {
  return `${snatChainPrefix}${String(network).replaceAll(":", "_")}-${markBit}`;
}

/** The sources whose connections are masqueraded, besides localhost. */
export function snatNetwork(address: Prefix, { masqAll }: PortmapConfig): Prefix {
  return masqAll ? Prefix.default(address.family) : address.masked();
}

/** The elements for a container's addresses. */
export function elementsFor(
  config: PortmapConfig,
  addresses: readonly Prefix[],
  comment: string,
): LeanElement[] {
  const group = groupOf(config);
  const elements: LeanElement[] = [];
  for (const address of addresses) {
    const { family, ip } = address;
    for (const mapping of config.mappings) {
      if (!isOfFamily(mapping, family)) continue;
      const { key, byAddress } = keyOf(mapping);
      const data = new Uint8Array(ip.bytes.length + 4);
      data.set(ip.bytes);
      writePort(data, ip.bytes.length, mapping.containerPort);
      elements.push({ set: dnatMapName(family, byAddress, group), key, data, comment });
      if (!config.snat) continue;
      const chain = snatChainName(snatNetwork(address, config), config.markBit);
      elements.push({ set: snatMapName(family, byAddress, group), key, data: chain, comment });
    }
  }
  return elements;
}

/** The names of all elements that a container with these mappings can have, of both families. */
export function keysFor(config: PortmapConfig): LeanKey[] {
  const group = groupOf(config);
  return ([4, 6] as const).flatMap((family) =>
    config.mappings
      .filter((mapping) => isOfFamily(mapping, family))
      .flatMap((mapping) => {
        const { key, byAddress } = keyOf(mapping);
        return [
          { set: dnatMapName(family, byAddress, group), key },
          { set: snatMapName(family, byAddress, group), key },
        ];
      }),
  );
}

/** [address .] protocol . port, each padded to four bytes. */
function keyOf({ hostIp, protocol, hostPort }: PortMapping): { key: Uint8Array; byAddress: boolean } {
  const byAddress = hostIp !== undefined && !hostIp.isUnspecified();
  const address = byAddress ? hostIp.bytes : new Uint8Array(0);
  const key = new Uint8Array(address.length + 8);
  key.set(address);
  key[address.length] = protocol;
  writePort(key, address.length + 4, hostPort);
  return { key, byAddress };
}

function writePort(bytes: Uint8Array, at: number, port: number): void {
  bytes[at] = port >> 8;
  bytes[at + 1] = port & 0xff;
}
