import { close } from "../linux/ffi.ts";
import { lockName, openLocks, unlockName } from "../linux/lean/locks.ts";
import { runDir } from "./names.ts";

/*
 * A server goes on with a call whose caller was killed. Whoever makes the next call for the attachment, another server or
 * a process of its own, waits for that: a DEL before the end of an ADD would leave what the ADD makes. So a server has
 * a lock for each call, which ends with the server.
 */

export const turnsPath = `${runDir}/cni.lock`;

/**
 * Set in the environment of what a server starts for a call. A plugin of ours that finds it does its work itself and at
 * once: the call for which it is needed waits for it.
 */
export const servedVariable = "WEFT_CNI_SERVED";

type Environment = Readonly<Record<string, string | undefined>>;

/** What a call is about, by its environment; undefined for GC and STATUS, which need no turn. */
export function attachmentIn({ CNI_CONTAINERID = "", CNI_IFNAME = "" }: Environment): string | undefined {
  return CNI_CONTAINERID === "" ? undefined : `${CNI_CONTAINERID}/${CNI_IFNAME}`;
}

/** The turns that a server takes. */
export class Turns {
  readonly #fd = openLocks(turnsPath, true);

  /** Waits for the turn. False where the signal came first. */
  async take(attachment: string, signal: AbortSignal): Promise<boolean> {
    return await lockName(this.#fd, attachment, "exclusive", signal);
  }

  leave(attachment: string): void {
    unlockName(this.#fd, attachment);
  }
}

/** Waits until no server is at work for the attachment that a process's environment tells of. */
export async function waitForTurn(env: Environment): Promise<void> {
  const attachment = attachmentIn(env);
  if (attachment === undefined || env[servedVariable] !== undefined) return;
  let fd: number;
  try {
    fd = openLocks(turnsPath, false);
  } catch {
    // There was no server yet, or this user cannot use it.
    return;
  }
  try {
    await lockName(fd, attachment, "exclusive");
  } finally {
    close(fd);
  }
}
