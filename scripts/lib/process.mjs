// Starting other programs, and ending with them.
import { spawn, spawnSync } from "node:child_process";
import { accessSync, closeSync, constants, mkdirSync, openSync } from "node:fs";
import { constants as osConstants } from "node:os";
import { delimiter, dirname, join } from "node:path";

/** A step of set-up that cannot go on; its message is all that the user needs to see. */
export class SetupError extends Error {}

/** @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();
/** @type {Set<() => void>} */
const lastWords = new Set();

/**
 * Called when a signal ends this process, before it ends.
 * @param {() => void} action
 */
export function beforeSignalDeath(action) {
  lastWords.add(action);
}

/**
 * Passes a signal on to what we started, and then dies of it ourselves, so that whoever waits for us sees the
 * signal and not an exit status.
 * @param {NodeJS.Signals} signal
 */
function dieOf(signal) {
  for (const action of lastWords) action();
  for (const child of running) kill(child, "SIGTERM");
  for (const name of deadly) process.removeAllListeners(name);
  process.kill(process.pid, signal);
}

/** @type {readonly NodeJS.Signals[]} */
const deadly = ["SIGINT", "SIGTERM", "SIGHUP"];

/**
 * Ends this process, and all that it started, on SIGINT, SIGTERM and SIGHUP. Under npm also when the shell
 * between npm and us is gone: npm passes a signal to its shell only, and the shell does not pass it on.
 */
export function endTogether() {
  for (const signal of deadly) process.on(signal, dieOf);
  const parent = process.ppid;
  if (process.env.npm_lifecycle_event === undefined) return;
  setInterval(() => {
    if (process.ppid !== parent) dieOf("SIGTERM");
  }, 200).unref();
}

/**
 * @param {import("node:child_process").ChildProcess} child
 * @param {NodeJS.Signals} signal
 */
function kill(child, signal) {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    child.kill(signal);
  }
}

/**
 * Runs a command in a process group of its own, without input.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {object} [options]
 * @param {string} [options.cwd]
 * @param {NodeJS.ProcessEnv} [options.env]
 * @param {number} [options.seconds] after which its process group is killed
 * @param {(text: string) => void} [options.output] gets what it prints, both streams
 * @returns {Promise<{ status: number, output: string, late: boolean }>} status is 128 + N for signal N, 127 for
 *   a command that could not be started; late says that its time ran out
 */
export function run(command, args, { cwd, env, seconds, output: listener } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      ...(cwd === undefined ? {} : { cwd }),
      env: env ?? process.env,
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    running.add(child);
    let output = "";
    let late = false;
    const timer =
      seconds === undefined
        ? undefined
        : setTimeout(() => {
            late = true;
            kill(child, "SIGKILL");
          }, seconds * 1000);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (/** @type {string} */ text) => {
        output += text;
        listener?.(text);
      });
    }
    /** @param {number} status */
    const end = (status) => {
      clearTimeout(timer);
      running.delete(child);
      resolve({ status, output, late });
    };
    child.on("error", (error) => {
      output += error.message;
      end(127);
    });
    child.on("exit", () => {
      // Something that it left running may hold the pipes open for ever.
      setTimeout(() => {
        child.stdout.destroy();
        child.stderr.destroy();
      }, 2000).unref();
    });
    child.on("close", (code, signal) =>
      end(code ?? 128 + (signal === null ? 0 : osConstants.signals[signal])),
    );
  });
}

/**
 * The path of a program on the PATH (or, as root's tools are often not on it, in the sbin folders).
 * @param {string} name
 */
export function which(name) {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin", "/usr/bin", "/bin"];
  for (const folder of folders) {
    if (folder === "") continue;
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not in this one
    }
  }
  return undefined;
}

/**
 * Takes a lock that the kernel gives back when this process ends, however it ends: flock(1) locks the open
 * file that we lend it, and the lock stays with the file after flock is gone.
 * @param {string} path
 * @param {() => void} waiting called once when somebody else has it
 * @returns {Promise<() => void>} gives it back
 */
export async function lock(path, waiting) {
  mkdirSync(dirname(path), { recursive: true });
  const fd = openSync(path, "a");
  /** @type {import("node:child_process").StdioOptions} */
  const stdio = ["ignore", "ignore", "inherit", fd];
  const quick = spawnSync("flock", ["--nonblock", "3"], { stdio });
  if (quick.error !== undefined)
    throw new SetupError(`cannot run flock(1), of util-linux: ${quick.error.message}`);
  if (quick.status !== 0) {
    waiting();
    await new Promise((resolve, reject) => {
      const child = spawn("flock", ["3"], { stdio });
      running.add(child);
      child.on("close", (status) => {
        running.delete(child);
        if (status === 0) resolve(undefined);
        else reject(new SetupError(`cannot lock "${path}"`));
      });
      child.on("error", reject);
    });
  }
  return () => closeSync(fd);
}
