import { describe, expect, test } from "bun:test";
import type { ApiObject, Dict } from "../objects.ts";
import { builtinSchema } from "../schema/builtin.ts";
import { StatusError } from "../status.ts";
import { seeded } from "../testing.ts";
import { applyJsonPatch } from "./json.ts";
import { applyMergePatch } from "./merge.ts";
import { applyConfiguration, noteUpdate } from "./ownership.ts";
import { applyStrategicMerge } from "./strategic.ts";

describe("JSON patch (RFC 6902, appendix A)", () => {
  const table: [name: string, document: unknown, patch: unknown, result: unknown][] = [
    [
      "A.1 add a member",
      { foo: "bar" },
      [{ op: "add", path: "/baz", value: "qux" }],
      { baz: "qux", foo: "bar" },
    ],
    [
      "A.2 add an element",
      { foo: ["bar", "baz"] },
      [{ op: "add", path: "/foo/1", value: "qux" }],
      { foo: ["bar", "qux", "baz"] },
    ],
    ["A.3 remove a member", { baz: "qux", foo: "bar" }, [{ op: "remove", path: "/baz" }], { foo: "bar" }],
    [
      "A.4 remove an element",
      { foo: ["bar", "qux", "baz"] },
      [{ op: "remove", path: "/foo/1" }],
      { foo: ["bar", "baz"] },
    ],
    ["A.5 replace", { baz: "qux" }, [{ op: "replace", path: "/baz", value: "boo" }], { baz: "boo" }],
    [
      "A.6 move a value",
      { foo: { bar: 1, waldo: 2 }, qux: {} },
      [{ op: "move", from: "/foo/waldo", path: "/qux/thud" }],
      { foo: { bar: 1 }, qux: { thud: 2 } },
    ],
    [
      "A.7 move an element",
      { foo: ["all", "grass", "cows", "eat"] },
      [{ op: "move", from: "/foo/1", path: "/foo/3" }],
      { foo: ["all", "cows", "eat", "grass"] },
    ],
    [
      "A.8 test",
      { baz: "qux", foo: ["a", 2] },
      [{ op: "test", path: "/foo/1", value: 2 }],
      { baz: "qux", foo: ["a", 2] },
    ],
    ["A.14 escapes", { "/": 9, "~1": 10 }, [{ op: "test", path: "/~01", value: 10 }], { "/": 9, "~1": 10 }],
    [
      "A.16 add to the end",
      { foo: ["bar"] },
      [{ op: "add", path: "/foo/-", value: ["abc"] }],
      { foo: ["bar", ["abc"]] },
    ],
    ["copy", { a: [1] }, [{ op: "copy", from: "/a", path: "/b" }], { a: [1], b: [1] }],
  ];
  for (const [name, document, patch, result] of table) {
    test(name, () => {
      const before = structuredClone(document);
      expect(applyJsonPatch(document, patch)).toEqual(result);
      expect(document).toEqual(before);
    });
  }
  const refused: [string, unknown, unknown][] = [
    ["A.9 a failing test", { baz: "qux" }, [{ op: "test", path: "/baz", value: "bar" }]],
    ["A.12 add to a missing parent", { foo: "bar" }, [{ op: "add", path: "/baz/bat", value: "qux" }]],
    ["remove what is not there", {}, [{ op: "remove", path: "/a" }]],
    ["an index past the end", { a: [1] }, [{ op: "add", path: "/a/2", value: 1 }]],
    ["a leading zero", { a: [1, 2] }, [{ op: "remove", path: "/a/01" }]],
    ["an unknown operation", {}, [{ op: "merge", path: "/a" }]],
    ["no list", {}, { op: "add" }],
    ["a value into itself", { a: {} }, [{ op: "move", from: "/a", path: "/a/b" }]],
  ];
  for (const [name, document, patch] of refused) {
    test(`${name} is refused`, () => expect(() => applyJsonPatch(document, patch)).toThrow(StatusError));
  }
});

describe("JSON merge patch (RFC 7386, appendix A)", () => {
  const table: [document: unknown, patch: unknown, result: unknown][] = [
    [{ a: "b" }, { a: "c" }, { a: "c" }],
    [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
    [{ a: "b" }, { a: null }, {}],
    [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }],
    [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [
      ["a", "b"],
      ["c", "d"],
      ["c", "d"],
    ],
    [{ a: "foo" }, null, null],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: "b", c: null }, { a: "b" }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ];
  for (const [document, patch, result] of table) {
    test(`${JSON.stringify(document)} + ${JSON.stringify(patch)}`, () => {
      expect(applyMergePatch(document, patch)).toEqual(result);
    });
  }
});

const podSchema = builtinSchema("io.k8s.api.core.v1.Pod");
const containers = (...names: string[]) => names.map((name) => ({ name, image: `${name}:1` }));

describe("strategic merge patch", () => {
  const merge = (spec: Dict, patch: Dict) =>
    (applyStrategicMerge({ spec }, { spec: patch }, podSchema) as { spec: Dict }).spec;

  test("merges lists by their key, and replaces those without", () => {
    const spec = { containers: containers("a", "b"), tolerations: [{ key: "x" }] };
    const patched = merge(spec, {
      containers: [{ name: "b", image: "b:2" }, { name: "c" }],
      tolerations: [{ key: "y" }],
    });
    expect(patched).toEqual({
      containers: [{ name: "a", image: "a:1" }, { name: "b", image: "b:2" }, { name: "c" }],
      tolerations: [{ key: "y" }],
    });
  });

  test("$patch: delete and replace, of items and of objects", () => {
    const spec = { containers: containers("a", "b"), securityContext: { runAsUser: 1 } };
    expect(merge(spec, { containers: [{ name: "a", $patch: "delete" }] }).containers).toEqual(
      containers("b"),
    );
    expect(merge(spec, { containers: [{ $patch: "replace" }, { name: "z" }] }).containers).toEqual([
      { name: "z" },
    ]);
    expect(merge(spec, { securityContext: { $patch: "replace", fsGroup: 2 } }).securityContext).toEqual({
      fsGroup: 2,
    });
    expect(merge(spec, { securityContext: { $patch: "delete" } }).securityContext).toEqual({});
  });

  test("$setElementOrder puts the patch's items in order, and the server's between them", () => {
    const spec = { containers: containers("a", "server", "b") };
    const patched = merge(spec, {
      "$setElementOrder/containers": [{ name: "b" }, { name: "a" }, { name: "n" }],
      containers: [{ name: "n", image: "n:1" }],
    });
    expect((patched.containers as { name: string }[]).map(({ name }) => name)).toEqual([
      "server",
      "b",
      "a",
      "n",
    ]);
  });

  test("$retainKeys drops the other branch of a union", () => {
    const deployment = builtinSchema("io.k8s.api.apps.v1.Deployment");
    const before = { spec: { strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1 } } } };
    const patch = { spec: { strategy: { $retainKeys: ["type"], type: "Recreate" } } };
    expect(applyStrategicMerge(before, patch, deployment)).toEqual({
      spec: { strategy: { type: "Recreate" } },
    });
  });

  test("lists of values: $deleteFromPrimitiveList, and merging without doubles", () => {
    const before = { metadata: { finalizers: ["a", "b"] } };
    const patch = { metadata: { "$deleteFromPrimitiveList/finalizers": ["a"], finalizers: ["b", "c"] } };
    expect(applyStrategicMerge(before, patch, podSchema)).toEqual({ metadata: { finalizers: ["b", "c"] } });
  });

  test("nulls delete, also inside of what is new", () => {
    expect(
      merge({ nodeName: "n" }, { nodeName: null, securityContext: { runAsUser: null, fsGroup: 1 } }),
    ).toEqual({
      securityContext: { fsGroup: 1 },
    });
  });

  test("an item without its key is refused", () => {
    expect(() => merge({}, { containers: [{ image: "x" }] })).toThrow(
      "does not contain declared merge key: name",
    );
    expect(() => merge({}, { $patch: "explode" })).toThrow("unknown patch directive");
  });

  test("any patch ends in an object or a Status, and changes nothing that it was given (fuzz, seed 11)", () => {
    const random = seeded(11);
    const keys = [
      "spec",
      "containers",
      "name",
      "$patch",
      "$retainKeys",
      "$setElementOrder/containers",
      "finalizers",
      "$deleteFromPrimitiveList/finalizers",
      "env",
      "__proto__",
      "metadata",
    ];
    const make = (depth: number): unknown => {
      const kind = random(depth > 5 ? 3 : 6);
      if (kind === 0) return null;
      if (kind === 1) return ["replace", "delete", "merge", "a", "b"][random(5)];
      if (kind === 2) return random(3);
      if (kind === 3) return Array.from({ length: random(4) }, () => make(depth + 1));
      return Object.fromEntries(
        Array.from({ length: random(5) }, () => [keys[random(keys.length)], make(depth + 1)]),
      );
    };
    for (let i = 0; i < 5000; i++) {
      const [document, patch] = [make(0), make(0)];
      const before = JSON.stringify([document, patch]);
      for (const apply of [applyStrategicMerge, applyMergePatch, applyJsonPatch] as const) {
        try {
          apply(document, patch, podSchema);
        } catch (error) {
          if (!(error instanceof StatusError)) throw error;
        }
      }
      expect(JSON.stringify([document, patch])).toBe(before);
    }
  });
});

describe("server-side apply", () => {
  const schema = builtinSchema("io.k8s.api.apps.v1.Deployment");
  const request = { manager: "one", force: false, apiVersion: "apps/v1", now: "2026-01-01T00:00:00Z" };
  const live = (spec: Dict, more: Dict = {}): ApiObject =>
    ({ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "d", ...more }, spec }) as ApiObject;
  const template = (image: string, env?: string[]) => ({
    spec: {
      containers: [
        {
          name: "a",
          image,
          ...(env === undefined ? {} : { env: env.map((name) => ({ name, value: "1" })) }),
        },
      ],
    },
  });

  test("takes away what the manager applied before and now leaves out, and only that", () => {
    const first = applyConfiguration(
      live({}),
      live({ replicas: 2, template: template("x", ["A", "B"]) }),
      schema,
      request,
    );
    first.metadata.uid = "u";
    (first.spec as Dict).paused = true;
    const second = applyConfiguration(first, live({ template: template("y", ["B"]) }), schema, request);
    expect(second.spec).toEqual({ paused: true, template: template("y", ["B"]) });
  });

  test("another manager's field is a conflict, unless the value is the same or force is given", () => {
    const first = applyConfiguration(live({}), live({ replicas: 2 }), schema, request);
    first.metadata.uid = "u";
    const other = { ...request, manager: "two" };
    expect(() => applyConfiguration(first, live({ replicas: 3 }), schema, other)).toThrow(
      'conflict with "one" using apps/v1: .spec.replicas',
    );
    const shared = applyConfiguration(first, live({ replicas: 2 }), schema, other);
    expect(shared.metadata.managedFields).toHaveLength(2);
    const forced = applyConfiguration(first, live({ replicas: 3 }), schema, { ...other, force: true });
    expect(forced.spec).toEqual({ replicas: 3 });
    expect(forced.metadata.managedFields).toHaveLength(1);
    const left = applyConfiguration(shared, live({}), schema, other);
    expect(left.spec).toEqual({ replicas: 2 });
  });

  test("an update takes over what it changes", () => {
    const first = applyConfiguration(live({}), live({ replicas: 2, paused: false }), schema, request);
    first.metadata.uid = "u";
    const next = structuredClone(first);
    next.spec = { replicas: 5, paused: false };
    noteUpdate(first, next, schema, { manager: "scaler", now: request.now });
    expect(() => applyConfiguration(next, live({ replicas: 2, paused: false }), schema, request)).toThrow(
      'conflict with "scaler" using apps/v1: .spec.replicas',
    );
    expect(applyConfiguration(next, live({ paused: true }), schema, request).spec).toEqual({
      replicas: 5,
      paused: true,
    });
  });

  test("what was there before anybody applied belongs to nobody who applies", () => {
    const untracked = live({ replicas: 2, template: template("x") }, { uid: "u" });
    expect(() => applyConfiguration(untracked, live({ replicas: 3 }), schema, request)).toThrow(
      'conflict with "before-first-apply"',
    );
  });

  test("objects that nobody applies carry no managedFields", () => {
    const [old, next] = [live({ replicas: 1 }), live({ replicas: 2 })];
    noteUpdate(old, next, schema, { manager: "m", now: request.now });
    expect(next.metadata.managedFields).toBeUndefined();
  });

  test("applying twice is applying once; fields of others stay (random runs, seed 13)", () => {
    const random = seeded(13);
    const config = () => {
      const names = ["a", "b", "c"].filter(() => random(2) === 0);
      const labels = Object.fromEntries(
        ["x", "y"].filter(() => random(2) === 0).map((key) => [key, String(random(2))]),
      );
      return {
        ...(random(2) === 0 ? { replicas: random(3) } : {}),
        template: {
          metadata: { labels },
          spec: { containers: names.map((name) => ({ name, image: `i${random(2)}` })) },
        },
      };
    };
    for (let run = 0; run < 300; run++) {
      let current = live({});
      for (let step = 0; step < 6; step++) {
        const manager = `m${random(2)}`;
        const wanted = live(config());
        const force = { ...request, manager, force: true };
        const next = applyConfiguration(current, wanted, schema, force);
        next.metadata.uid = "u";
        expect(applyConfiguration(next, wanted, schema, force)).toEqual(next);
        const spec = wanted.spec as { replicas?: number };
        if (spec.replicas !== undefined) expect((next.spec as Dict).replicas).toBe(spec.replicas);
        current = next;
      }
    }
  });
});
