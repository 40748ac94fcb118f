import { afterEach, describe, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import {
  askTcp,
  askUdp,
  type FakeUpstream,
  fakeUpstream,
  frame,
  queryBytes,
  shown,
} from "../../test/lib/dns.ts";
import { isAddressInUse, isAddressNotAvailable } from "./listen.ts";
import { type DnsServer, type DnsServerOptions, startDnsServer } from "./server.ts";
import { decodeMessage } from "./wire/message.ts";
import { createZone } from "./zone.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

const name = "blue.default.svc.cluster.local";
const zone = createZone({ serial: 1 });
zone.setService({ namespace: "default", name: "blue", clusterIPs: ["10.96.0.1"], ports: [] });
zone.setService({ namespace: "default", name: "many", clusterIPs: [], headless: true, ports: [] });
zone.setEndpointSlice({
  namespace: "default",
  name: "many",
  service: "many",
  ports: [],
  endpoints: Array.from({ length: 500 }, (_, i) => ({ addresses: [`10.244.${i >> 8}.${i & 255}`] })),
});

async function serve(options: Partial<DnsServerOptions> = {}): Promise<{ server: DnsServer; port: number }> {
  const server = await startDnsServer({ listen: [{ address: "127.0.0.1", port: 0 }], zone, ...options });
  cleanups.push(() => server.close());
  return { server, port: server.listening[0]?.port ?? 0 };
}

async function upstream(respond: Parameters<typeof fakeUpstream>[0]): Promise<FakeUpstream> {
  const fake = await fakeUpstream(respond);
  cleanups.push(() => fake.close());
  return fake;
}

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    return error;
  }
  throw new Error("did not fail");
}

describe("listening", () => {
  test("UDP and TCP on many addresses of both families", async () => {
    const { server, port } = await serve();
    await server.listen({ address: "127.0.0.2", port });
    await server.listen({ address: "::1", port });
    expect(server.listening).toEqual([
      { address: "127.0.0.1", port },
      { address: "127.0.0.2", port },
      { address: "::1", port },
    ]);
    for (const { address } of server.listening) {
      const expected = [`${name}. 5 A 10.96.0.1`];
      expect(shown(await askUdp(address, port, queryBytes(name, "A"))).answers).toEqual(expected);
      const [response] = await askTcp(address, port, [queryBytes(name, "A")]);
      expect(shown(response ?? Buffer.alloc(0)).answers).toEqual(expected);
    }
    expect(server.metrics).toMatchObject({ udpQueries: 3, tcpQueries: 3, tcpConnections: 3 });
    server.unlisten({ address: "127.0.0.2", port });
    expect(server.listening).toHaveLength(2);
    // The address is free again.
    await server.listen({ address: "127.0.0.2", port });
    expect(shown(await askUdp("127.0.0.2", port, queryBytes(name, "A"))).rcode).toBe(0);
  });

  test("the wildcard addresses of both families go together", async () => {
    const { server, port } = await serve({ listen: [{ address: "0.0.0.0", port: 0 }] });
    await server.listen({ address: "::", port });
    for (const address of ["127.0.0.1", "::1"]) {
      expect(shown(await askUdp(address, port, queryBytes(name, "A"))).rcode).toBe(0);
      expect(await askTcp(address, port, [queryBytes(name, "A")])).toHaveLength(1);
    }
  });

  test("a port in use by UDP or TCP is one clear error, and nothing stays open", async () => {
    const udp = await Bun.udpSocket({ hostname: "127.0.0.1", port: 0 });
    cleanups.push(() => udp.close());
    const tcp = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    cleanups.push(() => tcp.stop(true));
    for (const [protocol, port] of [
      ["udp", udp.port],
      ["tcp", tcp.port],
    ] as const) {
      const listen = [
        { address: "127.0.0.3", port },
        { address: "127.0.0.1", port },
      ];
      const error = await failureOf(startDnsServer({ listen, zone }));
      expect(isAddressInUse(error)).toBe(true);
      expect(String(error)).toContain(`Cannot serve DNS at 127.0.0.1:${port}/${protocol}: another program`);
      const { server } = await serve({ listen: [{ address: "127.0.0.3", port }] });
      server.close();
    }
  });

  test("an address that no interface has yet can be told from others", async () => {
    const { server, port } = await serve();
    for (const address of ["192.0.2.1", "2001:db8::1"]) {
      const error = await failureOf(server.listen({ address, port }));
      expect(isAddressNotAvailable(error)).toBe(true);
      expect(isAddressInUse(error)).toBe(false);
      expect(String(error)).toContain(address);
    }
    expect(shown(await askUdp("127.0.0.1", port, queryBytes(name, "A"))).rcode).toBe(0);
  });

  test.each([
    [{ listen: [{ address: "localhost", port: 53 }] }, "listen.address"],
    [{ listen: [{ address: "127.0.0.1", port: 65536 }] }, "listen.port"],
    [{ listen: [], maxUdpPayload: 100 }, "maxUdpPayload"],
    [{ listen: [], forward: { upstreams: ["dns.example"] } }, "forward.upstreams"],
    [{ listen: [], forward: { policy: "best" as "random" } }, "forward.policy"],
  ])("%p is refused", async (options, field) => {
    expect(String(await failureOf(startDnsServer({ zone, ...options })))).toContain(field);
  });
});

test("clients that went before their answer came cost the others nothing", async () => {
  const { port } = await serve();
  for (let i = 0; i < 50; i++) {
    const gone = await Bun.udpSocket({ connect: { hostname: "127.0.0.1", port } });
    for (let j = 0; j <= i % 4; j++) gone.send(queryBytes(name, "A"));
    gone.close();
    const all = Array.from({ length: 1 + (i % 3) }, () => askUdp("127.0.0.1", port, queryBytes(name, "A")));
    for (const response of await Promise.all(all)) expect(shown(response).rcode).toBe(0);
  }
});

describe("TCP (RFC 7766)", () => {
  test("queries are pipelined, and may come in any pieces", async () => {
    const { port } = await serve();
    const queries = Array.from({ length: 50 }, (_, i) =>
      queryBytes(i % 2 === 0 ? name : "x.test", "A", { id: i }),
    );
    const responses = await askTcp("127.0.0.1", port, queries);
    expect(responses.map((response) => decodeMessage(response).id)).toEqual(queries.map((_, i) => i));
    const socket = await dial(port);
    for (const byte of Buffer.concat(queries.slice(0, 3).map(frame))) {
      socket.write(Buffer.from([byte]));
      await Bun.sleep(0);
    }
    expect(await messages(socket, 3)).toHaveLength(3);
  });

  test("a response that takes an upstream does not hold up the others", async () => {
    const up = await upstream((asked) => ({ rcode: asked.questions.length === 1 ? 3 : 1 }));
    const { port } = await serve({ forward: { upstreams: [up.address] } });
    const responses = await askTcp("127.0.0.1", port, [
      queryBytes("far.test", "A", { id: 1 }),
      queryBytes(name, "A", { id: 2 }),
    ]);
    expect(responses.map((response) => decodeMessage(response).id)).toEqual([2, 1]);
  });

  test("no limit but the protocol's on the size of a response", async () => {
    const { port } = await serve();
    const [response] = await askTcp("127.0.0.1", port, [queryBytes("many.default.svc.cluster.local", "A")]);
    const message = decodeMessage(response ?? Buffer.alloc(0));
    expect([message.answers.length, message.truncated]).toEqual([500, false]);
  });

  test("a client that closes its side after asking still gets its answers", async () => {
    const up = await upstream(() => ({ rcode: 3 }));
    const { port } = await serve({ forward: { upstreams: [up.address] } });
    const socket = await dial(port);
    socket.end(Buffer.concat([frame(queryBytes("far.test", "A")), frame(queryBytes(name, "A"))]));
    expect(await messages(socket, 2)).toHaveLength(2);
    await closed(socket);
  });

  test("what is no DNS is hung up on", async () => {
    const { port, server } = await serve();
    const socket = await dial(port);
    socket.write(frame(Buffer.from("hello")));
    await closed(socket);
    expect(server.metrics.dropped).toBe(1);
  });

  test("an idle connection is closed, and one whose bytes drip as well", async () => {
    const { port } = await serve({ tcp: { idleMs: 150 } });
    const idle = await dial(port);
    const dripping = await dial(port);
    const timer = setInterval(() => dripping.write(Buffer.from([0])), 40);
    dripping.write(Buffer.from([1, 0]));
    cleanups.push(() => clearInterval(timer));
    await Promise.all([closed(idle), closed(dripping)]);
  });

  test("a connection that waits for an upstream is not idle", async () => {
    const up = await upstream(() => undefined);
    const { port } = await serve({
      tcp: { idleMs: 60 },
      forward: { upstreams: [up.address], timeoutMs: 200, deadlineMs: 300 },
    });
    const [response] = await askTcp("127.0.0.1", port, [queryBytes("far.test", "A")]);
    expect(decodeMessage(response ?? Buffer.alloc(0)).rcode).toBe(2);
  });

  test("connections above the limit are closed at once", async () => {
    const { port } = await serve({ tcp: { connections: 2 } });
    const kept = [await dial(port), await dial(port)];
    const socket = await dial(port);
    await closed(socket);
    for (const each of kept) {
      each.write(frame(queryBytes(name, "A")));
      expect(await messages(each, 1)).toHaveLength(1);
    }
  });

  test("queries above the pipeline's limit wait for their turn", async () => {
    let most = 0;
    let waiting = 0;
    const up = await upstream(async () => {
      waiting++;
      most = Math.max(most, waiting);
      await Bun.sleep(5);
      waiting--;
      return {};
    });
    const { port } = await serve({
      tcp: { pipeline: 4 },
      forward: { upstreams: [up.address], timeoutMs: 10_000, deadlineMs: 10_000 },
    });
    const queries = Array.from({ length: 12 }, (_, i) => queryBytes(`n${i}.test`, "A", { id: i }));
    const responses = await askTcp("127.0.0.1", port, queries);
    expect(responses).toHaveLength(12);
    expect(most).toBeLessThanOrEqual(4);
  });

  test("a client that does not read its responses makes no memory grow, and gets them all in the end", async () => {
    const { port, server } = await serve();
    const socket = await dial(port);
    socket.pause();
    const query = frame(queryBytes("many.default.svc.cluster.local", "A"));
    const count = 2000;
    for (let i = 0; i < count; i++) socket.write(query);
    let before = -1;
    while (server.metrics.tcpQueries !== before) {
      before = server.metrics.tcpQueries;
      await Bun.sleep(50);
    }
    expect(before).toBeLessThan(count);
    expect(await messages(socket, count)).toHaveLength(count);
  });
});

test("closing the server ends its connections and frees its ports", async () => {
  const { server, port } = await serve();
  const socket = await dial(port);
  server.close();
  await closed(socket);
  const again = await serve({ listen: [{ address: "127.0.0.1", port }] });
  expect(again.port).toBe(port);
});

function dial(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port });
    cleanups.push(() => socket.destroy());
    socket.once("error", reject);
    socket.once("connect", () => resolve(socket));
  });
}

function closed(socket: Socket): Promise<void> {
  socket.resume();
  return new Promise((resolve) => {
    if (socket.destroyed) resolve();
    socket.once("close", () => resolve());
  });
}

/** The next messages of a stream. */
function messages(socket: Socket, count: number): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const found: Buffer[] = [];
    let received = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      let at = 0;
      while (at + 2 <= received.length && at + 2 + received.readUInt16BE(at) <= received.length) {
        const end = at + 2 + received.readUInt16BE(at);
        found.push(received.subarray(at + 2, end));
        at = end;
      }
      received = received.subarray(at);
      if (found.length >= count) resolve(found);
    });
    socket.once("close", () => reject(new Error(`closed after ${found.length} of ${count} messages`)));
    socket.resume();
  });
}
