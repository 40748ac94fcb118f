import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const project = join(import.meta.dir, "../..");

/** Stands for `weft` in a copy of the project: tells how it was called, and does what the arguments say. */
const program = `
const args = process.argv.slice(2);
console.log(JSON.stringify({ args, parent: process.ppid, tag: "0" }));
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => { console.log("got " + signal); process.exit(signal === "SIGINT" ? 42 : 43); });
}
if (args.includes("--wait")) { setInterval(() => {}, 1000); console.log("waiting"); }
if (args.includes("--die")) process.kill(process.pid, "SIGKILL");
if (args.includes("--cat")) console.log("read " + (await Bun.stdin.text()));
if (args.includes("--status")) process.exitCode = Number(args[args.indexOf("--status") + 1]);
`;

/** A copy of the project's ground (scripts, package.json and its lock) with stand-ins for its programs. */
export class Tree {
  readonly path = mkdtempSync(join(tmpdir(), "weft-t-ground-"));

  /** With `sharing`, its npm packages are the project's own. */
  constructor({ sharing = false } = {}) {
    for (const name of ["package.json", "package-lock.json", ".npmrc", "tsconfig.json", "scripts"]) {
      cpSync(join(project, name), join(this.path, name), { recursive: true });
    }
    if (sharing) symlinkSync(join(project, "node_modules"), join(this.path, "node_modules"));
    this.write("src/weft.ts", program);
    this.write("src/cni.ts", 'console.log("plugin", process.argv0);\n');
    this.write("src/cniserver/patch.ts", "");
    this.write("src/plugins/names.ts", 'export const pluginNames = ["bridge", "loopback"];\n');
  }

  write(name: string, text: string): void {
    mkdirSync(dirname(join(this.path, name)), { recursive: true });
    writeFileSync(join(this.path, name), text);
  }

  /** Changes the program, so that it has to be built again; it then prints the tag. */
  retag(tag: string): void {
    this.write("src/weft.ts", program.replace('tag: "0"', `tag: ${JSON.stringify(tag)}`));
  }

  /** Starts a command in the tree as the leader of its own process group. */
  spawn(command: string[], options: { input?: string; env?: Record<string, string> } = {}) {
    return Bun.spawn(command, {
      cwd: this.path,
      env: { ...process.env, ...options.env },
      stdin: options.input === undefined ? "ignore" : new Blob([options.input]),
      stdout: "pipe",
      stderr: "pipe",
      detached: true,
    });
  }

  async run(command: string[], options: { input?: string; env?: Record<string, string> } = {}) {
    const child = this.spawn(command, options);
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    return { status: await child.exited, signal: child.signalCode, stdout, stderr };
  }

  setUp() {
    return this.run(["node", "scripts/setup.mjs"]);
  }

  /** Every file under a folder with its size: whether two folders hold the same, for a folder of packages. */
  listing(folder: string): string[] {
    const names = readdirSync(join(this.path, folder), { recursive: true, encoding: "utf8" }).sort();
    return names.map((name) => {
      const entry = statSync(join(this.path, folder, name));
      return entry.isDirectory() ? name : `${name} ${entry.size}`;
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
