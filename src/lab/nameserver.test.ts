import { describe, expect, test } from "bun:test";
import { queryBytes, shown, type TypeName } from "../../test/lib/dns.ts";
import { answerQuery, type OutsideZone } from "./nameserver.ts";

const zone: OutsideZone = {
  origin: "weft.example.",
  nameserver: "outside.weft.example.",
  hosts: { "outside.weft.example.": ["172.30.0.200", "fd00:172:30::200"] },
};

function ask(name: string, type: TypeName, change = {}) {
  const response = answerQuery(zone, queryBytes(name, type, change));
  return response === undefined ? undefined : shown(response);
}

const soa = "weft.example. 30 SOA outside.weft.example. hostmaster.weft.example. 1 3600 600 86400 30";

describe("answers with authority", () => {
  const cases: [string, TypeName, number, string[], string[]][] = [
    ["outside.weft.example.", "A", 0, ["outside.weft.example. 30 A 172.30.0.200"], []],
    ["outside.weft.example.", "AAAA", 0, ["outside.weft.example. 30 AAAA fd00:172:30::200"], []],
    ["OutSide.WEFT.example.", "A", 0, ["outside.weft.example. 30 A 172.30.0.200"], []],
    ["outside.weft.example.", "TXT", 0, [], [soa]],
    ["nobody.weft.example.", "A", 3, [], [soa]],
    ["constructor.weft.example.", "A", 3, [], [soa]],
    ["weft.example.", "SOA", 0, [soa], []],
    ["weft.example.", "NS", 0, ["weft.example. 30 NS outside.weft.example."], []],
    ["weft.example.", "A", 0, [], [soa]],
  ];
  test.each(cases)("%s %s", (name, type, rcode, answers, authorities) => {
    const response = ask(name, type);
    expect(response).toMatchObject({ rcode, answers, authorities });
    expect(response?.message).toMatchObject({
      id: 0x1234,
      response: true,
      authoritative: true,
      recursionAvailable: false,
      questions: [{ name, class: 1 }],
    });
  });
});

describe("refuses", () => {
  const edns = { udpPayload: 1232, version: 1, dnssecOk: false, options: [] };
  const cases: [string, string, object, number][] = [
    ["names of others", "example.", {}, 5],
    ["names that only end alike", "anotherweft.example.", {}, 5],
    [
      "another class",
      "outside.weft.example.",
      { questions: [{ name: "weft.example.", type: 1, class: 3 }] },
      5,
    ],
    ["another opcode", "outside.weft.example.", { opcode: 5 }, 4],
    ["no question", "outside.weft.example.", { questions: [] }, 1],
    ["a later EDNS", "outside.weft.example.", { edns }, 16],
  ];
  test.each(cases)("%s", (_, name, change, rcode) => {
    expect(ask(name, "A", change)).toMatchObject({ rcode, answers: [] });
  });

  test("what is no query, without a word", () => {
    expect(ask("outside.weft.example.", "A", { response: true })).toBeUndefined();
    expect(answerQuery(zone, Buffer.from("rubbish"))).toBeUndefined();
  });
});

test("speaks EDNS with those who do", () => {
  const edns = { udpPayload: 4096, version: 0, dnssecOk: true, options: [] };
  expect(ask("outside.weft.example.", "A", { edns })?.message.edns).toEqual({ ...edns, udpPayload: 1232 });
  expect(ask("outside.weft.example.", "A")?.message.edns).toBeUndefined();
});
