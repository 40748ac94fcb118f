import { InvalidInput } from "../lib/errors.ts";
import { Ip } from "../lib/ip.ts";
import { Prefix } from "../lib/prefix.ts";
import { Authority, Owner } from "./owner.ts";
import {
  checkLabel,
  type DnsEndpointSlice,
  type DnsService,
  type EndpointSource,
  endpointName,
  isPublished,
  type RrSet,
  type ServiceSource,
  type SliceSource,
  serviceName,
  serviceRecords,
  serviceSource,
  sliceSource,
} from "./records.ts";
import { addressRdata, dashed, isReverse, undashed } from "./reverse.ts";
import { ReverseZones } from "./reversezones.ts";
import { RrType } from "./wire/constants.ts";
import {
  isAtOrBelow,
  lowerName,
  nameFromText,
  parentName,
  secondBelow,
  type WireName,
  wireLabel,
} from "./wire/name.ts";

export interface ZoneOptions {
  /** The cluster domain; "cluster.local" where not given. */
  domain?: string;
  /** The TTL of records and of negative answers, in seconds, 0 to 3600; 5 where not given. */
  ttl?: number;
  /**
   * The prefixes (service and cluster CIDRs) whose reverse names the zone answers with authority; those of all other
   * addresses are forwarded.
   */
  reversePrefixes?: readonly string[];
  /** The addresses of ns.dns.<domain>, which NS and SOA records name. */
  nameservers?: readonly string[];
  /**
   * Names like 10-244-1-7.<namespace>.pod.<domain>: "insecure" (the default, as the specification demands) answers for
   * any address in a namespace that exists, "verified" only where a pod of that namespace has the address, "disabled"
   * never.
   */
  pods?: "insecure" | "verified" | "disabled";
  /** Where the SOA serial starts; the time in seconds where not given. */
  serial?: number;
}

/** A Kubernetes Pod, as far as names depend on it. */
export interface DnsPod {
  namespace: string;
  name: string;
  addresses: readonly string[];
}

/** The TTL of the version record, which does not change while the process lives. */
const versionTtl = 28800;

/** A Service and its EndpointSlices, either of which may come first. */
interface ServiceState {
  /** Its name in the DNS. */
  readonly owner: WireName;
  source: ServiceSource | undefined;
  slices: Map<string, Slice>;
  /** The names that were built for it; undefined where nobody asked for one since it changed. */
  built: WireName[] | undefined;
}

interface Endpoint extends EndpointSource {
  readonly service: ServiceState;
}

interface Slice extends SliceSource {
  endpoints: Endpoint[];
}

/** Names that are kept built at most. */
const maxBuilt = 50_000;

/**
 * The records of a cluster (Kubernetes DNS-Based Service Discovery 1.1.0), over plain data and without input or output.
 * It holds what the records follow from, and builds those of a Service when somebody asks for one of its names: a lookup
 * is one or two Map hits, a change costs as much as the object is large.
 */
export class Zone {
  readonly domain: WireName;
  readonly ttl: number;
  readonly #pods: "insecure" | "verified" | "disabled";
  readonly #authority: Authority;
  readonly #svcBase: WireName;
  readonly #podBase: WireName;
  readonly #owners = new Map<WireName, Owner>();
  readonly #reverse: ReverseZones<Endpoint | ServiceState>;
  /** By name in the DNS. */
  readonly #services = new Map<WireName, ServiceState>();
  readonly #built = new Set<ServiceState>();
  #builtNames = 0;
  readonly #sliceService = new Map<string, ServiceState>();
  readonly #podAddresses = new Map<string, { namespace: string; owners: WireName[] }>();
  readonly #namespaces = new Map<string, number>();
  readonly #declared = new Set<string>();
  #serial: number;

  /** @throws InvalidInput for a domain, prefix, address or TTL that cannot be used */
  constructor(options: ZoneOptions = {}) {
    this.domain = lowerName(nameFromText(options.domain ?? "cluster.local", "domain"));
    this.ttl = options.ttl ?? 5;
    if (!Number.isInteger(this.ttl) || this.ttl < 0 || this.ttl > 3600) {
      throw new InvalidInput("ttl", this.ttl, "is not a whole number of seconds from 0 to 3600");
    }
    this.#pods = options.pods ?? "insecure";
    this.#serial = options.serial ?? Math.floor(Date.now() / 1000);
    this.#svcBase = wireLabel("svc") + this.domain;
    this.#podBase = wireLabel("pod") + this.domain;
    const mname = wireLabel("ns") + wireLabel("dns") + this.domain;
    const rname = wireLabel("hostmaster") + this.domain;
    this.#authority = new Authority(this.domain, mname, rname, this.ttl);
    const prefixes = (options.reversePrefixes ?? []).map((text) => Prefix.parse(text, "reversePrefixes"));
    this.#reverse = new ReverseZones(prefixes, { mname, rname }, this.ttl, pointerOf);
    this.#addFixedNames(mname, options.nameservers ?? []);
  }

  /** Counts changes; it is the SOA serial (RFC 1982) as well. */
  get serial(): number {
    return this.#serial;
  }

  /** How many Services, addresses with PTR records, and namespaces the zone holds. */
  get size(): number {
    return this.#services.size + this.#reverse.size + this.#namespaces.size;
  }

  /** Lets a namespace exist even while it has no Service or pod. */
  setNamespace(name: string): void {
    if (this.#declared.has(name)) return;
    this.#holdNamespace(name);
    this.#declared.add(name);
  }

  deleteNamespace(name: string): void {
    if (this.#declared.delete(name)) this.#releaseNamespace(name);
  }

  /** Adds or replaces a Service. @throws InvalidInput, with the zone unchanged */
  setService(service: DnsService): void {
    const owner = serviceName(service.namespace, service.name, this.#svcBase);
    const source = serviceSource(service, owner);
    const state = this.#state(owner);
    const before = state.source;
    if (Bun.deepEquals(before, source)) return;
    if (before === undefined) this.#holdNamespace(service.namespace);
    state.source = source;
    this.#changed(state);
    for (const address of before?.clusterIPs ?? []) this.#reverse.remove(address, state);
    for (const address of source.clusterIPs) this.#reverse.add(address, state);
  }

  deleteService(namespace: string, name: string): void {
    const state = this.#services.get(serviceName(namespace, name, this.#svcBase));
    const before = state?.source;
    if (state === undefined || before === undefined) return;
    state.source = undefined;
    this.#changed(state);
    for (const address of before.clusterIPs) this.#reverse.remove(address, state);
    this.#releaseNamespace(namespace);
  }

  /** Adds or replaces an EndpointSlice; it may come before its Service. @throws InvalidInput, with the zone unchanged */
  setEndpointSlice(slice: DnsEndpointSlice): void {
    const owner = serviceName(slice.namespace, slice.service, this.#svcBase);
    const source = sliceSource(slice, owner);
    const id = `${slice.namespace}/${slice.name}`;
    if (this.#sliceService.get(id)?.owner !== owner) this.deleteEndpointSlice(slice.namespace, slice.name);
    const state = this.#state(owner);
    const before = state.slices.get(slice.name);
    if (before !== undefined && sameSlice(before, source)) return;
    const endpoints = source.endpoints.map((endpoint) => ({ ...endpoint, service: state }));
    state.slices.set(slice.name, { ...source, endpoints });
    this.#sliceService.set(id, state);
    this.#changed(state);
    for (const endpoint of endpoints) this.#reverse.add(endpoint.address, endpoint);
    for (const endpoint of before?.endpoints ?? []) this.#reverse.remove(endpoint.address, endpoint);
  }

  deleteEndpointSlice(namespace: string, name: string): void {
    const id = `${namespace}/${name}`;
    const state = this.#sliceService.get(id);
    const before = state?.slices.get(name);
    if (state === undefined || before === undefined) return;
    this.#sliceService.delete(id);
    state.slices.delete(name);
    this.#changed(state);
    for (const endpoint of before.endpoints) this.#reverse.remove(endpoint.address, endpoint);
  }

  /** Adds or replaces a pod, for "verified" names and so that its namespace exists. @throws InvalidInput */
  setPod(pod: DnsPod): void {
    const ips = pod.addresses.map((address) => Ip.parse(address, "status.podIPs"));
    const base = wireLabel(checkLabel(pod.namespace, "metadata.namespace")) + this.#podBase;
    const key = `${pod.namespace}/${pod.name}`;
    const known = this.#podAddresses.get(key);
    const owners = this.#pods === "verified" ? ips.map((ip) => wireLabel(dashed(ip)) + base) : [];
    if (known !== undefined && known.owners.join() === owners.join()) return;
    this.#holdNamespace(pod.namespace);
    this.deletePod(pod.namespace, pod.name);
    this.#podAddresses.set(key, { namespace: pod.namespace, owners });
    for (const [i, owner] of owners.entries()) this.#addPodName(owner, ips[i] as Ip);
  }

  deletePod(namespace: string, name: string): void {
    const known = this.#podAddresses.get(`${namespace}/${name}`);
    if (known === undefined) return;
    this.#podAddresses.delete(`${namespace}/${name}`);
    for (const owner of known.owners) this.#release(owner);
    this.#releaseNamespace(namespace);
    this.#serial++;
  }

  /**
   * What the zone knows of a name in lower case: its Owner where the name exists, the Authority that denies it where it
   * does not (NXDOMAIN), or undefined where the zone does not speak for it.
   */
  lookup(name: WireName): Owner | Authority | undefined {
    const owner = this.#owners.get(name);
    if (owner !== undefined) {
      owner.refresh(this.#serial);
      return owner;
    }
    const built = this.#buildService(name);
    if (built !== undefined) return built;
    if (isAtOrBelow(name, this.domain)) return this.#podName(name) ?? this.#authority;
    return isReverse(name) ? this.#reverse.lookup(name, this.#serial) : undefined;
  }

  /** The Owner of a dashed pod address that no pod was verified for, in a namespace that exists. */
  #podName(name: WireName): Owner | undefined {
    if (this.#pods !== "insecure" || !name.endsWith(this.#podBase)) return undefined;
    const parent = parentName(name);
    if (parentName(parent) !== this.#podBase || !this.#owners.has(parent)) return undefined;
    const ip = undashed(name.slice(1, name.length - parent.length));
    if (ip === undefined) return undefined;
    const owner = new Owner(name, this.#authority);
    owner.replace([addressSet(ip, this.ttl)]);
    return owner;
  }

  #addFixedNames(mname: WireName, nameservers: readonly string[]): void {
    const apex = Owner.apex(this.#authority);
    apex.pins = 1;
    this.#owners.set(this.domain, apex);
    this.#hold(this.#svcBase);
    if (this.#pods !== "disabled") this.#hold(this.#podBase);
    const version = { type: RrType.TXT, ttl: versionTtl, rdatas: [wireLabel("1.1.0")] };
    this.#publish(wireLabel("dns-version") + this.domain, [version]);
    const ips = nameservers.map((address) => Ip.parse(address, "nameservers"));
    const sets: RrSet[] = [];
    for (const family of [4, 6]) {
      const rdatas = ips.filter((ip) => ip.family === family).map(addressRdata);
      if (rdatas.length > 0)
        sets.push({ type: family === 4 ? RrType.A : RrType.AAAA, ttl: this.ttl, rdatas });
    }
    this.#hold(mname);
    this.#publish(mname, sets);
  }

  #state(owner: WireName): ServiceState {
    let state = this.#services.get(owner);
    if (state === undefined) {
      state = { owner, source: undefined, slices: new Map(), built: undefined };
      this.#services.set(owner, state);
    }
    return state;
  }

  /** Forgets what was built for a Service, and the Service where nothing is left of it. */
  #changed(state: ServiceState): void {
    this.#serial++;
    this.#discard(state);
    if (state.source === undefined && state.slices.size === 0) this.#services.delete(state.owner);
  }

  #discard(state: ServiceState): void {
    for (const name of state.built ?? []) this.#publish(name, []);
    this.#builtNames -= state.built?.length ?? 0;
    state.built = undefined;
    this.#built.delete(state);
  }

  /** The Owner of a name at or below a Service's, whose names are built now if they were not. */
  #buildService(name: WireName): Owner | undefined {
    const owner = secondBelow(name, this.#svcBase);
    const state = owner === undefined ? undefined : this.#services.get(owner);
    if (state?.source === undefined || state.built !== undefined) return undefined;
    if (this.#builtNames > maxBuilt) for (const each of this.#built) this.#discard(each);
    const records = serviceRecords(state.owner, state.source, state.slices.values(), this.ttl);
    for (const [each, sets] of records) this.#publish(each, sets);
    state.built = [...records.keys()];
    this.#built.add(state);
    this.#builtNames += records.size;
    return this.#owners.get(name);
  }

  #addPodName(name: WireName, ip: Ip): void {
    this.#hold(name);
    this.#owners.get(name)?.replace([addressSet(ip, this.ttl)]);
    this.#serial++;
  }

  /** Gives a name its records, or takes them; the names above it come and go with it. */
  #publish(name: WireName, sets: readonly RrSet[]): void {
    const owner = this.#owners.get(name);
    if (sets.length > 0) {
      if (owner === undefined || owner.sets.length === 0) this.#hold(name).replace(sets);
      else owner.replace(sets);
    } else if (owner !== undefined && owner.sets.length > 0) {
      owner.replace(sets);
      this.#release(name);
    }
  }

  #hold(name: WireName): Owner {
    let owner = this.#owners.get(name);
    if (owner === undefined) {
      owner = new Owner(name, this.#authority);
      this.#owners.set(name, owner);
      this.#hold(parentName(name));
    }
    owner.pins++;
    return owner;
  }

  #release(name: WireName): void {
    const owner = this.#owners.get(name);
    if (owner === undefined || --owner.pins > 0) return;
    this.#owners.delete(name);
    this.#release(parentName(name));
  }

  #holdNamespace(name: string): void {
    const label = wireLabel(checkLabel(name, "namespace"));
    const count = this.#namespaces.get(name) ?? 0;
    this.#namespaces.set(name, count + 1);
    if (count > 0) return;
    this.#hold(label + this.#svcBase);
    if (this.#pods !== "disabled") this.#hold(label + this.#podBase);
    this.#serial++;
  }

  #releaseNamespace(name: string): void {
    const count = this.#namespaces.get(name) ?? 0;
    if (count > 1) {
      this.#namespaces.set(name, count - 1);
      return;
    }
    if (count === 0) return;
    this.#namespaces.delete(name);
    const label = wireLabel(checkLabel(name, "namespace"));
    this.#release(label + this.#svcBase);
    if (this.#pods !== "disabled") this.#release(label + this.#podBase);
    this.#serial++;
  }
}

function addressSet(ip: Ip, ttl: number): RrSet {
  return { type: ip.family === 4 ? RrType.A : RrType.AAAA, ttl, rdatas: [addressRdata(ip)] };
}

/** What the PTR record of an address points at. */
function pointerOf(target: Endpoint | ServiceState): WireName | undefined {
  if (!("service" in target)) return target.owner;
  return isPublished(target.service.source, target) ? endpointName(target, target.service.owner) : undefined;
}

function sameSlice(a: SliceSource, b: SliceSource): boolean {
  if (a.endpoints.length !== b.endpoints.length || !Bun.deepEquals(a.ports, b.ports)) return false;
  return a.endpoints.every((endpoint, i) => {
    const other = b.endpoints[i] as EndpointSource;
    const same = endpoint.address === other.address && endpoint.hostname === other.hostname;
    return same && endpoint.ready === other.ready;
  });
}

/** An empty zone for a cluster. @throws InvalidInput for a domain, prefix, address or TTL that cannot be used */
export function createZone(options: ZoneOptions = {}): Zone {
  return new Zone(options);
}
