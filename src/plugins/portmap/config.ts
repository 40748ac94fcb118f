import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { Fields } from "../../cni/fields.ts";
import type { NetworkConfig, PluginRequest } from "../../cni/plugin.ts";
import { InvalidInput } from "../../lib/errors.ts";
import type { Ip } from "../../lib/ip.ts";
import type { Prefix } from "../../lib/prefix.ts";
import { didYouMean } from "../../lib/suggest.ts";
import { requireChainName } from "../netfilter/iptables-names.ts";
import { needsIptables, parseConditions } from "./conditions.ts";

/** The keys of a portmap configuration. */
export const portmapKeys = [
  "snat",
  "backend",
  "conditionsV4",
  "conditionsV6",
  "masqAll",
  "markMasqBit",
  "externalSetMarkChain",
] as const;

/** Transport protocols by their IP protocol numbers. */
export const protocols = { tcp: 6, udp: 17, sctp: 132 } as const;
export const udp = protocols.udp;

/** What a protocol of a mapping is called. */
export function protocolName(number: number): keyof typeof protocols {
  return number === protocols.udp ? "udp" : number === protocols.sctp ? "sctp" : "tcp";
}

/** The reference's: Kubernetes itself uses 14 and 15. */
const defaultMarkBit = 13;

/** A port of the host. */
export interface HostPort {
  /** The IP protocol's number. */
  protocol: number;
  hostPort: number;
  /** Only at this address of the host. The unspecified address means all of its family. */
  hostIp?: Ip;
}

/** A port of the host that leads to a port of the container. */
export interface PortMapping extends HostPort {
  containerPort: number;
}

/** What the portmap plugin is asked to do. */
export interface PortmapConfig {
  mappings: PortMapping[];
  /** Masquerade connections that would not find their way back: from the container's own network and from localhost. */
  snat: boolean;
  /** Masquerade all connections. */
  masqAll: boolean;
  /** The bit of the packet mark that says so. */
  markBit: number;
  conditions: Readonly<Record<4 | 6, readonly string[]>>;
  backend: "nftables" | "iptables";
  /** A chain of iptables that sets the mark, in place of the plugin's own. */
  setMarkChain?: string;
}

/** Reads a portmap configuration. Throws {@link InvalidInput} or a {@link CniError} that names the key. */
export function parsePortmapConfig({ config: { fields } }: PluginRequest): PortmapConfig {
  const conditions = { 4: fields.strings("conditionsV4") ?? [], 6: fields.strings("conditionsV6") ?? [] };
  const setMarkChain = parseSetMarkChain(fields);
  return {
    mappings: parseMappings(fields.object("runtimeConfig")?.objects("portMappings") ?? []),
    snat: fields.boolean("snat") ?? true,
    masqAll: fields.boolean("masqAll") ?? false,
    markBit: fields.integer("markMasqBit", 0, 31) ?? defaultMarkBit,
    conditions,
    backend: parseBackend(fields, conditions, setMarkChain),
    ...(setMarkChain === undefined ? {} : { setMarkChain }),
  };
}

/**
 * The configuration for DEL. One that ADD refuses has mapped nothing by itself: what an earlier one of the network has
 * mapped is found without it.
 */
export function parsePortmapForDel(request: PluginRequest): PortmapConfig {
  try {
    return parsePortmapConfig(request);
  } catch (error) {
    if (!(error instanceof InvalidInput || error instanceof CniError)) throw error;
    return {
      mappings: [],
      snat: true,
      masqAll: false,
      markBit: defaultMarkBit,
      conditions: { 4: [], 6: [] },
      backend: "nftables",
    };
  }
}

function parseSetMarkChain(fields: Fields): string | undefined {
  const chain = fields.string("externalSetMarkChain");
  if (chain === undefined) return undefined;
  if (fields.get("markMasqBit") !== undefined) {
    throw new CniError(cniErrorCode.unsupportedField, "Cannot specify externalSetMarkChain and markMasqBit", {
      remedy: "The other chain has a mark of its own: leave markMasqBit out",
    });
  }
  return requireChainName(chain, "externalSetMarkChain");
}

/**
 * nftables where nothing says otherwise. What only iptables can do, as a chain of it or one of its many matches, asks
 * for iptables as well as the key does.
 */
function parseBackend(
  fields: Fields,
  conditions: PortmapConfig["conditions"],
  setMarkChain: string | undefined,
): PortmapConfig["backend"] {
  const backend = fields.string("backend") || undefined;
  if (backend === "iptables") return backend;
  if (backend !== undefined && backend !== "nftables") {
    throw new CniError(cniErrorCode.unsupportedField, `backend: "${backend}" is not supported`, {
      remedy: 'Leave the key out, or set it to "nftables" or "iptables"',
    });
  }
  if (setMarkChain !== undefined) {
    if (backend === undefined) return "iptables";
    throw new CniError(
      cniErrorCode.unsupportedField,
      `externalSetMarkChain: "${setMarkChain}" is not supported by backend "nftables"`,
      { remedy: 'It names a chain of iptables: set the backend to "iptables", or leave the chain out' },
    );
  }
  for (const family of [4, 6] as const) {
    if (backend === undefined && needsIptables(conditions[family], family)) return "iptables";
    parseConditions(conditions[family], family);
  }
  return "nftables";
}

function parseMappings(items: Fields[]): PortMapping[] {
  const mappings = new Map<string, PortMapping>();
  for (const item of items) {
    const mapping = parseMapping(item);
    for (const place of placesLike(mapping)) {
      const twin = mappings.get(place);
      if (twin === undefined || twin.containerPort === mapping.containerPort) continue;
      throw new InvalidInput(item.at("hostPort"), mapping.hostPort, "is mapped twice, to different ports");
    }
    mappings.set(placeOf(mapping, mapping.hostIp), mapping);
  }
  // Without an address, a port is at 0.0.0.0 and at :: already.
  const isCovered = (mapping: PortMapping) =>
    mapping.hostIp?.isUnspecified() === true && mappings.has(placeOf(mapping, undefined));
  return [...mappings.values()].filter((mapping) => !isCovered(mapping));
}

function placeOf({ protocol, hostPort }: HostPort, address: Ip | string | undefined): string {
  return `${protocol} ${hostPort} ${address ?? ""}`;
}

/** Where a mapping would be the same port as this one. */
function placesLike(mapping: PortMapping): string[] {
  const { hostIp } = mapping;
  const others = hostIp === undefined ? ["0.0.0.0", "::"] : hostIp.isUnspecified() ? [undefined] : [];
  return [hostIp, ...others].map((address) => placeOf(mapping, address));
}

function parseMapping(item: Fields): PortMapping {
  const port = (name: string) => {
    const value = item.integer(name, 1, 65535);
    if (value === undefined) throw item.missing(name);
    return value;
  };
  const name = (item.string("protocol") || "tcp").toLowerCase();
  if (!Object.hasOwn(protocols, name)) {
    throw new InvalidInput(
      item.at("protocol"),
      name,
      `is not a transport protocol${didYouMean(name, Object.keys(protocols))}`,
      { remedy: "Use tcp, udp or sctp" },
    );
  }
  const hostIp = item.ip("hostIP");
  return {
    protocol: protocols[name as keyof typeof protocols],
    hostPort: port("hostPort"),
    containerPort: port("containerPort"),
    ...(hostIp === undefined ? {} : { hostIp }),
  };
}

/**
 * The container's addresses by prevResult that a mapping concerns, one of each family: those of interface `ifname` in a
 * sandbox, or of no named interface.
 */
export function containerAddresses(
  { prevResult }: NetworkConfig,
  ifname: string,
  mappings: readonly PortMapping[],
): Prefix[] {
  const found: Prefix[] = [];
  for (const { address, interface: index } of prevResult?.ips ?? []) {
    if (found.some(({ family }) => family === address.family)) continue;
    const described = index === undefined ? undefined : prevResult?.interfaces[index];
    if (described !== undefined && (described.name !== ifname || described.sandbox === undefined)) continue;
    found.push(address);
  }
  return found.filter(({ family }) => mappings.some((mapping) => isOfFamily(mapping, family)));
}

/** True where the mapping concerns containers' addresses of this family. */
export function isOfFamily({ hostIp }: HostPort, family: 4 | 6): boolean {
  return hostIp === undefined || hostIp.family === family;
}
