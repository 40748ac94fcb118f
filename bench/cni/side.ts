/** One side of the bench `cni`: a host with containers on which one maker's plugins are run. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNetns, deleteNetns, inNetns } from "../../src/linux/netns.ts";
import { Rtnl } from "../../src/linux/route/rtnl.ts";
import { quantile } from "../lib.ts";

/** The configuration of one plugin, and what a runtime would hand it for one container. */
export type Plugin = (host: Side, pod: number) => Record<string, unknown> & { type: string };

const path = "/usr/sbin:/usr/bin:/sbin:/bin";

/** A host namespace, containers' namespaces, lease folders, and a server if there is to be one. */
export class Side implements Disposable {
  readonly plugins: string;
  readonly name: string;
  readonly dir = mkdtempSync(join(tmpdir(), "weft-bench-cni-"));
  readonly pods: string[];
  #server: Bun.Subprocess<"pipe", "pipe"> | undefined;
  /** By container: the result of its last ADD, for the plugins behind. */
  readonly #results = new Map<number, unknown>();

  constructor(word: string, plugins: string, pods: number) {
    this.plugins = plugins;
    this.name = `weft-bench-${process.pid}-${word}`;
    this.pods = Array.from({ length: pods }, (_, i) => `${this.name}-${i}`);
    for (const name of [this.name, ...this.pods]) createNetns(name);
    using rtnl = new Rtnl({ netns: { name: this.name } });
    rtnl.links.set("lo", { up: true });
    // Something that macvlan can be on.
    rtnl.links.add({ kind: "veth", name: "eth0", up: true, peer: { name: "eth0-peer" } });
    rtnl.links.set("eth0-peer", { up: true });
  }

  /** Starts the plugins' server, as the agent does on a node; ends with the side. */
  async serve(): Promise<void> {
    const child = inNetns({ name: this.name }, () =>
      Bun.spawn([join(this.plugins, "../weft-cni"), "serve"], { stdin: "pipe", stdout: "pipe" }),
    );
    this.#server = child;
    const { value } = await child.stdout.getReader().read();
    if (value === undefined) throw new Error("the plugins' server did not start");
  }

  /** The server's memory (VmRSS), in MB. */
  serverMemory(): number {
    const status = readFileSync(`/proc/${this.#server?.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
  }

  #start(command: string, pod: number, plugin: Plugin, prevResult: unknown) {
    const name = this.pods[pod] as string;
    const { type, ...keys } = plugin(this, pod);
    const stdin = JSON.stringify({ cniVersion: "1.0.0", name: "net", type, ...keys, prevResult });
    return {
      argv: [join(this.plugins, type)],
      options: {
        env: {
          PATH: path,
          CNI_COMMAND: command,
          CNI_CONTAINERID: name,
          CNI_NETNS: `/run/netns/${name}`,
          CNI_IFNAME: "eth0",
          CNI_PATH: this.plugins,
        },
        stdin: Buffer.from(stdin),
      },
    };
  }

  /** Runs one command of a chain for one container, as a runtime does; milliseconds. */
  one(command: "ADD" | "DEL", pod: number, chain: readonly Plugin[]): number {
    let spent = 0;
    for (const plugin of command === "ADD" ? chain : chain.toReversed()) {
      const { argv, options } = this.#start(command, pod, plugin, this.#results.get(pod));
      const start = Bun.nanoseconds();
      const { exitCode, stdout, stderr } = inNetns({ name: this.name }, () => Bun.spawnSync(argv, options));
      spent += Bun.nanoseconds() - start;
      if (exitCode !== 0) throw new Error(`${argv[0]} ${command}: status ${exitCode}: ${stdout}${stderr}`);
      if (command === "ADD") this.#results.set(pod, JSON.parse(stdout.toString()));
    }
    return spent / 1e6;
  }

  /** Runs a command for the first containers, several at a time; milliseconds for all. */
  async many(
    command: "ADD" | "DEL",
    chain: readonly Plugin[],
    { jobs, workers }: { jobs: number; workers: number },
  ): Promise<number> {
    let next = 0;
    const worker = async () => {
      for (let pod = next++; pod < jobs; pod = next++) await this.#run(command, pod, chain);
    };
    const start = Bun.nanoseconds();
    await Promise.all(Array.from({ length: workers }, worker));
    return (Bun.nanoseconds() - start) / 1e6;
  }

  async #run(command: "ADD" | "DEL", pod: number, chain: readonly Plugin[]): Promise<void> {
    for (const plugin of command === "ADD" ? chain : chain.toReversed()) {
      const { argv, options } = this.#start(command, pod, plugin, this.#results.get(pod));
      const child = inNetns({ name: this.name }, () =>
        Bun.spawn(argv, { ...options, stdout: "pipe", stderr: "ignore" }),
      );
      const [text, status] = await Promise.all([new Response(child.stdout).text(), child.exited]);
      if (status !== 0) throw new Error(`${argv[0]} ${command}: status ${status}: ${text}`);
      if (command === "ADD") this.#results.set(pod, JSON.parse(text));
    }
  }

  /** How long a start of a plugin takes that has nothing to do (VERSION); milliseconds, median. */
  startUp(): number {
    const env = { PATH: path, CNI_COMMAND: "VERSION", CNI_PATH: this.plugins };
    const times = Array.from({ length: 20 }, () => {
      const start = Bun.nanoseconds();
      Bun.spawnSync([join(this.plugins, "bridge")], { env });
      return (Bun.nanoseconds() - start) / 1e6;
    });
    return quantile(times, 0.5);
  }

  [Symbol.dispose](): void {
    this.#server?.stdin.end();
    for (const name of [...this.pods, this.name]) deleteNetns(name);
    rmSync(this.dir, { recursive: true, force: true });
  }
}
