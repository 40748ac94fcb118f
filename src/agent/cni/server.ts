import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { socketPath } from "../../cniserver/protocol.ts";
import { explain } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { turnsPath } from "../../plugins/turns.ts";
import { executableName } from "./install.ts";

/** A server that does not answer for so long is stuck. Milliseconds. */
const defaultPatience = 5_000;
/** A server that ended is started again after the first of these, soon again after the double, and so on. Milliseconds. */
const pause = { first: 100, longest: 60_000 };
/** What a timer may be early. Milliseconds. */
const early = 10;

type Child = Subprocess<"pipe", "pipe", "inherit">;

/**
 * Keeps a process `weft-cni serve` going, which does the work of the plugins that the runtime starts on this node (see
 * src/cniserver). Without it they do it themselves, three times as slowly: it never stands in anybody's way.
 */
export class PluginServer {
  readonly #binDir: string;
  readonly #log: Log;
  readonly #again: (pause: number) => void;
  readonly #patience: number;
  #child: Child | undefined;
  #executable: string | undefined;
  #pause = pause.first;
  /** Until then it is not started again. By performance.now(). */
  #pausedUntil = 0;
  #isClosed = false;

  /**
   * `again` is called where the server ended of itself or cannot be started, with how long to wait until
   * {@link ensure}, in milliseconds.
   */
  constructor(binDir: string, log: Log, again: (pause: number) => void, patience = defaultPatience) {
    this.#binDir = binDir;
    this.#log = log;
    this.#again = again;
    this.#patience = patience;
  }

  /**
   * Starts the server where it does not run, is stuck, or is another executable than the one that is installed. Not
   * before the pause after its end is over, unless it is another one.
   */
  async ensure(): Promise<void> {
    const file = join(this.#binDir, executableName);
    const executable = identityOf(file);
    const isSame = executable === this.#executable;
    if (this.#child === undefined && isSame && performance.now() + early < this.#pausedUntil) return;
    if (this.#child !== undefined && isSame && (await answers(this.#patience))) return;
    await this.#stop();
    if (this.#isClosed) return;
    this.#executable = executable;
    try {
      await this.#start(file);
    } catch (error) {
      this.#log.warn("The plugin server cannot be started; plugins do their work themselves", {
        error: explain(error),
      });
      this.#waitThenAgain();
    }
  }

  #waitThenAgain(): void {
    this.#pausedUntil = performance.now() + this.#pause;
    this.#again(this.#pause);
    this.#pause = Math.min(this.#pause * 2, pause.longest);
  }

  async #start(file: string): Promise<void> {
    const started = performance.now();
    const child = Bun.spawn([file, "serve"], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
    this.#child = child;
    void child.exited.then(() => {
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#log.warn("The plugin server ended; plugins do their work themselves", { file });
      if (performance.now() - started > pause.longest) this.#pause = pause.first;
      this.#waitThenAgain();
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), this.#patience);
    const path = await firstLine(child.stdout);
    clearTimeout(timer);
    if (path !== "") {
      this.#log.info("Plugins are served", { socket: path, pid: child.pid });
      return;
    }
    child.kill("SIGKILL");
    await child.exited;
  }

  /** Ends the server, once the calls under way are answered, for good. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#stop();
  }

  async #stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    child.stdin.end();
    const timer = setTimeout(() => child.kill("SIGKILL"), this.#patience);
    await child.exited;
    clearTimeout(timer);
  }
}

/** Removes what a server leaves, also one that was killed: its turns and its socket. True where that was there. */
export function removeServerSocket(): boolean {
  rmSync(turnsPath, { force: true });
  const path = ownSocketPath();
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return false;
  rmSync(path, { force: true });
  return true;
}

function ownSocketPath(): string {
  return socketPath(statSync("/proc/self/ns/net", { bigint: true }).ino);
}

/** A server hangs up on whoever says something that is no call. */
async function answers(patience: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), patience);
  const socket = await Bun.connect({
    unix: ownSocketPath(),
    socket: {
      open: (opened) => void opened.write("alive?"),
      data: () => {},
      close: () => resolve(true),
    },
  }).catch(() => undefined);
  const isAlive = socket !== undefined && (await promise);
  clearTimeout(timer);
  socket?.terminate();
  return isAlive;
}

function identityOf(path: string): string {
  try {
    const { dev, ino, mtimeNs } = statSync(path, { bigint: true });
    return `${dev}.${ino}.${mtimeNs}`;
  } catch {
    // What is wrong comes out when it is started.
    return "none";
  }
}

/** What the process says when it is ready; "" where it ended before. */
async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    const end = text.indexOf("\n");
    if (end >= 0) return text.slice(0, end);
  }
  return "";
}
