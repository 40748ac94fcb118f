import { expect, test } from "bun:test";
import { closeSync, openSync } from "node:fs";
import { spawnIn } from "./container.ts";

test.each([
  ["exit 3", 3],
  ["kill -KILL $$", 137],
  ["kill -TERM $$", 143],
])("a process that ends by `%s` has exit code %d", async (script, code) => {
  const ended = Promise.withResolvers<number>();
  const output = openSync("/dev/null", "w");
  spawnIn(undefined, ["sh", "-c", script], { env: {}, output, onExit: ended.resolve });
  closeSync(output);
  expect(await ended.promise).toBe(code);
});
