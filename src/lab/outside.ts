import { closeSync, openSync } from "node:fs";
import { selfCommand } from "../lib/self.ts";
import type { Kernel } from "../linux/kernel.ts";
import { netnsPath } from "../linux/netns.ts";
import type { NodePeer } from "./checks.ts";
import { spawnIn } from "./container.ts";
import type { EchoOptions } from "./echo.ts";
import { addHost, fabric, hostAddresses } from "./fabric.ts";
import { makeDir } from "./paths.ts";

const port = 8080;

/** The host beyond the cluster: it knows no route to pods, and answers as `weft/echo` does. */
export class Outside {
  readonly peer: NodePeer;
  readonly #process: Bun.Subprocess;

  private constructor(peer: NodePeer, process: Bun.Subprocess) {
    this.peer = peer;
    this.#process = process;
  }

  static start(kernel: Kernel, logsDir: string): Outside {
    const { name, number } = fabric.outside;
    addHost(kernel, name, number);
    makeDir("/run/weft");
    const ips = hostAddresses(number).map(({ ip }) => String(ip));
    const peer: NodePeer = { name, ips, port, socket: "/run/weft/outside.sock" };
    const options: EchoOptions = { pod: name, podIPs: ips, node: name, port, socket: peer.socket };
    const output = openSync(`${logsDir}/outside.log`, "a");
    try {
      const echo = spawnIn(netnsPath({ name }), [...selfCommand(), "lab", "echo", JSON.stringify(options)], {
        env: process.env as Record<string, string>,
        output,
      });
      return new Outside(peer, echo);
    } finally {
      closeSync(output);
    }
  }

  stop(): void {
    this.#process.kill("SIGTERM");
  }
}
