import { fstatSync, readFileSync, statSync } from "node:fs";
import { WeftError } from "../lib/errors.ts";
import { isErrno } from "../linux/errors.ts";
import * as ffi from "../linux/ffi.ts";

const LOCK_EX = 2;
const LOCK_NB = 4;
const O_RDONLY = 0;

/**
 * Makes this process the only agent, or cleanup, of its network namespace until it ends: by a flock(2) on the namespace
 * itself, which is the same file in every mount namespace, and which no killed process leaves behind. Throws one error that
 * names the other process, where there is one.
 *
 * @param then what to do when the other one has been stopped, such as "then start this one"
 */
export function lockNetns(then: string): void {
  const fd = ffi.open("/proc/thread-self/ns/net", O_RDONLY);
  try {
    ffi.flock(fd, LOCK_EX | LOCK_NB);
  } catch (error) {
    const pid = holderOf(fd);
    ffi.close(fd);
    if (!isErrno(error, "EAGAIN")) throw error;
    // Whoever is in a namespace may lock it; only a process with the same rights can be an agent.
    if (pid !== undefined && ownerOf(pid) !== process.geteuid?.()) return;
    const who = pid === undefined ? "of another container" : `with process id ${pid}`;
    const how = pid === undefined ? "" : ` (kill ${pid}, or the service or DaemonSet that starts it)`;
    throw new WeftError(
      "agent-running",
      `a weft agent ${who} is at work in this network namespace: two would undo each other's work`,
      { remedy: `Stop it first${how}, ${then}` },
    );
  }
}

/** The process that has locked a file, from proc_locks(5); undefined where it is of another pid namespace. */
function holderOf(fd: number): number | undefined {
  // Namespaces are on an anonymous device.
  const place = new RegExp(`^00:[0-9a-f]+:${fstatSync(fd).ino}$`);
  for (const line of readFileSync("/proc/locks", "utf8").split("\n")) {
    const [, kind, , , pid, file = ""] = line.split(/\s+/);
    if (kind === "FLOCK" && place.test(file) && Number(pid) > 0) return Number(pid);
  }
  return undefined;
}

function ownerOf(pid: number): number | undefined {
  return statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid;
}
