import { describe, expect, test } from "bun:test";
import { Ip } from "../../lib/ip.ts";
import { Rcode, RrType } from "./constants.ts";
import { decodeMessage, encodeMessage, type Message, query } from "./message.ts";
import { truncateMessage } from "./scan.ts";
import type { ResourceRecord } from "./schema.ts";

const head = (name: string, type: number) => ({ name, type, class: 1, ttl: 300 });

const records = [
  { ...head("a.example.", RrType.A), data: { address: Ip.parse("192.0.2.1") } },
  { ...head("a.example.", RrType.AAAA), data: { address: Ip.parse("2001:db8::1") } },
  { ...head("example.", RrType.NS), data: { target: "ns.example." } },
  { ...head("www.example.", RrType.CNAME), data: { target: "a.example." } },
  {
    ...head("example.", RrType.SOA),
    data: {
      mname: "ns.example.",
      rname: "host\\.master.example.",
      serial: 4294967295,
      refresh: 7200,
      retry: 1800,
      expire: 86400,
      minimum: 5,
    },
  },
  { ...head("1.2.0.192.in-addr.arpa.", RrType.PTR), data: { target: "a.example." } },
  { ...head("example.", RrType.MX), data: { preference: 10, exchange: "mx.example." } },
  { ...head("example.", RrType.TXT), data: { strings: ["1.1.0", "", "x".repeat(255)] } },
  { ...head("example.", RrType.HINFO), data: { cpu: "RFC8482", os: "" } },
  {
    ...head("_http._tcp.example.", RrType.SRV),
    data: { priority: 0, weight: 100, port: 8888, target: "a.example." },
  },
  { ...head("example.", RrType.DNAME), data: { target: "example.net." } },
  { ...head("example.", 65280), rdata: Uint8Array.from([1, 2, 3]) },
  { ...head("example.", RrType.HTTPS), rdata: Uint8Array.from([0, 1, 0]) },
] as ResourceRecord[];

const full: Message = {
  ...query("www.EXAMPLE.", RrType.A, 0xbeef),
  response: true,
  authoritative: true,
  recursionAvailable: true,
  authenticData: true,
  checkingDisabled: true,
  rcode: Rcode.NXDOMAIN,
  answers: records,
  authorities: records.slice(2, 3),
  additionals: records.slice(0, 2),
};

describe("messages", () => {
  test("what is encoded is decoded", () => {
    expect(decodeMessage(encodeMessage(full))).toEqual(full);
  });

  test("EDNS carries payload size, version, DO, options and the upper bits of the response code", () => {
    const edns = {
      udpPayload: 1232,
      version: 0,
      dnssecOk: true,
      options: [{ code: 10, data: Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]) }],
    };
    const message = { ...full, rcode: Rcode.BADVERS, edns };
    expect(decodeMessage(encodeMessage(message))).toEqual(message);
    // Codes above 2047 set the highest bit of what is a TTL in other records.
    const high = { ...full, rcode: 4095, edns };
    expect(decodeMessage(encodeMessage(high))).toEqual(high);
  });

  test("names are compressed, SRV targets are not", () => {
    const name = "host.default.svc.cluster.local.";
    const srv = { ...head(name, RrType.SRV), data: { priority: 0, weight: 0, port: 1, target: name } };
    const cname = { ...head(name, RrType.CNAME), data: { target: `x.${name}` } };
    const plain = encodeMessage(query(name, RrType.A)).length;
    const size = (record: object) =>
      encodeMessage({ ...query(name, RrType.A), answers: [record as ResourceRecord] }).length - plain;
    expect(size(srv)).toBe(2 + 10 + 6 + 32);
    expect(size(cname)).toBe(2 + 10 + 2 + 2);
  });

  test("letter case is kept: a name is not pointed at one that is written otherwise", () => {
    const answers = [{ ...head("www.example.", RrType.A), data: { address: Ip.parse("192.0.2.1") } }];
    const message = { ...query("WWW.eXample.", RrType.A), answers } as Message;
    const back = decodeMessage(encodeMessage(message));
    expect(back.questions[0]?.name).toBe("WWW.eXample.");
    expect(back.answers[0]?.name).toBe("www.example.");
  });

  test("a TTL with its highest bit set is 0 (RFC 2181 section 8)", () => {
    const bytes = encodeMessage({ ...query("a.", 1), answers: records.slice(0, 1) });
    bytes.writeUInt32BE(0x80000001, bytes.length - 10);
    expect(decodeMessage(bytes).answers[0]?.ttl).toBe(0);
  });
});

describe("truncation", () => {
  const many = Array.from({ length: 40 }, (_, i) => ({
    ...head("a.example.", RrType.A),
    data: { address: Ip.parse(`192.0.2.${i}`) },
  })) as ResourceRecord[];
  const edns = { udpPayload: 1232, version: 0, dnssecOk: false, options: [] };
  const large: Message = { ...query("a.example.", RrType.A), response: true, answers: many, edns };

  test.each([
    ["encoding", (limit: number) => encodeMessage(large, limit)],
    ["cutting", (limit: number) => truncateMessage(encodeMessage(large), limit)],
  ])("%s leaves out whole records, sets TC and keeps the OPT record", (_how, cut) => {
    for (const limit of [512, 513, 527, 528, 600]) {
      const bytes = cut(limit);
      const message = decodeMessage(bytes);
      expect(bytes.length).toBeLessThanOrEqual(limit);
      expect(bytes.length).toBeGreaterThan(limit - 16);
      expect(message.truncated).toBe(true);
      expect(message.edns).toEqual(edns);
      expect(message.answers).toEqual(many.slice(0, message.answers.length));
    }
  });

  test("additional records are left out without TC", () => {
    const message = { ...large, answers: many.slice(0, 2), additionals: many };
    for (const bytes of [encodeMessage(message, 512), truncateMessage(encodeMessage(message), 512)]) {
      const back = decodeMessage(bytes);
      expect(back.truncated).toBe(false);
      expect(back.answers).toHaveLength(2);
      expect(back.additionals.length).toBeLessThan(40);
    }
  });

  test("a message that TCP cannot carry is an error", () => {
    const answers = Array.from({ length: 5000 }, () => many[0] as ResourceRecord);
    expect(() => encodeMessage({ ...large, answers })).toThrow("65535");
  });
});

describe("malformed messages", () => {
  const good = encodeMessage({ ...query("a.example.", RrType.A), answers: records.slice(0, 1) });
  const edited = (edit: (bytes: Buffer) => Buffer | undefined) => {
    const copy = Buffer.from(good);
    return edit(copy) ?? copy;
  };
  const opt = Buffer.from([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
  test.each([
    ["empty", Buffer.alloc(0)],
    ["shorter than a header", good.subarray(0, 11)],
    ["cut in the question", good.subarray(0, 20)],
    ["cut in a record", good.subarray(0, good.length - 1)],
    ["bytes behind the end", Buffer.concat([good, Buffer.from([0])])],
    ["more answers claimed than there are", edited((b) => void b.writeUInt16BE(65535, 6))],
    ["RDATA shorter than an address", edited((b) => void b.writeUInt16BE(3, b.length - 6))],
    ["RDATA past the end", edited((b) => void b.writeUInt16BE(5, b.length - 6))],
    ["OPT among the answers", edited((b) => void b.writeUInt16BE(41, b.length - 14))],
    [
      "two OPT records",
      edited((b) => {
        b.writeUInt16BE(2, 10);
        return Buffer.concat([b, opt, opt]);
      }),
    ],
    [
      "an OPT record with an owner",
      edited((b) => {
        b.writeUInt16BE(1, 10);
        return Buffer.concat([b, Buffer.from("\x01a", "latin1"), opt]);
      }),
    ],
    [
      "an EDNS option past the end",
      edited((b) => {
        b.writeUInt16BE(1, 10);
        return Buffer.concat([b, opt.subarray(0, 10), Buffer.from([4, 0, 10, 0, 9])]);
      }),
    ],
  ])("%s", (_what, bytes) => {
    expect(() => decodeMessage(bytes)).toThrow(expect.objectContaining({ code: "dns-format" }));
  });
});
