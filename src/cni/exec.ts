import { quote } from "../lib/errors.ts";
import { status } from "../linux/lean/files.ts";
import { type CniCommand, formatEnvironment, type Invocation } from "./env.ts";
import { CniError, cniErrorCode, parseErrorResult } from "./errors.ts";
import { requirePluginType } from "./validate.ts";

/** More output than this is rubbish. Bytes. */
const longestOutput = 16 * 1024 * 1024;

const onlyResult = "A plugin must print its result, and nothing else, on standard output";

/** One start of a plugin's executable. */
export interface PluginExecution {
  /** The executable. */
  file: string;
  /** Names the plugin in messages. */
  type: string;
  invocation: Invocation;
  /** The network configuration, for its standard input. */
  stdin: string;
  /** Milliseconds until it is killed. */
  timeout: number;
  /**
   * Gives the plugin a process group of its own, all of which is killed at the timeout. Not for delegates, which have
   * to end together with the plugin that started them.
   */
  ownGroup: boolean;
  /** The environment, in which the invocation's variables are set; this process's own where not given. */
  env?: Readonly<Record<string, string | undefined>>;
  /** Kills it when it is aborted. Where it was before, something is being taken back, which goes on. */
  signal?: AbortSignal | undefined;
  /** Takes what it says on standard error; dropped where not given. */
  onStderr?: (text: string) => void;
}

/** The executable of a plugin on CNI_PATH, or undefined. The type is checked, so that it cannot lead elsewhere. */
export function findPlugin(type: string, path: readonly string[]): string | undefined {
  requirePluginType(type);
  for (const folder of path) {
    const file = `${folder}/${type}`;
    if (isFile(file)) return file;
  }
  return undefined;
}

function isFile(path: string): boolean {
  try {
    return status(path)?.isFile === true;
  } catch {
    // Not to be read by this user: then not to be executed either.
    return false;
  }
}

/** As {@link findPlugin}, but throws a {@link CniError} that says where was looked. */
export function requirePlugin(type: string, path: readonly string[]): string {
  const file = findPlugin(type, path);
  if (file !== undefined) return file;
  throw new CniError(
    cniErrorCode.invalidNetworkConfig,
    `failed to find plugin ${quote(type)} in path ${quote(path)}`,
    { remedy: "Install the plugin there, or add its folder to CNI_PATH" },
  );
}

/**
 * Runs a plugin's executable and returns its standard output. Throws one {@link CniError} that names plugin and
 * command: with the plugin's own code and message where it printed an error result, otherwise with what happened
 * (killed at the timeout, ended by a signal, exit status) and the start of what it printed.
 */
export async function execPlugin(execution: PluginExecution): Promise<string> {
  const { file, type, invocation, timeout } = execution;
  const { command } = invocation;
  const wasAborted = execution.signal?.aborted === true;
  const child = await start(execution);
  const output = new LimitedReader(child.stdout);
  const errors = new LimitedReader(child.stderr);
  let ending: "slow" | "rubbish" | "stopped" | undefined;
  const kill = () => {
    try {
      process.kill(execution.ownGroup ? -child.pid : child.pid, "SIGKILL");
    } catch {
      // It has ended.
    }
    // What it started may live on with its outputs, which then never end.
    output.cancel();
    errors.cancel();
  };
  const end = (why: typeof ending) => () => {
    ending ??= why;
    kill();
  };
  const timer = setTimeout(end("slow"), timeout);
  const stop = end("stopped");
  execution.signal?.addEventListener("abort", stop);
  // While it could not be started yet.
  if (!wasAborted && execution.signal?.aborted === true) stop();
  try {
    const tooMuch = end("rubbish");
    const [stdout, stderr] = await Promise.all([output.read(tooMuch), errors.read(tooMuch)]);
    const status = await child.exited;
    if (stderr !== "" && ending !== "rubbish") execution.onStderr?.(stderr);
    if (ending === "slow") {
      throw pluginError(type, command, `did not end within ${timeout / 1000} s and was killed`, {
        code: cniErrorCode.tryAgainLater,
        remedy: `Look what holds ${file} up`,
      });
    }
    if (ending === "stopped") {
      throw pluginError(type, command, "was killed: nobody waits for it any more", {
        code: cniErrorCode.tryAgainLater,
      });
    }
    if (ending === "rubbish") {
      const began = showStart(`${stdout}${stderr}`);
      const problem = `printed more than ${longestOutput / 2 ** 20} MiB and was killed; it began ${began}`;
      throw pluginError(type, command, problem, { code: cniErrorCode.decoding, remedy: onlyResult });
    }
    if (status === 0 && !isErrorResult(stdout)) return stdout;
    throw failureOf(type, command, stdout, stderr, String(child.signalCode ?? `exit status ${status}`));
  } finally {
    clearTimeout(timer);
    execution.signal?.removeEventListener("abort", stop);
  }
}

/** How often, and after how many milliseconds each, an executable that is just being written is tried again. */
const busyFile = { attempts: 25, pause: 200 };

async function start(execution: PluginExecution) {
  const { file, type, invocation } = execution;
  for (let attempt = 1; ; attempt++) {
    try {
      return spawn(execution);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? String(error);
      if (code === "ETXTBSY" && attempt < busyFile.attempts) {
        await Bun.sleep(busyFile.pause);
        continue;
      }
      throw pluginError(type, invocation.command, `cannot be started (${file}: ${code})`, {
        remedy: "Check that the file is executable and made for this machine",
        cause: error,
      });
    }
  }
}

function spawn({ file, invocation, stdin, ownGroup, env = process.env }: PluginExecution) {
  return Bun.spawn([file], {
    stdin: new TextEncoder().encode(stdin),
    stdout: "pipe",
    stderr: "pipe",
    detached: ownGroup,
    env: { ...env, ...formatEnvironment(invocation) },
  });
}

/** True for an error result, which a plugin may print and yet end as if it had succeeded. A result has no code. */
function isErrorResult(stdout: string): boolean {
  return stdout.includes('"code"') && (parseErrorResult(stdout)?.code ?? 0) !== 0;
}

/** A plugin's output up to its end, its longest length, or until somebody has enough of it. */
class LimitedReader {
  readonly #reader: {
    read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
    cancel(): Promise<void>;
  };

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
  }

  async read(onTooMuch: () => void): Promise<string> {
    const chunks: Uint8Array[] = [];
    for (let length = 0; ; ) {
      const { done, value } = await this.#reader.read();
      if (done || value === undefined) break;
      length += value.length;
      if (length > longestOutput) {
        onTooMuch();
        break;
      }
      chunks.push(value);
    }
    return Buffer.concat(chunks).toString("utf8");
  }

  /** Ends a pending {@link read} with what has come. */
  cancel(): void {
    this.#reader.cancel().catch(() => {});
  }
}

function failureOf(type: string, command: CniCommand, stdout: string, stderr: string, how: string): CniError {
  const result = parseErrorResult(stdout);
  if (result !== undefined) {
    return pluginError(type, command, result.msg, {
      code: result.code,
      ...(result.details === undefined ? {} : { remedy: result.details }),
    });
  }
  const said = stdout.trim() === "" ? stderr : stdout;
  const shown = said.trim() === "" ? "it printed nothing" : `it printed ${showStart(said)}`;
  return pluginError(type, command, `${how}, without an error result; ${shown}`, {});
}

/** The error for output that is no result: names the plugin and shows how the output begins. */
export function rubbishError(type: string, command: CniCommand, output: string, cause: unknown): CniError {
  const problem = cause instanceof Error ? cause.message : String(cause);
  const shown = output.trim() === "" ? "printed nothing" : `printed ${showStart(output)}`;
  return pluginError(type, command, `${shown}, which is no result (${problem})`, {
    code: cniErrorCode.decoding,
    remedy: onlyResult,
    cause,
  });
}

function showStart(text: string): string {
  return quote(text.trim().slice(0, 200));
}

/** "plugin "bridge" failed (ADD): ...". */
export function pluginError(
  type: string,
  command: CniCommand,
  problem: string,
  details: { code?: number; remedy?: string; cause?: unknown },
): CniError {
  const { code, ...rest } = details;
  return new CniError(
    code ?? cniErrorCode.internal,
    `plugin ${quote(type)} failed (${command}): ${problem}`,
    rest,
  );
}
