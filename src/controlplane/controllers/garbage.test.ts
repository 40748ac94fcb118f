import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { KubeClient } from "../../kube/client.ts";
import { isNotFound } from "../../kube/errors.ts";
import { type ConfigMap, type OwnerReference, resource, resources } from "../../kube/types.ts";
import { fateOf, type OwnerState } from "./garbagecollector.ts";
import { all, type ClusterKind, eventually, makeNode, startCluster, type TestCluster } from "./testing.ts";

describe("the fate of an object", () => {
  const owners = (...states: OwnerState[]) =>
    states.map((state, i) => ({ reference: { uid: `${i}` } as OwnerReference, state }));
  const cases: [states: OwnerState[], fate: unknown][] = [
    [[], "keep"],
    [["solid"], "keep"],
    [["absent"], "delete"],
    [["waiting"], "delete"],
    [["absent", "waiting"], "delete"],
    [["solid", "absent"], { keepOwners: [{ uid: "0" }] }],
    [["waiting", "solid"], { keepOwners: [{ uid: "1" }] }],
  ];
  test.each(cases)("with owners %j: %j", (states, fate) => {
    expect(fateOf(owners(...states))).toEqual(fate as never);
  });
});

describe.each(["fake", "embedded"] as const)("on the %s server", (kind: ClusterKind) => {
  let cluster: TestCluster;
  let kube: KubeClient;
  beforeEach(async () => {
    cluster = await startCluster(kind);
    kube = cluster.client;
  });
  afterEach(() => cluster.stop());

  const { configMaps } = resources;
  const ref = (name: string) => ({ name, namespace: "default" });
  const make = async (name: string, ...owners: ConfigMap[]) =>
    kube.create(configMaps, {
      metadata: {
        ...ref(name),
        ownerReferences: owners.map(({ metadata }) => ({
          apiVersion: "v1",
          kind: "ConfigMap",
          name: metadata.name,
          uid: metadata.uid ?? "",
          blockOwnerDeletion: true,
        })),
      },
    });
  const names = async () =>
    (await all(kube, configMaps))
      .map(({ metadata }) => metadata.name)
      .filter((name) => name !== "kube-root-ca.crt")
      .sort();
  const left = (...wanted: string[]) => eventually(names, (list) => list.join() === wanted.join());

  test("what belongs to an owner that is gone goes too, and so on", async () => {
    const a = await make("a");
    const b = await make("b", a);
    await make("c", b);
    await make("other");
    await kube.delete(configMaps, ref("a"), { propagationPolicy: "Background" });
    await left("other");
  });

  test("what has another owner stays, and forgets the one that is gone", async () => {
    const [a, b] = [await make("a"), await make("b")];
    await make("c", a, b);
    await kube.delete(configMaps, ref("a"));
    const kept = await eventually(
      () => kube.get(configMaps, ref("c")),
      ({ metadata }) => metadata.ownerReferences?.length === 1,
    );
    expect(kept.metadata.ownerReferences?.[0]?.name).toBe("b");
  });

  test("what comes after its owner has gone, or names another of that name, goes at once", async () => {
    const a = await make("a");
    await kube.delete(configMaps, ref("a"));
    await make("a");
    await make("late", a);
    await left("a");
  });

  test("an owner that is deleted in the foreground goes last", async () => {
    const a = await make("a");
    const b = await make("b", a);
    const c = await make("c", b);
    await kube.patch(configMaps, ref("c"), {
      type: "merge",
      body: { metadata: { finalizers: ["weft.io/test"] } },
    });
    await kube.delete(configMaps, ref("a"), { propagationPolicy: "Foreground" });
    await eventually(
      () => kube.get(configMaps, c.metadata),
      ({ metadata }) => metadata.deletionTimestamp !== undefined,
    );
    expect(await names()).toEqual(["a", "b", "c"]);
    await kube.patch(configMaps, ref("c"), { type: "merge", body: { metadata: { finalizers: null } } });
    await left();
  });

  test("orphans stay", async () => {
    const a = await make("a");
    await make("b", a);
    await kube.delete(configMaps, ref("a"), { propagationPolicy: "Orphan" });
    await left("b");
    expect((await kube.get(configMaps, ref("b"))).metadata.ownerReferences ?? []).toEqual([]);
  });

  test("a Deployment takes its sets and pods with it, a Service its slices", async () => {
    await kube.create(resources.nodes, makeNode("node-1"));
    const labels = { app: "blue" };
    await kube.create(resources.deployments, {
      metadata: ref("blue"),
      spec: {
        replicas: 2,
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { containers: [{ name: "c", image: "weft/echo" }] } },
      },
    });
    await kube.create(resources.services, {
      metadata: ref("blue"),
      spec: { selector: labels, ports: [{ port: 80 }] },
    });
    const count = async () =>
      [
        await all(kube, resources.replicaSets),
        await all(kube, resources.pods),
        (await all(kube, resources.endpointSlices)).filter(({ metadata }) =>
          metadata.name.startsWith("blue"),
        ),
        (await all(kube, resources.endpoints)).filter(({ metadata }) => metadata.name === "blue"),
      ]
        .map((list) => list.length)
        .join();
    await eventually(count, (now) => now === "1,2,1,1");
    await kube.delete(resources.deployments, ref("blue"), { propagationPolicy: "Background" });
    await kube.delete(resources.services, ref("blue"));
    await eventually(count, (now) => now === "0,0,0,0");
  });

  test("a namespace is emptied before it goes", async () => {
    await kube.create(resources.nodes, makeNode("node-1"));
    const name = "short";
    await kube.create(resources.namespaces, { metadata: { name } });
    const labels = { app: "blue" };
    await kube.create(resources.replicaSets, {
      metadata: { name: "blue", namespace: name },
      spec: {
        replicas: 3,
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { containers: [{ name: "c", image: "weft/echo" }] } },
      },
    });
    await kube.create(configMaps, { metadata: { name: "a", namespace: name } });
    const pods = async () => (await kube.list(resources.pods, { namespace: name })).items;
    await eventually(
      pods,
      (list) => list.length === 3 && list.every(({ status }) => status?.phase === "Running"),
    );
    await kube.delete(resources.namespaces, { name });
    await eventually(
      () => kube.get(resources.namespaces, { name }).then(() => false, isNotFound),
      (is) => is,
    );
    expect(await pods()).toEqual([]);
    expect((await kube.list(configMaps, { namespace: name })).items).toEqual([]);
    expect((await kube.list(resources.replicaSets, { namespace: name })).items).toEqual([]);
  });

  test("objects of a CustomResourceDefinition have owners too", async () => {
    if (kind === "fake") return;
    const toys = resource("weft.test", "v1", "toys", "Toy", true);
    await kube.create(resources.customResourceDefinitions, {
      metadata: { name: "toys.weft.test" },
      spec: {
        group: "weft.test",
        names: { plural: "toys", kind: "Toy" },
        scope: "Namespaced",
        versions: [
          {
            name: "v1",
            served: true,
            storage: true,
            schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
          },
        ],
      },
    });
    const created = (draft: Parameters<typeof kube.create>[1]) =>
      eventually(
        () => kube.create(toys, draft).catch(() => undefined),
        (toy) => toy !== undefined,
      );
    const owner = await created({ metadata: ref("owner") });
    const { uid = "" } = owner?.metadata ?? {};
    const ownerReferences = [{ apiVersion: "weft.test/v1", kind: "Toy", name: "owner", uid }];
    await kube.create(configMaps, { metadata: { ...ref("owned"), ownerReferences } });
    await kube.create(toys, { metadata: { ...ref("toy"), ownerReferences } });
    await kube.delete(toys, ref("owner"));
    await left();
    await eventually(
      () => all(kube, toys),
      (list) => list.length === 0,
    );
  });
});
