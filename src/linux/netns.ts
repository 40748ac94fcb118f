import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { InvalidInput } from "../lib/errors.ts";
import { KernelError } from "./errors.ts";
import * as ffi from "./ffi.ts";

const CLONE_NEWNET = 0x40000000;
const MS_BIND = 0x1000;
const MS_SHARED = 1 << 20;
const MS_REC = 0x4000;
const MNT_DETACH = 2;
const O_RDONLY = 0;
/** Where named namespaces live; the same place as `ip netns`. */
export const netnsDir = "/run/netns";

/**
 * A network namespace: by the path of its file, by name under /run/netns, by the pid of a process in it, or by a
 * descriptor of this process that is open on it.
 */
export type NetnsRef = { path: string } | { name: string } | { pid: number } | { fd: number };

/** The file to open for a namespace. */
export function netnsPath(ref: NetnsRef): string {
  if ("path" in ref) return ref.path;
  if ("pid" in ref) return `/proc/${ref.pid}/ns/net`;
  if ("fd" in ref) return `/proc/self/fd/${ref.fd}`;
  return `${netnsDir}/${checkName(ref.name)}`;
}

/**
 * Runs `action` with the calling thread inside another network namespace, then returns to where it was. For opening
 * sockets, writing sysctls and starting children: what they touch stays in that namespace. `action` must not await;
 * a returned promise is refused, since everything else in this process would run in the wrong namespace meanwhile.
 */
export function inNetns<T>(ref: NetnsRef | undefined, action: () => T): T {
  if (ref === undefined) return action();
  const path = netnsPath(ref);
  const home = ffi.open("/proc/thread-self/ns/net", O_RDONLY);
  try {
    const target = ffi.open(path, O_RDONLY);
    try {
      ffi.setns(target, CLONE_NEWNET);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      throw new KernelError("enter network namespace", path, error.errno, { cause: error });
    } finally {
      ffi.close(target);
    }
    try {
      const result = action();
      if (result instanceof Promise) throw new TypeError("inNetns: the action must be synchronous");
      return result;
    } finally {
      ffi.setns(home, CLONE_NEWNET);
    }
  } finally {
    ffi.close(home);
  }
}

/**
 * Makes a network namespace and binds it to /run/netns/NAME, as `ip netns add` does: visible to `ip netns`, alive
 * until it is deleted. Throws EEXIST where the name is taken.
 */
export function createNetns(name: string): void {
  const path = netnsPath({ name });
  shareNetnsDir();
  try {
    writeFileSync(path, "", { flag: "wx", mode: 0o444 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    throw new KernelError("create network namespace", name, 17, {
      remedy: "Delete it or choose another name",
    });
  }
  try {
    bindNewNetns(path);
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
}

/** Makes a network namespace and bind-mounts it on an existing file. */
export function bindNewNetns(path: string): void {
  const home = ffi.open("/proc/thread-self/ns/net", O_RDONLY);
  try {
    ffi.unshare(CLONE_NEWNET);
    try {
      ffi.mount("/proc/thread-self/ns/net", path, "none", MS_BIND);
    } finally {
      ffi.setns(home, CLONE_NEWNET);
    }
  } finally {
    ffi.close(home);
  }
}

/**
 * Runs `action` with a new network namespace that has no name and is gone afterwards, also when the process is killed
 * meanwhile. The action stays where it was; it enters by the reference, and must not await.
 */
export function withNewNetns<T>(action: (netns: NetnsRef) => T): T {
  const home = ffi.open("/proc/thread-self/ns/net", O_RDONLY);
  try {
    ffi.unshare(CLONE_NEWNET);
    let fd: number;
    try {
      fd = ffi.open("/proc/thread-self/ns/net", O_RDONLY);
    } finally {
      ffi.setns(home, CLONE_NEWNET);
    }
    try {
      return action({ fd });
    } finally {
      ffi.close(fd);
    }
  } finally {
    ffi.close(home);
  }
}

/** Unbinds and removes /run/netns/NAME; the namespace goes with its last process or socket. Nothing to do is fine. */
export function deleteNetns(name: string): void {
  const path = netnsPath({ name });
  try {
    ffi.umount(path, MNT_DETACH);
  } catch (error) {
    // EINVAL: a plain file, left by a creation that died half-way. ENOENT: nothing there.
    if (!(error instanceof KernelError) || !["EINVAL", "ENOENT"].includes(error.errnoName)) throw error;
  }
  rmSync(path, { force: true });
}

/** The names under /run/netns, sorted. */
export function listNetns(): string[] {
  try {
    return readdirSync(netnsDir).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** Identifies a namespace whatever it is called: two references with equal identities are the same one. */
export function netnsIdentity(ref: NetnsRef): string {
  const { dev, ino } = statSync(netnsPath(ref), { bigint: true });
  return `${dev}:${ino}`;
}

// As `ip netns` does it: a shared mount, so that an unbind is seen by every mount namespace that saw the bind.
function shareNetnsDir(): void {
  mkdirSync(netnsDir, { recursive: true, mode: 0o755 });
  try {
    ffi.mount("", netnsDir, "none", MS_SHARED | MS_REC);
  } catch (error) {
    if (!(error instanceof KernelError) || error.errnoName !== "EINVAL") throw error;
    ffi.mount(netnsDir, netnsDir, "none", MS_BIND | MS_REC);
    ffi.mount("", netnsDir, "none", MS_SHARED | MS_REC);
  }
}

function checkName(name: string): string {
  if (name === "" || name === "." || name === ".." || /[/\0]/.test(name) || Buffer.byteLength(name) > 255) {
    throw new InvalidInput("network namespace", name, "is not a file name", {
      remedy: "Use letters, digits, dots and dashes",
    });
  }
  return name;
}
