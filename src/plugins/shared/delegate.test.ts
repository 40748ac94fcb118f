import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseCniArgs } from "../../cni/env.ts";
import { parseNetworkConfig } from "../../cni/netconf.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import { delegateAdd } from "./delegate.ts";

const folder = mkdtempSync(join(tmpdir(), "weft-delegate-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** An ADD that delegates to a shell script. */
function request(script: string, more: Partial<PluginRequest> = {}): PluginRequest {
  writeFileSync(join(folder, "ipam"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return {
    invocation: {
      command: "ADD",
      containerId: "blue",
      netns: "/run/netns/blue",
      ifname: "eth0",
      args: parseCniArgs(""),
      netnsOverride: false,
      path: [folder],
    },
    config: parseNetworkConfig({ cniVersion: "1.0.0", name: "net", type: "bridge", ipam: { type: "ipam" } }),
    warn: () => {},
    builtin: async () => undefined,
    env: process.env,
    ...more,
  };
}

/** True where there is no such process, or only until somebody asks how it ended. */
function hasEnded(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");
  } catch {
    return true;
  }
}

const stuck = `sleep 1000 & echo $! > ${folder}/pid; wait`;
const pidOfSleep = () => Number(readFileSync(join(folder, "pid"), "utf8"));

test("a delegate that hangs within the runtime is killed at its timeout, with all that it started", async () => {
  const added = delegateAdd("ipam", request(stuck, { delegateTimeout: 300 }));
  await expect(added).rejects.toThrow('plugin "ipam" failed (ADD): did not end within 0.3 s and was killed');
  const deadline = Date.now() + 2_000;
  while (!hasEnded(pidOfSleep()) && Date.now() < deadline) await Bun.sleep(5);
  expect(hasEnded(pidOfSleep())).toBe(true);
});

test("nobody waits for the outputs of a delegate that was killed, which what it started holds open", async () => {
  rmSync(join(folder, "pid"));
  const abort = new AbortController();
  const added = delegateAdd("ipam", request(stuck, { signal: abort.signal }));
  while (!existsSync(join(folder, "pid")) || pidOfSleep() === 0) await Bun.sleep(5);
  abort.abort();
  await expect(added).rejects.toThrow('plugin "ipam" failed (ADD): was killed');
  process.kill(pidOfSleep(), "SIGKILL");
});
