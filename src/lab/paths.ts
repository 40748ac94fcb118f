import { mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { explain, WeftError } from "../lib/errors.ts";

/**
 * The folder on the host that a lab and its commands share: logs, kubeconfig and the control socket. It is all that a
 * lab has on the host, and goes with it.
 */
export function labDir(): string {
  const given = process.env.WEFT_LAB_DIR;
  if (given !== undefined && given !== "") return resolve(given);
  if (process.getuid?.() === 0) return "/run/weft-lab";
  const runtime = process.env.XDG_RUNTIME_DIR;
  return runtime !== undefined && runtime !== ""
    ? `${runtime}/weft-lab`
    : join(tmpdir(), `weft-lab-${process.getuid?.()}`);
}

/** Where the lab sees {@link labDir} from the inside, whatever it is called outside. */
export const sharedDir = "/run/weft-lab";

/** Where processes find their name servers: a lab's nodes and pods have others than the machine. */
export const resolvConf = "/etc/resolv.conf";

/** Names of what lies in the lab's folder. */
export const files = {
  kubeconfig: "kubeconfig",
  control: "control.sock",
  apiSocket: "api.sock",
  state: "lab.json",
  lock: "lab.lock",
  logs: "logs",
  log: "logs/lab.log",
} as const;

/** Where the inside keeps what belongs to one node: a tmpfs that nobody else sees. */
export function nodePaths(node: string) {
  const base = `/run/weft/nodes/${node}`;
  return {
    base,
    confDir: `${base}/net.d`,
    binDir: `${base}/bin`,
    cacheDir: `${base}/cache`,
    ipamDir: `${base}/networks`,
    podsDir: `${base}/pods`,
    kubeconfig: `${base}/kubeconfig`,
    kubeletSocket: `${base}/kubelet.sock`,
  };
}

/** Makes a folder and its parents, for the owner alone. */
export function makeDir(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new WeftError("lab-folder", `the folder "${path}" cannot be made: ${explain(error)}`, {
      remedy: "Name one that you may write to in $WEFT_LAB_DIR",
      cause: error,
    });
  }
}
