import { fstatSync } from "node:fs";
import { explain } from "../lib/errors.ts";
import { execve } from "../linux/ffi.ts";
import { mostDeletions } from "./deletions.ts";
import { type Server, startServer } from "./server.ts";

/** How many threads the engine has for what must not hold up the one that answers. It reads this at its start only. */
const threadsVariable = "UV_THREADPOOL_SIZE";
/** Most of them only wait for the kernel; see deletions.ts. */
const threads = mostDeletions + 2;

/**
 * `weft-cni serve`: a server until it is terminated; where standard input is a pipe, also until that ends, so that it
 * ends with whoever started it, however that ends. Says on standard output where it listens.
 */
export async function serve(): Promise<number> {
  withThreads();
  const ended = new Promise<void>((resolve) => {
    process.on("SIGTERM", resolve);
    process.on("SIGINT", resolve);
    const input = fstatSync(0);
    // Bun's own pipes are sockets.
    if (!input.isFIFO() && !input.isSocket()) return;
    process.stdin.on("end", resolve).on("error", resolve).resume();
  });
  let server: Server;
  try {
    server = startServer();
  } catch (error) {
    console.error(`weft-cni serve: ${explain(error)}`);
    return 1;
  }
  console.log(server.path);
  await ended;
  await server.close();
  return 0;
}

/** Begins anew where the engine has not as many threads as are wanted. */
function withThreads(): void {
  if (process.env[threadsVariable] !== undefined) return;
  const env: Record<string, string> = { [threadsVariable]: String(threads) };
  for (const [name, value = ""] of Object.entries(process.env)) env[name] = value;
  execve("/proc/self/exe", [process.argv0, ...process.argv.slice(2)], env);
}
