import { existsSync, mkdtempSync, rmSync } from "node:fs";
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
  readonly #dataDir = mkdtempSync(join(tmpdir(), "weft-bench-cni-"));

  constructor(word: string, plugins: string) {
    this.plugins = plugins;
    this.#name = `weft-bench-${process.pid}-${word}`;
    this.#pods = Array.from({ length: PODS }, (_, i) => `${this.#name}-${i}`);
    for (const name of [this.#name, ...this.#pods]) createNetns(name);
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
    `${WORKERS} workers, against Debian's containernetworking-plugins.`,
  async run({ pairs }) {
    if (!existsSync(join(reference, "bridge")))
      throw new Error(`no reference plugins: ${reference}/bridge is not there`);
    using weft = new Side("weft", own);
    using peer = new Side("peer", reference);
    const rows: Row[] = [];
    for (const [ipMasq, addGoal, delGoal] of [
      [false, 0.6, undefined],
      [true, 0.4, 0.4],
    ] as const) {
      const name = `bridge + host-local${ipMasq ? " + ipMasq" : ""}`;
      const add = inTurn(weft, peer, "ADD", ipMasq);
      rows.push({ name: `${name} ADD`, unit: "ms", ...add, goal: addGoal });
      const del = inTurn(weft, peer, "DEL", ipMasq);
      rows.push({
        name: `${name} DEL`,
        unit: "ms",
        ...del,
        ...(delGoal === undefined ? {} : { goal: delGoal }),
      });
    }
    const many = await bothMany(weft, peer, Math.max(5, Math.ceil(pairs / 4)));
    const name = `with ipMasq, ${JOBS} by ${WORKERS} workers`;
    rows.push({ name: `${name}: ADD`, unit: "ms", ...many.ADD, goal: 0.4 });
    rows.push({ name: `${name}: DEL`, unit: "ms", ...many.DEL });
    const alone = weft.kernelAlone();
    const ms = (value: number) => `${value.toFixed(1)} ms`;
    return {
      rows,
      conditions: [
        `of each call, start and end of the process (VERSION) take ${ms(startUp(weft))} with Weft and ${ms(startUp(peer))} with the reference, which starts a second one for host-local and, with ipMasq, several iptables`,
        `the kernel alone takes ${ms(alone.add)} to make a pair of links and ${ms(alone.del)} to delete it`,
        `${PODS} containers on one bridge, each side in a namespace of its own; a row's pairs are its containers`,
      ],
    };
  },
};

export default bench;
