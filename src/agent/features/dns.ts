import {
  createZone,
  type DnsServer,
  metricsSnapshot,
  startDnsServer,
  type Zone,
  type ZoneHandlers,
  zoneHandlers,
} from "../../dns/index.ts";
import { sleep } from "../../lib/clock.ts";
import { explain } from "../../lib/errors.ts";
import type { Ip } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";
import { isExists, isNotFound } from "../../linux/errors.ts";
import type { Kernel } from "../../linux/kernel.ts";
import type { Address } from "../../linux/route/address.ts";
import { RTPROT_WEFT } from "../../linux/route/route.ts";
import { ReconcileLoop } from "../../reconcile/loop.ts";
import type { AgentContext, Feature } from "../feature.ts";
import { forgetNames, NameMemory } from "../names.ts";
import { aborted, followKernel } from "../timing.ts";

const port = 53;
const link = "lo";

/** So long an API server may take to list, in milliseconds, before names are recalled. */
const patience = 1_000;

/** By what is answered: nothing yet, what was known before a restart, or what the API server tells. */
type Names = { are: "unknown" } | { are: "recalled"; at: string } | { are: "current" };

/**
 * Answers the cluster's names on this node itself, at the cluster's DNS addresses, which the loopback link gets: pods
 * and the node ask without leaving the node. What is not of the cluster is forwarded. After a restart, as long as the API
 * server is not heard, the names are those that were last known.
 */
export const dns: Feature = {
  name: "dns",

  async run(context) {
    const { clock, config, kernel, log, report, signal } = context;
    const zone = createZone({
      domain: config.clusterDomain,
      reversePrefixes: [...config.serviceCidrs, ...config.clusterCidrs].map(String),
      nameservers: config.clusterDns.map(String),
    });
    const handlers = zoneHandlers(zone, log);
    const synced = follow(context, handlers);
    const memory = new NameMemory(context, handlers);
    const server = await startDnsServer({ listen: [], zone, forward: forwarding(context), log });
    registerMetrics(context, server, zone);
    let names: Names = { are: "unknown" };
    const loop = new ReconcileLoop(
      async () => {
        if (names.are === "unknown") return;
        const { usable, left } = usableAddresses(kernel, config.clusterDns);
        removeAddresses(kernel, (address) => isOwn(address) && !isOneOf(config.clusterDns, address));
        const failures: unknown[] = [];
        for (const address of usable) {
          await serve(kernel, server, address).catch((error) => failures.push(error));
        }
        if (failures.length > 0) throw failures[0];
        const answers = `answers at ${usable.join(" and ")}${left}`;
        if (names.are === "current") report("ready", answers);
        else
          report("degraded", `${answers} by what was known at ${names.at}, as the API server is not heard`);
      },
      { clock, signal, onError: (error) => report("failing", explain(error)) },
    );
    const know = async () => {
      report("starting", "waiting for the API server to list Services and EndpointSlices");
      // Answers before the first list would deny names that exist.
      await Promise.race([synced, sleep(clock, patience, signal)]).catch(() => {});
      const at = memory.recall();
      if (at !== undefined) names = { are: "recalled", at };
      loop.trigger();
      await Promise.race([synced, aborted(signal)]).catch(() => {});
      if (signal.aborted) return;
      memory.follow();
      names = { are: "current" };
      loop.trigger();
    };
    const follows = followKernel(context, ["addresses"], (event) => {
      const lost = event.object === "address" && event.action === "delete";
      if (event.object === "overrun" || (lost && isOneOf(config.clusterDns, event.address))) loop.trigger();
    });
    await Promise.all([know(), follows]);
    server.close();
    await memory.close();
  },

  async cleanup({ config, kernel, log }) {
    if (forgetNames(config)) log.info("Removed the names that were last known", { folder: config.stateDir });
    const removed = removeAddresses(kernel, (address, marked) =>
      marked ? isOwn(address) : isOneOf(config.clusterDns, address),
    );
    for (const address of removed) log.info("Removed the DNS address", { address });
  },
};

const isOwn = ({ protocol }: Address) => protocol === RTPROT_WEFT;

const isOneOf = (addresses: readonly Ip[], { address }: Address) =>
  addresses.some((each) => each.equals(address.ip));

/** The addresses of families that this machine has: no pod of it could ask at the others. All, where it has none of them. */
function usableAddresses(
  { sysctl }: Kernel,
  addresses: readonly Ip[],
): { usable: readonly Ip[]; left: string } {
  const four = addresses.filter(({ family }) => family === 4);
  const all = { usable: addresses, left: "" };
  if (four.length === 0 || four.length === addresses.length) return all;
  try {
    if (sysctl.read(`net.ipv6.conf.${link}.disable_ipv6`) === "0") return all;
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
  return { usable: four, left: ", as IPv6 is disabled on this machine" };
}

/** Takes an address, and answers there. Does nothing where it is so already. */
async function serve({ rtnl }: Kernel, server: DnsServer, address: Ip): Promise<void> {
  try {
    rtnl.addresses.add({
      link,
      address: Prefix.host(address),
      scope: "host",
      flags: ["nodad"],
      protocol: RTPROT_WEFT,
    });
  } catch (error) {
    if (!isExists(error)) throw error;
  }
  const endpoint = { address: String(address), port };
  const listening = server.listening.some((each) => each.address === endpoint.address);
  if (!listening) await server.listen(endpoint);
}

/**
 * Removes addresses of the loopback link. The test is told whether this kernel keeps who made an address (IFA_PROTO,
 * since Linux 5.18: its own 127.0.0.1 shows it). Answers which were removed.
 */
function removeAddresses(
  { rtnl }: Kernel,
  isMeant: (address: Address, marked: boolean) => boolean,
): string[] {
  const all = rtnl.addresses.list({ link });
  const marked = all.some(({ protocol }) => protocol !== undefined);
  const removed: string[] = [];
  for (const found of all) {
    if (!isMeant(found, marked)) continue;
    try {
      rtnl.addresses.delete({ link, address: found.address });
      removed.push(found.address.ip.toString());
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
  return removed;
}

function forwarding({ config }: AgentContext): { upstreams: readonly string[]; resolvConf?: string } {
  if (config.upstreamDns.length > 0) return { upstreams: config.upstreamDns };
  return { upstreams: [], resolvConf: config.resolvConf };
}

/** Keeps the zone as the API has it. Resolves when the first lists are in. */
function follow({ informers }: AgentContext, handlers: ZoneHandlers): Promise<unknown> {
  const namespaces = informers.namespaces();
  const services = informers.services();
  const slices = informers.endpointSlices();
  namespaces.on(handlers.namespaces);
  services.on(handlers.services);
  slices.on(handlers.endpointSlices);
  return Promise.all([namespaces.synced, services.synced, slices.synced]);
}

function registerMetrics({ metrics }: AgentContext, server: DnsServer, zone: Zone): void {
  const by = (name: "queries" | "responses", label: string) => () =>
    Object.entries(metricsSnapshot(server.metrics)[name]).map(([key, value]) => ({
      labels: { [label]: key },
      value,
    }));
  metrics.register("counter", "weft_dns_queries_total", "Queries, by type", by("queries", "type"));
  metrics.register("counter", "weft_dns_responses_total", "Responses, by code", by("responses", "rcode"));
  metrics.register(
    "counter",
    "weft_dns_cache_hits_total",
    "Forwarded names found in the cache",
    () => server.metrics.cacheHits,
  );
  metrics.register(
    "counter",
    "weft_dns_forwards_total",
    "Queries sent upstream",
    () => server.metrics.forwards,
  );
  metrics.register(
    "counter",
    "weft_dns_forward_failures_total",
    "Upstream tries without answer",
    () => server.metrics.forwardFailures,
  );
  metrics.register(
    "gauge",
    "weft_dns_names",
    "Services, addresses with PTR records, and namespaces in the cluster's zone",
    () => zone.size,
  );
}
