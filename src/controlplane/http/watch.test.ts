import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { deploymentOf, podOf, startTestServer, type TestServer, type TestWatch } from "../testing.ts";

let api: TestServer;
const pods = "/api/v1/namespaces/default/pods";
const MERGE = "application/merge-patch+json";
beforeAll(async () => {
  api = await startTestServer();
});
afterAll(() => api.close());

const version = async () => (await api.get(pods)).body.metadata?.resourceVersion as unknown as string;
const take = async (watch: TestWatch, count: number) => {
  const events: string[] = [];
  for (let i = 0; i < count; i++) {
    const event = await watch.next();
    events.push(
      `${event?.type} ${(event?.object as { metadata?: { name?: string } } | undefined)?.metadata?.name ?? ""}`.trim(),
    );
  }
  return events;
};

describe("watch", () => {
  test("tells of what happens from a version on, in order, and resumes from any event's version", async () => {
    const watch = await api.watch(`${pods}?watch=1&resourceVersion=${await version()}`);
    const created = await api.send("POST", pods, podOf("w1"));
    await api.send("PATCH", `${pods}/w1`, { metadata: { labels: { a: "b" } } }, MERGE);
    await api.send("DELETE", `${pods}/w1`);
    expect(await take(watch, 3)).toEqual(["ADDED w1", "MODIFIED w1", "DELETED w1"]);
    watch.end();
    const again = await api.watch(
      `${pods}?watch=1&resourceVersion=${created.body.metadata?.resourceVersion}`,
    );
    expect(await take(again, 2)).toEqual(["MODIFIED w1", "DELETED w1"]);
    again.end();
  });

  test("a selector makes changes into comings and goings", async () => {
    const watch = await api.watch(
      `${pods}?watch=1&labelSelector=color%3Dblue&resourceVersion=${await version()}`,
    );
    await api.send("POST", pods, podOf("sel", { labels: { color: "red" } }));
    for (const color of ["blue", "red", "blue"]) {
      await api.send("PATCH", `${pods}/sel`, { metadata: { labels: { color } } }, MERGE);
    }
    await api.send("DELETE", `${pods}/sel`);
    const events = [await watch.next(), await watch.next(), await watch.next(), await watch.next()];
    expect(events.map((event) => event?.type)).toEqual(["ADDED", "DELETED", "ADDED", "DELETED"]);
    // What goes is shown as it last matched, with the version at which it went.
    expect(events[1]?.object as unknown).toMatchObject({ metadata: { labels: { color: "blue" } } });
    watch.end();
  });

  test("without a version, all that there is comes first", async () => {
    await api.send("POST", pods, podOf("first"));
    const watch = await api.watch(`${pods}?watch=1`);
    expect(await take(watch, 1)).toEqual(["ADDED first"]);
    watch.end();
    await api.send("DELETE", `${pods}/first`);
  });

  test("sendInitialEvents ends them with a marked bookmark", async () => {
    await api.send("POST", pods, podOf("listed"));
    const query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    const watch = await api.watch(`${pods}?${query}`);
    expect(await take(watch, 1)).toEqual(["ADDED listed"]);
    const mark = await watch.next();
    expect(mark as unknown).toMatchObject({
      type: "BOOKMARK",
      object: {
        kind: "Pod",
        metadata: { annotations: { "k8s.io/initial-events-end": "true" }, resourceVersion: await version() },
      },
    });
    watch.end();
    expect((await api.get(`${pods}?watch=1&sendInitialEvents=true`)).code).toBe(422);
    expect((await api.get(`${pods}?watch=1&resourceVersionMatch=NotOlderThan`)).code).toBe(422);
    await api.send("DELETE", `${pods}/listed`);
  });

  test("ends at its time, with a bookmark of the version until which all was told", async () => {
    const from = await version();
    const watch = await api.watch(
      `${pods}?watch=1&resourceVersion=${from}&timeoutSeconds=1&allowWatchBookmarks=true`,
    );
    const other = await api.send("POST", "/api/v1/namespaces/default/configmaps", {
      metadata: { name: "unrelated" },
    });
    const event = await watch.next();
    expect(event?.type).toBe("BOOKMARK");
    expect((event?.object as { metadata: unknown } | undefined)?.metadata).toMatchObject({
      resourceVersion: other.body.metadata?.resourceVersion as unknown as string,
    });
    expect(await watch.next()).toBeUndefined();
  });

  test("a version that is no longer known, or not yet, is an ERROR of 410", async () => {
    const small = await startTestServer({ historyLimit: 5 });
    const path = "/api/v1/namespaces/default/configmaps";
    const { body } = await small.send("POST", path, { metadata: { name: "c" } });
    for (let i = 0; i < 20; i++) await small.send("PATCH", `${path}/c`, { data: { i: String(i) } }, MERGE);
    for (const from of [body.metadata?.resourceVersion, "99999"]) {
      const watch = await small.watch(`${path}?watch=1&resourceVersion=${from}`);
      expect((await watch.next()) as unknown).toMatchObject({
        type: "ERROR",
        object: { code: 410, reason: "Expired" },
      });
      expect(await watch.next()).toBeUndefined();
    }
    small.close();
  });

  test("as a Table, one row an event, the columns once", async () => {
    const deployments = "/apis/apps/v1/namespaces/default/deployments";
    const accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    const watch = await api.watch(`${deployments}?watch=1`, { accept });
    await api.send("POST", deployments, deploymentOf("d", 3));
    await api.send("PATCH", `${deployments}/d`, { spec: { replicas: 4 } }, MERGE);
    const [first, second] = [await watch.next(), await watch.next()] as unknown as {
      object: { rows: { cells: unknown[] }[]; columnDefinitions: unknown[] | null };
    }[];
    expect(first?.object.rows[0]?.cells.slice(0, 2)).toEqual(["d", "0/3"]);
    expect(first?.object.columnDefinitions?.length).toBeGreaterThan(4);
    expect(second?.object.rows[0]?.cells.slice(0, 2)).toEqual(["d", "0/4"]);
    expect(second?.object.columnDefinitions).toBeNull();
    watch.end();
  });

  test("one namespace, one object by name, and what all namespaces have", async () => {
    await api.send("POST", "/api/v1/namespaces", { metadata: { name: "other" } });
    const from = await version();
    const mine = await api.watch(`${pods}?watch=1&resourceVersion=${from}`);
    const named = await api.watch(
      `/api/v1/pods?watch=1&resourceVersion=${from}&fieldSelector=metadata.name%3Db`,
    );
    await api.send("POST", "/api/v1/namespaces/other/pods", podOf("b"));
    await api.send("POST", pods, podOf("a"));
    expect(await take(mine, 1)).toEqual(["ADDED a"]);
    expect(await take(named, 1)).toEqual(["ADDED b"]);
    mine.end();
    named.end();
  });
});
