import { closeSync, mkdirSync, openSync, realpathSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { systemClock } from "../lib/clock.ts";
import { createLog, type Log } from "../lib/log.ts";
import * as ffi from "../linux/ffi.ts";
import { startControl } from "./control.ts";
import { Lab } from "./lab.ts";
import type { LabOptions } from "./model.ts";
import { outsideAddresses } from "./outside.ts";
import { makeDir, resolvConf, sharedDir } from "./paths.ts";

const MS_BIND = 0x1000;

/**
 * The process behind `weft lab inside`: process 1 of the lab's own namespaces (pid, mount, network, and user where the
 * caller is not root). When it ends, the kernel takes everything with it.
 */
export async function runInside(options: LabOptions & { dir: string }): Promise<void> {
  hideHost(options.dir);
  const log: Log = createLog();
  const lab = new Lab(options, systemClock, log);
  const stopped = Promise.withResolvers<void>();
  const control = startControl(lab, stopped.resolve);
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stopped.resolve());
  lab.start().catch((error) => lab.fail(error));
  await stopped.promise;
  await lab.stop();
  control.stop();
}

/** Puts a private /run in place of the host's, with only the lab's own folder of it. */
function hideHost(dir: string): void {
  const O_PATH = 0o10000000;
  const hostResolvConf = realpathSync(resolvConf);
  const shared = ffi.open(dir, O_PATH);
  ffi.mount("tmpfs", "/run", "tmpfs", 0, "mode=755");
  mkdirSync(sharedDir, { mode: 0o700 });
  ffi.mount(`/proc/self/fd/${shared}`, sharedDir, null, MS_BIND);
  ffi.close(shared);
  replaceResolvConf(hostResolvConf);
  // The host's links are not ours: /sys shows those of the namespace in which it is mounted.
  ffi.mount("sysfs", "/sys", "sysfs", 0);
  closeSync(openSync("/proc/self/ns/net", "r"));
}

/**
 * The machine's name servers cannot be reached from here: the nodes ask the host outside. `path` is where the machine's
 * file is after all symbolic links, often in the /run that is hidden now.
 */
function replaceResolvConf(path: string): void {
  const own = "/run/weft/resolv.conf";
  makeDir(dirname(own));
  writeFileSync(own, outsideAddresses.map((address) => `nameserver ${address}\n`).join(""));
  if (path.startsWith("/run/")) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, "");
  }
  ffi.mount(own, resolvConf, null, MS_BIND);
}
