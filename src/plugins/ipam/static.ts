import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { Fields } from "../../cni/fields.ts";
import type { NetworkConfig, Plugin, PluginRequest } from "../../cni/plugin.ts";
import {
  type Dns,
  dnsKeys,
  emptyResult,
  parseDns,
  parseRoute,
  type Result,
  type ResultIp,
  type ResultRoute,
  routeKeys,
} from "../../cni/result.ts";
import { isAtLeast } from "../../cni/versions.ts";
import { Ip } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";
import { requirePrevResult } from "../shared/check-link.ts";

/** What may stand under `ipam`. */
export const staticKeys = ["type", "addresses", "routes", "dns"];
const addressKeys = ["address", "gateway"];

/** What static gives out. */
export interface StaticConfig {
  addresses: ResultIp[];
  routes: ResultRoute[];
  dns: Dns;
  /** Gateways of CNI_ARGS that are in the prefix of none of its addresses. */
  idleGateways: Ip[];
}

/** Gives out the addresses that stand in the configuration or come from the runtime. It remembers nothing. */
export const staticIpam: Plugin = {
  name: "static",
  parse: parseWithWarnings,

  add(request: PluginRequest): Result {
    const { addresses, routes, dns } = parseWithWarnings(request);
    return { ...emptyResult(), ips: addresses, routes, dns };
  },

  del(): void {},

  check(request: PluginRequest): void {
    const prevResult = requirePrevResult(request);
    for (const { address, gateway } of parseStatic(request).addresses) {
      const found = prevResult.ips.find((ip) => ip.address.ip.equals(address.ip));
      const isSame =
        found !== undefined && (gateway === undefined || found.gateway?.equals(gateway) === true);
      if (isSame) continue;
      const { ifname } = request.invocation;
      throw new CniError(
        cniErrorCode.internal,
        `static: Failed to match addr ${address.ip} on interface ${ifname}`,
        { remedy: "The configuration is another one than at ADD: make the container's sandbox anew" },
      );
    }
  },

  status(request: PluginRequest): void {
    parseStatic(request);
  },
};

function parseWithWarnings(request: PluginRequest): StaticConfig {
  const config = parseStatic(request);
  for (const sentence of unknownIpamKeys(request.config)) request.warn(sentence);
  for (const gateway of config.idleGateways) {
    request.warn(`CNI_ARGS GATEWAY: ${gateway} is in the prefix of no address under IP; it is ignored`);
  }
  return config;
}

function unknownIpamKeys({ fields }: NetworkConfig): string[] {
  const ipam = fields.object("ipam");
  if (ipam === undefined) return [];
  const addresses = ipam.objects("addresses") ?? [];
  const routes = ipam.objects("routes") ?? [];
  return [
    ...ipam.unknownKeys(staticKeys),
    ...addresses.flatMap((each) => each.unknownKeys(addressKeys)),
    ...routes.flatMap((route) => route.unknownKeys(routeKeys)),
    ...(ipam.object("dns")?.unknownKeys(dnsKeys) ?? []),
  ];
}

/**
 * Reads the configuration, capability arguments and CNI_ARGS. The `ips` capability takes the place of all other addresses,
 * `args.cni.ips` that of the configured ones and CNI_ARGS; those of CNI_ARGS come behind the configured ones. Throws
 * InvalidInput or a CniError of code 7.
 */
export function parseStatic({ config, invocation }: PluginRequest): StaticConfig {
  const ipam = config.fields.object("ipam");
  if (ipam === undefined) {
    throw new CniError(cniErrorCode.invalidNetworkConfig, "IPAM config missing 'ipam' key", {
      remedy: 'Add "ipam": { "type": "static", "addresses": [{ "address": "10.1.0.2/16" }] }',
    });
  }
  const configured = (ipam.objects("addresses") ?? []).map(parseAddress);
  const gateways = parseList(invocation.args.gateway).map((text) => Ip.parse(text, "CNI_ARGS GATEWAY"));
  const byArgs = parseList(invocation.args.ip).map((text) =>
    withGateway(Prefix.parse(text, "CNI_ARGS IP"), gateways),
  );
  const byConventions = parseIps(config.fields.object("args")?.object("cni"));
  const byRuntime = parseIps(config.fields.object("runtimeConfig"));
  const lists = [byRuntime, byConventions, [...configured, ...byArgs]];
  const addresses = lists.find((list) => list.length > 0) ?? [];
  if (!isAtLeast(config.cniVersion, "0.3.0")) requireOneOfEachFamily(addresses, config.cniVersion);
  return {
    addresses,
    routes: (ipam.objects("routes") ?? []).map(parseRoute),
    dns: parseDns(ipam),
    idleGateways: gateways.filter((gateway) => !byArgs.some(({ address }) => address.contains(gateway))),
  };
}

function parseAddress(fields: Fields): ResultIp {
  const address = fields.prefix("address");
  if (address === undefined) throw fields.missing("address", "Give the address with its prefix length");
  const gateway = fields.ip("gateway");
  return { address, ...(gateway === undefined ? {} : { gateway }) };
}

/** Of several gateways in the address's prefix the last counts, as with the reference. */
function withGateway(address: Prefix, gateways: readonly Ip[]): ResultIp {
  const gateway = gateways.findLast((each) => address.contains(each));
  return { address, ...(gateway === undefined ? {} : { gateway }) };
}

function parseIps(fields: Fields | undefined): ResultIp[] {
  return (fields?.strings("ips") ?? []).map((text, i) => ({
    address: Prefix.parse(text, `${fields?.at("ips")}[${i}]`),
  }));
}

/** A list with commas between its items. */
function parseList(text: string | undefined): string[] {
  return text === undefined || text === "" ? [] : text.split(",").map((item) => item.trim());
}

/** Results before 0.3.0 have one place for each family. */
function requireOneOfEachFamily(ips: readonly ResultIp[], version: string): void {
  for (const family of [4, 6]) {
    if (ips.filter(({ address }) => address.family === family).length < 2) continue;
    throw new CniError(
      cniErrorCode.invalidNetworkConfig,
      `CNI version ${version} does not support more than 1 address per family`,
      { remedy: "Set cniVersion to 0.3.0 or newer" },
    );
  }
}
