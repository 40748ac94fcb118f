import { InvalidInput } from "../lib/errors.ts";
import type { Ip } from "../lib/ip.ts";
import type { Prefix } from "../lib/prefix.ts";
import { CniError, cniErrorCode } from "./errors.ts";
import { Fields, isJsonObject, type JsonObject } from "./fields.ts";
import { type CniVersion, isAtLeast } from "./versions.ts";

/** An interface that a plugin made or used. */
export interface ResultInterface {
  name: string;
  mac?: string;
  /** Bytes; since 1.1.0. */
  mtu?: number;
  /** The path of the namespace; absent for interfaces of the host. */
  sandbox?: string;
  /** Since 1.1.0. */
  socketPath?: string;
  /** Since 1.1.0. */
  pciID?: string;
}

/** An address with its prefix length, as it stands on an interface. */
export interface ResultIp {
  /** Index into `interfaces`. */
  interface?: number;
  address: Prefix;
  gateway?: Ip;
}

/** A route inside of the sandbox. */
export interface ResultRoute {
  dst: Prefix;
  gw?: Ip;
  /** The following are since 1.1.0. */
  mtu?: number;
  advmss?: number;
  priority?: number;
  table?: number;
  scope?: number;
}

/** Name resolution for the sandbox. */
export interface Dns {
  nameservers?: string[];
  domain?: string;
  search?: string[];
  options?: string[];
}

/** The result of ADD in the newest shape, whatever version it came in or leaves in. */
export interface Result {
  interfaces: ResultInterface[];
  ips: ResultIp[];
  routes: ResultRoute[];
  dns: Dns;
}

/** A result without anything in it. */
export function emptyResult(): Result {
  return { interfaces: [], ips: [], routes: [], dns: {} };
}

/**
 * Reads a result that is written in `version`. Throws a {@link CniError} of code 6 that names the field (below
 * `field`) which cannot be understood.
 */
export function parseResult(value: unknown, version: CniVersion, field = ""): Result {
  if (!isJsonObject(value)) {
    throw new CniError(cniErrorCode.decoding, `${field || "result"}: not a JSON object`);
  }
  const fields = new Fields(value, field);
  try {
    return isAtLeast(version, "0.3.0") ? parseModern(fields) : parseLegacy(fields);
  } catch (error) {
    if (!(error instanceof InvalidInput)) throw error;
    throw new CniError(cniErrorCode.decoding, error.message, {
      cause: error,
      ...(error.remedy === undefined ? {} : { remedy: error.remedy }),
    });
  }
}

function parseModern(fields: Fields): Result {
  const interfaces = (fields.objects("interfaces") ?? []).map((item) => {
    const found: ResultInterface = { name: item.string("name") ?? "" };
    for (const key of ["mac", "sandbox", "socketPath", "pciID"] as const) {
      const text = item.string(key);
      if (text !== undefined && text !== "") found[key] = text;
    }
    const mtu = item.integer("mtu", 0, 2 ** 31 - 1);
    if (mtu !== undefined && mtu !== 0) found.mtu = mtu;
    return found;
  });
  const ips = (fields.objects("ips") ?? []).map((item) => {
    const ip: ResultIp = { address: required(item, "address") };
    const index = item.integer("interface", -1, 2 ** 31 - 1);
    if (index !== undefined) ip.interface = index;
    return withGateway(ip, item);
  });
  return { interfaces, ips, routes: (fields.objects("routes") ?? []).map(parseRoute), dns: parseDns(fields) };
}

/** 0.1.0 and 0.2.0: at most one address of each family, routes below it. */
function parseLegacy(fields: Fields): Result {
  const result = { ...emptyResult(), dns: parseDns(fields) };
  for (const key of ["ip4", "ip6"]) {
    const item = fields.object(key);
    if (item === undefined) continue;
    result.ips.push(withGateway({ address: required(item, "ip") }, item));
    result.routes.push(...(item.objects("routes") ?? []).map(parseRoute));
  }
  return result;
}

function required(fields: Fields, name: string): Prefix {
  const prefix = fields.prefix(name);
  if (prefix === undefined) throw fields.missing(name);
  return prefix;
}

function withGateway(ip: ResultIp, fields: Fields): ResultIp {
  const gateway = fields.ip("gateway");
  return gateway === undefined ? ip : { ...ip, gateway };
}

const routeNumbers = ["mtu", "advmss", "priority", "table", "scope"] as const;
/** What may stand in a route of an IPAM configuration. */
export const routeKeys: readonly string[] = ["dst", "gw", ...routeNumbers];
/** What may stand under `dns`. */
export const dnsKeys: readonly string[] = ["nameservers", "domain", "search", "options"];

/** A route as it stands in results and in IPAM configurations. */
export function parseRoute(fields: Fields): ResultRoute {
  const route: ResultRoute = { dst: required(fields, "dst") };
  const gw = fields.ip("gw");
  if (gw !== undefined) route.gw = gw;
  for (const key of routeNumbers) {
    const value = fields.integer(key, 0, 2 ** 32 - 1);
    // Table and scope are pointers in Go, where 0 is a value; for the others it means "not set".
    if (value !== undefined && (value !== 0 || key === "table" || key === "scope")) route[key] = value;
  }
  return route;
}

/** The `dns` of a configuration or result; {} where absent. */
export function parseDns(fields: Fields): Dns {
  const item = fields.object("dns");
  if (item === undefined) return {};
  const dns: Dns = {};
  const nameservers = item.strings("nameservers");
  const domain = item.string("domain");
  const search = item.strings("search");
  const options = item.strings("options");
  if (nameservers !== undefined && nameservers.length > 0) dns.nameservers = nameservers;
  if (domain !== undefined && domain !== "") dns.domain = domain;
  if (search !== undefined && search.length > 0) dns.search = search;
  if (options !== undefined && options.length > 0) dns.options = options;
  return dns;
}

/** True where no resolver setting is given. */
export function isDnsEmpty(dns: Dns): boolean {
  return Object.keys(dns).length === 0;
}

/** Throws a {@link CniError} where the version cannot express the result: 0.1.0 and 0.2.0 need at least one address. */
export function requireExpressible({ ips }: Result, version: CniVersion): void {
  if (ips.length > 0 || isAtLeast(version, "0.3.0")) return;
  throw new CniError(
    cniErrorCode.incompatibleVersion,
    `cannot express a result without addresses in version ${version}`,
    { remedy: "Set cniVersion to 0.3.0 or newer" },
  );
}

/**
 * The result as JSON of `version`, keys in the order of the reference plugins; 0.1.0 and 0.2.0 keep the first address of
 * each family. Throws as {@link requireExpressible}.
 */
export function formatResult(result: Result, version: CniVersion): JsonObject {
  requireExpressible(result, version);
  if (!isAtLeast(version, "0.3.0")) return formatLegacy(result, version);
  const ips = isAtLeast(version, "1.0.0")
    ? result.ips.map(formatIp)
    : result.ips.map((ip) => ({ version: String(ip.address.family), ...formatIp(ip) }));
  const newest = isAtLeast(version, "1.1.0");
  return {
    cniVersion: version,
    ...nonEmpty("interfaces", result.interfaces.map(newest ? formatInterface : formatOldInterface)),
    ...nonEmpty("ips", ips),
    ...nonEmpty("routes", result.routes.map(newest ? formatRoute : formatOldRoute)),
    dns: formatDns(result.dns),
  };
}

function formatLegacy(result: Result, version: CniVersion): JsonObject {
  const out: JsonObject = { cniVersion: version };
  for (const family of [4, 6] as const) {
    const ip = result.ips.find(({ address }) => address.family === family);
    if (ip === undefined) continue;
    const routes = result.routes.filter(({ dst }) => dst.family === family).map(formatOldRoute);
    out[`ip${family}`] = {
      ip: String(ip.address),
      ...(ip.gateway === undefined ? {} : { gateway: String(ip.gateway) }),
      ...nonEmpty("routes", routes),
    };
  }
  return { ...out, dns: formatDns(result.dns) };
}

function nonEmpty(key: string, list: JsonObject[]): JsonObject {
  return list.length === 0 ? {} : { [key]: list };
}

function formatIp(ip: ResultIp): JsonObject {
  return {
    ...(ip.interface === undefined ? {} : { interface: ip.interface }),
    address: String(ip.address),
    ...(ip.gateway === undefined ? {} : { gateway: String(ip.gateway) }),
  };
}

function formatInterface({ name, mac, mtu, sandbox, socketPath, pciID }: ResultInterface): JsonObject {
  return withoutUndefined({ name, mac, mtu, sandbox, socketPath, pciID });
}

function formatOldInterface({ name, mac, sandbox }: ResultInterface): JsonObject {
  return withoutUndefined({ name, mac, sandbox });
}

function formatRoute({ dst, gw, ...rest }: ResultRoute): JsonObject {
  return withoutUndefined({ dst: String(dst), gw: gw?.toString(), ...rest });
}

function formatOldRoute({ dst, gw }: ResultRoute): JsonObject {
  return withoutUndefined({ dst: String(dst), gw: gw?.toString() });
}

function formatDns({ nameservers, domain, search, options }: Dns): JsonObject {
  return withoutUndefined({ nameservers, domain, search, options });
}

function withoutUndefined(object: JsonObject): JsonObject {
  for (const key of Object.keys(object)) if (object[key] === undefined) delete object[key];
  return object;
}
