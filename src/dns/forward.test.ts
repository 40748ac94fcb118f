import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  askUdp,
  type FakeUpstream,
  fakeUpstream,
  frame,
  queryBytes,
  reply,
  shown,
} from "../../test/lib/dns.ts";
import { Ip } from "../lib/ip.ts";
import { createLog } from "../lib/log.ts";
import { Cache } from "./cache.ts";
import { Forwarder, parseEndpoint } from "./forward.ts";
import { createMetrics } from "./metrics.ts";
import { parseResolvConf } from "./resolvconf.ts";
import { Resolver } from "./resolver.ts";
import { Responder } from "./responder.ts";
import { type DnsServer, type DnsServerOptions, startDnsServer } from "./server.ts";
import { decodeMessage, type Message } from "./wire/message.ts";
import type { ResourceRecord } from "./wire/schema.ts";
import { createZone } from "./zone.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

const address = (name: string, last: number, ttl = 60): ResourceRecord => ({
  name,
  type: 1,
  class: 1,
  ttl,
  data: { address: Ip.parse(`192.0.2.${last}`) },
});
const answering =
  (last: number, ttl = 60) =>
  (asked: Message) => ({
    answers: [address(asked.questions[0]?.name ?? ".", last, ttl)],
  });

async function upstream(respond: Parameters<typeof fakeUpstream>[0]): Promise<FakeUpstream> {
  const fake = await fakeUpstream(respond);
  cleanups.push(() => fake.close());
  return fake;
}

async function serve(options: Partial<DnsServerOptions>): Promise<{ server: DnsServer; port: number }> {
  const zone = createZone({ serial: 1, reversePrefixes: ["10.96.0.0/16"] });
  zone.setService({
    namespace: "default",
    name: "ext",
    clusterIPs: [],
    externalName: "www.example.com",
    ports: [],
  });
  const server = await startDnsServer({ listen: [{ address: "127.0.0.1", port: 0 }], zone, ...options });
  cleanups.push(() => server.close());
  return { server, port: server.listening[0]?.port ?? 0 };
}

const ask = async (port: number, name: string, change: Partial<Message> = {}) =>
  shown(await askUdp("127.0.0.1", port, queryBytes(name, "A", change)));

describe("forwarding", () => {
  test("a name outside the zone is asked of the upstream once, and then kept", async () => {
    const up = await upstream(answering(1));
    const { server, port } = await serve({ forward: { upstreams: [up.address] } });
    for (let i = 0; i < 3; i++) {
      const back = await ask(port, "www.Example.com.");
      expect(back.answers).toEqual(["www.Example.com. 60 A 192.0.2.1"]);
      expect(back.message).toMatchObject({ authoritative: false, recursionAvailable: true });
    }
    expect(up.queries).toHaveLength(1);
    expect(up.queries[0]).toMatchObject({
      recursionDesired: true,
      edns: { udpPayload: 1232, version: 0, dnssecOk: false, options: [] },
    });
    expect(server.metrics).toMatchObject({ cacheHits: 2, cacheMisses: 1, forwards: 1, forwardFailures: 0 });
    expect(server.cacheSize).toBe(1);
  });

  test("those who ask the same at the same time share one query", async () => {
    const up = await upstream(answering(1));
    const { port } = await serve({ forward: { upstreams: [up.address] } });
    const all = await Promise.all(Array.from({ length: 20 }, () => ask(port, "www.example.com")));
    for (const back of all) expect(back.answers).toEqual(["www.example.com. 60 A 192.0.2.1"]);
    expect(up.queries).toHaveLength(1);
  });

  test("ids and ports differ from query to query", async () => {
    const ports = new Set<number>();
    const up = await upstream((asked, from) => {
      ports.add(from);
      return answering(1)(asked);
    });
    const { port } = await serve({ forward: { upstreams: [up.address] } });
    for (let i = 0; i < 40; i++) await ask(port, `n${i}.example.com`);
    expect(new Set(up.queries.map((query) => query.id)).size).toBeGreaterThan(35);
    expect(ports.size).toBeGreaterThan(3);
  });

  test("DO and CD reach the upstream, and make another answer; AD only who asks for it", async () => {
    const up = await upstream((asked) => ({ ...answering(1)(asked), authenticData: true }));
    const { port } = await serve({ forward: { upstreams: [up.address] } });
    const edns = { udpPayload: 1232, version: 0, dnssecOk: true, options: [] };
    expect((await ask(port, "a.test")).message.authenticData).toBe(false);
    expect((await ask(port, "a.test", { authenticData: true })).message.authenticData).toBe(true);
    expect((await ask(port, "a.test", { edns })).message.authenticData).toBe(true);
    await ask(port, "a.test", { checkingDisabled: true });
    expect(up.queries.map((query) => [query.edns?.dnssecOk, query.checkingDisabled])).toEqual([
      [false, false],
      [true, false],
      [false, true],
    ]);
  });

  test("without recursion desired, only what is kept already is given", async () => {
    const up = await upstream(answering(1));
    const { port } = await serve({ forward: { upstreams: [up.address] } });
    const change = { recursionDesired: false };
    expect((await ask(port, "a.test", change)).rcode).toBe(5);
    await ask(port, "a.test");
    expect((await ask(port, "a.test", change)).answers).toHaveLength(1);
    expect(up.queries).toHaveLength(1);
  });

  test("an ExternalName is followed to the upstream", async () => {
    const up = await upstream(answering(7));
    const { port } = await serve({ forward: { upstreams: [up.address] } });
    for (let i = 0; i < 2; i++) {
      const back = await ask(port, "ext.default.svc.cluster.local");
      expect(back.answers).toEqual([
        "ext.default.svc.cluster.local. 5 CNAME www.example.com.",
        "www.example.com. 60 A 192.0.2.7",
      ]);
    }
    expect(up.queries.map((query) => query.questions[0]?.name)).toEqual(["www.example.com."]);
  });

  test("reverse names of the cluster stay here, others go", async () => {
    const up = await upstream(() => ({ rcode: 3 }));
    const { port } = await serve({ forward: { upstreams: [up.address] } });
    await ask(port, "1.0.96.10.in-addr.arpa");
    expect(up.queries).toHaveLength(0);
    await ask(port, "1.0.97.10.in-addr.arpa");
    expect(up.queries).toHaveLength(1);
  });
});

describe("upstreams that fail", () => {
  const quick = { timeoutMs: 250, deadlineMs: 1000, policy: "sequential" } as const;

  test("one that is silent is passed over, and then left alone", async () => {
    const silent = await upstream(() => undefined);
    const good = await upstream(answering(2));
    const { server, port } = await serve({
      forward: { ...quick, upstreams: [silent.address, good.address] },
    });
    for (let i = 0; i < 5; i++) expect((await ask(port, `n${i}.test`)).answers).toHaveLength(1);
    expect(silent.queries).toHaveLength(2);
    expect(good.queries).toHaveLength(5);
    expect(server.metrics.forwardFailures).toBe(2);
  });

  test("one that is not there is passed over at once", async () => {
    const gone = await fakeUpstream(() => undefined);
    gone.close();
    const good = await upstream(answering(2));
    const { port } = await serve({
      forward: { timeoutMs: 4000, policy: "sequential", upstreams: [gone.address, good.address] },
    });
    const since = performance.now();
    expect((await ask(port, "a.test")).answers).toHaveLength(1);
    expect(performance.now() - since).toBeLessThan(3000);
  });

  test.each([2, 5, 4])(
    "response code %p is an answer only if no other upstream has a better one",
    async (rcode) => {
      const bad = await upstream(() => ({ rcode }));
      const good = await upstream(answering(2));
      const both = await serve({ forward: { ...quick, upstreams: [bad.address, good.address] } });
      expect((await ask(both.port, "a.test")).answers).toHaveLength(1);
      const alone = await serve({ forward: { ...quick, upstreams: [bad.address] } });
      expect((await ask(alone.port, "a.test")).rcode).toBe(rcode);
    },
  );

  test("when none answers: SERVFAIL, which is remembered for a second", async () => {
    const silent = await upstream(() => undefined);
    const { port } = await serve({ forward: { ...quick, upstreams: [silent.address] } });
    expect((await ask(port, "a.test")).rcode).toBe(2);
    const asked = silent.queries.length;
    expect((await ask(port, "a.test")).rcode).toBe(2);
    expect(silent.queries).toHaveLength(asked);
  });

  test("no upstream at all: SERVFAIL", async () => {
    const { port } = await serve({ forward: { upstreams: [] } });
    expect((await ask(port, "a.test")).rcode).toBe(2);
  });

  test("a malformed answer is a failure", async () => {
    const bad = await upstream((asked) => Buffer.concat([reply(asked, {}), Buffer.alloc(3)]));
    const { port } = await serve({ forward: { ...quick, upstreams: [bad.address] } });
    expect((await ask(port, "a.test")).rcode).toBe(2);
  });

  test("answers to something else are not taken", async () => {
    const forged: ((asked: Message) => Buffer)[] = [
      (asked) => reply(asked, { ...answering(66)(asked), id: asked.id ^ 1 }),
      (asked) =>
        reply(asked, { ...answering(66)(asked), questions: [{ name: "b.test.", type: 1, class: 1 }] }),
      (asked) => reply(asked, { ...answering(66)(asked), response: false }),
      () => Buffer.from("junk"),
    ];
    const { port: upPort, close } = await forgingUpstream(forged);
    cleanups.push(close);
    const { port } = await serve({ forward: { upstreams: [`127.0.0.1:${upPort}`] } });
    expect((await ask(port, "a.test")).answers).toEqual(["a.test. 60 A 192.0.2.1"]);
  });

  test("a server that does not know EDNS is asked without it (RFC 6891 section 7)", async () => {
    const old = await upstream((asked) => {
      if (asked.edns === undefined) return answering(3)(asked);
      const { edns: _, ...plain } = asked;
      return reply(plain, { rcode: 1 });
    });
    const { port } = await serve({ forward: { upstreams: [old.address] } });
    expect((await ask(port, "a.test")).answers).toHaveLength(1);
    expect(old.queries).toHaveLength(2);
  });

  test("an expired answer is given when upstreams are gone (RFC 8767)", async () => {
    let alive = true;
    const up = await upstream((asked) => (alive ? answering(1, 1)(asked) : undefined));
    const { server, port } = await serve({ forward: { ...quick, upstreams: [up.address] } });
    expect((await ask(port, "a.test")).answers).toEqual(["a.test. 1 A 192.0.2.1"]);
    alive = false;
    await Bun.sleep(1050);
    expect((await ask(port, "a.test")).answers).toEqual(["a.test. 30 A 192.0.2.1"]);
    const asked = up.queries.length;
    expect((await ask(port, "a.test")).answers).toEqual(["a.test. 30 A 192.0.2.1"]);
    expect(up.queries).toHaveLength(asked);
    expect(server.metrics.staleAnswers).toBe(1);
  });

  test("more different questions than may wait are refused", async () => {
    const silent = await upstream(() => undefined);
    const { server, port } = await serve({
      forward: { ...quick, upstreams: [silent.address] },
      concurrency: 3,
    });
    const all = await Promise.all(Array.from({ length: 5 }, (_, i) => ask(port, `n${i}.test`)));
    expect(all.map((back) => back.rcode).sort()).toEqual([2, 2, 2, 5, 5]);
    expect(server.metrics.overloaded).toBe(2);
  });
});

test("a flood of one question that no upstream answers is refused from some number on", async () => {
  const zone = createZone({ serial: 1 });
  const metrics = createMetrics();
  const up = await upstream(() => undefined);
  const forwarder = new Forwarder({ upstreams: [up.address], timeoutMs: 300, deadlineMs: 300 }, metrics);
  const resolver = new Resolver(forwarder, new Cache(), metrics, 1000);
  cleanups.push(() => resolver.close());
  const responder = new Responder(zone, resolver, metrics);
  const query = queryBytes("a.test", "A");
  const all = await Promise.all(Array.from({ length: 10_100 }, () => responder.resolve(query, false, 1)));
  const refused = all.filter((response) => decodeMessage(response).rcode === 5);
  expect(refused).toHaveLength(100);
  expect(up.queries).toHaveLength(1);
  expect(decodeMessage(await responder.resolve(query, false, 1)).rcode).toBe(2);
});

describe("large answers", () => {
  const many = (asked: Message) => ({
    answers: Array.from({ length: 100 }, (_, i) => address(asked.questions[0]?.name ?? ".", i)),
  });

  /** Truncated by UDP; the whole by TCP on the same port. */
  async function largeUpstream(overTcp: (asked: Message) => Buffer): Promise<FakeUpstream> {
    const up = await upstream(() => ({ truncated: true }));
    const server: Server = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", (data: Buffer) => socket.write(overTcp(decodeMessage(data.subarray(2)))));
    });
    await new Promise<void>((resolve) => server.listen(up.port, "127.0.0.1", resolve));
    cleanups.push(() => server.close());
    return up;
  }

  test("a truncated answer is asked for again by TCP, and truncated for those who ask by UDP", async () => {
    const up = await largeUpstream((asked) => frame(reply(asked, many(asked))));
    const { port } = await serve({ forward: { upstreams: [up.address] } });
    const back = await ask(port, "many.test");
    expect(back.message.truncated).toBe(true);
    expect(back.answers.length).toBe(30);
    expect(up.queries).toHaveLength(1);
  });

  test("what comes by TCP must be the answer as well", async () => {
    const up = await largeUpstream((asked) => frame(reply(asked, { id: asked.id ^ 1 })));
    const { port } = await serve({ forward: { upstreams: [up.address], timeoutMs: 300, deadlineMs: 700 } });
    expect((await ask(port, "many.test")).rcode).toBe(2);
  });
});

describe("loops", () => {
  test("an upstream that is this server itself is left out", async () => {
    const up = await upstream(answering(1));
    const { server, port } = await serve({});
    server.close();
    const lines: string[] = [];
    const forward = { upstreams: [`127.0.0.1:${port}`, up.address], policy: "sequential" as const };
    await serve({
      listen: [{ address: "127.0.0.1", port }],
      forward,
      log: createLog({ write: (line) => lines.push(line) }),
    });
    expect((await ask(port, "a.test")).answers).toHaveLength(1);
    expect(lines.join("\n")).toContain("Leaving out an upstream that is this server itself");
  });

  test("our own query that comes back ends the wait for it, and its upstream is left alone", async () => {
    const lines: string[] = [];
    const { server, port } = await serve({});
    server.close();
    // All of 127.0.0.0/8 is this machine, but only 127.0.0.1 is an interface's address.
    await serve({
      listen: [{ address: "0.0.0.0", port }],
      forward: { upstreams: [`127.0.0.2:${port}`] },
      log: createLog({ write: (line) => lines.push(line) }),
    });
    const since = performance.now();
    expect((await ask(port, "a.test")).rcode).toBe(2);
    expect(performance.now() - since).toBeLessThan(1500);
    expect(lines.filter((line) => line.includes("Upstream sends our queries back to us"))).toHaveLength(1);
  });

  test("two servers that forward to each other end with SERVFAIL after a few queries", async () => {
    const first = await serve({});
    const second = await serve({});
    const [a, b] = [first.port, second.port];
    first.server.close();
    second.server.close();
    const quick = { timeoutMs: 100, deadlineMs: 300 };
    const one = await serve({
      listen: [{ address: "127.0.0.1", port: a }],
      forward: { ...quick, upstreams: [`127.0.0.1:${b}`] },
    });
    const two = await serve({
      listen: [{ address: "127.0.0.1", port: b }],
      forward: { ...quick, upstreams: [`127.0.0.1:${a}`] },
    });
    expect((await ask(a, "a.test")).rcode).toBe(2);
    expect(one.server.metrics.forwards + two.server.metrics.forwards).toBeLessThan(8);
  });
});

describe("where upstreams come from", () => {
  test("a resolv.conf file is read, and read again when it changes", async () => {
    const folder = mkdtempSync(join(tmpdir(), "weft-dns-"));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const file = join(folder, "resolv.conf");
    writeFileSync(file, "nameserver 192.0.2.53\nsearch example.com\n");
    const forwarder = new Forwarder({ resolvConf: file }, createMetrics());
    const addresses = () => forwarder.upstreams.map(String);
    expect(addresses()).toEqual(["192.0.2.53:53"]);
    writeFileSync(file, "nameserver 192.0.2.54\nnameserver fd00::53\n");
    // Naming our own addresses looks at the file again, as time does.
    forwarder.excludeOwn([{ address: "fd00::53", port: 53 }]);
    expect(addresses()).toEqual(["192.0.2.54:53"]);
    rmSync(file);
    forwarder.excludeOwn([]);
    expect(addresses()).toEqual(["192.0.2.54:53"]);
  });

  test("a file that is not there is told once, and again when it was there in between", () => {
    const folder = mkdtempSync(join(tmpdir(), "weft-dns-"));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const missing = join(folder, "missing.conf");
    const lines: string[] = [];
    const log = createLog({ write: (line) => lines.push(line) });
    const forwarder = new Forwarder({ resolvConf: missing }, createMetrics(), log);
    const load = () => forwarder.excludeOwn([]);
    load();
    load();
    expect(lines).toEqual([expect.stringContaining("Cannot read the file of nameservers")]);
    writeFileSync(missing, "nameserver 192.0.2.53\n");
    load();
    rmSync(missing);
    load();
    load();
    expect(lines).toHaveLength(2);
    // What was read before stays in use.
    expect(forwarder.upstreams.map(String)).toEqual(["192.0.2.53:53"]);
  });

  test("the parts of resolv.conf that name servers", () => {
    const text = [
      "# nameserver 192.0.2.1",
      "nameserver 192.0.2.2",
      "\tnameserver   fd00::53 ",
      "nameserver fe80::1%eth0",
      "nameserver 192.0.2.2",
      "nameserver localhost",
      "nameserver",
      "options ndots:5",
      "nameserver 127.0.0.53 # a comment",
    ].join("\r\n".slice(1));
    expect(parseResolvConf(text)).toEqual(["192.0.2.2", "fd00::53", "fe80::1%eth0", "127.0.0.53"]);
  });

  test.each([
    ["10.0.0.53", "10.0.0.53", 53],
    ["10.0.0.53:5353", "10.0.0.53", 5353],
    ["fd00::53", "fd00::53", 53],
    ["[fd00::53]", "fd00::53", 53],
    ["[fd00::53]:5353", "fd00::53", 5353],
    ["fe80::1%eth0", "fe80::1%eth0", 53],
  ])("%s", (text, expected, port) => {
    expect(parseEndpoint(text, "upstream")).toEqual({ address: expected, port });
  });

  test.each(["", "dns.example", "10.0.0", "10.0.0.53:0", "10.0.0.53:65536", "[10.0.0.53", "fd00::53:x"])(
    "%p is refused",
    (text) => {
      expect(() => parseEndpoint(text, "upstream")).toThrow("upstream");
    },
  );
});

/** An upstream that sends forgeries first and the true answer last. */
async function forgingUpstream(
  forged: readonly ((asked: Message) => Buffer)[],
): Promise<{ port: number; close(): void }> {
  const socket = await Bun.udpSocket({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data(own, data, port, from) {
        const asked = decodeMessage(data);
        for (const forge of forged) own.send(forge(asked), port, from);
        own.send(reply(asked, answering(1)(asked)), port, from);
      },
    },
  });
  return { port: socket.port, close: () => socket.close() };
}
