import { lookup, Resolver } from "node:dns/promises";
import { explain } from "../lib/errors.ts";

/** What the server says about one request, and what `/dial` says about each of its own. */
export interface EchoAnswer {
  pod: string;
  podIPs: string[];
  node: string;
  /** The address from which the request came. */
  caller: string;
}

/** One try of `/dial`. */
export interface DialResult {
  ok: boolean;
  milliseconds: number;
  answer?: EchoAnswer;
  error?: string;
}

export interface EchoOptions {
  pod: string;
  podIPs: string[];
  node: string;
  /** TCP port on all addresses of both families; none where undefined. */
  port?: number;
  /** A Unix socket on which the same server listens for its own node. */
  socket?: string;
  /** Further answers on that socket, before the usual ones. */
  more?: (request: Request) => Response | Promise<Response> | undefined;
}

/** How long a server goes on answering after it was told to end, in milliseconds. */
const lameDuck = 500;

const dialTimeout = 2_000;
const dialCountMax = 1_000;
/** After so many failures one after the other `/dial` makes no more requests: they would all wait their time. */
const dialPatience = 3;

/**
 * The image `weft/echo`: an HTTP server that answers with the pod's name, its addresses and the caller's address, as
 * text or (with `Accept: application/json`) as JSON. `/healthz` answers "ok"; on the node's own socket also
 * `/dial?url=URL&count=N&timeout=MS`, which makes N requests from inside the pod, one connection each, and
 * `/lookup?name=NAME`, which asks as the pod's resolv.conf says, or with `&server=IP` that server alone.
 */
export function startEcho(options: EchoOptions): { stop(): void } {
  const servers: { stop(force?: boolean): unknown }[] = [];
  if (options.port !== undefined) {
    servers.push(
      Bun.serve({
        hostname: "::",
        port: options.port,
        fetch: (request, server) => answer(request, options, server.requestIP(request)?.address ?? "unknown"),
      }),
    );
  }
  if (options.socket !== undefined) {
    servers.push(
      Bun.serve({
        unix: options.socket,
        fetch: (request, server) => {
          // A name that nobody answers for takes its time.
          server.timeout(request, 0);
          return options.more?.(request) ?? control(request) ?? answer(request, options, "node");
        },
      }),
    );
  }
  return { stop: () => void servers.map((server) => server.stop(true)) };
}

/** The same as a process of its own. After SIGTERM it answers for a moment, until nobody is sent here any more. */
export function serveEcho(options: EchoOptions): void {
  startEcho(options);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => setTimeout(() => process.exit(0), lameDuck));
  }
}

function answer(request: Request, options: EchoOptions, from: string): Response {
  const url = new URL(request.url);
  if (url.pathname === "/healthz") return new Response("ok\n");
  const caller = from.startsWith("::ffff:") ? from.slice("::ffff:".length) : from;
  const said: EchoAnswer = { pod: options.pod, podIPs: options.podIPs, node: options.node, caller };
  if (request.headers.get("accept")?.includes("application/json")) return Response.json(said);
  return new Response(`${said.pod} (${said.podIPs.join(", ")}) on ${said.node} was called by ${caller}\n`);
}

function control(request: Request): Promise<Response> | undefined {
  const url = new URL(request.url);
  if (url.pathname === "/dial") {
    const count = Math.min(Number(url.searchParams.get("count") ?? 1), dialCountMax);
    const timeout = Number(url.searchParams.get("timeout") ?? dialTimeout);
    return dial(url.searchParams.get("url") ?? "", count, timeout).then((results) => Response.json(results));
  }
  if (url.pathname === "/lookup") {
    const name = url.searchParams.get("name") ?? "";
    const server = url.searchParams.get("server") ?? undefined;
    return resolve(name, server).then((result) => Response.json(result));
  }
  return undefined;
}

/**
 * Makes `count` requests, a new connection each, as JSON; fewer where nothing but failures comes. Failures are results,
 * not rejections.
 */
export async function dial(url: string, count: number, timeout = dialTimeout): Promise<DialResult[]> {
  const results: DialResult[] = [];
  for (let i = 0, failures = 0; i < count && failures < dialPatience; i++) {
    const start = performance.now();
    try {
      const response = await fetch(url, {
        headers: { accept: "application/json", connection: "close" },
        keepalive: false,
        signal: AbortSignal.timeout(timeout),
      });
      const said = (await response.json()) as EchoAnswer;
      results.push({ ok: response.ok, milliseconds: performance.now() - start, answer: said });
      failures = 0;
    } catch (error) {
      results.push({ ok: false, milliseconds: performance.now() - start, error: reason(error) });
      failures++;
    }
  }
  return results;
}

/** The kernel's word for it, without the advice that fetch adds. */
function reason(error: unknown): string {
  const said = explain(error);
  return /^E[A-Z]+(?=: )/.exec(said)?.[0] ?? said;
}

async function resolve(
  name: string,
  server: string | undefined,
): Promise<{ addresses: string[]; error?: string }> {
  try {
    const found = server === undefined ? await lookupAll(name) : await resolveAt(name, server);
    return { addresses: found.sort() };
  } catch (error) {
    return { addresses: [], error: explain(error) };
  }
}

async function lookupAll(name: string): Promise<string[]> {
  return (await lookup(name, { all: true })).map(({ address }) => address);
}

/** Asks one server for A and AAAA records. */
async function resolveAt(name: string, server: string): Promise<string[]> {
  const resolver = new Resolver({ timeout: dialTimeout, tries: 1 });
  resolver.setServers([server]);
  return (await Promise.all([resolver.resolve4(name), resolver.resolve6(name)])).flat();
}
