/** The launcher of `weft-cni`: when it asks the server and when not, and what if either goes wrong. */
import { describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { accepted } from "../../src/cniserver/protocol.ts";
import { ownPlugins } from "./cni-fixture.ts";
import {
  folder,
  impostor,
  later,
  linksOf,
  plainHost,
  servedHost,
  shell,
  socketOf,
  workerOf,
} from "./cni-server-fixture.ts";

/** So many variables of 100 kB. */
function longEnvironment(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`LONG${i}`, "x".repeat(100_000)]));
}

describe("the process does its work itself", () => {
  test("where the server is another executable, such as one that was installed since", async () => {
    const dir = folder();
    copyFileSync(join(ownPlugins, "../weft-cni"), join(dir, "weft-cni"));
    const { host, server } = await servedHost(join(dir, "weft-cni"));
    expect(await workerOf(host, server)).toBe("itself");
  });

  test("where a path is of its own working directory", async () => {
    const { host, server } = await servedHost();
    expect(await workerOf(host, server, { cniPath: "bin" })).toBe("itself");
  });

  test("where arguments and environment are longer than is sent", async () => {
    const { host, server } = await servedHost();
    const of = (count: number) => ({ env: longEnvironment(count) });
    expect(await workerOf(host, server, of(9))).toBe("server");
    expect(await workerOf(host, server, of(11))).toBe("itself");
  });

  test("where the server was killed", async () => {
    const { host, server, socket } = await servedHost();
    later(() => rmSync(socket, { force: true }));
    server.child.kill("SIGKILL");
    await server.child.exited;
    expect(existsSync(socket)).toBe(true);
    expect(await workerOf(host, server)).toBe("itself");
  });

  test("where a path leads elsewhere in another process", async () => {
    const { host } = await servedHost();
    const container = host.container();
    const script = `exec 7</run/netns/${container.name}; exec "$PLUGIN"`;
    const call = { CNI_COMMAND: "ADD", CNI_CONTAINERID: "blue", CNI_IFNAME: "eth0" };
    for (const path of ["/proc/self/fd/7", "/proc//thread-self/fd/7", "/dev/fd/7"]) {
      expect(await shell(host, script, host.config(), { ...call, CNI_NETNS: path })).toMatchObject({
        status: 0,
      });
      expect(linksOf(container)).toEqual(["lo", "eth0"]);
      await shell(host, script, host.config(), { ...call, CNI_COMMAND: "DEL", CNI_NETNS: path });
      expect(linksOf(container)).toEqual(["lo"]);
    }
  });

  const stuck =
    "where the server is stuck, after a while, also where its queue is full or the environment is long";
  test(stuck, { timeout: 20_000 }, async () => {
    const hosts = await Promise.all([servedHost(), servedHost(), servedHost()]);
    for (const { server } of hosts) {
      server.child.kill("SIGSTOP");
      later(() => server.child.kill("SIGKILL"));
    }
    const [plain, full, long] = hosts;
    let isRefused = false;
    while (!isRefused) {
      const socket = await Bun.connect({ unix: full.socket, socket: { data: () => {} } }).catch(
        () => undefined,
      );
      isRefused = socket === undefined;
      later(() => socket?.terminate());
    }
    const env = longEnvironment(8);
    expect(
      await Promise.all([
        workerOf(plain.host, plain.server),
        workerOf(full.host, full.server),
        workerOf(long.host, long.server, { env }),
      ]),
    ).toEqual(["itself", "itself", "itself"]);
  });

  test("where somebody else answers", async () => {
    const host = plainHost();
    // Bound by root, as if the folder were open, and listened at by another user.
    const script = `
      import * as ffi from "${join(import.meta.dir, "../../src/linux/ffi.ts")}";
      const [, , path, answer] = process.argv;
      const fd = ffi.socket(1, 1, 0);
      ffi.bind(fd, Uint8Array.of(1, 0, ...Buffer.from(path), 0));
      process.seteuid(65534);
      ffi.listen(fd, 8);
      require("node:net").createServer((socket) => {
        socket.on("error", () => {});
        socket.write(Buffer.from(answer, "hex"));
      }).listen({ fd }, () => console.log("listening"));`;
    const file = join(folder(), "other.ts");
    writeFileSync(file, script);
    mkdirSync("/run/weft", { recursive: true });
    const path = socketOf(host);
    const answer = Buffer.concat([Uint8Array.of(accepted), header(0, 2, 0), Buffer.from("{}")]).toString(
      "hex",
    );
    const other = Bun.spawn([process.execPath, file, path, answer], { stdout: "pipe", stderr: "inherit" });
    later(() => {
      other.kill();
      rmSync(path, { force: true });
    });
    await other.stdout.getReader().read();
    const added = await host.succeed("ADD", host.container(), host.config());
    expect(added.json.ips).toHaveLength(2);
  });
});

describe("the standard streams", () => {
  const unable = ["<&-", "</dev/null", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/null"];
  test("closed or full, come to the same as without a server", async () => {
    const [{ host }, alone] = [await servedHost(), plainHost()];
    for (const version of ["1.0.0", "1.1.0"]) {
      for (const redirection of unable) {
        const script = `timeout 10 "$PLUGIN" ${redirection}; echo "status $?"`;
        const [served, own] = await Promise.all(
          [host, alone].map((each) => shell(each, script, each.config({ cniVersion: version }))),
        );
        expect([redirection, served?.stdout]).toEqual([redirection, own?.stdout]);
      }
    }
  });

  test("full, so that nobody learns of what was added: it is taken back", async () => {
    const [{ host }, alone] = [await servedHost(), plainHost()];
    for (const each of [host, alone]) {
      const container = each.container();
      // What stays for good, such as the bridge, is there from the beginning.
      for (const command of ["ADD", "DEL"]) await each.succeed(command, container, each.config());
      const before = each.state();
      const ended = await shell(each, '"$PLUGIN" >/dev/full', each.config(), {
        CNI_COMMAND: "ADD",
        CNI_CONTAINERID: container.name,
        CNI_NETNS: `/run/netns/${container.name}`,
        CNI_IFNAME: "eth0",
      });
      expect(ended.status).toBe(1);
      // The server learns of it just after. Another call for the attachment waits for that: CHECK finds nothing.
      const prevResult = { cniVersion: "1.0.0", ips: [] };
      expect((await each.call("CHECK", container, { ...each.config(), prevResult })).status).toBe(1);
      expect(each.state()).toBe(before);
    }
  });

  test("that do not wait are waited for", async () => {
    const host = plainHost();
    // dd leaves the descriptor as it used it. The kernel's buffer takes 64 KiB.
    const script = `(sleep 0.1; cat) | (dd iflag=nonblock count=0 2>/dev/null
      (dd oflag=nonblock count=0 </dev/null 2>/dev/null; "$PLUGIN" 2>&1; echo "status $?") | (sleep 0.3; cat))`;
    const long = "x".repeat(500_000);
    let heard = "";
    let isAccepted = false;
    impostor(host, (socket, bytes) => {
      if (!isAccepted) {
        isAccepted = true;
        socket.write(Uint8Array.of(accepted));
        return;
      }
      heard += bytes;
      if (!heard.endsWith("\0".repeat(8))) return;
      let rest = Buffer.concat([header(0, long.length, 0), Buffer.from(long)]);
      const send = () => {
        rest = rest.subarray(socket.write(rest));
        if (rest.length > 0) setTimeout(send, 1);
      };
      send();
    });
    const { stdout } = await shell(host, script, { name: "net" });
    expect(heard).toContain('{"name":"net"}');
    expect(stdout).toBe(`${long}status 0\n`);
  });

  test("an input without end is refused once it is too long", async () => {
    const { host } = await servedHost();
    const { stdout } = await shell(host, 'yes | timeout 10 "$PLUGIN"; echo "status $?"');
    expect(stdout).toMatch(/network configuration: longer than \d+ bytes(.|\n)*status 1\n$/);
  });
});

const header = (...numbers: number[]) => Buffer.from(BigUint64Array.from(numbers.map(BigInt)).buffer);

describe("the launcher, whatever the server says", () => {
  const lost = { code: 11, msg: expect.stringMatching(/ended before it was done/) };
  test("an end in the middle is an error with which the runtime calls again", async () => {
    const host = plainHost();
    impostor(host, (socket) => {
      socket.write(Uint8Array.of(accepted));
      socket.end();
    });
    const answer = await host.call("ADD", host.container(), host.config());
    expect([answer.status, answer.json]).toEqual([1, expect.objectContaining(lost)]);
  });

  test("half an answer fails", async () => {
    const host = plainHost();
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
    const host = plainHost();
    const long = `"${"weft".repeat(100_000)}"`;
    impostor(host, (socket) => {
      if (socket.data.isAnswered) return;
      socket.data.isAnswered = true;
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
      const host = plainHost();
      impostor(host, (socket) => {
        socket.write(Uint8Array.of(byte));
      });
      await host.succeed("ADD", host.container(), host.config());
    }
  });
});
