import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isNotSupported } from "../src/linux/errors.ts";
import { createNetns, deleteNetns } from "../src/linux/netns.ts";
import { Rtnl } from "../src/linux/route/rtnl.ts";
import { KernelAlone, type KernelTimes } from "./cni/kernel.ts";
import { type Alone, alone, bridge, bridgeMasq, ofKind, usualChain } from "./cni/plugins.ts";
import { type Plugin, Side } from "./cni/side.ts";
import { type Bench, quantile, type Row } from "./lib.ts";

/** Containers of one row: so many that its p99 is not the worst of all. */
const measured = 100;
/** So many come before and go after those of a row, so that nothing is done for the first or the last time in it. */
const edge = 3;
const pods = measured + 2 * edge;
/** Of the rows with several workers. */
const jobs = 40;
/** Attachments on the one bridge that has many. The kernel's bridges have 1,023 ports. */
const crowd = 1000;
/** Leases that stand in host-local's folder. */
const leases = 1000;
const own = join(import.meta.dir, "../dist/cni");
const reference = "/usr/lib/cni";

type Times = Pick<Row, "weft" | "peer">;

interface Sides {
  weft: Side;
  peer: Side;
}

const bench: Bench = {
  name: "cni",
  describe:
    `Every plugin, alone and in the usual chain (bridge + host-local + portmap + bandwidth + tuning), ADD and DEL of ` +
    `${measured} containers, ${jobs} containers by 2 and 8 workers, and ${crowd} on one bridge, against Debian's ` +
    `containernetworking-plugins; Weft's with its server on the node, as the agent runs it, and with a start of the ` +
    `engine for each call.`,
  async run({ pairs }) {
    if (!existsSync(join(reference, "bridge")))
      throw new Error(`no reference plugins: ${reference}/bridge is not there`);
    const rows: Row[] = [];
    const conditions: string[] = [];
    await withSides("s", pods + 1, async (sides) => {
      await sides.weft.serve();
      conditions.push(kernelBeside(sides));
      rows.push(...mainRows(sides), ...(await workerRows(sides, Math.max(5, Math.ceil(pairs / 4)))));
      const { kinds, missing } = kindsOfLinks();
      for (const each of [...alone, ...kinds]) rows.push(...(await aloneRows(sides, each)));
      if (missing.length > 0) {
        conditions.push(
          `this kernel lacks what ${missing.join(", ")} need; dummy and tap have no peer in Debian`,
        );
      }
      rows.push(...leaseRows(sides));
      conditions.push(
        `the plugins' server, which the agent keeps on each node, has ${sides.weft.serverMemory().toFixed(0)} MB of memory after this`,
      );
    });
    await withSides("u", pods, (sides) => {
      rows.push(...mainRows(sides, ", no server"));
      const [weft, peer] = [sides.weft.startUp(), sides.peer.startUp()];
      conditions.push(
        `without it, start and end of the process (VERSION) take ${weft.toFixed(1)} ms of each call with Weft and ` +
          `${peer.toFixed(1)} ms with the reference, which starts a second one for host-local and several iptables`,
      );
    });
    await withSides("c", crowd + 1, async (sides) => {
      await sides.weft.serve();
      rows.push(...crowdRows(sides, conditions));
    });
    return { rows, conditions };
  },
};

async function withSides(
  word: string,
  count: number,
  action: (sides: Sides) => void | Promise<void>,
): Promise<void> {
  using weft = new Side(`${word}w`, own, count);
  using peer = new Side(`${word}p`, reference, count);
  await action({ weft, peer });
}

/** One command for all containers; the times of those in the middle. */
function inTurn(sides: Sides, command: "ADD" | "DEL", chain: readonly Plugin[]): Times {
  range(sides, command, chain, [0, edge]);
  const times = range(sides, command, chain, [edge, edge + measured]);
  range(sides, command, chain, [edge + measured, pods]);
  return times;
}

/** One command for the containers from `first` on, the sides in turn. */
function range(
  { weft, peer }: Sides,
  command: "ADD" | "DEL",
  chain: readonly Plugin[],
  [first, end]: readonly [number, number],
): Times {
  const times = { weft: [] as number[], peer: [] as number[] };
  for (let pod = first; pod < end; pod++) {
    const order = pod % 2 === 0 ? (["weft", "peer"] as const) : (["peer", "weft"] as const);
    for (const side of order) times[side].push((side === "weft" ? weft : peer).one(command, pod, chain));
  }
  return times;
}

/** How regular the machine is while plugins run in turn: the kernel alone has no waiting, no memory to give back. */
function kernelBeside(sides: Sides): string {
  range(sides, "ADD", [bridge], [0, edge]);
  using kernel = new KernelAlone(sides.weft, "br0", pods);
  const { kernel: times } = besideKernel(sides, kernel, [bridge], [edge, edge + measured]);
  range(sides, "DEL", [bridge], [0, edge + measured]);
  const show = (numbers: readonly number[]) =>
    [0.5, 0.95, 0.99].map((q) => `p${q * 100} ${quantile(numbers, q).toFixed(1)}`).join(", ");
  return (
    `what the kernel alone takes in turn with ADDs of bridge + host-local, asked by netlink for a pair at the bridge that is ` +
    `up, with alias, address and default route, and for a process that does nothing: ${show(times.add)} ms; for the pair's ` +
    `deletion: ${show(times.del)} ms`
  );
}

function row(name: string, times: Times, goal?: number): Row {
  return { name, unit: "ms", ...times, ...(goal === undefined ? {} : { goal }) };
}

function mainRows(sides: Sides, suffix = ""): Row[] {
  const goal = (value: number) => (suffix === "" ? value : undefined);
  const both = (name: string, chain: readonly Plugin[], goals: { ADD?: number; DEL?: number }) =>
    (["ADD", "DEL"] as const).map((command) => {
      const wanted = goals[command];
      const times = inTurn(sides, command, chain);
      return row(`${name} ${command}${suffix}`, times, wanted === undefined ? undefined : goal(wanted));
    });
  return [
    ...both("bridge + host-local", [bridge], { ADD: 0.45 }),
    ...both("bridge + host-local + ipMasq", [bridgeMasq], { ADD: 0.3, DEL: 0.35 }),
    ...both("the usual chain", usualChain, { ADD: 0.3, DEL: 0.3 }),
  ];
}

async function workerRows(sides: Sides, pairs: number): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [name, chain] of [
    ["bridge + host-local + ipMasq", [bridgeMasq]],
    ["the usual chain", usualChain],
  ] as const) {
    for (const workers of [2, 8]) {
      const { ADD, DEL } = await bothMany(sides, chain, workers, pairs);
      const isShared = workers === 8 && chain.length === 1;
      rows.push(
        row(`${name}, ${jobs} by ${workers} workers: ADD`, ADD),
        row(`${name}, ${jobs} by ${workers} workers: DEL`, DEL, isShared ? 0.1 : undefined),
      );
    }
  }
  return rows;
}

async function bothMany(
  { weft, peer }: Sides,
  chain: readonly Plugin[],
  workers: number,
  pairs: number,
): Promise<Record<"ADD" | "DEL", Times>> {
  const times = {
    ADD: { weft: [] as number[], peer: [] as number[] },
    DEL: { weft: [] as number[], peer: [] as number[] },
  };
  for (let pair = 0; pair < pairs; pair++) {
    const order = pair % 2 === 0 ? (["weft", "peer"] as const) : (["peer", "weft"] as const);
    for (const command of ["ADD", "DEL"] as const) {
      for (const side of order) {
        const spent = await (side === "weft" ? weft : peer).many(command, chain, { jobs, workers });
        times[command][side].push(spent);
      }
    }
  }
  return times;
}

/** A plugin's own time, behind others that are made and taken away for it. */
async function aloneRows(sides: Sides, { name, before, plugin, scene }: Alone): Promise<Row[]> {
  using _weft = await scene?.(sides.weft);
  using _peer = await scene?.(sides.peer);
  if (before.length > 0) inTurn(sides, "ADD", before);
  const rows = (["ADD", "DEL"] as const).map((command) =>
    row(`${name} ${command}`, inTurn(sides, command, [plugin])),
  );
  if (before.length > 0) inTurn(sides, "DEL", before);
  return rows;
}

/** host-local alone, where the folder has many leases of others. */
function leaseRows(sides: Sides): Row[] {
  for (const { dir } of [sides.weft, sides.peer]) {
    const folder = join(dir, "many", "net");
    mkdirSync(folder, { recursive: true });
    for (let i = 0; i < leases; i++) {
      writeFileSync(join(folder, `10.78.${100 + (i >> 8)}.${i & 255}`), `other-${i}\r\neth0`);
    }
  }
  const plugin: Plugin = ({ dir }) => ({
    type: "host-local",
    ipam: { type: "host-local", dataDir: join(dir, "many"), ranges: [[{ subnet: "10.78.0.0/16" }]] },
  });
  return (["ADD", "DEL"] as const).map((command) =>
    row(`host-local at ${leases} leases ${command}`, inTurn(sides, command, [plugin]), 0.25),
  );
}

/** The first and the last containers on a bridge that has very many in the end. */
function crowdRows(sides: Sides, conditions: string[]): Row[] {
  const some = 50;
  const chain = [bridgeMasq];
  range(sides, "ADD", chain, [0, edge]);
  using kernel = new KernelAlone(sides.weft, "br0", crowd);
  const first = besideKernel(sides, kernel, chain, [edge, some]);
  range(sides, "ADD", chain, [some, crowd - some]);
  const last = besideKernel(sides, kernel, chain, [crowd - some, crowd]);
  const lastDel = range(sides, "DEL", chain, [crowd - some, crowd]);
  range(sides, "DEL", chain, [some, crowd - some]);
  const firstDel = range(sides, "DEL", chain, [edge, some]);
  range(sides, "DEL", chain, [0, edge]);
  const growth = (side: "weft" | "peer") =>
    (quantile(last[side], 0.5) - quantile(first[side], 0.5)).toFixed(1);
  const fromTo = (command: "add" | "del") =>
    [first, last].map(({ kernel: times }) => quantile(times[command], 0.5).toFixed(1)).join(" to ");
  conditions.push(
    `from the first ${some} to the last of ${crowd} attachments an ADD grows by ${growth("weft")} ms (the reference's by ` +
      `${growth("peer")} ms); what the kernel alone takes in turn with the two grows from ${fromTo("add")} ms ` +
      `(what a new interface tells its neighbours goes to every port), its deletion from ${fromTo("del")} ms`,
  );
  const name = "bridge + host-local + ipMasq";
  return [
    row(`${name}, the first ${some} of ${crowd}: ADD`, first),
    row(`${name}, the last ${some} of ${crowd}: ADD`, last),
    row(`${name}, the last ${some} of ${crowd}: DEL`, lastDel),
    row(`${name}, the first ${some} of ${crowd}: DEL`, firstDel),
  ];
}

/** ADDs by the two sides, and one by the kernel alone after each. */
function besideKernel(
  sides: Sides,
  kernel: KernelAlone,
  chain: readonly Plugin[],
  [start, end]: readonly [number, number],
): Times & { kernel: KernelTimes } {
  const all = { weft: [] as number[], peer: [] as number[], kernel: { add: [], del: [] } as KernelTimes };
  for (let pod = start; pod < end; pod++) {
    const { weft, peer } = range(sides, "ADD", chain, [pod, pod + 1]);
    all.weft.push(...weft);
    all.peer.push(...peer);
    kernel.once(all.kernel);
  }
  return all;
}

/** What of {@link ofKind} this kernel can, and the names of what it cannot. */
function kindsOfLinks() {
  const name = `weft-bench-${process.pid}-probe`;
  createNetns(name);
  try {
    using rtnl = new Rtnl({ netns: { name } });
    rtnl.links.add({ kind: "veth", name: "eth0", peer: { name: "eth1" } });
    const missing = Object.keys(ofKind).filter((kind) => !hasKind(rtnl, kind));
    return {
      kinds: Object.entries(ofKind).flatMap(([kind, plugin]) => (missing.includes(kind) ? [] : [plugin])),
      missing,
    };
  } finally {
    deleteNetns(name);
  }
}

function hasKind(rtnl: Rtnl, kind: string): boolean {
  try {
    if (kind === "vlan") rtnl.links.add({ kind, name: "probe", parent: "eth0", vlan: { id: 5 } });
    else if (kind === "vrf") rtnl.links.add({ kind, name: "probe", vrf: { table: 5 } });
    else rtnl.links.add({ kind, name: "probe", parent: "eth0" });
    rtnl.links.delete("probe");
    return true;
  } catch (error) {
    if (isNotSupported(error)) return false;
    throw error;
  }
}

export default bench;
