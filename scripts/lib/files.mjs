// Files of the project as its set-up sees them: where they are, whether they changed, how they are replaced.
import { createHash, randomBytes } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

/** The project's top folder. */
export const root = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

/** What set-up makes on its way; git does not see it, and it may be removed at any time. */
export const cache = join(root, ".cache");

/**
 * Every file under the given files and folders (relative to the root, absent ones left out), sorted.
 * @param {readonly string[]} paths
 * @param {(path: string) => boolean} wanted
 * @returns {string[]} paths relative to the root
 */
export function filesUnder(paths, wanted = () => true) {
  /** @type {string[]} */
  const found = [];
  /** @param {string} path */
  const visit = (path) => {
    const entry = statSync(path, { throwIfNoEntry: false });
    if (entry === undefined) return;
    if (!entry.isDirectory()) {
      const name = relative(root, path);
      if (wanted(name)) found.push(name);
      return;
    }
    for (const name of readdirSync(path)) visit(join(path, name));
  };
  for (const path of paths) visit(join(root, path));
  return found.sort();
}

/**
 * A digest over the names and the contents of files.
 * @param {readonly string[]} files relative to the root
 * @param {readonly string[]} facts whatever else the result depends on
 */
export function digest(files, facts = []) {
  const hash = createHash("sha256");
  for (const fact of facts) hash.update(`${fact}\0`);
  for (const file of files)
    hash
      .update(`${file}\0`)
      .update(readFileSync(join(root, file)))
      .update("\0");
  return hash.digest("hex");
}

/**
 * Writes a whole file or nothing: a reader, and a writer killed half-way, see the old file or the new one.
 * @param {string} path
 * @param {string} text
 */
export function writeAtomic(path, text) {
  mkdirSync(dirname(path), { recursive: true });
  const fresh = `${path}.${randomBytes(4).toString("hex")}`;
  writeFileSync(fresh, text);
  renameSync(fresh, path);
}

/**
 * A file's text, or undefined where there is none.
 * @param {string} path
 */
export function readIfThere(path) {
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

/**
 * A new folder of our own in the cache, on the same file system as the project, so that what is made in it
 * can be renamed into place.
 * @param {string} kind
 */
export function workFolder(kind) {
  const path = join(cache, `work-${kind}-${randomBytes(4).toString("hex")}`);
  mkdirSync(path, { recursive: true });
  return path;
}

/** Removes what set-ups that were killed left in the cache. Only for the holder of the lock. */
export function sweepWorkFolders() {
  for (const name of existsSync(cache) ? readdirSync(cache) : []) {
    if (!name.startsWith("work-")) continue;
    try {
      rmSync(join(cache, name), { recursive: true, force: true, maxRetries: 5 });
    } catch {
      // What a killed run started may still be writing there: the next run removes it.
    }
  }
}
