import { expect, test } from "bun:test";
import { explain, InvalidInput } from "./errors.ts";
import { printable } from "./printable.ts";

test.each([
  ["plain text", "plain text"],
  ["grüß dich \u{1f600}", "grüß dich \u{1f600}"],
  ["a\nb\tc\r\0", "a\\nb\\tc\\r\\u0000"],
  ["\u001b[31mred\u007f\u009b", "\\u001b[31mred\\u007f\\u009b"],
  ["\u202egnp.exe\u2069\u2028", "\\u202egnp.exe\\u2069\\u2028"],
  ["\ud800x", "\\ud800x"],
])("%j is shown as %j", (text, expected) => expect(printable(text)).toBe(expected));

test("what is too long is cut", () => {
  expect(printable("x".repeat(50), 10)).toBe(`${"x".repeat(10)}...`);
  expect(printable("\u001b".repeat(10 ** 6)).length).toBeLessThan(12_000);
});

test("explanations keep their lines and show no control characters", () => {
  expect(explain(new InvalidInput("a\u001bb", undefined, "is\nodd", { remedy: "Leave\u0007 it" }))).toBe(
    "a\\u001bb: is\nodd. Leave\\u0007 it",
  );
  expect(explain("\u001b")).toBe("\\u001b");
});
