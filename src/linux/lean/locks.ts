import { isErrno } from "../errors.ts";
import * as ffi from "../ffi.ts";

/*
 * Locks by name among processes: one byte of a file for each name, by open file description locks of fcntl(2). They end
 * with the descriptor, so with the process that has it, however that ends.
 */

const O_RDWR = 2;
const O_CREAT = 0o100;
const O_NOFOLLOW = 0o400000;
/** asm-generic/fcntl.h */
const F_OFD_SETLK = 37;
const lockTypes = { shared: 0, exclusive: 1 } as const;
const F_UNLCK = 2;
/** How long to wait until asking again, at most. Milliseconds. */
const longestPause = 16;

/** Many may have a shared lock at a time; an exclusive one only who has it alone. */
export type LockMode = keyof typeof lockTypes;

/** Opens the file of the locks. Throws a KernelError where it cannot be opened, or, without `create`, is not there. */
export function openLocks(path: string, create: boolean): number {
  return ffi.open(path, O_RDWR | O_NOFOLLOW | (create ? O_CREAT : 0), 0o600);
}

/** Waits for the lock. False where the signal came first. */
export async function lockName(
  fd: number,
  name: string,
  mode: LockMode,
  signal?: AbortSignal,
): Promise<boolean> {
  for (let pause = 1; signal?.aborted !== true; pause = Math.min(pause * 2, longestPause)) {
    try {
      set(fd, name, lockTypes[mode]);
      return true;
    } catch (error) {
      if (!isErrno(error, "EAGAIN", "EACCES")) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  return false;
}

export function unlockName(fd: number, name: string): void {
  set(fd, name, F_UNLCK);
}

function set(fd: number, name: string, type: number): void {
  // struct flock: type and whence in 2 bytes each, from byte 8 the start and the length in 8 each, then the process.
  const request = new Uint8Array(32);
  const view = new DataView(request.buffer);
  view.setUint16(0, type, true);
  view.setUint32(8, hash(name, 0x811c9dc5), true);
  // The start is signed.
  view.setUint32(12, hash(name, 0x01234567) >>> 2, true);
  view.setUint32(16, 1, true);
  ffi.fcntl(fd, F_OFD_SETLK, request, "lock a turn");
}

/** FNV-1a. */
function hash(text: string, seed: number): number {
  let value = seed;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}
