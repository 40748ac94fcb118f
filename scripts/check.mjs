// What can be said of the source without running it: format and lint, types, import rules; all at once.
import { join } from "node:path";
import { root } from "./lib/files.mjs";
import { run } from "./lib/process.mjs";
import { elapsed } from "./lib/progress.mjs";
import { bun } from "./packages.mjs";
import { isMain, main } from "./setup.mjs";

const bin = join(root, "node_modules/.bin");

const checks = [
  {
    name: "format and lint",
    command: [join(bin, "biome"), "check", "--error-on-warnings", "--max-diagnostics=100", "--colors=off"],
  },
  { name: "types", command: [join(bin, "tsc"), "--noEmit", "--project", "."] },
  { name: "import rules", command: [bun, "test/rules/main.ts"] },
];

/**
 * Runs all checks and prints what they found.
 * @returns {Promise<{ passed: number, failed: number }>}
 */
export async function check() {
  const since = Date.now();
  const results = await Promise.all(
    checks.map(async ({ name, command: [program = "", ...args] }) => {
      const { status, output, late } = await run(program, args, { cwd: root, seconds: 120 });
      const good = status === 0;
      console.log(`${good ? "ok  " : "FAIL"} ${name}  ${elapsed(since)}${late ? ", out of time" : ""}`);
      if (!good) console.log(output.trim().replace(/^/gm, "     "));
      return good;
    }),
  );
  const passed = results.filter(Boolean).length;
  return { passed, failed: results.length - passed };
}

if (isMain(import.meta.url)) await main("packages", async () => ((await check()).failed === 0 ? 0 : 1));
