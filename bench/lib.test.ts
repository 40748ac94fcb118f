import { describe, expect, test } from "bun:test";
import { pairedRatio, quantile, timePairs, timeProgram } from "./lib.ts";
import { markdownTable, shown, summarize, terminalTable, withSection } from "./report.ts";

describe("quantile", () => {
  test.each([
    ["three", 0.5, 2, [3, 1, 2]],
    ["four", 0.5, 2, [4, 1, 3, 2]],
    ["one", 0.99, 1, [1]],
    ["a hundred", 0.99, 99, Array.from({ length: 100 }, (_, index) => index + 1)],
    ["a hundred", 1, 100, Array.from({ length: 100 }, (_, index) => index + 1)],
  ])("of %s numbers at %p is %p", (_, q, expected, numbers) => {
    expect(quantile(numbers, q)).toBe(expected);
  });
});

test("a paired ratio is the median of the ratios, not the ratio of the medians", () => {
  expect(pairedRatio({ weft: [1, 10, 100], peer: [2, 10, 50] })).toBe(1);
});

test("pairs are taken in turn, each first every other time, warm-up left out", async () => {
  const order: string[] = [];
  const count = { weft: 0, peer: 0 };
  const work = (name: "weft" | "peer") => () => {
    order.push(name);
    return ++count[name];
  };
  const times = await timePairs(work("weft"), work("peer"), { pairs: 3, warmUp: 1 });
  expect(order).toEqual(["peer", "weft", "weft", "peer", "peer", "weft", "weft", "peer"]);
  expect(times).toEqual({ weft: [2, 3, 4], peer: [2, 3, 4] });
});

test("work that tells no time is timed", async () => {
  const { weft } = await timePairs(
    () => undefined,
    () => undefined,
    { pairs: 1, warmUp: 0 },
  );
  expect(weft[0]).toBeGreaterThan(0);
});

test("a program that fails gives no number", () => {
  expect(() => timeProgram({ command: ["sh", "-c", "echo sorry >&2; exit 3"] })).toThrow("status 3:\nsorry");
  expect(timeProgram({ command: ["cat"], stdin: "hello" })).toBeGreaterThan(0);
});

describe("a report", () => {
  const row = { name: "add", unit: "ms", weft: [1, 2, 3], peer: [4, 4, 4], peerName: "reference", goal: 0.5 };

  test("summarizes a row and says whether the goal is met", () => {
    expect(summarize(row)).toMatchObject({
      pairs: 3,
      weft: { p50: 2, p99: 3 },
      ratio: 0.5,
      goal: 0.5,
      met: true,
    });
    expect(summarize({ ...row, goal: 0.4 }).met).toBe(false);
    expect(() => summarize({ ...row, peer: [4] })).toThrow("3 numbers of Weft and 1 of the peer");
  });

  test.each([
    [0.0123, "0.0123"],
    [0.5, "0.500"],
    [12.345, "12.3"],
    [1234.5, "1235"],
    [0, "0"],
  ])("shows %p as %s", (value, text) => {
    expect(shown(value)).toBe(text);
  });

  test("is a table, on a terminal and on a page", () => {
    expect(terminalTable([summarize(row)])).toBe(
      [
        "what  unit  Weft p50   p99  against     p50   p99  ratio   goal",
        "add   ms        2.00  3.00  reference  4.00  4.00  0.500  0.500  met",
      ].join("\n"),
    );
    expect(markdownTable([summarize(row)]).split("\n")).toHaveLength(3);
  });

  test("replaces its own section of a page and no other", () => {
    const page = withSection(withSection("# Page\n", "a", "first"), "b", "second");
    expect(withSection(page, "a", "third")).toBe(page.replace("first", "third"));
    expect(withSection(page, "a", "third")).toContain("second");
  });
});
