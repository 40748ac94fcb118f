import { InvalidInput } from "../lib/errors.ts";
import { Ip } from "../lib/ip.ts";
import { Prefix } from "../lib/prefix.ts";
import { Authority, Owner } from "./owner.ts";
import {
  checkLabel,
  type DnsEndpointSlice,
  type DnsService,
  type RrSet,
  type ServiceRecords,
  type ServiceSource,
  type SliceSource,
  serviceRecords,
  serviceSource,
  sliceSource,
} from "./records.ts";
import { addressRdata, dashed, isReverse, undashed } from "./reverse.ts";
import { ReverseZones } from "./reversezones.ts";
import { RrType } from "./wire/constants.ts";
import { isAtOrBelow, lowerName, nameFromText, parentName, type WireName, wireLabel } from "./wire/name.ts";

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

interface ServiceState {
  namespace: string;
  source: ServiceSource | undefined;
  slices: Map<string, SliceSource>;
  published: ServiceRecords;
}

/**
 * The records of a cluster (Kubernetes DNS-Based Service Discovery 1.1.0), over plain data and without input or output.
 * Changes are taken in one object at a time and worked in at the next lookup; a lookup is one or two Map hits.
 */
export class Zone {
  readonly domain: WireName;
  readonly ttl: number;
  readonly #pods: "insecure" | "verified" | "disabled";
  readonly #authority: Authority;
  readonly #svcBase: WireName;
  readonly #podBase: WireName;
  readonly #owners = new Map<WireName, Owner>();
  readonly #reverse: ReverseZones;
  readonly #services = new Map<string, ServiceState>();
  readonly #sliceService = new Map<string, string>();
  readonly #podAddresses = new Map<string, { namespace: string; owners: WireName[] }>();
  readonly #namespaces = new Map<string, number>();
  readonly #declared = new Set<string>();
  readonly #dirty = new Set<string>();
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
    this.#reverse = new ReverseZones(prefixes, mname, rname, this.ttl);
    this.#addFixedNames(mname, options.nameservers ?? []);
  }

  /** Counts changes of the records; it is the SOA serial (RFC 1982) as well. */
  get serial(): number {
    if (this.#dirty.size > 0) this.#flush();
    return this.#serial;
  }

  /** The number of names with records. */
  get size(): number {
    if (this.#dirty.size > 0) this.#flush();
    return this.#owners.size + this.#reverse.size;
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
    const source = serviceSource(service, this.#svcBase);
    const key = `${service.namespace}/${service.name}`;
    const state = this.#state(key, service.namespace);
    if (state.source === undefined) this.#holdNamespace(service.namespace);
    state.source = source;
    this.#dirty.add(key);
  }

  deleteService(namespace: string, name: string): void {
    const key = `${namespace}/${name}`;
    const state = this.#services.get(key);
    if (state?.source === undefined) return;
    state.source = undefined;
    this.#releaseNamespace(namespace);
    this.#dirty.add(key);
  }

  /** Adds or replaces an EndpointSlice; it may come before its Service. @throws InvalidInput, with the zone unchanged */
  setEndpointSlice(slice: DnsEndpointSlice): void {
    const source = sliceSource(slice, this.#svcBase);
    const id = `${slice.namespace}/${slice.name}`;
    const key = `${slice.namespace}/${slice.service}`;
    if (this.#sliceService.get(id) !== key) this.deleteEndpointSlice(slice.namespace, slice.name);
    this.#sliceService.set(id, key);
    this.#state(key, slice.namespace).slices.set(slice.name, source);
    this.#dirty.add(key);
  }

  deleteEndpointSlice(namespace: string, name: string): void {
    const id = `${namespace}/${name}`;
    const key = this.#sliceService.get(id);
    if (key === undefined) return;
    this.#sliceService.delete(id);
    this.#services.get(key)?.slices.delete(name);
    this.#dirty.add(key);
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
    if (this.#dirty.size > 0) this.#flush();
    const owner = this.#owners.get(name);
    if (owner !== undefined) {
      owner.refresh(this.#serial);
      return owner;
    }
    if (isAtOrBelow(name, this.domain)) return this.#podName(name) ?? this.#authority;
    if (!isReverse(name)) return undefined;
    const found = this.#reverse.lookup(name);
    if (found instanceof Owner) found.refresh(this.#serial);
    return found;
  }

  /** The Owner of a dashed pod address that no pod was verified for, in a namespace that exists. */
  #podName(name: WireName): Owner | undefined {
    if (this.#pods !== "insecure") return undefined;
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

  #state(key: string, namespace: string): ServiceState {
    let state = this.#services.get(key);
    if (state === undefined) {
      const published = { forward: new Map(), reverse: new Map() };
      state = { namespace, source: undefined, slices: new Map(), published };
      this.#services.set(key, state);
    }
    return state;
  }

  #flush(): void {
    for (const key of this.#dirty) {
      const state = this.#services.get(key);
      if (state === undefined) continue;
      this.#apply(state);
      if (state.source === undefined && state.slices.size === 0) this.#services.delete(key);
    }
    this.#dirty.clear();
  }

  #apply(state: ServiceState): void {
    const before = state.published;
    const after: ServiceRecords =
      state.source === undefined
        ? { forward: new Map(), reverse: new Map() }
        : serviceRecords(state.source, state.slices.values(), this.ttl);
    state.published = after;
    let changed = false;
    for (const [name, sets] of after.forward) {
      const old = before.forward.get(name);
      if (old === undefined || !sameSets(old, sets)) changed = true;
      // Also where nothing changed here: an SRV response holds the addresses of other names of the Service.
      this.#publish(name, sets);
    }
    for (const name of before.forward.keys()) {
      if (after.forward.has(name)) continue;
      this.#publish(name, []);
      changed = true;
    }
    for (const [key, { ip, targets }] of after.reverse) {
      const old = before.reverse.get(key)?.targets ?? [];
      const added = targets.filter((target) => !old.includes(target));
      if (added.length > 0) this.#reverse.add(ip, added);
    }
    for (const [key, { ip, targets }] of before.reverse) {
      const kept = after.reverse.get(key)?.targets ?? [];
      const gone = targets.filter((target) => !kept.includes(target));
      if (gone.length > 0) this.#reverse.remove(ip, gone);
    }
    if (changed) this.#serial++;
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

function sameSets(a: readonly RrSet[], b: readonly RrSet[]): boolean {
  if (a.length !== b.length) return false;
  return a.every((set, i) => {
    const other = b[i] as RrSet;
    return set.type === other.type && set.rdatas.join("\n") === other.rdatas.join("\n");
  });
}

/** An empty zone for a cluster. @throws InvalidInput for a domain, prefix, address or TTL that cannot be used */
export function createZone(options: ZoneOptions = {}): Zone {
  return new Zone(options);
}
