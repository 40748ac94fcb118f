import { closeSync, fstatSync, openSync, readdirSync, rmdirSync, rmSync, statSync } from "node:fs";
import { InvalidInput, WeftError } from "../lib/errors.ts";
import { isErrno } from "../linux/errors.ts";
import * as ffi from "../linux/ffi.ts";
import { files, makeDir } from "./paths.ts";

const LOCK_EX = 2;
const LOCK_NB = 4;

/** All that a lab puts in its folder. */
const own: ReadonlySet<string> = new Set(Object.values(files).map((name) => name.split("/")[0] ?? name));

/** A Unix socket's path has 108 bytes with its final zero (unix(7)). */
const longest = 107 - "/".length - Math.max(...Object.values(files).map((name) => name.length));

/** The environment variable that names the folder. */
const variable = "$WEFT_LAB_DIR";

/**
 * Takes a folder for a new lab: makes it, or takes an empty one, or one that a killed lab left. Answers the descriptor
 * of its lock: it is the lab's until all who have the descriptor have ended.
 * @throws InvalidInput for a folder that cannot be a lab's, WeftError where a lab has it already
 */
export function claimFolder(dir: string): number {
  if (Buffer.byteLength(dir) > longest) {
    throw new InvalidInput(
      variable,
      dir,
      `is too long for the sockets in it: ${Buffer.byteLength(dir)} bytes`,
      {
        remedy: `Name a folder of at most ${longest} bytes`,
      },
    );
  }
  for (;;) {
    makeDir(dir);
    checkFolder(dir);
    const fd = openLock(dir, "w");
    if (fd === undefined) continue;
    if (!lock(fd)) {
      closeSync(fd);
      throw new WeftError("lab-up", `another lab is in ${dir}`, {
        remedy: `End it (weft lab down), or name another folder in ${variable}`,
      });
    }
    if (isSame(fd, `${dir}/${files.lock}`)) {
      clear(dir, files.lock);
      return fd;
    }
    // The lab before has just taken its folder away, with the file that is locked now.
    closeSync(fd);
  }
}

/** Removes what a lab put there, and the folder where nothing else is in it. */
export function removeFolder(dir: string): void {
  clear(dir);
  try {
    rmdirSync(dir);
  } catch (error) {
    if (!["ENOENT", "ENOTEMPTY"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}

/** Removes what a killed lab left, unless a lab is there. */
export function sweepFolder(dir: string): void {
  const fd = openLock(dir, "r");
  if (fd === undefined) return;
  if (lock(fd)) removeFolder(dir);
  closeSync(fd);
}

function clear(dir: string, except?: string): void {
  for (const name of own) {
    if (name !== except) rmSync(`${dir}/${name}`, { recursive: true, force: true });
  }
}

/** A folder with somebody's files would be emptied at the end; one that others may write to could be anybody's. */
function checkFolder(dir: string): void {
  const { uid, mode } = statSync(dir);
  const user = process.getuid?.();
  const foreign = readdirSync(dir).find((name) => !own.has(name));
  const problem =
    foreign !== undefined
      ? `holds what is no lab's, such as "${foreign}"`
      : uid !== user && user !== 0
        ? `belongs to user ${uid}, not to ${user}`
        : (mode & 0o022) !== 0
          ? "can be written to by other users"
          : undefined;
  if (problem === undefined) return;
  throw new InvalidInput(variable, dir, problem, {
    remedy: "Name a new folder, or an empty one of your own",
  });
}

/** Undefined where there is no such folder or file, such as when it is just being removed. */
function openLock(dir: string, flags: "r" | "w"): number | undefined {
  try {
    return openSync(`${dir}/${files.lock}`, flags, 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** False where somebody else has it. */
function lock(fd: number): boolean {
  try {
    ffi.flock(fd, LOCK_EX | LOCK_NB);
    return true;
  } catch (error) {
    if (isErrno(error, "EAGAIN")) return false;
    throw error;
  }
}

function isSame(fd: number, path: string): boolean {
  try {
    const [held, there] = [fstatSync(fd), statSync(path)];
    return held.ino === there.ino && held.dev === there.dev;
  } catch {
    return false;
  }
}
