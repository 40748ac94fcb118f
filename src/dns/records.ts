import { InvalidInput } from "../lib/errors.ts";
import { Ip } from "../lib/ip.ts";
import { addressRdata, dashed } from "./reverse.ts";
import { RrType } from "./wire/constants.ts";
import { lowerName, nameFromText, nameToText, type WireName, wireLabel } from "./wire/name.ts";

/** The records of one type at one name. RDATA is in wire form, one character per byte, its names uncompressed. */
export interface RrSet {
  type: number;
  /** Seconds. */
  ttl: number;
  rdatas: string[];
}

export interface DnsPort {
  /** Ports without a name have no SRV record of their own. */
  name?: string | undefined;
  /** "TCP", "UDP" or "SCTP". */
  protocol: string;
  port: number;
}

/** A Kubernetes Service, as far as names depend on it. */
export interface DnsService {
  namespace: string;
  name: string;
  /** Empty for headless and ExternalName Services, and before the API server gave one. */
  clusterIPs: readonly string[];
  /** True where clusterIP is "None": the names lead to the endpoints themselves. */
  headless?: boolean | undefined;
  /** The target of an ExternalName Service. */
  externalName?: string | undefined;
  publishNotReadyAddresses?: boolean | undefined;
  ports: readonly DnsPort[];
}

export interface DnsEndpoint {
  addresses: readonly string[];
  hostname?: string | undefined;
  /** The condition "ready"; absent means true, as in the API. */
  ready?: boolean | undefined;
}

/** A Kubernetes EndpointSlice, as far as names depend on it. */
export interface DnsEndpointSlice {
  namespace: string;
  name: string;
  /** The Service that it belongs to (label kubernetes.io/service-name). */
  service: string;
  endpoints: readonly DnsEndpoint[];
  ports: readonly DnsPort[];
}

interface SrvPort {
  /** Owner of the port's SRV records; undefined for a port without a name. */
  owner: WireName | undefined;
  port: number;
}

/** A Service that was checked and is ready for {@link serviceRecords}. */
export interface ServiceSource {
  owner: WireName;
  cname: WireName | undefined;
  clusterIPs: Ip[];
  headless: boolean;
  publishNotReadyAddresses: boolean;
  ports: SrvPort[];
}

/** An EndpointSlice that was checked. */
export interface SliceSource {
  endpoints: { owner: WireName; ready: boolean; ips: Ip[] }[];
  ports: SrvPort[];
}

/** What one Service publishes. */
export interface ServiceRecords {
  /** By owner, in lower case. */
  forward: Map<WireName, RrSet[]>;
  /** Address (text) to the targets of its PTR records. */
  reverse: Map<string, { ip: Ip; targets: WireName[] }>;
}

/** A label of a name (letters, digits, hyphens, underscores) in lower case. */
export function checkLabel(label: string, field: string): string {
  if (/^[a-zA-Z0-9_-]{1,63}$/.test(label)) return label.toLowerCase();
  throw new InvalidInput(field, label, "is not a label of a name", {
    remedy: "Use 1 to 63 letters, digits and hyphens",
  });
}

/** The name of a Service below `base`, the wire form of svc.cluster.local. */
export function serviceName(namespace: string, name: string, base: WireName): WireName {
  const service = wireLabel(checkLabel(name, "metadata.name"));
  return below(service, below(wireLabel(checkLabel(namespace, "metadata.namespace")), base));
}

function below(labels: string, parent: WireName): WireName {
  const name = labels + parent;
  if (name.length > 255) throw new InvalidInput("name", nameToText(name), "is longer than 255 bytes");
  return name;
}

function srvPort(port: DnsPort, owner: WireName): SrvPort {
  if (!port.name) return { owner: undefined, port: port.port };
  const name = wireLabel(checkLabel(`_${port.name}`, "port name"));
  const protocol = wireLabel(checkLabel(`_${port.protocol}`, "port protocol"));
  return { owner: below(name + protocol, owner), port: port.port };
}

/** @throws InvalidInput where a name or address cannot stand in the DNS */
export function serviceSource(service: DnsService, base: WireName): ServiceSource {
  const owner = serviceName(service.namespace, service.name, base);
  const external = service.externalName;
  // An address is no name: such a Service has no records (and the API server warns of it).
  const named = external !== undefined && Ip.tryParse(external) === undefined;
  return {
    owner,
    cname: named ? lowerName(nameFromText(external, "spec.externalName")) : undefined,
    clusterIPs: external === undefined ? service.clusterIPs.map((ip) => Ip.parse(ip, "spec.clusterIPs")) : [],
    headless: service.headless === true && external === undefined,
    publishNotReadyAddresses: service.publishNotReadyAddresses === true,
    ports: service.ports.map((port) => srvPort(port, owner)),
  };
}

/** @throws InvalidInput where a name or address cannot stand in the DNS */
export function sliceSource(slice: DnsEndpointSlice, base: WireName): SliceSource {
  const service = serviceName(slice.namespace, slice.service, base);
  const endpoints: SliceSource["endpoints"] = [];
  for (const endpoint of slice.endpoints) {
    const ips = endpoint.addresses.map((address) => Ip.parse(address, "endpoint address"));
    const ready = endpoint.ready !== false;
    if (endpoint.hostname) {
      const label = wireLabel(checkLabel(endpoint.hostname, "endpoint hostname"));
      endpoints.push({ owner: below(label, service), ready, ips });
    } else {
      for (const ip of ips) {
        endpoints.push({ owner: below(wireLabel(dashed(ip)), service), ready, ips: [ip] });
      }
    }
  }
  return { endpoints, ports: slice.ports.map((port) => srvPort(port, service)) };
}

/**
 * All records of a Service and its endpoints (Kubernetes DNS-Based Service Discovery 1.1.0, sections 2.3 to 2.5). As in
 * CoreDNS, endpoints of Services with a ClusterIP have names too, and the Service's own name has the SRV records of all
 * its ports.
 */
export function serviceRecords(
  service: ServiceSource,
  slices: Iterable<SliceSource>,
  ttl: number,
): ServiceRecords {
  const records = new RecordBuilder(ttl);
  const srv = new Map<WireName, Map<string, { port: number; target: WireName }>>();
  const addSrv = ({ owner, port }: SrvPort, target: WireName) => {
    for (const at of owner === undefined ? [service.owner] : [service.owner, owner]) {
      const entries = srv.get(at) ?? new Map<string, { port: number; target: WireName }>();
      srv.set(at, entries);
      entries.set(`${port} ${target}`, { port, target });
    }
  };
  if (service.cname !== undefined) records.add(service.owner, RrType.CNAME, service.cname);
  for (const ip of service.clusterIPs) records.address(service.owner, ip);
  for (const ip of service.clusterIPs) records.pointer(ip, service.owner);
  if (service.clusterIPs.length > 0) for (const port of service.ports) addSrv(port, service.owner);
  if (service.clusterIPs.length > 0 || service.headless) {
    for (const slice of slices) {
      for (const endpoint of slice.endpoints) {
        if (!endpoint.ready && !service.publishNotReadyAddresses) continue;
        for (const ip of endpoint.ips) {
          records.address(endpoint.owner, ip);
          records.pointer(ip, endpoint.owner);
          if (service.headless) records.address(service.owner, ip);
        }
        if (service.headless) for (const port of slice.ports) addSrv(port, endpoint.owner);
      }
    }
  }
  // Priority 0, and weights that share 100 (RFC 2782; the specification leaves both open).
  for (const [owner, entries] of srv) {
    const weight = Math.max(1, Math.floor(100 / entries.size));
    for (const { port, target } of entries.values()) {
      records.add(owner, RrType.SRV, word(0) + word(weight) + word(port) + target);
    }
  }
  return records;
}

class RecordBuilder implements ServiceRecords {
  readonly forward: ServiceRecords["forward"] = new Map();
  readonly reverse: ServiceRecords["reverse"] = new Map();
  readonly #ttl: number;
  readonly #seen = new Set<string>();

  constructor(ttl: number) {
    this.#ttl = ttl;
  }

  /** Adds a record, once. */
  add(owner: WireName, type: number, rdata: string): void {
    if (!this.#first(`${type} ${rdata} ${owner}`)) return;
    const sets = this.forward.get(owner) ?? [];
    this.forward.set(owner, sets);
    const set = sets.find((candidate) => candidate.type === type);
    if (set === undefined) sets.push({ type, ttl: this.#ttl, rdatas: [rdata] });
    else set.rdatas.push(rdata);
  }

  address(owner: WireName, ip: Ip): void {
    this.add(owner, ip.family === 4 ? RrType.A : RrType.AAAA, addressRdata(ip));
  }

  pointer(ip: Ip, target: WireName): void {
    const key = ip.toString();
    if (!this.#first(`${key} ${target}`)) return;
    const entry = this.reverse.get(key);
    if (entry === undefined) this.reverse.set(key, { ip, targets: [target] });
    else entry.targets.push(target);
  }

  #first(key: string): boolean {
    const size = this.#seen.size;
    return this.#seen.add(key).size > size;
  }
}

function word(value: number): string {
  return String.fromCharCode(value >>> 8, value & 0xff);
}
