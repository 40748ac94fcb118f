import type { Dns, Result, ResultRoute } from "../cni/result.ts";
import type { Ip } from "../lib/ip.ts";
import { Prefix } from "../lib/prefix.ts";
import { MalformedDhcp, type Message, type Options, optionCode } from "./message.ts";
import {
  classlessRoutes,
  ipsOption,
  maskOption,
  searchOption,
  staticRoutes,
  textOption,
  u32Option,
} from "./options.ts";

/** Where a server is. */
export interface ServerAddress {
  server: Ip;
  /** From where its message came on layer 2: the server itself or the relay. Six bytes. */
  serverMac: Uint8Array;
}

/** What a server granted. Times are milliseconds of the clock; an endless lease has infinite ones. */
export interface Lease extends ServerAddress {
  address: Prefix;
  gateway: Ip | undefined;
  routes: readonly ResultRoute[];
  dns: Dns;
  /** T1: from here on the server is asked for more time. */
  renewal: number;
  /** T2: from here on any server is asked. */
  rebinding: number;
  expiry: number;
}

/** Of servers that tell no time; the reference's. Seconds. */
const customaryTime = 3600;
const endless = 0xffffffff;

/**
 * The lease in a DHCPACK that came at a time (milliseconds). `server` stands in for the server that the message does not
 * name. Throws {@link MalformedDhcp} where it grants nothing that can be used.
 */
export function leaseOf(ack: Message, serverMac: Uint8Array, time: number, server?: Ip): Lease {
  const { options, yiaddr } = ack;
  const length = maskOption(options);
  if (length === undefined) throw new MalformedDhcp("DHCP option Subnet Mask not found in DHCPACK");
  if (!isAssignable(yiaddr)) throw new MalformedDhcp(`it grants ${yiaddr}, which no host can have`);
  const named = ipsOption(options, optionCode.serverIdentifier)?.[0] ?? server;
  if (named === undefined) throw new MalformedDhcp("it does not say which server it is from");
  const gateway = usable(ipsOption(options, optionCode.router)?.[0]);
  return {
    address: new Prefix(yiaddr, length),
    server: named,
    serverMac,
    gateway,
    routes: routesOf(options, gateway),
    dns: dnsOf(options),
    ...timesOf(options, time),
  };
}

/** True for what may be a host's own address. */
export function isAssignable(ip: Ip): boolean {
  return !ip.isUnspecified() && !ip.isLoopback() && !ip.isMulticast() && (ip.bytes[0] as number) < 224;
}

function usable(ip: Ip | undefined): Ip | undefined {
  return ip === undefined || ip.isUnspecified() ? undefined : ip;
}

/** RFC 3442: where option 121 is there, options 3 and 33 do not count. */
function routesOf(options: Options, gateway: Ip | undefined): ResultRoute[] {
  const classless = classlessRoutes(options);
  if (classless !== undefined && classless.length > 0) return classless;
  const routes = staticRoutes(options) ?? [];
  return gateway === undefined ? routes : [...routes, { dst: Prefix.default(4), gw: gateway }];
}

/** A container can live without name servers: those of options that are not what they say are left out. */
function dnsOf(options: Options): Dns {
  const dns: Dns = {};
  const servers = unlessMalformed(() => ipsOption(options, optionCode.domainNameServer));
  const domain = unlessMalformed(() => textOption(options, optionCode.domainName));
  const search = unlessMalformed(() => searchOption(options));
  if (servers !== undefined) dns.nameservers = servers.map(String);
  if (domain !== undefined) dns.domain = domain;
  if (search !== undefined && search.length > 0) dns.search = search;
  return dns;
}

/** What a reader of an option gives, or undefined where the option is malformed. */
export function unlessMalformed<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof MalformedDhcp) return undefined;
    throw error;
  }
}

/** RFC 2131 section 4.4.5: T1 is half of the time and T2 seven eighths, unless the server says better. */
function timesOf(options: Options, time: number): Pick<Lease, "renewal" | "rebinding" | "expiry"> {
  const seconds = u32Option(options, optionCode.leaseTime) ?? customaryTime;
  if (seconds === endless) {
    const never = Number.POSITIVE_INFINITY;
    return { renewal: never, rebinding: never, expiry: never };
  }
  const second = u32Option(options, optionCode.rebindingTime) ?? 0;
  const rebinding = second > 0 && second < seconds ? second : seconds * 0.875;
  const first = u32Option(options, optionCode.renewalTime) ?? 0;
  const renewal = first > 0 && first < rebinding ? first : Math.min(seconds / 2, rebinding);
  return {
    renewal: time + renewal * 1000,
    rebinding: time + rebinding * 1000,
    expiry: time + seconds * 1000,
  };
}

/** What is left out of results on request. */
export interface ResultSettings {
  /** The metric of all routes; 0 for the kernel's own. */
  priority: number;
  /** No gateway and no default route. */
  suppressGateway: boolean;
}

/** The lease as a plugin's result. */
export function resultOf({ address, gateway, routes, dns }: Lease, settings: ResultSettings): Result {
  const { priority, suppressGateway } = settings;
  const kept = suppressGateway ? routes.filter(({ dst }) => dst.length > 0) : routes;
  return {
    interfaces: [],
    ips: [gateway === undefined || suppressGateway ? { address } : { address, gateway }],
    routes: kept.map((route) => (priority === 0 ? route : { ...route, priority })),
    dns,
  };
}
