import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InvalidInput } from "../lib/errors.ts";
import type { Cluster } from "./cluster.ts";
import { deleteExpired } from "./events.ts";
import { type ApiServer, type ApiServerOptions, startApiServer } from "./server.ts";
import { Store } from "./store/store.ts";
import { podOf, startTestServer } from "./testing.ts";

const folder = mkdtempSync(join(tmpdir(), "weft-api-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const open: ApiServer[] = [];
const start = async (options: ApiServerOptions) => {
  const server = await startApiServer(options);
  open.push(server);
  return server;
};
afterEach(() => {
  for (const server of open.splice(0)) server.close();
});

const ask = (
  server: ApiServer,
  path: string,
  token: string | undefined,
  init: RequestInit & { tls?: object } = {},
) =>
  fetch(`${server.url}${path}`, {
    tls: { ca: server.caCert },
    ...init,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(init.headers as object),
    },
  } as RequestInit);

describe("connections", () => {
  test("HTTPS by the server's own CA, and bearer tokens", async () => {
    const server = await start({ listen: { port: 0 } });
    const answer = await ask(server, "/api/v1/namespaces/default", server.token("alice"));
    expect([answer.status, await answer.json()]).toMatchObject([200, { metadata: { name: "default" } }]);
    for (const token of [undefined, "x", `${server.token("alice")}x`]) {
      const refused = await ask(server, "/api/v1/namespaces", token);
      expect([refused.status, await refused.json()]).toMatchObject([401, { reason: "Unauthorized" }]);
    }
    expect((await ask(server, "/healthz", undefined)).status).toBe(200);
    expect((await ask(server, "/version", undefined)).status).toBe(200);
    const other = await start({});
    expect(ask(server, "/healthz", undefined, { tls: { ca: other.caCert } })).rejects.toThrow();
  });

  test("a kubeconfig says all that a client needs", async () => {
    const server = await start({ listen: { port: 0 }, clusterName: "blue" });
    const config = Bun.YAML.parse(server.kubeconfig("admin")) as {
      clusters: { cluster: { server: string; "certificate-authority-data": string } }[];
      users: { user: { token: string } }[];
      "current-context": string;
    };
    expect(config["current-context"]).toBe("admin@blue");
    expect(config.clusters[0]?.cluster.server).toBe(server.url);
    const review = await ask(
      server,
      "/apis/authentication.k8s.io/v1/selfsubjectreviews",
      config.users[0]?.user.token,
      { method: "POST", body: "{}" },
    );
    expect(await review.json()).toMatchObject({
      status: { userInfo: { username: "admin", groups: ["system:masters", "system:authenticated"] } },
    });
  });

  test("the certificate covers the names it is asked for, and the Service's address", async () => {
    const { X509Certificate } = await import("node:crypto");
    const { connect } = await import("node:tls");
    const server = await start({
      listen: { port: 0 },
      names: ["api.weft.test", "10.9.8.7"],
      serviceCidrs: ["10.96.0.0/16", "fd00:10:96::/112"],
    });
    const socket = connect({
      port: server.listeners[0]?.port ?? 0,
      host: "127.0.0.1",
      ca: server.caCert,
      servername: "api.weft.test",
    });
    await new Promise((resolve, reject) =>
      socket.once("secureConnect", () => resolve(undefined)).once("error", reject),
    );
    const certificate = new X509Certificate(socket.getPeerCertificate().raw);
    socket.destroy();
    expect(certificate.checkHost("api.weft.test")).toBe("api.weft.test");
    for (const ip of ["10.9.8.7", "10.96.0.1", "fd00:10:96::1", "127.0.0.1"])
      expect(certificate.checkIP(ip)).toBe(ip);
  });

  test("a unix socket, and several places at once", async () => {
    const path = join(folder, "api.sock");
    const server = await start({ listen: [{ port: 0 }, { unix: path }] });
    expect(server.listeners.map(({ url }) => url)).toEqual([server.url, `https+unix://${path}`]);
    const answer = await fetch("https://localhost/healthz", {
      unix: path,
      tls: { ca: server.caCert },
    } as RequestInit);
    expect(await answer.text()).toBe("ok");
  });

  test("opens its socket where it is told to", async () => {
    const seen: string[] = [];
    const within = <T>(action: () => T): T => {
      seen.push("in");
      const result = action();
      seen.push("out");
      return result;
    };
    const server = await start({ listen: { port: 0, within } });
    expect(seen).toEqual(["in", "out"]);
    expect((await ask(server, "/healthz", undefined)).status).toBe(200);
  });

  test("a watch begins at once and ends with the server; an event comes without delay", async () => {
    const server = await start({ listen: { port: 0 } });
    const token = server.token("admin");
    const answer = await ask(server, "/api/v1/pods?watch=1", token);
    const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toBe(" ");
    const body = JSON.stringify(podOf("p"));
    await ask(server, "/api/v1/namespaces/default/pods", token, {
      method: "POST",
      body,
      headers: { "content-type": "application/json" },
    });
    expect(new TextDecoder().decode((await reader.read()).value)).toStartWith('{"type":"ADDED"');
    server.close();
    expect((await reader.read().catch(() => ({ done: true }))).done).toBe(true);
  });
});

describe("wrong options are one clear error each", () => {
  test("a port in use", async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const { port } = other.address() as { port: number };
    const failed = await startApiServer({ listen: { port } }).catch((error: unknown) => error);
    other.close();
    expect(failed).toBeInstanceOf(InvalidInput);
    expect((failed as InvalidInput).explain()).toBe(
      `listen.port: ${port} is in use. Stop the program that listens there, or choose another port (0 takes a free one)`,
    );
  });

  const table: [name: string, options: ApiServerOptions, message: RegExp][] = [
    [
      "an address of another machine",
      { listen: { host: "192.0.2.1", port: 0 } },
      /listen.host: "192.0.2.1" is not an address of this machine/,
    ],
    [
      "two networks of one family",
      { serviceCidrs: ["10.0.0.0/16", "10.1.0.0/16"] },
      /serviceCidrs: .*is not one network, or one of each family/,
    ],
    ["no network", { serviceCidrs: ["ten"] }, /serviceCidrs\[0\]: "ten" is not a prefix/],
    [
      "ports the wrong way round",
      { nodePorts: [32767, 30000] },
      /nodePorts: \[32767,30000\] is not a range of ports/,
    ],
    ["a file in no folder", { dataFile: join(folder, "none", "data.db") }, /dataFile: .*cannot be used/],
    [
      "an advertised name",
      { advertise: { addresses: ["api"] } },
      /advertise.addresses\[0\]: "api" is not an IP address/,
    ],
  ];
  for (const [name, options, message] of table) {
    test(name, async () => {
      const failed = await startApiServer(options).catch((error: unknown) => error);
      expect(failed).toBeInstanceOf(InvalidInput);
      expect((failed as InvalidInput).message).toMatch(message);
    });
  }
});

describe("a data file", () => {
  test("keeps objects, CA, tokens, addresses and definitions over a restart; old versions are gone", async () => {
    const dataFile = join(folder, "restart.db");
    const first = await startTestServer({ dataFile });
    const services = "/api/v1/namespaces/default/services";
    const made = await first.send("POST", services, {
      metadata: { name: "s" },
      spec: { ports: [{ port: 1 }] },
    });
    const definition = {
      metadata: { name: "things.weft.test" },
      spec: {
        group: "weft.test",
        scope: "Cluster",
        names: { plural: "things", kind: "Thing" },
        versions: [
          { name: "v1", served: true, storage: true, schema: { openAPIV3Schema: { type: "object" } } },
        ],
      },
    };
    await first.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition);
    expect((await first.send("POST", "/apis/weft.test/v1/things", { metadata: { name: "t" } })).code).toBe(
      201,
    );
    const token = first.server.token("alice");
    const { caCert } = first.server;
    first.close();

    const second = await startTestServer({ dataFile });
    expect(second.server.caCert).toBe(caCert);
    const me = await second.send("POST", "/apis/authentication.k8s.io/v1/tokenreviews", { spec: { token } });
    expect(me.body.status?.user?.username as unknown).toBe("alice");
    expect((await second.get("/apis/weft.test/v1/things/t")).code).toBe(200);
    const clusterIP = made.body.spec?.clusterIP;
    const again = await second.send("POST", services, {
      metadata: { name: "u" },
      spec: { clusterIP, ports: [{ port: 1 }] },
    });
    expect(again.body.message as unknown).toMatch(/provided IP is already allocated/);
    const version = made.body.metadata?.resourceVersion;
    const watch = await second.watch(`${services}?watch=1&resourceVersion=${version}`);
    expect((await watch.next()) as unknown).toMatchObject({ type: "ERROR", object: { code: 410 } });
    second.close();
  });

  test("of a server that runs is refused", async () => {
    const dataFile = join(folder, "held.db");
    await start({ dataFile });
    expect(startApiServer({ dataFile })).rejects.toThrow(/dataFile: .*is in use by another process/);
  });
});

describe("the Service kubernetes", () => {
  test("leads to where the server is reached", async () => {
    const server = await start({
      listen: { port: 0 },
      advertise: { addresses: ["10.0.0.5", "fd00::5"], port: 6443 },
    });
    const read = async (path: string) => (await ask(server, path, server.token("admin"))).json();
    expect(await read("/api/v1/namespaces/default/endpoints/kubernetes")).toMatchObject({
      subsets: [{ addresses: [{ ip: "10.0.0.5" }], ports: [{ name: "https", port: 6443 }] }],
    });
    expect(
      await read("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"),
    ).toMatchObject({
      addressType: "IPv4",
      endpoints: [{ addresses: ["10.0.0.5"] }],
      metadata: { labels: { "kubernetes.io/service-name": "kubernetes" } },
    });
    expect(await read("/api/v1/namespaces/default/services/kubernetes")).toMatchObject({
      spec: { ports: [{ port: 443, targetPort: 6443 }] },
    });
  });
});

test("events go when they are old", () => {
  const store = new Store();
  const event = (name: string, lastTimestamp: string) =>
    store.create("events", {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name, namespace: "default" },
      lastTimestamp,
    });
  event("old", "2026-01-01T00:00:00Z");
  event("new", "2026-01-01T00:59:00Z");
  deleteExpired({ store, now: () => Date.parse("2026-01-01T01:00:01Z") } as unknown as Cluster, 3600);
  expect(store.list("events").map(({ name }) => name)).toEqual(["new"]);
  store.close();
});
