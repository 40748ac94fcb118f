import { startServer } from "./server.ts";

/**
 * `weft-cni serve`: a server for as long as standard input is open, so that it ends with whoever started it, however
 * that ends. Says on standard output where it listens.
 */
export async function serve(): Promise<number> {
  const server = startServer();
  console.log(server.path);
  const ended = new Promise<void>((resolve) => {
    process.on("SIGTERM", resolve);
    process.on("SIGINT", resolve);
    process.stdin.on("end", resolve).on("error", resolve).resume();
  });
  await ended;
  await server.close();
  return 0;
}
