/** Puts the launcher into an executable `weft-cni`: `bun src/cniserver/patch.ts FILE`. Part of the build. */
import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";
import { addEntry, canAddEntry, headSize } from "./elf.ts";
import { launcherCode } from "./launcher.ts";

/** False for another processor's executable, which stays as it is: each call is then a start of the engine. */
export function addLauncher(path: string): boolean {
  const fd = openSync(path, "r+");
  try {
    const head = new Uint8Array(headSize);
    readSync(fd, head, 0, headSize, 0);
    if (!canAddEntry(head)) return false;
    for (const { at, bytes } of addEntry(head, fstatSync(fd).size, launcherCode).writes) {
      writeSync(fd, bytes, 0, bytes.length, at);
    }
    return true;
  } finally {
    closeSync(fd);
  }
}

const [path] = process.argv.slice(2);
if (path !== undefined) addLauncher(path);
