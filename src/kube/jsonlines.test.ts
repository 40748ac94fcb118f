import { expect, test } from "bun:test";
import { seededRandom } from "../lib/random.ts";
import { isMalformed } from "./errors.ts";
import { JsonLines } from "./jsonlines.ts";

const utf8 = new TextEncoder();

function parseAll(chunks: Uint8Array[], longest?: number): unknown[] {
  const lines = new JsonLines("watch pods", longest);
  return [...chunks.flatMap((chunk) => [...lines.push(chunk)]), ...lines.end()];
}

function cut(bytes: Uint8Array, random: () => number): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Math.floor(random() * 7);
    chunks.push(bytes.subarray(at, at + length));
    at += length;
  }
  return chunks;
}

const alphabet = ["a", '"', "\\", "\n", "é", "水", "🐙", " ", "{", "\u2028", "\u0000", "1"];

function randomValue(random: () => number, depth = 0): unknown {
  const pick = Math.floor(random() * (depth > 2 ? 3 : 5));
  const text = () => Array.from({ length: random() * 6 }, () => alphabet[Math.floor(random() * 12)]).join("");
  if (pick === 0) return text();
  if (pick === 1) return Math.floor(random() * 1e9);
  if (pick === 2) return random() < 0.5;
  const length = Math.floor(random() * 4);
  if (pick === 3) return Array.from({ length }, () => randomValue(random, depth + 1));
  return Object.fromEntries(Array.from({ length }, () => [text(), randomValue(random, depth + 1)]));
}

test("values survive any cutting of the stream, also within characters", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = seededRandom(seed);
    const values = Array.from({ length: Math.floor(random() * 8) }, () => randomValue(random));
    const end = random() < 0.5 ? "\n" : "";
    const separator = random() < 0.3 ? "\r\n\n" : "\n";
    const bytes = utf8.encode(values.map((value) => JSON.stringify(value)).join(separator) + end);
    expect(parseAll(cut(bytes, random))).toEqual(values);
  }
});

test("rubbish gives values or ApiMalformed, never another error", () => {
  let malformed = 0;
  for (let seed = 1; seed <= 500; seed++) {
    const random = seededRandom(seed);
    const bytes = utf8.encode(JSON.stringify(randomValue(random)).repeat(2) + "\n".repeat(random() * 3));
    for (let i = 0; i < bytes.length / 8; i++) bytes[Math.floor(random() * bytes.length)] = random() * 256;
    try {
      parseAll(cut(bytes, random));
    } catch (error) {
      expect(isMalformed(error)).toBe(true);
      malformed++;
    }
  }
  expect(malformed).toBeGreaterThan(300);
});

test("a stream without newlines does not grow for ever", () => {
  const piece = utf8.encode("x".repeat(40));
  expect(() => parseAll([piece, piece, piece], 100)).toThrow("longer than 100 bytes");
});

test("a line that the end of the stream cut off is named", () => {
  expect(() => parseAll([utf8.encode('{"type":"ADDED","obj')])).toThrow(
    "watch pods: a line of the stream is not JSON",
  );
});
