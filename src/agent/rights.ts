import { readFileSync } from "node:fs";
import { WeftError } from "../lib/errors.ts";

const CAP_NET_ADMIN = 12n;

/** Throws where this process may not change the network, before each feature would say so in its own way. */
export function requireRights(status = readFileSync("/proc/self/status", "utf8")): void {
  const effective = /^CapEff:\s+([0-9a-f]+)$/m.exec(status)?.[1];
  if (effective === undefined || ((BigInt(`0x${effective}`) >> CAP_NET_ADMIN) & 1n) === 1n) return;
  throw new WeftError("not-permitted", "weft agent may not change this machine's network (CAP_NET_ADMIN)", {
    remedy: "Run it as root; in a container, as a privileged one with the machine's own network",
  });
}
