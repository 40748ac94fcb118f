import { mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, normalize } from "node:path";
import type { Socket } from "bun";
import { runPlugin } from "../cni/skeleton.ts";
import { InvalidInput, WeftError } from "../lib/errors.ts";
import { isErrno } from "../linux/errors.ts";
import * as ffi from "../linux/ffi.ts";
import { keepSockets } from "../linux/lean/socket.ts";
import { releaseCode } from "../linux/memory.ts";
import { isOwnNetns, ownBuiltin } from "../plugins/host.ts";
import { loadPlugin } from "../plugins/load.ts";
import { isPluginName, type PluginName } from "../plugins/names.ts";
import { waitFor } from "../plugins/shared/wait.ts";
import { attachmentIn, servedVariable, Turns } from "../plugins/turns.ts";
import { type Caller, Incoming, Input } from "./call.ts";
import { Calls } from "./calls.ts";
import { Deletions } from "./deletions.ts";
import { accepted, answerHeaderSize, identities, socketPath } from "./protocol.ts";

/** A server of plugin calls; see {@link startServer}. */
export interface Server {
  /** The socket's file. */
  readonly path: string;
  /** Takes no more calls; resolves when those under way are answered. */
  close(): Promise<void>;
}

/** What one connection is about. */
interface Connection {
  incoming: Incoming;
  /** Set once the caller is accepted. */
  call?: { caller: Caller; name: PluginName; input: Input };
  /** What could not be sent yet. */
  rest?: Uint8Array;
  /** Nothing that still comes is looked at, but for what `told` waits for. */
  isHeard: boolean;
  /** Resolves to whether the caller's caller has got the answer, where that matters. */
  told?: PromiseWithResolvers<boolean>;
  /** Aborted when the caller hangs up, as it does where it is killed. */
  readonly gone: AbortController;
}

const MSG_PEEK = 0x2;
const MSG_DONTWAIT = 0x40;
/** How long a closing server waits for callers that neither go on nor hang up. Milliseconds. */
const stragglers = 1000;
/** After so long without a call, what is not needed for waiting is let go. Milliseconds. */
const idleAfter = 10_000;

/**
 * Does the work of plugins' processes that are started in this network namespace, for as long as this process lives:
 * one engine that is warm instead of one start for each call. Each call is answered as the process would have: runPlugin
 * does both. Calls for one attachment go one after the other, as a runtime makes them, even where it gave one up; see
 * plugins/turns.ts.
 */
export function startServer(): Server {
  const path = socketPath(statSync("/proc/self/ns/net", { bigint: true }).ino);
  const own = identities.map(identityOf);
  keepSockets();
  makeFolder(dirname(path));
  const serving = new Serving(own);
  // Put in place of an older server's, or a dead one's, at once.
  const draft = `${path}.${process.pid}`;
  rmSync(draft, { force: true });
  const listener = listen(draft, serving);
  renameSync(draft, path);
  const made = identityOf(path);
  return {
    path,
    async close() {
      if (safeIdentity(path) === made) rmSync(path, { force: true });
      listener.stop();
      await serving.end();
    },
  };
}

/** The socket's folder. Whoever can change what is in it can put a socket of his own in place of this server's. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o755 });
  } catch (error) {
    throw new WeftError("plugin-server", `cannot make the folder of the plugins' server (${error})`, {
      remedy: "Start it as root",
      cause: error,
    });
  }
  const { uid, mode } = statSync(path);
  if (uid === process.geteuid?.() && (mode & 0o022) === 0) return;
  throw new InvalidInput("the folder of the plugins' server", path, "can be changed by other users", {
    remedy: "Make it this user's own, with mode 0755",
  });
}

/** Only the same user may have its work done: nobody else can connect, not even for a moment. */
function listen(path: string, serving: Serving): { stop(): void } {
  const before = process.umask(0o177);
  try {
    return Bun.listen<Connection>({
      unix: path,
      socket: {
        open: (socket) => {
          socket.data = { incoming: new Incoming(), isHeard: false, gone: new AbortController() };
        },
        data: (socket, bytes) => serving.take(socket, bytes),
        drain: flush,
        close: (socket) => serving.forget(socket),
        // What there is to do then, close does.
        error: () => {},
      },
    });
  } finally {
    process.umask(before);
  }
}

function identityOf(path: string): string {
  const { dev, ino } = statSync(path, { bigint: true });
  return `${dev}.${ino}`;
}

function safeIdentity(path: string): string | undefined {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found === undefined ? undefined : `${found.dev}.${found.ino}`;
}

/** All connections of one server. */
class Serving {
  readonly #own: readonly string[];
  readonly #calls = new Calls(() => this.#rest());
  readonly #turns = new Turns();
  readonly #deletions = new Deletions();
  /** Those that are accepted. */
  readonly #open = new Set<Socket<Connection>>();
  #idle: Timer | undefined;
  #isEnding = false;

  /** `own`: the identities of this process. */
  constructor(own: readonly string[]) {
    this.#own = own;
    this.#rest();
  }

  take(socket: Socket<Connection>, bytes: Uint8Array): void {
    socket.data.told?.resolve(bytes[0] === 0);
    if (socket.data.isHeard) return;
    try {
      this.#take(socket, bytes);
    } catch {
      socket.data.isHeard = true;
      socket.end();
    }
  }

  #take(socket: Socket<Connection>, bytes: Uint8Array): void {
    const connection = socket.data;
    const { incoming } = connection;
    incoming.add(bytes);
    if (connection.call === undefined) {
      const caller = incoming.takeCaller();
      if (caller === undefined) return;
      const name = this.#isEnding ? undefined : nameIfServed(caller, this.#own);
      if (name === undefined) {
        connection.isHeard = true;
        socket.end(Uint8Array.of(0));
        return;
      }
      connection.call = { caller, name, input: new Input() };
      this.#open.add(socket);
      socket.write(Uint8Array.of(accepted));
    }
    const { input } = connection.call;
    for (let piece = incoming.takePiece(); piece !== undefined; piece = incoming.takePiece()) {
      input.add(piece);
      if (piece.length > 0 && !input.isTooLong) continue;
      connection.isHeard = true;
      clearTimeout(this.#idle);
      const attachment = attachmentIn(connection.call.caller.env);
      this.#calls.add(attachment, () => this.#answer(socket, attachment));
      return;
    }
  }

  /** A caller that was killed before its turn came has done nothing, here too. */
  async #answer(socket: Socket<Connection>, attachment: string | undefined): Promise<void> {
    const { signal } = socket.data.gone;
    try {
      if (attachment !== undefined && !(await this.#turns.take(attachment, signal))) return;
      try {
        if (!hasHungUp(socket)) await this.#runAndTell(socket);
      } finally {
        if (attachment !== undefined) this.#turns.leave(attachment);
      }
    } catch (error) {
      console.error(error);
      socket.terminate();
    }
  }

  /** An ADD of which nobody learns is taken back. */
  async #runAndTell(socket: Socket<Connection>): Promise<void> {
    const { call, gone } = socket.data;
    const { name, caller, input } = call as NonNullable<typeof call>;
    const plugin = await loadPlugin(name);
    const run = async (more: Record<string, string>, signal?: AbortSignal) => {
      let [stdout, stderr] = ["", ""];
      const status = await runPlugin(plugin, {
        env: { ...caller.env, [servedVariable]: "1", ...more },
        readStdin: () => input.text(),
        writeStdout: (text) => {
          stdout += text;
        },
        writeStderr: (text) => {
          stderr += text;
        },
        isOwnNetns,
        builtin: ownBuiltin,
        deleteLink: (link) => this.#deletions.delete(link),
        ...(signal === undefined ? {} : { signal }),
      });
      return { status, stdout, stderr };
    };
    const { status, stdout, stderr } = await run({}, gone.signal);
    const isAdded = status === 0 && caller.env.CNI_COMMAND === "ADD";
    if (isAdded) socket.data.told = Promise.withResolvers();
    if (gone.signal.aborted) socket.data.told?.resolve(false);
    socket.data.rest = answer(status, stdout, stderr);
    flush(socket);
    if (isAdded && !(await socket.data.told?.promise)) await run({ CNI_COMMAND: "DEL" });
  }

  forget(socket: Socket<Connection>): void {
    socket.data.gone.abort();
    socket.data.told?.resolve(false);
    this.#open.delete(socket);
  }

  #rest(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      Bun.gc(true);
      releaseCode();
    }, idleAfter).unref();
  }

  /** Resolves when all who were accepted are answered, or do not say what they want. */
  async end(): Promise<void> {
    this.#isEnding = true;
    do await this.#calls.ended();
    while (
      (await waitFor(stragglers, () => this.#open.size === 0 || !this.#calls.isIdle)) &&
      this.#open.size > 0
    );
  }
}

/** The plugin to run, or undefined where only the caller's own process can. */
function nameIfServed({ argv, env, identities }: Caller, own: readonly string[]): PluginName | undefined {
  const name = (argv[0] ?? "").split("/").at(-1) ?? "";
  if (!isPluginName(name) || !identities.every((identity, i) => identity === own[i])) return undefined;
  const { CNI_COMMAND = "", CNI_NETNS = "", CNI_PATH = "" } = env;
  if ([CNI_NETNS, ...CNI_PATH.split(":")].some(isOfProcess)) return undefined;
  // What needs no standard input; what a call under way waits for.
  const isNot = CNI_COMMAND === "" || CNI_COMMAND === "VERSION" || env[servedVariable] !== undefined;
  return isNot ? undefined : name;
}

/** True for paths that lead elsewhere in another process. */
function isOfProcess(path: string): boolean {
  if (path === "") return false;
  return !path.startsWith("/") || /^\/(proc\/(thread-)?self|dev\/(fd|std\w+))(\/|$)/.test(normalize(path));
}

function answer(status: number, stdout: string, stderr: string): Uint8Array {
  const [out, error] = [Buffer.from(stdout), Buffer.from(stderr)];
  const header = Buffer.alloc(answerHeaderSize);
  for (const [i, number] of [status, out.length, error.length].entries())
    header.writeBigUInt64LE(BigInt(number), i * 8);
  return Buffer.concat([header, out, error]);
}

/** Asks the kernel: that the caller has gone can be known before it is told. */
function hasHungUp(socket: Socket<Connection>): boolean {
  // Bun has it, its types do not.
  const { fd } = socket as unknown as { fd: number };
  if (fd < 0) return true;
  try {
    return ffi.recv(fd, new Uint8Array(1), MSG_PEEK | MSG_DONTWAIT) === 0;
  } catch (error) {
    return !isErrno(error, "EAGAIN");
  }
}

/** Sends as much of the answer as goes; the rest when there is room again. */
function flush(socket: Socket<Connection>): void {
  const { rest } = socket.data;
  if (rest === undefined) return;
  const sent = Math.max(0, socket.write(rest));
  socket.data.rest = rest.subarray(sent);
  // Where the caller is to say something yet, it is the one who hangs up.
  if (sent === rest.length && socket.data.told === undefined) socket.end();
}
