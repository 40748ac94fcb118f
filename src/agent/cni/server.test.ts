import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLog } from "../../lib/log.ts";
import { PluginServer } from "./server.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A folder of plugins whose executable is a script of the shell. */
function scene(script: string | undefined, patience?: number) {
  const folder = mkdtempSync(join(tmpdir(), "weft-plugin-server-"));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  const install = (text: string) => {
    writeFileSync(join(folder, "new"), `#!/bin/sh\necho start >>"${folder}/starts"\n${text}\n`, {
      mode: 0o755,
    });
    renameSync(join(folder, "new"), join(folder, "weft-cni"));
  };
  if (script !== undefined) install(script);
  const lines: string[] = [];
  const pauses: number[] = [];
  const log = createLog({ write: (line) => void lines.push(line) });
  const server = new PluginServer(folder, log, (pause) => pauses.push(pause), patience);
  cleanups.push(() => server.close());
  const starts = () => readFileSync(join(folder, "starts"), "utf8").trim().split("\n").length;
  return { install, lines, pauses, server, starts };
}

test("a server that never says that it listens is ended, and holds nobody up", async () => {
  const { server, pauses, starts } = scene("exec sleep 100", 500);
  await server.ensure();
  expect(pauses).toEqual([100]);
  expect(starts()).toBe(1);
});

test("a server that ends at once is not started for every change on the cluster, but another one is", async () => {
  const { server, install, pauses, starts } = scene("exit 1");
  for (let i = 0; i < 5; i++) await server.ensure();
  expect(pauses).toEqual([100]);
  expect(starts()).toBe(1);
  await Bun.sleep(100);
  await server.ensure();
  expect([starts(), pauses]).toEqual([2, [100, 200]]);
  install("echo /run/weft/cni-0.sock; cat >/dev/null");
  await server.ensure();
  expect([starts(), pauses]).toEqual([3, [100, 200]]);
});

test("an executable that is not there is told once, and tried again", async () => {
  const { server, lines, pauses } = scene(undefined);
  for (let i = 0; i < 3; i++) await server.ensure();
  expect(pauses).toEqual([100]);
  expect(lines.filter((line) => line.includes("cannot be started"))).toHaveLength(1);
});

test("once it is closed, none is started any more", async () => {
  const { server, starts } = scene("echo /run/weft/cni-0.sock; cat >/dev/null");
  await server.ensure();
  expect(starts()).toBe(1);
  // Nobody listens there: it is about to be started anew.
  const ensured = server.ensure();
  await server.close();
  await ensured;
  expect(starts()).toBe(1);
});
