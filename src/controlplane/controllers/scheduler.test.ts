import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { KubeClient } from "../../kube/client.ts";
import { type Node, type Pod, resources, type Taint, type Toleration } from "../../kube/types.ts";
import { conditionOf } from "./pods.ts";
import { type Placed, schedulePod, tolerated } from "./scheduler.ts";
import { all, eventually, makeNode, makePod, startCluster, type TestCluster } from "./testing.ts";

const nodes = (...names: string[]) => names.map((name) => makeNode(name));
const on = (node: string, pod: Pod): Placed => ({ node, pod });
const tainted = (name: string, ...taints: Taint[]) => makeNode(name, { spec: { taints } });
const labelled = (name: string, labels: Record<string, string>) =>
  makeNode(name, { metadata: { name, labels } });
const set = { kind: "ReplicaSet", metadata: { name: "blue", uid: "blue-uid" } };
const blue = (name: string) => makePod(name, { owner: set });

describe("the choice of a node", () => {
  const affinity = (terms: object[], kind = "required") => ({
    nodeAffinity:
      kind === "required"
        ? { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms } }
        : { preferredDuringSchedulingIgnoredDuringExecution: terms },
  });
  const expression = (key: string, operator: string, ...values: string[]) => ({
    matchExpressions: [{ key, operator, values }],
  });
  const zones = [labelled("a", { zone: "1" }), labelled("b", { zone: "2", cores: "8" }), labelled("c", {})];
  const noSchedule: Taint = { key: "k", value: "v", effect: "NoSchedule" };
  const cases: [what: string, pod: Pod, nodes: Node[], placed: Placed[], node: string][] = [
    ["the first by name", makePod("p"), nodes("b", "a"), [], "a"],
    ["the one with fewer pods", makePod("p"), nodes("a", "b"), [on("a", makePod("x"))], "b"],
    [
      "pods that are done do not count",
      makePod("p"),
      nodes("a", "b"),
      [on("a", makePod("x", { phase: "Failed" }))],
      "a",
    ],
    [
      "fewer of the same owner before fewer at all",
      blue("p"),
      nodes("a", "b"),
      [on("a", blue("x")), on("b", makePod("y")), on("b", makePod("z"))],
      "b",
    ],
    ["nodeSelector", makePod("p", { spec: { nodeSelector: { zone: "2" } } }), zones, [], "b"],
    [
      "In",
      makePod("p", { spec: { affinity: affinity([expression("zone", "In", "2", "3")]) as never } }),
      zones,
      [],
      "b",
    ],
    [
      "NotIn",
      makePod("p", { spec: { affinity: affinity([expression("zone", "NotIn", "1", "2")]) as never } }),
      zones,
      [],
      "c",
    ],
    [
      "DoesNotExist",
      makePod("p", { spec: { affinity: affinity([expression("zone", "DoesNotExist")]) as never } }),
      zones,
      [],
      "c",
    ],
    [
      "Gt",
      makePod("p", { spec: { affinity: affinity([expression("cores", "Gt", "4")]) as never } }),
      zones,
      [],
      "b",
    ],
    [
      "any of the terms",
      makePod("p", {
        spec: { affinity: affinity([expression("zone", "In", "9"), expression("cores", "Exists")]) as never },
      }),
      zones,
      [],
      "b",
    ],
    [
      "by the node's name",
      makePod("p", {
        spec: {
          affinity: affinity([
            { matchFields: [{ key: "metadata.name", operator: "In", values: ["c"] }] },
          ]) as never,
        },
      }),
      zones,
      [],
      "c",
    ],
    [
      "a preferred one",
      makePod("p", {
        spec: {
          affinity: affinity(
            [{ weight: 5, preference: expression("zone", "In", "2") }],
            "preferred",
          ) as never,
        },
      }),
      zones,
      [],
      "b",
    ],
    ["not a tainted one", makePod("p"), [tainted("a", noSchedule), makeNode("b")], [], "b"],
    [
      "a tainted one that is tolerated",
      makePod("p", { spec: { tolerations: [{ key: "k", operator: "Exists" }] } }),
      [tainted("a", noSchedule), makeNode("b")],
      [],
      "a",
    ],
    [
      "rather not one of PreferNoSchedule",
      makePod("p"),
      [tainted("a", { key: "k", effect: "PreferNoSchedule" }), makeNode("b")],
      [on("b", makePod("x"))],
      "b",
    ],
    [
      "but if there is no other",
      makePod("p"),
      [tainted("a", { key: "k", effect: "PreferNoSchedule" })],
      [],
      "a",
    ],
    [
      "not a cordoned one",
      makePod("p"),
      [makeNode("a", { spec: { unschedulable: true } }), makeNode("b")],
      [],
      "b",
    ],
    [
      "not one that is not ready",
      makePod("p"),
      [makeNode("a", { status: { conditions: [] } }), makeNode("b")],
      [],
      "b",
    ],
    [
      "not one without room",
      makePod("p"),
      [
        makeNode("a", {
          status: { conditions: [{ type: "Ready", status: "True" }], allocatable: { pods: "0" } },
        }),
        makeNode("b"),
      ],
      [],
      "b",
    ],
  ];
  test.each(cases)("%s", (_, pod, nodes, placed, node) => {
    expect(schedulePod(pod, nodes, placed)).toEqual({ node });
  });

  test("host ports are free, on the address that is asked for", () => {
    const port = (hostPort: number, hostIP?: string, protocol: "TCP" | "UDP" = "TCP") =>
      makePod("p", {
        spec: {
          containers: [
            { name: "c", ports: [{ containerPort: 1, hostPort, protocol, ...(hostIP ? { hostIP } : {}) }] },
          ],
        },
      });
    const choice = (pod: Pod, other: Pod) =>
      schedulePod(pod, nodes("a", "b"), [on("a", other), on("b", makePod("x")), on("b", makePod("y"))]);
    expect(choice(port(80), port(80))).toEqual({ node: "b" });
    expect(choice(port(80), port(81))).toEqual({ node: "a" });
    expect(choice(port(80), port(80, undefined, "UDP"))).toEqual({ node: "a" });
    expect(choice(port(80, "10.0.0.1"), port(80, "10.0.0.2"))).toEqual({ node: "a" });
    expect(choice(port(80, "10.0.0.1"), port(80))).toEqual({ node: "b" });
  });

  test("replicas spread evenly, whatever else runs", () => {
    const placed = Array.from({ length: 7 }, (_, i) => on("a", makePod(`other-${i}`)));
    for (let i = 0; i < 9; i++) {
      const pod = blue(`blue-${i}`);
      const decision = schedulePod(pod, nodes("a", "b", "c"), placed);
      if ("node" in decision) placed.push(on(decision.node, pod));
    }
    const counts = Map.groupBy(
      placed.filter(({ pod }) => pod.metadata.name.startsWith("blue")),
      ({ node }) => node,
    );
    expect([...counts.values()].map((group) => group.length)).toEqual([3, 3, 3]);
  });

  test("without any, why not", () => {
    const all = [
      makeNode("a", { spec: { unschedulable: true } }),
      tainted("b", { key: "k", value: "v", effect: "NoExecute" }),
      makeNode("c"),
      makeNode("d"),
    ];
    expect(schedulePod(makePod("p", { spec: { nodeSelector: { zone: "9" } } }), all, [])).toEqual({
      message:
        "0/4 nodes are available: 1 node(s) had untolerated taint {k: v}, 1 node(s) were unschedulable, 2 node(s) didn't match Pod's node affinity/selector.",
    });
    expect(schedulePod(makePod("p"), [], [])).toEqual({ message: "no nodes available to schedule pods" });
  });
});

describe("tolerations", () => {
  const taint: Taint = { key: "k", value: "v", effect: "NoSchedule" };
  const cases: [toleration: Toleration, yes: boolean][] = [
    [{ key: "k", operator: "Equal", value: "v", effect: "NoSchedule" }, true],
    [{ key: "k", value: "v" }, true],
    [{ key: "k", value: "w" }, false],
    [{ key: "k" }, false],
    [{ key: "k", operator: "Exists" }, true],
    [{ operator: "Exists" }, true],
    [{ operator: "Exists", effect: "NoExecute" }, false],
    [{ key: "l", operator: "Exists" }, false],
    [{}, false],
  ];
  test.each(cases)("%j: %p", (toleration, yes) => {
    expect(tolerated(toleration, taint)).toBe(yes);
  });
});

describe.each(["fake", "embedded"] as const)("on the %s server", (kind) => {
  let cluster: TestCluster;
  let kube: KubeClient;
  beforeEach(async () => {
    cluster = await startCluster(kind);
    kube = cluster.client;
  });
  afterEach(() => cluster.stop());

  const create = (name: string, spec: Partial<Pod["spec"]> = {}) =>
    kube.create(resources.pods, {
      metadata: { name, namespace: "default" },
      spec: { containers: [{ name: "c", image: "weft/echo" }], ...spec },
    });
  const get = (name: string) => kube.get(resources.pods, { name, namespace: "default" });

  test("a pod waits, and says why, until a node fits", async () => {
    await create("p", { nodeSelector: { zone: "1" } });
    const waiting = await eventually(
      () => get("p"),
      (pod) => conditionOf(pod.status?.conditions, "PodScheduled")?.reason === "Unschedulable",
    );
    expect(waiting.status?.phase).toBe("Pending");
    await kube.create(resources.nodes, makeNode("a"));
    await eventually(
      () => all(kube, resources.events),
      (events) =>
        events.some(
          ({ reason, message }) => reason === "FailedScheduling" && message?.includes("0/1 nodes") === true,
        ),
    );
    await kube.patch(
      resources.nodes,
      { name: "a" },
      { type: "merge", body: { metadata: { labels: { zone: "1" } } } },
    );
    await eventually(
      () => get("p"),
      (pod) => pod.spec.nodeName === "a" && pod.status?.phase === "Running",
    );
    const events = await eventually(
      () => all(kube, resources.events),
      (list) => list.some(({ reason }) => reason === "Scheduled"),
    );
    expect(events.find(({ reason }) => reason === "Scheduled")?.message).toBe(
      "Successfully assigned default/p to a",
    );
  });

  test("a place that gets free goes to a pod that waits", async () => {
    const status = { conditions: [{ type: "Ready", status: "True" as const }], allocatable: { pods: "1" } };
    await kube.create(resources.nodes, makeNode("a", { status }));
    await create("p");
    await eventually(
      () => get("p"),
      (pod) => pod.spec.nodeName === "a",
    );
    await create("q");
    await eventually(
      () => get("q"),
      (pod) => conditionOf(pod.status?.conditions, "PodScheduled")?.status === "False",
    );
    await kube.delete(resources.pods, { name: "p", namespace: "default" });
    await eventually(
      () => get("q"),
      (pod) => pod.spec.nodeName === "a",
    );
  });

  test("pods of another scheduler, and gated ones, are left alone", async () => {
    await kube.create(resources.nodes, makeNode("a"));
    await create("other", { schedulerName: "mine" });
    await create("gated", { schedulingGates: [{ name: "wait" }] });
    await create("plain");
    await eventually(
      () => get("plain"),
      (pod) => pod.spec.nodeName === "a",
    );
    expect((await get("other")).spec.nodeName ?? "").toBe("");
    expect((await get("gated")).spec.nodeName ?? "").toBe("");
  });
});
