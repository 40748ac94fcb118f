import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { KubeClient } from "../../kube/client.ts";
import { type DaemonSet, type Pod, type ReplicaSet, resources, type StatefulSet } from "../../kube/types.ts";
import { planDaemons } from "./daemonset.ts";
import { controllerOf } from "./pods.ts";
import { planReplicas } from "./replicaset.ts";
import { revisionHashLabel } from "./revisions.ts";
import { planStateful } from "./statefulset.ts";
import {
  all,
  eventually,
  makeNode,
  makePod,
  type PodParts,
  startCluster,
  type TestCluster,
} from "./testing.ts";

const selector = { matchLabels: { app: "blue" } };
const template = (image = "v1") => ({
  metadata: { labels: { app: "blue" } },
  spec: { containers: [{ name: "c", image }] },
});
const names = (pods: readonly Pod[]) => pods.map(({ metadata }) => metadata.name);
const now = Date.parse("2030-01-01T00:01:00Z");

describe("a ReplicaSet", () => {
  const set = (replicas: number, spec: object = {}): ReplicaSet => ({
    metadata: { name: "blue" },
    spec: { replicas, selector, template: template(), ...spec },
  });
  const ready = (name: string, parts: PodParts = {}) => makePod(name, { ready: true, node: "a", ...parts });
  const cases: [what: string, replicas: number, pods: Pod[], create: number, gone: string[]][] = [
    ["makes what is missing", 3, [ready("a")], 2, []],
    [
      "counts neither what goes nor what is done",
      2,
      [ready("a", { deleting: true }), ready("b", { phase: "Failed" })],
      2,
      [],
    ],
    ["removes what is too many", 1, [ready("a", { created: "2" }), ready("b", { created: "1" })], 0, ["a"]],
    ["those without a node first", 2, [ready("a"), makePod("b"), ready("c")], 0, ["b"]],
    [
      "then those that are not ready",
      2,
      [ready("a"), makePod("b", { node: "a", phase: "Running" }), ready("c")],
      0,
      ["b"],
    ],
    [
      "then those of a crowded node",
      2,
      [ready("a", { node: "n" }), ready("b", { node: "m" }), ready("c", { node: "n", created: "9" })],
      0,
      ["c"],
    ],
    [
      "until each node has its best one left",
      3,
      ["n", "n", "n", "m", "m", "o"].map((node, i) => ready(`${node}${i}`, { node, created: String(i) })),
      0,
      ["n2", "m4", "n1"],
    ],
  ];
  test.each(cases)("%s", (_, replicas, pods, create, gone) => {
    const plan = planReplicas(set(replicas), pods, now);
    expect([plan.create, names(plan.delete)]).toEqual([create, gone]);
  });

  test("removes cheap ones before dear ones", () => {
    const priced = (name: string, cost: string) => {
      const pod = ready(name);
      pod.metadata.annotations = { "controller.kubernetes.io/pod-deletion-cost": cost };
      return pod;
    };
    expect(
      names(planReplicas(set(1), [priced("a", "10"), priced("b", "-5"), priced("c", "odd")], now).delete),
    ).toEqual(["b", "c"]);
  });

  test("counts, and waits until ready ones are available", () => {
    const pods = [
      ready("a", { since: "2030-01-01T00:00:00Z", labels: { app: "blue" } }),
      ready("b", { since: "2030-01-01T00:00:50Z" }),
      makePod("c"),
    ];
    const { status, againInMs } = planReplicas(set(3, { minReadySeconds: 30 }), pods, now);
    expect(status).toMatchObject({
      replicas: 3,
      readyReplicas: 2,
      availableReplicas: 1,
      fullyLabeledReplicas: 1,
    });
    expect(againInMs).toBe(20_000);
  });

  test("that is being deleted makes and removes nothing", () => {
    const going = set(3);
    going.metadata.deletionTimestamp = "2030-01-01T00:00:00Z";
    expect(planReplicas(going, [ready("a")], now)).toMatchObject({ create: 0, delete: [] });
  });
});

describe("a DaemonSet", () => {
  const set = (spec: Partial<DaemonSet["spec"]> = {}): DaemonSet => ({
    metadata: { name: "d" },
    spec: { selector, template: template(), ...spec },
  });
  const pod = (name: string, node: string, hash = "new", parts: PodParts = {}) =>
    makePod(name, { node, ready: true, labels: { [revisionHashLabel]: hash }, ...parts });
  const nodes = ["a", "b", "c"].map((name) => makeNode(name));
  const plan = (pods: Pod[], spec: Partial<DaemonSet["spec"]> = {}, list = nodes) =>
    planDaemons(set(spec), list, pods, "new", now);

  test("has one pod on each node", () => {
    const {
      create,
      delete: gone,
      status,
    } = plan([pod("x", "a"), pod("y", "b"), pod("z", "b", "new", { ready: false })]);
    expect([create, names(gone)]).toEqual([["c"], ["z"]]);
    expect(status).toMatchObject({
      desiredNumberScheduled: 3,
      currentNumberScheduled: 2,
      numberReady: 2,
      numberUnavailable: 1,
    });
  });

  test("waits for one that goes, and replaces one that failed", () => {
    const going = pod("x", "a", "new", { deleting: true });
    const failed = pod("y", "b", "new", { phase: "Failed" });
    const { create, delete: gone } = plan([going, failed, pod("z", "c")]);
    expect([create, names(gone)]).toEqual([["b"], ["y"]]);
  });

  test("goes where selector and taints let it, and stays where it only may not come", () => {
    const list = [
      makeNode("a", { spec: { taints: [{ key: "k", effect: "NoSchedule" }] } }),
      makeNode("b", { spec: { taints: [{ key: "k", effect: "NoExecute" }] } }),
      makeNode("c", {
        spec: {
          unschedulable: true,
          taints: [{ key: "node.kubernetes.io/unschedulable", effect: "NoSchedule" }],
        },
      }),
      makeNode("d", {
        status: { conditions: [] },
        spec: { taints: [{ key: "node.kubernetes.io/not-ready", effect: "NoExecute" }] },
      }),
    ];
    const { create, delete: gone, status } = plan([pod("x", "a"), pod("y", "b")], {}, list);
    expect([create, names(gone), status.numberMisscheduled]).toEqual([["c", "d"], ["y"], 2]);
    const chosen = { ...template(), spec: { ...template().spec, nodeSelector: { zone: "1" } } };
    const zoned = makeNode("e", { metadata: { name: "e", labels: { zone: "1" } } });
    expect(plan([], { template: chosen }, [...list, zoned]).create).toEqual(["e"]);
  });

  test("replaces old ones as maxUnavailable lets it, broken ones first", () => {
    const old = ["a", "b", "c"].map((node) => pod(`old-${node}`, node, "old"));
    expect(names(plan(old).delete)).toEqual(["old-a"]);
    const rolling = (maxUnavailable: number | string) => ({
      updateStrategy: { rollingUpdate: { maxUnavailable } },
    });
    expect(names(plan(old, rolling(2)).delete)).toEqual(["old-a", "old-b"]);
    expect(names(plan(old, rolling("50%")).delete)).toEqual(["old-a", "old-b"]);
    const broken = [old[0] as Pod, pod("old-b", "b", "old", { ready: false }), pod("new-c", "c")];
    expect(names(plan(broken).delete)).toEqual(["old-b"]);
    expect(names(plan(old, { updateStrategy: { type: "OnDelete" } }).delete)).toEqual([]);
    expect(
      names(plan([old[0] as Pod, old[1] as Pod, pod("new-c", "c", "new", { ready: false })]).delete),
    ).toEqual([]);
  });
});

describe("a StatefulSet", () => {
  const set = (spec: Partial<StatefulSet["spec"]> = {}): StatefulSet => ({
    metadata: { name: "s" },
    spec: { replicas: 3, selector, template: template(), serviceName: "s", ...spec },
  });
  const pod = (ordinal: number, hash = "new", parts: PodParts = {}) =>
    makePod(`s-${ordinal}`, { ready: true, node: "a", labels: { [revisionHashLabel]: hash }, ...parts });
  const plan = (pods: Pod[], spec: Partial<StatefulSet["spec"]> = {}, current = "new") => {
    const { create, delete: gone } = planStateful(set(spec), pods, { current, update: "new" }, now);
    return [
      ...create.map(({ ordinal, hash }) => `+${ordinal}${hash === "new" ? "" : hash}`),
      ...gone.map(({ metadata }) => `-${metadata.name.slice(2)}`),
    ].join(" ");
  };
  const not = { ready: false };
  const parallel = { podManagementPolicy: "Parallel" as const };
  const cases: [what: string, pods: Pod[], spec: object, expected: string][] = [
    ["begins with the first", [], {}, "+0"],
    ["waits for it", [pod(0, "new", not)], {}, ""],
    ["then makes the next", [pod(0)], {}, "+1"],
    ["fills a gap first", [pod(0), pod(2)], {}, "+1"],
    ["makes all at once in parallel", [pod(1, "new", not)], parallel, "+0 +2"],
    ["from another ordinal", [], { ordinals: { start: 5 } }, "+5"],
    ["removes the last first", [pod(0), pod(1), pod(2)], { replicas: 1 }, "-2"],
    ["one at a time", [pod(0), pod(1), pod(2, "new", { deleting: true })], { replicas: 1 }, ""],
    ["all at once in parallel", [pod(0), pod(1), pod(2)], { replicas: 1, ...parallel }, "-2 -1"],
    ["not while another is not ready", [pod(0, "new", not), pod(1), pod(2)], { replicas: 2 }, ""],
    ["replaces one that failed", [pod(0), pod(1, "new", { phase: "Failed" })], {}, "-1"],
    ["waits for one that goes", [pod(0), pod(1, "new", { deleting: true })], {}, ""],
    ["rolls out from the last", [pod(0, "old"), pod(1, "old"), pod(2, "old")], {}, "-2"],
    ["goes on when it is ready", [pod(0, "old"), pod(1, "old"), pod(2)], {}, "-1"],
    ["not before", [pod(0, "old"), pod(1, "old"), pod(2, "new", not)], {}, ""],
    [
      "down to the partition",
      [pod(0, "old"), pod(1, "old"), pod(2)],
      { updateStrategy: { rollingUpdate: { partition: 2 } } },
      "",
    ],
    [
      "not by itself with OnDelete",
      [pod(0, "old"), pod(1), pod(2)],
      { updateStrategy: { type: "OnDelete" } },
      "",
    ],
    ["gets out of a template that never came up", [pod(0), pod(1), pod(2, "old", not)], {}, "-2"],
    ["but not at the cost of two", [pod(0, "old", not), pod(1), pod(2, "new", not)], {}, ""],
    [
      "waits for minReadySeconds",
      [pod(0, "new", { since: "2030-01-01T00:00:55Z" })],
      { minReadySeconds: 10 },
      "",
    ],
    ["is done", [pod(0), pod(1), pod(2)], {}, ""],
  ];
  test.each(cases)("%s", (_, pods, spec, expected) => {
    expect(plan(pods, spec)).toBe(expected);
  });

  test("makes pods below the partition from the former template", () => {
    const spec = { updateStrategy: { rollingUpdate: { partition: 2 } } };
    expect(plan([], spec, "old")).toBe("+0old");
    expect(plan([pod(0, "old"), pod(1, "old")], spec, "old")).toBe("+2");
  });

  test("calls the new revision current when all are of it", () => {
    const status = (pods: Pod[]) => planStateful(set(), pods, { current: "old", update: "new" }, now).status;
    expect(status([pod(0, "old"), pod(1), pod(2)])).toMatchObject({
      currentRevision: "s-old",
      updateRevision: "s-new",
      currentReplicas: 1,
      updatedReplicas: 2,
    });
    expect(status([pod(0), pod(1), pod(2)])).toMatchObject({
      currentRevision: "s-new",
      currentReplicas: 3,
      readyReplicas: 3,
    });
  });
});

describe.each(["fake", "embedded"] as const)("on the %s server", (kind) => {
  let cluster: TestCluster;
  let kube: KubeClient;
  let ready: (pod: Pod) => boolean;
  beforeEach(async () => {
    ready = () => true;
    cluster = await startCluster(kind, { ready: (pod) => ready(pod) });
    kube = cluster.client;
    for (const name of ["a", "b"]) await kube.create(resources.nodes, makeNode(name));
  });
  afterEach(() => cluster.stop());
  const pods = () => all(kube, resources.pods);
  const meta = (name: string) => ({ name, namespace: "default" });

  test("a ReplicaSet adopts pods that fit, and lets go of those that no longer do", async () => {
    const plain = makePod("mine", { labels: { app: "blue" } });
    await kube.create(resources.pods, {
      metadata: { name: "mine", namespace: "default", labels: { app: "blue" } },
      spec: plain.spec,
    });
    await kube.create(resources.replicaSets, {
      metadata: meta("blue"),
      spec: { replicas: 2, selector, template: template() },
    });
    await eventually(
      pods,
      (list) => list.length === 2 && list.every((pod) => controllerOf(pod)?.name === "blue"),
    );
    await kube.patch(resources.pods, meta("mine"), {
      type: "merge",
      body: { metadata: { labels: { app: "red" } } },
    });
    await eventually(
      pods,
      (list) =>
        list.length === 3 &&
        list.some((pod) => pod.metadata.name === "mine" && controllerOf(pod) === undefined),
    );
    await eventually(
      () => kube.get(resources.replicaSets, meta("blue")),
      ({ status }) => status?.availableReplicas === 2 && status.replicas === 2,
    );
  });

  test("a DaemonSet follows nodes that come and go, and rolls out a new template", async () => {
    await kube.create(resources.daemonSets, {
      metadata: meta("d"),
      spec: { selector, template: template() },
    });
    const spread = (list: Pod[]) =>
      list
        .map(({ spec, metadata }) => `${spec.nodeName}${metadata.deletionTimestamp ? "-" : ""}`)
        .sort()
        .join();
    await eventually(pods, (list) => spread(list) === "a,b");
    await kube.create(resources.nodes, makeNode("c"));
    await eventually(pods, (list) => spread(list) === "a,b,c");
    await kube.delete(resources.nodes, { name: "a" });
    await eventually(pods, (list) => spread(list) === "b,c");
    await kube.patch(resources.daemonSets, meta("d"), {
      type: "merge",
      body: { spec: { template: template("v2") } },
    });
    await eventually(
      pods,
      (list) => spread(list) === "b,c" && list.every(({ spec }) => spec.containers[0]?.image === "v2"),
    );
    const { status } = await eventually(
      () => kube.get(resources.daemonSets, meta("d")),
      ({ status, metadata }) =>
        status?.observedGeneration === metadata.generation && status?.numberAvailable === 2,
    );
    expect(status).toMatchObject({ desiredNumberScheduled: 2, updatedNumberScheduled: 2 });
    expect((await all(kube, resources.controllerRevisions)).map(({ revision }) => revision).sort()).toEqual([
      1, 2,
    ]);
  });

  test("a StatefulSet comes up in order, and is rolled out and scaled down from the end", async () => {
    const order: string[] = [];
    ready = (pod) => {
      if (!order.includes(pod.metadata.name)) order.push(pod.metadata.name);
      return true;
    };
    await kube.create(resources.statefulSets, {
      metadata: meta("s"),
      spec: { replicas: 3, selector, template: template(), serviceName: "s" },
    });
    const done = (replicas: number) =>
      eventually(
        () => kube.get(resources.statefulSets, meta("s")),
        ({ status, metadata }) =>
          status?.observedGeneration === metadata.generation &&
          status?.readyReplicas === replicas &&
          status.replicas === replicas &&
          status.currentRevision === status.updateRevision,
      );
    await done(3);
    expect(order).toEqual(["s-0", "s-1", "s-2"]);
    const first = (await pods()).find(({ metadata }) => metadata.name === "s-0") as Pod;
    expect(first.spec).toMatchObject({ hostname: "s-0", subdomain: "s" });
    expect(first.metadata.labels).toMatchObject({
      "statefulset.kubernetes.io/pod-name": "s-0",
      "apps.kubernetes.io/pod-index": "0",
    });
    await kube.patch(resources.statefulSets, meta("s"), {
      type: "merge",
      body: { spec: { template: template("v2") } },
    });
    await eventually(
      pods,
      (list) => list.length === 3 && list.every(({ spec }) => spec.containers[0]?.image === "v2"),
    );
    await done(3);
    await kube.patch(resources.statefulSets, meta("s"), { type: "merge", body: { spec: { replicas: 1 } } });
    await done(1);
    expect(names(await pods())).toEqual(["s-0"]);
  });
});
