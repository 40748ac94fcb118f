import { fstatSync } from "node:fs";
import { explain } from "../lib/errors.ts";
import { type Server, startServer } from "./server.ts";

/**
 * `weft-cni serve`: a server until it is terminated; where standard input is a pipe, also until that ends, so that it
 * ends with whoever started it, however that ends. Says on standard output where it listens.
 */
export async function serve(): Promise<number> {
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
