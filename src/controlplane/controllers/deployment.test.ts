import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { KubeClient } from "../../kube/client.ts";
import { type Deployment, type Pod, type ReplicaSet, resources } from "../../kube/types.ts";
import { deploymentStatus } from "./deployment.ts";
import { conditionOf, controllerOf } from "./pods.ts";
import { desiredAnnotation, maxAnnotation, planRollout, rolloutLimits } from "./rollout.ts";
import { all, eventually, makeNode, startCluster, type TestCluster } from "./testing.ts";

const template = (image: string) => ({
  metadata: { labels: { app: "blue" } },
  spec: { containers: [{ name: "blue", image }] },
});

function deployment(spec: Partial<Deployment["spec"]> = {}, image = "v2"): Deployment {
  return {
    kind: "Deployment",
    metadata: { name: "blue", namespace: "default", uid: "d", generation: 1 },
    spec: { replicas: 10, selector: { matchLabels: { app: "blue" } }, template: template(image), ...spec },
  };
}

/** A set of "v1" or "v2": wants `size` pods, of which so many are available. */
function set(
  image: string,
  size: number,
  available = size,
  annotations: Record<string, string> = {},
): ReplicaSet {
  return {
    metadata: { name: `blue-${image}`, namespace: "default", creationTimestamp: image, annotations },
    spec: { replicas: size, selector: {}, template: template(image) },
    status: { replicas: size, readyReplicas: available, availableReplicas: available },
  };
}

describe("limits", () => {
  const cases: [replicas: number, rollingUpdate: object, surge: number, unavailable: number][] = [
    [10, {}, 3, 2],
    [3, {}, 1, 0],
    [1, {}, 1, 0],
    [4, { maxSurge: "50%", maxUnavailable: "50%" }, 2, 2],
    [4, { maxSurge: 0, maxUnavailable: 0 }, 0, 1],
    [3, { maxSurge: 0, maxUnavailable: "10%" }, 0, 1],
    [2, { maxSurge: 5, maxUnavailable: 9 }, 5, 2],
  ];
  test.each(cases)("%i replicas with %j", (replicas, rollingUpdate, maxSurge, maxUnavailable) => {
    const object = deployment({ replicas, strategy: { type: "RollingUpdate", rollingUpdate } });
    expect(rolloutLimits(object)).toEqual({ maxSurge, maxUnavailable });
  });
});

describe("the next step of a rollout", () => {
  const strategy = (maxSurge: number, maxUnavailable: number) => ({
    strategy: { type: "RollingUpdate" as const, rollingUpdate: { maxSurge, maxUnavailable } },
  });
  const recreate = { strategy: { type: "Recreate" as const } };
  type Expected = { create?: number; v1?: number; v2?: number; v0?: number };
  const cases: [what: string, spec: object, sets: ReplicaSet[], oldPods: boolean, expected: Expected][] = [
    ["the first one", {}, [], false, { create: 10 }],
    ["a new template, within the surge", strategy(3, 0), [set("v1", 10)], true, { create: 3 }],
    ["and what may be unavailable", strategy(3, 2), [set("v1", 10)], true, { create: 3, v1: 8 }],
    ["without surge, room first", strategy(0, 2), [set("v1", 10)], true, { create: 0, v1: 8 }],
    ["new ones not available yet", strategy(3, 0), [set("v1", 10), set("v2", 3, 0)], true, {}],
    ["two of three available", strategy(3, 0), [set("v1", 10), set("v2", 3, 2)], true, { v1: 8 }],
    ["room again", strategy(3, 0), [set("v1", 8), set("v2", 3)], true, { v2: 5, v1: 7 }],
    ["the last ones", strategy(3, 0), [set("v1", 1), set("v2", 9)], true, { v2: 10 }],
    ["all there", strategy(3, 0), [set("v1", 3), set("v2", 10)], true, { v1: 0 }],
    ["broken old ones go first", strategy(0, 1), [set("v1", 10, 4), set("v2", 0)], true, { v1: 9 }],
    [
      "broken old ones do not count as a loss",
      strategy(3, 0),
      [set("v1", 10, 7), set("v2", 3)],
      true,
      { v1: 7 },
    ],
    [
      "the older of two old sets first",
      strategy(2, 0),
      [set("v0", 2), set("v1", 8), set("v2", 2)],
      true,
      { v0: 0 },
    ],
    ["nothing to do", {}, [set("v2", 10)], false, {}],
    ["more replicas", {}, [set("v2", 4)], false, { v2: 10 }],
    ["fewer", {}, [set("v2", 14)], false, { v2: 10 }],
    ["paused, nothing new", { paused: true }, [set("v1", 10)], true, {}],
    ["paused, yet scaled", { paused: true }, [set("v1", 4)], true, { v1: 10 }],
    ["recreate: old ones go", recreate, [set("v1", 10)], true, { v1: 0 }],
    ["recreate: waits for them", recreate, [set("v1", 0)], true, {}],
    ["recreate: then the new ones", recreate, [set("v1", 0)], false, { create: 10 }],
  ];
  test.each(cases)("%s", (_, spec, sets, oldPods, expected) => {
    const plan = planRollout(deployment(spec), sets, oldPods);
    const scaled = Object.fromEntries(
      plan.scale.map(({ set, replicas }) => [set.metadata.name.slice(5), replicas]),
    );
    expect({ ...(plan.create === undefined ? {} : { create: plan.create }), ...scaled }).toEqual(expected);
  });

  test("a change of size in mid-rollout keeps the proportion, and rounding goes to the largest", () => {
    const noted = { [desiredAnnotation]: "10", [maxAnnotation]: "13" };
    const sets = [set("v1", 8, 8, noted), set("v2", 5, 2, noted)];
    const grown = planRollout(deployment({ replicas: 20, ...strategy(3, 0) }), sets, true);
    expect(grown.scale.map(({ replicas }) => replicas)).toEqual([14, 9]);
    const shrunk = planRollout(deployment({ replicas: 5, ...strategy(3, 0) }), sets, true);
    expect(shrunk.scale.map(({ replicas }) => replicas)).toEqual([5, 3]);
  });

  test("a rollout never goes below what must be available, nor above what may be there", () => {
    for (const [maxSurge, maxUnavailable] of [
      [1, 0],
      [0, 1],
      [3, 2],
      [10, 0],
      [2, 5],
    ] as const) {
      const object = deployment(strategy(maxSurge, maxUnavailable));
      let sets = [set("v1", 10)];
      for (let step = 0; step < 100; step++) {
        const plan = planRollout(object, sets, true);
        if (plan.create !== undefined) sets = [...sets, set("v2", plan.create, 0)];
        for (const { set, replicas } of plan.scale) {
          const lost = Math.max(0, (set.status?.availableReplicas ?? 0) - replicas);
          set.spec.replicas = replicas;
          if (set.status !== undefined)
            set.status.availableReplicas = (set.status.availableReplicas ?? 0) - lost;
        }
        const total = sets.reduce((sum, { spec }) => sum + (spec.replicas ?? 0), 0);
        const available = sets.reduce((sum, { status }) => sum + (status?.availableReplicas ?? 0), 0);
        expect(total).toBeLessThanOrEqual(10 + maxSurge);
        expect(available).toBeGreaterThanOrEqual(10 - maxUnavailable);
        // One more pod of the new set gets ready.
        const fresh = sets.find(({ metadata }) => metadata.name === "blue-v2");
        if (
          fresh?.status !== undefined &&
          (fresh.status.availableReplicas ?? 0) < (fresh.spec.replicas ?? 0)
        ) {
          fresh.status.availableReplicas = (fresh.status.availableReplicas ?? 0) + 1;
        }
      }
      expect(sets.map(({ spec }) => spec.replicas)).toEqual([0, 10]);
    }
  });

  test("old sets beyond the history limit go, the oldest revision first", () => {
    const old = ["a", "b", "c"].map((name, i) =>
      set(name, 0, 0, { "deployment.kubernetes.io/revision": `${i + 1}` }),
    );
    const plan = planRollout(deployment({ revisionHistoryLimit: 1 }), [...old, set("v2", 10)], false);
    expect(plan.remove.map(({ metadata }) => metadata.name)).toEqual(["blue-a", "blue-b"]);
  });
});

describe("conditions", () => {
  const reasonOf = (object: Deployment, sets: ReplicaSet[], now = "2030-01-01T00:00:00Z") => {
    const { conditions } = deploymentStatus(object, sets, now);
    return [conditionOf(conditions, "Available")?.reason, conditionOf(conditions, "Progressing")?.reason];
  };
  test("tell a rollout that goes on, is done, or hangs", () => {
    const object = deployment({ progressDeadlineSeconds: 60 });
    expect(reasonOf(object, [set("v2", 10, 0)])).toEqual(["MinimumReplicasUnavailable", "ReplicaSetUpdated"]);
    object.status = deploymentStatus(object, [set("v2", 10, 4)], "2030-01-01T00:00:00Z");
    expect(reasonOf(object, [set("v2", 10, 4)], "2030-01-01T00:00:59Z")[1]).toBe("ReplicaSetUpdated");
    expect(reasonOf(object, [set("v2", 10, 4)], "2030-01-01T00:01:00Z")[1]).toBe("ProgressDeadlineExceeded");
    expect(reasonOf(object, [set("v2", 10, 5)], "2030-01-01T00:01:00Z")[1]).toBe("ReplicaSetUpdated");
    expect(reasonOf(object, [set("v2", 10)])).toEqual(["MinimumReplicasAvailable", "NewReplicaSetAvailable"]);
    expect(reasonOf(deployment({ paused: true }), [set("v2", 10)])[1]).toBe("DeploymentPaused");
  });
});

describe.each(["fake", "embedded"] as const)("with the other controllers, on the %s server", (kind) => {
  let cluster: TestCluster;
  let kube: KubeClient;
  let broken: (pod: Pod) => boolean;

  beforeEach(async () => {
    broken = () => false;
    cluster = await startCluster(kind, { ready: (pod) => !broken(pod) });
    kube = cluster.client;
    for (const name of ["node-1", "node-2", "node-3"]) await kube.create(resources.nodes, makeNode(name));
  });
  afterEach(() => cluster.stop());

  const ref = { name: "blue", namespace: "default" };
  const create = (spec: Partial<Deployment["spec"]> = {}) => {
    const { kind, spec: whole } = deployment({ replicas: 5, ...spec }, "v1");
    return kube.create(resources.deployments, { kind: kind as string, metadata: { ...ref }, spec: whole });
  };
  const patch = (body: object) =>
    kube.patch(resources.deployments, ref, { type: "merge", body: body as never });
  const pods = () => all(kube, resources.pods);
  const sets = () => all(kube, resources.replicaSets);
  const done = async (replicas: number) => {
    const { generation } = (await kube.get(resources.deployments, ref)).metadata;
    return eventually(
      () => kube.get(resources.deployments, ref),
      ({ status }) =>
        status?.observedGeneration === generation &&
        status?.availableReplicas === replicas &&
        status.updatedReplicas === replicas &&
        status.replicas === replicas,
    );
  };
  const image = (pod: Pod) => pod.spec.containers[0]?.image;

  test("five replicas come up, spread over three nodes", async () => {
    await create();
    const { status } = await done(5);
    expect(conditionOf(status?.conditions, "Progressing")?.reason).toBe("NewReplicaSetAvailable");
    const counts = Object.groupBy(await pods(), ({ spec }) => spec.nodeName ?? "");
    expect(
      Object.values(counts)
        .map((group) => group?.length)
        .sort(),
    ).toEqual([1, 2, 2]);
    const [set] = await sets();
    expect(set?.metadata.name).toMatch(/^blue-[a-z0-9]{10}$/);
    for (const pod of await pods()) {
      expect(pod.metadata.name).toStartWith(`${set?.metadata.name}-`);
      expect(pod.metadata.labels?.["pod-template-hash"]).toBe(
        set?.metadata.labels?.["pod-template-hash"] as string,
      );
      expect(controllerOf(pod)).toMatchObject({ kind: "ReplicaSet", name: set?.metadata.name as string });
    }
  });

  test("it is scaled, and a pod that is deleted comes again", async () => {
    await create();
    await done(5);
    await patch({ spec: { replicas: 8 } });
    await done(8);
    await patch({ spec: { replicas: 2 } });
    await done(2);
    await eventually(pods, (list) => list.length === 2);
    const [victim] = await pods();
    await kube.delete(resources.pods, victim?.metadata as Pod["metadata"]);
    await eventually(
      pods,
      (list) => list.length === 2 && list.every(({ metadata }) => metadata.uid !== victim?.metadata.uid),
    );
    expect((await sets()).length).toBe(1);
  });

  test("a new template rolls out, and comes back by its old set", async () => {
    await create();
    await done(5);
    await patch({ spec: { template: template("v2") } });
    await done(5);
    await eventually(pods, (list) => list.length === 5 && list.every((pod) => image(pod) === "v2"));
    expect((await sets()).map(({ spec }) => spec.replicas).sort()).toEqual([0, 5]);
    await patch({ spec: { template: template("v1") } });
    await done(5);
    await eventually(pods, (list) => list.length === 5 && list.every((pod) => image(pod) === "v1"));
    expect((await sets()).length).toBe(2);
    const revision = "deployment.kubernetes.io/revision";
    await eventually(
      () => kube.get(resources.deployments, ref),
      ({ metadata }) => metadata.annotations?.[revision] === "3",
    );
  });

  test("a template that does not come up does not take the old one down", async () => {
    await create({ replicas: 4 });
    await done(4);
    broken = (pod) => image(pod) === "bad";
    await patch({ spec: { template: template("bad") } });
    await eventually(pods, (list) => list.filter((pod) => image(pod) === "bad").length === 2);
    await Bun.sleep(50);
    const old = (await pods()).filter((pod) => image(pod) === "v1");
    // maxUnavailable is 25 % of 4.
    expect(old.length).toBe(3);
    await patch({ spec: { template: template("v3") } });
    await done(4);
    await eventually(pods, (list) => list.length === 4 && list.every((pod) => image(pod) === "v3"));
  });

  test("a burst of writes makes no pod too many", async () => {
    await create({ replicas: 20 });
    for (const replicas of [3, 17, 1, 20, 5]) await patch({ spec: { replicas } });
    await done(5);
    await eventually(pods, (list) => list.length === 5);
    const events = await all(kube, resources.events);
    const count = (wanted: string) => events.filter(({ reason }) => reason === wanted).length;
    await eventually(
      () => count("SuccessfulCreate") - count("SuccessfulDelete"),
      (left) => left <= 5,
    );
  });
});
