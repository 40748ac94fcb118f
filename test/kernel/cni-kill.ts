/**
 * Kills a plugin's process at one system call after the other, and looks what is left when the runtime has done what
 * runtimes do: DEL until it succeeds, and GC.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { servedVariable } from "../../src/plugins/turns.ts";
import { type Answer, CniHost, PluginServer } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

/** Between two of these nothing changes that anybody else could see. */
const changing = [
  "sendto",
  "sendmsg",
  "write",
  "openat",
  "rename",
  "renameat",
  "renameat2",
  "unlink",
  "unlinkat",
  "mkdir",
  "mkdirat",
  "ioctl",
  "setns",
  "flock",
  "close",
  "execve",
  "clone",
  "clone3",
  "vfork",
];
const traced = [...changing, "read"].join(",");

/** The n-th call of a system call in a process's main thread. */
export interface Point {
  syscall: string;
  nth: number;
}

/** How a trial at one point ended. */
export interface Trial extends Point {
  /** False where the process did not come to that point. */
  wasKilled: boolean;
  /** What was there after DEL that had not been before, or the other way round. */
  afterDel: string[];
  /** The same after GC, where the plugins have that. */
  afterGc: string[];
  /** An address that somebody else has at the time, or what failed that has to succeed. */
  problem: string | undefined;
}

type Command = "ADD" | "DEL";

/** Who is killed: the plugin's own process, or the server in the middle of doing its work. */
export type Victim = "process" | "server";

/** A host with a chain of plugins on which one container stays attached all the time. */
export class KillScene implements AsyncDisposable {
  readonly host = new CniHost();
  readonly #plugins: string;
  readonly #version: string;
  readonly #strace: readonly string[];
  #server: PluginServer | undefined;
  readonly #staying = this.host.container();
  readonly #victim = this.host.container();
  #baseline: string[] = [];

  /**
   * `plugins`: the folder of the executables. `served`: what is not killed is done by the plugins' server. `threads`: a
   * process's other threads, and what it starts, count as well.
   */
  constructor(plugins: string, options: { served: boolean; version: string; threads?: boolean }) {
    this.#plugins = plugins;
    this.#version = options.version;
    this.#strace = options.threads === true ? ["strace", "-f", "-qq"] : ["strace", "-qq"];
    this.#server = options.served ? new PluginServer(this.host.node) : undefined;
  }

  /** bridge with masquerade, portmap, bandwidth and tuning. */
  #chain(pod: number): JsonObject[] {
    const common = { cniVersion: this.#version, name: "net" };
    const portMappings = [
      { hostPort: 8000 + pod, containerPort: 80, protocol: "tcp" },
      { hostPort: 8000 + pod, containerPort: 53, protocol: "udp" },
    ];
    const rate = { ingressRate: 1_000_000, ingressBurst: 1_000_000 };
    return [
      this.host.config({ ...common, ipMasq: true }),
      { ...common, type: "portmap", runtimeConfig: { portMappings } },
      { ...common, type: "bandwidth", ...rate, egressRate: 1_000_000, egressBurst: 1_000_000 },
      {
        ...common,
        type: "tuning",
        dataDir: join(this.host.dir, "tuning"),
        mtu: 1400,
        sysctl: { "net.ipv4.conf.all.log_martians": "1" },
      },
    ];
  }

  readonly types = this.#chain(0).map(({ type }) => String(type));

  async prepare(): Promise<void> {
    await this.#server?.ready;
    // What stays for good, such as the bridge, is there from the beginning.
    await this.#addAll(this.#victim, 1);
    await this.#delAll(this.#victim, 1);
    await this.#addAll(this.#staying, 0);
    this.#baseline = this.#state();
  }

  /** Each change of `command` of a plugin of the chain, as one run that is not killed shows them. */
  async points(command: Command, index: number, victim: Victim): Promise<Point[]> {
    const results = await this.#addUntil(this.#victim, 1, command === "ADD" ? index : this.types.length);
    const trace = join(this.host.dir, "trace");
    const config = this.#configOf(command, index, results);
    await this.#run(victim, ["-o", trace, "-e", `trace=${traced}`], command, config);
    await this.#delAll(this.#victim, 1);
    return pointsIn(readFileSync(trace, "utf8"), victim);
  }

  async trial(command: Command, index: number, victim: Victim, { syscall, nth }: Point): Promise<Trial> {
    const results = await this.#addUntil(this.#victim, 1, command === "ADD" ? index : this.types.length);
    const config = this.#configOf(command, index, results);
    const inject = ["-e", `trace=${syscall}`, "-e", `inject=${syscall}:signal=SIGKILL:when=${nth}`];
    const wasKilled = await this.#run(victim, ["-o", "/dev/null", ...inject], command, config);
    let problem: string | undefined;
    let afterDel: string[] = [];
    try {
      // A runtime that knows no result has none to give.
      await this.#delAll(this.#victim, 1, command === "ADD" ? undefined : results.at(-1));
      afterDel = this.#difference();
      problem = await this.#addAnew();
    } catch (error) {
      problem = (error as Error).message;
    }
    if (this.#version === "1.1.0") await this.#collect();
    return { syscall, nth, wasKilled, afterDel, afterGc: this.#difference(), problem };
  }

  /** The container comes back after all: that must work, with an address of its own. */
  async #addAnew(): Promise<string | undefined> {
    const added = await this.#addAll(this.#victim, 1);
    const ips = addressesIn(added.at(-1));
    const other = Object.entries(this.host.leases()).filter(([, owner]) =>
      owner.startsWith(this.#staying.name),
    );
    const twice = ips.filter((ip) => other.some(([taken]) => taken === ip));
    await this.#delAll(this.#victim, 1, added.at(-1));
    return twice.length === 0 ? undefined : `${twice} given twice`;
  }

  #configOf(command: Command, index: number, results: readonly JsonObject[]): JsonObject {
    const prevResult = command === "ADD" ? results[index - 1] : results.at(-1);
    return { ...(this.#chain(1)[index] as JsonObject), ...(prevResult === undefined ? {} : { prevResult }) };
  }

  async #addUntil(container: Namespace, pod: number, end: number): Promise<JsonObject[]> {
    const results: JsonObject[] = [];
    for (const config of this.#chain(pod).slice(0, end)) {
      const previous = results.at(-1);
      const whole = previous === undefined ? config : { ...config, prevResult: previous };
      results.push((await this.#succeed("ADD", container, whole)).json);
    }
    return results;
  }

  async #addAll(container: Namespace, pod: number): Promise<JsonObject[]> {
    return await this.#addUntil(container, pod, this.types.length);
  }

  async #delAll(container: Namespace, pod: number, prevResult?: JsonObject): Promise<void> {
    for (const config of this.#chain(pod).reverse()) {
      await this.#succeed("DEL", container, prevResult === undefined ? config : { ...config, prevResult });
    }
  }

  async #collect(): Promise<void> {
    const valid = [{ containerID: this.#staying.name, ifname: "eth0" }];
    for (const config of this.#chain(1)) {
      await this.#succeed("GC", undefined, { ...config, "cni.dev/valid-attachments": valid });
    }
  }

  async #succeed(command: string, container: Namespace | undefined, config: JsonObject): Promise<Answer> {
    return await this.host.succeed(command, container, config, { plugins: this.#plugins });
  }

  /** Runs the plugin once, with the victim under strace; true where that was killed. */
  async #run(
    victim: Victim,
    options: readonly string[],
    command: Command,
    config: JsonObject,
  ): Promise<boolean> {
    if (victim === "process") return await this.#start([...this.#strace, ...options], command, config);
    const { child: server } = this.#server as PluginServer;
    const strace = Bun.spawn(["strace", ...options, "-p", String(server.pid)], { stderr: "pipe" });
    // It says so when it has attached.
    await strace.stderr.getReader().read();
    await this.#start([], command, config, {});
    strace.kill();
    await strace.exited;
    const wasKilled = server.signalCode !== null || (await isEnding(server));
    if (wasKilled) {
      this.#server = new PluginServer(this.host.node);
      await this.#server.ready;
    }
    return wasKilled;
  }

  /** True where it was killed. */
  async #start(
    under: readonly string[],
    command: Command,
    config: JsonObject,
    env: Record<string, string> = { [servedVariable]: "1" },
  ): Promise<boolean> {
    const child = this.host.node.in(() =>
      Bun.spawn([...under, join(this.#plugins, String(config.type))], {
        stdin: new TextEncoder().encode(JSON.stringify(config)),
        stdout: "ignore",
        stderr: "ignore",
        env: {
          PATH: process.env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin",
          CNI_COMMAND: command,
          CNI_CONTAINERID: this.#victim.name,
          CNI_NETNS: `/run/netns/${this.#victim.name}`,
          CNI_IFNAME: "eth0",
          CNI_PATH: this.#plugins,
          ...env,
        },
      }),
    );
    await child.exited;
    return child.signalCode !== null;
  }

  /** Everything that could be left: on the host, in the container, and in files. */
  #state(): string[] {
    const links = this.#victim.kernel.rtnl.links.list().map(({ name }) => `in the container: ${name}`);
    return [...this.host.state().split("\n"), ...links, ...filesIn(this.host.dir)].sort();
  }

  #difference(): string[] {
    const now = this.#state();
    const gone = this.#baseline.filter((line) => !now.includes(line)).map((line) => `gone: ${line}`);
    return [...gone, ...now.filter((line) => !this.#baseline.includes(line))];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server?.[Symbol.dispose]();
    await this.#server?.child.exited;
    this.host[Symbol.dispose]();
  }
}

/** A server that got a signal may not have been waited for yet. */
async function isEnding({ pid, exited }: Bun.Subprocess): Promise<boolean> {
  const state = /^State:\s+(\w)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  if (state !== "Z" && state !== "X") return false;
  await exited;
  return true;
}

/** What is done after it is known what to do. strace counts for each thread. */
function pointsIn(trace: string, victim: Victim): Point[] {
  const counts = new Map<string, number>();
  const points = new Map<string, Point>();
  let knows = victim === "server";
  for (const line of trace.split("\n")) {
    const [, thread = "", syscall = "", rest = ""] = /^(\d* *)(\w+)\((.*)/.exec(line) ?? [];
    if (syscall === "" || syscall === "read") {
      knows ||= rest.startsWith("0,");
      continue;
    }
    const key = `${thread}${syscall}`;
    const nth = (counts.get(key) ?? 0) + 1;
    counts.set(key, nth);
    if (knows) points.set(`${syscall} ${nth}`, { syscall, nth });
  }
  return [...points.values()];
}

/** Paths below a folder, without those that say nothing: which address was last, and locks. */
function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true })
    .map(String)
    .filter((name) => !/(^|\/)(trace|lock|last_reserved_ip\.\d)$/.test(name))
    .filter((name) => statSync(join(folder, name)).isFile())
    .map((name) => `file ${name}`);
}

function addressesIn(result: JsonObject | undefined): string[] {
  const ips = (result?.ips ?? []) as { address: string }[];
  return ips.map(({ address }) => address.replace(/\/.*/, ""));
}
