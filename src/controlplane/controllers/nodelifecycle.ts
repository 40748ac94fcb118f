import {
  type Condition,
  keyOf,
  type Lease,
  type Node,
  type Pod,
  resources,
  type Taint,
} from "../../kube/types.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Controller, ControllerContext } from "./controller.ts";
import { timestamp } from "./events.ts";
import { conditionOf, isReady, withCondition } from "./pods.ts";
import { deleteObject, ignoreNotFound } from "./writes.ts";

const leaseNamespace = "kube-node-lease";
const notReadyTaint = "node.kubernetes.io/not-ready";
const unreachableTaint = "node.kubernetes.io/unreachable";

/** How often time itself is looked at, to notice that it jumped. */
const tickMs = 5000;

/** The taints that go with a node's Ready condition, beside those that others gave it. */
export function conditionTaints(node: Node, now: string): Taint[] {
  const others = (node.spec?.taints ?? []).filter(
    ({ key }) => key !== notReadyTaint && key !== unreachableTaint,
  );
  const ready = conditionOf(node.status?.conditions, "Ready")?.status;
  if (ready === "True") return others;
  const key = ready === "Unknown" ? unreachableTaint : notReadyTaint;
  const taint = (effect: Taint["effect"]): Taint => {
    const known = node.spec?.taints?.find((one) => one.key === key && one.effect === effect);
    return known ?? { key, effect, ...(effect === "NoExecute" ? { timeAdded: now } : {}) };
  };
  return [...others, taint("NoSchedule"), taint("NoExecute")];
}

/** The conditions of a node whose kubelet is no longer heard: nothing that it said is known to be so still. */
export function silentConditions(node: Node, now: string): Condition[] {
  const before = node.status?.conditions ?? [];
  const types = before.some(({ type }) => type === "Ready") ? before.map(({ type }) => type) : ["Ready"];
  const known = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
  return types
    .filter((type) => known.includes(type))
    .reduce<Condition[]>((conditions, type) => {
      const condition: Condition = {
        ...conditionOf(before, type),
        type,
        status: "Unknown",
        reason: "NodeStatusUnknown",
        message: "Kubelet stopped posting node status.",
      };
      return withCondition(conditions, condition, now);
    }, before);
}

/**
 * When each node was last heard, by the local clock: what the lease says of its own time does not count, since clocks
 * differ. A heartbeat is any change of the lease's renewTime, or of the Ready condition's heartbeat.
 */
export class Heartbeats {
  readonly #clock: Clock;
  readonly #graceMs: number;
  readonly #seen = new Map<string, { sign: string; at: number }>();
  #tickedAt: number;

  constructor(clock: Clock, graceMs: number) {
    this.#clock = clock;
    this.#graceMs = graceMs;
    this.#tickedAt = clock.now();
  }

  /** Takes what is known of a node. True where it is a sign of life. */
  observe(name: string, node: Node | undefined, lease: Lease | undefined): boolean {
    const ready = conditionOf(node?.status?.conditions, "Ready");
    const sign = `${lease?.spec?.renewTime ?? ""} ${ready?.lastHeartbeatTime ?? ""} ${node?.metadata.uid ?? ""}`;
    if (this.#seen.get(name)?.sign === sign) return false;
    this.#seen.set(name, { sign, at: this.#clock.now() });
    return true;
  }

  forget(name: string): void {
    this.#seen.delete(name);
  }

  /** How long until a node counts as silent, 0 when it does. */
  leftMs(name: string): number {
    this.#noticeSleep();
    const seen = this.#seen.get(name);
    if (seen === undefined) return this.#graceMs;
    return Math.max(0, seen.at + this.#graceMs - this.#clock.now());
  }

  /** Nothing could be heard until now: a server that was away is no reason to think nodes silent. */
  restart(): void {
    for (const seen of this.#seen.values()) seen.at = this.#clock.now();
  }

  /** To be called every {@link tickMs}. */
  tick(): void {
    this.#noticeSleep();
    this.#tickedAt = this.#clock.now();
  }

  /** Where the ticks stood still, the whole machine slept, and the nodes with it. */
  #noticeSleep(): void {
    const now = this.#clock.now();
    if (now - this.#tickedAt <= tickMs + this.#graceMs / 2) return;
    this.#tickedAt = now;
    this.restart();
  }
}

/** Notices nodes that fall silent, and taints those that are not ready. */
export const nodeLifecycle: Controller = {
  name: "node-lifecycle",
  start(context) {
    const { informers, clock, nodeGraceMs, signal, queue } = context;
    const nodes = informers.of(resources.nodes);
    const leases = informers.of(resources.leases);
    informers.of(resources.pods);
    const heartbeats = new Heartbeats(clock, nodeGraceMs);
    const work = queue((name) => syncNode(context, heartbeats, name));
    const leaseOf = (name: string) => leases.get({ name, namespace: leaseNamespace });
    const observe = (name: string) => heartbeats.observe(name, nodes.get({ name }), leaseOf(name));

    const onLease = ({ metadata }: Lease) => {
      if (metadata.namespace === leaseNamespace && observe(metadata.name)) work.add(metadata.name);
    };
    leases.on({ add: onLease, update: onLease });
    const onNode = ({ metadata }: Node) => {
      observe(metadata.name);
      work.add(metadata.name);
    };
    nodes.on({ add: onNode, update: onNode, delete: ({ metadata }) => heartbeats.forget(metadata.name) });
    informers.of(resources.pods).on({
      // A pod that comes to, or turns ready on, a node that is silent.
      update: (pod, before) => {
        if (pod.spec.nodeName && isReady(pod) && !isReady(before)) work.add(pod.spec.nodeName);
      },
    });

    const tick = () => {
      heartbeats.tick();
      if (!leases.health.connected || !nodes.health.connected) heartbeats.restart();
      cancel = clock.after(tickMs, tick);
    };
    let cancel = clock.after(tickMs, tick);
    signal.addEventListener("abort", () => cancel());
  },
};

async function syncNode(
  context: ControllerContext,
  heartbeats: Heartbeats,
  name: string,
): Promise<number | undefined> {
  const { client, informers, events, clock, log } = context;
  let node = informers.of(resources.nodes).get({ name });
  if (node === undefined) return undefined;
  const left = heartbeats.leftMs(name);
  const ready = conditionOf(node.status?.conditions, "Ready");
  const now = timestamp(clock);
  if (left === 0 && ready?.status !== "Unknown") {
    const status = { ...node.status, conditions: silentConditions(node, now) };
    node = await client.updateStatus(resources.nodes, { ...node, status });
    log.warn("A node is no longer heard", { node: name });
    events.record(node, "Normal", "NodeNotReady", `Node ${name} status is now: NodeNotReady`);
  }
  const taints = conditionTaints(node, now);
  if (JSON.stringify(taints) !== JSON.stringify(node.spec?.taints ?? [])) {
    const { resourceVersion = "" } = node.metadata;
    const body = { metadata: { resourceVersion }, spec: { taints: taints as never } };
    await client.patch(resources.nodes, node.metadata, { type: "merge", body });
  }
  if (left === 0) await markPodsNotReady(context, node, now);
  return left === 0 ? undefined : left;
}

/** What runs on a node that is not heard gets no traffic. */
async function markPodsNotReady(
  { client, informers }: ControllerContext,
  node: Node,
  now: string,
): Promise<void> {
  const pods = informers.of(resources.pods).by("node", node.metadata.name).filter(isReady);
  await Promise.all(
    pods.map((pod) => {
      const condition: Condition = {
        ...conditionOf(pod.status?.conditions, "Ready"),
        type: "Ready",
        status: "False",
        reason: "NodeNotReady",
        message: "Node is not ready",
      };
      const conditions = withCondition(pod.status?.conditions, condition, now);
      return client
        .updateStatus(resources.pods, { ...pod, status: { ...pod.status, conditions } })
        .catch(ignoreNotFound);
    }),
  );
}

/** Removes the pods of nodes that are gone: no kubelet is left to do it. */
export const podCollector: Controller = {
  name: "pod-collector",
  start({ client, informers, events, nodeGraceMs, clock, queue }) {
    const nodes = informers.of(resources.nodes);
    const pods = informers.of(resources.pods);
    const removePod = async (pod: Pod, name: string) => {
      if (!(await deleteObject(client, resources.pods, pod, { gracePeriodSeconds: 0 }))) return;
      events.record(
        pod,
        "Normal",
        "NodeGone",
        `Deleting pod ${keyOf(pod.metadata)}: node "${name}" does not exist`,
      );
    };
    const deleted = new Set<string>();
    const seenAt = new Map<string, number>();
    const work = queue(async (name) => {
      if (nodes.get({ name }) !== undefined || name === "") {
        deleted.delete(name);
        seenAt.delete(name);
        return undefined;
      }
      const orphans = pods.by("node", name);
      if (orphans.length === 0) return undefined;
      // A pod may come before its node: a kubelet that registers late, or a server that was restored.
      const since = seenAt.get(name) ?? clock.now();
      seenAt.set(name, since);
      const left = deleted.has(name) ? 0 : since + nodeGraceMs - clock.now();
      if (left > 0) return left;
      await Promise.all(orphans.map((pod) => removePod(pod, name)));
      return undefined;
    });
    nodes.on({
      delete: ({ metadata }) => {
        deleted.add(metadata.name);
        work.add(metadata.name);
      },
    });
    const consider = (pod: Pod) => {
      const { nodeName } = pod.spec;
      if (nodeName && nodes.get({ name: nodeName }) === undefined) work.add(nodeName);
    };
    pods.on({ add: consider, update: consider });
  },
};
