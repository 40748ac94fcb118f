/** Runs one bench and tells what it measured; `npm run bench` calls it. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import type { Bench } from "./lib.ts";
import { machine, section, summarize, terminalTable, withSection } from "./report.ts";

const root = join(import.meta.dir, "..");
const page = join(root, "docs/benchmarks.md");

const help = `Usage: npm run bench -- NAME [--pairs N] [--json FILE] [--update] [--check]
       npm run bench -- --list

Measures Weft and a peer in turn (A B A B) and prints p50 and p99 of each and the median of the paired ratios.

  --pairs N     how many pairs; 40 unless given, and at least 30 for a number that is to be kept
  --json FILE   where the single numbers go; bench/results/NAME.json unless given
  --update      put the table into docs/benchmarks.md
  --check       end with status 1 when a goal is missed
  --list        the benches, and what each measures`;

const ours = new Set(["lib.ts", "report.ts", "run.ts"]);

/** The benches' names: every file here that is not the runner's own. */
function names(): string[] {
  const files = readdirSync(import.meta.dir).filter(
    (file) => /^[a-z0-9-]+\.ts$/.test(file) && !ours.has(file),
  );
  return files.map((file) => file.slice(0, -3)).sort();
}

async function load(name: string): Promise<Bench> {
  const module: { default: Bench } = await import(join(import.meta.dir, `${name}.ts`));
  return module.default;
}

function fail(message: string): never {
  console.error(`bench: ${message}`);
  process.exit(2);
}

const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    pairs: { type: "string", default: "40" },
    json: { type: "string" },
    update: { type: "boolean", default: false },
    check: { type: "boolean", default: false },
    list: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

async function list(): Promise<void> {
  for (const name of names()) console.log(`${name.padEnd(12)} ${(await load(name)).describe}`);
}

async function measure(name: string, pairs: number): Promise<number> {
  const bench = await load(name);
  console.log(`${bench.name}: ${bench.describe}\n`);
  const result = await bench.run({ pairs });
  const rows = result.rows.map(summarize);
  console.log(terminalTable(rows));
  const conditions = [...machine(), ...result.conditions];
  console.log(`\n${conditions.map((line) => `  ${line}`).join("\n")}`);
  const date = new Date().toISOString();
  const json = values.json ?? join(import.meta.dir, "results", `${name}.json`);
  mkdirSync(dirname(json), { recursive: true });
  const kept = {
    bench: bench.name,
    describe: bench.describe,
    date,
    conditions,
    summary: rows,
    rows: result.rows,
  };
  writeFileSync(json, `${JSON.stringify(kept, undefined, 2)}\n`);
  if (values.update) {
    const text = existsSync(page) ? readFileSync(page, "utf8") : "# Benchmarks\n";
    writeFileSync(page, withSection(text, bench.name, section(bench, result, date.slice(0, 10))));
  }
  return values.check && rows.some(({ met }) => met === false) ? 1 : 0;
}

const [name, ...rest] = positionals;
const pairs = Number(values.pairs);
if (values.help) console.log(help);
else if (values.list) await list();
else if (name === undefined)
  fail(`which bench? There are ${names().join(", ")}; see npm run bench -- --help`);
else if (rest.length > 0) fail(`one bench at a time, not "${positionals.join(" ")}"`);
else if (!names().includes(name)) fail(`there is no bench "${name}"; there are ${names().join(", ")}`);
else if (!Number.isInteger(pairs) || pairs < 1)
  fail(`--pairs wants a number from 1 on, not "${values.pairs}"`);
else process.exitCode = await measure(name, pairs);
