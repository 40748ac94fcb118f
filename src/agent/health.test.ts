import { describe, expect, test } from "bun:test";
import { Metrics } from "../lib/metrics.ts";
import type { FeatureState } from "./feature.ts";
import { readyText, startHealth } from "./health.ts";

const heard = { connected: true, message: "https://10.0.0.1:6443" };
const states = (...entries: [string, FeatureState["state"], string][]) =>
  new Map(entries.map(([name, state, message]) => [name, { state, message }]));

describe("readyText", () => {
  test("lists every feature with its state", () => {
    expect(readyText(states(["routes", "ready", "routes to 2 nodes"], ["dns", "ready", ""]), heard)).toBe(
      "ok\n[+] api-server: https://10.0.0.1:6443\n[+] routes: ready (routes to 2 nodes)\n[+] dns: ready\n",
    );
  });

  test.each(["starting", "degraded", "failing"] as const)("one that is %s makes all unready", (state) => {
    expect(readyText(states(["routes", "ready", ""], ["dns", state, "because"]), heard)).toBe(
      `not ready\n[+] api-server: https://10.0.0.1:6443\n[+] routes: ready\n[-] dns: ${state} (because)\n`,
    );
  });

  test("an API server that is away does not", () => {
    const away = { connected: false, message: "not heard since noon" };
    expect(readyText(states(["routes", "ready", ""]), away)).toStartWith(
      "ok\n[!] api-server: not heard since noon\n",
    );
  });
});

describe("startHealth", () => {
  const start = (address: string, port: number, metrics = new Metrics()) =>
    startHealth({ address, port }, states(["dns", "starting", ""]), heard, metrics);
  const freePort = () => {
    const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const { port } = listener;
    listener.stop(true);
    return port;
  };

  test("answers each path, and what it has at others", async () => {
    const port = freePort();
    const health = start("127.0.0.1", port);
    try {
      const ask = async (path: string) => {
        const answer = await fetch(`http://127.0.0.1:${port}${path}`);
        return [answer.status, (await answer.text()).split("\n")[0]];
      };
      expect(await ask("/healthz")).toEqual([200, "ok"]);
      expect(await ask("/readyz")).toEqual([503, "not ready"]);
      expect(await ask("/metrics")).toEqual([200, ""]);
      expect(await ask("/")).toEqual([404, "Here are /healthz, /readyz and /metrics"]);
    } finally {
      health.stop();
    }
  });

  test("names the address that it cannot have, and what to do", () => {
    // Not by Bun.serve, which in one process lets servers of one address be.
    const taken = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const { port } = taken;
    try {
      expect(() => start("127.0.0.1", port)).toThrow(
        `--health-address: "127.0.0.1:${port}" is in use by another process`,
      );
    } finally {
      taken.stop(true);
    }
    expect(() => start("192.0.2.1", port)).toThrow(
      `--health-address: "192.0.2.1:${port}" is not an address of this machine`,
    );
    expect(() => start("2001:db8::1", port)).toThrow(`"[2001:db8::1]:${port}" is not an address`);
  });
});
