import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  isAlreadyExists,
  isConflict,
  isGone,
  isNotFound,
  type KubeClient,
  type Pod,
  resources,
  type WatchEvent,
} from "./index.ts";

export interface ConformanceSubject {
  client: KubeClient;
  /** Where namespaced objects of the test go. */
  namespace: string;
  /** Makes the server forget all old versions; absent where it cannot be told to. */
  compact?: () => void;
  close(): void | Promise<void>;
}

/** What Weft relies upon in every API server: run against the fake, the embedded one, and the client in between. */
export function conformance(
  name: string,
  open: () => ConformanceSubject | Promise<ConformanceSubject>,
): void {
  describe(`${name} does as the Kubernetes API`, () => {
    let subject: ConformanceSubject;
    let client: KubeClient;
    let namespace: string;
    const controller = new AbortController();
    const { configMaps, nodes, pods } = resources;

    beforeEach(async () => {
      subject = await open();
      ({ client, namespace } = subject);
    });
    afterEach(() => subject.close());

    const configMap = (
      name: string,
      data: Record<string, string> = {},
      labels: Record<string, string> = {},
    ) => ({
      metadata: { name, namespace, labels },
      data,
    });
    const pod = (name: string, nodeName?: string): Pod => ({
      metadata: { name, namespace },
      spec: {
        containers: [{ name: "c", image: "weft/echo" }],
        ...(nodeName === undefined ? {} : { nodeName }),
      },
    });
    const failure = (promise: Promise<unknown>) =>
      promise.then(
        () => undefined,
        (error: unknown) => error,
      );

    test("an object is created with uid, version and time, and read back", async () => {
      const made = await client.create(configMaps, configMap("blue", { a: "1" }));
      expect(made).toMatchObject({ apiVersion: "v1", kind: "ConfigMap", data: { a: "1" } });
      for (const field of ["uid", "resourceVersion", "creationTimestamp"] as const) {
        expect(made.metadata[field]).toBeString();
      }
      expect(await client.get(configMaps, made.metadata)).toEqual(made);
      const error = await failure(client.create(configMaps, configMap("blue")));
      expect([isAlreadyExists(error), isConflict(error)]).toEqual([true, false]);
    });

    test("what is not there is not found", async () => {
      const ref = { name: "none", namespace };
      const calls = [
        client.get(configMaps, ref),
        client.update(configMaps, configMap("none")),
        client.patch(configMaps, ref, { type: "merge", body: {} }),
        client.delete(configMaps, ref),
        client.get(nodes, { name: "none" }),
      ];
      for (const error of await Promise.all(calls.map(failure))) expect(isNotFound(error)).toBe(true);
    });

    test("generateName makes names", async () => {
      const draft = { metadata: { generateName: "blue-", namespace } };
      const [one, two] = [await client.create(configMaps, draft), await client.create(configMaps, draft)];
      expect(one.metadata.name).toMatch(/^blue-[a-z0-9]{5,}$/);
      expect(one.metadata.name).not.toBe(two.metadata.name);
    });

    test("an update of an old version is a conflict, one without version is not", async () => {
      const first = await client.create(configMaps, configMap("blue", { a: "1" }));
      const second = await client.update(configMaps, { ...first, data: { a: "2" } });
      expect(second.metadata.resourceVersion).not.toBe(first.metadata.resourceVersion);
      expect(isConflict(await failure(client.update(configMaps, { ...first, data: { a: "3" } })))).toBe(true);
      const third = await client.update(configMaps, configMap("blue", { a: "4" }));
      expect(third.metadata.uid).toBe(first.metadata.uid);
      const same = await client.update(configMaps, third);
      expect(same.metadata.resourceVersion).toBe(third.metadata.resourceVersion);
    });

    test("merge and JSON patches change what they name", async () => {
      const { metadata } = await client.create(
        configMaps,
        configMap("blue", { a: "1", b: "2" }, { app: "blue" }),
      );
      const merged = await client.patch(configMaps, metadata, {
        type: "merge",
        body: { data: { a: null, c: "3" }, metadata: { labels: { tier: "x" } } },
      });
      expect(merged.data).toEqual({ b: "2", c: "3" });
      expect(merged.metadata.labels).toEqual({ app: "blue", tier: "x" });
      const patched = await client.patch(configMaps, metadata, {
        type: "json",
        body: [
          { op: "test", path: "/data/b", value: "2" },
          { op: "replace", path: "/data/b", value: "4" },
          { op: "remove", path: "/metadata/labels/app" },
        ],
      });
      expect(patched.data).toEqual({ b: "4", c: "3" });
      expect(patched.metadata.labels).toEqual({ tier: "x" });
      const { resourceVersion } = metadata;
      const stale = client.patch(configMaps, metadata, {
        type: "merge",
        body: { metadata: { resourceVersion: resourceVersion as string }, data: { z: "1" } },
      });
      expect(isConflict(await failure(stale))).toBe(true);
    });

    test("status and the rest are written apart, and generation counts the rest", async () => {
      const made = await client.create(pods, pod("blue"));
      const running = await client.updateStatus(pods, {
        ...made,
        spec: { containers: [{ name: "c", image: "not/this" }] },
        status: { phase: "Running", podIP: "10.244.0.5" },
      });
      expect(running.status).toMatchObject({ phase: "Running", podIP: "10.244.0.5" });
      expect(running.spec.containers[0]?.image).toBe("weft/echo");
      expect(running.metadata.generation).toBe(made.metadata.generation as number);
      const labelled = await client.update(pods, {
        ...running,
        metadata: { ...running.metadata, labels: { app: "blue" } },
        status: { phase: "Failed" },
      });
      expect(labelled.status?.phase).toBe("Running");
      const patched = await client.patch(
        pods,
        made.metadata,
        { type: "merge", body: { status: { phase: "Succeeded" } } },
        { subresource: "status" },
      );
      expect(patched.status).toMatchObject({ phase: "Succeeded", podIP: "10.244.0.5" });
      expect(patched.metadata.labels).toEqual({ app: "blue" });
    });

    test("lists select by label and field, and span pages", async () => {
      for (const [i, app] of ["blue", "red", "blue", "green"].entries()) {
        await client.create(configMaps, configMap(`c${i}`, {}, { app, n: String(i) }));
      }
      const names = async (options: object) =>
        (await client.list(configMaps, { namespace, ...options })).items.map(({ metadata }) => metadata.name);
      expect(await names({ labelSelector: "app" })).toEqual(["c0", "c1", "c2", "c3"]);
      expect(await names({ labelSelector: "app", limit: 3 })).toEqual(["c0", "c1", "c2", "c3"]);
      expect(await names({ labelSelector: "app in (blue,green),n!=0" })).toEqual(["c2", "c3"]);
      expect(await names({ fieldSelector: "metadata.name=c1" })).toEqual(["c1"]);
      const list = await client.list(configMaps, { namespace, labelSelector: "app=red" });
      expect(list.items[0]).toMatchObject({ apiVersion: "v1", kind: "ConfigMap" });
      expect(list.metadata.resourceVersion).toBeString();
    });

    test("a watch tells changes since a version, as its selector sees them", async () => {
      const before = await client.create(configMaps, configMap("old", {}, { app: "blue" }));
      const events: string[] = [];
      const watch = client.watch(configMaps, {
        namespace,
        labelSelector: "app=blue",
        signal: controller.signal,
        ...(before.metadata.resourceVersion ? { resourceVersion: before.metadata.resourceVersion } : {}),
      });
      await client.create(configMaps, configMap("red", {}, { app: "red" }));
      const blue = await client.create(configMaps, configMap("blue", {}, { app: "blue" }));
      await client.update(configMaps, { ...blue, data: { a: "1" } });
      await client.update(configMaps, configMap("red", {}, { app: "blue" }));
      await client.update(configMaps, configMap("blue", {}, { app: "red" }));
      await client.delete(configMaps, { name: "old", namespace });
      for await (const { type, object } of watch as AsyncIterable<WatchEvent<Pod>>) {
        if (type === "ERROR" || type === "BOOKMARK") continue;
        events.push(`${type} ${object.metadata.name}`);
        if (events.length === 5) break;
      }
      expect(events).toEqual(["ADDED blue", "MODIFIED blue", "ADDED red", "DELETED blue", "DELETED old"]);
    });

    test("a watch without version begins with what there is", async () => {
      await client.create(configMaps, configMap("blue", {}, { app: "blue" }));
      for await (const event of client.watch(configMaps, {
        namespace,
        fieldSelector: "metadata.name=blue",
      })) {
        expect(event).toMatchObject({ type: "ADDED", object: { metadata: { name: "blue" } } });
        break;
      }
    });

    test("a forgotten version is gone", async () => {
      if (subject.compact === undefined) return;
      const { metadata } = await client.create(configMaps, configMap("blue"));
      await client.create(configMaps, configMap("red"));
      subject.compact();
      const { resourceVersion = "" } = metadata;
      const watch = client.watch(configMaps, { resourceVersion })[Symbol.asyncIterator]();
      expect(isGone(await failure(watch.next()))).toBe(true);
    });

    test("a finalizer holds a deletion back", async () => {
      const held = configMap("blue");
      const made = await client.create(configMaps, {
        ...held,
        metadata: { ...held.metadata, finalizers: ["weft.io/test"] },
      });
      await client.delete(configMaps, made.metadata);
      const deleting = await client.get(configMaps, made.metadata);
      expect(deleting.metadata.deletionTimestamp).toBeString();
      await client.patch(configMaps, made.metadata, {
        type: "merge",
        body: { metadata: { finalizers: null } },
      });
      expect(isNotFound(await failure(client.get(configMaps, made.metadata)))).toBe(true);
    });

    test("deletion observes preconditions, and propagation as finalizers", async () => {
      const made = await client.create(configMaps, configMap("blue"));
      const wrong = client.delete(configMaps, made.metadata, { preconditions: { uid: "another" } });
      expect(isConflict(await failure(wrong))).toBe(true);
      await client.delete(configMaps, made.metadata, { propagationPolicy: "Foreground" });
      const deleting = await client.get(configMaps, made.metadata);
      expect(deleting.metadata.finalizers).toEqual(["foregroundDeletion"]);
    });

    test("a pod on a node is given its time, and is removed at once without", async () => {
      const free = await client.create(pods, pod("free"));
      await client.delete(pods, free.metadata);
      expect(isNotFound(await failure(client.get(pods, free.metadata)))).toBe(true);
      const bound = await client.create(pods, pod("bound", "node-1"));
      await client.delete(pods, bound.metadata);
      const deleting = await client.get(pods, bound.metadata);
      expect(deleting.metadata).toMatchObject({ deletionGracePeriodSeconds: 30 });
      await client.delete(pods, bound.metadata, { gracePeriodSeconds: 0 });
      expect(isNotFound(await failure(client.get(pods, bound.metadata)))).toBe(true);
    });

    test("a binding puts a pod on a node, once", async () => {
      const { metadata } = await client.create(pods, pod("blue"));
      const binding = { metadata, target: { apiVersion: "v1", kind: "Node", name: "node-1" } };
      await client.create(pods, binding as unknown as Pod, { subresource: "binding" });
      expect((await client.get(pods, metadata)).spec.nodeName).toBe("node-1");
      const again = client.create(pods, binding as unknown as Pod, { subresource: "binding" });
      expect(isConflict(await failure(again))).toBe(true);
    });

    test("a collection is deleted by its selector", async () => {
      await client.create(configMaps, configMap("blue", {}, { app: "blue" }));
      await client.create(configMaps, configMap("red", {}, { app: "red" }));
      await client.deleteCollection(configMaps, { namespace, labelSelector: "app=blue" });
      const { items } = await client.list(configMaps, { namespace, labelSelector: "app" });
      expect(items.map(({ metadata }) => metadata.name)).toEqual(["red"]);
    });
  });
}
