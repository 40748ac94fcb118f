import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { KubeClient } from "../../kube/client.ts";
import { type Endpoint, type EndpointSlice, type Pod, resources, type Service } from "../../kube/types.ts";
import { seededRandom } from "../../lib/random.ts";
import { type EndpointGroup, endpointGroups, endpointSubsets, planSlices, portsOf } from "./endpoints.ts";
import { canonical } from "./hash.ts";
import { all, eventually, makeNode, makePod, startCluster, type TestCluster } from "./testing.ts";

function service(spec: Partial<Service["spec"]> = {}): Service {
  return {
    metadata: { name: "blue", namespace: "default" },
    spec: {
      selector: { app: "blue" },
      ports: [{ port: 8888, targetPort: 8080 }],
      ipFamilies: ["IPv4"],
      ...spec,
    },
  };
}

describe("conditions of an endpoint", () => {
  type Expected = [ready: boolean, serving: boolean, terminating: boolean] | undefined;
  const ip = { ips: ["10.0.0.1"] };
  const cases: [what: string, pod: object, publish: boolean, expected: Expected][] = [
    ["a ready pod", { ...ip, ready: true }, false, [true, true, false]],
    ["one that is not ready", ip, false, [false, false, false]],
    ["one that goes and still serves", { ...ip, ready: true, deleting: true }, false, [false, true, true]],
    ["one that goes and no longer serves", { ...ip, deleting: true }, false, [false, false, true]],
    ["published though not ready", ip, true, [true, false, false]],
    ["published though it goes", { ...ip, deleting: true }, true, [true, false, true]],
    ["one without address", { ready: true }, false, undefined],
    ["one of the other family", { ips: ["fd00::1"], ready: true }, false, undefined],
    ["one that is done", { ...ip, phase: "Succeeded" }, false, undefined],
    ["one that failed", { ...ip, phase: "Failed" }, false, undefined],
  ];
  test.each(cases)("%s", (_, parts, publishNotReadyAddresses, expected) => {
    const groups = endpointGroups(service({ publishNotReadyAddresses }), [makePod("a", parts)]);
    const conditions = groups[0]?.endpoints[0]?.conditions;
    const [ready, serving, terminating] = expected ?? [];
    expect(conditions).toEqual(
      expected === undefined ? undefined : ({ ready, serving, terminating } as object),
    );
  });
});

describe("ports of an endpoint", () => {
  const ports = [
    { name: "web", containerPort: 8080 },
    { name: "dns", containerPort: 53, protocol: "UDP" as const },
  ];
  const pod = makePod("a", { spec: { containers: [{ name: "c", ports }] } });
  const cases: [port: object, expected: object | undefined][] = [
    [{ port: 80 }, { name: "", protocol: "TCP", port: 80 }],
    [
      { port: 80, targetPort: 8080 },
      { name: "", protocol: "TCP", port: 8080 },
    ],
    [
      { port: 80, targetPort: 0 },
      { name: "", protocol: "TCP", port: 80 },
    ],
    [
      { name: "x", port: 80, targetPort: "web", appProtocol: "h2c" },
      { name: "x", protocol: "TCP", port: 8080, appProtocol: "h2c" },
    ],
    [
      { port: 53, protocol: "UDP", targetPort: "dns" },
      { name: "", protocol: "UDP", port: 53 },
    ],
    [{ port: 53, protocol: "TCP", targetPort: "dns" }, undefined],
    [
      { port: 80, targetPort: "8081" },
      { name: "", protocol: "TCP", port: 8081 },
    ],
  ];
  test.each(cases)("%j gives %j", (port, expected) => {
    expect(portsOf(service({ ports: [port as never] }), pod)).toEqual(
      expected === undefined ? [] : [expected as never],
    );
  });
});

describe("groups", () => {
  test("are one for each family, and for each number that a port's name stands for", () => {
    const named = (name: string, containerPort: number) =>
      makePod(name, {
        ready: true,
        ips: [`10.0.0.${containerPort - 8000}`, `fd00::${containerPort - 8000}`],
        node: "node-1",
        spec: { containers: [{ name: "c", ports: [{ name: "web", containerPort }] }] },
      });
    const blue = service({ ipFamilies: ["IPv6", "IPv4"], ports: [{ port: 80, targetPort: "web" }] });
    const groups = endpointGroups(
      blue,
      [named("a", 8001), named("b", 8002), named("c", 8001)],
      () => "zone-1",
    );
    const shown = groups.map(({ addressType, ports, endpoints }) => [
      addressType,
      ports[0]?.port,
      ...endpoints.flatMap(({ addresses }) => addresses),
    ]);
    expect(shown).toEqual([
      ["IPv6", 8001, "fd00::1", "fd00::1"],
      ["IPv6", 8002, "fd00::2"],
      ["IPv4", 8001, "10.0.0.1", "10.0.0.1"],
      ["IPv4", 8002, "10.0.0.2"],
    ]);
    expect(groups[0]?.endpoints[0]).toMatchObject({
      nodeName: "node-1",
      zone: "zone-1",
      targetRef: { kind: "Pod", namespace: "default", name: "a", uid: "uid-of-a" },
    });
  });

  test("of a headless Service need no ports, and give pods their names", () => {
    const pod = makePod("a", { ips: ["10.0.0.1"], spec: { hostname: "blue-0", subdomain: "blue" } });
    const other = makePod("b", { ips: ["10.0.0.2"], spec: { hostname: "blue-0", subdomain: "red" } });
    const [group] = endpointGroups(service({ clusterIP: "None", ports: [] }), [pod, other]);
    expect(group?.ports).toEqual([]);
    expect(group?.endpoints.map(({ hostname }) => hostname)).toEqual(["blue-0", undefined]);
  });

  test("take the families from the addresses of a Service without ipFamilies", () => {
    const pod = makePod("a", { ips: ["10.0.0.1", "fd00::1"] });
    const families = (spec: Partial<Service["spec"]>) => {
      const { ipFamilies: _, ...rest } = service(spec).spec;
      return endpointGroups({ ...service(), spec: rest }, [pod]).map(({ addressType }) => addressType);
    };
    expect(families({ clusterIPs: ["fd00::10", "10.96.0.10"] })).toEqual(["IPv6", "IPv4"]);
    expect(families({ clusterIP: "fd00::10" })).toEqual(["IPv6"]);
    expect(families({ clusterIP: "None" })).toEqual(["IPv4"]);
  });
});

describe("slices", () => {
  const endpoint = (id: number, ready = true): Endpoint => ({
    addresses: [`10.0.${id >> 8}.${id & 255}`],
    conditions: { ready },
    targetRef: { kind: "Pod", uid: `${id}` },
  });
  const ports = [{ name: "", protocol: "TCP" as const, port: 80 }];
  const group = (ids: number[]): EndpointGroup => ({
    addressType: "IPv4",
    ports,
    endpoints: ids.map((id) => endpoint(id)),
  });
  const slice = (name: string, ids: number[]): EndpointSlice => ({ metadata: { name }, ...group(ids) });
  const plan = (wanted: EndpointGroup[], existing: EndpointSlice[], limit = 3) => {
    const { create, update, delete: gone } = planSlices(["IPv4"], wanted, existing, limit);
    const ids = ({ endpoints }: { endpoints: Endpoint[] }) =>
      endpoints.map(({ targetRef }) => Number(targetRef?.uid));
    return {
      create: create.map(ids),
      update: Object.fromEntries(update.map((one) => [one.metadata.name, ids(one)])),
      delete: gone.map(({ metadata }) => metadata.name),
    };
  };
  const none = { create: [], update: {}, delete: [] };

  const cases: [what: string, wanted: number[], existing: EndpointSlice[], expected: object][] = [
    ["the first ones", [1, 2], [], { create: [[1, 2]] }],
    ["more than fit", [1, 2, 3, 4], [], { create: [[1, 2, 3], [4]] }],
    ["nothing new", [1, 2], [slice("a", [1, 2])], {}],
    ["one more", [1, 2, 3], [slice("a", [1, 2])], { update: { a: [1, 2, 3] } }],
    ["one less", [2], [slice("a", [1, 2])], { update: { a: [2] } }],
    ["one goes and one comes", [2, 3], [slice("a", [1, 2])], { update: { a: [2, 3] } }],
    [
      "the slice that changes anyway is filled first",
      [1, 2, 4, 5],
      [slice("a", [1, 2]), slice("b", [3, 4])],
      { update: { b: [4, 5] } },
    ],
    ["then the fullest", [1, 2, 3, 9], [slice("a", [1]), slice("b", [2, 3])], { update: { b: [2, 3, 9] } }],
    ["one that is left empty goes", [1], [slice("a", [1]), slice("b", [2])], { delete: ["b"] }],
    ["none are left", [], [slice("a", [1]), slice("b", [2])], { create: [[]], delete: ["a", "b"] }],
  ];
  test.each(cases)("%s", (_, wanted, existing, expected) => {
    expect(plan(wanted.length === 0 ? [] : [group(wanted)], existing)).toEqual({ ...none, ...expected });
  });

  test("a family without endpoints has one empty slice, and keeps it", () => {
    const first = planSlices(["IPv4", "IPv6"], [], []);
    expect(first.create.map(({ addressType, endpoints }) => [addressType, endpoints.length])).toEqual([
      ["IPv4", 0],
      ["IPv6", 0],
    ]);
    const existing = first.create.map((one, i) => ({ metadata: { name: `s${i}` }, ...one }));
    expect(planSlices(["IPv4", "IPv6"], [], existing)).toEqual({ create: [], update: [], delete: [] });
  });

  test("the conditions of an endpoint change where it is", () => {
    const changed = { ...group([1]), endpoints: [endpoint(1, false)] };
    expect(plan([changed], [slice("a", [1])]).update).toEqual({ a: [1] });
  });

  test("slices of another family or of other ports are not used", () => {
    const other = { ...slice("b", [1]), ports: [{ name: "", port: 81 }] };
    const six = { ...slice("c", [1]), addressType: "IPv6" as const };
    expect(plan([group([1])], [other, six])).toEqual({ create: [[1]], update: {}, delete: ["b", "c"] });
  });

  test("at random, each endpoint is in one slice, and few slices change", () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = seededRandom(seed);
      let existing: EndpointSlice[] = [];
      let serial = 0;
      for (let step = 0; step < 20; step++) {
        const ids = Array.from({ length: 30 }, (_, i) => i).filter(() => random() < 0.6);
        const { create, update, delete: gone } = planSlices(["IPv4"], [group(ids)], existing, 4);
        existing = existing.filter((one) => !gone.includes(one));
        existing = existing.map(
          (one) => update.find(({ metadata }) => metadata.name === one.metadata.name) ?? one,
        );
        existing.push(...create.map((one) => ({ metadata: { name: `s${++serial}` }, ...one })));
        const seen = existing.flatMap(({ endpoints }) =>
          endpoints.map(({ targetRef }) => Number(targetRef?.uid)),
        );
        expect(seen.toSorted((a, b) => a - b)).toEqual(ids);
        for (const { endpoints } of existing) expect(endpoints.length).toBeLessThanOrEqual(4);
        expect(planSlices(["IPv4"], [group(ids)], existing, 4)).toEqual({
          create: [],
          update: [],
          delete: [],
        });
      }
    }
  });
});

test("legacy subsets: ready and not ready apart, pods that go left out, the first family alone", () => {
  const pods = [
    makePod("b", { ready: true, ips: ["10.0.0.2", "fd00::2"], node: "node-1" }),
    makePod("a", { ready: true, ips: ["10.0.0.1", "fd00::1"] }),
    makePod("c", { ips: ["10.0.0.3"] }),
    makePod("d", { ready: true, deleting: true, ips: ["10.0.0.4"] }),
  ];
  const subsets = endpointSubsets(service({ ipFamilies: ["IPv4", "IPv6"] }), pods);
  expect(subsets.length).toBe(1);
  expect(subsets[0]?.addresses?.map(({ ip, nodeName }) => [ip, nodeName])).toEqual([
    ["10.0.0.1", undefined],
    ["10.0.0.2", "node-1"],
  ]);
  expect(subsets[0]?.notReadyAddresses?.map(({ ip }) => ip)).toEqual(["10.0.0.3"]);
  expect(subsets[0]?.ports).toEqual([{ port: 8080, protocol: "TCP" }]);
  expect(endpointSubsets(service(), [])).toEqual([]);
});

describe.each(["fake", "embedded"] as const)("on the %s server", (kind) => {
  let cluster: TestCluster;
  let kube: KubeClient;
  beforeEach(async () => {
    // The pods of these tests have the status that the tests give them.
    cluster = await startCluster(kind, { kubelets: false });
    kube = cluster.client;
  });
  afterEach(() => cluster.stop());

  const slices = async () =>
    (await all(kube, resources.endpointSlices)).filter(
      ({ metadata }) => metadata.labels?.["kubernetes.io/service-name"] !== "kubernetes",
    );
  const shown = (list: EndpointSlice[]) =>
    list
      .flatMap(({ endpoints }) =>
        endpoints.map(({ addresses, conditions }) => `${addresses} ${conditions?.ready}`),
      )
      .sort()
      .join(", ");
  const put = async (pod: Pod) => {
    const { status } = pod;
    const { metadata } = await kube.create(resources.pods, pod);
    await kube.patch(
      resources.pods,
      metadata,
      { type: "merge", body: { status: status as never } },
      { subresource: "status" },
    );
  };
  const blue = (name: string, ip: string, ready = true) =>
    makePod(name, { labels: { app: "blue" }, ips: [ip], ready, node: "node-1", phase: "Running" });

  test("slices and Endpoints follow pods: ready, not ready, going, relabelled, gone", async () => {
    await kube.create(resources.nodes, makeNode("node-1"));
    await kube.create(resources.services, {
      ...service(),
      metadata: { ...service().metadata, labels: { team: "x" } },
    });
    await eventually(slices, (list) => list.length === 1);
    await put(blue("a", "10.0.0.1"));
    await put(blue("b", "10.0.0.2", false));
    const list = await eventually(
      slices,
      (list) => shown(list) === "10.0.0.1 true, 10.0.0.2 false" && list.length === 1,
    );
    expect(list[0]).toMatchObject({
      addressType: "IPv4",
      metadata: {
        labels: {
          team: "x",
          "kubernetes.io/service-name": "blue",
          "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        },
        ownerReferences: [{ kind: "Service", name: "blue", controller: true }],
      },
      ports: [{ name: "", protocol: "TCP", port: 8080 }],
    });
    const legacy = () => kube.get(resources.endpoints, { name: "blue", namespace: "default" });
    await eventually(
      legacy,
      ({ subsets }) => canonical(subsets?.[0]?.addresses?.map(({ ip }) => ip)) === '["10.0.0.1"]',
    );
    await kube.delete(resources.pods, { name: "a", namespace: "default" });
    await eventually(slices, (list) => shown(list) === "10.0.0.1 false, 10.0.0.2 false");
    expect((await slices())[0]?.endpoints[0]?.conditions).toEqual({
      ready: false,
      serving: true,
      terminating: true,
    });
    await kube.delete(resources.pods, { name: "a", namespace: "default" }, { gracePeriodSeconds: 0 });
    await eventually(slices, (list) => shown(list) === "10.0.0.2 false");
    await kube.patch(
      resources.pods,
      { name: "b", namespace: "default" },
      { type: "merge", body: { metadata: { labels: null } } },
    );
    await eventually(slices, (list) => shown(list) === "" && list.length === 1);
    await eventually(legacy, ({ subsets }) => subsets?.length === 0);
  });

  test("a slice that somebody removes or changes is made right again", async () => {
    await kube.create(resources.services, service());
    await put(blue("a", "10.0.0.1"));
    const [one] = await eventually(slices, (list) => shown(list) === "10.0.0.1 true" && list.length === 1);
    await kube.update(resources.endpointSlices, { ...(one as EndpointSlice), endpoints: [] });
    await eventually(slices, (list) => shown(list) === "10.0.0.1 true");
    for (const { metadata } of await slices()) await kube.delete(resources.endpointSlices, metadata);
    await eventually(slices, (list) => shown(list) === "10.0.0.1 true");
  });

  test("what is written by hand for a Service without selector is mirrored, until it is written no more", async () => {
    const metadata = { name: "red", namespace: "default" };
    const ports = [{ name: "web", port: 80 }];
    await kube.create(resources.services, { metadata, spec: { ports, ipFamilies: ["IPv4"] } });
    const written = {
      metadata,
      subsets: [{ addresses: [{ ip: "192.0.2.1" }], ports: [{ name: "web", port: 8080 }] }],
    };
    await kube.create(resources.endpoints, written);
    const [slice] = await eventually(slices, (list) => shown(list) === "192.0.2.1 true");
    expect(slice).toMatchObject({
      addressType: "IPv4",
      metadata: { labels: { "kubernetes.io/service-name": "red" }, ownerReferences: [{ kind: "Endpoints" }] },
      ports: [{ name: "web", port: 8080, protocol: "TCP" }],
    });
    const subsets = [{ notReadyAddresses: [{ ip: "192.0.2.1" }, { ip: "192.0.2.2" }] }];
    await kube.update(resources.endpoints, { ...written, subsets });
    await eventually(slices, (list) => shown(list) === "192.0.2.1 false, 192.0.2.2 false");
    await kube.patch(resources.endpoints, metadata, {
      type: "merge",
      body: { metadata: { labels: { "endpointslice.kubernetes.io/skip-mirror": "true" } } },
    });
    await eventually(slices, (list) => list.length === 0);
  });

  test("Services without selector, and ExternalName, are left alone", async () => {
    const { selector: _, ...spec } = service().spec;
    await kube.create(resources.services, { metadata: { name: "red", namespace: "default" }, spec });
    await kube.create(resources.endpoints, { metadata: { name: "red", namespace: "default" }, subsets: [] });
    const external = {
      type: "ExternalName" as const,
      externalName: "example.com",
      selector: { app: "blue" },
    };
    await kube.create(resources.services, {
      metadata: { name: "far", namespace: "default" },
      spec: external,
    });
    await put(blue("a", "10.0.0.1"));
    await kube.delete(resources.services, { name: "red", namespace: "default" });
    await Bun.sleep(30);
    expect(await slices()).toEqual([]);
    const names = (await all(kube, resources.endpoints)).map(({ metadata }) => metadata.name);
    expect(names.filter((name) => name !== "kubernetes")).toEqual(["red"]);
  });
});
