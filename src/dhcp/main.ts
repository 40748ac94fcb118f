import { lstatSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { dirname } from "node:path";
import { explain, InvalidInput, WeftError } from "../lib/errors.ts";
import { createLog } from "../lib/log.ts";
import { isErrno } from "../linux/errors.ts";
import * as ffi from "../linux/ffi.ts";
import { openLock } from "../linux/lean/files.ts";
import { bootClock, bootId } from "./boot-clock.ts";
import { DhcpDaemon } from "./daemon.ts";
import { type DaemonOptions, optionsOf, parseGoFlags } from "./flags.ts";
import { type Listening, serve } from "./server.ts";
import { LeaseStore } from "./store.ts";

/** sun_path of 108 bytes has a zero at its end. */
const longestPath = 107;
const LOCK_EX_NB = 2 | 4;
/** sd_listen_fds(3). */
const firstListenFd = 3;

/**
 * Runs the daemon until `signal` aborts. Leases stay with the containers; the next daemon on the same socket takes them up
 * again. Throws where another one is there.
 */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const { hostPrefix, pidFile, log, signal, env } = options;
  const path = `${hostPrefix}${options.socketPath}`;
  const inherited = inheritedSocket(env);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const state = `${path.replace(/\.sock$/, "")}.leases`;
  const store = new LeaseStore(state, bootId());
  const lock = takeLock(`${state}/lock`);
  try {
    const listening: Listening = inherited === undefined ? await freePath(path) : { fd: inherited };
    const daemon = new DhcpDaemon(options, { clock: bootClock, random: Math.random, log, store });
    // Whoever can connect can ask for leases in any namespace.
    const umask = process.umask(0o077);
    const server = await serve(daemon, listening, log).finally(() => process.umask(umask));
    if (pidFile !== "") writeFileSync(pidFile, String(process.pid), { mode: 0o644 });
    daemon.start();
    log.info("answering", { socket: path, leases: state });
    if (!signal.aborted)
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    server.close();
    daemon.stop();
    // Whoever handed the socket over goes on listening.
    if (inherited === undefined) rmSync(path, { force: true });
    if (pidFile !== "") rmSync(pidFile, { force: true });
    log.info("ends; leases stay");
  } finally {
    ffi.close(lock);
  }
}

/** The descriptor that systemd handed over (socket activation); undefined where it did not. */
function inheritedSocket(env: DaemonOptions["env"]): number | undefined {
  const count = Number(env.LISTEN_FDS ?? 0);
  if (env.LISTEN_PID !== String(process.pid) || count === 0) return undefined;
  if (count === 1) return firstListenFd;
  throw new InvalidInput(
    "LISTEN_FDS",
    env.LISTEN_FDS,
    "is more than the one socket that the daemon listens on",
    {
      remedy: "Give its .socket unit a single ListenStream",
    },
  );
}

function takeLock(path: string): number {
  const fd = openLock(path, 0o600);
  try {
    ffi.flock(fd, LOCK_EX_NB);
    return fd;
  } catch (error) {
    ffi.close(fd);
    if (!isErrno(error, "EAGAIN")) throw error;
    throw inUse(path);
  }
}

/** Makes way for a socket: removes one on which nobody listens any more. */
async function freePath(path: string): Promise<Listening> {
  if (Buffer.byteLength(path) > longestPath) {
    throw new InvalidInput("--socketpath", path, `is longer than ${longestPath} bytes`);
  }
  if (await isAnswered(path)) throw inUse(path);
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there?.isSocket() === false) {
    throw new InvalidInput("--socketpath", path, "is there already, and is no socket", {
      remedy: "Remove it, or give another path",
    });
  }
  rmSync(path, { force: true });
  return { path };
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

function inUse(path: string): WeftError {
  return new WeftError("dhcp-daemon-runs", `another DHCP daemon runs: it uses ${path}`, {
    remedy: "Stop it, or give this one another --socketpath",
  });
}

/** Runs the daemon until this process is told to end. */
export async function runUntilTerminated(options: Omit<DaemonOptions, "signal" | "env">): Promise<void> {
  const abort = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => abort.abort());
  // Whoever reads the log may go away; the leases are not to go with them.
  process.stderr.on("error", () => {});
  await runDaemon({ ...options, signal: abort.signal, env: process.env });
}

/** The daemon as the reference's plugin starts it: `dhcp daemon`, with Go's flags. Resolves to the exit status. */
export async function goDaemon(args: readonly string[]): Promise<number> {
  try {
    await runUntilTerminated({ ...optionsOf(parseGoFlags(args)), log: createLog() });
    return 0;
  } catch (error) {
    console.error(explain(error));
    return error instanceof InvalidInput ? 2 : 1;
  }
}
