import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { FakeClock } from "../lib/clock.ts";
import { explain } from "../lib/errors.ts";
import { conformance } from "./conformance.ts";
import type { Credentials } from "./credentials.ts";
import * as errors from "./errors.ts";
import { type ClientConfig, createKubeClient, type KubeClient } from "./index.ts";
import { HttpKube, pem, status } from "./testdata/server.ts";
import { type ConfigMap, resources } from "./types.ts";

const { configMaps, nodes, pods } = resources;

conformance("The client over HTTPS", () => {
  const server = new HttpKube({ requireCertificate: true });
  const client = createKubeClient(server.config());
  return {
    client,
    namespace: "default",
    compact: () => server.fake.store.compact(),
    close: async () => {
      client.close();
      await server.stop();
    },
  };
});

let server: HttpKube;
let client: KubeClient;
const opened: KubeClient[] = [];

function open(config: Partial<ClientConfig> = {}, clock?: FakeClock): KubeClient {
  const made = createKubeClient({ ...server.config(), ...config }, clock === undefined ? {} : { clock });
  opened.push(made);
  return made;
}

beforeEach(() => {
  server = new HttpKube({ requireCertificate: true });
  client = open();
});
afterEach(async () => {
  for (const one of opened.splice(0)) one.close();
  await server.stop();
});

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 5000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not so within 5 s: ${condition}`);
    await Bun.sleep(2);
  }
}

describe("TLS", () => {
  test("requests share connections", async () => {
    for (let i = 0; i < 10; i++) await client.list(nodes);
    expect(server.connections.size).toBe(1);
  });

  const cases: [what: string, config: () => Partial<ClientConfig>, message: string][] = [
    ["an unknown authority", () => ({ ca: pem("other-ca.crt") }), "certificate of an unknown authority"],
    ["another name", () => ({ serverName: "elsewhere.test" }), "certificate for another name"],
    ["no client certificate", () => ({ credentials: { current: async () => ({}) } }), "TLS handshake"],
  ];
  test.each(cases)("%s is refused", async (_, config, message) => {
    const error = await failure(open(config()).list(nodes));
    expect(errors.isUnreachable(error)).toBe(true);
    expect(explain(error)).toContain(message);
    expect(explain(error)).toContain(`list nodes: the API server "${server.url}"`);
  });

  test("a name that the certificate has in place of the address, and no verification at all", async () => {
    await open({ serverName: "kubernetes.default.svc" }).list(nodes);
    await open({ insecure: true, ca: pem("other-ca.crt") }).list(nodes);
    expect(server.requests.length).toBe(2);
  });

  test("a server that is not there is unreachable", async () => {
    await server.stop();
    const error = await failure(client.get(nodes, { name: "node-1" }));
    expect(explain(error)).toMatch(/^get nodes "node-1": the API server ".*" refuses the connection\. Check/);
    server.restart();
    await client.list(nodes);
  });
});

describe("credentials", () => {
  test("a refused token is renewed once, and a token that stays refused is an error", async () => {
    await server.stop();
    server = new HttpKube({ token: "new" });
    let token = "old";
    const credentials = (next: string): Credentials => ({
      current: async () => ({ authorization: `Bearer ${token}` }),
      refresh: () => {
        token = next;
      },
    });
    await open({ credentials: credentials("new") }).list(nodes);
    expect(server.requests.length).toBe(2);
    token = "old";
    const error = await failure(open({ credentials: credentials("bad") }).list(nodes));
    expect(errors.isUnauthorized(error)).toBe(true);
    expect(server.requests.length).toBe(4);
  });

  test("headers of the configuration go with each request", async () => {
    await open({ headers: { "Impersonate-User": "eve" } }).list(nodes);
    expect(server.headers[0]?.get("impersonate-user")).toBe("eve");
    expect(server.headers[0]?.get("user-agent")).toBe("weft");
  });
});

describe("errors", () => {
  const cases: [code: number, reason: string, predicate: (e: unknown) => boolean, kind: string][] = [
    [404, "NotFound", errors.isNotFound, "api-not-found"],
    [409, "AlreadyExists", errors.isAlreadyExists, "api-already-exists"],
    [409, "Conflict", errors.isConflict, "api-conflict"],
    [410, "Expired", errors.isGone, "api-expired"],
    [422, "Invalid", errors.isInvalid, "api-invalid"],
    [403, "Forbidden", errors.isForbidden, "api-forbidden"],
    [500, "InternalError", errors.isTransient, "api-internal-error"],
  ];
  test.each(cases)("%i %s", async (code, reason, predicate, kind) => {
    server.fault = () => status(code, reason, "because");
    const error = await failure(client.get(pods, { namespace: "default", name: "blue" }));
    expect(error).toBeInstanceOf(errors.ApiError);
    expect(predicate(error)).toBe(true);
    expect(error).toMatchObject({ code: kind, reason, httpStatus: code });
    expect((error as Error).message).toBe(`get pods "default/blue": because (${code})`);
  });

  test("the fields of an invalid object stay with the error", async () => {
    const details = {
      causes: [{ reason: "FieldValueRequired", field: "spec.ports", message: "Required value" }],
    };
    server.fault = () =>
      Response.json(
        { kind: "Status", code: 422, reason: "Invalid", message: "no ports", details },
        { status: 422 },
      );
    expect(await failure(client.list(pods))).toMatchObject({ details });
  });

  test("answers that are not the API's are told as they are", async () => {
    server.fault = () => new Response("<html>hello</html>");
    const page = await failure(client.list(pods));
    expect(errors.isMalformed(page)).toBe(true);
    expect(explain(page)).toContain("<html>hello</html>");
    server.fault = () => new Response("bad gateway", { status: 502 });
    const gateway = await failure(client.list(pods));
    expect(errors.isTransient(gateway)).toBe(true);
    expect(explain(gateway)).toContain("list pods: bad gateway (502)");
    for (const body of [{ hello: 1 }, null, { metadata: null }, { metadata: {}, items: "x" }]) {
      server.fault = () => Response.json(body);
      expect(errors.isMalformed(await failure(client.list(pods)))).toBe(true);
    }
    for (const item of [null, "x", {}, { metadata: null }, { metadata: { name: 5 } }]) {
      server.fault = () => Response.json({ metadata: {}, items: [{ metadata: { name: "blue" } }, item] });
      const error = await failure(client.list(pods));
      expect(errors.isMalformed(error)).toBe(true);
      expect(explain(error)).toContain(`item 1 has no name: ${JSON.stringify(item)}`);
    }
  });

  test("names that would reach another path are refused before anything is sent", async () => {
    for (const name of ["", "..", "a/b", "%2e%2e"]) {
      expect(() => client.delete(pods, { namespace: "default", name })).toThrow("cannot be part of a path");
    }
    expect(() => client.get(pods, { name: "blue" })).toThrow("namespace of pods");
    expect(server.requests).toEqual([]);
  });
});

describe("waiting", () => {
  test("a request that is put off is sent again after the time that the server gave", async () => {
    const clock = new FakeClock();
    let left = 2;
    server.fault = () =>
      left-- > 0
        ? Response.json({ kind: "Status", code: 429 }, { status: 429, headers: { "Retry-After": "1" } })
        : undefined;
    const list = open({}, clock).list(nodes);
    for (const sent of [1, 2]) {
      await until(() => server.requests.length === sent && clock.waiting === 2);
      clock.advance(1000);
    }
    expect((await list).items).toEqual([]);
    expect(clock.waiting).toBe(0);
  });

  test("a server that does not answer is given up after the timeout", async () => {
    const clock = new FakeClock();
    server.fault = () => new Promise(() => {});
    const list = failure(open({}, clock).list(nodes));
    await until(() => server.requests.length === 1);
    clock.advance(30_000);
    const error = await list;
    expect(errors.isUnreachable(error)).toBe(true);
    expect(explain(error)).toContain("did not answer within 30000 ms");
  });

  test("an abort rejects with its reason, and closing the client ends all", async () => {
    server.fault = () => new Promise(() => {});
    const controller = new AbortController();
    const first = failure(client.list(nodes, { signal: controller.signal }));
    const second = failure(client.list(nodes));
    await until(() => server.requests.length === 2);
    controller.abort(new Error("enough"));
    expect((await first) as Error).toMatchObject({ message: "enough" });
    client.close();
    expect(errors.isClientClosed(await second)).toBe(true);
    expect(errors.isClientClosed(await failure(client.list(nodes)))).toBe(true);
  });
});

describe("lists", () => {
  const fill = async (count: number) => {
    for (let i = 0; i < count; i++) {
      await server.fake.create(configMaps, { metadata: { name: `c${i}`, namespace: "default" } });
    }
  };
  const paths = () => server.requests.map((request) => request.replace(/^GET .*configmaps/, ""));

  test("go page by page", async () => {
    await fill(5);
    const list = await client.list(configMaps, { limit: 2 });
    expect(list.items.map(({ metadata }) => metadata.name)).toEqual(["c0", "c1", "c2", "c3", "c4"]);
    expect(list.metadata.continue).toBeUndefined();
    expect(paths()).toEqual(["?limit=2", "?limit=2&continue=2", "?limit=2&continue=4"]);
  });

  test("whose token expired are taken again in one piece", async () => {
    await fill(5);
    server.fault = (_, url) =>
      url.searchParams.has("continue") ? status(410, "Expired", "the continue token is too old") : undefined;
    expect((await client.list(configMaps, { limit: 2, namespace: "default" })).items.length).toBe(5);
    expect(paths()).toEqual(["?limit=2", "?limit=2&continue=2", ""]);
  });
});

describe("watches", () => {
  test("split at any byte are read whole", async () => {
    const object = { metadata: { name: "ünïcödé-🐙", resourceVersion: "7" }, data: { a: "水" } };
    const bytes = new TextEncoder().encode(`${JSON.stringify({ type: "ADDED", object })}\n`.repeat(2));
    server.fault = () =>
      new Response(
        new ReadableStream({
          async start(stream) {
            for (let at = 0; at < bytes.length; at += 5) {
              stream.enqueue(bytes.slice(at, at + 5));
              if (at % 40 === 0) await Bun.sleep(0);
            }
            stream.close();
          },
        }),
      );
    const seen: unknown[] = [];
    for await (const event of client.watch(configMaps)) seen.push(event);
    expect(seen).toEqual(
      Array.from({ length: 2 }, () => ({ type: "ADDED", object: expect.objectContaining(object) })),
    );
  });

  const streams: [what: string, body: string, predicate: (e: unknown) => boolean][] = [
    [
      "an ERROR event of 410",
      '{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n',
      errors.isGone,
    ],
    ["half a line", '{"type":"ADDED","object":{"meta', errors.isMalformed],
    ["rubbish", "hello\n", errors.isMalformed],
    ["null", "null\n", errors.isMalformed],
    ["an event without object", '{"type":"ADDED"}\n', errors.isMalformed],
    ["an event without version", '{"type":"ADDED","object":{"metadata":{}}}\n', errors.isMalformed],
    [
      "an object without name",
      '{"type":"ADDED","object":{"metadata":{"resourceVersion":"1"}}}\n',
      errors.isMalformed,
    ],
    ["an unknown event", '{"type":"X","object":{"metadata":{"resourceVersion":"1"}}}\n', errors.isMalformed],
  ];
  test.each(streams)("that bring %s fail as such", async (_, body, predicate) => {
    server.fault = () => new Response(body);
    const error = await failure(Array.fromAsync(client.watch(configMaps)));
    expect(predicate(error)).toBe(true);
  });

  test("ask for bookmarks and carry their options", async () => {
    server.fault = () => new Response("");
    const options = { namespace: "blue", labelSelector: "a=b", resourceVersion: "5", timeoutSeconds: 60 };
    expect(await Array.fromAsync(client.watch(pods, options))).toEqual([]);
    const query =
      "watch=true&allowWatchBookmarks=true&labelSelector=a%3Db&resourceVersion=5&timeoutSeconds=60";
    expect(server.requests).toEqual([`GET /api/v1/namespaces/blue/pods?${query}`]);
  });

  test("leave no connection behind, however they end", async () => {
    const controller = new AbortController();
    const start = async (signal?: AbortSignal) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const events = client.watch(configMaps, { onOpen: resolve, ...(signal ? { signal } : {}) });
      const iterator = events[Symbol.asyncIterator]();
      const next = iterator.next();
      await promise;
      return { iterator, next };
    };
    const aborted = await start(controller.signal);
    const broken = await start();
    const closed = await start();
    expect(server.streams).toBe(3);
    controller.abort(new Error("enough"));
    expect(await failure(aborted.next)).toMatchObject({ message: "enough" });
    await server.fake.create(configMaps, { metadata: { name: "blue", namespace: "default" } });
    expect((await broken.next).value).toMatchObject({ object: { metadata: { name: "blue" } } });
    await broken.iterator.return?.();
    await until(() => server.streams === 1);
    expect((await closed.next).done).toBe(false);
    const last = failure(closed.iterator.next());
    client.close();
    expect(errors.isClientClosed(await last)).toBe(true);
    await until(() => server.streams === 0);
  });

  test("that fall silent are given up", async () => {
    const clock = new FakeClock();
    const silent = open({}, clock);
    const { promise: opened, resolve } = Promise.withResolvers<void>();
    const watch = silent.watch(configMaps, { idleTimeoutMs: 1000, onOpen: resolve })[Symbol.asyncIterator]();
    const first = watch.next();
    await opened;
    clock.advance(900);
    await server.fake.create(configMaps, { metadata: { name: "blue", namespace: "default" } });
    expect((await first).value).toMatchObject({ type: "ADDED" });
    const second = failure(watch.next());
    clock.advance(999);
    clock.advance(1);
    expect(errors.isUnreachable(await second)).toBe(true);
    await until(() => server.streams === 0);
    expect(clock.waiting).toBe(0);
  });

  test("break when the server goes away", async () => {
    const watch = client.watch(configMaps)[Symbol.asyncIterator]();
    const next = failure(watch.next());
    await until(() => server.streams === 1);
    await server.stop();
    expect(errors.isUnreachable(await next)).toBe(true);
    server.restart();
  });
});

test("other paths answer with JSON or text", async () => {
  server.fault = (_, url) =>
    url.pathname === "/version" ? Response.json({ major: "1" }) : new Response("ok");
  expect(await client.request<{ major: string }>("GET", "/version")).toEqual({ major: "1" });
  expect(await client.request<string>("GET", "/healthz")).toBe("ok");
});

test("server-side apply has its content type, manager and force", async () => {
  const types: (string | null)[] = [];
  server.fault = (request) => {
    types.push(request.headers.get("content-type"));
    return Response.json({});
  };
  const ref = { name: "blue", namespace: "default" };
  const body: ConfigMap = { metadata: ref, data: { a: "1" } };
  await client.patch(configMaps, ref, { type: "apply", body, fieldManager: "weft", force: true });
  await client.patch(configMaps, ref, { type: "strategic", body: {} }, { dryRun: true });
  expect(types).toEqual(["application/apply-patch+yaml", "application/strategic-merge-patch+json"]);
  const path = "PATCH /api/v1/namespaces/default/configmaps/blue";
  expect(server.requests).toEqual([`${path}?fieldManager=weft&force=true`, `${path}?dryRun=All`]);
});
