import { expect, test } from "bun:test";
import { ApiError, ApiUnreachable } from "../../kube/errors.ts";
import { FakeKube } from "../../kube/fake/index.ts";
import { resources } from "../../kube/types.ts";
import { seededRandom } from "../../lib/random.ts";
import { runControllers } from "./index.ts";
import { all, eventually, makeNode, runKubelets } from "./testing.ts";

/**
 * A Deployment is made, scaled and rolled out while one request in four fails, some of them after they were carried out,
 * and watches break. In the end there is what was asked for, and nothing else.
 */
test.each([1, 2, 3])("what was asked for is reached through failures, seed %i", async (seed) => {
  const random = seededRandom(seed);
  const kube = new FakeKube();
  const controller = new AbortController();
  let rough = false;
  const fault = (verb: string) => {
    const pick = random();
    if (pick < 0.4) return new ApiUnreachable("fake", verb, "closed the connection");
    if (pick < 0.7) return new ApiError({ code: 409, reason: "Conflict" }, verb);
    return new ApiError({ code: 500, message: "etcd is slow" }, verb);
  };
  const flaky = new Proxy(kube, {
    get(target, name: keyof FakeKube) {
      const method = target[name];
      if (typeof method !== "function" || name === "watch") return method;
      return async (...parameters: never[]) => {
        const fails = rough && random() < 0.25;
        if (fails && random() < 0.5) throw fault(name);
        const answer = await (method as (...p: never[]) => unknown).apply(target, parameters);
        // It was done, but nobody was told.
        if (fails) throw new ApiUnreachable("fake", name, "closed the connection");
        return answer;
      };
    },
  });
  try {
    for (const name of ["a", "b", "c"]) await kube.create(resources.nodes, makeNode(name));
    await runControllers(flaky, { clusterCIDRs: [], serviceCIDRs: [] }, controller.signal).ready;
    void runKubelets(kube, controller.signal);
    rough = true;
    const labels = { app: "blue" };
    const template = (image: string) => ({
      metadata: { labels },
      spec: { containers: [{ name: "c", image }] },
    });
    const ref = { name: "blue", namespace: "default" };
    await kube.create(resources.services, {
      metadata: ref,
      spec: { selector: labels, ports: [{ port: 80 }], ipFamilies: ["IPv4"] },
    });
    await kube.create(resources.deployments, {
      metadata: ref,
      spec: { replicas: 6, selector: { matchLabels: labels }, template: template("v1") },
    });
    await Bun.sleep(100);
    kube.interrupt();
    const patch = (spec: object) =>
      kube.patch(resources.deployments, ref, { type: "merge", body: { spec } as never });
    await patch({ template: template("v2") });
    await Bun.sleep(100);
    await patch({ replicas: 4 });
    await Bun.sleep(100);
    kube.interrupt();
    rough = false;
    const pods = await eventually(
      () => all(kube, resources.pods),
      (list) =>
        list.length === 4 &&
        list.every(({ spec, status }) => spec.containers[0]?.image === "v2" && status?.phase === "Running"),
    );
    const endpoints = async () => {
      const slices = await all(kube, resources.endpointSlices);
      return slices.flatMap((slice) => slice.endpoints.flatMap(({ addresses }) => addresses)).sort();
    };
    const expected = pods.map(({ status }) => status?.podIP ?? "").sort();
    await eventually(endpoints, (list) => list.join() === expected.join());
    await eventually(
      () => kube.get(resources.deployments, ref),
      ({ status }) =>
        status?.replicas === 4 && status.updatedReplicas === 4 && status.availableReplicas === 4,
    );
    const sets = await all(kube, resources.replicaSets);
    expect(sets.map(({ spec }) => spec.replicas).filter((replicas) => replicas !== 0)).toEqual([4]);
  } finally {
    controller.abort();
    kube.close();
  }
});
