import { InvalidInput, WeftError } from "../lib/errors.ts";
import type { Metrics } from "../lib/metrics.ts";
import type { FeatureState } from "./feature.ts";

/**
 * Serves /healthz (the process lives), /readyz (every feature is ready; 503 and the list where not) and /metrics
 * (Prometheus text). Throws where the address cannot be had.
 */
export function startHealth(
  listen: { address: string; port: number },
  states: ReadonlyMap<string, FeatureState>,
  metrics: Metrics,
): { stop(): void } {
  const respond = (request: Request): Response => {
    switch (new URL(request.url).pathname) {
      case "/healthz":
        return new Response("ok\n");
      case "/readyz":
        return ready(states);
      case "/metrics":
        return new Response(metrics.text(), { headers: { "content-type": "text/plain; version=0.0.4" } });
      default:
        return new Response("Here are /healthz, /readyz and /metrics\n", { status: 404 });
    }
  };
  try {
    const server = Bun.serve({ hostname: listen.address, port: listen.port, fetch: respond });
    return { stop: () => void server.stop(true) };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EADDRINUSE")
      throw new WeftError("health-server", "the health server cannot start", { cause: error });
    throw new InvalidInput(
      "--health-address",
      `${listen.address}:${listen.port}`,
      "is in use by another process",
      {
        remedy: "Stop that process or choose another port",
        cause: error,
      },
    );
  }
}

function ready(states: ReadonlyMap<string, FeatureState>): Response {
  const all = [...states].every(([, { state }]) => state === "ready");
  const lines = [...states].map(([feature, { state, message }]) => {
    const mark = state === "ready" ? "+" : "-";
    return `[${mark}] ${feature}: ${state}${message && ` (${message})`}\n`;
  });
  return new Response(`${all ? "ok" : "not ready"}\n${lines.join("")}`, { status: all ? 200 : 503 });
}
