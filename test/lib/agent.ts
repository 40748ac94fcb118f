/**
 * A cluster for tests of the agent: an API server in the test's process, hosts on one wire in namespaces, and real
 * `weft agent` processes in them.
 *
 *      wire     br0 172.30.0.1, fd00:30::1      the API server at port 6443
 *                │
 *        ┌───────┴──┬──────────┐
 *       eth0       eth0       eth0
 *       node       peer       ...               .11, .12, ...
 */
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ApiServer, type ApiServerOptions, startApiServer } from "../../src/controlplane/server.ts";
import { createKubeClient, type KubeClient } from "../../src/kube/index.ts";
import { type Node, resources } from "../../src/kube/types.ts";
import { inNetns, netnsPath } from "../../src/linux/netns.ts";
import { join as joinBy, Namespace } from "../kernel/services-fixture.ts";

const dist = join(import.meta.dir, "..", "..", "dist");
/** The executable under test. */
export const weft = join(dist, "weft");

/** Asks again and again until the answer is not undefined; throws with what `what` says then. */
export async function until<T>(
  what: () => string,
  poll: () => T | undefined | Promise<T | undefined>,
  milliseconds = 10_000,
): Promise<T> {
  const deadline = performance.now() + milliseconds;
  for (;;) {
    const answer = await poll();
    if (answer !== undefined) return answer;
    if (performance.now() > deadline) throw new Error(`after ${milliseconds} ms: ${what()}`);
    await Bun.sleep(10);
  }
}

/** Resolves when it holds. */
export async function eventually(what: () => string, holds: () => boolean | Promise<boolean>): Promise<void> {
  await until(what, async () => ((await holds()) ? true : undefined));
}

/** A machine on the wire: number 11 has 172.30.0.11 and fd00:30::11. */
export class Host extends Namespace {
  readonly addresses: string[];

  constructor(wire: Namespace, word: string, number: number, families: readonly (4 | 6)[]) {
    super(word);
    joinBy(wire, `p${number}`, this, "eth0");
    wire.kernel.rtnl.links.set(`p${number}`, { master: "br0", up: true });
    const all = { 4: [`172.30.0.${number}`, 24], 6: [`fd00:30::${number}`, 64] } as const;
    this.addresses = families.map((family) => all[family][0]);
    this.address("eth0", ...families.map((family) => all[family].join("/")));
    if (families.includes(4)) this.route("0.0.0.0/0", "172.30.0.1");
    if (families.includes(6)) this.route("::/0", "fd00:30::1");
  }

  /** Runs a command here to its end. */
  run(
    command: string[],
    env: Record<string, string> = {},
  ): { status: number; stdout: string; stderr: string } {
    const { exitCode, stdout, stderr } = this.in(() =>
      Bun.spawnSync(command, { env: { ...process.env, ...env }, stdin: "ignore" }),
    );
    return { status: exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
  }

  /** The same for one that must succeed; its output. */
  output(...command: string[]): string {
    const { status, stdout, stderr } = this.run(command);
    if (status !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
    return stdout;
  }

  /** GET over HTTP from here. */
  get(address: string, port: number, path: string): Promise<{ status: number; type: string; body: string }> {
    return new Promise((resolve, reject) => {
      let text = "";
      const end = () => {
        const [head = "", ...body] = text.split("\r\n\r\n");
        const type = /^content-type: (.*)$/im.exec(head)?.[1]?.trim() ?? "";
        resolve({ status: Number(head.split(" ")[1]), type, body: body.join("\r\n\r\n") });
      };
      this.in(() => {
        Bun.connect({
          hostname: address,
          port,
          socket: {
            open: (socket) =>
              void socket.write(`GET ${path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n`),
            data: (_, data) => {
              text += data.toString();
            },
            close: end,
            connectError: (_, error) => reject(error),
          },
        }).catch(reject);
      });
    });
  }
}

/** What the namespace has counted (/proc/net/snmp and netstat), by names such as "Tcp: RetransSegs". */
export function countersOf(at: Namespace): Map<string, number> {
  const text = at.in(() =>
    ["snmp", "netstat"].map((file) => readFileSync(`/proc/thread-self/net/${file}`, "utf8")).join(""),
  );
  const found = new Map<string, number>();
  const lines = text.trim().split("\n");
  for (let i = 0; i < lines.length; i += 2) {
    const [names = [], values = []] = [lines[i], lines[i + 1]].map((line) => line?.split(" "));
    for (const [at, name] of names.entries()) found.set(`${names[0]} ${name}`, Number(values[at]));
  }
  return found;
}

export interface ClusterOptions {
  /** Of hosts and Services; both where not given. */
  families?: readonly (4 | 6)[];
  /** A file in the cluster's folder for the API server's objects, which then outlive it. */
  dataFile?: string;
}

/** The wire, the API server and the hosts. */
export class TestCluster {
  readonly dir = mkdtempSync(join(tmpdir(), "weft-t-agent-"));
  readonly families: readonly (4 | 6)[];
  readonly wire = new Namespace("wire");
  readonly #hosts: Host[] = [];
  readonly #agents: Agent[] = [];
  readonly #apiOptions: ApiServerOptions;
  #api: ApiServer | undefined;
  #client: KubeClient | undefined;

  private constructor(options: ClusterOptions) {
    this.families = options.families ?? [4, 6];
    const own = { 4: "172.30.0.1", 6: "fd00:30::1" };
    const services = { 4: "10.96.0.0/16", 6: "fd00:10:96::/112" };
    const { kernel } = this.wire;
    kernel.rtnl.links.add({ kind: "bridge", name: "br0" });
    this.wire.address("br0", "172.30.0.1/24", "fd00:30::1/64");
    kernel.sysctl.write("net.ipv4.ip_forward", 1);
    kernel.sysctl.write("net.ipv6.conf.all.forwarding", 1);
    this.#apiOptions = {
      serviceCidrs: this.families.map((family) => services[family]),
      listen: {
        host: own[this.families[0] ?? 4],
        port: 6443,
        within: (open) => inNetns({ name: this.wire.name }, open),
      },
      ...(options.dataFile === undefined ? {} : { dataFile: join(this.dir, options.dataFile) }),
    };
  }

  static async start(options: ClusterOptions = {}): Promise<TestCluster> {
    const cluster = new TestCluster(options);
    try {
      await cluster.startApi();
      return cluster;
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  get api(): ApiServer {
    if (this.#api === undefined) throw new Error("the API server is not running");
    return this.#api;
  }

  /** Asks the API server without a connection. */
  get client(): KubeClient {
    if (this.#client === undefined) throw new Error("the API server is not running");
    return this.#client;
  }

  /** Starts the API server; again at the same address, where it was stopped. */
  async startApi(change: ApiServerOptions = {}): Promise<void> {
    const api = await startApiServer({ ...this.#apiOptions, ...change });
    this.#api = api;
    this.#client = createKubeClient(
      { server: api.url, namespace: "default" },
      { fetch: (url, init) => api.handle(new Request(url, init)) },
    );
  }

  stopApi(): void {
    this.#client?.close();
    this.#api?.close();
    this.#client = undefined;
    this.#api = undefined;
  }

  host(word: string, number: number): Host {
    const host = new Host(this.wire, word, number, this.families);
    this.#hosts.push(host);
    return host;
  }

  /** A kubeconfig file for the API server as it is now. */
  kubeconfig(name = "kubeconfig", text = this.api.kubeconfig("agent")): string {
    const path = join(this.dir, name);
    writeFileSync(path, text);
    return path;
  }

  /** Creates a Node object. */
  async node(name: string, podCIDRs: string[], addresses: string[]): Promise<void> {
    const [podCIDR] = podCIDRs;
    const spec = podCIDR === undefined ? {} : { podCIDR, podCIDRs };
    const node = await this.client.create(resources.nodes, { metadata: { name }, spec });
    await this.setAddresses(node, addresses);
  }

  /** Tells the addresses of a node. */
  async setAddresses(node: Pick<Node, "metadata">, addresses: string[]): Promise<void> {
    await this.client.patch(
      resources.nodes,
      { name: node.metadata.name },
      {
        type: "merge",
        body: { status: { addresses: addresses.map((address) => ({ type: "InternalIP", address })) } },
      },
      { subresource: "status" },
    );
  }

  /** An agent for a host, not started yet; with folders of its own. */
  agent(host: Host, node: string, options: Record<string, string | undefined> = {}, program = weft): Agent {
    const agent = new Agent(host, node, join(this.dir, `${node}-${this.#agents.length}`), program, {
      kubeconfig: join(this.dir, "kubeconfig"),
      ...options,
    });
    this.#agents.push(agent);
    return agent;
  }

  async close(): Promise<void> {
    await Promise.all(this.#agents.map((agent) => agent.kill()));
    this.stopApi();
    for (const host of this.#hosts) host.close();
    this.wire.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A line of the agent's log. */
export interface LogLine {
  level: string;
  message: string;
  [field: string]: unknown;
}

/** A `weft agent` process of a host, and all that it is told. */
export class Agent {
  readonly host: Host;
  readonly confDir: string;
  readonly binDir: string;
  readonly ipamDir: string;
  readonly stateDir: string;
  readonly conflist: string;
  readonly logFile: string;
  readonly args: string[];
  readonly #program: string;
  readonly #health: { address: string; port: number };
  #process: Bun.Subprocess | undefined;

  constructor(
    host: Host,
    node: string,
    dir: string,
    program: string,
    options: Record<string, string | undefined>,
  ) {
    this.host = host;
    this.#program = program;
    this.confDir = join(dir, "net.d");
    this.binDir = join(dir, "bin");
    this.ipamDir = join(dir, "networks");
    this.stateDir = join(dir, "state");
    this.conflist = join(this.confDir, "10-weft.conflist");
    this.logFile = join(dir, "log");
    mkdirSync(dir);
    const given: Record<string, string | undefined> = {
      node,
      "cni-conf-dir": this.confDir,
      "cni-bin-dir": this.binDir,
      "cni-install": "link",
      "ipam-dir": this.ipamDir,
      "state-dir": this.stateDir,
      "log-format": "json",
      ...options,
    };
    this.args = Object.entries(given).flatMap(([name, value]) =>
      value === undefined ? [] : [`--${name}`, value],
    );
    const health = options["health-address"] ?? "127.0.0.1:9119";
    const cut = health.lastIndexOf(":");
    this.#health = {
      address: health.slice(0, cut).replace(/[[\]]/g, ""),
      port: Number(health.slice(cut + 1)),
    };
  }

  get pid(): number {
    if (this.#process === undefined) throw new Error("the agent is not running");
    return this.#process.pid;
  }

  /** Starts the process, by another command where one is given; again, where it was stopped. */
  start(env: Record<string, string> = {}, by: readonly string[] = []): this {
    const output = openSync(this.logFile, "a");
    try {
      this.#process = this.host.in(() =>
        Bun.spawn([...by, this.#program, "agent", ...this.args], {
          env: { ...process.env, ...env },
          stdin: "ignore",
          stdout: output,
          stderr: output,
        }),
      );
    } finally {
      closeSync(output);
    }
    return this;
  }

  /** All that it has logged, what is no JSON as a message without level. */
  log(): LogLine[] {
    const lines = readFileSync(this.logFile, "utf8").split("\n").filter(Boolean);
    return lines.map((line) => {
      try {
        return JSON.parse(line) as LogLine;
      } catch {
        return { level: "", message: line };
      }
    });
  }

  /** What `/readyz` says; undefined while nobody answers. */
  async ready(): Promise<{ status: number; body: string } | undefined> {
    try {
      return await this.get("/readyz");
    } catch {
      return undefined;
    }
  }

  get(path: string): Promise<{ status: number; type: string; body: string }> {
    return this.host.get(this.#health.address, this.#health.port, path);
  }

  /** Waits until every feature is ready. */
  async isReady(milliseconds = 20_000): Promise<void> {
    let last: { status: number; body: string } | undefined;
    await until(
      () => `the agent is not ready: ${last?.body}\n${readFileSync(this.logFile, "utf8")}`,
      async () => {
        last = await this.ready();
        this.#mustRun();
        return last?.status === 200 ? true : undefined;
      },
      milliseconds,
    );
  }

  /** Waits until /readyz shows what matches; answers with all of it. */
  async says(pattern: RegExp, milliseconds = 20_000): Promise<{ status: number; body: string }> {
    let last: { status: number; body: string } | undefined;
    return await until(
      () => `the agent does not say ${pattern}: ${last?.body}\n${readFileSync(this.logFile, "utf8")}`,
      async () => {
        last = await this.ready();
        this.#mustRun();
        return last !== undefined && pattern.test(last.body) ? last : undefined;
      },
      milliseconds,
    );
  }

  #mustRun(): void {
    const status = this.#process?.exitCode ?? this.#process?.signalCode;
    if (status === null || status === undefined) return;
    throw new Error(`the agent ended with ${status}\n${readFileSync(this.logFile, "utf8")}`);
  }

  /** Sends a signal and waits for the end: exit status and duration in milliseconds. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<{ status: number | null; took: number }> {
    const ending = this.#process;
    if (ending === undefined) throw new Error("the agent is not running");
    const start = performance.now();
    ending.kill(signal);
    await ending.exited;
    this.#process = undefined;
    return { status: ending.exitCode, took: performance.now() - start };
  }

  async kill(): Promise<void> {
    if (this.#process !== undefined) await this.stop("SIGKILL");
  }

  /** `weft agent cleanup` with the same options. */
  cleanup(): { status: number; stdout: string; stderr: string } {
    return this.host.run([this.#program, "agent", "cleanup", ...this.args]);
  }

  /**
   * Attaches a new namespace as the runtime would, by what the agent has installed; eth0 has the addresses returned.
   * `capabilities` is such as `{ portMappings: [...] }`.
   */
  attach(pod: Namespace, capabilities: object = {}): string[] {
    const given = ["--capabilities", JSON.stringify(capabilities)];
    const { status, stdout, stderr } = this.#cni("add", pod, ...given);
    if (status !== 0) throw new Error(`cni add: ${stderr}${stdout}`);
    const { ips } = JSON.parse(stdout) as { ips: { address: string }[] };
    return ips.map(({ address }) => address.split("/")[0] as string);
  }

  detach(pod: Namespace): void {
    const { status, stdout, stderr } = this.#cni("del", pod);
    if (status !== 0) throw new Error(`cni del: ${stderr}${stdout}`);
  }

  #cni(verb: string, pod: Namespace, ...options: string[]) {
    const dirs = ["--conf-dir", this.confDir, "--path", this.binDir, "--cache-dir", `${this.ipamDir}-cache`];
    return this.host.run([
      weft,
      "cni",
      verb,
      "weft",
      netnsPath({ name: pod.name }),
      "--json",
      ...dirs,
      ...options,
    ]);
  }
}
