import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compileFlags, ignoreBunVariables } from "../scripts/build.mjs";
import { createNetns, deleteNetns, inNetns, type NetnsRef } from "../src/linux/netns.ts";
import { type Element, Nftables, type NftMap, Transaction } from "../src/linux/nftables/index.ts";
import { type Bench, type Row, timePairs, timeProgram } from "./lib.ts";

const COUNT = 10_000;
const table = { family: "inet", name: "bench" } as const;
const map: NftMap = {
  kind: "map",
  name: "frontends",
  key: ["ipv4_addr", "inet_proto", "inet_service"],
  data: ["ipv4_addr", "inet_service"],
};
const address = (net: number, i: number) => `10.${net}.${(i >> 8) & 255}.${i & 255}`;

function elementsFrom(first: number, count: number): Element[] {
  return Array.from({ length: count }, (_, i) => ({
    key: [address(96, first + i), i % 2 === 0 ? "tcp" : "udp", 80],
    data: [address(244, first + i), 8080],
  }));
}

const words = (values: Element["key"] | undefined) => (values as readonly (string | number)[]).join(" . ");
const line = ({ key, data }: Element) => `${words(key)} : ${words(data as Element["key"])}`;
const nftElements = (elements: readonly Element[]) => `{ ${elements.map(line).join(", ")} }`;
const keys = (elements: readonly Element[]) => `{ ${elements.map(({ key }) => words(key)).join(", ")} }`;

/** nft's text for the table with its map and elements. */
const nftTable = (elements: readonly Element[]) => `table inet bench {
  map frontends {
    type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
    elements = ${nftElements(elements)}
  }
}
`;

/** The namespaces, files and programs that the rows share. */
class Ground {
  readonly folder = mkdtempSync(join(tmpdir(), "weft-bench-nft-"));
  readonly netns: NetnsRef;
  readonly nft: Nftables;
  readonly #name = `weft-bench-nft-${process.pid}`;

  constructor() {
    createNetns(this.#name);
    this.netns = { name: this.#name };
    this.nft = new Nftables({ netns: this.netns });
  }

  write(name: string, text: string): string {
    const path = join(this.folder, name);
    writeFileSync(path, text);
    return path;
  }

  /** How long a program takes inside the namespace. */
  run(...command: string[]): number {
    return inNetns(this.netns, () => timeProgram({ command }));
  }

  clear(): void {
    this.nft.apply(new Transaction(table).destroy({ kind: "table", ...table }));
  }

  close(): void {
    this.nft.close();
    deleteNetns(this.#name);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function elapsed(work: () => void): number {
  const start = Bun.nanoseconds();
  work();
  return (Bun.nanoseconds() - start) / 1e6;
}

function compile(folder: string): string {
  const [source, program] = [join(import.meta.dir, "programs/nft-apply.ts"), join(folder, "nft-apply")];
  timeProgram({ command: [process.execPath, "build", ...compileFlags, `--outfile=${program}`, source] });
  ignoreBunVariables(program);
  return program;
}

const filled = (elements: readonly Element[]) =>
  new Transaction(table).add({ kind: "table", ...table }, map).addElements(map, elements);

async function whole(ground: Ground, pairs: number): Promise<Row[]> {
  const elements = elementsFrom(0, COUNT);
  const rules = ground.write("table.nft", nftTable(elements));
  const list = ground.write("elements.json", JSON.stringify(elements));
  const program = compile(ground.folder);
  const peer = () => {
    ground.clear();
    return ground.run("nft", "-f", rules);
  };
  const ownProcess = () => {
    ground.clear();
    return ground.run(program, list);
  };
  const inProcess = () => {
    ground.clear();
    return elapsed(() => ground.nft.apply(filled(elements)));
  };
  const name = "10,000 elements of a map in one transaction";
  const goal = 0.6;
  return [
    { name: `${name}, whole process`, unit: "ms", goal, ...(await timePairs(ownProcess, peer, { pairs })) },
    { name: `${name}, in a process`, unit: "ms", goal, ...(await timePairs(inProcess, peer, { pairs })) },
  ];
}

/** Changes of a map that has 10,000 elements already: `count` elements go and as many others come. */
async function delta(ground: Ground, pairs: number, count: number): Promise<Row> {
  ground.clear();
  ground.nft.apply(filled(elementsFrom(0, COUNT)));
  const [a, b] = [elementsFrom(0, count), elementsFrom(COUNT, count)];
  const files = [
    [b, a],
    [a, b],
  ].map(([come = [], go = []], i) =>
    ground.write(
      `delta-${count}-${i}.nft`,
      `delete element inet bench frontends ${keys(go)}\nadd element inet bench frontends ${nftElements(come)}\n`,
    ),
  ) as [string, string];
  // Whoever comes next swaps back what was swapped before.
  let swapped = false;
  const next = <T>(sides: readonly [T, T]): T => {
    swapped = !swapped;
    return swapped ? sides[0] : sides[1];
  };
  const weft = () => {
    const [go, come] = next([[a, b] as const, [b, a] as const]);
    return elapsed(() =>
      ground.nft.apply(new Transaction(table).deleteElements(map, go).addElements(map, come)),
    );
  };
  const peer = () => ground.run("nft", "-f", next(files));
  const times = await timePairs(weft, peer, { pairs });
  return { name: `${count} of 10,000 elements exchanged, in a process`, unit: "ms", ...times };
}

async function dump(ground: Ground, pairs: number): Promise<Row> {
  ground.clear();
  ground.nft.apply(filled(elementsFrom(0, COUNT)));
  const weft = () => elapsed(() => ground.nft.dump(table));
  const peer = () => ground.run("nft", "-j", "list", "table", "inet", "bench");
  return {
    name: "10,000 elements read back, in a process",
    unit: "ms",
    ...(await timePairs(weft, peer, { pairs })),
  };
}

const bench: Bench = {
  name: "nft",
  describe:
    "nf_tables transactions by netlink against `nft -f` for the same objects: 10,000 elements of a map " +
    "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service at once, small changes of it, and reading it back.",
  async run({ pairs }) {
    const ground = new Ground();
    try {
      const rows = await whole(ground, pairs);
      rows.push(await delta(ground, pairs, 1), await delta(ground, pairs, 100), await dump(ground, pairs));
      const { stdout } = Bun.spawnSync(["nft", "--version"]);
      return {
        rows: rows.map((row) => ({
          ...row,
          peerName: row.name.startsWith("10,000 elements read") ? "nft -j list" : "nft -f",
        })),
        conditions: [
          `peer: ${stdout.toString().trim()}, a process for each measurement`,
          "whole process: a compiled program that reads the elements from a JSON file; in a process: the call alone",
        ],
      };
    } finally {
      ground.close();
    }
  },
};

export default bench;
