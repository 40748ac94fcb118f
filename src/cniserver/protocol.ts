/**
 * What launcher and server say to each other, over a Unix socket. All numbers are of 8 bytes, little-endian.
 *
 * 1. The launcher: {@link magic}, the number of arguments, the length of all strings, a struct stat of each of
 *    {@link identities}, then the strings: arguments and environment, each with a zero byte at its end.
 * 2. The server: one byte, {@link accepted}, or anything else where it cannot act in the place of this process.
 * 3. The launcher: its standard input in pieces, each behind its length; a length of 0 ends it.
 * 4. The server: exit status, length of standard output, length of standard error, then these two.
 * 5. The launcher: one byte, its exit status: not 0 where nobody took what it had to say.
 *
 * A server that has seen enough of standard input may answer before its end. The launcher is a part of the executable
 * of which the server is a process, so that both are always of one version: the server refuses whoever is not.
 */

import { runDir } from "../plugins/names.ts";

/** "weft-cni", as it lies in memory. */
export const magic = new TextEncoder().encode("weft-cni");

/** What has to be the same for both, or the server would act somewhere else than the process that asks. */
export const identities = [
  "/proc/self/ns/net",
  "/proc/self/ns/mnt",
  "/proc/self/ns/user",
  "/proc/self/exe",
  "/",
] as const;

/** Of struct stat (x86-64): the device at 0, the inode at 8. */
export const statSize = 144;
export const headerSize = 24 + identities.length * statSize;

/** More arguments and environment than this are not sent: the process acts itself. Bytes. */
export const longestStrings = 1024 * 1024;
/** What is read and written at once. Bytes. */
export const pieceSize = 64 * 1024;

export const accepted = 0x59;
export const answerHeaderSize = 24;

const prefix = `${runDir}/cni-`;
const suffix = ".sock";
const digits = 10;

/** The server's socket of a network namespace (by its inode): each namespace has its own. */
export function socketPath(netns: bigint): string {
  return `${prefix}${String(netns).padStart(digits, "0")}${suffix}`;
}

/** The same in pieces, for the launcher, which writes the digits itself. */
export const socketName = { prefix, digits, suffix } as const;
