import { cpus, release, totalmem } from "node:os";
import {
  type Informer,
  isAlreadyExists,
  isNotFound,
  type KubeClient,
  startInformer,
} from "../../kube/index.ts";
import { type Event, type Lease, type Node, type Pod, resources } from "../../kube/types.ts";
import { type Clock, sleep } from "../../lib/clock.ts";
import { explain } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { version } from "../../lib/version.ts";
import { timestamp } from "./containers.ts";
import { type PodDeps, PodWorker } from "./pod.ts";

const leaseSeconds = 40;
const renewEvery = 10_000;

/** The kubelet role of one node; see {@link Kubelet}. */
export interface KubeletOptions extends Omit<PodDeps, "event"> {
  signal: AbortSignal;
  /** True once the node's network can take pods: the node is Ready only then. */
  networkReady: () => { ready: boolean; message: string };
  onNetworkChange: (callback: () => void) => void;
}

/**
 * What a kubelet does, as far as networks are concerned: registers the node and keeps its lease, watches the pods
 * that are bound to it, and runs a {@link PodWorker} for each.
 */
export class Kubelet {
  readonly #options: KubeletOptions;
  readonly #client: KubeClient;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #workers = new Map<string, PodWorker>();
  #informer: Informer<Pod> | undefined;

  constructor(options: KubeletOptions) {
    this.#options = options;
    this.#client = options.client;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Works until the signal aborts; then ends all pods' processes and networks. */
  async run(): Promise<void> {
    const { signal, nodeName } = this.#options;
    const aborted = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    await Promise.race([this.#register(), aborted]);
    if (signal.aborted) return;
    this.#options.onNetworkChange(() => void this.#reportReady());
    // A change while it was being registered was told to nobody: the first renewal looks for it.
    void this.#renewLease();
    const informer = startInformer(this.#client, resources.pods, {
      fieldSelector: `spec.nodeName=${nodeName}`,
      signal,
      log: this.#log,
    });
    this.#informer = informer;
    informer.on({
      add: (pod) => this.#sync(pod),
      update: (pod) => this.#sync(pod),
      delete: (pod) => this.#gone(pod),
    });
    await aborted;
  }

  /** The worker of a pod on this node, by "namespace/name". */
  worker(namespace: string, name: string): PodWorker | undefined {
    const pod = this.#informer?.get({ namespace, name });
    return pod?.metadata.uid === undefined ? undefined : this.#workers.get(pod.metadata.uid);
  }

  #sync(pod: Pod): void {
    const uid = pod.metadata.uid ?? "";
    const worker = this.#workers.get(uid);
    if (worker !== undefined) {
      worker.update(pod);
      return;
    }
    const phase = pod.status?.phase;
    if (phase === "Succeeded" || phase === "Failed") return;
    const fresh = new PodWorker(pod, { ...this.#options, event: (...args) => void this.#event(...args) });
    this.#workers.set(uid, fresh);
    if (pod.metadata.deletionTimestamp !== undefined) this.#end(uid, fresh);
    else fresh.update(pod);
  }

  #gone(pod: Pod): void {
    const uid = pod.metadata.uid ?? "";
    const worker = this.#workers.get(uid);
    if (worker !== undefined) this.#end(uid, worker);
  }

  #end(uid: string, worker: PodWorker): void {
    void worker.end().then(() => this.#workers.delete(uid));
  }

  async #register(): Promise<void> {
    const { nodeName, signal } = this.#options;
    for (;;) {
      try {
        await this.#client.create(resources.nodes, this.#node());
        break;
      } catch (error) {
        if (isAlreadyExists(error)) break;
        this.#log.warn("Node cannot be registered yet", { error: explain(error) });
        await sleep(this.#clock, 250, signal);
      }
    }
    await this.#client.patch(
      resources.nodes,
      { name: nodeName },
      { type: "merge", body: { status: this.#status() } },
      { subresource: "status" },
    );
  }

  #node(): Node {
    return {
      apiVersion: "v1",
      kind: "Node",
      metadata: {
        name: this.#options.nodeName,
        labels: {
          "kubernetes.io/hostname": this.#options.nodeName,
          "kubernetes.io/os": "linux",
          "kubernetes.io/arch": process.arch === "x64" ? "amd64" : process.arch,
        },
      },
      spec: {},
    };
  }

  #status() {
    const now = timestamp(this.#clock);
    const { ready, message } = this.#options.networkReady();
    const size = { cpu: String(cpus().length), memory: `${Math.floor(totalmem() / 1024)}Ki`, pods: "110" };
    return {
      addresses: [
        ...this.#options.nodeIPs.map((address) => ({ type: "InternalIP", address })),
        { type: "Hostname", address: this.#options.nodeName },
      ],
      capacity: size,
      allocatable: size,
      conditions: [
        {
          type: "Ready",
          status: ready ? "True" : "False",
          reason: ready ? "KubeletReady" : "NetworkPluginNotReady",
          message,
          lastHeartbeatTime: now,
          lastTransitionTime: now,
        },
      ],
      nodeInfo: {
        kubeletVersion: `v1.34.0-weft.${version}`,
        containerRuntimeVersion: `weft://${version}`,
        operatingSystem: "linux",
        architecture: process.arch === "x64" ? "amd64" : process.arch,
        osImage: "Weft lab",
        kernelVersion: release(),
        machineID: "",
        systemUUID: "",
        bootID: "",
        kubeProxyVersion: "",
      },
    };
  }

  async #reportReady(): Promise<void> {
    try {
      await this.#client.patch(
        resources.nodes,
        { name: this.#options.nodeName },
        { type: "strategic", body: { status: { conditions: this.#status().conditions } } },
        { subresource: "status" },
      );
    } catch (error) {
      this.#log.warn("Node condition cannot be reported", { error: explain(error) });
    }
  }

  /** After a silence the control plane counts the node as lost: it is told again, where it knows otherwise. */
  async #correctReady(): Promise<void> {
    const { nodeName, signal, networkReady } = this.#options;
    try {
      const node = await this.#client.get(resources.nodes, { name: nodeName }, { signal });
      const said = node.status?.conditions?.find(({ type }) => type === "Ready")?.status;
      if (said !== (networkReady().ready ? "True" : "False")) await this.#reportReady();
    } catch (error) {
      if (!signal.aborted) this.#log.debug("Node cannot be read", { error: explain(error) });
    }
  }

  async #renewLease(): Promise<void> {
    const { nodeName, signal } = this.#options;
    const ref = { name: nodeName, namespace: "kube-node-lease" };
    while (!signal.aborted) {
      const renewTime = new Date(this.#clock.now()).toISOString().replace("Z", "000Z");
      const spec = { holderIdentity: nodeName, leaseDurationSeconds: leaseSeconds, renewTime };
      try {
        await this.#client.patch(resources.leases, ref, { type: "merge", body: { spec } }, { signal });
      } catch (error) {
        const lease: Lease = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: ref, spec };
        if (isNotFound(error)) await this.#client.create(resources.leases, lease).catch(() => {});
        else if (!signal.aborted) this.#log.warn("Lease cannot be renewed", { error: explain(error) });
      }
      await this.#correctReady();
      await sleep(this.#clock, renewEvery, signal).catch(() => {});
    }
  }

  async #event(
    pod: Pod,
    reason: string,
    message: string,
    type: "Normal" | "Warning" = "Normal",
  ): Promise<void> {
    const now = timestamp(this.#clock);
    const { name, namespace = "default", uid } = pod.metadata;
    const event = {
      apiVersion: "v1",
      kind: "Event",
      metadata: { generateName: `${name}.`, namespace },
      involvedObject: {
        apiVersion: "v1",
        kind: "Pod",
        name,
        namespace,
        ...(uid === undefined ? {} : { uid }),
      },
      reason,
      message,
      type,
      source: { component: "kubelet", host: this.#options.nodeName },
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
    };
    await this.#client.create<Event>(resources.events, event).catch((error: unknown) => {
      this.#log.debug("Event cannot be written", { error: explain(error) });
    });
  }
}
