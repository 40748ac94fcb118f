import { chmodSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { Socket } from "bun";
import { runPlugin } from "../cni/skeleton.ts";
import { keepSockets } from "../linux/lean/socket.ts";
import { releaseCode } from "../linux/memory.ts";
import { isOwnNetns, ownBuiltin } from "../plugins/host.ts";
import { loadPlugin } from "../plugins/load.ts";
import { isPluginName, type PluginName } from "../plugins/names.ts";
import { type Caller, Incoming, Input } from "./call.ts";
import { PairDeletions } from "./deletions.ts";
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
  isDone: boolean;
}

/**
 * Does the work of plugins' processes that are started in this network namespace, for as long as this process lives:
 * one engine that is warm instead of one start for each call. Each call is answered as the process would have: runPlugin
 * does both. Calls for one container go one after the other, as a runtime makes them, even where it gave one up.
 */
export function startServer(): Server {
  const own = identities.map(identityOf);
  const path = socketPath(statSync("/proc/self/ns/net", { bigint: true }).ino);
  const calls = new Calls();
  keepSockets();
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  // Put in place of an older server's, or a dead one's, at once.
  const draft = `${path}.${process.pid}`;
  rmSync(draft, { force: true });
  const listener = Bun.listen<Connection>({
    unix: draft,
    socket: {
      open(socket) {
        socket.data = { incoming: new Incoming(), isDone: false };
      },
      data(socket, bytes) {
        try {
          take(socket, bytes, own, calls);
        } catch {
          socket.end();
        }
      },
      drain(socket) {
        flush(socket);
      },
    },
  });
  // Only root may have its work done by root.
  chmodSync(draft, 0o600);
  renameSync(draft, path);
  const made = identityOf(path);
  return {
    path,
    async close() {
      if (safeIdentity(path) === made) rmSync(path, { force: true });
      listener.stop();
      await calls.ended();
    },
  };
}

function identityOf(path: string): string {
  const { dev, ino } = statSync(path, { bigint: true });
  return `${dev}.${ino}`;
}

function safeIdentity(path: string): string | undefined {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found === undefined ? undefined : `${found.dev}.${found.ino}`;
}

function take(socket: Socket<Connection>, bytes: Uint8Array, own: readonly string[], calls: Calls): void {
  const connection = socket.data;
  if (connection.isDone) return;
  const { incoming } = connection;
  incoming.add(bytes);
  if (connection.call === undefined) {
    const caller = incoming.takeCaller();
    if (caller === undefined) return;
    const name = nameIfServed(caller, own);
    if (name === undefined) {
      connection.isDone = true;
      socket.end(Uint8Array.of(0));
      return;
    }
    connection.call = { caller, name, input: new Input() };
    socket.write(Uint8Array.of(accepted));
  }
  const { caller, name, input } = connection.call;
  for (let piece = incoming.takePiece(); piece !== undefined; piece = incoming.takePiece()) {
    if (piece.length > 0) {
      input.add(piece);
      continue;
    }
    connection.isDone = true;
    void calls.add(caller.env.CNI_CONTAINERID ?? "", async () => {
      connection.rest = await run(name, caller, input);
      flush(socket);
    });
    return;
  }
}

/** The plugin to run, or undefined where only the caller's own process can. */
function nameIfServed({ argv, env, identities }: Caller, own: readonly string[]): PluginName | undefined {
  const name = (argv[0] ?? "").split("/").at(-1) ?? "";
  if (!isPluginName(name) || !identities.every((identity, i) => identity === own[i])) return undefined;
  // Paths of another working directory, and what needs no standard input.
  const { CNI_COMMAND = "", CNI_NETNS = "", CNI_PATH = "" } = env;
  const isRelative = [CNI_NETNS, ...CNI_PATH.split(":")].some((path) => path !== "" && !path.startsWith("/"));
  return isRelative || CNI_COMMAND === "" || CNI_COMMAND === "VERSION" ? undefined : name;
}

const deletions = new PairDeletions();

async function run(name: PluginName, { env }: Caller, input: Input): Promise<Uint8Array> {
  let [stdout, stderr] = ["", ""];
  const status = await runPlugin(loadPlugin(name), {
    env,
    readStdin: () => input.text(),
    writeStdout: (text) => {
      stdout += text;
    },
    writeStderr: (text) => {
      stderr += text;
    },
    isOwnNetns,
    builtin: ownBuiltin,
    deletePair: (pair) => deletions.delete(pair),
  });
  return answer(status, stdout, stderr);
}

function answer(status: number, stdout: string, stderr: string): Uint8Array {
  const [out, error] = [Buffer.from(stdout), Buffer.from(stderr)];
  const header = Buffer.alloc(answerHeaderSize);
  for (const [i, number] of [status, out.length, error.length].entries())
    header.writeBigUInt64LE(BigInt(number), i * 8);
  return Buffer.concat([header, out, error]);
}

/** Sends as much of the answer as goes; the rest when there is room again. */
function flush(socket: Socket<Connection>): void {
  const { rest } = socket.data;
  if (rest === undefined) return;
  const sent = Math.max(0, socket.write(rest));
  socket.data.rest = rest.subarray(sent);
  if (sent === rest.length) socket.end();
}

/** After so long without a call, what is not needed for waiting is let go. Milliseconds. */
const idleAfter = 10_000;

/** The calls under way, those of one container in a row. */
class Calls {
  readonly #last = new Map<string, Promise<void>>();
  #idle: Timer | undefined;

  constructor() {
    this.#rest();
  }

  async add(container: string, call: () => Promise<void>): Promise<void> {
    const before = this.#last.get(container);
    const mine = before === undefined ? call() : before.then(call);
    this.#last.set(container, mine);
    await mine;
    if (this.#last.get(container) === mine) this.#last.delete(container);
    if (this.#last.size === 0) this.#rest();
  }

  #rest(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      Bun.gc(true);
      releaseCode();
    }, idleAfter).unref();
  }

  async ended(): Promise<void> {
    while (this.#last.size > 0) await Promise.all(this.#last.values());
  }
}
