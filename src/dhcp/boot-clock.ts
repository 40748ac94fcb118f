import { readFileSync } from "node:fs";
import { type Clock, systemClock } from "../lib/clock.ts";

/**
 * Time since the machine was started, in milliseconds: the same for all processes of a boot, and set by nobody. By the time of
 * day, a clock that is put right would end leases that have hours to go, or keep some that are long over.
 */
export const bootClock: Clock = (() => {
  const [uptime = ""] = readFileSync("/proc/uptime", "utf8").split(" ");
  const started = Number(uptime) * 1000 - performance.now();
  return { now: () => started + performance.now(), after: systemClock.after };
})();

/** What this boot is called; times of another one mean nothing. */
export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}
