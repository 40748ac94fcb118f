import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DhcpRequest } from "../cni/dhcp-protocol.ts";
import { FakeClock } from "../lib/clock.ts";
import { Ip } from "../lib/ip.ts";
import { createLog } from "../lib/log.ts";
import { Prefix } from "../lib/prefix.ts";
import { seededRandom } from "../lib/random.ts";
import { netnsIdentity } from "../linux/netns.ts";
import { DhcpDaemon } from "./daemon.ts";
import { type Key, type LeaseRecord, LeaseStore } from "./store.ts";

const dir = mkdtempSync(join(tmpdir(), "weft-t-dhcp-daemon-"));
afterAll(() => rmSync(dir, { recursive: true }));

/** A folder from which nothing can be removed, as of a file system that has become read-only. */
class StuckStore extends LeaseStore {
  override remove(_: Key): void {
    throw Object.assign(new Error("EROFS: read-only file system, unlink"), { code: "EROFS" });
  }
}

const second = 1000;
const settings = {
  hostPrefix: "",
  broadcast: false,
  timeout: 10 * second,
  resendMax: 62 * second,
  resendTimeout: 208 * second,
};

/** A daemon with the leases of two containers, whose namespaces are this process's own under other paths. */
class Bench implements Disposable {
  readonly clock = new FakeClock();
  readonly lines: string[] = [];
  readonly netns: readonly string[];
  readonly daemon: DhcpDaemon;

  constructor(name: string) {
    const store = new StuckStore(join(dir, name), "boot");
    this.netns = ["a", "b"].map((each) => join(dir, `${name}-${each}`));
    for (const path of this.netns) {
      symlinkSync("/proc/self/ns/net", path);
      store.save(recordOf(path));
    }
    this.daemon = new DhcpDaemon(settings, {
      clock: this.clock,
      random: seededRandom(1),
      log: createLog({ write: (line) => this.lines.push(line) }),
      store,
    });
    this.daemon.start();
  }

  said(text: string): number {
    return this.lines.filter((line) => line.includes(text)).length;
  }

  ask(command: DhcpRequest["command"], path: string): Promise<unknown> {
    const { network, containerId, ifname, netns } = recordOf(path);
    const call = {
      command,
      network,
      containerId,
      ifname,
      netns,
      args: "",
      ipam: {},
      addresses: [],
      valid: [],
    };
    return this.daemon.handle(call, new AbortController().signal);
  }

  [Symbol.dispose](): void {
    this.daemon.stop();
  }
}

function recordOf(netns: string): LeaseRecord {
  const never = Number.POSITIVE_INFINITY;
  return {
    network: "net",
    containerId: netns,
    ifname: "eth0",
    netns,
    netnsIdentity: netnsIdentity({ path: "/proc/self/ns/net" }),
    // There is none of that index.
    link: 2 ** 31 - 1,
    requested: [],
    provided: new Map(),
    broadcast: false,
    lease: {
      address: Prefix.parse("10.0.0.9/24"),
      server: Ip.parse("10.0.0.1"),
      serverMac: Uint8Array.of(2, 0, 0, 0, 0, 1),
      gateway: undefined,
      routes: [],
      dns: {},
      renewal: never,
      rebinding: never,
      expiry: never,
    },
  };
}

test("a lease's file that cannot be removed stops neither the sweep nor the next", async () => {
  using bench = new Bench("sweep");
  const [first = "", last = ""] = bench.netns;
  rmSync(first);
  bench.clock.advance(10 * second);
  expect(bench.said("its container went without DEL")).toBe(1);
  expect(bench.said("cannot remove the lease's file")).toBe(1);
  await expect(bench.ask("CHECK", first)).rejects.toThrow("no DHCP lease is kept");
  await bench.ask("CHECK", last);
  rmSync(last);
  bench.clock.advance(10 * second);
  expect(bench.said("its container went without DEL")).toBe(2);
  expect(bench.said("EROFS")).toBe(2);
  // The sweep's.
  expect(bench.clock.waiting).toBe(1);
});

test("a sweep looks at all leases where the file of one cannot be removed", () => {
  using bench = new Bench("all");
  for (const path of bench.netns) rmSync(path);
  bench.clock.advance(10 * second);
  expect(bench.said("its container went without DEL")).toBe(2);
});

test("nor does it hold up DEL and GC, or a start", async () => {
  using bench = new Bench("calls");
  const [first = "", last = ""] = bench.netns;
  await bench.ask("DEL", first);
  await expect(bench.ask("CHECK", first)).rejects.toThrow("no DHCP lease is kept");
  await bench.ask("GC", "");
  await expect(bench.ask("CHECK", last)).rejects.toThrow("no DHCP lease is kept");
  expect(bench.said("cannot remove the lease's file")).toBe(2);
  bench.daemon.stop();
  for (const path of bench.netns) rmSync(path);
  bench.daemon.start();
  expect(bench.said("its container is gone")).toBe(2);
});
