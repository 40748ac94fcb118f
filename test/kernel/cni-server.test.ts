/** The launcher of `weft-cni` and the server that it asks: when it is asked, when not, and what if either goes wrong. */
import { afterEach, describe, expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { accepted, headerSize, socketPath } from "../../src/cniserver/protocol.ts";
import { CniHost, ownPlugins, PluginServer } from "./cni-fixture.ts";

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "weft-t-cni-server-"));
  cleanups.push(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** A host and its server, once it listens. */
async function servedHost(
  executable?: string,
): Promise<{ host: CniHost; server: PluginServer; socket: string }> {
  const host = new CniHost();
  cleanups.push(() => host[Symbol.dispose]());
  const server = new PluginServer(host.node, executable);
  cleanups.push(() => server[Symbol.dispose]());
  return { host, server, socket: await server.ready };
}

/** A plugin that writes down who started it, with what, and gives an address. */
function witness(dir: string): { plugins: string; seen: () => string } {
  const plugins = join(dir, "bin");
  mkdirSync(plugins);
  for (const name of ["weft-cni", "bridge"])
    symlinkSync(join(ownPlugins, name === "bridge" ? name : "../weft-cni"), join(plugins, name));
  const file = join(dir, "seen");
  const result = JSON.stringify({ cniVersion: "1.0.0", ips: [{ address: "10.77.0.9/24" }] });
  const script = `#!/bin/sh\nreadlink /proc/$PPID/exe >"${file}"\necho "$PPID $COLOUR" >>"${file}"\necho '${result}'\n`;
  writeFileSync(join(plugins, "witness"), script, { mode: 0o755 });
  return { plugins, seen: () => readFileSync(file, "utf8") };
}

/** Who does the work of an ADD: the server's process or another. */
async function workerOf(
  host: CniHost,
  server: PluginServer,
  call: Parameters<CniHost["call"]>[3] = {},
): Promise<"server" | "itself"> {
  const { plugins, seen } = witness(folder());
  const config = host.config({}, { type: "witness" });
  const answer = await host.succeed("ADD", host.container(), config, {
    plugins,
    env: { COLOUR: "blue" },
    ...call,
  });
  expect(answer.json.ips).toEqual([expect.objectContaining({ address: "10.77.0.9/24" })]);
  const [pid, colour] = seen().split("\n")[1]?.split(" ") ?? [];
  expect(colour).toBe("blue");
  return Number(pid) === server.child.pid ? "server" : "itself";
}

describe("the server does the work", () => {
  test("of what is started in its namespace, with the caller's environment", async () => {
    const { host, server } = await servedHost();
    expect(await workerOf(host, server)).toBe("server");
  });

  test("only for its own user, at a socket of its namespace, which goes with it", async () => {
    const { server, socket } = await servedHost();
    expect(socket).toMatch(/^\/run\/weft\/cni-\d{10}\.sock$/);
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    server.child.stdin.end();
    await server.child.exited;
    expect(existsSync(socket)).toBe(false);
  });

  test("errors, warnings and exit status come as from the process itself", async () => {
    const { host } = await servedHost();
    using alone = new CniHost();
    const wrong: [string, object, object][] = [
      ["ADD", { bridge: "a/b" }, {}],
      ["ADD", { bridgee: "br1" }, {}],
      ["ADD", {}, { args: "NO=1" }],
      ["ADD", {}, { ifname: "a/b" }],
      ["ADD", {}, { netns: "/nowhere" }],
      ["STATUS", { cniVersion: "1.1.0" }, {}],
      ["STATUS", { cniVersion: "1.0.0" }, {}],
      ["NONE", {}, {}],
    ];
    for (const [command, more, call] of wrong) {
      const [served, own] = await Promise.all(
        [host, alone].map((each) =>
          each.call(command, undefined, each.config(more as never), {
            netns: `/run/netns/${each.outside.name}`,
            containerId: "blue",
            ...call,
          }),
        ),
      );
      const plain = (text: string | undefined) =>
        text?.replaceAll(/weft-t-[-\w]+/g, "").replaceAll(/[0-9a-f:]{17}|veth\w+/g, "");
      expect([served?.status, plain(served?.stdout), plain(served?.stderr)]).toEqual([
        own?.status,
        plain(own?.stdout),
        plain(own?.stderr),
      ]);
    }
  });

  test("a configuration of more than its limit is refused, one of a megabyte is not", async () => {
    const { host } = await servedHost();
    const of = (length: number) => host.config({ filling: "x".repeat(length) });
    const refused = await host.call("ADD", host.container(), of(20 * 1024 * 1024));
    expect([refused.status, refused.json.code, refused.json.msg]).toEqual([
      1,
      6,
      expect.stringMatching(/longer than/),
    ]);
    await host.succeed("ADD", host.container(), of(1024 * 1024));
  });

  test("pairs that are deleted at the same time, and no other link", async () => {
    const { host } = await servedHost();
    const containers = Array.from({ length: 12 }, () => host.container());
    const config = host.config({ ipMasq: true });
    await host.succeed("ADD", containers[0], config);
    const before = host.state();
    const others = containers.slice(1);
    await Promise.all(others.map((each) => host.succeed("ADD", each, config)));
    await Promise.all(others.map((each) => host.succeed("DEL", each, config)));
    expect(host.state()).toBe(before);
    for (const each of others) expect(each.kernel.rtnl.links.list().map(({ name }) => name)).toEqual(["lo"]);
    await host.succeed("DEL", containers[0], config);
  });

  test("a pair that somebody else made, among others", async () => {
    const { host } = await servedHost();
    const containers = Array.from({ length: 6 }, () => host.container());
    for (const [i, each] of containers.entries()) {
      const peer = { name: "eth0", netns: { name: each.name } };
      if (i < 3) host.node.kernel.rtnl.links.add({ kind: "veth", name: `other${i}`, peer });
      else await host.succeed("ADD", each, host.config());
    }
    await Promise.all(containers.map((each) => host.succeed("DEL", each, host.config())));
    const left = host.node.kernel.rtnl.links.list().map(({ name }) => name);
    expect(left.filter((name) => name.startsWith("other") || name.startsWith("veth"))).toEqual([]);
  });

  test("a call whose caller was killed is done before the container's next one", async () => {
    const { host, server } = await servedHost();
    const dir = folder();
    const { plugins } = witness(dir);
    const gate = join(dir, "gate");
    const run = Bun.spawnSync(["mkfifo", gate]);
    expect(run.exitCode).toBe(0);
    const slow = `#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] || exit 0\necho started >"${gate}"; read go <"${gate}"\necho '{"cniVersion":"1.0.0","ips":[{"address":"10.77.0.9/24"}]}'\n`;
    writeFileSync(join(plugins, "slow"), slow, { mode: 0o755 });
    const container = host.container();
    const config = host.config({}, { type: "slow" });
    const caller = host.start("ADD", container, config, { plugins });
    expect((await Bun.file(gate).text()).trim()).toBe("started");
    caller.kill("SIGKILL");
    await caller.exited;
    const del = host.succeed("DEL", container, config, { plugins });
    writeFileSync(gate, "go\n");
    await del;
    expect(container.kernel.rtnl.links.list().map(({ name }) => name)).toEqual(["lo"]);
    expect(server.child.exitCode).toBeNull();
  });
});

describe("the process does its work itself", () => {
  test("where the server is another executable, such as one that was installed since", async () => {
    const dir = folder();
    copyFileSync(join(ownPlugins, "../weft-cni"), join(dir, "weft-cni"));
    const { host, server } = await servedHost(join(dir, "weft-cni"));
    expect(await workerOf(host, server)).toBe("itself");
  });

  test("where a path is of its own working directory", async () => {
    const { host, server } = await servedHost();
    const { plugins, seen } = witness(folder());
    const config = host.config({}, { type: "witness" });
    await host.succeed("ADD", host.container(), config, { plugins, cniPath: `${plugins}:bin` });
    expect(seen().split("\n")[1]).not.toStartWith(`${server.child.pid} `);
  });

  test("where the server was killed", async () => {
    const { host, server, socket } = await servedHost();
    cleanups.push(() => rmSync(socket, { force: true }));
    server.child.kill("SIGKILL");
    await server.child.exited;
    expect(existsSync(socket)).toBe(true);
    expect(await workerOf(host, server)).toBe("itself");
  });

  test("where the server is stuck, after a while", async () => {
    const { host, server } = await servedHost();
    server.child.kill("SIGSTOP");
    cleanups.push(() => server.child.kill("SIGCONT"));
    expect(await workerOf(host, server)).toBe("itself");
  });

  test("where a newer server took the place, that one does it", async () => {
    const { host, server, socket } = await servedHost();
    using second = new PluginServer(host.node);
    expect(await second.ready).toBe(socket);
    expect(await workerOf(host, second)).toBe("server");
    server.child.stdin.end();
    await server.child.exited;
    expect(await workerOf(host, second)).toBe("server");
  });
});

/** Answers in place of a server, by what it was told. */
function impostor(
  host: CniHost,
  behave: (socket: Bun.Socket<{ length: number }>, length: number) => void,
): void {
  const path = host.node.in(() => socketPath(statSync("/proc/thread-self/ns/net", { bigint: true }).ino));
  mkdirSync("/run/weft", { recursive: true });
  const listener = Bun.listen<{ length: number }>({
    unix: path,
    socket: {
      open: (socket) => {
        socket.data = { length: 0 };
      },
      data: (socket, bytes) => {
        socket.data.length += bytes.length;
        if (socket.data.length >= headerSize) behave(socket, socket.data.length);
      },
    },
  });
  cleanups.push(() => {
    listener.stop(true);
    rmSync(path, { force: true });
  });
}

describe("the launcher, whatever the server says", () => {
  const lost = { code: 11, msg: expect.stringMatching(/ended before it was done/) };
  const header = (...numbers: number[]) => Buffer.from(BigUint64Array.from(numbers.map(BigInt)).buffer);

  test("an end in the middle is an error with which the runtime calls again", async () => {
    using host = new CniHost();
    impostor(host, (socket) => {
      socket.write(Uint8Array.of(accepted));
      socket.end();
    });
    const answer = await host.call("ADD", host.container(), host.config());
    expect([answer.status, answer.json]).toEqual([1, expect.objectContaining(lost)]);
  });

  test("half an answer fails", async () => {
    using host = new CniHost();
    impostor(host, (socket) => {
      socket.write(Buffer.concat([Uint8Array.of(accepted), header(0, 100, 0), Buffer.from("{}")]));
      socket.end();
    });
    expect(await host.call("ADD", host.container(), host.config())).toMatchObject({
      status: 1,
      stdout: "{}",
    });
  });

  test("output of any length comes out whole, with the status", async () => {
    using host = new CniHost();
    const long = `"${"weft".repeat(100_000)}"`;
    impostor(host, (socket) => {
      if (socket.data.length === Number.POSITIVE_INFINITY) return;
      socket.data.length = Number.POSITIVE_INFINITY;
      let rest = Buffer.concat([
        Uint8Array.of(accepted),
        header(7, long.length, 5),
        Buffer.from(`${long}error`),
      ]);
      const send = () => {
        rest = rest.subarray(socket.write(rest));
        if (rest.length > 0) setTimeout(send, 1);
      };
      send();
    });
    const answer = await host.call("ADD", host.container(), host.config());
    expect(answer).toMatchObject({ status: 7, stdout: long, stderr: "error" });
  });

  test("a refusal, or nonsense, has the process do it itself", async () => {
    for (const byte of [0, 255]) {
      using host = new CniHost();
      impostor(host, (socket) => {
        socket.write(Uint8Array.of(byte));
      });
      await host.succeed("ADD", host.container(), host.config());
    }
  });
});
