// Network namespaces that a test left because it died. Tests name theirs weft-t-WHAT-PID-N, weft-t-WHAT-PID-N-WORD
// or weft-t-PID-WHAT.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const folder = "/run/netns";

/** @param {string} name */
function isOrphan(name) {
  if (!name.startsWith("weft-t-")) return false;
  const pid = /^weft-t-(\d+)-/.exec(name)?.[1] ?? /-(\d+)-\d+(?:-[a-z][-\w]*)?$/.exec(name)?.[1];
  if (pid !== undefined) return !existsSync(`/proc/${pid}`);
  const age = Date.now() - (statSync(join(folder, name), { throwIfNoEntry: false })?.ctimeMs ?? Date.now());
  return age > 2 * 3600 * 1000;
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
