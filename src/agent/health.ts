import { InvalidInput } from "../lib/errors.ts";
import type { Metrics } from "../lib/metrics.ts";
import type { ApiConnection } from "./connection.ts";
import type { FeatureState } from "./feature.ts";

type States = ReadonlyMap<string, FeatureState>;
type Connection = Pick<ApiConnection, "connected" | "message">;

/**
 * Serves /healthz (the process lives), /readyz (every feature is ready; 503 where not, and in both cases the list) and
 * /metrics (Prometheus text). Throws InvalidInput where the address cannot be had.
 */
export function startHealth(
  listen: { address: string; port: number },
  states: States,
  connection: Connection,
  metrics: Metrics,
): { stop(): void } {
  const respond = (request: Request): Response => {
    switch (new URL(request.url).pathname) {
      case "/healthz":
        return new Response("ok\n");
      case "/readyz":
        return new Response(readyText(states, connection), { status: isReady(states) ? 200 : 503 });
      case "/metrics":
        return new Response(metrics.text(), {
          headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
        });
      default:
        return new Response("Here are /healthz, /readyz and /metrics\n", { status: 404 });
    }
  };
  const { address, port } = listen;
  try {
    const server = Bun.serve({ hostname: address, port, development: false, fetch: respond });
    return { stop: () => void server.stop(true) };
  } catch (error) {
    throw refused(address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`, error);
  }
}

function refused(place: string, error: unknown): InvalidInput {
  const { code, message } = error as NodeJS.ErrnoException;
  const fail = (problem: string, remedy: string) =>
    new InvalidInput("--health-address", place, problem, { remedy, cause: error });
  switch (code) {
    case "EADDRINUSE":
      return fail("is in use by another process", "Stop that process or choose another port");
    case "EADDRNOTAVAIL":
      return fail("is not an address of this machine", "Choose one that a link has, or 0.0.0.0 or [::]");
    case "EACCES":
      return fail("may not be listened on", "Run as root or choose a port above 1023");
    default:
      return fail(`cannot be listened on: ${message}`, "Choose another address or port");
  }
}

const isReady = (states: States) => [...states.values()].every(({ state }) => state === "ready");

/**
 * What /readyz shows: a verdict, the API server, and a line for each feature. An API server that is away is no reason
 * to be unready: what was last known stays in force.
 */
export function readyText(states: States, connection: Connection): string {
  const lines = [`[${connection.connected ? "+" : "!"}] api-server: ${connection.message}`];
  for (const [feature, { state, message }] of states) {
    const mark = state === "ready" ? "+" : "-";
    lines.push(`[${mark}] ${feature}: ${state}${message && ` (${message})`}`);
  }
  return `${isReady(states) ? "ok" : "not ready"}\n${lines.join("\n")}\n`;
}
