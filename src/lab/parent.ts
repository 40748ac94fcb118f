import { InvalidInput } from "../lib/errors.ts";
import * as ffi from "../linux/ffi.ts";

const PR_SET_PDEATHSIG = 1;
const SIGTERM = 15;

/**
 * Lets this process get SIGTERM when its parent ends, however that ends: npm, when it is killed, has no time to pass the
 * signal on. `pid` tells a parent that ended before this was asked for from the one that then took its place.
 * @throws InvalidInput where the parent is another process
 */
export function endWithParent(pid: number): void {
  ffi.prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (process.ppid === pid) return;
  throw new InvalidInput("--with-parent", pid, "is not the process that started this one, or has ended", {
    remedy: "Leave it out: it is for npm start",
  });
}
