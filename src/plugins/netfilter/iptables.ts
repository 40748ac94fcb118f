import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import { InvalidInput } from "../../lib/errors.ts";

/*
 * The one place from which a program of the host's is run to change the kernel: which iptables a host has (over
 * nf_tables or the old one, of which version) only its own executables know, and whoever asks for rules of iptables asks
 * for them there.
 */

/** Which of the host's iptables: the one that `iptables` is, or one of the two by name. */
export type IptablesVariant = "default" | "nft" | "legacy";

/** On whose behalf a program is run. */
export type IptablesCaller = Pick<PluginRequest, "env" | "signal">;

/** A table of iptables. */
export type IptablesTable = "filter" | "nat";

/** Seconds that iptables waits for its lock. */
const lockPatience = 10;
/** Milliseconds after which a program that does not end is killed. */
const timeout = 30_000;
const sbin = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";

/** Of iptables: another program holds the lock, or the kernel said EAGAIN. */
const RESOURCE_PROBLEM = 4;
/** Of iptables: what was named is not there or there already, or a word is not understood. */
const refusals: readonly number[] = [1, 2];

/** A failure of the host's iptables, with what it printed. */
export class IptablesError extends CniError {
  /** Undefined where the program did not run or was killed. */
  readonly exitStatus: number | undefined;

  constructor(exitStatus: number | undefined, cniCode: number, message: string, remedy: string) {
    super(cniCode, message, { remedy });
    this.exitStatus = exitStatus;
  }
}

/** True where iptables ran and refused what it was told: something is missing or there already. */
export function isRefusal(error: unknown): error is IptablesError {
  return error instanceof IptablesError && refusals.includes(error.exitStatus ?? -1);
}

function pathOf({ env }: IptablesCaller): string {
  return env.PATH === undefined || env.PATH === "" ? sbin : `${env.PATH}:${sbin}`;
}

/** True where the host has iptables. */
export function hasIptables(caller: IptablesCaller): boolean {
  return Bun.which("iptables-restore", { PATH: pathOf(caller) }) !== null;
}

/** For STATUS: throws a {@link CniError} of code 50 where the host has no iptables. */
export function requireIptables(caller: IptablesCaller): void {
  if (!hasIptables(caller)) throw notInstalled("iptables-restore", cniErrorCode.pluginNotAvailable);
}

function notInstalled(program: string, cniCode: number): IptablesError {
  return new IptablesError(
    undefined,
    cniCode,
    `${program} is not installed on this host`,
    'Install iptables, or set the backend to "nftables", which needs no program',
  );
}

interface Outcome {
  status: number;
  stdout: string;
  stderr: string;
}

/** iptables of one family on this host, run as an executable of its own, with a list of arguments. */
export class Iptables {
  readonly family: 4 | 6;
  readonly #caller: IptablesCaller;
  readonly #variant: IptablesVariant;

  constructor(caller: IptablesCaller, family: 4 | 6, variant: IptablesVariant = "default") {
    this.#caller = caller;
    this.family = family;
    this.#variant = variant;
  }

  /**
   * Does all lines of a table, such as `-A FORWARD -j CNI-FORWARD`, or none, and leaves the rest as it is. Throws
   * {@link IptablesError}; see {@link isRefusal}.
   */
  async restore(table: IptablesTable, lines: readonly string[]): Promise<void> {
    const script = `*${table}\n${lines.join("\n")}\nCOMMIT\n`;
    const outcome = await this.#run("-restore", ["--noflush", "-w", String(lockPatience)], script);
    if (outcome.status !== 0) throw this.#failure("-restore", outcome);
  }

  /** The rules of a chain as `-A` lines, or undefined where there is no such chain. */
  async rules(table: IptablesTable, chain: string): Promise<string[] | undefined> {
    const outcome = await this.#run("", ["-w", String(lockPatience), "-t", table, "-S", chain]);
    if (outcome.status === 0) return outcome.stdout.split("\n").filter((line) => line.startsWith("-A "));
    if (refusals.includes(outcome.status)) return undefined;
    throw this.#failure("", outcome);
  }

  /** True where a chain has a rule, whatever the order of its words. */
  async has(table: IptablesTable, chain: string, words: readonly string[]): Promise<boolean> {
    const outcome = await this.#run("", ["-w", String(lockPatience), "-t", table, "-C", chain, ...words]);
    if (outcome.status === 0) return true;
    if (refusals.includes(outcome.status)) return false;
    throw this.#failure("", outcome);
  }

  #program(suffix: string): string {
    return `${this.family === 4 ? "iptables" : "ip6tables"}${suffix}`;
  }

  #find(suffix: string, path: string): string {
    const preferred = this.#variant === "default" ? [] : [this.#program(`-${this.#variant}${suffix}`)];
    for (const name of [...preferred, this.#program(suffix)]) {
      const file = Bun.which(name, { PATH: path });
      if (file !== null) return file;
    }
    throw notInstalled(this.#program(suffix), cniErrorCode.internal);
  }

  async #run(suffix: string, words: readonly string[], stdin = ""): Promise<Outcome> {
    const { env } = this.#caller;
    // Where it was aborted before, something is being taken back, which goes on.
    const signal = this.#caller.signal?.aborted === true ? undefined : this.#caller.signal;
    const path = pathOf(this.#caller);
    const file = this.#find(suffix, path);
    const child = spawn([file, ...words], stdin, {
      env: { ...env, PATH: path, LC_ALL: "C" },
      ...(signal === undefined ? {} : { signal }),
    });
    const [stdout, stderr, status] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    if (child.signalCode === null) return { status, stdout, stderr };
    throw new IptablesError(
      undefined,
      cniErrorCode.tryAgainLater,
      `${this.#program(suffix)} was ended by ${child.signalCode} after at most ${timeout / 1000} s`,
      "Look what holds iptables up on this host",
    );
  }

  #failure(suffix: string, { status, stderr }: Outcome): IptablesError {
    const said = stderr
      .split("\n")
      .filter((line) => line.trim() !== "" && !line.startsWith("Try `"))
      .join("; ")
      .slice(0, 400);
    const isLocked = status === RESOURCE_PROBLEM && /lock|temporarily unavailable/i.test(stderr);
    return new IptablesError(
      status,
      isLocked ? cniErrorCode.tryAgainLater : cniErrorCode.internal,
      `${this.#program(suffix)} failed with status ${status}: ${said === "" ? "it said nothing" : said}`,
      isLocked ? "Call again when the other program is done" : "Look at the host's iptables and its rules",
    );
  }
}

function spawn(command: string[], stdin: string, caller: IptablesCaller) {
  try {
    return Bun.spawn(command, {
      stdin: new TextEncoder().encode(stdin),
      stdout: "pipe",
      stderr: "pipe",
      timeout,
      killSignal: "SIGKILL",
      ...caller,
    });
  } catch (error) {
    const { code = String(error) } = error as NodeJS.ErrnoException;
    const program = command[0]?.replace(/.*\//, "");
    throw new IptablesError(
      undefined,
      cniErrorCode.internal,
      `${program} cannot be started (${command[0]}: ${code})`,
      "Check that iptables is installed as a whole",
    );
  }
}

const plainWord = /^[\w!.,:/@%+=~^-]+$/;

/** Words as they stand in a line for {@link Iptables.restore}. Throws {@link InvalidInput} for what cannot stand there. */
export function line(...words: readonly string[]): string {
  return words.map(quoted).join(" ");
}

function quoted(word: string): string {
  if (plainWord.test(word)) return word;
  // A line break would begin another command.
  if (/\p{Cc}/u.test(word)) throw new InvalidInput("iptables", word, "has a control character");
  return `"${word.replace(/["\\]/g, "\\$&")}"`;
}
