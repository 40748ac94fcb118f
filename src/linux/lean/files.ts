/**
 * Files by libc, synchronously. For programs that live for a few milliseconds: loading node:fs takes longer than all
 * that they do with files. Failures are {@link KernelError}s.
 */
import { isErrno, isNotFound } from "../errors.ts";
import * as ffi from "../ffi.ts";

/** asm-generic/fcntl.h */
const O_RDONLY = 0;
const O_WRONLY = 1;
const O_CREAT = 0o100;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;
const O_NONBLOCK = 0o4000;
const O_DIRECTORY = 0o200000;
const O_NOFOLLOW = 0o400000;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Runs `action` with a descriptor that is closed afterwards. */
function using<T>(fd: number, action: (fd: number) => T): T {
  try {
    return action(fd);
  } finally {
    ffi.close(fd);
  }
}

/** All that a descriptor gives, up to `most` bytes; undefined where there is more. */
export function readDescriptor(fd: number, most: number): string | undefined {
  let bytes = new Uint8Array(Math.min(most + 1, 4096));
  let length = 0;
  for (;;) {
    const count = ffi.read(fd, bytes.subarray(length));
    if (count === 0) return decoder.decode(bytes.subarray(0, length));
    length += count;
    if (length > most) return undefined;
    if (length < bytes.length) continue;
    const larger = new Uint8Array(Math.min(most + 1, bytes.length * 4));
    larger.set(bytes);
    bytes = larger;
  }
}

/** Writes all of a text. */
export function writeDescriptor(fd: number, text: string): void {
  let bytes: Uint8Array = encoder.encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(ffi.write(fd, bytes));
}

/** For what is read at once and decoded before anything else is read. */
const scratch = new Uint8Array(4096);

/** The text of a small file (at most 64 KiB are read). Throws ENOENT and whatever else the kernel says. */
export function readText(path: string): string {
  const fd = ffi.open(path, O_RDONLY | O_NONBLOCK);
  try {
    const count = ffi.read(fd, scratch);
    // Of a file, less than what was asked for is all that there is.
    if (count < scratch.length) return decoder.decode(scratch.subarray(0, count));
  } finally {
    ffi.close(fd);
  }
  return using(ffi.open(path, O_RDONLY | O_NONBLOCK), (again) => readDescriptor(again, 65536) ?? "");
}

/** All of a file, up to `most` bytes: what is longer counts as empty. Never through a symbolic link. */
export function readWhole(path: string, most: number): string {
  return using(ffi.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK), (fd) => readDescriptor(fd, most) ?? "");
}

/** Writes into an existing file, such as a kernel parameter. */
export function writeExisting(path: string, text: string): void {
  using(ffi.open(path, O_WRONLY), (fd) => writeDescriptor(fd, text));
}

/** Makes the file or overwrites it; never through a symbolic link (ELOOP), nor waiting for a pipe's reader (ENXIO). */
export function writeText(path: string, text: string, mode: number): void {
  const flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK;
  using(ffi.open(path, flags, mode), (fd) => writeDescriptor(fd, text));
}

/** As {@link writeText}, but what is longer keeps its end. */
export function overwriteText(path: string, text: string, mode: number): void {
  const flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
  using(ffi.open(path, flags, mode), (fd) => writeDescriptor(fd, text));
}

/** Writes behind what is in the file, or makes it; never through a symbolic link. */
export function appendText(path: string, text: string, mode: number): void {
  const flags = O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK;
  using(ffi.open(path, flags, mode), (fd) => writeDescriptor(fd, text));
}

/** Opens a lock file, made where it is not there; never through a symbolic link. For flock. */
export function openLock(path: string, mode: number): number {
  return ffi.open(path, O_RDONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, mode);
}

const LOCK_EX = 2;
const LOCK_NB = 4;

/** Takes the lock of flock(2) on an open file; false where another one has it. */
export function tryLock(fd: number): boolean {
  try {
    ffi.flock(fd, LOCK_EX | LOCK_NB);
    return true;
  } catch (error) {
    if (isErrno(error, "EAGAIN")) return false;
    throw error;
  }
}

/** Removes a file; none is fine. */
export function removeFile(path: string): void {
  try {
    ffi.unlink(path);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/** Makes a folder and those above it. */
export function makeFolders(path: string, mode: number): void {
  if (exists(path)) return;
  const parent = path.slice(0, path.lastIndexOf("/"));
  if (parent !== "") makeFolders(parent, mode);
  try {
    ffi.mkdir(path, mode);
  } catch (error) {
    // Another process was quicker.
    if (!exists(path)) throw error;
  }
}

/** The names in a folder, in no order. */
export function listFolder(path: string): string[] {
  return using(ffi.open(path, O_RDONLY | O_DIRECTORY), (fd) => {
    const names: string[] = [];
    const bytes = new Uint8Array(32 * 1024);
    const view = new DataView(bytes.buffer);
    for (;;) {
      const count = ffi.getdents64(fd, bytes);
      if (count === 0) return names;
      // struct linux_dirent64: inode 8, offset 8, record length 2, type 1, name with a zero byte at its end.
      for (let at = 0; at < count; at += view.getUint16(at + 16, true)) {
        const end = bytes.indexOf(0, at + 19);
        const name = decoder.decode(bytes.subarray(at + 19, end));
        if (name !== "." && name !== "..") names.push(name);
      }
    }
  });
}

/** What identifies a file, and its kind. */
export interface FileStatus {
  /** Equal for two paths that lead to the same file. */
  identity: string;
  isFile: boolean;
}

const STATX_TYPE = 0x1;
const STATX_INO = 0x100;
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;

const AT_SYMLINK_NOFOLLOW = 0x100;
const STATX_MTIME = 0x40;

/** True where there is something of that name, be it a symbolic link that leads nowhere. */
export function isThere(path: string): boolean {
  try {
    ffi.statx(path, STATX_TYPE, new Uint8Array(256), AT_SYMLINK_NOFOLLOW);
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

/** When a file, or what is in a folder, was changed last, as finely as the kernel knows; "" where there is none. */
export function timeOfChange(path: string): string {
  const result = new Uint8Array(256);
  try {
    ffi.statx(path, STATX_MTIME, result);
  } catch (error) {
    if (isNotFound(error)) return "";
    throw error;
  }
  // struct statx: stx_mtime at 0x70, seconds of 8 bytes and nanoseconds of 4.
  const view = new DataView(result.buffer);
  return `${view.getBigInt64(0x70, true)}.${view.getUint32(0x78, true)}`;
}

const UTIME_OMIT = 0x3ffffffen;

/**
 * Gives a file, or what is in a folder, a time of change that no other change of it will have, and returns that. Kernels
 * before 6.13 note changes by the ticks of their clock, 1 to 10 ms long: two within one look like one.
 */
export function stampChange(path: string): string {
  const now = Date.now();
  const nanoseconds = (now % 1000) * 1e6 + Math.floor(Math.random() * 1e6);
  // Two struct timespec, of the last access and of the change: seconds and nanoseconds of 8 bytes each.
  const times = new BigInt64Array([0n, UTIME_OMIT, BigInt(Math.floor(now / 1000)), BigInt(nanoseconds)]);
  ffi.utimensat(path, new Uint8Array(times.buffer));
  // File systems keep it more or less exactly.
  return timeOfChange(path);
}

/** Looks at a file, symbolic links followed. Undefined where there is none, or where the path can lead to none. */
export function status(path: string): FileStatus | undefined {
  const result = new Uint8Array(256);
  try {
    ffi.statx(path, STATX_TYPE | STATX_INO, result);
  } catch (error) {
    if (isNotFound(error) || isErrno(error, "ENOTDIR", "ELOOP", "ENAMETOOLONG")) return undefined;
    throw error;
  }
  // struct statx: mode at 0x1c, inode at 0x20, device at 0x88.
  const view = new DataView(result.buffer);
  const word = (at: number) => view.getUint32(at, true);
  return {
    identity: `${word(0x20)}.${word(0x24)}.${word(0x88)}.${word(0x8c)}`,
    isFile: (view.getUint16(0x1c, true) & S_IFMT) === S_IFREG,
  };
}

/** True where something is at the path. */
export function exists(path: string): boolean {
  return status(path) !== undefined;
}
