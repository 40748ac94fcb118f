import { expect, test } from "bun:test";
import { formatMac, parseMac, randomMac } from "./mac.ts";

test("parseMac reads both notations and refuses the rest", () => {
  expect(formatMac(parseMac("0A:58:0a:f4:01:07"))).toBe("0a:58:0a:f4:01:07");
  expect(formatMac(parseMac("0a-58-0a-f4-01-07"))).toBe("0a:58:0a:f4:01:07");
  for (const text of ["", "0a:58:0a:f4:01", "0a:58:0a:f4:01:07:08", "0a580af40107", "0g:58:0a:f4:01:07"]) {
    expect(() => parseMac(text, "mac")).toThrow("is not a MAC address");
  }
});

test("randomMac is unicast, locally administered, and another one each time", () => {
  const seen = new Set(Array.from({ length: 100 }, randomMac));
  expect(seen.size).toBe(100);
  for (const mac of seen) expect((parseMac(mac)[0] as number) & 3).toBe(2);
});
