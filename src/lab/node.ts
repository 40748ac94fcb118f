import { closeSync, openSync, writeFileSync } from "node:fs";
import type { Log } from "../lib/log.ts";
import { selfCommand } from "../lib/self.ts";
import type { Kernel } from "../linux/kernel.ts";
import { netnsPath } from "../linux/netns.ts";
import type { NodePeer } from "./checks.ts";
import { spawnIn } from "./container.ts";
import { addHost, hostAddresses, nodeNumber, removeHost } from "./fabric.ts";
import type { KubeletSpec } from "./kubelet/serve.ts";
import { makeDir, nodePaths } from "./paths.ts";

/** How long a process may take to end when asked to, in milliseconds. */
const patience = 3_000;

/** What all nodes of a lab share. */
export interface ClusterSettings {
  clusterCidrs: string[];
  serviceCidrs: string[];
  clusterDns: string[];
  clusterDomain: string;
  logsDir: string;
}

/** One node: a namespace on the fabric, a `weft agent` process and a kubelet role in it. */
export class LabNode {
  readonly index: number;
  readonly name: string;
  readonly addresses: string[];
  readonly netns: string;
  #agent: Bun.Subprocess | undefined;
  #kubelet: Bun.Subprocess | undefined;
  readonly #log: Log;
  #stopping = false;
  #agentEnded = false;

  constructor(index: number, log: Log) {
    this.index = index;
    this.name = `node-${index}`;
    this.addresses = hostAddresses(nodeNumber(index)).map(({ ip }) => String(ip));
    this.netns = netnsPath({ name: this.name });
    this.#log = log.with({ node: this.name });
  }

  get agentPid(): number | undefined {
    return this.#agent?.pid;
  }

  /** Whether the agent ended without being asked to by the lab. */
  get agentEnded(): boolean {
    return this.#agentEnded;
  }

  /** The node as a caller and a target of checks; to its own pods it speaks with its bridge's addresses. */
  peer(port: number, gateways: readonly string[]): NodePeer {
    return {
      name: this.name,
      ips: [...this.addresses, ...gateways],
      port,
      socket: nodePaths(this.name).kubeletSocket,
    };
  }

  /** Connects the node and starts its processes. */
  start(kernel: Kernel, settings: ClusterSettings, kubeconfig: string): void {
    const paths = nodePaths(this.name);
    makeDir(paths.base);
    writeFileSync(paths.kubeconfig, kubeconfig, { mode: 0o600 });
    addHost(kernel, this.name, nodeNumber(this.index));
    this.#startKubelet(settings);
    this.startAgent(settings);
  }

  /** Starts the agent; again, where it was stopped. */
  startAgent(settings: ClusterSettings): void {
    const paths = nodePaths(this.name);
    const args = [
      ["--node", this.name],
      ["--kubeconfig", paths.kubeconfig],
      ["--cluster-cidr", settings.clusterCidrs.join(",")],
      ["--service-cidr", settings.serviceCidrs.join(",")],
      ["--cluster-dns", settings.clusterDns.join(",")],
      ["--cluster-domain", settings.clusterDomain],
      ["--cni-conf-dir", paths.confDir],
      ["--cni-bin-dir", paths.binDir],
      ["--cni-install", "link"],
      ["--ipam-dir", paths.ipamDir],
    ].flat();
    this.#agentEnded = false;
    this.#agent = this.#spawn("agent", ["agent", ...args], settings.logsDir);
  }

  /** Ends the agent as a restart would: SIGTERM, the network stays. */
  async stopAgent(): Promise<void> {
    const agent = this.#agent;
    this.#agent = undefined;
    agent?.kill("SIGTERM");
    await agent?.exited;
  }

  #startKubelet(settings: ClusterSettings): void {
    const { clusterDns, clusterDomain, logsDir } = settings;
    const spec: KubeletSpec = {
      node: this.name,
      addresses: this.addresses,
      clusterDns,
      clusterDomain,
      logsDir,
    };
    this.#kubelet = this.#spawn("kubelet", ["lab", "kubelet", JSON.stringify(spec)], logsDir);
  }

  #spawn(role: string, args: string[], logsDir: string): Bun.Subprocess {
    const output = openSync(`${logsDir}/${this.name}-${role}.log`, "a");
    try {
      const started: Bun.Subprocess = spawnIn(this.netns, [...selfCommand(), ...args], {
        env: process.env as Record<string, string>,
        output,
        onExit: (code) => {
          const expected = this.#stopping || (role === "agent" && this.#agent !== started);
          if (expected) return;
          if (role === "agent") this.#agentEnded = true;
          this.#log.error(`The ${role} ended by itself`, { code });
        },
      });
      return started;
    } finally {
      closeSync(output);
    }
  }

  /** Ends the node's processes and disconnects it; what was in it goes with its namespaces. */
  async stop(kernel: Kernel): Promise<void> {
    this.#stopping = true;
    const processes = [this.#kubelet, this.#agent];
    for (const each of processes) each?.kill("SIGTERM");
    const insist = setTimeout(() => {
      for (const each of processes) each?.kill("SIGKILL");
    }, patience);
    await Promise.all(processes.map((each) => each?.exited));
    clearTimeout(insist);
    removeHost(kernel, this.name, nodeNumber(this.index));
  }
}
