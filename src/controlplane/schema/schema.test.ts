import { describe, expect, test } from "bun:test";
import { cloneJson } from "../objects.ts";
import { seeded } from "../testing.ts";
import { builtinSchema } from "./builtin.ts";
import { applyDefaults } from "./defaults.ts";
import { parseTables } from "./notation.ts";
import { prune } from "./prune.ts";
import type { Schema } from "./schema.ts";
import { validateSchema } from "./validate.ts";

const table = parseTables([
  {
    prefix: "test",
    text: `
Thing
  name#1: string! check=dns-label
  count#2: int? =3 1..5
  kind#3: string in(A,B)
  parts#4: [Part] key=name
  labels#5: {string} atomic
  ...More#6
More
  extra#1: Part ={}
Part
  name#1: string!
  port#2: intstr check=port
  size#3: quantity
`,
  },
]);
const thing = table.get("test.Thing") as Schema;

describe("the notation", () => {
  test("describes fields, lists, maps, defaults and merge keys", () => {
    expect(thing.required).toEqual(["name"]);
    expect(thing.properties?.count).toMatchObject({
      type: "integer",
      format: "int32",
      default: 3,
      minimum: 1,
      maximum: 5,
    });
    expect(thing.properties?.parts).toMatchObject({
      type: "array",
      "x-kubernetes-patch-merge-key": "name",
      "x-kubernetes-list-map-keys": ["name"],
    });
    expect(thing.properties?.labels?.["x-kubernetes-map-type"]).toBe("atomic");
    expect(thing.properties?.extra?.default).toEqual({});
  });

  test("gives protobuf numbers, and tells which zeros count", () => {
    expect(thing.wire?.get(1)).toEqual({ name: "name", optional: false });
    expect(thing.wire?.get(2)).toEqual({ name: "count", optional: true });
    expect(thing.wire?.get(6)).toEqual({ inline: table.get("test.More") as Schema });
  });

  test("all built-in types resolve, and no number stands twice", () => {
    const pod = builtinSchema("io.k8s.api.core.v1.Pod");
    expect(pod.properties?.spec?.properties?.containers?.items?.properties?.env).toMatchObject({
      "x-kubernetes-patch-merge-key": "name",
    });
    expect(() => parseTables([{ prefix: "x", text: "A\n  b#1: Missing" }])).toThrow('unknown type "Missing"');
    expect(() => parseTables([{ prefix: "x", text: "A\n  b#1 string" }])).toThrow("cannot read");
  });
});

describe("prune, defaults, validate", () => {
  const settle = (value: unknown) => {
    const copy = cloneJson(value);
    const unknown: string[] = [];
    prune(copy, thing, { dropNulls: true, unknown });
    applyDefaults(copy, thing);
    const errors = validateSchema(copy, thing).map(({ field, message }) => `${field}: ${message}`);
    return { copy, unknown, errors };
  };

  test("unknown fields and nulls go, defaults come", () => {
    const { copy, unknown, errors } = settle({
      name: "a",
      foo: 1,
      kind: null,
      parts: [{ name: "p", bar: {} }],
    });
    expect(copy).toEqual({ name: "a", count: 3, extra: {}, parts: [{ name: "p" }] });
    expect(unknown).toEqual(["foo", "parts[0].bar"]);
    expect(errors).toEqual(["extra.name: Required value"]);
  });

  const wrong: [value: unknown, error: RegExp][] = [
    [{ extra: { name: "e" } }, /^name: Required value$/],
    [{ name: 5, extra: { name: "e" } }, /^name: Invalid value: 5: must be a string$/],
    [{ name: "A", extra: { name: "e" } }, /^name: Invalid value: "A": a lowercase RFC 1123 label/],
    [
      { name: "a", count: 6, extra: { name: "e" } },
      /^count: Invalid value: 6: must be between 1 and 5, inclusive$/,
    ],
    [{ name: "a", count: 1.5, extra: { name: "e" } }, /^count: Invalid value: 1.5: must be an integer$/],
    [
      { name: "a", kind: "C", extra: { name: "e" } },
      /^kind: Unsupported value: "C": supported values: "A", "B"$/,
    ],
    [
      { name: "a", extra: { name: "e", port: 70000 } },
      /^extra.port: Invalid value: 70000: must be between 1 and 65535/,
    ],
    [
      { name: "a", extra: { name: "e", port: "Http" } },
      /^extra.port: Invalid value: "Http": must contain only/,
    ],
    [
      { name: "a", extra: { name: "e", size: "1Xi" } },
      /^extra.size: Invalid value: "1Xi": quantities must match/,
    ],
    [
      { name: "a", parts: [{ name: "p" }, { name: "p" }], extra: { name: "e" } },
      /^parts\[1\]: Duplicate value/,
    ],
    [
      { name: "a", labels: { x: 1 }, extra: { name: "e" } },
      /^labels\[x\]: Invalid value: 1: must be a string$/,
    ],
    [{ name: "a", parts: {}, extra: { name: "e" } }, /^parts: Invalid value: \{\}: must be an array$/],
  ];
  for (const [value, error] of wrong) {
    test(`${JSON.stringify(value)} is refused by field`, () => {
      const { errors } = settle(value);
      expect(errors).toHaveLength(1);
      expect(errors[0]).toMatch(error);
    });
  }

  const custom: [name: string, schema: Schema, good: unknown[], bad: unknown[]][] = [
    ["formats", { type: "string", format: "ipv6" }, ["::1"], ["1.2.3.4", ""]],
    [
      "dates",
      { type: "string", format: "date-time" },
      ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.123+01:00"],
      ["2026-13-01T00:00:00Z"],
    ],
    ["patterns", { type: "string", pattern: "^[a-z]+$" }, ["abc"], ["a1"]],
    ["lengths", { type: "string", minLength: 2, maxLength: 3 }, ["ab", "😀😀"], ["a", "abcd"]],
    ["exclusive bounds", { type: "number", minimum: 1, exclusiveMinimum: true }, [1.1], [1]],
    ["multiples", { type: "number", multipleOf: 0.1 }, [0.3], [0.35]],
    ["nullable", { type: "string", nullable: true }, [null, "x"], [1]],
    ["int or string", { "x-kubernetes-int-or-string": true }, [1, "25%"], [1.5, true]],
    ["anyOf", { type: "object", anyOf: [{ required: ["a"] }, { required: ["b"] }] }, [{ a: 1 }], [{}]],
    [
      "oneOf",
      { type: "object", oneOf: [{ required: ["a"] }, { required: ["b"] }] },
      [{ a: 1 }],
      [{ a: 1, b: 1 }, {}],
    ],
    ["not", { type: "object", not: { required: ["a"] } }, [{}], [{ a: 1 }]],
    [
      "sets",
      { type: "array", items: { type: "string" }, "x-kubernetes-list-type": "set" },
      [["a", "b"]],
      [["a", "a"]],
    ],
    [
      "counts",
      { type: "array", items: { type: "string" }, minItems: 1, maxItems: 2 },
      [["a"]],
      [[], ["a", "b", "c"]],
    ],
    [
      "maps",
      { type: "object", additionalProperties: { type: "integer" }, maxProperties: 1 },
      [{ a: 1 }],
      [{ a: "1" }, { a: 1, b: 2 }],
    ],
  ];
  for (const [name, schema, good, bad] of custom) {
    test(`custom resources: ${name}`, () => {
      for (const value of good) expect(validateSchema(value, schema)).toEqual([]);
      for (const value of bad) expect(validateSchema(value, schema).length).toBeGreaterThan(0);
    });
  }

  test("any JSON ends in errors or none, and pruning is stable (fuzz, seed 5)", () => {
    const random = seeded(5);
    const keys = [
      "name",
      "count",
      "kind",
      "parts",
      "labels",
      "extra",
      "port",
      "size",
      "__proto__",
      "constructor",
      "x",
    ];
    const make = (depth: number): unknown => {
      const kind = random(depth > 4 ? 5 : 7);
      if (kind === 0) return null;
      if (kind === 1) return random(100) - 50;
      if (kind === 2) return ["a", "", "A_", "10", "25%", "\u0000", "😀"][random(7)];
      if (kind === 3) return random(2) === 0;
      if (kind === 4) return random(1000) / 7;
      if (kind === 5) return Array.from({ length: random(4) }, () => make(depth + 1));
      return JSON.parse(
        `{${Array.from({ length: random(5) }, () => `${JSON.stringify(keys[random(keys.length)])}:${JSON.stringify(make(depth + 1))}`).join(",")}}`,
      );
    };
    for (let i = 0; i < 5000; i++) {
      const { copy } = settle(make(0));
      const again = cloneJson(copy);
      const unknown: string[] = [];
      prune(again, thing, { dropNulls: true, unknown });
      expect(unknown).toEqual([]);
      expect(again).toEqual(copy);
    }
  });
});
