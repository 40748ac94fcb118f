import { closeSync, openSync } from "node:fs";
import { selfCommand } from "../lib/self.ts";
import type { Kernel } from "../linux/kernel.ts";
import { netnsPath } from "../linux/netns.ts";
import type { NodePeer } from "./checks.ts";
import { spawnIn } from "./container.ts";
import { type EchoOptions, serveEcho } from "./echo.ts";
import { addHost, fabric, hostAddresses } from "./fabric.ts";
import { type OutsideZone, serveZone } from "./nameserver.ts";
import { makeDir } from "./paths.ts";

const port = 8080;
/** Reserved for examples (RFC 2606): nobody's on the Internet. */
const domain = "weft.example";

/** The name of the host outside in the DNS that it serves itself, and its addresses: IPv4, then IPv6. */
export const outsideName = `${fabric.outside.name}.${domain}`;
export const outsideAddresses: readonly string[] = hostAddresses(fabric.outside.number).map(({ ip }) =>
  String(ip),
);

/** The host beyond the cluster: it knows no route to pods, answers as `weft/echo` does, and serves names. */
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
    const ips = [...outsideAddresses];
    const peer: NodePeer = { name, ips, port, socket: "/run/weft/outside.sock" };
    const options: EchoOptions = { pod: name, podIPs: ips, node: name, port, socket: peer.socket };
    const output = openSync(`${logsDir}/outside.log`, "a");
    try {
      const command = [...selfCommand(), "lab", "outside", JSON.stringify(options)];
      const env = process.env as Record<string, string>;
      return new Outside(peer, spawnIn(netnsPath({ name }), command, { env, output }));
    } finally {
      closeSync(output);
    }
  }

  stop(): void {
    this.#process.kill("SIGTERM");
  }
}

/** The process behind `weft lab outside`. */
export async function serveOutside(options: EchoOptions): Promise<void> {
  serveEcho(options);
  const host = `${outsideName}.`;
  const zone: OutsideZone = {
    origin: `${domain}.`,
    nameserver: host,
    hosts: { [host]: outsideAddresses },
  };
  await serveZone(zone, outsideAddresses);
}
