/** What every bench shares: its shape, timing in pairs, and the statistics that are printed. */

/** One line of a bench's table: the same work done by Weft and by the peer, in turn. */
export interface Row {
  name: string;
  /** Of the numbers: "ms" mostly; what is better when larger has no place here, so turn it round. */
  unit: string;
  weft: readonly number[];
  /** As many as weft has; the i-th of both were taken one after the other. */
  peer: readonly number[];
  /** What the peer is, where a bench has several. */
  peerName?: string;
  /** The median of weft/peer is to be at most this. */
  goal?: number;
}

export interface BenchResult {
  rows: readonly Row[];
  /** What the numbers depend on, besides the machine, which the runner describes. */
  conditions: readonly string[];
}

/** What a file `bench/NAME.ts` exports as its default. */
export interface Bench {
  name: string;
  /** One or two sentences: what is measured against what. */
  describe: string;
  run(options: { pairs: number }): Promise<BenchResult>;
}

/** The smallest of the numbers that q (0 to 1) of them do not exceed: p50 is a median, p99 the worst but one in 100. */
export function quantile(numbers: readonly number[], q: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))] ?? Number.NaN;
}

/** The median of weft/peer over the pairs: what drifts on the machine drifts for both of a pair. */
export function pairedRatio({ weft, peer }: Pick<Row, "weft" | "peer">): number {
  return quantile(
    weft.map((value, index) => value / (peer[index] ?? Number.NaN)),
    0.5,
  );
}

export interface PairOptions {
  pairs: number;
  /** Pairs that are run first and not counted. */
  warmUp?: number;
}

/** A piece of work; what it returns is its time in milliseconds, or nothing to have it timed as a whole. */
type Work = () => number | undefined | Promise<number | undefined>;

async function time(work: Work): Promise<number> {
  const start = Bun.nanoseconds();
  const own = await work();
  return own ?? (Bun.nanoseconds() - start) / 1e6;
}

/** Times two pieces of work in turn: A B A B. Which comes first changes with every pair, so that neither profits. */
export async function timePairs(
  weft: Work,
  peer: Work,
  { pairs, warmUp = 3 }: PairOptions,
): Promise<Pick<Row, "weft" | "peer">> {
  const times = { weft: [] as number[], peer: [] as number[] };
  for (let pair = -warmUp; pair < pairs; pair++) {
    const weftFirst = pair % 2 === 0;
    const first = await time(weftFirst ? weft : peer);
    const second = await time(weftFirst ? peer : weft);
    if (pair < 0) continue;
    times.weft.push(weftFirst ? first : second);
    times.peer.push(weftFirst ? second : first);
  }
  return times;
}

export interface Program {
  command: readonly string[];
  env?: Record<string, string>;
  stdin?: string;
  cwd?: string;
}

/**
 * Runs a program to its end and says how long that took, from before its start until it is waited for, in
 * milliseconds. One that fails is an error with what it printed: no number for work that was not done.
 */
export function timeProgram({ command, env = {}, stdin, cwd }: Program): number {
  const options = {
    // A small environment of its own, so that nobody's variables count.
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...env },
    stdin: stdin === undefined ? ("ignore" as const) : Buffer.from(stdin),
    ...(cwd === undefined ? {} : { cwd }),
  };
  const start = Bun.nanoseconds();
  const { exitCode, stdout, stderr } = Bun.spawnSync([...command], options);
  const elapsed = (Bun.nanoseconds() - start) / 1e6;
  if (exitCode !== 0) {
    throw new Error(`"${command.join(" ")}" ended with status ${exitCode}:\n${stdout}${stderr}`);
  }
  return elapsed;
}
