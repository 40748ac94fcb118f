/**
 * libc, as far as Weft needs it. The only file that imports `bun:ffi`, which is marked experimental: to replace it,
 * replace this file. Every function is synchronous; failures are {@link KernelError}s.
 */
import { dlopen, FFIType, read as memory, type Pointer, ptr } from "bun:ffi";
import { errno } from "./errno.ts";
import { KernelError } from "./errors.ts";

const int = FFIType.i32;
const pointer = FFIType.ptr;
const size = FFIType.u64;
// Counts come back as ssize_t; none here reaches 2^31, so the low half is the whole number, and cheaper.
const count = FFIType.i32;

/** What nearly every process calls. */
const libc = dlopen("libc.so.6", {
  __errno_location: { args: [], returns: pointer },
  socket: { args: [int, int, int], returns: int },
  setsockopt: { args: [int, int, int, pointer, FFIType.u32], returns: int },
  send: { args: [int, pointer, size, int], returns: count },
  recv: { args: [int, pointer, size, int], returns: count },
  open: { args: [pointer, int, FFIType.u32], returns: int },
  read: { args: [int, pointer, size], returns: count },
  write: { args: [int, pointer, size], returns: count },
  rename: { args: [pointer, pointer], returns: int },
  unlink: { args: [pointer], returns: int },
  getdents64: { args: [int, pointer, size], returns: count },
  statx: { args: [int, pointer, int, FFIType.u32, pointer], returns: int },
  utimensat: { args: [int, pointer, pointer, int], returns: int },
  close: { args: [int], returns: int },
  setns: { args: [int, int], returns: int },
  flock: { args: [int, int], returns: int },
}).symbols;

const loadMore = () =>
  dlopen("libc.so.6", {
    bind: { args: [int, pointer, FFIType.u32], returns: int },
    listen: { args: [int, int], returns: int },
    getsockname: { args: [int, pointer, pointer], returns: int },
    mkdir: { args: [pointer, FFIType.u32], returns: int },
    unshare: { args: [int], returns: int },
    mount: { args: [pointer, pointer, pointer, size, pointer], returns: int },
    umount2: { args: [pointer, int], returns: int },
    ioctl: { args: [int, size, pointer], returns: int },
    sethostname: { args: [pointer, size], returns: int },
    prctl: { args: [int, size, size, size, size], returns: int },
    chroot: { args: [pointer], returns: int },
    execve: { args: [pointer, pointer, pointer], returns: int },
    madvise: { args: [size, size, int], returns: int },
    fcntl: { args: [int, int, pointer], returns: int },
  }).symbols;

let loaded: ReturnType<typeof loadMore> | undefined;

/** The rest, loaded at its first use: each function costs a hundredth of a millisecond, which a plugin's process feels. */
function more(): ReturnType<typeof loadMore> {
  loaded ??= loadMore();
  return loaded;
}

let errnoAt: Pointer | null = null;

/** The calling thread's errno; to be read right after the call that failed. */
function lastErrno(): number {
  errnoAt ??= libc.__errno_location() as Pointer;
  return memory.i32(errnoAt);
}

function check(result: number, operation: string, subject = ""): number {
  if (result < 0) throw new KernelError(operation, subject, lastErrno());
  return result;
}

/** As {@link check}, but a call that a signal interrupted is made again. */
function checkRestarting(call: () => number, operation: string, subject = ""): number {
  for (;;) {
    const result = call();
    if (result >= 0) return result;
    const error = lastErrno();
    if (error !== errno.EINTR) throw new KernelError(operation, subject, error);
  }
}

const encoder = new TextEncoder();

/** Throws a KernelError (ENOENT) where a zero byte would cut the text short: it would name something else. */
function cstring(text: string): Uint8Array {
  if (text.includes("\0")) throw new KernelError("use", JSON.stringify(text), errno.ENOENT);
  return encoder.encode(`${text}\0`);
}

/** socket(2); close-on-exec is always set. */
export function socket(domain: number, type: number, protocol: number): number {
  const SOCK_CLOEXEC = 0o2000000;
  return check(libc.socket(domain, type | SOCK_CLOEXEC, protocol), "open a socket", `of family ${domain}`);
}

/** bind(2) with a raw sockaddr. */
export function bind(fd: number, address: Uint8Array, subject = ""): void {
  check(more().bind(fd, address, address.length), "bind", subject);
}

/** listen(2). */
export function listen(fd: number, backlog: number): void {
  check(more().listen(fd, backlog), "listen");
}

/** getsockname(2): the raw sockaddr. */
export function getsockname(fd: number): Uint8Array {
  const address = new Uint8Array(128);
  const length = new Uint32Array([address.length]);
  check(more().getsockname(fd, address, length), "read a socket's address");
  return address.subarray(0, length[0]);
}

/** setsockopt(2) with an int or raw bytes. */
export function setsockopt(fd: number, level: number, option: number, value: number | Uint8Array): void {
  const bytes = typeof value === "number" ? new Uint8Array(new Int32Array([value]).buffer) : value;
  check(libc.setsockopt(fd, level, option, bytes, bytes.length), "set socket option", `${level}/${option}`);
}

/** SO_ATTACH_FILTER with an array of struct sock_filter (classic BPF). */
export function attachFilter(fd: number, instructions: Uint8Array): void {
  const SOL_SOCKET = 1;
  const SO_ATTACH_FILTER = 26;
  // struct sock_fprog: how many instructions of 8 bytes, and where they are.
  const program = new Uint8Array(16);
  const view = new DataView(program.buffer);
  view.setUint16(0, instructions.length / 8, true);
  view.setBigUint64(8, BigInt(ptr(instructions)), true);
  check(libc.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, program, program.length), "attach a filter");
}

/** send(2) of the first `length` bytes. */
export function send(fd: number, bytes: Uint8Array, length: number, flags: number): number {
  return checkRestarting(() => libc.send(fd, bytes, length, flags), "send");
}

/** recv(2); with MSG_TRUNC the count may exceed the buffer. */
export function recv(fd: number, bytes: Uint8Array, flags: number): number {
  return checkRestarting(() => libc.recv(fd, bytes, bytes.length, flags), "receive");
}

/** open(2); close-on-exec is always set. */
export function open(path: string, flags: number, mode = 0): number {
  const O_CLOEXEC = 0o2000000;
  return checkRestarting(() => libc.open(cstring(path), flags | O_CLOEXEC, mode), "open", path);
}

/** read(2): how many bytes came; 0 at the end. */
export function read(fd: number, bytes: Uint8Array): number {
  return checkRestarting(() => libc.read(fd, bytes, bytes.length), "read", `descriptor ${fd}`);
}

/** write(2): how many bytes went. */
export function write(fd: number, bytes: Uint8Array): number {
  return checkRestarting(() => libc.write(fd, bytes, bytes.length), "write", `descriptor ${fd}`);
}

/** rename(2). */
export function rename(from: string, to: string): void {
  check(libc.rename(cstring(from), cstring(to)), "rename", from);
}

/** unlink(2). */
export function unlink(path: string): void {
  check(libc.unlink(cstring(path)), "remove", path);
}

/** mkdir(2). */
export function mkdir(path: string, mode: number): void {
  check(more().mkdir(cstring(path), mode), "make folder", path);
}

/** getdents64(2): how many bytes of struct linux_dirent64 came; 0 at the end. */
export function getdents64(fd: number, bytes: Uint8Array): number {
  return check(libc.getdents64(fd, bytes, bytes.length), "read a folder");
}

/** statx(2) of a path, symbolic links followed unless `flags` say otherwise, into a struct statx of 256 bytes. */
export function statx(path: string, mask: number, result: Uint8Array, flags = 0): void {
  const AT_FDCWD = -100;
  check(libc.statx(AT_FDCWD, cstring(path), flags, mask, result), "look at", path);
}

/** close(2). */
export function close(fd: number): void {
  check(libc.close(fd), "close", `descriptor ${fd}`);
}

/** setns(2): moves the calling thread only. */
export function setns(fd: number, type: number): void {
  check(libc.setns(fd, type), "enter a namespace");
}

/** unshare(2): acts on the calling thread only. */
export function unshare(flags: number): void {
  check(more().unshare(flags), "make a namespace");
}

/** mount(2); null where an argument does not apply. */
export function mount(
  source: string | null,
  target: string,
  type: string | null,
  flags: number,
  data: string | null = null,
): void {
  const optional = (text: string | null) => (text === null ? null : cstring(text));
  check(
    more().mount(optional(source), cstring(target), optional(type), flags, optional(data)),
    "mount",
    `on ${target}`,
  );
}

/** umount2(2). */
export function umount(target: string, flags: number): void {
  check(more().umount2(cstring(target), flags), "unmount", target);
}

/** madvise(2) for a range of this process's memory; MADV_* in linux/mman.h. */
export function madvise(start: bigint, length: bigint, advice: number): void {
  check(more().madvise(start, length, advice), "advise on memory", `0x${start.toString(16)}`);
}

/** ioctl(2) with a buffer. */
export function ioctl(fd: number, request: number, argument: Uint8Array, operation: string): void {
  check(more().ioctl(fd, request, argument), operation);
}

/** ioctl(2) with an integer in the place of the pointer. */
export function ioctlValue(fd: number, request: number, value: number, operation: string): void {
  check(more().ioctl(fd, request, value as Pointer), operation);
}

/** utimensat(2) with two struct timespec. */
export function utimensat(path: string, times: Uint8Array): void {
  const AT_FDCWD = -100;
  check(libc.utimensat(AT_FDCWD, cstring(path), times, 0), "set times of", path);
}

/** flock(2): LOCK_SH 1, LOCK_EX 2, LOCK_NB 4, LOCK_UN 8. Waits unless LOCK_NB is given. */
export function flock(fd: number, operation: number): void {
  checkRestarting(() => libc.flock(fd, operation), "lock", `descriptor ${fd}`);
}

/** fcntl(2) with a buffer, such as the struct flock of a lock. */
export function fcntl(fd: number, command: number, argument: Uint8Array, operation: string): void {
  check(more().fcntl(fd, command, argument), operation, `descriptor ${fd}`);
}

/** prctl(2) with integer arguments. */
export function prctl(option: number, value: number): void {
  check(more().prctl(option, value, 0, 0, 0), "prctl", String(option));
}

/** sethostname(2), in the UTS namespace of the calling thread. */
export function sethostname(name: string): void {
  const bytes = new TextEncoder().encode(name);
  check(more().sethostname(bytes, bytes.length), "set the host name", name);
}

/** chroot(2). */
export function chroot(path: string): void {
  check(more().chroot(cstring(path)), "chroot to", path);
}

/** execve(2): replaces this process and returns only by throwing. The calling thread's namespaces go along. */
export function execve(path: string, args: readonly string[], env: Readonly<Record<string, string>>): never {
  const keep: Uint8Array[] = [];
  const vector = (strings: readonly string[]) => {
    const table = new BigUint64Array(strings.length + 1);
    for (const [i, text] of strings.entries()) {
      const bytes = cstring(text);
      keep.push(bytes);
      table[i] = BigInt(ptr(bytes));
    }
    return table;
  };
  const argv = vector(args);
  const envp = vector(Object.entries(env).map(([name, value]) => `${name}=${value}`));
  more().execve(cstring(path), argv, envp);
  // Only a failed execve returns. `keep` holds the strings in memory until here.
  throw new KernelError("execute", path, keep.length === 0 ? 0 : lastErrno());
}
