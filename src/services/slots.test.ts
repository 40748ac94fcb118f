import { expect, test } from "bun:test";
import { assignSlots } from "./slots.ts";

test.each([
  ["nothing before", "", "a b c", "a b c"],
  ["nothing new", "c a b", "a b c", "c a b"],
  ["one more", "c a b", "a b c d", "c a b d"],
  ["the first went: the last takes its place", "a b c", "b c", "c b"],
  ["the last went", "a b c", "a b", "a b"],
  ["one replaced", "a b c", "a c d", "a d c"],
  ["all replaced", "a b", "c d e", "c d e"],
  ["all went", "a b", "", ""],
  ["a place holds an endpoint twice", "a a b", "a b", "a b"],
  ["holes", ["a", undefined, "c"] as unknown as string, "a c", "a c"],
])("slots: %s", (_, before, wanted, after) => {
  const words = (text: string | string[]) => (Array.isArray(text) ? text : text.split(" ").filter(Boolean));
  expect(assignSlots(words(before), words(wanted)).join(" ")).toBe(after);
});
