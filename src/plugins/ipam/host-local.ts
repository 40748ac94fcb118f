import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { Fields } from "../../cni/fields.ts";
import type { GcRequest, NetworkConfig, Plugin, PluginRequest } from "../../cni/plugin.ts";
import {
  type Dns,
  emptyResult,
  parseRoute,
  type Result,
  type ResultIp,
  type ResultRoute,
  routeKeys,
} from "../../cni/result.ts";
import { isAtLeast } from "../../cni/versions.ts";
import { allocate, type Candidate } from "../../ipam/allocator.ts";
import { defaultDataDir, FileLeaseStore, LeaseStoreBusy, LeaseStoreError } from "../../ipam/file.ts";
import {
  completeRange,
  formatRangeSet,
  type IpRange,
  type RangeSet,
  rangeFor,
  requireDistinctRanges,
} from "../../ipam/range.ts";
import type { Holder, LeaseStore, Owner } from "../../ipam/store.ts";
import { InvalidInput } from "../../lib/errors.ts";
import { Ip } from "../../lib/ip.ts";
import { anyOf, firstOf } from "../../lib/lists.ts";
import { Prefix } from "../../lib/prefix.ts";
import { KernelError } from "../../linux/errors.ts";
import { readText } from "../../linux/lean/files.ts";
import { tryOpenNetns } from "../shared/netns.ts";

const rangeKeys = ["subnet", "rangeStart", "rangeEnd", "gateway"];
/** What may stand under `ipam`. */
export const hostLocalKeys = ["type", ...rangeKeys, "ranges", "routes", "dataDir", "resolvConf"];

/** What host-local is asked to do, read from configuration and environment. */
export interface HostLocalConfig {
  network: string;
  dataDir: string;
  rangeSets: RangeSet[];
  routes: ResultRoute[];
  resolvConf?: string;
  /** Addresses that the attachment must get. */
  requested: Ip[];
}

/** Gives out addresses of this host's own ranges and remembers them in files; the reference's, taken over as is. */
export const hostLocal: Plugin = {
  name: "host-local",
  parse: parseWithWarnings,

  async add(request: PluginRequest): Promise<Result> {
    const config = parseWithWarnings(request);
    const dns = config.resolvConf === undefined ? {} : readResolvConf(config.resolvConf);
    const store = new FileLeaseStore(config.network, config.dataDir);
    const holder = { netns: request.invocation.netns, boot: thisBoot() };
    const ips = await inTransaction(request, store, () => {
      try {
        return allocateAll(store, config, ownerOf(request), holder);
      } catch (error) {
        // Only where something is in the way it matters who died with the host.
        if (!reclaim(store)) throw error;
        return allocateAll(store, config, ownerOf(request), holder);
      }
    });
    return { ...emptyResult(), ips, routes: config.routes, dns };
  },

  async del(request: PluginRequest): Promise<void> {
    const store = openStore(request.config);
    if (!store.exists()) return;
    await inTransaction(request, store, () => store.release(ownerOf(request)));
  },

  async check(request: PluginRequest): Promise<void> {
    const store = openStore(request.config);
    const owner = ownerOf(request);
    const found = store.exists() ? await inTransaction(request, store, () => store.find(owner)) : [];
    if (found.length > 0) return;
    throw new CniError(
      cniErrorCode.unknownContainer,
      `host-local: Failed to find address added by container ${owner.containerId}`,
      { remedy: `No lease in ${store.dir} belongs to its interface ${owner.ifname}` },
    );
  },

  async gc(request: GcRequest): Promise<void> {
    const store = openStore(request.config);
    if (!store.exists()) return;
    await inTransaction(request, store, () => {
      for (const { ip, owner } of store.list()) if (!isValid(request, owner)) store.remove(ip);
      for (const { owner } of store.remembered()) if (!isValid(request, owner)) store.forget(owner);
    });
  },

  async status(request: PluginRequest): Promise<void> {
    const config = parseHostLocal(request);
    if (config.resolvConf !== undefined) readResolvConf(config.resolvConf);
    const store = new FileLeaseStore(config.network, config.dataDir);
    const requireFree = (isTaken: (ip: Ip) => boolean) => {
      for (const set of config.rangeSets) {
        if (allocate(set, isTaken, undefined) === undefined)
          throw exhausted(set, cniErrorCode.pluginNotAvailable, store);
      }
    };
    if (!store.exists()) {
      await requireRoomFor(store.dir);
      return requireFree(() => false);
    }
    await inTransaction(request, store, () => {
      const dead = staleOwners(store).flatMap((owner) => store.find(owner));
      requireFree((ip) => store.has(ip) && !anyOf(dead, (other) => other.equals(ip)));
    });
  },
};

/** Throws a {@link CniError} of code 50 where a folder could not be made: a file is in the way, or nothing can be written there. */
async function requireRoomFor(dir: string): Promise<void> {
  const [{ accessSync, constants }, { dirname }] = await Promise.all([
    import("node:fs"),
    import("node:path"),
  ]);
  for (let parent = dirname(dir); ; parent = dirname(parent)) {
    try {
      // The dot asks for a folder.
      accessSync(`${parent}/.`, constants.W_OK | constants.X_OK);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT" && parent !== "/") continue;
      throw new CniError(cniErrorCode.pluginNotAvailable, `cannot make the folder ${dir} (${code})`, {
        cause: error,
        remedy: "Check ipam.dataDir, its permissions and the free space there",
      });
    }
  }
}

/** The addresses that the attachment has by its leases. */
export async function findLeases(request: PluginRequest): Promise<readonly Ip[]> {
  const store = openStore(request.config);
  if (!store.exists()) return [];
  return await inTransaction(request, store, () => store.find(ownerOf(request)));
}

/** Where an attachment of this boot is, and what it has. */
export interface Recorded {
  ifname: string;
  /** Path of the container's namespace. */
  netns: string;
  ips: Ip[];
}

/** Attachments of this boot that GC ends. */
export async function findInvalid(request: GcRequest): Promise<Recorded[]> {
  return await recordedWhere(request, (owner) => !isValid(request, owner));
}

/** The attachment that a request is about; undefined where it is of another boot, or not known. */
export async function findRecorded(request: PluginRequest): Promise<Recorded | undefined> {
  const { containerId, ifname } = ownerOf(request);
  const [found] = await recordedWhere(
    request,
    (owner) => owner.containerId === containerId && owner.ifname === ifname,
  );
  return found;
}

async function recordedWhere(
  request: PluginRequest,
  isMeant: (owner: Owner) => boolean,
): Promise<Recorded[]> {
  const store = openStore(request.config);
  if (!store.exists()) return [];
  return await inTransaction(request, store, () =>
    store.remembered().flatMap(({ owner, holder: { boot, netns } }) => {
      if (boot !== thisBoot() || !isMeant(owner)) return [];
      return [{ ifname: owner.ifname, netns, ips: [...store.find(owner)] }];
    }),
  );
}

function isValid({ valid }: GcRequest, owner: Owner): boolean {
  return valid.some(
    ({ containerId, ifname }) =>
      containerId === owner.containerId && (owner.ifname === "" || ifname === owner.ifname),
  );
}

/** Throws a {@link CniError} of code 5 where the files cannot be read or written, of code 11 where they are in use. */
async function inTransaction<T>(
  { signal }: PluginRequest,
  store: FileLeaseStore,
  action: () => T,
): Promise<T> {
  try {
    // Where it was aborted before, something is being taken back, which goes on.
    return await store.transaction(action, signal?.aborted === true ? undefined : signal);
  } catch (error) {
    const isBusy = error instanceof LeaseStoreBusy;
    if (!isBusy && !(error instanceof LeaseStoreError)) throw error;
    const { message, remedy } = error;
    throw new CniError(isBusy ? cniErrorCode.tryAgainLater : cniErrorCode.io, message, {
      cause: error,
      ...(remedy === undefined ? {} : { remedy }),
    });
  }
}

function openStore(config: NetworkConfig): FileLeaseStore {
  return new FileLeaseStore(config.name, dataDirOf(config.fields.object("ipam")));
}

function dataDirOf(ipam: Fields | undefined): string {
  return ipam?.absolutePath("dataDir") ?? defaultDataDir;
}

function ownerOf({ invocation: { containerId, ifname } }: PluginRequest): Owner {
  return { containerId, ifname };
}

let bootId: string | undefined;

/** What tells this boot of the host from others. */
function thisBoot(): string {
  bootId ??= readText("/proc/sys/kernel/random/boot_id").trim();
  return bootId;
}

/**
 * Who had leases when the host went down: no namespace lives longer than that. Whose namespace's path is there again may
 * have been brought back by the runtime, and stays.
 */
function staleOwners(store: LeaseStore): Owner[] {
  return store.remembered().flatMap(({ owner, holder }) => {
    if (holder.boot === "" || holder.boot === thisBoot()) return [];
    using netns = tryOpenNetns(holder.netns);
    return netns === undefined ? [owner] : [];
  });
}

/** Takes back the leases of {@link staleOwners}; false where there are none. */
function reclaim(store: LeaseStore): boolean {
  const owners = staleOwners(store);
  for (const owner of owners) {
    // Not released one by one: for each that has no lease any more, all would be read.
    for (const ip of store.find(owner)) store.remove(ip);
    store.forget(owner);
  }
  return owners.length > 0;
}

/** An address from each set, taken for the owner, or none at all. */
function allocateAll(store: LeaseStore, config: HostLocalConfig, owner: Owner, holder: Holder): ResultIp[] {
  const held = store.find(owner);
  const chosen = chooseAll(store, config, owner, held);
  store.remember(owner, [...held, ...chosen.map(({ ip }) => ip)], holder);
  const ips: ResultIp[] = [];
  try {
    for (const [i, { ip, range }] of chosen.entries()) {
      if (!store.reserve(ip, owner, i)) throw unavailable(ip, config.rangeSets[i] as RangeSet);
      ips.push({ address: new Prefix(ip, range.subnet.length), gateway: range.gateway });
    }
    return ips;
  } catch (error) {
    for (const { address } of ips) store.remove(address.ip);
    if (held.length === 0) store.release(owner);
    throw error;
  }
}

/** `held`: what the owner has already, as of ranges that were configured before. */
function chooseAll(
  store: LeaseStore,
  config: HostLocalConfig,
  owner: Owner,
  held: readonly Ip[],
): Candidate[] {
  const open = [...config.requested];
  const chosen: Candidate[] = [];
  for (let i = 0; i < config.rangeSets.length; i++) {
    const set = config.rangeSets[i] as RangeSet;
    const wanted = firstOf(open, (ip) => rangeFor(set, ip) !== undefined);
    if (wanted === undefined) chosen.push(chooseNext(store, set, i, owner, held));
    else {
      open.splice(open.indexOf(wanted), 1);
      chosen.push(choose(store, set, wanted));
    }
  }
  if (open.length === 0) return chosen;
  throw new CniError(
    cniErrorCode.invalidNetworkConfig,
    `failed to allocate all requested IPs: ${open.join(" ")}`,
    {
      remedy: `The ranges are ${config.rangeSets.map(formatRangeSet).join(" and ")}, one address from each`,
    },
  );
}

function choose(store: LeaseStore, set: RangeSet, ip: Ip): Candidate {
  const range = rangeFor(set, ip) as IpRange;
  if (ip.equals(range.gateway)) {
    throw new CniError(cniErrorCode.invalidNetworkConfig, `requested ip ${ip} is subnet's gateway`, {
      remedy: `Request another address of ${range.subnet}`,
    });
  }
  if (store.has(ip)) throw unavailable(ip, set);
  return { ip, range };
}

function unavailable(ip: Ip, set: RangeSet): CniError {
  return new CniError(
    cniErrorCode.tryAgainLater,
    `requested IP address ${ip} is not available in range set ${formatRangeSet(set)}`,
    { remedy: "Another container has it; remove that one or request another address" },
  );
}

function chooseNext(
  store: LeaseStore,
  set: RangeSet,
  index: number,
  owner: Owner,
  held: readonly Ip[],
): Candidate {
  const before = firstOf(held, (ip) => rangeFor(set, ip) !== undefined);
  if (before !== undefined) {
    throw new CniError(
      cniErrorCode.internal,
      `${before} has been allocated to ${owner.containerId}, duplicate allocation is not allowed`,
      { remedy: `Call DEL for interface ${owner.ifname} of the container first` },
    );
  }
  const found = allocate(set, (ip) => store.has(ip), store.lastReserved(index));
  if (found === undefined) throw exhausted(set, cniErrorCode.tryAgainLater, store);
  return found;
}

function exhausted(set: RangeSet, code: number, store: LeaseStore): CniError {
  const where = store instanceof FileLeaseStore ? ` (leases in ${store.dir})` : "";
  return new CniError(code, `no IP addresses available in range set: ${formatRangeSet(set)}${where}`, {
    remedy: "Remove containers or widen the range",
  });
}

function parseWithWarnings(request: PluginRequest): HostLocalConfig {
  const config = parseHostLocal(request);
  const ipam = request.config.fields.object("ipam");
  for (const sentence of ipam === undefined ? [] : unknownIpamKeys(ipam)) request.warn(sentence);
  for (const { gateway, subnet } of config.rangeSets.flat()) {
    if (!subnet.contains(gateway)) request.warn(`ipam: gateway ${gateway} is outside of ${subnet}`);
  }
  return config;
}

/** Reads configuration, capability arguments and CNI_ARGS. Throws {@link InvalidInput} or a CniError of code 7. */
export function parseHostLocal(request: PluginRequest): HostLocalConfig {
  const { config, invocation } = request;
  const ipam = config.fields.object("ipam");
  if (ipam === undefined) {
    throw new CniError(cniErrorCode.invalidNetworkConfig, "IPAM config missing 'ipam' key", {
      remedy: 'Add "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.1.0.0/16" }]] }',
    });
  }
  const resolvConf = ipam.absolutePath("resolvConf");
  return {
    network: config.name,
    dataDir: dataDirOf(ipam),
    rangeSets: parseRangeSets(config, ipam),
    routes: (ipam.objects("routes") ?? []).map(parseRoute),
    ...(resolvConf === undefined ? {} : { resolvConf }),
    requested: parseRequested(config, invocation.args.ip),
  };
}

function unknownIpamKeys(ipam: Fields): string[] {
  const ranges = ipam.objectLists("ranges")?.flat() ?? [];
  const routes = ipam.objects("routes") ?? [];
  return [
    ...ipam.unknownKeys(hostLocalKeys),
    ...ranges.flatMap((range) => range.unknownKeys(rangeKeys)),
    ...routes.flatMap((route) => route.unknownKeys(routeKeys)),
  ];
}

/** First those of the runtime, then the old single range, then `ranges`. */
function parseRangeSets(config: NetworkConfig, ipam: Fields): RangeSet[] {
  const single = ipam.prefix("subnet") === undefined ? [] : [{ at: ipam.path, ranges: [ipam] }];
  const byRuntime = rangeLists(config.fields.object("runtimeConfig"), "ipRanges");
  const lists = [...byRuntime, ...single, ...rangeLists(ipam, "ranges")];
  if (lists.length === 0) {
    throw new CniError(cniErrorCode.invalidNetworkConfig, "no IP ranges specified", {
      remedy:
        ipam.misspelt("ranges") ??
        ipam.misspelt("subnet") ??
        'Give ipam.ranges, such as [[{ "subnet": "10.1.0.0/16" }]]',
    });
  }
  const placed = lists.map(({ at, ranges }) => ({
    at,
    set: ranges.map(parseRange),
    rangesAt: ranges.map(({ path }) => path),
  }));
  requireDistinctRanges(placed);
  const sets = placed.map(({ set }) => set);
  if (!isAtLeast(config.cniVersion, "0.3.0")) requireOneOfEachFamily(sets, config.cniVersion);
  return sets;
}

function rangeLists(fields: Fields | undefined, name: string): { at: string; ranges: Fields[] }[] {
  return (fields?.objectLists(name) ?? []).map((ranges, i) => ({ at: `${fields?.at(name)}[${i}]`, ranges }));
}

/** Results before 0.3.0 have one place for each family. */
function requireOneOfEachFamily(sets: readonly RangeSet[], version: string): void {
  for (const family of [4, 6]) {
    if (sets.filter((set) => set[0]?.subnet.family === family).length < 2) continue;
    throw new CniError(
      cniErrorCode.invalidNetworkConfig,
      `CNI version ${version} does not support more than 1 address per family`,
      { remedy: "Set cniVersion to 0.3.0 or newer" },
    );
  }
}

function parseRange(fields: Fields): IpRange {
  const subnet = fields.prefix("subnet");
  if (subnet === undefined) throw fields.missing("subnet");
  const start = fields.ip("rangeStart");
  const end = fields.ip("rangeEnd");
  const gateway = fields.ip("gateway");
  return completeRange(
    {
      subnet,
      ...(start === undefined ? {} : { start }),
      ...(end === undefined ? {} : { end }),
      ...(gateway === undefined ? {} : { gateway }),
    },
    fields.path,
  );
}

/** By CNI_ARGS, by `args.cni.ips` and by the `ips` capability. All may have prefix lengths, which do not count. */
function parseRequested(config: NetworkConfig, byArgs: string | undefined): Ip[] {
  const requested = new Map<string, Ip>();
  const request = (text: string, field: string) => {
    const ip = text.includes("/") ? Prefix.parse(text, field).ip : Ip.parse(text, field);
    requested.set(String(ip), ip);
  };
  if (byArgs !== undefined && byArgs !== "") request(byArgs, "CNI_ARGS IP");
  const sources: [Fields | undefined, string][] = [
    [config.fields.object("args")?.object("cni"), "args.cni.ips"],
    [config.fields.object("runtimeConfig"), "runtimeConfig.ips"],
  ];
  for (const [fields, field] of sources) {
    for (const text of fields?.strings("ips") ?? []) request(text, field);
  }
  return [...requested.values()];
}

function readResolvConf(path: string): Dns {
  try {
    return parseResolvConf(readText(path));
  } catch (error) {
    const why = error instanceof KernelError ? error.errnoName : String(error);
    throw new InvalidInput("ipam.resolvConf", path, `cannot be read (${why})`, { cause: error });
  }
}

/** Reads resolv.conf(5) as far as results can express it. */
export function parseResolvConf(text: string): Dns {
  const dns: Dns = {};
  for (const line of text.split("\n")) {
    const [key, ...values] = line.trim().split(/\s+/);
    const [first] = values;
    if (first === undefined || key === undefined || key.startsWith("#") || key.startsWith(";")) continue;
    if (key === "nameserver") dns.nameservers = [...(dns.nameservers ?? []), first];
    else if (key === "domain") dns.domain = first;
    else if (key === "search") dns.search = [...(dns.search ?? []), ...values];
    else if (key === "options") dns.options = [...(dns.options ?? []), ...values];
  }
  return dns;
}
