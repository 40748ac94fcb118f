import { describe, expect, test } from "bun:test";
import {
  fieldOf,
  formatLabelSelector,
  matchesFields,
  matchesRequirements,
  matchesSelector,
  parseFieldSelector,
  parseLabelSelector,
} from "./selectors.ts";
import type { LabelSelector } from "./types.ts";

const labels = { app: "blue", tier: "front", "weft.io/zone": "a", cores: "8", empty: "" };

describe("label selectors in text form", () => {
  const cases: [selector: string, matches: boolean][] = [
    ["", true],
    ["app=blue", true],
    ["app==blue", true],
    ["app = blue", true],
    ["app=red", false],
    ["app!=red", true],
    ["missing!=red", true],
    ["app!=blue", false],
    ["app", true],
    ["missing", false],
    ["!missing", true],
    ["! app", false],
    ["tier in (front, back)", true],
    ["tier in (back)", false],
    ["tier notin (back)", true],
    ["missing notin (back)", true],
    ["tier notin (front,back)", false],
    ["weft.io/zone=a,app in (blue,red),!missing", true],
    ["weft.io/zone=a,app in (red,green)", false],
    ["empty=", true],
    ["missing=", false],
    ["cores>4", true],
    ["cores<4", false],
    ["app>4", false],
    ["toString", false],
  ];
  test.each(cases)("%p matches: %p", (selector, matches) => {
    expect(matchesRequirements(parseLabelSelector(selector), labels)).toBe(matches);
  });

  const refused = [
    "app=blue,",
    "a b",
    "app in blue",
    "in (a)",
    "-a=b",
    "a=b c",
    `a=${"x".repeat(64)}`,
    "a>x",
    "a=(b",
  ];
  test.each(refused)("%p is refused", (selector) => {
    expect(() => parseLabelSelector(selector)).toThrow("labelSelector");
  });
});

describe("label selector objects", () => {
  const cases: [selector: LabelSelector | undefined, matches: boolean, text: string][] = [
    [undefined, false, ""],
    [{}, true, ""],
    [{ matchLabels: { app: "blue" } }, true, "app=blue"],
    [{ matchLabels: { app: "blue", tier: "back" } }, false, "app=blue,tier=back"],
    [
      { matchExpressions: [{ key: "tier", operator: "In", values: ["front", "x"] }] },
      true,
      "tier in (front,x)",
    ],
    [
      { matchExpressions: [{ key: "tier", operator: "NotIn", values: ["front"] }] },
      false,
      "tier notin (front)",
    ],
    [{ matchExpressions: [{ key: "app", operator: "Exists" }] }, true, "app"],
    [{ matchExpressions: [{ key: "app", operator: "DoesNotExist" }] }, false, "!app"],
  ];
  test.each(cases)("%j matches: %j, and is %j in text", (selector, matches, text) => {
    expect(matchesSelector(selector, labels)).toBe(matches);
    if (selector === undefined) return;
    expect(formatLabelSelector(selector)).toBe(text);
    expect(matchesRequirements(parseLabelSelector(text), labels)).toBe(matches);
  });
});

describe("field selectors", () => {
  const pod = { metadata: { name: "blue" }, spec: { nodeName: "node-1", hostNetwork: false }, status: {} };
  const cases: [selector: string, matches: boolean][] = [
    ["", true],
    ["metadata.name=blue", true],
    ["metadata.name=blue,spec.nodeName!=node-2", true],
    ["spec.nodeName=node-2", false],
    ["status.phase=", true],
    ["status.phase!=Running", true],
    ["spec.hostNetwork=false", true],
    ["metadata.name==a\\,b", false],
  ];
  test.each(cases)("%p matches: %p", (selector, matches) => {
    expect(matchesFields(parseFieldSelector(selector), pod)).toBe(matches);
  });

  test("what is no condition is refused, and escapes are taken back", () => {
    for (const text of ["metadata.name", "=x", "a=b=c"])
      expect(() => parseFieldSelector(text)).toThrow("fieldSelector");
    expect(parseFieldSelector("a=b\\,c\\=d\\\\e")).toEqual([{ path: "a", operator: "=", value: "b,c=d\\e" }]);
    expect(fieldOf(pod, "metadata.name.length")).toBe("");
    expect(fieldOf(pod, "constructor.name")).toBe("");
  });
});
