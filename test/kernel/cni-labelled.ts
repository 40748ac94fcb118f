/** A process that makes one call of the tap plugin as its executable does, and that stops waiting for it at SIGTERM. */
import { readFileSync } from "node:fs";
import { runPlugin } from "../../src/cni/skeleton.ts";
import { isOwnNetns, ownBuiltin } from "../../src/plugins/host.ts";
import { tap } from "../../src/plugins/tap/tap.ts";

if (import.meta.main) {
  const stop = new AbortController();
  process.on("SIGTERM", () => stop.abort());
  process.exitCode = await runPlugin(tap, {
    env: process.env,
    readStdin: () => readFileSync(0, "utf8"),
    writeStdout: (text) => console.log(text),
    writeStderr: (text) => console.error(text),
    isOwnNetns,
    builtin: ownBuiltin,
    signal: stop.signal,
  });
}
