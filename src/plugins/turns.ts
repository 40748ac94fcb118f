import { isErrno } from "../linux/errors.ts";
import * as ffi from "../linux/ffi.ts";
import { runDir } from "./names.ts";

/*
 * A server goes on with a call whose caller was killed. Whoever makes the next call for the attachment, another server or
 * a process of its own, waits for that: a DEL before the end of an ADD would leave what the ADD makes. So a server locks
 * one byte of a file for each call: by open file description locks of fcntl(2), which end with the server.
 */

export const turnsPath = `${runDir}/cni.lock`;

const O_RDWR = 2;
const O_CREAT = 0o100;
const O_NOFOLLOW = 0o400000;
/** asm-generic/fcntl.h */
const F_OFD_SETLK = 37;
const F_WRLCK = 1;
const F_UNLCK = 2;
/** How long to wait until asking again, at most. Milliseconds. */
const longestPause = 16;

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
  readonly #fd = ffi.open(turnsPath, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);

  /** Waits for the turn. False where the signal came first. */
  async take(attachment: string, signal: AbortSignal): Promise<boolean> {
    return await take(this.#fd, attachment, signal);
  }

  leave(attachment: string): void {
    lock(this.#fd, attachment, F_UNLCK);
  }
}

/** Waits until no server is at work for the attachment that a process's environment tells of. */
export async function waitForTurn(env: Environment): Promise<void> {
  const attachment = attachmentIn(env);
  if (attachment === undefined || env[servedVariable] !== undefined) return;
  let fd: number;
  try {
    fd = ffi.open(turnsPath, O_RDWR | O_NOFOLLOW);
  } catch {
    // There was no server yet, or this user cannot use it.
    return;
  }
  try {
    await take(fd, attachment);
  } finally {
    ffi.close(fd);
  }
}

async function take(fd: number, attachment: string, signal?: AbortSignal): Promise<boolean> {
  for (let pause = 1; signal?.aborted !== true; pause = Math.min(pause * 2, longestPause)) {
    try {
      lock(fd, attachment, F_WRLCK);
      return true;
    } catch (error) {
      if (!isErrno(error, "EAGAIN", "EACCES")) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  return false;
}

function lock(fd: number, attachment: string, type: number): void {
  // struct flock: type and whence in 2 bytes each, from byte 8 the start and the length in 8 each, then the process.
  const request = new Uint8Array(32);
  const view = new DataView(request.buffer);
  view.setUint16(0, type, true);
  view.setUint32(8, hash(attachment, 0x811c9dc5), true);
  // The start is signed.
  view.setUint32(12, hash(attachment, 0x01234567) >>> 2, true);
  view.setUint32(16, 1, true);
  ffi.fcntl(fd, F_OFD_SETLK, request, "lock a turn");
}

/** FNV-1a. */
function hash(text: string, seed: number): number {
  let value = seed;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}
