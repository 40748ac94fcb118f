import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../../lib/random.ts";
import { createMetrics } from "../metrics.ts";
import { Responder } from "../responder.ts";
import { acceptResponse } from "../response.ts";
import { createZone } from "../zone.ts";
import { isDnsFormatError } from "./errors.ts";
import { decodeMessage, encodeMessage, type Message } from "./message.ts";
import { scanMessage, truncateMessage } from "./scan.ts";

const corpus = readFileSync(join(import.meta.dir, "corpus.txt"), "utf8")
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"))
  .map((line) => Buffer.from(line.split(" ")[1] ?? "", "hex"));

/** The value, or undefined where the declared error is thrown; any other error fails the test. */
function declared<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (isDnsFormatError(error)) return undefined;
    throw error;
  }
}

const zone = createZone({ serial: 1, reversePrefixes: ["10.96.0.0/16"] });
zone.setService({
  namespace: "default",
  name: "blue",
  clusterIPs: ["10.96.0.1"],
  ports: [{ name: "http", protocol: "TCP", port: 80 }],
});
const responder = new Responder(zone, undefined, createMetrics());

function check(bytes: Buffer): void {
  const before = Buffer.from(bytes);
  const message = declared(() => decodeMessage(bytes));
  const spans = declared(() => scanMessage(bytes));
  if (message !== undefined) {
    expect(spans).toBeDefined();
    expectSame(message);
  }
  if (spans !== undefined && spans.questionEnd <= 512) {
    expect(truncateMessage(bytes, 512).length).toBeLessThanOrEqual(Math.max(512, spans.questionEnd));
  }
  declared(() => acceptResponse(Buffer.from(bytes), 1));
  const response = responder.answer(bytes, false);
  if (Buffer.isBuffer(response)) {
    expect(response.length).toBeLessThanOrEqual(1232);
    expect(response.subarray(0, 2)).toEqual(bytes.subarray(0, 2));
    expect(decodeMessage(response).response).toBe(true);
  } else {
    expect(response).toBeUndefined();
  }
  // Reading must not change what was read.
  expect(bytes.equals(before)).toBe(true);
}

/** What was understood can be written, and then means the same. */
function expectSame(message: Message): void {
  const again = encodeMessage(message, 65534);
  const back = decodeMessage(again);
  if (!back.truncated || message.truncated) expect(back).toEqual(message);
}

test("every message of the corpus", () => {
  expect(corpus.length).toBeGreaterThan(60);
  for (const bytes of corpus) check(bytes);
});

test("mutations of the corpus", () => {
  const random = seededRandom(1035);
  const below = (limit: number) => Math.floor(random() * limit);
  const pick = () => corpus[below(corpus.length)] as Buffer;
  const mutations: ((bytes: Buffer) => Buffer)[] = [
    (bytes) => {
      bytes[below(bytes.length)] = below(256);
      return bytes;
    },
    (bytes) => {
      const at = below(bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << below(8));
      return bytes;
    },
    // Lengths, pointers and counts are where parsers fail.
    (bytes) => {
      bytes[below(bytes.length)] = [0, 1, 63, 64, 0x7f, 0x80, 0xc0, 0xff][below(8)] as number;
      return bytes;
    },
    (bytes) => bytes.subarray(0, below(bytes.length + 1)),
    (bytes) => Buffer.concat([bytes, pick().subarray(below(20))]),
    (bytes) => {
      const at = below(bytes.length);
      return Buffer.concat([bytes.subarray(0, at), pick(), bytes.subarray(at)]);
    },
    (bytes) => {
      const at = below(bytes.length);
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + below(8)))]);
    },
  ];
  for (let i = 0; i < 20_000; i++) {
    let bytes: Buffer = Buffer.from(pick());
    for (let j = below(4); j >= 0; j--) {
      if (bytes.length > 0)
        bytes = Buffer.from((mutations[below(mutations.length)] as (b: Buffer) => Buffer)(bytes));
    }
    try {
      check(bytes);
    } catch (error) {
      throw new Error(`mutation ${i}: ${bytes.toString("hex")}`, { cause: error });
    }
  }
}, 60_000);

test("pure noise", () => {
  const random = seededRandom(6891);
  for (let i = 0; i < 5_000; i++) {
    const bytes = Buffer.alloc(Math.floor(random() * 200));
    for (let j = 0; j < bytes.length; j++) bytes[j] = Math.floor(random() * 256);
    check(bytes);
  }
});

test("a message of pointers to one long name costs no more than its size allows", () => {
  // 64 KiB of records, each of which names 255 bytes by two: the worst that decompression can be made to do.
  const name = Buffer.from(`${`\x3f${"a".repeat(63)}`.repeat(3)}\x3d${"b".repeat(61)}\0`, "latin1");
  const record = Buffer.from([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 5, 0, 2, 0xc0, 12]);
  const count = Math.floor((65535 - 12 - name.length - 4) / record.length);
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0x8180, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(count, 6);
  const question = Buffer.from([0, 5, 0, 1]);
  const bytes = Buffer.concat([head, name, question, ...new Array<Buffer>(count).fill(record)]);
  expect(decodeMessage(bytes).answers).toHaveLength(count);
  expect(scanMessage(bytes).records).toHaveLength(count);
});
