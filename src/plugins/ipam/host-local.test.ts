import { afterEach, expect, spyOn, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseCniArgs } from "../../cni/env.ts";
import { parseNetworkConfig } from "../../cni/netconf.ts";
import type { GcRequest } from "../../cni/plugin.ts";
import { hostLocal } from "./host-local.ts";

const dataDir = mkdtempSync(join(tmpdir(), "weft-t-leases-"));
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

function requestOf(containerId: string, signal?: AbortSignal): GcRequest {
  const ipam = { type: "host-local", subnet: "10.0.0.0/24", dataDir };
  return {
    invocation: {
      command: "ADD",
      containerId,
      netns: "/run/netns/none",
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
    ...(signal === undefined ? {} : { signal }),
  };
}

test("a lock that nobody lets go of fails every call with code 11; what aborts, ends; what was aborted before, goes on", async () => {
  await hostLocal.add(requestOf("blue"));
  const holder = Bun.spawn(["flock", join(dataDir, "net/lock"), "sh", "-c", "echo held; read go"], {
    stdin: "pipe",
    stdout: "pipe",
  });
  await holder.stdout.getReader().read();
  const abort = new AbortController();
  const aborted = hostLocal.gc?.(requestOf("blue", abort.signal));
  abort.abort(new Error("nobody waits"));
  await expect(Promise.resolve(aborted)).rejects.toThrow("nobody waits");
  const takingBack = hostLocal.del(requestOf("blue", abort.signal));
  const { now } = performance;
  let passed = 0;
  const clock = spyOn(performance, "now").mockImplementation(() => now.call(performance) + passed);
  const calls = (["add", "del", "check", "gc", "status"] as const).map(
    async (command) => await hostLocal[command]?.(requestOf("green")),
  );
  calls.push((async () => await takingBack)());
  const failed = Promise.allSettled(calls);
  passed = 31_000;
  for (const outcome of await failed) {
    expect(outcome).toMatchObject({
      status: "rejected",
      reason: { cniCode: 11, message: `${dataDir}/net/lock is locked by another process for more than 30 s` },
    });
  }
  clock.mockRestore();
  holder.stdin.end();
  await holder.exited;
  await hostLocal.del(requestOf("blue", abort.signal));
  await expect(Promise.resolve(hostLocal.check(requestOf("blue")))).rejects.toMatchObject({ cniCode: 3 });
});

test("GC takes an old lease without interface for any that is valid of its container", async () => {
  for (const containerId of ["blue", "red"]) await hostLocal.add(requestOf(containerId));
  // The lease of blue's record is gone; another interface of blue has one that an old reference made.
  rmSync(join(dataDir, "net/10.0.0.2"));
  writeFileSync(join(dataDir, "net/10.0.0.9"), "blue");
  const valid = [{ containerId: "blue", ifname: "eth1" }];
  await hostLocal.gc?.({ ...requestOf(""), valid });
  expect(readdirSync(join(dataDir, "net")).sort()).toEqual(["10.0.0.9", "last_reserved_ip.0", "lock"]);
  expect(readdirSync(join(dataDir, ".weft"))).toEqual([]);
});
