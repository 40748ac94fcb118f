import { type Informer, type KubeClient, startInformer } from "../kube/index.ts";
import { type KubeObject, type Node, type Pod, resources, type Service } from "../kube/types.ts";
import type { Clock } from "../lib/clock.ts";
import { counted } from "../lib/count.ts";
import { explain, WeftError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { type Kernel, openKernel } from "../linux/kernel.ts";
import { applyExample } from "./apply.ts";
import { agentReady, type PodEntrance, podOn } from "./ask.ts";
import {
  type NodePeer,
  type PodPeer,
  planChecks,
  runCheck,
  type Scene,
  unbalanced,
  urlOf,
} from "./checks.ts";
import { type LabControlPlane, startLabControlPlane } from "./controlplane.ts";
import { hostEntrance, isReady, podOfDeployment } from "./entrance.ts";
import { createFabric } from "./fabric.ts";
import { kubeletPort } from "./kubelet/serve.ts";
import type { Caller, LabEvent, LabOptions, LabStatus } from "./model.ts";
import { type ClusterSettings, LabNode } from "./node.ts";
import { Outside, outsideName } from "./outside.ts";
import { files, makeDir, sharedDir } from "./paths.ts";
import { collectStatus, gatewaysOf } from "./status.ts";
import { type Stage, tellStory } from "./story.ts";

const readyDeadline = 60_000;
/** When to say what is waited for, and how often where that changes, in milliseconds. */
const tellEvery = 5_000;

/** A cluster in namespaces: the fabric, the control plane, nodes that come and go, and what the user asks of them. */
export class Lab {
  readonly #options: LabOptions;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #kernel: Kernel = openKernel();
  readonly #abort = new AbortController();
  readonly #nodes = new Map<string, LabNode>();
  readonly #begun = performance.now();
  readonly #events: LabEvent[] = [];
  readonly #followers = new Set<() => void>();
  readonly #changes = new Set<() => void>();
  readonly #settings: ClusterSettings;
  #phase: LabStatus["phase"] = "starting";
  #nextNode = 1;
  #plane: LabControlPlane | undefined;
  #client: KubeClient | undefined;
  #outside: Outside | undefined;
  #informers: { nodes: Informer<Node>; pods: Informer<Pod>; services: Informer<Service> } | undefined;

  constructor(options: LabOptions, clock: Clock, log: Log) {
    this.#options = options;
    this.#clock = clock;
    this.#log = log;
    const { clusterCidrs, serviceCidrs, clusterDns, clusterDomain } = options;
    const logsDir = `${sharedDir}/${files.logs}`;
    this.#settings = { clusterCidrs, serviceCidrs, clusterDns, clusterDomain, logsDir };
  }

  /** Brings everything up; resolves when the example's pods answer. */
  async start(): Promise<void> {
    makeDir(this.#settings.logsDir);
    createFabric(this.#kernel);
    this.#outside = Outside.start(this.#kernel, this.#settings.logsDir);
    this.#progress("The fabric is up");
    this.#plane = await startLabControlPlane(this.#options, this.#log, this.#abort.signal);
    this.#client = this.#plane.client;
    this.#informers = this.#watch(this.#client);
    this.#progress("The control plane answers");
    for (let i = 0; i < this.#options.nodes; i++) this.#startNode();
    await this.#until("nodes to be ready", () => this.#nodesReady());
    this.#progress(
      `${counted(this.#nodes.size, "node is", "nodes are")} ready, with podCIDRs, routes, Services and DNS`,
    );
    await applyExample(this.#client);
    await this.#until("the pods of blue to be ready", async () =>
      this.#podsReady(await this.#wantedReplicas()),
    );
    this.#progress("The pods of examples/blue.yaml are ready");
    await this.#until("the Service to be balanced over all pods", async () =>
      unbalanced(await this.#scene()),
    );
    this.#progress("The Service answers from all of them, on every node");
    this.#phase = "ready";
    this.#emit({ kind: "verdict", ok: true, passed: 0, failed: 0, message: "The lab is ready" });
  }

  /** Records why the lab could not come up; the control socket stays, so that it can be asked. */
  fail(error: unknown): void {
    this.#log.error("The lab cannot come up", { error: explain(error) });
    this.#emit({ kind: "verdict", ok: false, passed: 0, failed: 1, message: explain(error) });
  }

  #watch(client: KubeClient) {
    const options = { signal: this.#abort.signal, log: this.#log };
    const informers = {
      nodes: startInformer(client, resources.nodes, options),
      pods: startInformer(client, resources.pods, options),
      services: startInformer(client, resources.services, options),
    };
    const changed = () => {
      for (const callback of this.#changes) callback();
    };
    for (const informer of Object.values(informers) as Informer<KubeObject>[]) {
      informer.on({ add: changed, update: changed, delete: changed });
    }
    return informers;
  }

  #startNode(): LabNode {
    const node = new LabNode(this.#nextNode++, this.#log);
    this.#nodes.set(node.name, node);
    node.start(this.#kernel, this.#settings, this.#planeOrThrow().kubeconfig(`node:${node.name}`));
    return node;
  }

  #planeOrThrow(): LabControlPlane {
    if (this.#plane === undefined) throw new WeftError("lab-starting", "the control plane is not up yet");
    return this.#plane;
  }

  #known() {
    if (this.#informers === undefined || this.#client === undefined || this.#outside === undefined) {
      throw new WeftError("lab-starting", "the lab is not up yet", {
        remedy: "Wait for it: weft lab status",
      });
    }
    return { ...this.#informers, client: this.#client, outside: this.#outside };
  }

  async #nodesReady(): Promise<string | undefined> {
    const { nodes } = this.#known();
    for (const name of this.#nodes.keys()) {
      const node = nodes.get({ name });
      const ready = node?.status?.conditions?.find(({ type }) => type === "Ready")?.status === "True";
      const agent = await agentReady(name);
      if (!agent.ready) return `the agent of ${name} says ${agent.message}`;
      if (!ready) return `${name} is not Ready`;
    }
    return undefined;
  }

  async #wantedReplicas(): Promise<number> {
    const blue = await this.#known().client.get(resources.deployments, {
      namespace: "default",
      name: "blue",
    });
    return blue.spec.replicas ?? 1;
  }

  #podsReady(wanted: number): string | undefined {
    const ready = this.#readyPods().length;
    return ready === wanted ? undefined : `${ready} of ${counted(wanted, "pod is", "pods are")} ready`;
  }

  #readyPods(): Pod[] {
    return this.#known()
      .pods.list("default")
      .filter((pod) => pod.metadata.labels?.app === "blue" && isReady(pod));
  }

  /** Waits for a condition that says what is missing; asks again after each change in the API, or a moment. */
  async #until(what: string, missing: () => Promise<string | undefined> | string | undefined): Promise<void> {
    const begun = performance.now();
    let told: string | undefined;
    for (let tellAt = tellEvery; ; ) {
      const reason = await missing();
      if (reason === undefined) return;
      const waited = performance.now() - begun;
      if (waited > tellAt && reason !== told) {
        [told, tellAt] = [reason, waited + tellEvery];
        this.#progress(`Waiting up to ${readyDeadline / 1000} s for ${what}: ${reason}`);
      }
      if (waited > readyDeadline) {
        throw new WeftError("lab-timeout", `waited ${readyDeadline / 1000} s for ${what}: ${reason}`);
      }
      await this.#changed(100);
    }
  }

  #changed(atMost: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        cancel();
        this.#changes.delete(done);
        resolve();
      };
      const cancel = this.#clock.after(atMost, done);
      this.#changes.add(done);
    });
  }

  #progress(message: string): void {
    this.#log.info(message);
    this.#emit({ kind: "progress", at: Math.round(performance.now() - this.#begun), message });
  }

  #emit(event: LabEvent): void {
    this.#events.push(event);
    for (const wake of this.#followers) wake();
  }

  /** Hands over all events of the start, up to its verdict. */
  async follow(emit: (event: LabEvent) => void): Promise<void> {
    for (let next = 0; ; ) {
      const event = this.#events[next];
      if (event !== undefined) {
        next++;
        emit(event);
        if (event.kind === "verdict") return;
        continue;
      }
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#followers.delete(wake);
          resolve();
        };
        this.#followers.add(wake);
      });
    }
  }

  status(): Promise<LabStatus> {
    return collectStatus({
      phase: this.#phase,
      options: this.#options,
      nodes: [...this.#nodes.values()],
      ...(this.#informers === undefined ? {} : { informers: this.#informers }),
    });
  }

  /** Runs all checks and hands over each result as it comes, then the verdict. */
  async check(emit: (event: LabEvent) => void): Promise<void> {
    if (this.#phase !== "ready")
      throw new WeftError("lab-starting", `the lab is ${this.#phase}`, {
        remedy: "Wait until it is ready: weft lab status",
      });
    let passed = 0;
    let failed = 0;
    for (const check of planChecks(await this.#scene())) {
      const result = await runCheck(check);
      if (result.ok) passed++;
      else failed++;
      emit(result);
    }
    const message =
      failed === 0
        ? `All ${passed} checks passed`
        : `${failed} of ${counted(passed + failed, "check")} failed${this.#withoutAgent()}`;
    emit({ kind: "verdict", ok: failed === 0, passed, failed, message });
  }

  #withoutAgent(): string {
    const names = [...this.#nodes.values()].filter(({ agentEnded }) => agentEnded).map(({ name }) => name);
    return names.length === 0 ? "" : `; no agent runs any more on ${names.join(", ")}`;
  }

  async #scene(): Promise<Scene> {
    const { services, outside } = this.#known();
    const pods: PodPeer[] = [];
    for (const pod of this.#readyPods()) pods.push(await this.#peer(pod));
    if (pods.length === 0)
      throw new WeftError("lab-empty", "there is no ready pod of examples/blue.yaml to check with");
    const nodes: NodePeer[] = [...this.#nodes.values()].map((node) =>
      node.peer(kubeletPort, gatewaysOf(node)),
    );
    const blue = services.get({ namespace: "default", name: "blue" });
    if (blue === undefined) throw new WeftError("lab-empty", 'there is no Service "blue" to check');
    const port = blue.spec.ports?.[0];
    const full = `blue.default.svc.${this.#options.clusterDomain}`;
    return {
      pods,
      nodes,
      outside: { ...outside.peer, dnsName: outsideName },
      clusterDns: this.#options.clusterDns,
      service: {
        names: ["blue", "blue.default", full],
        clusterIPs: blue.spec.clusterIPs ?? [],
        port: port?.port ?? 8888,
        nodePort: port?.nodePort ?? 0,
      },
    };
  }

  async #peer(pod: Pod): Promise<PodPeer> {
    const { name, namespace = "default" } = pod.metadata;
    const node = pod.spec.nodeName ?? "";
    const entrance = await podOn(node, namespace, name);
    if (entrance === undefined)
      throw new WeftError("lab-pod", `pod "${namespace}/${name}" does not run on "${node}"`);
    const ips = (pod.status?.podIPs ?? []).map(({ ip }) => ip);
    return { name, socket: entrance.socket, ips, node, port: entrance.spec.echo.port };
  }

  /** The name of a pod of a Deployment, a ready one where there is one. Throws where it has none. */
  podOf(namespace: string, deployment: string): string {
    return podOfDeployment(this.#known().pods.list(namespace), namespace, deployment).metadata.name;
  }

  /** How to enter a pod that runs here, a node, or the host outside. Throws where there is nothing of that name. */
  async entrance(namespace: string, name: string): Promise<PodEntrance> {
    const pod = this.#known().pods.get({ namespace, name });
    const found =
      pod?.spec.nodeName === undefined ? undefined : await podOn(pod.spec.nodeName, namespace, name);
    if (found !== undefined) return found;
    const hosts = [...this.#nodes.keys(), this.#known().outside.peer.name];
    if (hosts.includes(name)) return hostEntrance(name);
    const there = this.#known()
      .pods.list(namespace)
      .map((each) => each.metadata.name);
    throw new WeftError("lab-no-pod", `there is no running pod "${name}" in namespace "${namespace}"`, {
      remedy: `There are ${[...there, ...hosts].join(", ")}`,
    });
  }

  /** Tells the story of changes and hands over each chapter, then the verdict. */
  async story(emit: (event: LabEvent) => void): Promise<void> {
    let passed = 0;
    let failed = 0;
    const ok = await tellStory(this.#stage(), (result) => {
      if (result.ok) passed++;
      else failed++;
      emit(result);
    });
    const message = ok ? "Traffic followed every change" : "Traffic did not follow every change";
    emit({ kind: "verdict", ok, passed, failed, message });
  }

  #stage(): Stage {
    const { client, services } = this.#known();
    const blue = { namespace: "default", name: "blue" };
    return {
      deletePod: async (name) => {
        await client.delete(resources.pods, { namespace: "default", name });
      },
      scale: async (replicas) => {
        await client.patch(resources.deployments, blue, { type: "merge", body: { spec: { replicas } } });
      },
      addNode: async () => {
        const { name } = this.#startNode();
        try {
          await this.#until(`${name} to be ready`, () => this.#nodesReady());
        } catch (error) {
          await this.#removeNode(name);
          throw error;
        }
        return name;
      },
      removeNode: (name) => this.#removeNode(name),
      restartAgent: async (name) => {
        const node = this.#nodes.get(name);
        await node?.stopAgent();
        node?.startAgent(this.#settings);
        await this.#until(`the agent of ${name} to be ready again`, () => this.#nodesReady());
      },
      leaving: () =>
        this.#known()
          .pods.list("default")
          .some(({ metadata }) => metadata.deletionTimestamp !== undefined),
      readyPods: () =>
        this.#readyPods().map(({ metadata, spec }) => ({ name: metadata.name, node: spec.nodeName ?? "" })),
      changed: () => this.#changed(100),
      caller: (): Promise<Caller> => this.#anyPod(),
      serviceUrl: () => {
        const service = services.get(blue);
        return urlOf(service?.spec.clusterIP ?? "", service?.spec.ports?.[0]?.port ?? 0);
      },
    };
  }

  async #removeNode(name: string): Promise<void> {
    const node = this.#nodes.get(name);
    this.#nodes.delete(name);
    await this.#known().client.delete(resources.nodes, { name });
    await node?.stop(this.#kernel);
  }

  async #anyPod(): Promise<Caller> {
    const pod = this.#readyPods()[0];
    if (pod === undefined) throw new WeftError("lab-empty", "there is no ready pod");
    return this.#peer(pod);
  }

  /** Ends everything in order; what is missed dies with the namespaces. */
  async stop(): Promise<void> {
    this.#phase = "stopping";
    this.#abort.abort();
    await Promise.all([...this.#nodes.values()].map((node) => node.stop(this.#kernel).catch(() => {})));
    this.#outside?.stop();
    this.#plane?.stop();
    this.#kernel.close();
  }
}
