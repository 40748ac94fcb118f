/** The agent's features `services` and `masquerade` in a namespace of their own, with informers that the test fills. */
import { afterEach, beforeEach, expect } from "bun:test";
import type { AgentContext, FeatureState } from "../../src/agent/feature.ts";
import { masquerade } from "../../src/agent/features/masquerade.ts";
import { services } from "../../src/agent/features/services.ts";
import { type Node, resources } from "../../src/kube/types.ts";
import { FakeClock } from "../../src/lib/clock.ts";
import { silentLog } from "../../src/lib/log.ts";
import { Metrics } from "../../src/lib/metrics.ts";
import { Prefix } from "../../src/lib/prefix.ts";
import { KernelError } from "../../src/linux/errors.ts";
import { type Kernel, openKernel } from "../../src/linux/kernel.ts";
import { createNetns, deleteNetns } from "../../src/linux/netns.ts";
import { Transaction } from "../../src/linux/nftables/index.ts";
import { weftTable } from "../../src/reconcile/table-part.ts";
import { HandInformer } from "../lib/informers.ts";
import { needs, testWith } from "../lib/needs.ts";
import { service, slice } from "../lib/services.ts";

const kernelTest = testWith(needs.root, needs.kernel("nftables"));
const available = needs.root === undefined && needs.kernel("nftables") === undefined;
let count = 0;
let agent: Agent;

/** What an agent gives to a feature. */
class Agent {
  readonly namespace = `weft-t-svcf-${process.pid}-${count++}`;
  readonly nodes = new HandInformer(resources.nodes);
  readonly services = new HandInformer(resources.services);
  readonly slices = new HandInformer(resources.endpointSlices);
  readonly pods = new HandInformer(resources.pods);
  readonly clock = new FakeClock();
  readonly metrics = new Metrics();
  readonly reports: FeatureState[] = [];
  readonly kernel: Kernel;
  #stop = new AbortController();
  #running: Promise<void>[] = [];

  constructor() {
    createNetns(this.namespace);
    this.kernel = openKernel({ name: this.namespace });
  }

  start(): void {
    const context = {
      nodeName: "a",
      config: {
        clusterCidrs: [Prefix.parse("10.244.0.0/16")],
        serviceCidrs: [Prefix.parse("10.96.0.0/16")],
        nonMasqueradeCidrs: [Prefix.parse("10.0.0.0/8")],
        clusterDns: [],
      },
      kernel: this.kernel,
      log: silentLog,
      clock: this.clock,
      metrics: this.metrics,
      signal: this.#stop.signal,
      informers: {
        nodes: () => this.nodes,
        services: () => this.services,
        endpointSlices: () => this.slices,
        pods: () => this.pods,
      },
      report: (state: FeatureState["state"], message: string) => void this.reports.push({ state, message }),
      rest: () => {},
      states: () => new Map(),
    } as unknown as AgentContext;
    this.#running = [services.run(context), masquerade.run(context)];
  }

  /** All that was first listed is there. */
  sync(): void {
    for (const informer of [this.nodes, this.services, this.slices]) informer.sync();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
    this.#stop = new AbortController();
  }

  /** Lets everything run that waits for nothing but its turn. */
  async settle(): Promise<void> {
    for (let i = 0; i < 20; i++) await Promise.resolve();
  }

  /** Elements of a set, as text. */
  elements(name: string): string[] {
    const { sets } = this.kernel.nft.dump(weftTable);
    const found = sets.find((set) => set.name === name)?.elements ?? [];
    return found.map(({ key, data }) => [key, data].flat().join(" ").trim());
  }

  metric(name: string): number {
    return Number(new RegExp(`^${name} (.*)$`, "m").exec(this.metrics.text())?.[1]);
  }

  close(): void {
    this.kernel.close();
    deleteNetns(this.namespace);
  }
}

beforeEach(() => {
  if (available) agent = new Agent();
});

afterEach(async () => {
  if (!available) return;
  await agent.stop();
  agent.close();
});

const node = (name: string, podCIDR: string | undefined, address: string): Node => ({
  metadata: { name },
  spec: podCIDR === undefined ? {} : { podCIDR, podCIDRs: [podCIDR] },
  status: { addresses: [{ type: "InternalIP", address }] },
});

async function begun(): Promise<void> {
  agent.nodes.put(node("a", "10.244.1.0/24", "172.30.0.1"), node("b", "10.244.2.0/24", "172.30.0.2"));
  agent.services.put(service("blue", ["10.96.0.1"], ["80"]));
  agent.slices.put(slice("blue", "blue", ["10.244.1.2@a"]));
  agent.start();
  agent.sync();
  await agent.settle();
}

kernelTest("nothing is written before the first lists are there", async () => {
  agent.start();
  agent.nodes.sync();
  agent.services.sync();
  await agent.settle();
  expect(agent.kernel.nft.tables()).toEqual([]);
  expect(agent.reports.map(({ state }) => state)).not.toContain("ready");
});

kernelTest("the first change is written at once, a burst behind it in few transactions", async () => {
  await begun();
  expect(agent.elements("services-endpoints4")).toEqual(["10.96.0.1 tcp 80 0 10.244.1.2 8080"]);
  agent.clock.advance(1000);
  await agent.settle();
  const before = agent.metric("weft_services_transactions_total");
  agent.slices.put(slice("blue", "blue", ["10.244.1.3@a"]));
  await agent.settle();
  // No time has passed.
  expect(agent.elements("services-endpoints4")).toEqual(["10.96.0.1 tcp 80 0 10.244.1.3 8080"]);
  for (let i = 4; i < 104; i++) {
    agent.slices.put(slice("blue", "blue", [`10.244.1.${i}@a`]));
    await agent.settle();
  }
  agent.clock.advance(1000);
  await agent.settle();
  expect(agent.elements("services-endpoints4")).toEqual(["10.96.0.1 tcp 80 0 10.244.1.103 8080"]);
  expect(agent.metric("weft_services_transactions_total") - before).toBe(2);
});

kernelTest("pods' prefixes, node addresses and named prefixes follow the nodes", async () => {
  agent.nodes.put(node("a", undefined, "172.30.0.1"));
  agent.start();
  agent.sync();
  await agent.settle();
  expect(agent.elements("services-pods4")).toEqual([]);
  agent.clock.advance(1000);
  agent.nodes.put(node("a", "10.244.1.0/24", "172.30.0.1"), node("b", "10.244.2.0/24", "172.30.0.2"));
  await agent.settle();
  agent.clock.advance(1000);
  await agent.settle();
  expect(agent.elements("masquerade-pods4")).toEqual(["10.244.1.0/24"]);
  expect(agent.elements("services-pods4")).toEqual(["10.244.1.0/24"]);
  expect(agent.elements("masquerade-except4")).toEqual([
    "10.0.0.0/8",
    "172.30.0.1",
    "172.30.0.2",
    "224.0.0.0/4",
  ]);
  agent.nodes.remove("b");
  await agent.settle();
  expect(agent.elements("masquerade-except4")).not.toContain("172.30.0.2");
  // Registered again, and without podCIDRs at first: its pods go on meanwhile.
  for (const own of [undefined, node("a", undefined, "172.30.0.1")]) {
    if (own === undefined) agent.nodes.remove("a");
    else agent.nodes.put(own);
    await agent.settle();
    agent.clock.advance(1000);
    await agent.settle();
    expect(agent.elements("masquerade-pods4")).toEqual(["10.244.1.0/24"]);
    expect(agent.elements("services-pods4")).toEqual(["10.244.1.0/24"]);
  }
  agent.nodes.put(node("a", "10.244.7.0/24", "172.30.0.1"));
  await agent.settle();
  agent.clock.advance(1000);
  await agent.settle();
  expect(agent.elements("masquerade-pods4")).toEqual(["10.244.7.0/24"]);
  expect(agent.elements("services-pods4")).toEqual(["10.244.7.0/24"]);
});

kernelTest(
  "a restart writes nothing; damage is repaired within a minute; cleanup leaves nothing",
  async () => {
    await begun();
    await agent.stop();
    const { nft } = agent.kernel;
    const generation = nft.generation();
    agent.start();
    await agent.settle();
    expect(agent.reports.at(-1)?.state).toBe("ready");
    expect(nft.generation()).toBe(generation);
    nft.apply(new Transaction(weftTable).flush({ kind: "table", ...weftTable }));
    agent.clock.advance(60_000);
    await agent.settle();
    const { rules } = nft.dump(weftTable);
    expect(new Set(rules.map(({ chain }) => chain))).toContain("services-entry4");
    expect(new Set(rules.map(({ chain }) => chain))).toContain("masquerade-postrouting");
    await agent.stop();
    const context = { kernel: agent.kernel, log: silentLog } as unknown as AgentContext;
    for (const feature of [services, masquerade]) await feature.cleanup(context);
    expect(nft.tables()).toEqual([]);
  },
);

kernelTest(
  "a kernel that refuses is reported and tried again; the table then is what it should be",
  async () => {
    await begun();
    agent.clock.advance(1000);
    await agent.settle();
    const { nft } = agent.kernel;
    const { apply } = nft;
    nft.apply = () => {
      throw new KernelError("apply", "table inet weft", 12);
    };
    agent.slices.put(slice("blue", "blue", ["10.244.1.9@a"]));
    await agent.settle();
    expect(agent.reports.at(-1)?.state).toBe("failing");
    expect(agent.reports.at(-1)?.message).toContain("ENOMEM");
    nft.apply = apply;
    agent.clock.advance(10_000);
    await agent.settle();
    expect(agent.reports.at(-1)?.state).toBe("ready");
    expect(agent.elements("services-endpoints4")).toEqual(["10.96.0.1 tcp 80 0 10.244.1.9 8080"]);
  },
);
