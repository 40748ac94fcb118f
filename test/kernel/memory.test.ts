import { expect, test } from "bun:test";
import { releaseCode } from "../../src/linux/memory.ts";

test("code that is let go comes back when it is needed", () => {
  const first = releaseCode();
  expect(first).toBeGreaterThan(4 * 1024 * 1024);
  const second = releaseCode();
  expect(second).toBeLessThan(first);
  // The whole of the runtime still works.
  const text = JSON.stringify({ sum: Array.from({ length: 1000 }, (_, i) => i).reduce((a, b) => a + b) });
  expect(JSON.parse(text)).toEqual({ sum: 499_500 });
  expect(Bun.spawnSync(["true"]).success).toBe(true);
});
