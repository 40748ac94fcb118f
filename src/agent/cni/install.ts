import {
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { WeftError } from "../../lib/errors.ts";

/** What the executable of all plugins is called where it is installed. */
export const executableName = "weft-cni";
/** A file of somebody else that stood in the way waits under this ending for cleanup to put it back. */
const asideEnding = ".before-weft";
/** What is being written. There is one agent on a node: what a killed one left is written over. */
const temporaryEnding = ".weft-tmp";

/** Puts a file in place at once: readers see the old one or the new one, never a part, not even after a power failure. */
export function writeAtomically(path: string, text: string, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true });
  replace(path, (temporary) => {
    const fd = openSync(temporary, "w", mode);
    try {
      writeFileSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  });
}

/**
 * Installs the plugin executable and a link to it for each plugin name. What is in place already is left alone.
 * Answers how many files were written.
 */
export async function installPlugins(
  source: string,
  binDir: string,
  plugins: readonly string[],
  mode: "copy" | "link",
): Promise<number> {
  if (!existsSync(source)) {
    throw new WeftError("plugins-missing", `the plugin executable "${source}" is not there`, {
      remedy: "Build it (npm run build), and keep it beside the executable weft",
    });
  }
  mkdirSync(binDir, { recursive: true });
  let written = 0;
  const executable = join(binDir, executableName);
  const right = mode === "link" ? linksTo(executable, source) : await isCopy(source, executable);
  if (!right) {
    replace(executable, (temporary) => {
      if (mode === "link") symlinkSync(source, temporary);
      else copyFileSync(source, temporary, constants.COPYFILE_FICLONE);
    });
    written++;
  }
  for (const plugin of plugins) {
    const path = join(binDir, plugin);
    if (isOurs(path)) continue;
    if (exists(path)) setAside(path);
    replace(path, (temporary) => symlinkSync(executableName, temporary));
    written++;
  }
  return written;
}

/** Removes what {@link installPlugins} made and puts back what it set aside. Answers how many files that were. */
export function uninstallPlugins(binDir: string, plugins: readonly string[]): number {
  let removed = 0;
  for (const plugin of plugins) {
    const path = join(binDir, plugin);
    const aside = `${path}${asideEnding}`;
    const ours = isOurs(path);
    if (exists(aside) && (ours || !exists(path))) renameSync(aside, path);
    else if (ours) remove(path);
    if (ours) removed++;
    remove(`${path}${temporaryEnding}`);
  }
  const executable = join(binDir, executableName);
  remove(`${executable}${temporaryEnding}`);
  return removed + remove(executable);
}

/** Removes a file that {@link writeAtomically} wrote; true where there was one. */
export function removeWritten(path: string): boolean {
  remove(`${path}${temporaryEnding}`);
  return remove(path) > 0;
}

/**
 * Something that is the same as long as nobody touches the files of an installation, and quickly found out; undefined
 * where one of them is missing.
 */
export function installationState(
  source: string,
  binDir: string,
  plugins: readonly string[],
): string | undefined {
  try {
    const files = [executableName, ...plugins].map((name) => lstatSync(join(binDir, name), { bigint: true }));
    const all = [statSync(source, { bigint: true }), ...files];
    return all.map(({ dev, ino, size, mtimeNs, ctimeNs }) => [dev, ino, size, mtimeNs, ctimeNs]).join();
  } catch {
    return undefined;
  }
}

function replace(path: string, make: (temporary: string) => void): void {
  const temporary = `${path}${temporaryEnding}`;
  rmSync(temporary, { force: true });
  try {
    make(temporary);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** By a second name, so that there is a plugin at any moment. */
function setAside(path: string): void {
  const aside = `${path}${asideEnding}`;
  rmSync(aside, { force: true });
  linkSync(path, aside);
}

function remove(path: string): number {
  if (!exists(path)) return 0;
  rmSync(path);
  return 1;
}

/** Dangling links too. */
function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Our names are links to the executable beside them. */
function isOurs(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink() && basename(readlinkSync(path)) === executableName;
  } catch {
    return false;
  }
}

function linksTo(path: string, target: string): boolean {
  try {
    return readlinkSync(path) === target;
  } catch {
    return false;
  }
}

const chunk = 256 * 1024;

/** Compares piece by piece: the executable is larger than all that an agent shall have in memory. */
async function isCopy(source: string, target: string): Promise<boolean> {
  const to = lstatSync(target, { throwIfNoEntry: false });
  const from = statSync(source);
  if (to?.isFile() !== true || to.size !== from.size || to.mode !== from.mode) return false;
  const files = await Promise.all([open(source), open(target)]);
  try {
    const [one, other] = [Buffer.alloc(chunk), Buffer.alloc(chunk)];
    for (let at = 0; at < from.size; at += chunk) {
      const length = Math.min(chunk, from.size - at);
      await Promise.all([files[0].read(one, 0, length, at), files[1].read(other, 0, length, at)]);
      if (one.compare(other, 0, length, 0, length) !== 0) return false;
    }
    return true;
  } finally {
    await Promise.all(files.map((file) => file.close()));
  }
}
