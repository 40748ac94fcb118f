import type { GcRequest, PluginRequest } from "../../cni/plugin.ts";
import { Ip } from "../../lib/ip.ts";
import type { Prefix } from "../../lib/prefix.ts";
import { Iptables } from "../netfilter/iptables.ts";
import { dnatPrefix, iptablesChain } from "../netfilter/iptables-names.ts";
import {
  ensureParts,
  goneContainers,
  type IptablesPart,
  type IptablesParts,
  iptablesWith,
  isThere,
  removeChain,
} from "../netfilter/iptables-rules.ts";
import { noChains, openNft } from "../netfilter/open-nft.ts";
import type { Undo } from "../shared/undo.ts";
import {
  type HostPort,
  isOfFamily,
  type PortMapping,
  type PortmapConfig,
  protocolName,
  protocols,
} from "./config.ts";

/*
 * Port mappings in iptables, in the chains and with the comments of the reference:
 *
 *     PREROUTING, OUTPUT       -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
 *     CNI-HOSTPORT-DNAT        -p tcp -m multiport --destination-ports 8080,8081 -j CNI-DN-<hash>
 *     CNI-DN-<hash>            from the own network or localhost: -j CNI-HOSTPORT-SETMARK; then -j DNAT
 *     POSTROUTING              -j CNI-HOSTPORT-MASQ: marked: -j MASQUERADE
 */

const table = "nat";
const dnatChain = "CNI-HOSTPORT-DNAT";
const setMarkChain = "CNI-HOSTPORT-SETMARK";
const masqueradeChain = "CNI-HOSTPORT-MASQ";
/** Of iptables' multiport. */
const mostPorts = 15;
/** Of iptables' comment. */
const longestComment = 255;

function rule(chain: string, words: readonly string[], first = false): IptablesPart {
  return { kind: "rule", chain, words, ...(first ? { first } : {}) };
}

function partsFor(request: PluginRequest, config: PortmapConfig, address: Prefix): IptablesParts {
  return {
    table,
    shared: [...(config.snat && config.setMarkChain === undefined ? masquerading(config) : []), ...entering],
    own: ownParts(request, config, address),
  };
}

const entering: readonly IptablesPart[] = [
  { kind: "chain", name: dnatChain },
  ...["PREROUTING", "OUTPUT"].map((chain) =>
    rule(chain, ["-m", "addrtype", "--dst-type", "LOCAL", "-j", dnatChain]),
  ),
];

function masquerading({ markBit }: PortmapConfig): IptablesPart[] {
  const mark = `0x${(2 ** markBit).toString(16)}`;
  const marked = `${mark}/${mark}`;
  const comment = (text: string) => ["-m", "comment", "--comment", text];
  return [
    { kind: "chain", name: setMarkChain },
    rule(setMarkChain, [...comment("CNI portfwd masquerade mark"), "-j", "MARK", "--set-xmark", marked]),
    { kind: "chain", name: masqueradeChain },
    rule(masqueradeChain, ["-m", "mark", "--mark", marked, "-j", "MASQUERADE"]),
    // Before what masquerades a container's own connections, which would end the search.
    rule("POSTROUTING", [...comment("CNI portfwd requiring masquerade"), "-j", masqueradeChain], true),
  ];
}

function ownParts(request: PluginRequest, config: PortmapConfig, address: Prefix): IptablesPart[] {
  const { config: network, invocation } = request;
  const { family } = address;
  const chain = iptablesChain(network.name, invocation.containerId, dnatPrefix);
  const whole = `dnat name: "${network.name}" id: "${invocation.containerId}"`;
  const comment = whole.length <= longestComment ? whole : `${whole.slice(0, longestComment - 2)}...`;
  const parts: IptablesPart[] = [{ kind: "chain", name: chain }];
  for (const mapping of config.mappings) {
    if (isOfFamily(mapping, family)) parts.push(...rulesFor(chain, mapping, config, address));
  }
  for (const [protocol, ports] of portsByProtocol(config.mappings)) {
    for (let i = 0; i < ports.length; i += mostPorts) {
      const words = ["-m", "comment", "--comment", comment, "-m", "multiport", "-p", protocol];
      words.push("--destination-ports", ports.slice(i, i + mostPorts).join(","));
      // In front of those that had the port before: the latest container has it.
      parts.push(rule(dnatChain, [...words, ...config.conditions[family], "-j", chain], true));
    }
  }
  return parts;
}

function rulesFor(
  chain: string,
  mapping: PortMapping,
  config: PortmapConfig,
  address: Prefix,
): IptablesPart[] {
  const { hostIp, hostPort, containerPort, protocol } = mapping;
  const { family, ip } = address;
  const base = ["-p", protocolName(protocol), "--dport", String(hostPort)];
  if (hostIp !== undefined && !hostIp.isUnspecified()) base.push("-d", String(hostIp));
  const target = family === 4 ? `${ip}:${containerPort}` : `[${ip}]:${containerPort}`;
  const sources: string[] = [];
  if (config.snat && config.masqAll) sources.push(family === 4 ? "0.0.0.0/0" : "::/0");
  else if (config.snat) sources.push(String(address), ...(family === 4 ? ["127.0.0.1"] : []));
  const mark = config.setMarkChain ?? setMarkChain;
  return [
    ...sources.map((source) => rule(chain, [...base, "-s", source, "-j", mark])),
    rule(chain, [...base, "-j", "DNAT", "--to-destination", target]),
  ];
}

function portsByProtocol(mappings: readonly PortMapping[]): [string, number[]][] {
  const ports = new Map<string, number[]>();
  for (const { protocol, hostPort } of mappings) {
    const name = protocolName(protocol);
    ports.set(name, [...(ports.get(name) ?? []), hostPort]);
  }
  return [...ports].sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Maps the ports to a container by the host's iptables. */
export async function addIptablesMappings(
  request: PluginRequest,
  config: PortmapConfig,
  addresses: readonly Prefix[],
  undo: Undo[],
): Promise<void> {
  undo.push(async () => void (await removeIptablesMappings(request)));
  for (const address of addresses) {
    await ensureParts(new Iptables(request, address.family), partsFor(request, config, address));
  }
}

/** Takes back what {@link addIptablesMappings}, or the reference, did for a container. Returns the ports. */
export async function removeIptablesMappings(request: PluginRequest): Promise<HostPort[]> {
  const { config, invocation } = request;
  const chain = iptablesChain(config.name, invocation.containerId, dnatPrefix);
  using nft = openNft();
  const removed: string[] = [];
  for (const iptables of iptablesWith(nft ?? noChains, request, table, chain)) {
    removed.push(...(await removeChain(iptables, { table, chain, entry: dnatChain })));
  }
  return removed.flatMap(portOf);
}

/** What CHECK misses in iptables; undefined where all is there. */
export async function missingIptablesMapping(
  request: PluginRequest,
  config: PortmapConfig,
  addresses: readonly Prefix[],
): Promise<string | undefined> {
  for (const address of addresses) {
    const iptables = new Iptables(request, address.family);
    const { shared, own } = partsFor(request, config, address);
    for (const part of [...shared, ...own]) {
      if (!(await isThere(iptables, table, part))) {
        return part.kind === "chain" ? `chain ${part.name} of iptables` : `chain ${part.chain} of iptables`;
      }
    }
  }
  return undefined;
}

/** Removes what is there for containers of the network that are not valid. Returns the ports. */
export async function collectIptablesMappings(request: GcRequest): Promise<HostPort[]> {
  const { config, valid } = request;
  using nft = openNft();
  const removed: string[] = [];
  for (const iptables of iptablesWith(nft ?? noChains, request, table, dnatChain)) {
    const rules = (await iptables.rules(table, dnatChain)) ?? [];
    for (const chain of goneContainers(rules, config.name, valid, dnatPrefix)) {
      removed.push(...(await removeChain(iptables, { table, chain, entry: dnatChain })));
    }
  }
  return removed.flatMap(portOf);
}

/** The port of the host that a rule maps. */
function portOf(line: string): HostPort[] {
  const protocol = / -p (tcp|udp|sctp) /.exec(line)?.[1];
  const port = / --dport (\d+) /.exec(line)?.[1];
  if (protocol === undefined || port === undefined || !line.includes(" -j DNAT ")) return [];
  const address = / -d ([0-9a-f.:]+)/.exec(line)?.[1];
  return [
    {
      protocol: protocols[protocol as keyof typeof protocols],
      hostPort: Number(port),
      ...(address === undefined ? {} : { hostIp: Ip.parse(address) }),
    },
  ];
}
