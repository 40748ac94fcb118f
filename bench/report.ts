/** How a bench's numbers are shown: on the terminal, as JSON, and in docs/benchmarks.md. */
import { cpus, loadavg, release, totalmem } from "node:os";
import { type Bench, type BenchResult, pairedRatio, quantile, type Row } from "./lib.ts";

export interface Summary {
  name: string;
  unit: string;
  peerName: string;
  pairs: number;
  weft: { p50: number; p99: number };
  peer: { p50: number; p99: number };
  /** Median of the paired ratios. */
  ratio: number;
  goal: number | null;
  met: boolean | null;
}

/** A row without its single numbers. */
export function summarize(row: Row): Summary {
  if (row.weft.length === 0 || row.weft.length !== row.peer.length) {
    throw new Error(
      `row "${row.name}" has ${row.weft.length} numbers of Weft and ${row.peer.length} of the peer`,
    );
  }
  const ratio = pairedRatio(row);
  const both = (numbers: readonly number[]) => ({
    p50: quantile(numbers, 0.5),
    p99: quantile(numbers, 0.99),
  });
  return {
    name: row.name,
    unit: row.unit,
    peerName: row.peerName ?? "peer",
    pairs: row.weft.length,
    weft: both(row.weft),
    peer: both(row.peer),
    ratio,
    goal: row.goal ?? null,
    met: row.goal === undefined ? null : ratio <= row.goal,
  };
}

/** Three digits that matter, without an exponent. */
export function shown(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const digits = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 4));
}

const verdict = ({ met }: Summary) => (met === null ? "" : met ? "met" : "missed");

function cells(summary: Summary): string[] {
  const { name, unit, peerName, weft, peer, ratio, goal } = summary;
  return [
    name,
    unit,
    shown(weft.p50),
    shown(weft.p99),
    peerName,
    shown(peer.p50),
    shown(peer.p99),
    shown(ratio),
    goal === null ? "" : shown(goal),
    verdict(summary),
  ];
}

const heading = ["what", "unit", "Weft p50", "p99", "against", "p50", "p99", "ratio", "goal", ""];
const isText = new Set([0, 1, 4, 9]);

function table(rows: readonly Summary[], join: (cells: string[], widths: number[]) => string): string[] {
  const all = [heading, ...rows.map(cells)];
  const widths = heading.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all.map((row) =>
    join(
      row.map((cell, column) =>
        isText.has(column) ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      ),
      widths,
    ),
  );
}

/** The table for a terminal. */
export function terminalTable(rows: readonly Summary[]): string {
  return table(rows, (row) => row.join("  ").trimEnd()).join("\n");
}

/** The same for a Markdown page. */
export function markdownTable(rows: readonly Summary[]): string {
  const [first = "", ...rest] = table(rows, (row) => `| ${row.join(" | ")} |`);
  const rule = table(
    rows,
    (_, widths) =>
      `| ${widths.map((width, column) => (isText.has(column) ? "-".repeat(width) : `${"-".repeat(Math.max(1, width - 1))}:`)).join(" | ")} |`,
  )[0];
  return [first, rule, ...rest].join("\n");
}

/** The machine, as far as the numbers depend on it. */
export function machine(): string[] {
  const [cpu] = cpus();
  const gibibytes = Math.round(totalmem() / 2 ** 30);
  return [
    `${cpus().length} cores (${cpu?.model.trim() ?? "unknown"}), ${gibibytes} GiB`,
    `Linux ${release()}, Bun ${Bun.version}`,
    `load at the end ${loadavg()[0]?.toFixed(2)}`,
  ];
}

/** A bench's section of docs/benchmarks.md, without its markers. */
export function section(bench: Bench, result: BenchResult, date: string): string {
  const rows = result.rows.map(summarize);
  const pairs = new Set(rows.map((row) => row.pairs));
  const conditions = [...machine(), ...result.conditions, `${[...pairs].join(" or ")} pairs, ${date}`];
  return [
    `## ${bench.name}`,
    "",
    bench.describe,
    "",
    markdownTable(rows),
    "",
    `Run by \`npm run bench -- ${bench.name}\`: ${conditions.join("; ")}.`,
  ].join("\n");
}

/** A page with the section of this name put in place of the last one, or added at the end. */
export function withSection(page: string, name: string, text: string): string {
  const [from, to] = [`<!-- bench:${name} -->`, `<!-- /bench:${name} -->`];
  const [start, end] = [page.indexOf(from), page.indexOf(to)];
  const body = `${from}\n${text}\n${to}`;
  if (start < 0 || end < start) return `${page.trimEnd()}\n\n${body}\n`;
  return page.slice(0, start) + body + page.slice(end + to.length);
}
