import { expect, test } from "bun:test";
import { counted } from "./count.ts";

test.each([
  [0, "0 nodes"],
  [1, "1 node"],
  [2, "2 nodes"],
])("%i", (count, text) => {
  expect(counted(count, "node")).toBe(text);
});

test("a plural of its own", () => {
  expect(counted(2, "pod is", "pods are")).toBe("2 pods are");
});
