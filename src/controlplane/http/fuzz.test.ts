import { expect, test } from "bun:test";
import { createLog } from "../../lib/log.ts";
import { deploymentOf, podOf, seeded, startTestServer } from "../testing.ts";

/**
 * Requests out of pieces of real ones: whatever comes, the answer is a Status or an object, never an internal error, and
 * what was stored can be listed.
 */
test("no request is an internal error (fuzz, seed 31)", async () => {
  const faults: string[] = [];
  const log = createLog({ write: (line) => void faults.push(line) });
  const api = await startTestServer({ log });
  const random = seeded(31);
  const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T;
  const paths = [
    "/api/v1/namespaces/default/pods",
    "/api/v1/pods",
    "/api/v1/nodes",
    "/api/v1/namespaces",
    "/api/v1/namespaces/default/services",
    "/apis/apps/v1/namespaces/default/deployments",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/api",
    "/apis",
    "/openapi/v2",
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
    "/api/v1/namespaces/default/events",
    "/%ff",
    "/api/v1/%00",
    "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
    "/api/v1/namespaces/default/secrets",
    "/apis/events.k8s.io/v1/namespaces/default/events",
  ];
  const tails = [
    "",
    "",
    "/a",
    "/b",
    "/a/status",
    "/a/scale",
    "/a/binding",
    "/a/eviction",
    "/a/finalize",
    "/a/b/c",
    "/",
  ];
  const queries = [
    "",
    "?limit=1",
    "?limit=x",
    "?labelSelector=a%3D",
    "?labelSelector=%2C",
    "?fieldSelector=metadata.name%3Da",
    "?continue=zzz",
    "?resourceVersion=-1",
    "?dryRun=All",
    "?dryRun=x",
    "?fieldManager=m&force=true",
    "?fieldValidation=Strict",
  ];
  const methods = ["GET", "POST", "POST", "PUT", "PATCH", "PATCH", "DELETE", "OPTIONS"];
  const types = [
    "application/json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/json-patch+json",
    "application/apply-patch+yaml",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "text/plain",
  ];
  const accepts = [
    "application/json",
    "*/*",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/yaml",
    "image/png",
    ";;,,=",
    "application/json;as=APIGroupDiscoveryList;g=apidiscovery.k8s.io;v=v2",
  ];
  const seeds: unknown[] = [
    podOf("a"),
    deploymentOf("a", 2),
    { metadata: { name: "a" }, spec: { ports: [{ port: 80 }] } },
    [{ op: "add", path: "/spec/x", value: 1 }],
    { metadata: { name: "a", finalizers: ["x/y"] }, spec: null },
    { addressType: "IPv4", endpoints: [{ addresses: ["10.0.0.1"] }], metadata: { name: "a" } },
    null,
    7,
    "x",
    [],
    {
      metadata: { name: "as.weft.test" },
      spec: {
        group: "weft.test",
        scope: "Cluster",
        names: { plural: "as", kind: "A" },
        versions: [
          { name: "v1", served: true, storage: true, schema: { openAPIV3Schema: { type: "object" } } },
        ],
      },
    },
  ];
  const values: unknown[] = [
    null,
    0,
    -1,
    1e30,
    "",
    "x",
    [],
    {},
    true,
    [null],
    { __proto__: 1 },
    "10.96.0.9",
    { $patch: "delete" },
  ];
  const mutate = (value: unknown): unknown => {
    if (random(12) === 0) return pick(values);
    if (Array.isArray(value)) return value.map(mutate);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, inner]) => [random(30) === 0 ? "metadata" : key, mutate(inner)]),
    );
  };
  const codes = new Set<number>();
  for (let i = 0; i < 6000; i++) {
    const method = pick(methods);
    const seed = pick(seeds);
    const text = JSON.stringify(random(3) === 0 ? seed : mutate(seed));
    const natural = method === "PATCH" ? pick(types.slice(1, 5)) : "application/json";
    const body = random(20) === 0 ? text.slice(0, random(text.length)) : text;
    const response = await api.server.handle(
      new Request(`http://test${pick(paths)}${pick(tails)}${pick(queries)}`, {
        method,
        headers: { "content-type": random(5) === 0 ? pick(types) : natural, accept: pick(accepts) },
        ...(method === "GET" || method === "OPTIONS" ? {} : { body }),
      }),
    );
    await response.text();
    codes.add(response.status);
    expect(response.status).not.toBe(500);
  }
  expect(faults).toEqual([]);
  expect([200, 201, 400, 404, 405, 406, 409, 415, 422].filter((code) => !codes.has(code))).toEqual([]);
  for (const path of paths.slice(1, 9)) {
    const { code } = await api.get(path, {
      accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    });
    expect(code).toBe(200);
  }
  api.close();
}, 30_000);

test("a body that is nested without end is refused", async () => {
  const api = await startTestServer();
  const deep = `${'{"a":'.repeat(200_000)}1${"}".repeat(200_000)}`;
  const revisions = "/apis/apps/v1/namespaces/default/controllerrevisions";
  const revision = `{"metadata":{"name":"deep"},"revision":1,"data":${deep}}`;
  const { code, body } = await api.send("POST", revisions, revision);
  expect([code, body.message as unknown]).toEqual([400, "the body is nested more than 500 levels deep"]);
  expect((await api.get(revisions)).body.items).toHaveLength(0);
  const large = await api.send("POST", "/api/v1/namespaces/default/configmaps", `"${"x".repeat(4_000_000)}"`);
  expect(large.code).toBe(413);
  api.close();
});
