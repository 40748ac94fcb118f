import { describe, expect, test } from "bun:test";
import { Ip } from "./ip.ts";
import { Prefix } from "./prefix.ts";

/** A generator of numbers below `limit` that is the same at each run (mulberry32). */
function seeded(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  };
}

describe("prefix", () => {
  test.each([
    ["10.0.0.1/24", "10.0.0.0/24"],
    ["10.0.0.1/0", "0.0.0.0/0"],
    ["255.255.255.255/31", "255.255.255.254/31"],
    ["10.1.2.3/32", "10.1.2.3/32"],
    ["fd00:10:244:1ff::1/56", "fd00:10:244:100::/56"],
    ["fd00::1/128", "fd00::1/128"],
    ["::1/0", "::/0"],
  ])("%s lies in %s", (text, masked) => {
    const prefix = Prefix.parse(text);
    expect(String(prefix)).toBe(text);
    expect(String(prefix.masked())).toBe(masked);
    expect(prefix.isMasked()).toBe(text === masked);
    expect(prefix.masked().contains(prefix)).toBe(true);
  });

  test.each([
    "10.0.0.0",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/08",
    "10.0.0.0/+8",
    "10.0.0.0/8 ",
    "/8",
    "fd00::/129",
    "fd00::/1e1",
    "10.0.0/8",
    "10.0.0.00/8",
    "1.2.3.4.5/8",
    "1..2.3/8",
    "256.0.0.0/8",
    "",
  ])("%p is refused", (text) => {
    expect(() => Prefix.parse(text)).toThrow();
  });

  test("what it contains is what lies between its first and its last address", () => {
    const random = seeded(1);
    for (let i = 0; i < 2000; i++) {
      const family = random(2) === 0 ? 4 : 6;
      const bits = family === 4 ? 32 : 128;
      const prefix = new Prefix(
        Ip.fromBytes(Uint8Array.from({ length: bits / 8 }, () => random(256))),
        random(bits + 1),
      );
      // Differs in one bit, near the prefix's end as often as not.
      const flip = Math.min(bits - 1, Math.max(0, prefix.length + random(5) - 2));
      const bytes = prefix.ip.bytes.slice();
      bytes[flip >> 3] = (bytes[flip >> 3] as number) ^ (0x80 >> (flip & 7));
      const other = Ip.fromBytes(bytes);
      const value = other.toBigInt();
      expect(prefix.contains(other)).toBe(value >= prefix.first && value <= prefix.last);
      expect(prefix.masked().ip.toBigInt()).toBe(prefix.first);
      expect(prefix.isMasked()).toBe(prefix.ip.toBigInt() === prefix.first);
    }
  });

  test("families never contain each other", () => {
    expect(Prefix.parse("0.0.0.0/0").contains(Ip.parse("::1"))).toBe(false);
    expect(Prefix.parse("::/0").overlaps(Prefix.parse("0.0.0.0/0"))).toBe(false);
  });
});
