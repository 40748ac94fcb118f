// What a test left because it died: temporary folders, which are called weft-t-WHAT-XXXXXX, and network namespaces, which
// are called weft-t-WHAT-PID-N, weft-t-WHAT-PID-N-WORD or weft-t-PID-WHAT.
import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = "/run/netns";

/** No test takes so long. Milliseconds. */
const old = 2 * 3600 * 1000;

/** How long nothing has changed there. @param {string} path */
function ageOf(path) {
  const now = Date.now();
  return now - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? now);
}

/** @param {string} name */
function isOrphan(name) {
  if (!name.startsWith("weft-t-")) return false;
  const pid = /^weft-t-(\d+)-/.exec(name)?.[1] ?? /-(\d+)-\d+(?:-[a-z][-\w]*)?$/.exec(name)?.[1];
  if (pid !== undefined) return !existsSync(`/proc/${pid}`);
  return ageOf(join(folder, name)) > old;
}

/**
 * Ends what runs in the namespaces of tests that are gone, and removes the namespaces.
 * @returns {string[]} their names
 */
export function removeLeftovers() {
  const orphans = existsSync(folder) ? readdirSync(folder).filter(isOrphan) : [];
  for (const name of orphans) {
    const pids = spawnSync("ip", ["netns", "pids", name], { encoding: "utf8" }).stdout ?? "";
    for (const pid of pids.split("\n").filter(Boolean)) {
      try {
        process.kill(Number(pid), "SIGKILL");
      } catch {
        // it ended by itself
      }
    }
    spawnSync("ip", ["netns", "delete", name], { stdio: "ignore" });
  }
  return orphans;
}

/** Removes this user's temporary folders that tests left when they died. */
export function removeOldFolders() {
  for (const name of readdirSync(tmpdir()).filter((each) => each.startsWith("weft-t-"))) {
    const path = join(tmpdir(), name);
    const isOwn = lstatSync(path, { throwIfNoEntry: false })?.uid === process.getuid?.();
    if (isOwn && ageOf(path) > old) rmSync(path, { recursive: true, force: true });
  }
}
