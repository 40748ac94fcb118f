// All that has to be there before Weft can run, be checked or be tested. Does nothing, quickly, when it is all
// there already; may be killed at any moment and run again; two at once wait for each other.
//
//   node scripts/setup.mjs              what running needs: the executables (and npm packages to build them)
//   node scripts/setup.mjs --packages   the npm packages only
//   node scripts/setup.mjs --tests      running, and the npm and Debian packages that the tests need
import { accessSync, constants, existsSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build, buildCurrent } from "./build.mjs";
import { debianState, installDebianPackages } from "./debian.mjs";
import { cache, root, sweepWorkFolders } from "./lib/files.mjs";
import { endTogether, lock, SetupError } from "./lib/process.mjs";
import { installPackages, packagesCurrent } from "./packages.mjs";

/** @typedef {"packages" | "run" | "tests"} Purpose */

/** @param {Purpose} purpose */
function todo(purpose) {
  const peers =
    purpose === "tests" && process.getuid?.() === 0 ? debianState() : { missing: [], unfinished: false };
  const { missing } = peers;
  const mustFetch = missing.length > 0 || peers.unfinished;
  const mustBuild = purpose !== "packages" && !buildCurrent();
  const mustInstall = (mustBuild || purpose !== "run") && !packagesCurrent();
  return { missing, mustFetch, mustBuild, mustInstall, nothing: !mustFetch && !mustBuild && !mustInstall };
}

function checkMachine() {
  const [major = 0] = process.versions.node.split(".").map(Number);
  if (process.platform !== "linux") throw new SetupError(`Weft needs Linux; this is ${process.platform}`);
  if (major < 20) throw new SetupError(`set-up needs Node.js 20 or newer; this is ${process.version}`);
  if (!["x64", "arm64"].includes(process.arch)) {
    throw new SetupError(`Weft runs on x64 and arm64; this is ${process.arch}`);
  }
}

function checkWritable() {
  for (const path of [root, ...["node_modules", "dist", ".cache"].map((name) => join(root, name))]) {
    try {
      if (existsSync(path)) accessSync(path, constants.W_OK);
    } catch {
      throw new SetupError(
        `something is missing or older than the sources, and "${path}" is not writable by user ${process.getuid?.()}.\n` +
          'Run "npm run build" as the owner of the folder first.',
      );
    }
  }
}

/**
 * @param {Purpose} purpose
 */
export async function setUp(purpose) {
  checkMachine();
  if (todo(purpose).nothing) return;
  checkWritable();
  const release = await lock(join(cache, "setup.lock"), () => {
    process.stderr.write("set-up: waiting for another set-up of this folder\n");
  });
  try {
    sweepWorkFolders();
    const { missing, mustFetch, mustBuild, mustInstall } = todo(purpose);
    if (mustInstall) await installPackages();
    if (mustBuild) await build();
    if (mustFetch) await installDebianPackages(missing);
    sweepWorkFolders();
  } finally {
    release();
  }
}

/**
 * The body of every script here: set-up, then the work; a SetupError is told in its own words.
 * @param {Purpose} purpose
 * @param {() => Promise<number>} [work] returns the exit status
 * @returns {Promise<number | undefined>} the work's exit status; undefined where set-up failed
 */
export async function main(purpose, work) {
  endTogether();
  try {
    await setUp(purpose);
    const status = (await work?.()) ?? 0;
    process.exitCode = status;
    return status;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`set-up: ${error.message}\n`);
    process.exitCode = 1;
    return undefined;
  }
}

/**
 * Whether a script is the one that Node was started with.
 * @param {string} url its import.meta.url
 */
export function isMain(url) {
  return url === pathToFileURL(realpathSync(process.argv[1] ?? root)).href;
}

if (isMain(import.meta.url)) {
  const flag = process.argv[2];
  if (flag !== undefined && flag !== "--packages" && flag !== "--tests") {
    process.stderr.write(`set-up: unknown option "${flag}"; there are --packages and --tests\n`);
    process.exitCode = 2;
  } else {
    await main(flag === "--packages" ? "packages" : flag === "--tests" ? "tests" : "run");
  }
}
