import { randomUUID } from "node:crypto";
import {
  constants,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { WeftError } from "../../lib/errors.ts";

/** What the executable of all plugins is called where it is installed. */
export const executableName = "weft-cni";
/** A file of somebody else that stood in the way waits under this ending for cleanup to put it back. */
const asideEnding = ".before-weft";

/** Puts a file in place at once: readers see the old one or the new one, never a part. */
export function writeAtomically(path: string, text: string, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    writeFileSync(temporary, text, { mode });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/**
 * Installs the plugin executable and a link to it for each plugin name. What is in place already is left alone.
 * Answers how many files were written.
 */
export function installPlugins(
  source: string,
  binDir: string,
  plugins: readonly string[],
  mode: "copy" | "link",
): number {
  if (!existsSync(source)) {
    throw new WeftError("plugins-missing", `the plugin executable "${source}" is not there`, {
      remedy: "Build it (npm run build), and keep it beside the executable weft",
    });
  }
  mkdirSync(binDir, { recursive: true });
  let written = 0;
  const executable = join(binDir, executableName);
  if (!isInstalled(source, executable, mode)) {
    replace(executable, (temporary) => {
      if (mode === "link") symlinkSync(source, temporary);
      else copyFileSync(source, temporary, constants.COPYFILE_FICLONE);
    });
    written++;
  }
  for (const plugin of plugins) {
    const path = join(binDir, plugin);
    if (isOurs(path)) continue;
    if (existsSync(path)) renameSync(path, `${path}${asideEnding}`);
    replace(path, (temporary) => symlinkSync(executableName, temporary));
    written++;
  }
  return written;
}

/** Removes what {@link installPlugins} made and puts back what it set aside. */
export function uninstallPlugins(binDir: string, plugins: readonly string[]): void {
  for (const plugin of plugins) {
    const path = join(binDir, plugin);
    if (isOurs(path)) rmSync(path);
    if (existsSync(`${path}${asideEnding}`) && !existsSync(path)) renameSync(`${path}${asideEnding}`, path);
  }
  rmSync(join(binDir, executableName), { force: true });
}

function replace(path: string, make: (temporary: string) => void): void {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    make(temporary);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** Our names are links to the executable beside them. */
function isOurs(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink() && basename(readlinkSync(path)) === executableName;
  } catch {
    return false;
  }
}

function isInstalled(source: string, target: string, mode: "copy" | "link"): boolean {
  try {
    if (mode === "link") return readlinkSync(target) === source;
    const [from, to] = [statSync(source), lstatSync(target)];
    return to.isFile() && from.size === to.size && readFileSync(source).equals(readFileSync(target));
  } catch {
    return false;
  }
}
