import { describe, expect, test } from "bun:test";
import { Ip } from "../lib/ip.ts";
import { Prefix } from "../lib/prefix.ts";
import { Claims } from "./claims.ts";

/** Numbers from 0 to 1 that are the same in each run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

describe("Claims", () => {
  test("finds what looking at each one finds", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = seeded(seed);
      const pick = (count: number) => Math.floor(random() * count);
      const claims = new Claims();
      const all: Prefix[] = [];
      for (let i = 0; i < 200; i++) {
        const [text, offset, lengths] =
          pick(2) === 0
            ? ["10.0.0.0", pick(2 ** 20), [20, 24, 26, 28, 32]]
            : ["fd00::", pick(2 ** 20), [108, 116, 120, 128]];
        const length = lengths[pick(lengths.length)] as number;
        const prefix = new Prefix(Ip.parse(text).add(offset), length).masked();
        const naive = all.some((other) => other.overlaps(prefix));
        const found = claims.overlapping(prefix);
        expect(found !== undefined).toBe(naive);
        if (found !== undefined) expect(found.prefix.overlaps(prefix)).toBe(true);
        else {
          claims.add({ prefix, node: `n${i}` });
          all.push(prefix);
        }
      }
      expect(all.length).toBeGreaterThan(10);
    }
  });
});
