import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { JSONSchemaProps } from "../../kube/types.ts";
import { type Body, seeded, startTestServer, type TestServer } from "../testing.ts";
import { evaluate, parseJsonPath } from "./jsonpath.ts";
import { checkStructural } from "./structural.ts";

const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const MERGE = "application/merge-patch+json";
let api: TestServer;
beforeAll(async () => {
  api = await startTestServer();
});
afterAll(() => api.close());

const specSchema: JSONSchemaProps = {
  type: "object",
  required: ["size"],
  properties: {
    size: { type: "integer", minimum: 1, maximum: 10 },
    color: { type: "string", default: "blue", enum: ["blue", "red"] },
    free: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
    ports: {
      type: "array",
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["port"],
      items: {
        type: "object",
        required: ["port"],
        properties: { port: { type: "integer" }, name: { type: "string" } },
      },
    },
  },
};

const version = (name: string, storage: boolean, more: object = {}) => ({
  name,
  served: true,
  storage,
  schema: {
    openAPIV3Schema: {
      type: "object",
      required: ["spec"],
      properties: {
        spec: specSchema,
        status: { type: "object", properties: { replicas: { type: "integer" }, ready: { type: "string" } } },
      },
    },
  },
  subresources: {
    status: {},
    scale: { specReplicasPath: ".spec.size", statusReplicasPath: ".status.replicas" },
  },
  additionalPrinterColumns: [
    { name: "Size", type: "integer", jsonPath: ".spec.size" },
    { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
    { name: "Color", type: "string", jsonPath: ".spec.color", priority: 1 },
  ],
  selectableFields: [{ jsonPath: ".spec.color" }],
  ...more,
});

const definitionOf = (plural: string, kind: string, versions: object[]) => ({
  metadata: { name: `${plural}.weft.test` },
  spec: {
    group: "weft.test",
    scope: "Namespaced",
    names: { plural, kind, shortNames: [plural.slice(0, 2)] },
    versions,
  },
});

const widgets = "/apis/weft.test/v1/namespaces/default/widgets";
const widget = (name: string, spec: object) => ({
  apiVersion: "weft.test/v1",
  kind: "Widget",
  metadata: { name },
  spec,
});

describe("custom resources", () => {
  beforeAll(async () => {
    const made = await api.send(
      "POST",
      definitions,
      definitionOf("widgets", "Widget", [
        version("v1", true),
        version("v1beta1", false, { deprecated: true }),
      ]),
    );
    expect(made.code).toBe(201);
    expect(made.body.status?.conditions as unknown).toMatchObject([
      { type: "NamesAccepted" },
      { type: "Established", status: "True" },
    ]);
  });

  test("are served at once, with defaults, pruning and validation by the schema", async () => {
    const made = await api.send("POST", widgets, widget("a", { size: 2, foo: 1, free: { any: [1] } }));
    expect(made.code).toBe(201);
    expect(made.body.spec as unknown).toEqual({ size: 2, color: "blue", free: { any: [1] } });
    expect(made.body.metadata?.generation as unknown).toBe(1);
    const bad = await api.send(
      "POST",
      widgets,
      widget("b", { size: 11, color: "green", ports: [{ port: 1 }, { port: 1 }] }),
    );
    expect(bad.code).toBe(422);
    const fields = bad.body.details?.causes?.map((cause) => cause.field as unknown);
    expect(fields).toEqual(["spec.size", "spec.color", "spec.ports[1]"]);
    expect((await api.send("POST", widgets, { metadata: { name: "c" } })).body.message as unknown).toBe(
      'Widget.weft.test "c" is invalid: spec: Required value',
    );
  });

  test("status and scale are subresources", async () => {
    await api.send("POST", widgets, { ...widget("parts", { size: 3 }), status: { replicas: 1 } });
    expect((await api.get(`${widgets}/parts`)).body.status).toBeUndefined();
    const status = await api.send(
      "PATCH",
      `${widgets}/parts/status`,
      { status: { replicas: 2 }, spec: { size: 9 } },
      MERGE,
    );
    expect(status.body as unknown).toMatchObject({
      spec: { size: 3 },
      status: { replicas: 2 },
      metadata: { generation: 1 },
    });
    const scale = await api.send("PATCH", `${widgets}/parts/scale`, { spec: { replicas: 5 } }, MERGE);
    expect(scale.body as unknown).toMatchObject({ spec: { replicas: 5 }, status: { replicas: 2 } });
    expect((await api.get(`${widgets}/parts`)).body as unknown).toMatchObject({
      spec: { size: 5 },
      metadata: { generation: 2 },
    });
  });

  test("an update names the version it replaces; strategic merge is not for them", async () => {
    const { body } = await api.get(`${widgets}/a`);
    const blind = { ...body, metadata: { name: "a" } };
    expect((await api.send("PUT", `${widgets}/a`, blind)).body.message as unknown).toMatch(
      /metadata.resourceVersion: .*must be specified for an update/,
    );
    expect((await api.send("PUT", `${widgets}/a`, body)).code).toBe(200);
    expect((await api.send("PATCH", `${widgets}/a`, {}, "application/strategic-merge-patch+json")).code).toBe(
      415,
    );
  });

  test("other versions show the same objects, deprecated ones with a warning", async () => {
    const other = await api.get("/apis/weft.test/v1beta1/namespaces/default/widgets/a");
    expect(other.body.apiVersion as unknown).toBe("weft.test/v1beta1");
    expect(other.headers.get("warning")).toBe('299 - "weft.test/v1beta1 Widget is deprecated"');
    const list = await api.get("/apis/weft.test/v1beta1/widgets");
    expect(list.body.items?.map((item) => item.apiVersion as unknown)).toEqual([
      "weft.test/v1beta1",
      "weft.test/v1beta1",
    ]);
  });

  test("columns, selectable fields, discovery and OpenAPI", async () => {
    const accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    const table = await api.get(`${widgets}/parts`, { accept });
    expect(table.body.columnDefinitions?.map((column) => column.name as unknown)).toEqual([
      "Name",
      "Size",
      "Age",
      "Color",
    ]);
    expect(table.body.rows?.[0]?.cells as unknown).toEqual(["parts", 5, "0s", "blue"]);
    const red = await api.get("/apis/weft.test/v1/widgets?fieldSelector=spec.color%3Dred");
    expect(red.body.items).toHaveLength(0);
    const list = await api.get("/apis/weft.test/v1");
    const names = list.body.resources?.map((resource) => resource.name as unknown);
    expect(names).toEqual(["widgets", "widgets/scale", "widgets/status"]);
    const group = await api.get("/apis/weft.test");
    expect(group.body.preferredVersion?.version as unknown).toBe("v1");
    const document = await api.get("/openapi/v3/apis/weft.test/v1");
    const schema = document.body.components?.schemas?.["test.weft.v1.Widget"] as unknown as Body;
    expect(schema["x-kubernetes-group-version-kind"] as unknown).toEqual([
      { group: "weft.test", version: "v1", kind: "Widget" },
    ]);
  });

  test("go before their definition does, which waits for their finalizers", async () => {
    await api.send("POST", definitions, definitionOf("gadgets", "Gadget", [version("v1", true)]));
    const gadgets = "/apis/weft.test/v1/namespaces/default/gadgets";
    const gadget = (name: string, finalizers?: string[]) => ({
      metadata: { name, ...(finalizers === undefined ? {} : { finalizers }) },
      spec: { size: 1 },
    });
    await api.send("POST", gadgets, gadget("plain"));
    await api.send("POST", gadgets, gadget("held", ["weft.test/hold"]));
    const watch = await api.watch(`${definitions}?watch=1&fieldSelector=metadata.name%3Dgadgets.weft.test`);
    await watch.next();
    await api.send("DELETE", `${definitions}/gadgets.weft.test`);
    expect((await watch.next())?.type).toBe("MODIFIED");
    expect((await api.get(`${gadgets}/plain`)).code).toBe(404);
    expect((await api.send("POST", gadgets, gadget("late"))).code).toBe(405);
    await api.send("PATCH", `${gadgets}/held`, { metadata: { finalizers: null } }, MERGE);
    expect((await watch.next())?.type).toBe("DELETED");
    expect((await api.get(gadgets)).code).toBe(404);
    watch.end();
  });

  const refused: [
    name: string,
    change: (definition: ReturnType<typeof definitionOf>) => object,
    message: RegExp,
  ][] = [
    [
      "another name than its resource's",
      (d) => ({ ...d, metadata: { name: "x.weft.test" } }),
      /metadata.name: .*must be spec.names.plural/,
    ],
    [
      "no storage version",
      (d) => ({ ...d, spec: { ...d.spec, versions: [version("v1", false)] } }),
      /exactly one version marked as storage/,
    ],
    [
      "no schema",
      (d) => ({ ...d, spec: { ...d.spec, versions: [version("v1", true, { schema: {} })] } }),
      /openAPIV3Schema: Required value: schemas are required/,
    ],
    [
      "webhooks",
      (d) => ({ ...d, spec: { ...d.spec, conversion: { strategy: "Webhook" } } }),
      /spec.conversion.strategy: Forbidden: conversion by webhooks is not served/,
    ],
    [
      "a bad column",
      (d) => ({
        ...d,
        spec: {
          ...d.spec,
          versions: [
            version("v1", true, {
              additionalPrinterColumns: [{ name: "x", type: "string", jsonPath: "spec" }],
            }),
          ],
        },
      }),
      /additionalPrinterColumns\[0\].jsonPath/,
    ],
    [
      "a scale path outside of spec",
      (d) => ({
        ...d,
        spec: {
          ...d.spec,
          versions: [
            version("v1", true, {
              subresources: { scale: { specReplicasPath: ".status.x", statusReplicasPath: ".status.y" } },
            }),
          ],
        },
      }),
      /specReplicasPath: .*under .spec/,
    ],
    [
      "a group without a dot",
      (d) => ({ metadata: { name: "things.test" }, spec: { ...d.spec, group: "test" } }),
      /spec.group: .*at least one dot/,
    ],
  ];
  for (const [name, change, message] of refused) {
    test(`a definition with ${name} is refused`, async () => {
      const body = change(definitionOf("things", "Thing", [version("v1", true)]));
      const { code, body: answer } = await api.send("POST", definitions, body);
      expect(answer.message as unknown).toMatch(message);
      expect(code).toBe(422);
    });
  }
});

describe("structural schemas", () => {
  const table: [name: string, schema: unknown, problem: RegExp | undefined][] = [
    ["a plain one", { type: "object", properties: { a: { type: "string" } } }, undefined],
    ["no object at the root", { type: "string" }, /must be object at the root/],
    [
      "a property without a type",
      { type: "object", properties: { a: {} } },
      /properties\[a\].type: Required value/,
    ],
    [
      "an array without items",
      { type: "object", properties: { a: { type: "array" } } },
      /items: Required value/,
    ],
    ["an unknown keyword", { type: "object", $ref: "#" }, /\$ref: Forbidden/],
    [
      "a bad pattern",
      { type: "object", properties: { a: { type: "string", pattern: "(" } } },
      /must be a valid regular expression/,
    ],
    [
      "a default that does not fit",
      { type: "object", properties: { a: { type: "string", default: 1 } } },
      /default: Invalid value/,
    ],
    [
      "a default inside of anyOf",
      { type: "object", anyOf: [{ default: {} }] },
      /anyOf\[0\].default: Forbidden/,
    ],
    [
      "list map keys that are no properties",
      {
        type: "object",
        properties: {
          a: {
            type: "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"],
            items: { type: "object" },
          },
        },
      },
      /is not a property of the items/,
    ],
    [
      "a keyword of a wrong type",
      { type: "object", required: "a" },
      /required: Invalid value: "a": must be of type array/,
    ],
    [
      "int-or-string with a type",
      { type: "object", properties: { a: { type: "string", "x-kubernetes-int-or-string": true } } },
      /must be empty if x-kubernetes-int-or-string/,
    ],
    ["nothing at all", null, /must be an object/],
  ];
  for (const [name, schema, problem] of table) {
    test(name, () => {
      const texts = checkStructural(schema, "schema").map(({ field, message }) => `${field}: ${message}`);
      if (problem === undefined) expect(texts).toEqual([]);
      else expect(texts.join("\n")).toMatch(problem);
    });
  }
});

describe("JSON paths", () => {
  const object = {
    metadata: { annotations: { "a.b/c": "yes" } },
    status: {
      conditions: [
        { type: "Ready", status: "True" },
        { type: "Other", status: "False" },
      ],
      list: [{ n: 1 }, { n: 2 }],
    },
  };
  const table: [path: string, values: unknown[] | undefined][] = [
    [".status.list[0].n", [1]],
    [".status.list[*].n", [1, 2]],
    ['.status.conditions[?(@.type=="Ready")].status', ["True"]],
    [".status.conditions[?(@.type!='Ready')].status", ["False"]],
    [".metadata.annotations.a\\.b/c", ["yes"]],
    [".metadata.annotations['a.b/c']", ["yes"]],
    ["{.status.list[1].n}", [2]],
    [".missing.x", []],
    [".status.constructor", []],
    ["status", undefined],
    [".status[", undefined],
    [".status[?(@.x)]", undefined],
  ];
  for (const [path, values] of table) {
    test(path, () => {
      const parsed = parseJsonPath(path);
      expect(parsed === undefined ? undefined : evaluate(object, parsed)).toEqual(values as unknown[]);
    });
  }

  test("any text is a path or none (fuzz, seed 23)", () => {
    const random = seeded(23);
    const pieces = [
      ".",
      "[",
      "]",
      "*",
      "0",
      "?(@",
      "==",
      "'x'",
      ")",
      "a",
      "\\",
      "$",
      "{",
      "}",
      "\u0000",
      "é",
    ];
    let read = 0;
    for (let i = 0; i < 20_000; i++) {
      const text = Array.from({ length: random(8) }, () => pieces[random(pieces.length)]).join("");
      const path = parseJsonPath(text);
      if (path === undefined) continue;
      read++;
      expect(Array.isArray(evaluate(object, path))).toBe(true);
    }
    expect(read).toBeGreaterThan(100);
  });
});
