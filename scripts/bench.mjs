// Measures Weft against its peers: sets up what a bench needs and starts bench/run.ts.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { root } from "./lib/files.mjs";
import { bun } from "./packages.mjs";
import { main } from "./setup.mjs";

const onlyTells = ["--list", "--help", "-h"].some((flag) => process.argv.includes(flag));
await main(onlyTells ? "packages" : "tests", async () => {
  const command = [join(root, "bench/run.ts"), ...process.argv.slice(2)];
  return spawnSync(bun, command, { stdio: "inherit", cwd: root }).status ?? 1;
});
