import { afterEach, describe, expect, test } from "bun:test";
import type { KubeClient } from "../../kube/client.ts";
import { isNotFound } from "../../kube/errors.ts";
import { type Node, type Pod, resources, type Taint, type Toleration } from "../../kube/types.ts";
import { FakeClock } from "../../lib/clock.ts";
import { Prefix } from "../../lib/prefix.ts";
import { conditionTaints, Heartbeats, silentConditions } from "./nodelifecycle.ts";
import { conditionOf, isReady } from "./pods.ts";
import { evictionTime } from "./tainteviction.ts";
import {
  all,
  type ClusterKind,
  eventually,
  makeNode,
  makePod,
  startCluster,
  type TestCluster,
} from "./testing.ts";

describe("heartbeats", () => {
  const lease = (renewTime: string) => ({ metadata: { name: "a" }, spec: { renewTime } });
  /** Moves on in ticks, as the controller does. */
  const pass = (clock: FakeClock, heartbeats: Heartbeats, ms: number) => {
    for (let left = ms; left > 0; left -= 5000) {
      clock.advance(Math.min(5000, left));
      heartbeats.tick();
    }
  };

  test("count from when a change was seen, not from what the lease says", () => {
    const clock = new FakeClock();
    const heartbeats = new Heartbeats(clock, 40_000);
    expect(heartbeats.observe("a", undefined, lease("1999-01-01T00:00:00Z"))).toBe(true);
    pass(clock, heartbeats, 30_000);
    expect(heartbeats.leftMs("a")).toBe(10_000);
    expect(heartbeats.observe("a", undefined, lease("1999-01-01T00:00:00Z"))).toBe(false);
    pass(clock, heartbeats, 10_000);
    expect(heartbeats.leftMs("a")).toBe(0);
    expect(heartbeats.observe("a", undefined, lease("1999-01-01T00:00:10Z"))).toBe(true);
    expect(heartbeats.leftMs("a")).toBe(40_000);
  });

  test("of the Ready condition count too", () => {
    const clock = new FakeClock();
    const heartbeats = new Heartbeats(clock, 40_000);
    const node = (lastHeartbeatTime: string) =>
      makeNode("a", { status: { conditions: [{ type: "Ready", status: "True", lastHeartbeatTime }] } });
    heartbeats.observe("a", node("1"), undefined);
    pass(clock, heartbeats, 40_000);
    expect(heartbeats.leftMs("a")).toBe(0);
    expect(heartbeats.observe("a", node("2"), undefined)).toBe(true);
    expect(heartbeats.leftMs("a")).toBe(40_000);
  });

  test("begin anew after the machine slept, and after the server was away", () => {
    const clock = new FakeClock();
    const heartbeats = new Heartbeats(clock, 40_000);
    heartbeats.observe("a", undefined, lease("1"));
    clock.advance(3_600_000);
    expect(heartbeats.leftMs("a")).toBe(40_000);
    pass(clock, heartbeats, 30_000);
    heartbeats.restart();
    expect(heartbeats.leftMs("a")).toBe(40_000);
    pass(clock, heartbeats, 40_000);
    expect(heartbeats.leftMs("a")).toBe(0);
  });
});

describe("taints of a node's condition", () => {
  const now = "2030-01-01T00:00:00Z";
  const own: Taint = { key: "mine", effect: "NoSchedule" };
  const node = (status: "True" | "False" | "Unknown" | undefined, taints: Taint[] = []): Node =>
    makeNode("a", {
      spec: { taints },
      status: { conditions: status === undefined ? [] : [{ type: "Ready", status }] },
    });
  const pair = (key: string, timeAdded = now): Taint[] => [
    { key: `node.kubernetes.io/${key}`, effect: "NoSchedule" },
    { key: `node.kubernetes.io/${key}`, effect: "NoExecute", timeAdded },
  ];
  const cases: [what: string, node: Node, taints: Taint[]][] = [
    ["ready", node("True", [own, ...pair("not-ready")]), [own]],
    ["not ready", node("False", [own]), [own, ...pair("not-ready")]],
    ["not known yet", node(undefined), pair("not-ready")],
    ["silent, after not ready", node("Unknown", pair("not-ready")), pair("unreachable")],
    ["still not ready, since before", node("False", pair("not-ready", "2029")), pair("not-ready", "2029")],
  ];
  test.each(cases)("%s", (_, object, taints) => {
    expect(conditionTaints(object, now)).toEqual(taints);
  });

  test("a silent kubelet makes what it said unknown, and nothing else", () => {
    const conditions = [
      { type: "Ready", status: "True" as const, reason: "KubeletReady" },
      { type: "DiskPressure", status: "False" as const },
      { type: "Mine", status: "True" as const },
    ];
    const after = silentConditions(makeNode("a", { status: { conditions } }), now);
    expect(after.map(({ type, status, reason }) => `${type} ${status} ${reason ?? ""}`)).toEqual([
      "Ready Unknown NodeStatusUnknown",
      "DiskPressure Unknown NodeStatusUnknown",
      "Mine True ",
    ]);
    expect(silentConditions(makeNode("a", { status: { conditions: [] } }), now)).toMatchObject([
      { type: "Ready", status: "Unknown" },
    ]);
  });
});

describe("evictions", () => {
  const added = "2030-01-01T00:00:00Z";
  const at = Date.parse(added);
  const unreachable: Taint = { key: "node.kubernetes.io/unreachable", effect: "NoExecute", timeAdded: added };
  const custom: Taint = { key: "k", value: "v", effect: "NoExecute", timeAdded: added };
  const cases: [what: string, taints: Taint[], tolerations: Toleration[], inSeconds: number | undefined][] = [
    ["no taint", [], [], undefined],
    ["one that does not evict", [{ key: "k", effect: "NoSchedule" }], [], undefined],
    ["at once", [custom], [], 0],
    ["never", [custom], [{ key: "k", operator: "Exists" }], undefined],
    ["after a while", [custom], [{ key: "k", operator: "Exists", tolerationSeconds: 30 }], 30],
    [
      "the shorter of two",
      [custom],
      [
        { key: "k", operator: "Exists", tolerationSeconds: 30 },
        { operator: "Exists", tolerationSeconds: 9 },
      ],
      9,
    ],
    [
      "a node in trouble: its own toleration",
      [unreachable],
      [{ key: unreachable.key, operator: "Exists", tolerationSeconds: 5 }],
      5,
    ],
    ["the first of two taints", [unreachable, custom], [], 0],
  ];
  test.each(cases)("%s", (_, taints, tolerations, inSeconds) => {
    const pod = makePod("p", { spec: { tolerations } });
    const sinceOf = ({ timeAdded = "" }: Taint) => Date.parse(timeAdded);
    const time = evictionTime(pod, makeNode("a", { spec: { taints } }), sinceOf);
    expect(time).toBe(inSeconds === undefined ? undefined : at + inSeconds * 1000);
  });
});

describe.each(["fake", "embedded"] as const)("on the %s server", (kind: ClusterKind) => {
  let cluster: TestCluster;
  let kube: KubeClient;
  const start = async (options: Parameters<typeof startCluster>[1] = {}) => {
    cluster = await startCluster(kind, options);
    kube = cluster.client;
  };
  afterEach(() => cluster.stop());

  const create = (name: string, nodeName: string) =>
    kube.create(resources.pods, {
      metadata: { name, namespace: "default" },
      spec: { containers: [{ name: "c", image: "weft/echo" }], nodeName, tolerations: [patience] },
    });
  const patience: Toleration = {
    key: "node.kubernetes.io/unreachable",
    operator: "Exists",
    effect: "NoExecute",
    tolerationSeconds: 1,
  };
  const get = (name: string) => kube.get(resources.pods, { name, namespace: "default" });
  const gone = (name: string) =>
    eventually(
      () => get(name).then(() => false, isNotFound),
      (is) => is,
    );

  test("a silent node is tainted, its pods get no traffic and leave it; one that renews its lease stays", async () => {
    await start({ nodeGraceMs: 300 });
    for (const name of ["a", "b"]) await kube.create(resources.nodes, makeNode(name));
    const namespace = "kube-node-lease";
    await kube.create(resources.namespaces, { metadata: { name: namespace } }).catch(() => {});
    const lease = await kube.create(resources.leases, { metadata: { name: "b", namespace }, spec: {} });
    const renewal = setInterval(() => {
      const body = { spec: { renewTime: new Date().toISOString().replace("Z", "000Z") } };
      kube.patch(resources.leases, lease.metadata, { type: "merge", body }).catch(() => {});
    }, 50);
    try {
      await create("on-a", "a");
      await create("on-b", "b");
      await eventually(() => get("on-a"), isReady);
      await eventually(() => get("on-b"), isReady);
      const ready = (node: Node) => conditionOf(node.status?.conditions, "Ready")?.status;
      const silent = await eventually(
        () => kube.get(resources.nodes, { name: "a" }),
        (node) => ready(node) === "Unknown" && node.spec?.taints?.length === 2,
      );
      expect(silent.spec?.taints?.map(({ key }) => key)).toEqual(
        Array(2).fill("node.kubernetes.io/unreachable"),
      );
      await gone("on-a");
      const { spec, status } = await kube.get(resources.nodes, { name: "b" });
      expect([ready({ metadata: { name: "b" }, ...(status ? { status } : {}) }), spec?.taints ?? []]).toEqual(
        ["True", []],
      );
      expect(isReady(await get("on-b"))).toBe(true);
      // It is heard again.
      const conditions = [
        { type: "Ready", status: "True" as const, lastHeartbeatTime: new Date().toISOString() },
      ];
      await kube.updateStatus(resources.nodes, {
        ...(await kube.get(resources.nodes, { name: "a" })),
        status: { conditions },
      });
      await eventually(
        () => kube.get(resources.nodes, { name: "a" }),
        (node) => (node.spec?.taints ?? []).length === 0,
      );
    } finally {
      clearInterval(renewal);
    }
  });

  test("pods of a node that is deleted are removed, though no kubelet is left", async () => {
    await start({ kubelets: false });
    await kube.create(resources.nodes, makeNode("a"));
    await create("p", "a");
    await create("q", "never-there");
    await kube.delete(resources.nodes, { name: "a" });
    await gone("p");
    expect((await get("q")).metadata.deletionTimestamp).toBeUndefined();
  });

  test("each node has its podCIDRs, kept over a restart; who comes too late is told why not", async () => {
    const clusterCIDRs = [Prefix.parse("10.0.0.0/23"), Prefix.parse("fd00::/56")];
    await start({ clusterCIDRs, kubelets: false });
    const cidrs = async () =>
      Object.fromEntries(
        (await all(kube, resources.nodes)).map(({ metadata, spec }) => [
          metadata.name,
          spec?.podCIDRs?.join(" "),
        ]),
      );
    for (const name of ["a", "b", "c"]) await kube.create(resources.nodes, makeNode(name));
    const first = { a: "10.0.0.0/24 fd00::/64", b: "10.0.1.0/24 fd00:0:0:1::/64" };
    await eventually(cidrs, (now) => JSON.stringify(now) === JSON.stringify(first));
    const events = await eventually(
      () => all(kube, resources.events),
      (list) => list.length > 0,
    );
    expect(events[0]).toMatchObject({
      reason: "CIDRNotAvailable",
      type: "Warning",
      involvedObject: { kind: "Node", name: "c" },
      message:
        'Node "c" gets no podCIDR: cluster CIDR "10.0.0.0/23" has no free /24 left (2 are taken). Remove nodes, or use a larger --cluster-cidr',
    });
    await kube.delete(resources.nodes, { name: "a" });
    await eventually(cidrs, (now) => now.c === "10.0.0.0/24 fd00:0:0:2::/64" && now.b === first.b);
  });
});

describe("a pod whose node comes late", () => {
  test("is not removed within the grace", async () => {
    const cluster = await startCluster("fake", { nodeGraceMs: 200, kubelets: false });
    const kube = cluster.client;
    const pod: Pod = makePod("p", { node: "late" });
    await kube.create(resources.pods, pod);
    await kube.create(resources.nodes, makeNode("late"));
    const other = await kube.create(resources.pods, { ...makePod("q", { node: "never" }) });
    await eventually(
      () => kube.get(resources.pods, other.metadata).then(() => false, isNotFound),
      (is) => is,
    );
    expect((await kube.get(resources.pods, pod.metadata)).metadata.name).toBe("p");
    cluster.stop();
  });
});
