import { rmSync, writeFileSync } from "node:fs";
import { isNotFound, type KubeClient } from "../../kube/index.ts";
import { type Container, type Pod, type PodStatus, resources } from "../../kube/types.ts";
import { type Clock, sleep } from "../../lib/clock.ts";
import { explain } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { type ContainerSpec, imageName, images } from "../container.ts";
import { makeDir, resolvConf } from "../paths.ts";
import { ContainerRunner, timestamp } from "./containers.ts";
import { type DnsSettings, podHosts, podResolvConf } from "./resolv.ts";
import type { Sandbox, SandboxNetwork } from "./sandbox.ts";
import { type PodState, podStatus } from "./status.ts";

/** What all pods of a node share. */
export interface PodDeps {
  nodeName: string;
  nodeIPs: readonly string[];
  client: KubeClient;
  network: SandboxNetwork;
  dns: DnsSettings;
  clock: Clock;
  log: Log;
  /** A folder for each pod's files. */
  podsDir: string;
  logsDir: string;
  event(pod: Pod, reason: string, message: string, type?: "Normal" | "Warning"): void;
}

const retryMin = 500;
const retryMax = 15_000;
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** One pod on this node, from the sandbox to its removal. Its work is one task; updates steer it. */
export class PodWorker {
  readonly #deps: PodDeps;
  readonly #log: Log;
  readonly #abort = new AbortController();
  readonly #runners = new Map<string, ContainerRunner>();
  readonly #dir: string;
  readonly #startTime: string;
  #pod: Pod;
  #sandbox: Sandbox | undefined;
  #trouble: PodState["trouble"];
  #reported = "";
  #reporting: Promise<void> = Promise.resolve();
  #ending: Promise<void> | undefined;
  readonly #starting: Promise<void>;

  constructor(pod: Pod, deps: PodDeps) {
    this.#pod = pod;
    this.#deps = deps;
    this.#log = deps.log.with({ pod: `${pod.metadata.namespace}/${pod.metadata.name}` });
    this.#dir = `${deps.podsDir}/${pod.metadata.uid}`;
    this.#startTime = pod.status?.startTime ?? timestamp(deps.clock);
    makeDir(this.#dir);
    this.#starting = this.#start().catch((error) => {
      if (!this.#abort.signal.aborted) this.#log.error("Pod cannot start", { error: explain(error) });
    });
  }

  /** The process of the first running container, and what else `exec` needs. */
  get running():
    | { netns: string | undefined; spec: ContainerSpec; socket: string; pid: number | undefined }
    | undefined {
    const container = this.#pod.spec.containers[0];
    if (container === undefined || (this.#sandbox === undefined && this.#pod.spec.hostNetwork !== true))
      return undefined;
    const spec = this.#specOf(container);
    return {
      netns: this.#sandbox?.netns,
      spec,
      socket: spec.echo.socket,
      pid: this.#runners.get(container.name)?.pid,
    };
  }

  /** Takes the newest version of the object; a deletion timestamp begins the end. */
  update(pod: Pod): void {
    this.#pod = pod;
    if (pod.metadata.deletionTimestamp !== undefined) void this.end();
    else if (this.#reported !== "" && readyOf(pod.status) !== readyOf(this.#status())) {
      // Somebody else wrote the status, such as the control plane after a silence of this node.
      this.#reported = "";
      this.#report();
    }
  }

  async #start(): Promise<void> {
    const { signal } = this.#abort;
    if (this.#pod.spec.hostNetwork !== true) await this.#startSandbox();
    for (const container of this.#pod.spec.initContainers ?? []) await this.#runInit(container);
    for (const container of this.#pod.spec.containers) {
      if (signal.aborted) return;
      if (!this.#imageKnown(container)) continue;
      const policy = this.#pod.spec.restartPolicy ?? "Always";
      const restart = (code: number) => policy === "Always" || (policy === "OnFailure" && code !== 0);
      void this.#runner(container).start(restart);
    }
    this.#report();
  }

  async #startSandbox(): Promise<void> {
    for (let delay = retryMin; ; delay = Math.min(delay * 2, retryMax)) {
      try {
        this.#sandbox = await this.#deps.network.add(this.#pod);
        this.#trouble = undefined;
        return;
      } catch (error) {
        const message = `the pod's network cannot be set up: ${explain(error)}`;
        this.#log.warn("Sandbox failed", { error: message });
        this.#deps.event(this.#pod, "FailedCreatePodSandBox", message, "Warning");
        this.#trouble = { reason: "FailedCreatePodSandBox", message };
        this.#report();
        await sleep(this.#deps.clock, delay, this.#abort.signal);
      }
    }
  }

  async #runInit(container: Container): Promise<void> {
    const never = this.#pod.spec.restartPolicy === "Never";
    for (let delay = retryMin; !this.#abort.signal.aborted; delay = Math.min(delay * 2, retryMax)) {
      const code = this.#imageKnown(container) ? await this.#runner(container).start(() => false) : 1;
      if (code === 0) return;
      if (never) throw new Error(`init container "${container.name}" ended with ${code}`);
      await sleep(this.#deps.clock, delay, this.#abort.signal);
    }
  }

  #imageKnown(container: Container): boolean {
    if ((images as readonly string[]).includes(imageName(container.image ?? ""))) return true;
    this.#trouble = {
      reason: "ErrImagePull",
      message: `image "${container.image}" is not one that the lab has: use ${images.join(" or ")}`,
    };
    this.#deps.event(this.#pod, "Failed", this.#trouble.message, "Warning");
    this.#report();
    return false;
  }

  #runner(container: Container): ContainerRunner {
    const existing = this.#runners.get(container.name);
    if (existing !== undefined) return existing;
    const { metadata } = this.#pod;
    const runner = new ContainerRunner(container, {
      netns: this.#sandbox?.netns,
      podIP: this.#podIPs()[0] ?? "127.0.0.1",
      clock: this.#deps.clock,
      specOf: (each) => this.#specOf(each),
      logFile: (each) => `${this.#deps.logsDir}/${metadata.namespace}_${metadata.name}_${each.name}.log`,
      changed: () => this.#report(),
    });
    this.#runners.set(container.name, runner);
    return runner;
  }

  #podIPs(): readonly string[] {
    return this.#pod.spec.hostNetwork === true ? this.#deps.nodeIPs : (this.#sandbox?.ips ?? []);
  }

  #specOf(container: Container): ContainerSpec {
    const { metadata, spec } = this.#pod;
    const ownResolvConf = `${this.#dir}/resolv.conf`;
    const hosts = `${this.#dir}/hosts`;
    writeFileSync(ownResolvConf, podResolvConf(this.#pod, this.#deps.dns));
    writeFileSync(hosts, podHosts(this.#pod, this.#podIPs(), this.#deps.dns.clusterDomain));
    const port = container.ports?.[0]?.containerPort;
    return {
      image: container.image ?? "",
      command: [...(container.command ?? []), ...(container.args ?? [])],
      env: { PATH: defaultPath, HOSTNAME: metadata.name, ...this.#environment(container) },
      workingDir: container.workingDir,
      hostname:
        spec.hostNetwork === true ? this.#deps.nodeName : (spec.hostname ?? metadata.name).slice(0, 63),
      files: { [resolvConf]: ownResolvConf, "/etc/hosts": hosts },
      pod: {
        name: metadata.name,
        namespace: metadata.namespace ?? "default",
        ips: [...this.#podIPs()],
        node: this.#deps.nodeName,
      },
      echo: { port: port ?? 8080, socket: `${this.#dir}/${container.name}.sock` },
    };
  }

  #environment(container: Container): Record<string, string> {
    const { metadata } = this.#pod;
    const fields: Record<string, string | undefined> = {
      "metadata.name": metadata.name,
      "metadata.namespace": metadata.namespace,
      "metadata.uid": metadata.uid,
      "spec.nodeName": this.#deps.nodeName,
      "status.hostIP": this.#deps.nodeIPs[0],
      "status.hostIPs": this.#deps.nodeIPs.join(","),
      "status.podIP": this.#podIPs()[0],
      "status.podIPs": this.#podIPs().join(","),
    };
    const entries = (container.env ?? []).map(({ name, value, valueFrom }) => {
      const field = valueFrom?.fieldRef?.fieldPath;
      return [name, value ?? (field === undefined ? "" : (fields[field] ?? ""))];
    });
    return Object.fromEntries(entries);
  }

  /** Ends the pod: containers, network, files, then the object. Safe to repeat; resolves when nothing is left. */
  end(): Promise<void> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  async #end(): Promise<void> {
    this.#abort.abort(new Error("the pod is ending"));
    const { metadata, spec } = this.#pod;
    const grace = (metadata.deletionGracePeriodSeconds ?? spec.terminationGracePeriodSeconds ?? 30) * 1000;
    await Promise.all([...this.#runners.values()].map((runner) => runner.stop(grace)));
    await this.#starting;
    await this.#reporting;
    for (let delay = retryMin; this.#sandbox !== undefined; delay = Math.min(delay * 2, retryMax)) {
      try {
        await this.#deps.network.remove(this.#sandbox);
        this.#sandbox = undefined;
      } catch (error) {
        this.#log.warn("Sandbox cannot be removed yet", { error: explain(error) });
        await sleep(this.#deps.clock, delay);
      }
    }
    rmSync(this.#dir, { recursive: true, force: true });
    await this.#forget();
  }

  async #forget(): Promise<void> {
    const { metadata } = this.#pod;
    try {
      await this.#deps.client.delete(resources.pods, metadata, {
        gracePeriodSeconds: 0,
        ...(metadata.uid === undefined ? {} : { preconditions: { uid: metadata.uid } }),
      });
    } catch (error) {
      if (!isNotFound(error)) this.#log.warn("Pod object cannot be removed", { error: explain(error) });
    }
  }

  /** Sends the status where it differs from the last one sent, one request at a time. */
  #report(): void {
    this.#reporting = this.#reporting.then(async () => {
      const status = this.#status();
      const text = JSON.stringify(status);
      if (text === this.#reported) return;
      try {
        await this.#deps.client.patch(
          resources.pods,
          this.#pod.metadata,
          { type: "merge", body: { status: { message: null, reason: null, ...JSON.parse(text) } } },
          { subresource: "status" },
        );
        this.#reported = text;
      } catch (error) {
        if (!isNotFound(error)) this.#log.warn("Status cannot be reported", { error: explain(error) });
      }
    });
  }

  #status(): PodStatus {
    const known = new Map([...this.#runners].map(([name, runner]) => [name, runner.state]));
    const state: PodState = {
      podIPs: this.#podIPs(),
      sandboxReady: this.#sandbox !== undefined || this.#pod.spec.hostNetwork === true,
      startTime: this.#startTime,
      init: known,
      containers: known,
      ...(this.#trouble === undefined ? {} : { trouble: this.#trouble }),
    };
    return podStatus(this.#pod, state, this.#deps.nodeIPs, timestamp(this.#deps.clock));
  }
}

function readyOf(status: PodStatus | undefined): string | undefined {
  return status?.conditions?.find(({ type }) => type === "Ready")?.status;
}
