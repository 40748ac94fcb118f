import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { socketPath } from "../../cniserver/protocol.ts";
import { explain } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { executableName } from "./install.ts";

/** A server that does not answer for so long is stuck. Milliseconds. */
const patience = 5_000;
/** A server that ended is started again after the first of these, soon again after the double, and so on. Milliseconds. */
const pause = { first: 100, longest: 60_000 };

type Child = Subprocess<"pipe", "pipe", "inherit">;

/**
 * Keeps a process `weft-cni serve` going, which does the work of the plugins that the runtime starts on this node (see
 * src/cniserver). Without it they do it themselves, three times as slowly: it never stands in anybody's way.
 */
export class PluginServer {
  readonly #binDir: string;
  readonly #log: Log;
  readonly #again: (pause: number) => void;
  #child: Child | undefined;
  #executable = "";
  #pause = pause.first;

  /** `again` is called where the server ended of itself, with how long to wait until {@link ensure}, in milliseconds. */
  constructor(binDir: string, log: Log, again: (pause: number) => void) {
    this.#binDir = binDir;
    this.#log = log;
    this.#again = again;
  }

  /** Starts the server where it does not run, is stuck, or is another executable than the one that is installed. */
  async ensure(): Promise<void> {
    try {
      await this.#ensure(join(this.#binDir, executableName));
    } catch (error) {
      this.#log.warn("The plugin server cannot be started; plugins do their work themselves", {
        error: explain(error),
      });
    }
  }

  async #ensure(file: string): Promise<void> {
    const executable = identityOf(file);
    if (this.#child !== undefined && executable === this.#executable && (await answers())) return;
    await this.stop();
    this.#executable = executable;
    const started = performance.now();
    const child = Bun.spawn([file, "serve"], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
      onExit: (ended) => {
        if (this.#child !== ended) return;
        this.#child = undefined;
        this.#log.warn("The plugin server ended; plugins do their work themselves", { file });
        if (performance.now() - started > pause.longest) this.#pause = pause.first;
        this.#again(this.#pause);
        this.#pause = Math.min(this.#pause * 2, pause.longest);
      },
    });
    this.#child = child;
    const path = await firstLine(child.stdout);
    if (path !== "") this.#log.info("Plugins are served", { socket: path, pid: child.pid });
  }

  /** Ends the server, once the calls under way are answered. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    child.stdin.end();
    const timer = setTimeout(() => child.kill("SIGKILL"), patience);
    await child.exited;
    clearTimeout(timer);
  }
}

/** Removes the socket that a killed server left; true where there was one. */
export function removeServerSocket(): boolean {
  const path = ownSocketPath();
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return false;
  rmSync(path, { force: true });
  return true;
}

function ownSocketPath(): string {
  return socketPath(statSync("/proc/self/ns/net", { bigint: true }).ino);
}

/** A server hangs up on whoever says something that is no call. */
async function answers(): Promise<boolean> {
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
  const { dev, ino, mtimeNs } = statSync(path, { bigint: true });
  return `${dev}.${ino}.${mtimeNs}`;
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
