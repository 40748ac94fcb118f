import { keyOf } from "../../kube/types.ts";
import { sleep } from "../../lib/clock.ts";
import { explain } from "../../lib/errors.ts";
import type { Prefix } from "../../lib/prefix.ts";
import { KernelError } from "../../linux/errors.ts";
import { ReconcileLoop } from "../../reconcile/loop.ts";
import { removeServices, ServicesDriver } from "../../services/driver.ts";
import { ServiceTable } from "../../services/table.ts";
import type { AgentContext, Feature } from "../feature.ts";
import { aborted, checkInterval, repeat } from "../timing.ts";
import { nodeAddresses, podPrefixes } from "./masquerade.ts";

/** After a write, changes are gathered for so many times its duration: what is left of the processor is for others. */
const PAUSE_FACTOR = 4;
const PAUSE_MIN = 1;
const PAUSE_MAX = 200;
const ZONE = "topology.kubernetes.io/zone";

/** Makes Services reachable from this node's pods, from the node itself and by node ports: table `inet weft`. */
export const services: Feature = {
  name: "services",

  async run(context) {
    const { clock, kernel, log, report, signal } = context;
    seeBridgedTraffic(context);
    const table = new ServiceTable({ name: context.nodeName }, { reserved: [], nodeAddresses: [] });
    const driver = new ServicesDriver(
      {
        nft: kernel.nft,
        conntrack: kernel.conntrack,
        addresses: () => kernel.rtnl.addresses.list().map(({ address }) => address.ip),
      },
      table,
    );
    const told = new Set<string>();
    const state = { adopted: false, checking: false, seconds: 0 };
    const work = async () => {
      const start = performance.now();
      if (!state.adopted) {
        begin(context, driver);
        state.adopted = true;
      } else if (state.checking) driver.check();
      else driver.sync();
      state.checking = false;
      const took = performance.now() - start;
      state.seconds = took / 1000;
      tellProblems(table, told, context);
      report("ready", "Services are in table inet weft");
      const pause = Math.min(Math.max(took * PAUSE_FACTOR, PAUSE_MIN), PAUSE_MAX);
      await sleep(clock, pause, signal).catch(() => {});
    };
    const loop = new ReconcileLoop(work, {
      clock,
      signal,
      onError: (error) => report("failing", explain(error)),
    });
    registerMetrics(context, table, driver, () => state.seconds);
    report("starting", "waiting for the API server to list nodes, Services and EndpointSlices");
    await Promise.race([synced(context), aborted(signal)]).catch(() => {});
    if (signal.aborted) return;
    follow(context, table, driver, loop.triggered);
    log.debug("Services are known", { services: table.size });
    loop.trigger();
    repeat(context, checkInterval, () => {
      state.checking = true;
      loop.trigger();
    });
    await aborted(signal);
  },

  async cleanup({ kernel, log }) {
    if (removeServices(kernel.nft)) log.info("Removed Services from table inet weft");
  },
};

/** The first sync, in steps that each need their memory after one another. */
function begin({ rest }: AgentContext, driver: ServicesDriver): void {
  for (const step of ["adopt", "prepare", "syncAll"] as const) {
    rest();
    driver[step]();
  }
  rest();
}

async function synced({ informers }: AgentContext): Promise<void> {
  await Promise.all([
    informers.nodes().synced,
    informers.services().synced,
    informers.endpointSlices().synced,
  ]);
}

/** Carries what the API server says into the table. */
function follow(
  context: AgentContext,
  table: ServiceTable,
  driver: ServicesDriver,
  changed: () => void,
): void {
  const { config, informers, nodeName } = context;
  const nodes = informers.nodes();
  let seen = "";
  let pods: readonly Prefix[] = [];
  const setNode = () => {
    const node = nodes.get({ name: nodeName });
    const prefixes = podPrefixes(node);
    // A node that is registered again has its pods all the while.
    if (prefixes.length > 0) pods = prefixes;
    const addresses = nodeAddresses(node);
    const zone = node?.metadata.labels?.[ZONE];
    const now = JSON.stringify([pods, addresses, zone]);
    if (now === seen) return;
    seen = now;
    table.setNode(
      { name: nodeName, zone },
      {
        reserved: [...config.clusterCidrs, ...config.serviceCidrs],
        nodeAddresses: addresses,
        // Without the feature, DNS is a Service of the cluster like any other.
        dnsAddresses: context.states().has("dns") ? config.clusterDns : [],
      },
    );
    driver.setPrefixes(pods, config.serviceCidrs);
    changed();
  };
  nodes.on({ add: setNode, update: setNode, delete: setNode });
  setNode();
  const then = <T>(action: (object: T) => void) => {
    return (object: T) => {
      action(object);
      changed();
    };
  };
  informers.services().on({
    add: then((service) => table.setService(service)),
    update: then((service) => table.setService(service)),
    delete: then((service) => table.deleteService(keyOf(service.metadata))),
  });
  informers.endpointSlices().on({
    add: then((slice) => table.setSlice(slice)),
    update: then((slice) => table.setSlice(slice)),
    delete: then((slice) => table.deleteSlice(keyOf(slice.metadata))),
  });
}

/**
 * Two pods on one bridge answer each other without passing the node's own hooks, unless bridged packets are shown to them:
 * an answer would come from the endpoint and not from the Service.
 */
function seeBridgedTraffic({ kernel: { sysctl }, log }: AgentContext): void {
  for (const key of ["net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"]) {
    try {
      if (sysctl.read(key) !== "1") sysctl.write(key, 1);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      log.warn("The kernel does not show bridged packets to nftables, or not to this process", {
        sysctl: key,
        error: explain(error),
        effect: "a pod may not reach a Service whose endpoint is on the same node",
        remedy: "Load the module br_netfilter",
      });
    }
  }
}

/** Says once what a Service asked for and does not get. */
function tellProblems(table: ServiceTable, told: Set<string>, { log }: AgentContext): void {
  for (const { frontend, service, winner } of table.conflicts()) {
    const text = `${frontend} ${service} ${winner}`;
    if (told.has(text)) continue;
    told.add(text);
    log.warn("Two Services want the same address and port", { frontend, service, winner });
  }
  for (const [service, problems] of table.refusals()) {
    const text = `${service} ${problems}`;
    if (told.has(text)) continue;
    told.add(text);
    log.warn("A Service asks for what it cannot have", { service, problem: problems.join(", ") });
  }
}

function registerMetrics(
  { metrics }: AgentContext,
  table: ServiceTable,
  { counts }: ServicesDriver,
  seconds: () => number,
): void {
  metrics.register("gauge", "weft_services", "Services with an address of their own", () => table.size);
  metrics.register("gauge", "weft_services_sync_seconds", "Duration of the last sync", seconds);
  for (const [name, help, read] of [
    ["transactions", "Transactions written to nftables", () => counts.transactions],
    ["operations", "Elements, chains and rules written to nftables", () => counts.operations],
    ["repairs", "Times when somebody else had changed the table", () => counts.repairs],
    ["cut_flows", "UDP flows cut because their endpoint went", () => counts.flows],
    ["forgotten_clients", "Clients whose endpoint went", () => counts.clients],
  ] as const) {
    metrics.register("counter", `weft_services_${name}_total`, help, read);
  }
}
