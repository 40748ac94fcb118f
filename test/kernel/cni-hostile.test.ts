/** What nobody should send: each plugin refuses it with one error that names what is wrong, soon, and nothing changes. */
import { expect } from "bun:test";
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cniErrorCode } from "../../src/cni/errors.ts";
import type { JsonObject } from "../../src/cni/fields.ts";
import { pluginNames } from "../../src/plugins/names.ts";
import { needs, testWith } from "../lib/needs.ts";
import { type CniHost, ownPlugins } from "./cni-fixture.ts";
import { goodConfigs, type Hostile, hostileCalls, namespaceCalls, ownCalls, Stage } from "./cni-hostile.ts";
import type { Namespace } from "./services-fixture.ts";

const test = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));

/** For one call, on a machine that has other things to do. Milliseconds. */
const soon = 5000;
/** Kilobytes. */
const little = 400 * 1024;

const workers = 4;

interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
  milliseconds: number;
  /** Of the plugin's process, at most. Kilobytes. */
  memory: number;
}

async function run(host: CniHost, plugin: string, container: Namespace, hostile: Hostile): Promise<Outcome> {
  const { command, text, env } = hostile;
  const begin = performance.now();
  const child = host.node.in(() =>
    Bun.spawn([join(ownPlugins, plugin)], {
      stdin: typeof text === "string" ? new TextEncoder().encode(text) : text,
      stdout: "pipe",
      stderr: "pipe",
      env: {
        PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
        CNI_COMMAND: command,
        CNI_CONTAINERID: container.name,
        CNI_NETNS: `/run/netns/${container.name}`,
        CNI_IFNAME: "eth0",
        CNI_PATH: ownPlugins,
        CNI_ARGS: "",
        ...env,
      },
    }),
  );
  const timer = setTimeout(() => child.kill("SIGKILL"), soon);
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  clearTimeout(timer);
  const memory = (child.resourceUsage()?.maxRSS ?? 0) / 1024;
  return { status: child.exitCode, stdout, stderr, milliseconds: performance.now() - begin, memory };
}

/** What every program seems to have had that this process starts: its own until it becomes another. Kilobytes. */
function leastMemory(): number {
  return Bun.spawnSync(["true"]).resourceUsage.maxRSS / 1024;
}

/** What is wrong with an answer; undefined where it is as it should be. */
function faultOf({ names, code }: Hostile, { status, stdout, stderr, milliseconds, memory }: Outcome) {
  if (status === null) return `it took more than ${soon} ms`;
  if (status !== 1) return `exit status ${status}`;
  let error: JsonObject;
  try {
    error = JSON.parse(stdout);
  } catch {
    return `no JSON: ${JSON.stringify(stdout.slice(0, 200))}`;
  }
  const said = `${error.msg} ${error.details ?? ""}`;
  if (
    code >= 0
      ? error.code !== code
      : !Object.values<unknown>(cniErrorCode).includes(error.code) || error.code === 999
  )
    return `code ${error.code}: ${said}`;
  if (!new RegExp(names).test(said)) return `the message does not name it: ${said}`;
  if (/\p{Cc}/u.test(said) || /[^\P{Cc}\n]/u.test(stderr))
    return `control characters in ${JSON.stringify(said)}`;
  if (stdout.length + stderr.length > 10_000) return `${stdout.length} and ${stderr.length} characters`;
  return memory > little && memory > leastMemory() + little / 4
    ? `${memory} KiB after ${milliseconds} ms`
    : undefined;
}

/** Everything below a folder, with what is in it. */
function filesBelow(folder: string): string[] {
  return readdirSync(folder)
    .sort()
    .flatMap((name) => {
      const path = join(folder, name);
      const stats = lstatSync(path);
      const content = stats.isFile() ? createHash("sha256").update(readFileSync(path)).digest("hex") : "";
      const line = `file ${path} ${stats.mode} ${content}`;
      return stats.isDirectory() ? [line, ...filesBelow(path)] : [line];
    });
}

const stateOf = (host: CniHost, containers: readonly Namespace[]) =>
  [
    host.state(),
    ...containers.map(({ kernel: { rtnl } }) =>
      JSON.stringify([
        rtnl.links.list().map(({ name, kind, up, mtu, mac }) => ({ name, kind, up, mtu, mac })),
        rtnl.rules.list().length,
      ]),
    ),
    ...filesBelow(host.dir),
  ].join("\n");

for (const served of [false, true]) {
  const who = served ? "the plugins' server" : "a process of its own";
  for (const plugin of pluginNames) {
    test(`${plugin} in ${who} refuses it`, { timeout: 120_000 }, async () => {
      await using stage = await Stage.make(served);
      const { host } = stage;
      const staying = host.container();
      await host.succeed("ADD", staying, host.config({ ipMasq: true }));
      const container = host.container();
      const { [plugin]: good } = goodConfigs(host);
      const calls = [
        ...hostileCalls(good, plugin !== "bridge"),
        ...ownCalls(good),
        ...namespaceCalls(host, good),
      ];
      const before = stateOf(host, [staying, container]);
      const faults: string[] = [];
      const work = async () => {
        for (let hostile = calls.shift(); hostile !== undefined; hostile = calls.shift()) {
          const fault = faultOf(hostile, await run(host, plugin, container, hostile));
          if (fault !== undefined) faults.push(`${hostile.command} ${hostile.what}: ${fault}`);
        }
      };
      await Promise.all(Array.from({ length: workers }, work));
      expect(faults).toEqual([]);
      expect(stateOf(host, [staying, container])).toBe(before);
    });
  }
}
