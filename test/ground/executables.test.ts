/** What dist/ holds obeys its own command line, and nothing that lies in the folder in which it is started. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compileFlags, ignoreBunVariables } from "../../scripts/build.mjs";
import { pluginNames } from "../../src/plugins/names.ts";

const dist = join(import.meta.dir, "../../dist");

/** A folder whose every file would change a program that read it. */
function trap(folder: string): string {
  const path = join(folder, "trap");
  mkdirSync(path);
  const preload = 'require("node:fs").writeFileSync("sprung", "by a preload"); console.log("sprung");\n';
  writeFileSync(join(path, "preload.js"), preload);
  writeFileSync(join(path, "bunfig.toml"), 'preload = ["./preload.js"]\n');
  for (const name of [".env", ".env.local", ".env.production"])
    writeFileSync(join(path, name), "WEFT_SPRUNG=1\n");
  writeFileSync(join(path, "package.json"), '{ "type": "commonjs", "name": ');
  writeFileSync(join(path, "tsconfig.json"), '{ "compilerOptions": ');
  return path;
}

describe("a compiled program", () => {
  let folder: string;
  let cwd: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "weft-t-executables-"));
    cwd = trap(folder);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** A program made as Weft is made, that tells whether it was reached by what lies about. */
  const source =
    'console.log(JSON.stringify([process.argv.slice(2), process.execArgv, process.env.WEFT_SPRUNG ?? "no"]));';

  function compile(flags: readonly string[], name: string): string {
    const [entry, program] = [join(folder, `${name}.ts`), join(folder, name)];
    writeFileSync(entry, source);
    const built = Bun.spawnSync([process.execPath, "build", ...flags, `--outfile=${program}`, entry], {
      cwd: folder,
    });
    expect(built.exitCode).toBe(0);
    return program;
  }

  const run = (command: string[], env: Record<string, string> = {}) => {
    const { stdout, stderr, exitCode } = Bun.spawnSync(command, {
      cwd,
      env: { PATH: process.env.PATH, ...env },
    });
    return { stdout: stdout.toString(), stderr: stderr.toString(), exitCode };
  };

  const untouched = { stdout: '[["a"],[],"no"]\n', stderr: "", exitCode: 0 };

  test("reads nothing from its folder, which without the flags it would", () => {
    expect(run([compile(compileFlags, "flagged"), "a"])).toEqual(untouched);
    expect(existsSync(join(cwd, "sprung"))).toBe(false);
    const plain = compile(["--compile", "--minify", "--bytecode", "--format=esm"], "plain");
    expect(run([plain, "a"]).stdout).toContain("sprung");
    rmSync(join(cwd, "sprung"));
  });

  test("does not obey BUN_OPTIONS and BUN_BE_BUN, which before the change it would", () => {
    const program = compile(compileFlags, "obedient");
    const env = { BUN_OPTIONS: "--preload ./preload.js" };
    expect(run([program, "a"], env).stdout).toContain("sprung");
    expect(run([program, "--version"], { BUN_BE_BUN: "1" }).stdout).toBe(`${Bun.version}\n`);
    rmSync(join(cwd, "sprung"));
    ignoreBunVariables(program);
    expect(run([program, "a"], { ...env, BUN_BE_BUN: "1" })).toEqual(untouched);
    expect(existsSync(join(cwd, "sprung"))).toBe(false);
  });

  test.each(["weft", "weft-cni", "cni/bridge"])("dist/%s is made so", (name) => {
    const version = (env: Record<string, string>) =>
      run([join(dist, name), "--version"], { CNI_COMMAND: "VERSION", ...env });
    const plain = version({});
    expect(plain.stdout + plain.stderr).not.toBe("");
    expect(version({ BUN_OPTIONS: "--preload ./preload.js", BUN_BE_BUN: "1" })).toEqual(plain);
    expect(existsSync(join(cwd, "sprung"))).toBe(false);
  });
});

test("dist/cni has a link to weft-cni for each plugin, and nothing else", () => {
  const folder = join(dist, "cni");
  const links = readdirSync(folder).map((name) => [name, readlinkSync(join(folder, name))]);
  expect(links.sort()).toEqual([...pluginNames].sort().map((name) => [name, "../weft-cni"]));
});
