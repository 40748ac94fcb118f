import { readFileSync, readlinkSync } from "node:fs";
import * as ffi from "./ffi.ts";

const MADV_DONTNEED = 4;

/**
 * Lets go of the pages of this process's own code and constants that are in memory: those in use come back from the page
 * cache when they are next needed. A Bun executable has some 30 MB of code mapped after its start, most of which only the start
 * needed. Answers how many bytes that were. Takes a few milliseconds.
 */
export function releaseCode(): number {
  const executable = readlinkSync("/proc/self/exe");
  let released = 0;
  for (const { start, end, resident } of unchangedCode(
    readFileSync("/proc/self/smaps", "utf8"),
    executable,
  )) {
    ffi.madvise(start, end - start, MADV_DONTNEED);
    released += resident;
  }
  return released;
}

/** A range of memory; `resident` is how many bytes of it are there. */
interface Mapping {
  start: bigint;
  end: bigint;
  resident: number;
}

/** The read-only mappings of a file that are as the file is, from proc_pid_smaps(5): others could not be read again. */
export function unchangedCode(smaps: string, path: string): Mapping[] {
  const found: Mapping[] = [];
  for (let at = smaps.indexOf(path); at >= 0; at = smaps.indexOf(path, at + 1)) {
    const lineStart = smaps.lastIndexOf("\n", at) + 1;
    const head = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ \S+ +(.*)$/.exec(
      smaps.slice(lineStart, smaps.indexOf("\n", at)),
    );
    if (head === null || head[3] !== path) continue;
    const bytes = (field: string) => {
      const start = smaps.indexOf(`\n${field}:`, at);
      return 1024 * Number.parseInt(smaps.slice(start + field.length + 2, smaps.indexOf("kB", start)), 10);
    };
    if (bytes("Anonymous") === 0) {
      found.push({ start: BigInt(`0x${head[1]}`), end: BigInt(`0x${head[2]}`), resident: bytes("Rss") });
    }
  }
  return found;
}
