import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compileFlags, ignoreBunVariables } from "../scripts/build.mjs";
import { createNetns, deleteNetns, inNetns, type NetnsRef } from "../src/linux/netns.ts";
import type { Change } from "../src/linux/route/changes.ts";
import type { NewRoute } from "../src/linux/route/route.ts";
import { Rtnl } from "../src/linux/route/rtnl.ts";
import { type Bench, type Row, timePairs, timeProgram } from "./lib.ts";

const COUNT = 1000;
const gateway = "10.0.0.2";
const routes: NewRoute[] = Array.from({ length: COUNT }, (_, i) => ({
  dst: `10.${100 + (i >> 8)}.${i & 255}.0/24`,
  gateway,
}));
const routeLines = routes.map(({ dst }) => `route add ${dst} via ${gateway}\n`).join("");

/** What a bridge plugin asks of the kernel for one pod, in both languages. */
const attachment: Change[] = [
  { addLink: { kind: "bridge", name: "weft0", up: true } },
  { addAddress: { link: "weft0", address: "10.244.0.1/24" } },
  { addLink: { kind: "veth", name: "veth0", master: "weft0", up: true, peer: { name: "eth0" } } },
  { setLink: { link: "eth0", up: true } },
  { addAddress: { link: "eth0", address: "10.244.0.7/24" } },
  { addRoute: { dst: "0.0.0.0/0", gateway: "10.244.0.1", oif: "eth0" } },
];
const attachmentLines = `link add weft0 type bridge
link set weft0 up
addr add 10.244.0.1/24 dev weft0
link add veth0 master weft0 up type veth peer name eth0
link set eth0 up
addr add 10.244.0.7/24 dev eth0
route add default via 10.244.0.1 dev eth0
`;

/** The files and programs that the rows share, and a namespace that is made anew for each measurement. */
class Ground {
  readonly folder = mkdtempSync(join(tmpdir(), "weft-bench-rtnl-"));
  readonly netns: NetnsRef;
  readonly #name = `weft-bench-rtnl-${process.pid}`;

  constructor() {
    this.netns = { name: this.#name };
  }

  write(name: string, text: string): string {
    const path = join(this.folder, name);
    writeFileSync(path, text);
    return path;
  }

  /** An empty namespace, or one with a link to the gateway. */
  fresh(linked: boolean): void {
    deleteNetns(this.#name);
    createNetns(this.#name);
    if (!linked) return;
    using rtnl = new Rtnl({ netns: this.netns });
    rtnl.links.add({ kind: "veth", name: "a", up: true, peer: { name: "b" } });
    rtnl.links.set("b", { up: true });
    rtnl.addresses.add({ link: "a", address: "10.0.0.1/24" });
  }

  /** How long a program takes inside the namespace. */
  run(...command: string[]): number {
    return inNetns(this.netns, () => timeProgram({ command }));
  }

  close(): void {
    deleteNetns(this.#name);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function compile(folder: string): string {
  const [source, program] = [join(import.meta.dir, "programs/rtnl-routes.ts"), join(folder, "rtnl-routes")];
  timeProgram({ command: [process.execPath, "build", ...compileFlags, `--outfile=${program}`, source] });
  ignoreBunVariables(program);
  return program;
}

/** Times changes, from the opening of the socket to the last answer. */
function elapsed(netns: NetnsRef, changes: readonly Change[]): number {
  const start = Bun.nanoseconds();
  using rtnl = new Rtnl({ netns });
  const errors = rtnl.batch(changes);
  const time = (Bun.nanoseconds() - start) / 1e6;
  for (const error of errors.values()) throw error;
  return time;
}

async function added(ground: Ground, pairs: number): Promise<Row[]> {
  const batch = ground.write("routes", routeLines);
  const list = ground.write("routes.json", JSON.stringify(routes));
  const program = compile(ground.folder);
  const changes = routes.map((addRoute) => ({ addRoute }));
  const peer = () => {
    ground.fresh(true);
    return ground.run("ip", "-batch", batch);
  };
  const inProcess = () => {
    ground.fresh(true);
    return elapsed(ground.netns, changes);
  };
  const whole = () => {
    ground.fresh(true);
    return ground.run(program, list);
  };
  const name = "1,000 routes added";
  return [
    { name: `${name}, in a process`, unit: "ms", goal: 1, ...(await timePairs(inProcess, peer, { pairs })) },
    { name: `${name}, whole process`, unit: "ms", ...(await timePairs(whole, peer, { pairs })) },
  ];
}

async function listed(ground: Ground, pairs: number): Promise<Row> {
  ground.fresh(true);
  elapsed(
    ground.netns,
    routes.map((addRoute) => ({ addRoute })),
  );
  using rtnl = new Rtnl({ netns: ground.netns });
  const weft = () => {
    const start = Bun.nanoseconds();
    const { length } = rtnl.routes.list({ family: 4 });
    const time = (Bun.nanoseconds() - start) / 1e6;
    if (length !== COUNT + 1) throw new Error(`${length} routes were listed instead of ${COUNT + 1}`);
    return time;
  };
  const peer = () => ground.run("ip", "-4", "-json", "route", "show");
  return {
    name: "1,000 routes listed, in a process",
    unit: "ms",
    ...(await timePairs(weft, peer, { pairs })),
  };
}

async function attached(ground: Ground, pairs: number): Promise<Row> {
  const batch = ground.write("attachment", attachmentLines);
  const weft = () => {
    ground.fresh(false);
    return elapsed(ground.netns, attachment);
  };
  const peer = () => {
    ground.fresh(false);
    return ground.run("ip", "-batch", batch);
  };
  return {
    name: "bridge, veth pair, addresses, route; in a process",
    unit: "ms",
    ...(await timePairs(weft, peer, { pairs })),
  };
}

const bench: Bench = {
  name: "rtnl",
  describe:
    "rtnetlink changes and lists against `ip -batch` and `ip -json` for the same objects, each in a namespace that was made for it.",
  async run({ pairs }) {
    const ground = new Ground();
    try {
      const rows = [
        ...(await added(ground, pairs)),
        await listed(ground, pairs),
        await attached(ground, pairs),
      ];
      const { stdout } = Bun.spawnSync(["ip", "-V"]);
      return {
        rows,
        conditions: [
          `peer: ${stdout.toString().trim()}, its whole process from start to exit`,
          '"in a process": from opening the socket in the namespace to the last answer, in a program that runs already, as the agent does; the first three of a row are not counted',
          '"whole process": a compiled program, from its start to its exit, reading the routes from JSON as ip reads its commands; the runtime alone takes about 6 ms to start and runs all of this code for the first time',
        ],
      };
    } finally {
      ground.close();
    }
  },
};

export default bench;
