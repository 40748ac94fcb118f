import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DhcpAnswer, formatLine, parseRequest } from "../../cni/dhcp-protocol.ts";
import { parseCniArgs } from "../../cni/env.ts";
import { parseNetworkConfig } from "../../cni/netconf.ts";
import type { GcRequest } from "../../cni/plugin.ts";
import { dhcp } from "./dhcp.ts";

/** A daemon that says the same to whoever asks, and keeps what it was asked. */
class Daemon implements Disposable {
  readonly #dir = mkdtempSync(join(tmpdir(), "weft-t-dhcp-"));
  readonly path: string = join(this.#dir, "s");
  readonly asked: (string | undefined)[] = [];
  #server: Server | undefined;

  async listen(answers: DhcpAnswer[], onAsked: () => void = () => {}): Promise<void> {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", (bytes) => {
        this.asked.push(parseRequest(String(bytes).trim())?.command);
        for (const answer of answers) socket.write(formatLine(answer));
        onAsked();
      });
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.path, resolve));
  }

  request(signal: AbortSignal): GcRequest {
    const ipam = { type: "dhcp", daemonSocketPath: this.path };
    return {
      invocation: {
        command: "DEL",
        containerId: "blue",
        netns: "/run/netns/blue",
        ifname: "eth0",
        args: parseCniArgs(""),
        netnsOverride: false,
        path: [],
      },
      config: parseNetworkConfig({ cniVersion: "1.1.0", name: "net", type: "bridge", ipam }),
      warn: () => {},
      builtin: async () => undefined,
      env: {},
      valid: [],
      signal,
    };
  }

  [Symbol.dispose](): void {
    this.#server?.close();
    rmSync(this.#dir, { recursive: true });
  }
}

const done: DhcpAnswer[] = [{ patience: 1000 }, { result: {} }];

describe("Where the signal was aborted before", () => {
  for (const [command, call] of [
    ["DEL", dhcp.del],
    ["GC", async (request: GcRequest) => await dhcp.gc?.(request)],
  ] as const) {
    test(`${command} goes on, since something is being taken back`, async () => {
      using daemon = new Daemon();
      await daemon.listen(done);
      await call(daemon.request(AbortSignal.abort()));
      expect(daemon.asked).toEqual([command]);
    });
  }

  test("DEL also waits for a daemon that is just being started anew", async () => {
    using daemon = new Daemon();
    const deleted = dhcp.del(daemon.request(AbortSignal.abort()));
    await daemon.listen(done);
    await deleted;
    expect(daemon.asked).toEqual(["DEL"]);
  });

  test("ADD does not begin", async () => {
    using daemon = new Daemon();
    await daemon.listen(done);
    await expect(dhcp.add(daemon.request(AbortSignal.abort(new Error("told to stop"))))).rejects.toThrow(
      "told to stop",
    );
    expect(daemon.asked).toEqual([]);
  });
});

describe("An abort ends a DEL", () => {
  test("that waits for its answer", async () => {
    using daemon = new Daemon();
    const abort = new AbortController();
    await daemon.listen([{ patience: 60_000 }], () => abort.abort(new Error("told to stop")));
    await expect(Promise.resolve(dhcp.del(daemon.request(abort.signal)))).rejects.toThrow("told to stop");
    expect(daemon.asked).toEqual(["DEL"]);
  });

  test("that waits for a daemon", async () => {
    using daemon = new Daemon();
    const abort = new AbortController();
    const deleted = Promise.resolve(dhcp.del(daemon.request(abort.signal)));
    abort.abort(new Error("told to stop"));
    await expect(deleted).rejects.toThrow("told to stop");
  });
});
