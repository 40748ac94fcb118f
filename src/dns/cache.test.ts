import { describe, expect, test } from "bun:test";
import { queryBytes, reply, shown } from "../../test/lib/dns.ts";
import { Ip } from "../lib/ip.ts";
import { BufferPool } from "./answer.ts";
import { Cache, type CacheEntry } from "./cache.ts";
import { Query } from "./query.ts";
import { acceptResponse, answers } from "./response.ts";
import { isDnsFormatError } from "./wire/errors.ts";
import { decodeMessage, encodeMessage, type Message } from "./wire/message.ts";
import { nameFromText } from "./wire/name.ts";
import type { ResourceRecord } from "./wire/schema.ts";

const a = (ttl: number, last = 1): ResourceRecord => ({
  name: "www.example.",
  type: 1,
  class: 1,
  ttl,
  data: { address: Ip.parse(`192.0.2.${last}`) },
});
const soa = (ttl: number, minimum: number): ResourceRecord => ({
  name: "example.",
  type: 6,
  class: 1,
  ttl,
  data: { mname: "ns.example.", rname: "h.example.", serial: 1, refresh: 1, retry: 1, expire: 1, minimum },
});
const asked = decodeMessage(queryBytes("www.example.", "A"));
const www = nameFromText("www.example");

const accept = (change: Partial<Message>) => acceptResponse(reply(asked, change), 1);

function emitted(entry: CacheEntry | undefined): ReturnType<typeof shown> {
  if (entry === undefined) throw new Error("no entry");
  const query = new Query();
  query.parse(queryBytes("www.example.", "A"));
  return shown(entry.answer.emit(query, 65535, new BufferPool()));
}

describe("what is taken from a response", () => {
  test.each([
    ["the least TTL", { answers: [a(300), a(60, 2)] }, 60, false],
    ["also of authorities", { answers: [a(300)], authorities: [soa(30, 5)] }, 30, false],
    ["NXDOMAIN: the SOA's TTL", { rcode: 3, authorities: [soa(40, 50)] }, 40, true],
    ["NXDOMAIN: the SOA's minimum", { rcode: 3, authorities: [soa(50, 20)] }, 20, true],
    ["NODATA", { authorities: [soa(50, 20)] }, 20, true],
    ["NXDOMAIN without SOA: not at all (RFC 2308 section 5)", { rcode: 3 }, 0, true],
    ["TTL 0: not at all", { answers: [a(0)] }, 0, false],
  ])("%s", (_what, change, ttl, negative) => {
    expect(accept(change)).toMatchObject({ ttl, negative });
  });

  test("a negative answer shows the TTL that it is kept for", () => {
    const response = accept({ rcode: 3, authorities: [soa(50, 20)] });
    expect(decodeMessage(response.answer.plain).authorities[0]?.ttl).toBe(20);
  });

  const edns = {
    udpPayload: 4096,
    version: 0,
    dnssecOk: true,
    options: [{ code: 3, data: Buffer.from("id") }],
  };
  test("the OPT record goes, the flags become ours", () => {
    const message = { ...asked, response: true, authoritative: true, answers: [a(60)], edns };
    const { answer } = acceptResponse(encodeMessage(message as Message), 1);
    const back = decodeMessage(answer.plain);
    expect(back.edns).toBeUndefined();
    expect(back.authoritative).toBe(false);
    expect(back.recursionAvailable).toBe(true);
    expect(back.answers).toEqual([a(60)]);
  });

  test("also where the OPT record is not the last", () => {
    const plain = reply(asked, { answers: [a(60)], additionals: [a(70, 9)] });
    const opt = Buffer.from([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    const before = plain.length - 16;
    const bytes = Buffer.concat([plain.subarray(0, before), opt, plain.subarray(before)]);
    bytes.writeUInt16BE(2, 10);
    const back = decodeMessage(acceptResponse(bytes, 1).answer.plain);
    expect(back.additionals).toEqual([a(70, 9)]);
    expect(back.answers).toEqual([a(60)]);
  });

  test("an extended response code is a failure", () => {
    expect(accept({ rcode: 23, edns }).rcode).toBe(2);
  });

  test("a malformed one is refused", () => {
    const bytes = reply(asked, { answers: [a(60)] });
    for (const bad of [bytes.subarray(0, bytes.length - 1), Buffer.concat([bytes, Buffer.alloc(1)])]) {
      let thrown: unknown;
      try {
        acceptResponse(bad, 1);
      } catch (error) {
        thrown = error;
      }
      expect(isDnsFormatError(thrown)).toBe(true);
    }
  });
});

describe("whether a response answers a query", () => {
  const query = queryBytes("www.example.", "A");
  test.each([
    ["the same question", reply(asked, {}), true],
    [
      "in other letter case",
      reply(asked, { questions: [{ name: "WWW.Example.", type: 1, class: 1 }] }),
      true,
    ],
    ["another id", reply(asked, { id: 1 }), false],
    ["another name", reply(asked, { questions: [{ name: "w.example.", type: 1, class: 1 }] }), false],
    ["another type", reply(asked, { questions: [{ name: "www.example.", type: 28, class: 1 }] }), false],
    ["another class", reply(asked, { questions: [{ name: "www.example.", type: 1, class: 3 }] }), false],
    ["a query", query, false],
    ["no question", reply(asked, { questions: [] }), false],
    ["no question, but FORMERR", reply(asked, { questions: [], rcode: 1 }), true],
    ["too short", reply(asked, {}).subarray(0, 11), false],
    ["cut in the question", reply(asked, {}).subarray(0, 20), false],
  ])("%s: %#", (_what, response, expected) => {
    expect(answers(response, query)).toBe(expected);
  });
});

describe("the cache", () => {
  test("TTLs count down, and the answer goes when they are over", () => {
    const cache = new Cache();
    cache.put(www, 1, 0, accept({ answers: [a(60), a(300, 2)] }), 1000);
    const at = (ms: number) => emitted(cache.get(www, 1, 0, ms)).answers.map((line) => line.split(" ")[1]);
    expect(at(1000)).toEqual(["60", "300"]);
    expect(at(1999)).toEqual(["60", "300"]);
    expect(at(11_500)).toEqual(["50", "290"]);
    expect(at(60_999)).toEqual(["1", "241"]);
    expect(cache.get(www, 1, 0, 61_000)).toBeUndefined();
  });

  test("types, DO and CD are kept apart", () => {
    const cache = new Cache();
    for (const [type, flags] of [
      [1, 0],
      [1, 1],
      [28, 0],
    ] as const) {
      cache.put(www, type, flags, accept({ answers: [a(60, type + flags)] }), 0);
    }
    expect(emitted(cache.get(www, 1, 1, 0)).answers).toEqual(["www.example. 60 A 192.0.2.2"]);
    expect(emitted(cache.get(www, 28, 0, 0)).answers).toEqual(["www.example. 60 A 192.0.2.28"]);
    expect(cache.get(www, 28, 1, 0)).toBeUndefined();
    expect(cache.size).toBe(3);
  });

  test("limits on time", () => {
    const cache = new Cache({ maxTtl: 30, maxNegativeTtl: 10, failureTtl: 3 });
    cache.put(www, 1, 0, accept({ answers: [a(86400)] }), 0);
    cache.put(www, 2, 0, accept({ rcode: 3, authorities: [soa(900, 900)] }), 0);
    cache.put(www, 3, 0, accept({ rcode: 2 }), 0);
    cache.put(www, 4, 0, accept({ rcode: 5 }), 0);
    const fresh = (ms: number) => [1, 2, 3, 4].filter((type) => cache.get(www, type, 0, ms) !== undefined);
    expect(fresh(2999)).toEqual([1, 2, 3]);
    expect(fresh(3000)).toEqual([1, 2]);
    expect(fresh(10_000)).toEqual([1]);
    expect(fresh(30_000)).toEqual([]);
  });

  test("limits on number: what is used stays", () => {
    const cache = new Cache({ entries: 100 });
    const response = accept({ answers: [a(600)] });
    const name = (i: number) => nameFromText(`n${i}.example`);
    for (let i = 0; i < 1000; i++) {
      cache.put(name(i), 1, 0, response, 0);
      cache.get(name(0), 1, 0, 0);
      expect(cache.size).toBeLessThanOrEqual(100);
    }
    expect(cache.get(name(0), 1, 0, 0)).toBeDefined();
    expect(cache.get(name(1), 1, 0, 0)).toBeUndefined();
    expect(cache.get(name(999), 1, 0, 0)).toBeDefined();
  });

  test("limits on bytes, and on the entries of one name", () => {
    const cache = new Cache({ bytes: 20_000 });
    const large = accept({ answers: Array.from({ length: 100 }, (_, i) => a(600, i)) });
    for (let i = 0; i < 50; i++) cache.put(nameFromText(`n${i}.example`), 1, 0, large, 0);
    expect(cache.bytes).toBeLessThanOrEqual(20_000);
    expect(cache.size).toBeGreaterThan(0);
    const other = new Cache();
    for (let type = 1; type < 5000; type++) other.put(www, type, 0, accept({ answers: [a(600)] }), 0);
    expect(other.size).toBeLessThanOrEqual(16);
    other.clear();
    expect([other.size, other.bytes]).toEqual([0, 0]);
  });

  test("an expired answer can be revived for a while, with a TTL of 30 (RFC 8767)", () => {
    const cache = new Cache({ staleTtl: 100 });
    cache.put(www, 1, 0, accept({ answers: [a(60)] }), 0);
    cache.put(www, 2, 0, accept({ rcode: 2 }), 0);
    expect(cache.get(www, 1, 0, 61_000)).toBeUndefined();
    const stale = cache.getStale(www, 1, 0, 61_000);
    if (stale === undefined) throw new Error("nothing stale");
    cache.revive(stale, 61_000);
    expect(emitted(cache.get(www, 1, 0, 62_000)).answers).toEqual(["www.example. 30 A 192.0.2.1"]);
    expect(cache.get(www, 1, 0, 66_000)).toBeUndefined();
    expect(cache.getStale(www, 1, 0, 159_999)).toBeDefined();
    expect(cache.getStale(www, 1, 0, 160_000)).toBeUndefined();
    expect(cache.getStale(www, 2, 0, 6000)).toBeUndefined();
  });

  test("random use keeps its books right", () => {
    const cache = new Cache({ entries: 20 });
    const response = accept({ answers: [a(10)] });
    for (let i = 0; i < 5000; i++) {
      cache.put(nameFromText(`n${(i * 7919) % 37}.example`), 1 + ((i * 31) % 3), 0, response, i * 100);
      cache.get(nameFromText(`n${(i * 104729) % 37}.example`), 1, 0, i * 100);
      expect(cache.size).toBeLessThanOrEqual(20);
      expect(cache.bytes).toBe(cache.size * (2 * response.answer.plain.length + 400));
    }
  });
});
