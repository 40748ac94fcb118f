/** The DHCP daemon and its plugin: who may speak with whom, and servers that misbehave. The scene is that of dhcp-fixture.ts. */
import { describe, expect } from "bun:test";
import { existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join as path } from "node:path";
import {
  decodeMessage,
  encodeMessage,
  type Message,
  messageType,
  optionCode,
} from "../../src/dhcp/message.ts";
import { reply, u32 } from "../../src/dhcp/testing.ts";
import * as ffi from "../../src/linux/ffi.ts";
import { DhcpScene, until } from "../interop/dhcp-fixture.ts";
import { needs, testWith } from "../lib/needs.ts";
import { referencePlugins } from "./cni-fixture.ts";
import { join } from "./services-fixture.ts";

const kernelTest = testWith(needs.root, needs.kernel("bridge"));
const referenceTest = testWith(
  needs.root,
  needs.kernel("bridge"),
  needs.file(`${referencePlugins}/dhcp`, "containernetworking-plugins"),
);
const patience = 60_000;

/** A server of the test's own: answers each message with whatever datagrams `answers` gives. */
async function serve(scene: DhcpScene, answers: (message: Message) => (Message | Uint8Array)[]) {
  const heard: Message[] = [];
  const socket = await scene.lan.in(() => ({
    made: Bun.udpSocket({
      hostname: "0.0.0.0",
      port: 67,
      socket: {
        data: (from, data) => {
          const message = decodeMessage(data);
          heard.push(message);
          for (const answer of answers(message)) {
            from.send(answer instanceof Uint8Array ? answer : encodeMessage(answer), 68, "10.99.0.255");
          }
        },
      },
    }),
  })).made;
  socket.setBroadcast(true);
  return { heard, [Symbol.dispose]: () => socket.close() };
}

const typeOf = (message: Message) => message.options.get(optionCode.messageType)?.[0];
const address = Uint8Array.of(10, 99, 0, 1);
const own = { [optionCode.serverIdentifier]: address, [optionCode.router]: address };
const garbage = [
  new Uint8Array(0),
  new Uint8Array(10),
  new Uint8Array(600).fill(0xff),
  new TextEncoder().encode("hello"),
];

describe("The daemon", () => {
  kernelTest(
    "takes what is right among garbage, offers without a server and answers to others",
    async () => {
      using scene = new DhcpScene();
      await scene.daemon();
      scene.bridge();
      using server = await serve(scene, (message) => {
        if (typeOf(message) === messageType.discover) {
          const offer = reply(message, "offer", "10.99.0.50", own);
          const nobody = reply(message, "offer", "10.99.0.51", { [optionCode.serverIdentifier]: undefined });
          return [...garbage, nobody, { ...reply(message, "offer", "10.99.0.52", own), xid: 1 }, offer];
        }
        const strange = { ...reply(message, "ack", "10.99.0.53", own), chaddr: new Uint8Array(6) };
        return [...garbage, strange, reply(message, "ack", "10.99.0.50", own)];
      });
      const container = scene.host.container();
      const added = await scene.host.succeed("ADD", container, scene.bridged());
      expect(added.json).toMatchObject({ ips: [{ address: "10.99.0.50/24", gateway: "10.99.0.1" }] });
      await scene.host.succeed("DEL", container, scene.bridged());
      await until(
        () => server.heard.some((message) => typeOf(message) === messageType.release),
        () => "a release",
      );
    },
    patience,
  );

  kernelTest(
    "gives up on a server that refuses whatever it offers, and leaves nothing behind",
    async () => {
      using scene = new DhcpScene();
      await scene.daemon("--resendtimeout", "3s");
      scene.bridge();
      using server = await serve(scene, (message) => [
        typeOf(message) === messageType.discover
          ? reply(message, "offer", "10.99.0.50", own)
          : reply(message, "nak", "0.0.0.0", { ...own, 56: new TextEncoder().encode("never") }),
      ]);
      const container = scene.host.container();
      const refused = await scene.host.call("ADD", container, scene.bridged());
      expect(refused.json).toMatchObject({
        code: 11,
        msg: "no DHCP server gave a lease within 3 s (10.99.0.1 refuses: never)",
      });
      expect(server.heard.length).toBeLessThan(12);
      expect(container.kernel.rtnl.links.find("eth0")).toBeUndefined();
      expect(readdirSync(scene.stateDir)).toEqual(["lock"]);
    },
    patience,
  );

  kernelTest(
    "stops asking when DEL comes, or when the plugin is killed",
    async () => {
      using scene = new DhcpScene();
      const daemon = await scene.daemon();
      scene.bridge();
      const [first, second] = [scene.host.container(), scene.host.container()];
      const child = scene.host.start("ADD", first, scene.bridged());
      await daemon.said("asking for a lease");
      child.kill("SIGKILL");
      await child.exited;
      await daemon.said("the plugin does not wait any more");
      // Weft's plugins let no call overtake another one for the same interface; other callers may.
      join(second, "eth0", scene.lan, "veth0");
      const waiting = scene.ask("ADD", second, "eth0").catch((error) => error.message);
      await daemon.said("asking for a lease", 2);
      await scene.ask("DEL", second, "eth0");
      expect(await waiting).toBe("DEL came for it");
    },
    patience,
  );

  kernelTest(
    "gives back what it asked for when DEL comes, or when the plugin is killed, before the answer",
    async () => {
      using scene = new DhcpScene();
      const daemon = await scene.daemon();
      scene.bridge();
      using server = await serve(scene, (message) =>
        typeOf(message) === messageType.discover ? [reply(message, "offer", "10.99.0.50", own)] : [],
      );
      const heard = (type: number) => server.heard.filter((message) => typeOf(message) === type);
      const asked = (clients: number) => () =>
        new Set(heard(messageType.request).map(({ chaddr }) => chaddr.toHex())).size === clients;
      const released = (count: number) => () => heard(messageType.release).length === count;
      const [first, second] = [scene.host.container(), scene.host.container()];
      const child = scene.host.start("ADD", first, scene.bridged());
      await until(asked(1), () => `a request in: ${daemon.log}`);
      child.kill("SIGKILL");
      await child.exited;
      await until(released(1), () => `a release in: ${daemon.log}`);
      const { node } = scene.host;
      join(second, "eth0", node, "veth0");
      node.kernel.rtnl.links.set("veth0", { master: "br0", up: true });
      const waiting = [1, 2].map(() => scene.ask("ADD", second, "eth0").catch((error) => error.message));
      await until(asked(2), () => `another request in: ${daemon.log}`);
      await scene.ask("DEL", second, "eth0");
      expect(await Promise.all(waiting)).toEqual(["DEL came for it", "DEL came for it"]);
      await until(released(2), () => `another release in: ${daemon.log}`);
      for (const { ciaddr, options } of heard(messageType.release)) {
        expect(String(ciaddr)).toBe("10.99.0.50");
        expect(options.get(optionCode.serverIdentifier)).toEqual(address);
      }
      expect(readdirSync(scene.stateDir)).toEqual(["lock"]);
    },
    patience,
  );

  kernelTest(
    "notices that a container went without DEL, and that a lease cannot be read",
    async () => {
      using scene = new DhcpScene();
      const first = await scene.daemon();
      scene.bridge();
      using _server = await serve(scene, (message) => [
        reply(message, typeOf(message) === messageType.discover ? "offer" : "ack", "10.99.0.50", {
          ...own,
          [optionCode.leaseTime]: u32(4),
        }),
      ]);
      const [gone, cut] = [scene.host.container(), scene.host.container()];
      await scene.host.succeed("ADD", gone, scene.bridged());
      gone.close();
      // Either when it is time to ask for more time, or by looking.
      await first.said("stops keeping a lease");
      await scene.host.succeed("ADD", cut, scene.bridged());
      await first.end();
      for (const name of readdirSync(scene.stateDir))
        writeFileSync(path(scene.stateDir, name), '{"network":');
      const second = await scene.daemon();
      await second.said("forgetting a lease that cannot be read");
      expect(readdirSync(scene.stateDir)).toEqual(["lock"]);
    },
    patience,
  );

  kernelTest(
    "takes over a socket on which nobody listens, and none on which somebody does",
    async () => {
      using scene = new DhcpScene();
      const first = await scene.daemon();
      expect(statSync(scene.socket).mode & 0o077).toBe(0);
      await expect(scene.daemon()).rejects.toThrow("another DHCP daemon runs");
      await first.end("SIGKILL");
      expect(existsSync(scene.socket)).toBe(true);
      const dead = await scene.host.call("STATUS", undefined, scene.bridged());
      expect(dead.json).toMatchObject({ code: 50, msg: expect.stringContaining("ECONNREFUSED") });
      const pidFile = path(scene.dir, "pid");
      const second = await scene.daemon("--pidfile", pidFile);
      expect(await Bun.file(pidFile).text()).toBe(String(second.child.pid));
      // As the reference's, for whoever watches over daemons.
      expect(statSync(pidFile).mode & 0o777).toBe(0o644 & ~process.umask());
      await scene.host.succeed("STATUS", undefined, scene.bridged());
      await second.end();
      expect([existsSync(scene.socket), existsSync(pidFile)]).toEqual([false, false]);
    },
    patience,
  );

  kernelTest(
    "leaves a file alone that is at the socket's path and is none",
    async () => {
      using scene = new DhcpScene();
      writeFileSync(scene.socket, "precious");
      await expect(scene.daemon()).rejects.toThrow("is there already, and is no socket");
      expect(await Bun.file(scene.socket).text()).toBe("precious");
    },
    patience,
  );

  kernelTest(
    "answers on a socket that it is handed (LISTEN_FDS), and leaves it there",
    async () => {
      using scene = new DhcpScene();
      const fd = ffi.socket(1, 1, 0);
      try {
        ffi.bind(fd, Uint8Array.of(1, 0, ...new TextEncoder().encode(scene.socket), 0));
        ffi.listen(fd, 16);
        using daemon = scene.activated(fd);
        await daemon.said("answering");
        await scene.host.succeed("STATUS", undefined, scene.bridged());
        await daemon.end();
        expect(existsSync(scene.socket)).toBe(true);
      } finally {
        ffi.close(fd);
      }
    },
    patience,
  );

  kernelTest(
    "is the plugin's executable too, with the flags of the reference's",
    async () => {
      using scene = new DhcpScene();
      const pidFile = path(scene.dir, "pid");
      const daemon = await scene.pluginDaemon("-broadcast=true", "-timeout", "5s", `-pidfile=${pidFile}`);
      expect(existsSync(pidFile)).toBe(true);
      scene.bridge();
      using server = await serve(scene, (message) => [
        reply(message, typeOf(message) === messageType.discover ? "offer" : "ack", "10.99.0.50", own),
      ]);
      const container = scene.host.container();
      await scene.host.succeed("ADD", container, scene.bridged());
      expect(server.heard.every(({ broadcast }) => broadcast)).toBe(true);
      await daemon.end();
      expect(existsSync(pidFile)).toBe(false);
    },
    patience,
  );

  referenceTest(
    "tells the reference's plugin that it is another one",
    async () => {
      using scene = new DhcpScene();
      await scene.daemon();
      const config = { ...scene.macvlan(), type: "dhcp", cniVersion: "1.0.0" };
      const refused = await scene.host.call("ADD", scene.host.container(), config, {
        plugins: referencePlugins,
      });
      expect(refused.json).toMatchObject({
        msg: expect.stringContaining("this is Weft's DHCP daemon, which only Weft's dhcp plugin can ask"),
      });
    },
    patience,
  );
});

describe("The plugin", () => {
  kernelTest(
    "tells that there is no daemon (code 50), and lets a container go without one",
    async () => {
      using scene = new DhcpScene();
      const container = scene.host.container();
      for (const command of ["STATUS", "ADD"]) {
        const answer = await scene.host.call(command, container, { ...scene.bridged(), type: "dhcp" });
        expect(answer.json).toMatchObject({
          code: 50,
          msg: `error dialing DHCP daemon: ${scene.socket}: ENOENT`,
          details: expect.stringContaining("weft dhcp daemon"),
        });
      }
      const long = scene.bridged({ daemonSocketPath: `/${"x".repeat(200)}` });
      expect((await scene.host.call("STATUS", container, long)).json).toMatchObject({ code: 50 });
      const deleted = await scene.host.succeed("DEL", container, { ...scene.bridged(), type: "dhcp" });
      expect(deleted.stderr).toContain("the DHCP server keeps the lease until it ends");
    },
    patience,
  );

  referenceTest(
    "tells that the daemon is the reference's",
    async () => {
      using scene = new DhcpScene();
      const other = scene.host.node.in(() =>
        Bun.spawn([`${referencePlugins}/dhcp`, "daemon", "-socketpath", scene.socket]),
      );
      try {
        await until(
          () => existsSync(scene.socket),
          () => "a socket",
        );
        for (const command of ["STATUS", "ADD", "DEL"]) {
          const answer = await scene.host.call(command, scene.host.container(), {
            ...scene.bridged(),
            type: "dhcp",
          });
          expect(answer.json).toMatchObject({
            code: 50,
            msg: expect.stringContaining("does not speak as Weft's DHCP daemon does"),
          });
        }
        // Nor does Weft's daemon take its place.
        await expect(scene.daemon()).rejects.toThrow("another DHCP daemon runs");
      } finally {
        other.kill();
        await other.exited;
      }
    },
    patience,
  );

  const strange: [string, string | undefined, number][] = [
    ["says nothing", undefined, 11],
    ["hangs up", "", 11],
    ["says something else", "220 mail.example ESMTP\r\n", 50],
    ["says half a line", "{", 50],
  ];
  for (const [what, words, code] of strange) {
    kernelTest(
      `fails where what listens ${what}`,
      async () => {
        using scene = new DhcpScene();
        const server = createServer((socket) => {
          socket.on("error", () => {});
          if (words !== undefined) socket.end(words);
        });
        await new Promise<void>((resolve) => server.listen(scene.socket, resolve));
        try {
          const answer = await scene.host.call("STATUS", undefined, { ...scene.bridged(), type: "dhcp" });
          expect(answer.json).toMatchObject({ code });
        } finally {
          server.close();
        }
      },
      patience,
    );
  }

  const mistakes: [string, object][] = [
    ["ipam.daemonSocketPath", { daemonSocketPath: "dhcp.sock" }],
    ["ipam.provide[0].option", { provide: [{ option: "hostname", value: "a" }] }],
    ["ipam.priority", { priority: "high" }],
  ];
  kernelTest(
    "names the field that cannot be understood",
    async () => {
      using scene = new DhcpScene();
      await scene.daemon();
      for (const [field, ipam] of mistakes) {
        const config = { ...scene.bridged({ ...ipam }), type: "dhcp" };
        const answer = await scene.host.call("ADD", scene.host.container(), config);
        expect(answer.json).toMatchObject({ code: 7, msg: expect.stringContaining(`${field}: `) });
      }
      const nowhere = await scene.host.call(
        "ADD",
        undefined,
        { ...scene.bridged(), type: "dhcp" },
        { netns: "/run/netns/none" },
      );
      expect(nowhere.json).toMatchObject({
        code: 8,
        msg: "the DHCP daemon sees no network namespace /run/netns/none",
      });
      const empty = await scene.host.call("ADD", scene.host.container(), {
        ...scene.bridged(),
        type: "dhcp",
      });
      expect(empty.json).toMatchObject({ code: 999, msg: expect.stringContaining("no such link") });
      // Other clients are told, too, and none is kept waiting.
      const said = await new Promise<string>((resolve) => {
        const socket = connect({ path: scene.socket }, () => socket.write("rubbish\n"));
        let text = "";
        socket.on("data", (bytes) => {
          text += bytes;
        });
        socket.on("close", () => resolve(text));
      });
      expect(said).toStartWith("HTTP/1.0 501 ");
    },
    patience,
  );
});
