/**
 * Checks the import rules over the whole project: `npm run check` runs it. Its last line counts what it saw.
 * Exit status 1 when a rule is broken, or when it saw other files than git or the disk has.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Project, Violation } from "./graph.ts";
import { checkImports } from "./rules.ts";

const root = join(import.meta.dir, "../..");
const source = /\.[mc]?[jt]sx?$/;
const skipped = new Set(["node_modules", "dist", ".cache", ".git"]);

/** Every source file on the disk, whatever git thinks of it. */
function onDisk(folder = ""): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory() && !skipped.has(entry.name)) found.push(...onDisk(path));
    else if (entry.isFile() && source.test(entry.name)) found.push(path);
  }
  return found;
}

/** Every source file that git tracks and that is still there; undefined where there is no repository. */
function inGit(): string[] | undefined {
  const { success, stdout } = Bun.spawnSync(["git", "ls-files", "-z"], { cwd: root, stderr: "ignore" });
  if (!success) return undefined;
  const tracked = stdout.toString().split("\0");
  return tracked.filter((path) => source.test(path) && existsSync(join(root, path)));
}

/** That the checker cannot pass by seeing nothing: it must have seen all that git has, and the two entries. */
function unseen(seen: ReadonlySet<string>): Violation[] {
  const wanted = [...(inGit() ?? []), "src/cni.ts", "src/weft.ts", "src/linux/ffi.ts"];
  return wanted
    .filter((file) => !seen.has(file))
    .map((file) => ({ file, line: 1, rule: "all is seen", message: "the checker did not see this file" }));
}

const sources = new Map(
  onDisk()
    .sort()
    .map((path) => [path, readFileSync(join(root, path), "utf8")]),
);
const project: Project = {
  sources,
  exists: (path) => existsSync(join(root, path)),
  exports: JSON.parse(readFileSync(join(root, "package.json"), "utf8")).exports,
};
const { imports, violations } = checkImports(project);
const all = [...unseen(new Set(sources.keys())), ...violations];
for (const { file, line, rule, message } of all) console.log(`${file}:${line}: [${rule}] ${message}`);
console.log(`import rules: ${sources.size} files, ${imports} imports, ${all.length} violations`);
process.exitCode = all.length === 0 ? 0 : 1;
