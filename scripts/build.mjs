// The executables: dist/weft, dist/weft-cni, dist/cni/NAME, a link to weft-cni for each plugin, and dist/cnitool, one to
// weft.
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { digest, filesUnder, readIfThere, root, workFolder, writeAtomic } from "./lib/files.mjs";
import { run, SetupError } from "./lib/process.mjs";
import { step } from "./lib/progress.mjs";
import { bun } from "./packages.mjs";

const dist = join(root, "dist");
const stamp = join(dist, ".stamp.json");

/**
 * Which entry makes which executable, and what it is compiled with besides the flags of all. A plugin's process ends
 * before compiling any of its functions to machine code could pay: ten times later tiers take a tenth from the CPU
 * time of an ADD.
 * @type {Readonly<Record<string, { entry: string, flags: readonly string[], launcher: boolean }>>}
 */
const executables = {
  weft: { entry: "src/weft.ts", flags: [], launcher: false },
  "weft-cni": { entry: "src/cni.ts", flags: ["--compile-jit-policy=10"], launcher: true },
};

/**
 * How a program is compiled; the bench compiles its empty program so too.
 *
 * --splitting keeps what is imported by `import()` out of the start: without it every "node:..." module that any
 * part of the program names is loaded first, which made a program 13 ms slow instead of 5.5. Without the autoload
 * flags a compiled program reads its settings, and a bunfig.toml's preload, from the folder in which it happens to
 * be started. --bytecode-order and --bytecode-depth made no difference that could be measured.
 */
export const compileFlags = [
  "--compile",
  "--minify",
  "--bytecode",
  "--format=esm",
  "--splitting",
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
  "--no-compile-autoload-package-json",
  "--no-compile-autoload-tsconfig",
];

/** Everything that may end up in an executable: rather too much than too little. */
function inputs() {
  const isTest = /\.test\.ts$/;
  return filesUnder(
    ["src", "examples", "deploy", "package.json", "package-lock.json", "tsconfig.json", "scripts/build.mjs"],
    (path) => !isTest.test(path),
  );
}

/** What dist/ holds now, cheaply: a file cut short or removed by hand shows. */
function outputs() {
  /** @type {Record<string, string>} */
  const seen = {};
  for (const name of Object.keys(executables)) {
    const file = statSync(join(dist, name), { throwIfNoEntry: false });
    if (file !== undefined) seen[name] = `${file.size} ${file.mtimeMs} ${file.mode.toString(8)}`;
  }
  const front = lstatSync(join(dist, "cnitool"), { throwIfNoEntry: false });
  if (front?.isSymbolicLink()) seen.cnitool = readlinkSync(join(dist, "cnitool"));
  const links = join(dist, "cni");
  for (const name of existsSync(links) ? readdirSync(links).sort() : [])
    seen[`cni/${name}`] = readlinkSync(join(links, name));
  return seen;
}

/** Whether dist/ was made of the sources as they are now. */
export function buildCurrent() {
  const text = readIfThere(stamp);
  if (text === undefined) return false;
  try {
    return text === JSON.stringify({ inputs: digest(inputs()), outputs: outputs() });
  } catch {
    return false;
  }
}

/**
 * Makes an executable deaf to BUN_OPTIONS (which adds arguments for Bun, a preloaded script among them) and
 * BUN_BE_BUN (which turns any compiled program into the bun command): they would reach a CNI plugin through its
 * runtime's environment. Bun has no flag for it, so their names in the executable are changed to what no
 * variable can be called, a name that begins with a zero byte.
 * @param {string} path
 */
export function ignoreBunVariables(path) {
  const image = readFileSync(path);
  const fd = openSync(path, "r+");
  try {
    for (const name of ["BUN_OPTIONS", "BUN_BE_BUN"]) {
      let count = 0;
      for (let at = image.indexOf(name); at >= 0; at = image.indexOf(name, at + 1)) {
        writeSync(fd, Buffer.alloc(1), 0, 1, at);
        count++;
      }
      if (count === 0)
        throw new SetupError(`this Bun's executable does not name ${name}; see ignoreBunVariables`);
    }
  } finally {
    closeSync(fd);
  }
}

/**
 * Puts the launcher in front of an executable: what asks a server that runs already before it starts itself.
 * @param {string} path
 */
async function addLauncher(path) {
  const { status, output } = await run(bun, ["src/cniserver/patch.ts", path], { cwd: root });
  if (status !== 0) throw new SetupError(`cannot put the launcher into ${path}:\n${output.trim()}`);
}

/**
 * @param {{ entry: string, flags: readonly string[], launcher: boolean }} executable its entry relative to the root
 * @param {string} target
 */
async function compile({ entry, flags, launcher }, target) {
  const command = ["build", ...compileFlags, ...flags, `--outfile=${target}`, entry];
  const { status, output } = await run(bun, command, { cwd: root });
  if (status !== 0)
    throw new SetupError(`bun build ${entry} failed (exit status ${status}):\n${output.trim()}`);
  ignoreBunVariables(target);
  if (launcher) await addLauncher(target);
  chmodSync(target, 0o755);
}

/** The plugins' names, from the source that knows them. */
async function pluginNames() {
  const script =
    'import { pluginNames } from "./src/plugins/names.ts"; console.log(JSON.stringify(pluginNames));';
  const { status, output } = await run(bun, ["-e", script], { cwd: root });
  if (status !== 0)
    throw new SetupError(`cannot read the plugins' names from src/plugins/names.ts:\n${output.trim()}`);
  /** @type {string[]} */
  const names = JSON.parse(output);
  return names;
}

/** Makes dist/ of the sources as they are now. Only for the holder of the lock. */
export async function build() {
  await step("build", async (note) => {
    note("dist/weft, dist/weft-cni, dist/cni/, dist/cnitool");
    const made = digest(inputs());
    const folder = workFolder("build");
    const [names] = await Promise.all([
      pluginNames(),
      ...Object.entries(executables).map(([name, made]) => compile(made, join(folder, name))),
    ]);
    mkdirSync(join(folder, "cni"));
    for (const name of names) symlinkSync("../weft-cni", join(folder, "cni", name));
    symlinkSync("weft", join(folder, "cnitool"));
    // From here on dist/ is of two minds, which a missing stamp says.
    rmSync(stamp, { force: true });
    mkdirSync(dist, { recursive: true });
    for (const name of [...Object.keys(executables), "cnitool"])
      renameSync(join(folder, name), join(dist, name));
    const links = join(dist, "cni");
    mkdirSync(links, { recursive: true });
    for (const name of names) renameSync(join(folder, "cni", name), join(links, name));
    for (const name of readdirSync(links))
      if (!names.includes(name)) rmSync(join(links, name), { recursive: true });
    rmSync(folder, { recursive: true });
    writeAtomic(stamp, JSON.stringify({ inputs: made, outputs: outputs() }));
  });
}
