import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { builtinResources } from "../resources/builtins.ts";
import { apiVersionOf } from "../resources/definition.ts";
import { compareVersions } from "../resources/registry.ts";
import { startTestServer, type TestServer } from "../testing.ts";

let api: TestServer;
beforeAll(async () => {
  api = await startTestServer();
});
afterAll(() => api.close());

const aggregatedAs = (version: string) =>
  `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`;

describe("discovery", () => {
  test("lists every resource, with its names and verbs", async () => {
    const core = await api.get("/api/v1");
    const pods = core.body.resources?.find((resource) => (resource.name as unknown) === "pods");
    expect(pods as unknown).toMatchObject({
      singularName: "pod",
      kind: "Pod",
      namespaced: true,
      shortNames: ["po"],
      categories: ["all"],
    });
    for (const type of builtinResources) {
      const path = type.group === "" ? "/api/v1" : `/apis/${apiVersionOf(type)}`;
      const names = (await api.get(path)).body.resources?.map((resource) => resource.name as unknown);
      expect(names).toContain(type.plural);
      if (type.status) expect(names).toContain(`${type.plural}/status`);
    }
    const apps = await api.get("/apis/apps/v1");
    const scale = apps.body.resources?.find((resource) => (resource.name as unknown) === "deployments/scale");
    expect(scale as unknown).toMatchObject({ group: "autoscaling", version: "v1", kind: "Scale" });
  });

  test("the aggregated form says the same as the plain one, in both its versions", async () => {
    for (const version of ["v2", "v2beta1"]) {
      const { body, headers } = await api.get("/apis", {
        accept: `${aggregatedAs(version)},application/json`,
      });
      expect(headers.get("content-type")).toBe(aggregatedAs(version));
      expect(body.apiVersion as unknown).toBe(`apidiscovery.k8s.io/${version}`);
      const groups = (await api.get("/apis")).body.groups?.map((group) => group.name as unknown);
      expect(body.items?.map((item) => item.metadata?.name as unknown)).toEqual(groups as unknown[]);
      for (const item of body.items ?? []) {
        for (const served of item.versions ?? []) {
          const plain = await api.get(`/apis/${item.metadata?.name}/${served.version}`);
          const names = served.resources?.flatMap((resource) => [
            resource.resource as unknown,
            ...((resource.subresources as unknown as { subresource: string }[] | undefined) ?? []).map(
              ({ subresource }) => `${resource.resource}/${subresource}`,
            ),
          ]);
          expect(names).toEqual(plain.body.resources?.map((resource) => resource.name as unknown));
        }
      }
    }
  });

  test("documents have tags, so that clients need not read them twice", async () => {
    const { headers } = await api.get("/openapi/v2");
    const again = await api.get("/openapi/v2", { "if-none-match": headers.get("etag") ?? "" });
    expect(again.code).toBe(304);
  });

  test("versions are in Kubernetes' order", () => {
    const sorted = ["v1alpha1", "v1", "foo", "v2beta1", "v10", "v2", "v11alpha2"].sort(compareVersions);
    expect(sorted).toEqual(["v10", "v2", "v1", "v2beta1", "v11alpha2", "v1alpha1", "foo"]);
  });
});

describe("OpenAPI", () => {
  test("version 2 knows each kind, its merge keys and what can be done with it; all references lead somewhere", async () => {
    const { body } = await api.get("/openapi/v2");
    const definitions = body.definitions ?? {};
    const spec = (definitions as never)["io.k8s.api.core.v1.PodSpec"] as {
      properties: { containers: object };
    };
    expect(spec.properties.containers).toMatchObject({
      items: { $ref: "#/definitions/io.k8s.api.core.v1.Container" },
      "x-kubernetes-patch-merge-key": "name",
    });
    const path = (body.paths as never)["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"] as {
      patch: object;
    };
    expect(path.patch).toMatchObject({
      "x-kubernetes-group-version-kind": { group: "apps", version: "v1", kind: "Deployment" },
    });
    const references = [...JSON.stringify(body).matchAll(/"\$ref":"#\/definitions\/([^"]+)"/g)].map(
      (match) => match[1] as string,
    );
    expect(references.length).toBeGreaterThan(200);
    expect(references.filter((name) => !Object.hasOwn(definitions, name))).toEqual([]);
    expect(JSON.stringify(body)).not.toContain('"wire"');
  });

  test("version 3 has a document for each group version", async () => {
    const index = await api.get("/openapi/v3");
    for (const [path, { serverRelativeURL }] of Object.entries(
      index.body.paths as unknown as Record<string, { serverRelativeURL: string }>,
    )) {
      const { code, body } = await api.get(serverRelativeURL);
      expect([path, code]).toEqual([path, 200]);
      const schemas = body.components?.schemas ?? {};
      const references = [...JSON.stringify(body).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map(
        (match) => match[1] as string,
      );
      expect(references.filter((name) => !Object.hasOwn(schemas, name))).toEqual([]);
    }
    expect((await api.get("/openapi/v3/apis/none/v1")).code).toBe(404);
  });

  test("version 2 as protobuf, by the type that old clients ask for", async () => {
    const request = new Request("http://test/openapi/v2", {
      headers: { accept: "application/com.github.proto-openapi.spec.v2@v1.0+protobuf" },
    });
    const answer = await api.server.handle(request);
    expect(answer.headers.get("content-type")).toBe(
      "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    );
    const bytes = Buffer.from(await answer.arrayBuffer());
    // Field 1, "swagger": "2.0".
    expect(bytes.subarray(0, 5).toString("latin1")).toBe("\n\u00032.0");
    expect(bytes.includes("io.k8s.api.core.v1.PodSpec")).toBe(true);
  });
});
