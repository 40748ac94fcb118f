/** For the tests of the plugins' server and of the launcher that asks it. */
import { expect, onTestFinished } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { headerSize, socketPath } from "../../src/cniserver/protocol.ts";
import { type Answer, CniHost, ownPlugins, PluginServer } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

const cleanups: (() => unknown)[] = [];

/** Is done after the test, the last first. */
export function later(cleanup: () => unknown): void {
  // Not by afterEach here: that would be of the first test file alone, where several run in one process.
  if (cleanups.length === 0) onTestFinished(cleanUp);
  cleanups.push(cleanup);
}

async function cleanUp(): Promise<void> {
  const failures: unknown[] = [];
  for (const cleanup of cleanups.splice(0).reverse()) {
    try {
      await cleanup();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, "what the test made could not all be removed");
}

export function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "weft-t-cni-server-"));
  later(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** A host without a server. */
export function plainHost(): CniHost {
  const host = new CniHost();
  const socket = socketOf(host);
  // Of a server that is killed; the next namespace with this inode would find it.
  later(() => rmSync(socket, { force: true }));
  later(() => host[Symbol.dispose]());
  return host;
}

/** A host and its server, once it listens. */
export async function servedHost(
  executable?: string,
): Promise<{ host: CniHost; server: PluginServer; socket: string }> {
  const host = plainHost();
  const server = new PluginServer(host.node, executable);
  later(() => server[Symbol.dispose]());
  return { host, server, socket: await server.ready };
}

/** A CNI_PATH with `weft-cni`, `bridge`, `host-local` and plugins that are scripts of the shell, by their names. */
export function pluginFolder(scripts: Readonly<Record<string, string>>): string {
  const plugins = join(folder(), "bin");
  mkdirSync(plugins);
  symlinkSync(join(ownPlugins, "../weft-cni"), join(plugins, "weft-cni"));
  for (const name of ["bridge", "host-local"]) symlinkSync(join(ownPlugins, name), join(plugins, name));
  for (const [name, script] of Object.entries(scripts))
    writeFileSync(join(plugins, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return plugins;
}

/** What an IPAM plugin prints. */
export const anAddress = JSON.stringify({ cniVersion: "1.0.0", ips: [{ address: "10.77.0.9/24" }] });

/** A plugin that writes down who started it, with what, and gives an address. */
export function witness(): { plugins: string; seen: () => string } {
  const file = join(folder(), "seen");
  const script = `echo "$PPID $COLOUR" >"${file}"\necho '${anAddress}'`;
  return { plugins: pluginFolder({ witness: script }), seen: () => readFileSync(file, "utf8") };
}

/** Who does the work of an ADD: the server's process or another. */
export async function workerOf(
  host: CniHost,
  server: PluginServer,
  call: Parameters<CniHost["call"]>[3] = {},
): Promise<"server" | "itself"> {
  const { plugins, seen } = witness();
  const { env = {}, cniPath = "", ...rest } = call;
  const answer = await host.succeed("ADD", host.container(), host.config({}, { type: "witness" }), {
    plugins,
    cniPath: cniPath === "" ? plugins : `${plugins}:${cniPath}`,
    env: { COLOUR: "blue", ...env },
    ...rest,
  });
  expect(answer.json.ips).toEqual([expect.objectContaining({ address: "10.77.0.9/24" })]);
  const [pid, colour] = seen().trim().split(" ");
  expect(colour).toBe("blue");
  return Number(pid) === server.child.pid ? "server" : "itself";
}

/** The names of a namespace's links. */
export function linksOf({ kernel }: Namespace): string[] {
  return kernel.rtnl.links.list().map(({ name }) => name);
}

/** Runs a script of the shell on the host, in which `$PLUGIN` is the plugin bridge; STATUS where not told otherwise. */
export async function shell(
  host: CniHost,
  script: string,
  config: JsonObject = host.config(),
  env: Record<string, string> = {},
): Promise<Omit<Answer, "json">> {
  const child = host.node.in(() =>
    Bun.spawn(["sh", "-c", script], {
      stdin: new TextEncoder().encode(JSON.stringify(config)),
      stdout: "pipe",
      stderr: "pipe",
      env: {
        PATH: process.env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin",
        PLUGIN: join(ownPlugins, "bridge"),
        CNI_COMMAND: "STATUS",
        CNI_PATH: ownPlugins,
        ...env,
      },
    }),
  );
  const [stdout, stderr, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { status, stdout, stderr };
}

/** Where the server of a host listens. */
export function socketOf(host: CniHost): string {
  return host.node.in(() => socketPath(statSync("/proc/thread-self/ns/net", { bigint: true }).ino));
}

/** A connection of an {@link impostor}. */
export interface Impostor {
  /** All that the launcher said. */
  said: Buffer;
  /** For the test's own use. */
  isAnswered: boolean;
}

/** Answers in place of a server, once it knows the caller; `bytes`: what it is told just then. */
export function impostor(host: CniHost, behave: (socket: Bun.Socket<Impostor>, bytes: string) => void): void {
  const path = socketOf(host);
  mkdirSync("/run/weft", { recursive: true });
  const listener = Bun.listen<Impostor>({
    unix: path,
    socket: {
      open: (socket) => {
        socket.data = { said: Buffer.alloc(0), isAnswered: false };
      },
      data: (socket, bytes) => {
        const said = Buffer.concat([socket.data.said, bytes]);
        socket.data.said = said;
        if (said.length < headerSize || said.length < headerSize + Number(said.readBigUInt64LE(16))) return;
        behave(socket, bytes.toString("latin1"));
      },
    },
  });
  later(() => {
    listener.stop(true);
    rmSync(path, { force: true });
  });
}
