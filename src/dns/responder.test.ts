import { describe, expect, test } from "bun:test";
import { queryBytes, shown } from "../../test/lib/dns.ts";
import { createMetrics, metricsSnapshot } from "./metrics.ts";
import { later, Responder } from "./responder.ts";
import { decodeMessage, type Edns, type Message } from "./wire/message.ts";
import { createZone } from "./zone.ts";

const name = "blue.default.svc.cluster.local";
const edns = (change: Partial<Edns> = {}): Partial<Message> => ({
  edns: { udpPayload: 1232, version: 0, dnssecOk: false, options: [], ...change },
});

function responderFor(addresses: number): {
  responder: Responder;
  metrics: ReturnType<typeof createMetrics>;
} {
  const zone = createZone({ serial: 1 });
  const endpoints = Array.from({ length: addresses }, (_, i) => ({
    addresses: [`10.244.${i >> 8}.${i & 255}`],
  }));
  const object = { namespace: "default", name: "blue" };
  zone.setService({ ...object, clusterIPs: [], headless: true, ports: [] });
  zone.setEndpointSlice({ namespace: "default", name: "x", service: "blue", ports: [], endpoints });
  const metrics = createMetrics();
  return { responder: new Responder(zone, undefined, metrics), metrics };
}

function answer(bytes: Buffer, addresses = 1, tcp = false): Message {
  const response = responderFor(addresses).responder.answer(bytes, tcp);
  if (!Buffer.isBuffer(response)) throw new Error(`no response: ${String(response)}`);
  return decodeMessage(response);
}

const edited = (bytes: Buffer, edit: (bytes: Buffer) => void) => {
  edit(bytes);
  return bytes;
};

describe("the header", () => {
  test("id, RD and CD are the client's; QR and AA are set; RA says that there is no recursion", () => {
    const back = answer(
      queryBytes(name, "A", { id: 0xabcd, recursionDesired: true, checkingDisabled: true }),
    );
    expect(back).toMatchObject({
      id: 0xabcd,
      response: true,
      authoritative: true,
      recursionDesired: true,
      recursionAvailable: false,
      checkingDisabled: true,
      truncated: false,
      authenticData: false,
    });
    expect(answer(queryBytes(name, "A", { recursionDesired: false })).recursionDesired).toBe(false);
  });

  test.each(["BLUE.default.SVC.cluster.LOCAL.", "bLuE.dEfAuLt.SvC.cLuStEr.lOcAl."])(
    "%s comes back in its letter case, question and answer",
    (asked) => {
      const back = answer(queryBytes(asked, "A"));
      expect(back.questions[0]?.name).toBe(asked);
      expect(back.answers[0]?.name).toBe(asked);
      // The next client's case is its own.
      const { responder } = responderFor(1);
      responder.answer(queryBytes(asked, "A"), false);
      expect(shown(responder.answer(queryBytes(name, "A"), false) as Buffer).answers[0]).toStartWith(name);
      const denied = answer(queryBytes(`X.${asked}`, "A"));
      expect(denied.questions[0]?.name).toBe(`X.${asked}`);
      expect(denied.authorities[0]?.name.toLowerCase()).toBe("cluster.local.");
    },
  );
});

describe("queries that are refused", () => {
  const plain = () => queryBytes(name, "A");
  const question = 12 + name.length + 2;
  test.each([
    ["opcode STATUS", edited(plain(), (b) => (b[2] = 0x10)), 4],
    ["opcode NOTIFY", edited(plain(), (b) => (b[2] = 0x20)), 4],
    ["opcode UPDATE", edited(plain(), (b) => (b[2] = 0x28)), 4],
    ["no question", queryBytes(name, "A", { questions: [] }), 1],
    [
      "two questions",
      queryBytes(name, "A", { questions: [1, 28].map((type) => ({ name, type, class: 1 })) }),
      1,
    ],
    ["bytes behind the question", Buffer.concat([plain(), Buffer.from([1, 2, 3])]), 1],
    ["a name without end", plain().subarray(0, question - 3), 1],
    ["a pointer as the question's name", edited(plain(), (b) => b.writeUInt16BE(0xc00c, 12)), 1],
    ["class CH", edited(plain(), (b) => b.writeUInt16BE(3, question + 2)), 5],
    ["class ANY", edited(plain(), (b) => b.writeUInt16BE(255, question + 2)), 5],
    ["AXFR", queryBytes("cluster.local", "AXFR"), 5],
    ["IXFR", queryBytes("cluster.local", "IXFR"), 5],
    ["OPT as the question's type", queryBytes(name, "OPT"), 1],
    ["a name outside the zone, without upstreams", queryBytes("www.example.com", "A"), 5],
    ["EDNS version 1", queryBytes(name, "A", edns({ version: 1 })), 16],
  ])("%s", (_what, bytes, rcode) => {
    const back = answer(bytes);
    expect(back.rcode).toBe(rcode);
    expect(back.id).toBe(0x1234);
    expect(back.response).toBe(true);
    expect(back.answers).toEqual([]);
    expect(back.opcode).toBe(((bytes[2] as number) >> 3) & 15);
  });

  test.each([
    ["nothing", Buffer.alloc(0)],
    ["less than a header", Buffer.alloc(11)],
    ["a response", edited(plain(), (b) => (b[2] = 0x80))],
  ])("%s gets no answer at all", (_what, bytes) => {
    const { responder, metrics } = responderFor(1);
    expect(responder.answer(bytes, false)).toBeUndefined();
    expect(metrics.dropped).toBe(1);
  });
});

describe("EDNS (RFC 6891)", () => {
  test("no OPT record without one in the query", () => {
    expect(answer(queryBytes(name, "A")).edns).toBeUndefined();
    expect(answer(queryBytes(`x.${name}`, "A")).edns).toBeUndefined();
  });

  test("the payload size is ours, DO is copied, options are not echoed", () => {
    const cookie = { code: 10, data: Buffer.from("0102030405060708", "hex") };
    for (const change of [
      {},
      { dnssecOk: true },
      { options: [cookie] },
      { options: [cookie], dnssecOk: true },
    ]) {
      for (const asked of [name, `x.${name}`, "www.example.com"]) {
        expect(answer(queryBytes(asked, "A", edns(change))).edns).toEqual({
          udpPayload: 1232,
          version: 0,
          dnssecOk: change.dnssecOk === true,
          options: [],
        });
      }
    }
  });

  test.each([
    // addresses, payload size or none, whether TCP, how many come back
    [29, undefined, false, 29],
    [30, undefined, false, 29],
    [40, 512, false, 28],
    [40, 100, false, 28],
    [40, 1232, false, 40],
    [73, 1232, false, 73],
    [74, 1232, false, 73],
    [100, 4096, false, 73],
    [100, 65535, false, 73],
    [100, undefined, true, 100],
    [4080, undefined, true, 4080],
    [4200, undefined, true, 4092],
  ])("%p addresses, payload %p, TCP %p: %p come", (addresses, udpPayload, tcp, count) => {
    const change = udpPayload === undefined ? {} : edns({ udpPayload });
    const back = answer(queryBytes(name, "A", change), addresses, tcp);
    expect(back.answers).toHaveLength(count);
    expect(back.truncated).toBe(count < addresses);
    expect(back.edns !== undefined).toBe(udpPayload !== undefined);
  });
});

test("addresses take turns at being first", () => {
  const { responder } = responderFor(3);
  for (const change of [{}, edns()]) {
    const firsts = Array.from({ length: 6 }, () => {
      const { answers } = shown(responder.answer(queryBytes(name, "A", change), false) as Buffer);
      expect(new Set(answers).size).toBe(3);
      return answers[0];
    });
    expect(new Set(firsts.slice(0, 3)).size).toBe(3);
    expect(firsts.slice(3)).toEqual(firsts.slice(0, 3));
  }
});

test("a response that is still unsent is not changed by the next", () => {
  const { responder } = responderFor(3);
  const first = responder.answer(queryBytes(name, "A", { id: 1 }), false) as Buffer;
  const copy = Buffer.from(first);
  responder.answer(queryBytes(name, "A", { id: 2 }), false);
  expect(first.equals(copy)).toBe(true);
  responder.pool.give(first);
  const again = responder.answer(queryBytes(name, "A", { id: 3 }), false) as Buffer;
  expect(decodeMessage(again).id).toBe(3);
});

test("ANY gets one of the record sets (RFC 8482)", () => {
  expect(answer(queryBytes(name, "ANY")).answers).toHaveLength(1);
  expect(answer(queryBytes("default.svc.cluster.local", "ANY")).authorities).toHaveLength(1);
});

test("asking for every type does not make the zone grow", () => {
  const { responder } = responderFor(1);
  for (let type = 256; type < 2000; type++) {
    const bytes = queryBytes(name, "A");
    bytes.writeUInt16BE(type, bytes.length - 4);
    expect(responder.answer(bytes, false)).not.toBe(later);
  }
  const zone = createZone();
  zone.setService({ namespace: "default", name: "blue", clusterIPs: ["10.96.0.1"], ports: [] });
  const owner = zone.lookup("\x04blue\x07default\x03svc\x07cluster\x05local\0");
  expect(owner !== undefined && "answers" in owner ? owner.answers.length : -1).toBe(0);
});

test("counters", () => {
  const { responder, metrics } = responderFor(40);
  for (const type of ["A", "A", "AAAA", "SRV"] as const) responder.answer(queryBytes(name, type), false);
  responder.answer(queryBytes(`x.${name}`, "A"), false);
  responder.answer(queryBytes("example.com", "A"), false);
  const big = queryBytes(name, "A");
  big.writeUInt16BE(65280, big.length - 4);
  responder.answer(big, false);
  const snapshot = metricsSnapshot(metrics);
  expect(snapshot.queries).toEqual({ other: 1, A: 4, AAAA: 1, SRV: 1 });
  expect(snapshot.responses).toEqual({ NOERROR: 5, NXDOMAIN: 1, REFUSED: 1 });
  expect(snapshot.truncated).toBe(2);
});
