import { describe, expect, test } from "bun:test";
import type { ApiObject } from "../objects.ts";
import { StatusError } from "../status.ts";
import { parseSelectors } from "./selectors.ts";

const object: ApiObject = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: {
    name: "p",
    namespace: "n",
    labels: { app: "blue", tier: "front", "example.com/level": "7", empty: "" },
  },
  spec: { nodeName: "a,b=c\\d" },
};
const fields = { "spec.nodeName": "", "spec.unschedulable": "false" };
const matches = (labels: string, field = "") =>
  parseSelectors(labels, field, fields)?.matches(object) ?? true;

describe("label selectors", () => {
  const table: [selector: string, matches: boolean][] = [
    ["", true],
    ["app=blue", true],
    ["app==blue", true],
    ["app = blue , tier=front", true],
    ["app!=blue", false],
    ["missing!=x", true],
    ["app in (red, blue)", true],
    ["missing notin (red)", true],
    ["app in (red)", false],
    ["empty=", true],
    ["app", true],
    ["!app", false],
    ["constructor", false],
    ["example.com/level>6", true],
    ["example.com/level<7", false],
  ];
  for (const [selector, expected] of table) {
    test(`"${selector}"`, () => expect(matches(selector)).toBe(expected));
  }
  for (const selector of [",", "a b", "a in x", "a in (x", "=", "a in", "!", "-a=b", "a>x", "a=b,"]) {
    test(`"${selector}" is refused`, () => expect(() => matches(selector)).toThrow(StatusError));
  }
});

describe("field selectors", () => {
  const table: [selector: string, matches: boolean][] = [
    ["metadata.name=p", true],
    ["metadata.name==p,metadata.namespace!=m", true],
    ["metadata.name!=p", false],
    ["spec.nodeName=a\\,b\\=c\\\\d", true],
    ["spec.nodeName=", false],
    ["spec.unschedulable=false", true],
    ["spec.unschedulable=true", false],
  ];
  for (const [selector, expected] of table) {
    test(`"${selector}"`, () => expect(matches("", selector)).toBe(expected));
  }

  test("a field that the resource does not offer is refused by name", () => {
    expect(() => matches("", "spec.x=1")).toThrow("field label not supported: spec.x");
    expect(() => matches("", "toString=1")).toThrow("field label not supported: toString");
  });

  test("tells the name that is demanded", () => {
    expect(parseSelectors("", "metadata.name=p", {})?.name).toBe("p");
    expect(parseSelectors("", "metadata.name!=p", {})?.name).toBeUndefined();
  });
});
