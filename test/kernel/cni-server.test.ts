/** The server of plugin calls: what it does for whom, in which order, and how it ends. */
import { describe, expect, test } from "bun:test";
import { existsSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { doomedGroup } from "../../src/plugins/names.ts";
import { eventually, until } from "../lib/agent.ts";
import { CniHost, ownPlugins, PluginServer } from "./cni-fixture.ts";
import {
  anAddress,
  folder,
  later,
  linksOf,
  plainHost,
  pluginFolder,
  servedHost,
  socketOf,
  workerOf,
} from "./cni-server-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

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

  test("pairs that are deleted at the same time, where they cannot be deleted together", async () => {
    const { host } = await servedHost();
    const containers = Array.from({ length: 6 }, () => host.container());
    await Promise.all(containers.map((each) => host.succeed("ADD", each, host.config())));
    // The kernel refuses to delete a group with such a link in it.
    host.node.kernel.rtnl.links.set("lo", { group: doomedGroup });
    await Promise.all(containers.map((each) => host.succeed("DEL", each, host.config())));
    expect(containers.flatMap(linksOf)).toEqual(containers.map(() => "lo"));
    expect(linksOf(host.node).filter((name) => name.startsWith("veth"))).toEqual([]);
  });

  test("of a plugin that a delegate is, which is not waited for by the call that waits for it", async () => {
    const { host } = await servedHost();
    const plugins = pluginFolder({ wrapper: 'exec "$(dirname "$0")/host-local"' });
    const container = host.container();
    for (const command of ["ADD", "DEL"])
      await host.succeed(command, container, host.config({}, { type: "wrapper" }), { plugins });
    expect(host.leases()).toEqual({});
  });

  test("of one network while another one's leases are locked", async () => {
    const { host } = await servedHost();
    const [first, second] = [host.container(), host.container()];
    const release = await lockLeases(host);
    const waiting = host.succeed("ADD", first, host.config());
    await eventually(
      () => `links ${linksOf(first)}`,
      () => linksOf(first).includes("eth0"),
    );
    const other = { name: "other", bridge: "br1" };
    await host.succeed("ADD", second, host.config(other, { ranges: [[{ subnet: "10.78.0.0/24" }]] }));
    expect(host.leases()).toEqual({});
    release();
    await waiting;
    expect(Object.keys(host.leases())).toEqual(["10.77.0.3", "fd77::3"]);
  });
});

/** Holds the lock of the host's leases until what is returned is called. */
async function lockLeases(host: CniHost, first = ["ADD", "DEL"]): Promise<() => void> {
  const container = host.container();
  for (const command of first) await host.succeed(command, container, host.config());
  const holder = Bun.spawn(["flock", join(host.dataDir, "net/lock"), "sh", "-c", "echo held; read go"], {
    stdin: "pipe",
    stdout: "pipe",
  });
  later(() => holder.kill());
  await holder.stdout.getReader().read();
  return () => void holder.stdin.end();
}

/** True while a launcher reads its input (0), or the answer from its socket (3). */
function reads(pid: number, fd: 0 | 3): () => Promise<boolean> {
  // Of proc_pid_syscall(5): the system call's number, descriptor, buffer and size.
  const isReading = fd === 0 ? /^0 0x0 / : /^0 0x3 0x\w+ 0x18 /;
  return async () => isReading.test(await Bun.file(`/proc/${pid}/syscall`).text());
}

describe("a caller that is killed", () => {
  test("while its delegate hangs: that is ended, and the next call goes on at once", async () => {
    const { host, server } = await servedHost();
    const started = join(folder(), "started");
    const slow = `[ "$CNI_COMMAND" = ADD ] || exit 0\necho $$ >"${started}"; exec sleep 100`;
    const plugins = pluginFolder({ slow });
    const container = host.container();
    const config = host.config({}, { type: "slow" });
    const caller = host.start("ADD", container, config, { plugins });
    const pid = await until(
      () => "the delegate does not start",
      async () => (existsSync(started) && (await Bun.file(started).text()).trim()) || undefined,
    );
    caller.kill("SIGKILL");
    await caller.exited;
    await host.succeed("DEL", container, config, { plugins });
    expect(existsSync(`/proc/${pid}`)).toBe(false);
    expect(linksOf(container)).toEqual(["lo"]);
    expect(server.child.exitCode).toBeNull();
  });

  test("while it is worked for: what was added is taken back", async () => {
    const { host } = await servedHost();
    const release = await lockLeases(host);
    const container = host.container();
    const caller = host.start("ADD", container, host.config({ ipMasq: true }));
    await eventually(
      () => `links ${linksOf(container)}`,
      () => linksOf(container).includes("eth0"),
    );
    caller.kill("SIGKILL");
    await caller.exited;
    release();
    await eventually(
      () => `links ${linksOf(container)}`,
      () => linksOf(container).length === 1,
    );
    await host.succeed("DEL", container, host.config({ ipMasq: true }));
    expect(host.leases()).toEqual({});
  });

  test("before the server sees what it wants: nothing is done", async () => {
    const { host, server } = await servedHost();
    const container = host.container();
    const caller = host.node.in(() =>
      Bun.spawn([join(ownPlugins, "bridge")], {
        stdin: "pipe",
        env: {
          CNI_COMMAND: "ADD",
          CNI_CONTAINERID: "blue",
          CNI_NETNS: `/run/netns/${container.name}`,
          CNI_IFNAME: "eth0",
          CNI_PATH: ownPlugins,
        },
      }),
    );
    await eventually(() => "it is not accepted", reads(caller.pid, 0));
    server.child.kill("SIGSTOP");
    caller.stdin.write(JSON.stringify(host.config()));
    await caller.stdin.end();
    await eventually(() => "it does not wait for its answer", reads(caller.pid, 3));
    caller.kill("SIGKILL");
    await caller.exited;
    server.child.kill("SIGCONT");
    await host.succeed("STATUS", undefined, host.config({ cniVersion: "1.1.0" }));
    expect(linksOf(host.node)).not.toContain("br0");
  });

  test("before its turn comes: nothing is done", async () => {
    const { host } = await servedHost();
    const release = await lockLeases(host);
    const container = host.container();
    const first = host.succeed("ADD", container, host.config());
    await eventually(
      () => `links ${linksOf(container)}`,
      () => linksOf(container).includes("eth0"),
    );
    const del = host.start("DEL", container, host.config());
    // It is in the row once it waits for its answer.
    await eventually(() => "DEL is not sent", reads(del.pid, 3));
    del.kill("SIGKILL");
    await del.exited;
    release();
    await first;
    await host.succeed("CHECK", container, { ...host.config(), prevResult: (await first).json });
    expect(Object.keys(host.leases())).toEqual(["10.77.0.3", "fd77::3"]);
  });
});

/** A caller that is accepted and never says what it wants. */
async function startSilent(host: CniHost): Promise<void> {
  const silent = host.node.in(() =>
    Bun.spawn([join(ownPlugins, "bridge")], {
      stdin: "pipe",
      env: { CNI_COMMAND: "STATUS", CNI_PATH: ownPlugins },
    }),
  );
  later(() => silent.kill());
  await eventually(() => "the silent caller is not accepted", reads(silent.pid, 0));
}

describe("the turns of an attachment", () => {
  /** An ADD that a server takes back, but for the lock of the leases, after its caller was killed. */
  async function lingering(host: CniHost, container: Namespace): Promise<() => void> {
    const config = host.config({ ipMasq: true });
    const release = await lockLeases(host);
    const caller = host.start("ADD", container, config);
    await eventually(
      () => `links ${linksOf(container)}`,
      () => linksOf(container).includes("eth0"),
    );
    caller.kill("SIGSTOP");
    release();
    await eventually(
      () => host.state(),
      () => host.state().includes(`masquerade6 fd77::3 net/${container.name}/eth0`),
    );
    const again = await lockLeases(host, []);
    caller.kill("SIGKILL");
    await caller.exited;
    return again;
  }

  for (const next of ["another server", "a process of its own"]) {
    test(`are kept by ${next}, which waits for what a server goes on with`, async () => {
      const { host, server, socket } = await servedHost();
      const [container, other] = [host.container(), host.container()];
      const release = await lingering(host, container);
      using second = new PluginServer(host.node);
      await second.ready;
      if (next !== "another server") rmSync(socket);
      const add = host.succeed("ADD", container, host.config({ ipMasq: true }));
      // Calls for others go on.
      const network = { name: "other", bridge: "br1" };
      const ipam = { ranges: [[{ subnet: "10.78.0.0/24" }]] };
      await host.succeed("ADD", other, host.config(network, ipam));
      expect(linksOf(container)).toEqual(["lo", "eth0"]);
      release();
      // It would have been refused while the first was there, and taken away if it had not waited for the end.
      await add;
      expect([Object.keys(host.leases()).length, linksOf(container)]).toEqual([2, ["lo", "eth0"]]);
      await host.succeed("DEL", container, host.config({ ipMasq: true }));
      expect([host.leases(), linksOf(container)]).toEqual([{}, ["lo"]]);
      expect(server.child.exitCode).toBeNull();
    });
  }

  test("end with a server that is killed", async () => {
    const { host, server } = await servedHost();
    const container = host.container();
    const release = await lingering(host, container);
    server.child.kill("SIGKILL");
    await server.child.exited;
    release();
    await host.succeed("DEL", container, host.config({ ipMasq: true }));
    expect([host.leases(), linksOf(container)]).toEqual([{}, ["lo"]]);
  });
});

describe("a server that ends", () => {
  for (const end of ["SIGTERM", "SIGINT", "the end of its input"] as const) {
    test(`by ${end} answers the calls under way and takes no more`, async () => {
      const { host, server, socket } = await servedHost();
      const gate = join(folder(), "gate");
      expect(Bun.spawnSync(["mkfifo", gate]).success).toBe(true);
      const slow = `[ "$CNI_COMMAND" = ADD ] && { echo started >"${gate}"; read go <"${gate}"; }\necho '${anAddress}'`;
      const plugins = pluginFolder({ slow });
      const container = host.container();
      const call = host.succeed("ADD", container, host.config({}, { type: "slow" }), { plugins });
      expect((await Bun.file(gate).text()).trim()).toBe("started");
      if (end === "SIGTERM") await startSilent(host);
      if (end === "the end of its input") server.child.stdin.end();
      else server.child.kill(end);
      await eventually(
        () => `${socket} is still there`,
        () => !existsSync(socket),
      );
      expect(await workerOf(host, server)).toBe("itself");
      expect(server.child.exitCode).toBeNull();
      writeFileSync(gate, "go\n");
      expect((await call).status).toBe(0);
      expect(await server.child.exited).toBe(0);
    });
  }

  test("while a newer one listens leaves that its socket", async () => {
    const { host, server, socket } = await servedHost();
    using second = new PluginServer(host.node);
    expect(await second.ready).toBe(socket);
    expect(await workerOf(host, second)).toBe("server");
    server.child.stdin.end();
    await server.child.exited;
    expect(await workerOf(host, second)).toBe("server");
  });
});

describe("a server that may not be trusted does not start", () => {
  /** Starts one where /run is a folder of its own, prepared by a script. */
  function start(host: CniHost, prepare: string): { status: number; stderr: string } {
    const script = `mount -t tmpfs tmpfs /run && ${prepare} "$0" serve </dev/null`;
    const run = ["unshare", "--mount", "sh", "-c", script, join(ownPlugins, "../weft-cni")];
    const { exitCode, stderr } = host.node.in(() => Bun.spawnSync(run));
    return { status: exitCode, stderr: stderr.toString() };
  }
  const nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
  const prepared: [string, string, RegExp][] = [
    ["in a folder that all may write", "mkdir -m 777 /run/weft &&", /"\/run\/weft" can be changed by other/],
    [
      "in somebody else's folder",
      "mkdir /run/weft && chown 65534 /run/weft &&",
      /"\/run\/weft" can be changed by other/,
    ],
    ["as another user", `mkdir /run/weft && ${nobody}`, /"\/run\/weft" can be changed by other/],
    ["where no folder can be made", `chmod 755 /run && ${nobody}`, /cannot make the folder .*EACCES/],
    ["where a file is in the way", "touch /run/weft &&", /cannot make the folder .*EEXIST/],
  ];
  for (const [where, prepare, message] of prepared) {
    test(where, () => {
      const { status, stderr } = start(plainHost(), prepare);
      expect(status).toBe(1);
      expect(stderr).toMatch(message);
      expect(stderr.trim().split("\n").length).toBe(1);
    });
  }

  test("and nobody else can connect to one, whatever its umask", async () => {
    const host = plainHost();
    const child = host.node.in(() =>
      Bun.spawn(["sh", "-c", 'umask 0; exec "$0" serve', join(ownPlugins, "../weft-cni")], {
        stdin: "pipe",
        stdout: "pipe",
      }),
    );
    later(() => child.kill());
    await child.stdout.getReader().read();
    expect(statSync(socketOf(host)).mode & 0o777).toBe(0o600);
  });
});
