import { afterAll, beforeAll, expect, test } from "bun:test";
import { podOf, startTestServer, type TestServer } from "../testing.ts";

let api: TestServer;
const pods = "/api/v1/namespaces/default/pods";
beforeAll(async () => {
  api = await startTestServer({ historyLimit: 60 });
  for (let i = 0; i < 25; i++) {
    const name = `p${String(i).padStart(2, "0")}`;
    await api.send(
      "POST",
      pods,
      podOf(name, { labels: { odd: String(i % 2 === 1) }, spec: { nodeName: `n${i % 3}` } }),
    );
  }
});
afterAll(() => api.close());

const names = (body: { [key: string]: unknown }) =>
  (body.items as { metadata: { name: string } }[]).map(({ metadata }) => metadata.name);

test("pages show one moment, whatever changes between them", async () => {
  const first = await api.get("/api/v1/pods?limit=10");
  expect(names(first.body)).toHaveLength(10);
  expect(first.body.metadata?.remainingItemCount as unknown as number).toBe(15);
  await api.send("DELETE", `${pods}/p15`, { gracePeriodSeconds: 0 });
  await api.send("POST", pods, podOf("p10a"));
  const all = names(first.body);
  let token = first.body.metadata?.continue as unknown as string | undefined;
  while (token !== undefined) {
    const page = await api.get(`/api/v1/pods?limit=10&continue=${token}`);
    expect(page.body.metadata?.resourceVersion as unknown as string).toBe(
      first.body.metadata?.resourceVersion as unknown as string,
    );
    all.push(...names(page.body));
    token = page.body.metadata?.continue as unknown as string | undefined;
  }
  expect(all).toHaveLength(25);
  expect(all).toContain("p15");
  expect(all).not.toContain("p10a");
});

test("pages with selectors are full, and tell no count", async () => {
  const page = await api.get("/api/v1/pods?limit=5&labelSelector=odd%3Dtrue");
  expect(names(page.body)).toEqual(["p01", "p03", "p05", "p07", "p09"]);
  expect(page.body.metadata?.remainingItemCount).toBeUndefined();
  const nodes = await api.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1,status.phase!%3DFailed");
  expect(names(nodes.body)).toHaveLength(8);
  expect((await api.get("/api/v1/pods?fieldSelector=spec.foo%3D1")).body.message).toBe(
    "field label not supported: spec.foo" as never,
  );
});

test("a token that is too old is 410, rubbish is 400", async () => {
  const first = await api.get("/api/v1/pods?limit=2");
  const token = first.body.metadata?.continue as unknown as string;
  for (let i = 0; i < 100; i++) {
    await api.send(
      "PATCH",
      `${pods}/p00`,
      { metadata: { labels: { i: String(i) } } },
      "application/merge-patch+json",
    );
  }
  const late = await api.get(`/api/v1/pods?limit=2&continue=${token}`);
  expect([late.code, late.body.reason] as unknown).toEqual([410, "Expired"]);
  for (const rubbish of ["x", "e30", "eyJyZXZpc2lvbiI6LTF9", "%00"]) {
    expect((await api.get(`/api/v1/pods?continue=${rubbish}`)).code).toBe(400);
  }
});

test("versions: exact, not older than, and from the future", async () => {
  const now = (await api.get(pods)).body.metadata?.resourceVersion as unknown as string;
  await api.send("POST", pods, podOf("newer"));
  const exact = await api.get(`${pods}?resourceVersion=${now}&resourceVersionMatch=Exact`);
  expect(names(exact.body)).not.toContain("newer");
  const later = await api.get(`${pods}?resourceVersion=${now}&resourceVersionMatch=NotOlderThan`);
  expect(names(later.body)).toContain("newer");
  const future = await api.get(`${pods}?resourceVersion=999999`);
  expect(future.code).toBe(504);
  expect(future.body.details?.causes?.[0]?.reason as unknown as string).toBe("ResourceVersionTooLarge");
  expect((await api.get(`${pods}?resourceVersion=x`)).code).toBe(400);
});

test("metadata alone, and YAML", async () => {
  const accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
  const partial = await api.get(pods, { accept });
  expect(partial.body.kind as unknown as string).toBe("PartialObjectMetadataList");
  expect(Object.keys(partial.body.items?.[0] ?? {}).sort()).toEqual(["apiVersion", "kind", "metadata"]);
  const yaml = await api.get(`${pods}/p01`, { accept: "application/yaml" });
  expect(yaml.body).toStartWith("apiVersion: v1\nkind: Pod\n");
  expect((await api.get(pods, { accept: "image/png" })).code).toBe(406);
});
