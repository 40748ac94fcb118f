import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { quote } from "../lib/errors.ts";
import { isErrno } from "../linux/errors.ts";
import { close } from "../linux/ffi.ts";
import { type LockMode, lockName, openLocks, unlockName } from "../linux/lean/locks.ts";
import { CniError, cniErrorCode } from "./errors.ts";

/**
 * The specification's "Lifecycle & Ordering": one operation at a time for each container, and none on a network while
 * its garbage is collected. Within this runtime operations keep the order in which they were asked for; from other
 * runtimes with the same cache folder, in whatever process, locks on a file there keep them apart.
 */
export class RuntimeTurns {
  readonly #dir: string;
  readonly #timeout: number;
  readonly #signal: AbortSignal | undefined;
  readonly #queues = new Map<string, Promise<unknown>>();
  readonly #unfinished = new Map<string, Promise<void>>();

  /** `timeout`: milliseconds to wait for others, then it is an error of code 11; as it is where `signal` is aborted. */
  constructor(dir: string, timeout: number, signal?: AbortSignal) {
    this.#dir = dir;
    this.#timeout = timeout;
    this.#signal = signal;
  }

  /** Runs `action` when nobody else works on the container and nobody collects the network's garbage. */
  async attachment<T>(network: string, containerId: string, action: () => Promise<T>): Promise<T> {
    const before = this.#queues.get(containerId) ?? Promise.resolve();
    const run = () =>
      this.#locked(containerId, action, async (lock) => {
        await lock(`gate/${network}`, "shared");
        await lock(`network/${network}`, "shared");
        lock.release(`gate/${network}`);
        await lock(`container/${containerId}`, "exclusive");
      });
    const mine = before.then(run, run);
    this.#queues.set(containerId, mine);
    try {
      return await mine;
    } finally {
      if (this.#queues.get(containerId) === mine) this.#queues.delete(containerId);
    }
  }

  /** Runs `action` when nobody works on the network. Who asks for it meanwhile waits behind. */
  async collection<T>(network: string, action: () => Promise<T>): Promise<T> {
    return await this.#locked("", action, async (lock) => {
      await lock(`gate/${network}`, "exclusive");
      await lock(`network/${network}`, "exclusive");
    });
  }

  /** Within a {@link collection}: one container's turn, which those who wait for the collection do not have. */
  async stale<T>(containerId: string, action: () => Promise<T>): Promise<T> {
    return await this.#locked(containerId, action, (lock) => lock(`container/${containerId}`, "exclusive"));
  }

  /** Keeps the container's turn, which the caller has, until `work` is done, though the caller's action ends before. */
  keepUntil(containerId: string, work: Promise<unknown>): void {
    const done = Promise.allSettled([this.#unfinished.get(containerId), work]).then(() => {});
    this.#unfinished.set(containerId, done);
    done.then(() => {
      if (this.#unfinished.get(containerId) === done) this.#unfinished.delete(containerId);
    });
  }

  async #locked<T>(
    containerId: string,
    action: () => Promise<T>,
    take: (lock: Lock) => Promise<void>,
  ): Promise<T> {
    const unfinished = this.#unfinished.get(containerId);
    if (unfinished !== undefined && !(await settles(unfinished, this.#timeout))) throw busy(containerId);
    const fd = this.#open();
    try {
      if (fd !== undefined) await take(lockOf(fd, containerId, this.#timeout, this.#signal));
      return await action();
    } finally {
      const rest = this.#unfinished.get(containerId);
      if (fd !== undefined) {
        if (rest === undefined) close(fd);
        else rest.then(() => close(fd));
      }
    }
  }

  /** Undefined where nothing can be kept in the folder: then there is nothing that others could work on. */
  #open(): number | undefined {
    try {
      mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
      return openLocks(join(this.#dir, "weft.lock"), true);
    } catch (error) {
      if (!isErrno(error, "ELOOP", "EMFILE", "ENFILE")) return undefined;
      throw new CniError(cniErrorCode.io, `cannot keep operations apart: ${(error as Error).message}`, {
        cause: error,
        remedy: `Check ${this.#dir}`,
      });
    }
  }
}

interface Lock {
  (name: string, mode: LockMode): Promise<void>;
  release(name: string): void;
}

function lockOf(fd: number, containerId: string, timeout: number, stop: AbortSignal | undefined): Lock {
  const patience = AbortSignal.timeout(timeout);
  const signal = stop === undefined ? patience : AbortSignal.any([patience, stop]);
  const take = async (name: string, mode: LockMode) => {
    if (await lockName(fd, name, mode, signal)) return;
    throw stop?.aborted === true ? toldToStop() : busy(containerId, name);
  };
  return Object.assign(take, { release: (name: string) => unlockName(fd, name) });
}

function toldToStop(): CniError {
  return new CniError(
    cniErrorCode.tryAgainLater,
    "broken off while another operation went on: the runtime was told to stop",
  );
}

function busy(containerId: string, lock = `container/${containerId}`): CniError {
  const [kind, name] = lock.split("/") as [string, string];
  const [what, remedy] =
    kind === "container"
      ? [`container ${quote(name)}`, "Try again when it has ended"]
      : [`network ${quote(name)}`, "Try again when its garbage is collected, or those attachments are made"];
  return new CniError(cniErrorCode.tryAgainLater, `another operation on ${what} goes on and on`, { remedy });
}

/** True where the promise is settled within so many milliseconds. */
export async function settles(work: Promise<unknown>, milliseconds: number): Promise<boolean> {
  let timer: Timer | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, milliseconds, false);
  });
  const done = work.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([done, late]);
  } finally {
    clearTimeout(timer);
  }
}
