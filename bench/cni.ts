import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNetns, deleteNetns, inNetns } from "../src/linux/netns.ts";
import { Rtnl } from "../src/linux/route/rtnl.ts";
import { type Bench, quantile, type Row, timeProgram } from "./lib.ts";

/** Containers on each side's bridge. */
const PODS = 100;
const WORKERS = 8;
const JOBS = 40;
const own = join(import.meta.dir, "../dist/cni");
const reference = "/usr/lib/cni";

/** One side: a host namespace, containers' namespaces and lease folders of its own. */
class Side implements Disposable {
  readonly plugins: string;
  readonly #name: string;
  readonly #pods: string[];
  #server: Bun.Subprocess<"pipe", "pipe"> | undefined;
  readonly #dataDir = mkdtempSync(join(tmpdir(), "weft-bench-cni-"));

  constructor(word: string, plugins: string) {
    this.plugins = plugins;
    this.#name = `weft-bench-${process.pid}-${word}`;
    this.#pods = Array.from({ length: PODS }, (_, i) => `${this.#name}-${i}`);
    for (const name of [this.#name, ...this.#pods]) createNetns(name);
  }

  /** Starts the plugins' server, as the agent does on a node; ends with the side. */
  async serve(): Promise<void> {
    const child = inNetns({ name: this.#name }, () =>
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

  /** What a runtime starts for one container. */
  #call(command: string, pod: number, ipMasq: boolean) {
    const name = this.#pods[pod] as string;
    const stdin = JSON.stringify({
      cniVersion: "1.0.0",
      name: "net",
      type: "bridge",
      bridge: "br0",
      isDefaultGateway: true,
      ipMasq,
      ipam: { type: "host-local", dataDir: this.#dataDir, ranges: [[{ subnet: "10.77.0.0/16" }]] },
    });
    const env = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: name,
      CNI_NETNS: `/run/netns/${name}`,
      CNI_IFNAME: "eth0",
      CNI_PATH: this.plugins,
    };
    return { command: [join(this.plugins, "bridge")], env, stdin };
  }

  /** Runs one command for one container; milliseconds. */
  one(command: string, pod: number, ipMasq: boolean): number {
    return inNetns({ name: this.#name }, () => timeProgram(this.#call(command, pod, ipMasq)));
  }

  /** Runs a command for the first containers, several at a time; milliseconds for all. */
  async many(command: string, ipMasq: boolean): Promise<number> {
    let next = 0;
    const worker = async () => {
      for (let pod = next++; pod < JOBS; pod = next++) {
        const { command: argv, env, stdin } = this.#call(command, pod, ipMasq);
        const child = inNetns({ name: this.#name }, () =>
          Bun.spawn(argv, {
            env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...env },
            stdin: Buffer.from(stdin),
            stdout: "ignore",
            stderr: "ignore",
          }),
        );
        const status = await child.exited;
        if (status !== 0) throw new Error(`${argv[0]} ${command} ended with status ${status}`);
      }
    };
    const start = Bun.nanoseconds();
    await Promise.all(Array.from({ length: WORKERS }, worker));
    return (Bun.nanoseconds() - start) / 1e6;
  }

  /** What the kernel alone takes for a container's pair of links: made and deleted by netlink, by this process. */
  kernelAlone(): { add: number; del: number } {
    using rtnl = new Rtnl({ netns: { name: this.#name } });
    const times = { add: [] as number[], del: [] as number[] };
    const master = rtnl.links.get("br0").index;
    for (let i = 0; i < 20; i++) {
      const start = Bun.nanoseconds();
      const peer = { name: "eth0", netns: { name: this.#pods[i] as string } };
      rtnl.links.add({ kind: "veth", name: "alone", master, up: true, peer });
      const middle = Bun.nanoseconds();
      rtnl.links.delete("alone");
      times.add.push((middle - start) / 1e6);
      times.del.push((Bun.nanoseconds() - middle) / 1e6);
    }
    return { add: quantile(times.add, 0.5), del: quantile(times.del, 0.5) };
  }

  [Symbol.dispose](): void {
    this.#server?.stdin.end();
    for (const name of [...this.#pods, this.#name]) deleteNetns(name);
    rmSync(this.#dataDir, { recursive: true, force: true });
  }
}

/** One command for every container, the sides in turn. */
function inTurn(weft: Side, peer: Side, command: string, ipMasq: boolean): Pick<Row, "weft" | "peer"> {
  const times = { weft: [] as number[], peer: [] as number[] };
  for (let pod = 0; pod < PODS; pod++) {
    const order = pod % 2 === 0 ? (["weft", "peer"] as const) : (["peer", "weft"] as const);
    for (const side of order) times[side].push((side === "weft" ? weft : peer).one(command, pod, ipMasq));
  }
  return times;
}

async function bothMany(
  weft: Side,
  peer: Side,
  pairs: number,
): Promise<Record<"ADD" | "DEL", Pick<Row, "weft" | "peer">>> {
  const times = {
    ADD: { weft: [] as number[], peer: [] as number[] },
    DEL: { weft: [] as number[], peer: [] as number[] },
  };
  for (let pair = 0; pair < pairs; pair++) {
    const order = pair % 2 === 0 ? (["weft", "peer"] as const) : (["peer", "weft"] as const);
    for (const command of ["ADD", "DEL"] as const) {
      for (const side of order) {
        times[command][side].push(await (side === "weft" ? weft : peer).many(command, true));
      }
    }
  }
  return times;
}

function startUp(side: Side): number {
  const env = { CNI_COMMAND: "VERSION", CNI_PATH: side.plugins };
  const times = Array.from({ length: 20 }, () =>
    timeProgram({ command: [join(side.plugins, "bridge")], env }),
  );
  return quantile(times, 0.5);
}

const bench: Bench = {
  name: "cni",
  describe:
    `bridge with host-local, ADD and DEL of ${PODS} containers, alone and with ipMasq, and ${JOBS} containers by ` +
    `${WORKERS} workers, against Debian's containernetworking-plugins; Weft's with its server on the node, as the agent ` +
    `runs it, and with a start of the engine for each call.`,
  async run({ pairs }) {
    if (!existsSync(join(reference, "bridge")))
      throw new Error(`no reference plugins: ${reference}/bridge is not there`);
    using weft = new Side("weft", own);
    await weft.serve();
    using unserved = new Side("unserved", own);
    using peer = new Side("peer", reference);
    const rows = [
      ...(await rowsOf(weft, peer, pairs, {
        "ADD false": 0.6,
        "ADD true": 0.4,
        "DEL true": 0.4,
        "ADD many": 0.4,
      })),
      ...(await rowsOf(unserved, peer, pairs, {}, ", no server")),
    ];
    const alone = weft.kernelAlone();
    const ms = (value: number) => `${value.toFixed(1)} ms`;
    return {
      rows,
      conditions: [
        `the plugins' server, which the agent keeps on each node, has ${weft.serverMemory().toFixed(0)} MB of memory after all this`,
        `without it, start and end of the process (VERSION) take ${ms(startUp(unserved))} of each call with Weft and ${ms(startUp(peer))} with the reference, which starts a second one for host-local and, with ipMasq, several iptables`,
        `the kernel alone takes ${ms(alone.add)} to make a pair of links and ${ms(alone.del)} to delete it`,
        `${PODS} containers on one bridge, each side in a namespace of its own; a row's pairs are its containers`,
      ],
    };
  },
};

/** All rows of one side of ours against the reference. */
async function rowsOf(
  weft: Side,
  peer: Side,
  pairs: number,
  goals: Record<string, number>,
  suffix = "",
): Promise<Row[]> {
  const rows: Row[] = [];
  const push = (name: string, key: string, times: Pick<Row, "weft" | "peer">) => {
    const goal = goals[key];
    rows.push({ name: `${name}${suffix}`, unit: "ms", ...times, ...(goal === undefined ? {} : { goal }) });
  };
  for (const ipMasq of [false, true]) {
    for (const command of ["ADD", "DEL"]) {
      const name = `bridge + host-local${ipMasq ? " + ipMasq" : ""} ${command}`;
      push(name, `${command} ${ipMasq}`, inTurn(weft, peer, command, ipMasq));
    }
  }
  const many = await bothMany(weft, peer, Math.max(5, Math.ceil(pairs / 4)));
  for (const command of ["ADD", "DEL"] as const) {
    push(`with ipMasq, ${JOBS} by ${WORKERS} workers: ${command}`, `${command} many`, many[command]);
  }
  return rows;
}

export default bench;
