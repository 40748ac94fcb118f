import { InvalidInput } from "../lib/errors.ts";
import { Ip } from "../lib/ip.ts";
import { addressOf, addressRdata, dashed } from "./reverse.ts";
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

/** A port that was checked. */
export interface PortSource {
  /** Such as "_http._tcp" in wire form, which stands before the Service's name; "" for a port without a name. */
  prefix: string;
  port: number;
}

/** A Service that was checked and is ready for {@link serviceRecords}. */
export interface ServiceSource {
  /** The target of an ExternalName. */
  cname: WireName | undefined;
  /** RDATA of A and AAAA records. */
  clusterIPs: string[];
  headless: boolean;
  publishNotReadyAddresses: boolean;
  ports: PortSource[];
}

/** One address of an endpoint that was checked. */
export interface EndpointSource {
  /** RDATA of its A or AAAA record. */
  address: string;
  /** Undefined where the label of its name is the dashed address. */
  hostname: string | undefined;
  ready: boolean;
}

/** An EndpointSlice that was checked. */
export interface SliceSource {
  endpoints: EndpointSource[];
  ports: PortSource[];
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

function portSource(port: DnsPort, owner: WireName): PortSource {
  if (!port.name) return { prefix: "", port: port.port };
  const name = wireLabel(checkLabel(`_${port.name}`, "port name"));
  const prefix = name + wireLabel(checkLabel(`_${port.protocol}`, "port protocol"));
  below(prefix, owner);
  return { prefix, port: port.port };
}

const rdataOf = (address: string, field: string) => addressRdata(Ip.parse(address, field));

/** @throws InvalidInput where a name or address cannot stand in the DNS */
export function serviceSource(service: DnsService, owner: WireName): ServiceSource {
  const external = service.externalName;
  // An address is no name: such a Service has no records (and the API server warns of it).
  const named = external !== undefined && Ip.tryParse(external) === undefined;
  const clusterIPs = external === undefined ? service.clusterIPs : [];
  return {
    cname: named ? lowerName(nameFromText(external, "spec.externalName")) : undefined,
    clusterIPs: clusterIPs.map((ip) => rdataOf(ip, "spec.clusterIPs")),
    headless: service.headless === true && external === undefined,
    publishNotReadyAddresses: service.publishNotReadyAddresses === true,
    ports: service.ports.map((port) => portSource(port, owner)),
  };
}

/** `owner` is the name of the slice's Service. @throws InvalidInput where a name or address cannot stand in the DNS */
export function sliceSource(slice: DnsEndpointSlice, owner: WireName): SliceSource {
  const endpoints: EndpointSource[] = [];
  for (const endpoint of slice.endpoints) {
    const hostname = endpoint.hostname ? checkLabel(endpoint.hostname, "endpoint hostname") : undefined;
    for (const address of endpoint.addresses) {
      const source = {
        address: rdataOf(address, "endpoint address"),
        hostname,
        ready: endpoint.ready !== false,
      };
      below(endpointName(source, ""), owner);
      endpoints.push(source);
    }
  }
  return { endpoints, ports: slice.ports.map((port) => portSource(port, owner)) };
}

/** The name of an endpoint below its Service's. */
export function endpointName({ address, hostname }: EndpointSource, owner: WireName): WireName {
  return wireLabel(hostname ?? dashed(addressOf(address))) + owner;
}

/** True where a Service has names for its endpoints and this one is among them. */
export function isPublished(service: ServiceSource | undefined, endpoint: EndpointSource): boolean {
  if (service === undefined || (!service.headless && service.clusterIPs.length === 0)) return false;
  return endpoint.ready || service.publishNotReadyAddresses;
}

/**
 * All records at and below the name of a Service (Kubernetes DNS-Based Service Discovery 1.1.0, sections 2.3 to 2.5),
 * PTR records left out. As in CoreDNS, endpoints of Services with a ClusterIP have names too, and the Service's own name
 * has the SRV records of all its ports.
 */
export function serviceRecords(
  owner: WireName,
  service: ServiceSource,
  slices: Iterable<SliceSource>,
  ttl: number,
): Map<WireName, RrSet[]> {
  const records = new RecordBuilder(ttl);
  const srv = new Map<WireName, Map<string, { port: number; target: WireName }>>();
  const addSrv = ({ prefix, port }: PortSource, target: WireName) => {
    for (const at of prefix === "" ? [owner] : [owner, prefix + owner]) {
      const entries = srv.get(at) ?? new Map<string, { port: number; target: WireName }>();
      srv.set(at, entries);
      entries.set(`${port} ${target}`, { port, target });
    }
  };
  if (service.cname !== undefined) records.add(owner, RrType.CNAME, service.cname);
  for (const ip of service.clusterIPs) records.address(owner, ip);
  if (service.clusterIPs.length > 0) for (const port of service.ports) addSrv(port, owner);
  for (const slice of slices) {
    for (const endpoint of slice.endpoints) {
      if (!isPublished(service, endpoint)) continue;
      const name = endpointName(endpoint, owner);
      records.address(name, endpoint.address);
      if (!service.headless) continue;
      records.address(owner, endpoint.address);
      for (const port of slice.ports) addSrv(port, name);
    }
  }
  // Priority 0, and weights that share 100 (RFC 2782; the specification leaves both open).
  for (const [at, entries] of srv) {
    const weight = Math.max(1, Math.floor(100 / entries.size));
    for (const { port, target } of entries.values()) {
      records.add(at, RrType.SRV, word(0) + word(weight) + word(port) + target);
    }
  }
  return records.sets;
}

class RecordBuilder {
  readonly sets = new Map<WireName, RrSet[]>();
  readonly #ttl: number;
  readonly #seen = new Set<string>();

  constructor(ttl: number) {
    this.#ttl = ttl;
  }

  /** Adds a record, once. */
  add(owner: WireName, type: number, rdata: string): void {
    const key = `${type} ${rdata} ${owner}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    const sets = this.sets.get(owner) ?? [];
    this.sets.set(owner, sets);
    const set = sets.find((candidate) => candidate.type === type);
    if (set === undefined) sets.push({ type, ttl: this.#ttl, rdatas: [rdata] });
    else set.rdatas.push(rdata);
  }

  address(owner: WireName, rdata: string): void {
    this.add(owner, rdata.length === 4 ? RrType.A : RrType.AAAA, rdata);
  }
}

function word(value: number): string {
  return String.fromCharCode(value >>> 8, value & 0xff);
}
