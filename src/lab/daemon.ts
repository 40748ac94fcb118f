import { closeSync, cpSync, existsSync, mkdtempSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InvalidInput, WeftError } from "../lib/errors.ts";
import { selfCommand } from "../lib/self.ts";
import { claimFolder, removeFolder, sweepFolder } from "./folder.ts";
import { checkMachine } from "./machine.ts";
import type { LabOptions } from "./model.ts";
import { files, labDir, makeDir } from "./paths.ts";

/** What `lab.json` in the lab's folder says. */
export interface LabRecord {
  /** The process that keeps the lab on the host. */
  pid: number;
  /** Start of that process in clock ticks since boot: tells it from a later one with the same number. */
  started: string;
  apiPort: number;
}

/** How long the lab may take to end in order, in milliseconds. */
const patience = 8_000;

export type DaemonOptions = Omit<LabOptions, "hostApiPort" | "hostKubeconfig"> & {
  /** Port of 127.0.0.1 for the API server; 0 for any free one. */
  apiPort: number;
  /** The lab ends when standard input does: with whoever started it. */
  bound: boolean;
};

/** The running lab, if there is one; what a killed one left behind is removed. */
export function findLab(): LabRecord | undefined {
  const file = `${labDir()}/${files.state}`;
  let record: LabRecord;
  try {
    record = JSON.parse(readFileSync(file, "utf8")) as LabRecord;
  } catch {
    return undefined;
  }
  if (startOf(record.pid) === record.started) return record;
  sweepFolder(labDir());
  return undefined;
}

/** The 22nd field of /proc/PID/stat; undefined where there is no such process. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/**
 * The process behind `weft lab daemon`: stays on the host, carries the API server's port in, and holds the lab's own
 * namespaces: they end with it, however it ends.
 */
export async function runDaemon(options: DaemonOptions): Promise<number> {
  const dir = labDir();
  const server = await listen(options.apiPort, `${dir}/${files.apiSocket}`);
  const address = server.address();
  const apiPort = typeof address === "object" && address !== null ? address.port : 0;
  const record: LabRecord = { pid: process.pid, started: startOf(process.pid) ?? "", apiPort };
  writeFileSync(`${dir}/${files.state}`, JSON.stringify(record));
  const lab: LabOptions & { dir: string } = {
    ...options,
    hostApiPort: apiPort,
    hostKubeconfig: `${dir}/${files.kubeconfig}`,
    dir,
  };
  const log = openSync(`${dir}/${files.log}`, "a");
  const inside = Bun.spawn([...insideCommand(), JSON.stringify(lab)], {
    stdin: "ignore",
    stdout: log,
    stderr: log,
  });
  let asked = false;
  const stop = () => {
    asked = true;
    const down = fetch("http://lab/down", { method: "POST", unix: `${dir}/${files.control}` });
    down.catch(() => killInside(inside));
    setTimeout(() => killInside(inside), patience).unref();
  };
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, stop);
  if (options.bound) process.stdin.on("end", stop).on("error", stop).resume();
  const code = await inside.exited;
  server.close();
  // Whoever started a lab that ended by itself wants to know why: the logs stay for it.
  if (asked) removeFolder(dir);
  return asked ? 0 : code;
}

/** Namespaces of its own, in which process 1 dies with its parent, and everything with process 1. */
function insideCommand(): string[] {
  const user = process.getuid?.() === 0 ? [] : ["--user", "--map-root-user"];
  return [
    ...["setpriv", "--pdeathsig", "KILL"],
    ...["unshare", ...user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"],
    ...[...selfCommand(), "lab", "inside"],
  ];
}

/**
 * Kills process 1 of the lab, whose end the kernel holds back until all others are gone; unshare waits for it. Where it
 * cannot be told, unshare itself, with which it dies.
 */
function killInside(inside: Bun.Subprocess): void {
  try {
    const [first] = readFileSync(`/proc/${inside.pid}/task/${inside.pid}/children`, "utf8").split(" ");
    process.kill(Number(first || inside.pid), "SIGKILL");
  } catch {
    inside.kill("SIGKILL");
  }
}

/** Listens on the host's loopback and passes connections on to the lab's API socket. */
async function listen(port: number, socketPath: string): Promise<Server> {
  const server = createServer((client) => {
    const upstream: Socket = connect(socketPath);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const problem =
        error.code === "EADDRINUSE"
          ? "is in use by another process on 127.0.0.1"
          : `cannot be listened on: ${error.message}`;
      const remedy = "Choose another port, or 0 for any free one";
      reject(new InvalidInput("--api-port", port, problem, { remedy, cause: error }));
    });
    server.listen(port, "127.0.0.1", resolve);
  });
  return server;
}

/** Saves the logs of a lab that failed from its end; answers where. Undefined where there are none. */
export function keepLogs(): string | undefined {
  const logs = join(labDir(), files.logs);
  if (!existsSync(logs)) return undefined;
  const target = mkdtempSync(join(tmpdir(), "weft-lab-logs-"));
  cpSync(logs, target, { recursive: true });
  return target;
}

/** Removes what a lab that was killed left. */
export function sweepLab(): void {
  sweepFolder(labDir());
}

/** Starts a daemon in a session of its own. */
export function spawnDaemon(options: DaemonOptions): Bun.Subprocess {
  checkMachine();
  const dir = labDir();
  const claim = claimFolder(dir);
  makeDir(`${dir}/${files.logs}`);
  const log = openSync(`${dir}/${files.log}`, "a");
  try {
    return Bun.spawn([...selfCommand(), "lab", "daemon", JSON.stringify(options)], {
      // The daemon keeps the folder's lock open for its life.
      stdio: [options.bound ? "pipe" : "ignore", log, log, claim],
      detached: true,
    });
  } finally {
    closeSync(log);
    closeSync(claim);
  }
}

/** Resolves when the control socket is there; throws what the daemon said where it ended before. */
export async function waitForControl(daemon: Bun.Subprocess): Promise<string> {
  const dir = labDir();
  const socket = `${dir}/${files.control}`;
  for (;;) {
    if (existsSync(socket)) return socket;
    const code = await Promise.race([daemon.exited, Bun.sleep(10)]);
    if (typeof code !== "number") continue;
    const log = readFileSync(`${dir}/${files.log}`, "utf8").trim().split("\n");
    removeFolder(dir);
    throw new WeftError("lab-daemon", log.at(-1) ?? `the lab ended with ${code} before it was up`);
  }
}

/** Asks the lab's keeper to end it; insists where it does not within ten seconds. Resolves when it is gone. */
export async function endLab(record: LabRecord): Promise<void> {
  process.kill(record.pid, "SIGTERM");
  const insist = performance.now() + 10_000;
  let insisted = false;
  while (startOf(record.pid) === record.started) {
    if (!insisted && performance.now() > insist) {
      insisted = true;
      process.kill(record.pid, "SIGKILL");
    }
    await Bun.sleep(10);
  }
  sweepFolder(labDir());
}
