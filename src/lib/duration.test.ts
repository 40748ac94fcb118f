import { describe, expect, test } from "bun:test";
import { parseDuration } from "./duration.ts";
import { InvalidInput } from "./errors.ts";

describe("parseDuration", () => {
  const good: [string, number][] = [
    ["0", 0],
    ["10s", 10_000],
    ["1m2s", 62_000],
    ["3m28s", 208_000],
    ["500ms", 500],
    ["1.5h", 5_400_000],
    ["1h0m0.25s", 3_600_250],
  ];
  test.each(good)("reads %p", (text, milliseconds) => {
    expect(parseDuration(text)).toBe(milliseconds);
  });

  const bad = ["", "10", "s", "10 s", "-1s", "1s2", "1d", "1.s", "1e3s", "1ss"];
  test.each(bad)("refuses %p", (text) => {
    expect(() => parseDuration(text, "--timeout")).toThrow(InvalidInput);
  });
});
