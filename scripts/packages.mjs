// The npm packages: installed beside node_modules and renamed into its place, so that it is never half-made.
import { copyFileSync, existsSync, linkSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { digest, readIfThere, root, workFolder, writeAtomic } from "./lib/files.mjs";
import { run, SetupError } from "./lib/process.mjs";
import { step } from "./lib/progress.mjs";

const modules = join(root, "node_modules");
const stamp = join(modules, ".weft-stamp");

/** Bun's executable, out of the package for this machine. */
export const bun = join(modules, "bun/bin/bun.exe");

function wanted() {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const facts = [process.platform, process.arch, JSON.stringify({ dependencies, devDependencies })];
  return digest(["package-lock.json", ".npmrc"], facts);
}

/** Whether node_modules holds what package-lock.json names. */
export function packagesCurrent() {
  return readIfThere(stamp) === wanted() && (statSync(bun, { throwIfNoEntry: false })?.size ?? 0) > 1_000_000;
}

/** npm itself: the one that started us, or the one on the PATH. */
function npm() {
  const path = process.env.npm_execpath;
  return path !== undefined && basename(path) === "npm-cli.js" ? [process.execPath, path] : ["npm"];
}

/** The environment without what `npm run` tells its scripts about this package; the user's settings stay. */
export function npmEnvironment() {
  const own = /^npm_(package|lifecycle)_|^npm_(command|config_local_prefix|execpath|node_execpath)$/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !own.test(name)));
}

/**
 * Puts Bun's executable where its package's install script would: npm 11 does not run install scripts unless
 * told to, and nothing needs more of them than this.
 * @param {string} folder a node_modules
 */
function placeBun(folder) {
  const names = {
    x64: ["bun-linux-x64", "bun-linux-x64-musl"],
    arm64: ["bun-linux-aarch64", "bun-linux-aarch64-musl"],
  };
  const here = process.arch === "arm64" ? names.arm64 : names.x64;
  const found = here.map((name) => join(folder, "@oven", name, "bin/bun")).find((path) => existsSync(path));
  if (found === undefined) {
    throw new SetupError(
      `npm brought no Bun for linux/${process.arch}; Weft runs on linux/x64 and linux/arm64`,
    );
  }
  for (const name of ["bun.exe", "bunx.exe"]) {
    const path = join(folder, "bun/bin", name);
    rmSync(path, { force: true });
    linkSync(found, path);
  }
}

/** Makes node_modules what package-lock.json says. Only for the holder of the lock. */
export async function installPackages() {
  await step("npm packages", async (note) => {
    const folder = workFolder("npm");
    for (const name of ["package.json", "package-lock.json", ".npmrc"])
      copyFileSync(join(root, name), join(folder, name));
    const print = wanted();
    note("npm ci");
    const [command = "npm", ...args] = npm();
    const { status, output } = await run(
      command,
      [
        ...args,
        "ci",
        "--ignore-scripts",
        "--include=dev",
        "--include=optional",
        "--no-audit",
        "--no-fund",
        "--prefer-offline",
      ],
      { cwd: folder, env: npmEnvironment() },
    );
    if (status !== 0) {
      throw new SetupError(
        `npm ci failed (exit status ${status}):\n${output.trim()}\nCheck the network, then try again.`,
      );
    }
    const fresh = join(folder, "node_modules");
    placeBun(fresh);
    writeAtomic(join(fresh, basename(stamp)), print);
    note("moving them into place");
    if (existsSync(modules)) renameSync(modules, join(workFolder("old"), "node_modules"));
    renameSync(fresh, modules);
    rmSync(folder, { recursive: true, force: true });
  });
}
