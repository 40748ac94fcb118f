import { createServer, type Server, type Socket } from "node:net";
import {
  type DhcpAnswer,
  formatLine,
  longestLine,
  otherClientAnswer,
  parseRequest,
} from "../cni/dhcp-protocol.ts";
import { cniErrorCode, toErrorResult } from "../cni/errors.ts";
import { explain } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { DhcpDaemon } from "./daemon.ts";

/** How long a client may take to say what it wants. Milliseconds. */
const patience = 10_000;

/** Where to listen: a path, or a socket that was handed over. */
export type Listening = { path: string } | { fd: number };

/** Answers plugins on a Unix socket; resolves once it listens. */
export async function serve(daemon: DhcpDaemon, listening: Listening, log: Log): Promise<Server> {
  const server = createServer((socket) => converse(daemon, socket, log));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(listening, resolve);
  });
  server.on("error", (error) => log.error("cannot take a connection", { cause: error.message }));
  return server;
}

/** One connection: a line comes, is answered that it came, and later with what came of it. */
function converse(daemon: DhcpDaemon, socket: Socket, log: Log): void {
  const abort = new AbortController();
  const pieces: Buffer[] = [];
  let length = 0;
  let isAsked = false;
  socket.setTimeout(patience, () => socket.destroy());
  socket.on("error", (error) => log.debug("connection broke", { cause: error.message }));
  socket.on("close", () => abort.abort(new Error("the plugin does not wait any more")));
  socket.on("data", (piece: Buffer) => {
    if (isAsked) return;
    pieces.push(piece);
    length += piece.length;
    const isLine = piece.includes("\n".charCodeAt(0));
    if (!isLine && length <= longestLine) return;
    isAsked = true;
    socket.setTimeout(0);
    const [line = ""] = Buffer.concat(pieces).toString().split("\n", 1);
    void answer(daemon, socket, isLine ? line : "", abort.signal, log);
  });
}

async function answer(
  daemon: DhcpDaemon,
  socket: Socket,
  line: string,
  signal: AbortSignal,
  log: Log,
): Promise<void> {
  const request = parseRequest(line);
  if (request === undefined) {
    log.warn("refusing a client that does not speak as Weft's dhcp plugin does", { said: line.slice(0, 80) });
    socket.end(otherClientAnswer);
    return;
  }
  socket.write(formatLine({ patience: daemon.patience }));
  let said: DhcpAnswer;
  try {
    said = { result: await daemon.handle(request, signal) };
  } catch (error) {
    const { code, msg, details } = toErrorResult(error, "1.1.0");
    said = { error: details === undefined ? { code, msg } : { code, msg, details } };
    if (code === cniErrorCode.internal)
      log.debug("failed", { command: request.command, cause: explain(error) });
  }
  socket.end(formatLine(said));
}
