import { expect, test } from "bun:test";
import { Ip } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";
import { commonFilter, matches, requireConditions } from "./filter.ts";
import { familyOf, filterValue, flowAttributes, flowKey } from "./messages.ts";
import { type Flow, type FlowFilter, statusBits } from "./model.ts";

const ip = Ip.parse;

const flow: Flow = {
  id: 9,
  family: 4,
  original: {
    source: ip("10.244.0.2"),
    destination: ip("10.96.0.10"),
    protocol: 17,
    sourcePort: 4001,
    destinationPort: 53,
  },
  reply: {
    source: ip("10.244.1.5"),
    destination: ip("10.244.0.2"),
    protocol: 17,
    sourcePort: 53,
    destinationPort: 4001,
  },
  status: statusBits.seenReply | statusBits.destinationNat,
  timeout: 30,
  mark: 0x0008_0005,
  zone: 7,
};

test.each([
  [{}, true],
  [{ family: 4, protocol: 17, zone: 7 }, true],
  [{ family: 6 }, false],
  [{ protocol: 6 }, false],
  [{ zone: 0 }, false],
  [{ mark: { value: 5 } }, false],
  [{ mark: { value: 5, mask: 0xff } }, true],
  [{ mark: { value: 0x8000_0000, mask: 0x8000_0000 } }, false],
  [{ status: statusBits.destinationNat }, true],
  [{ status: statusBits.destinationNat | statusBits.assured }, false],
  [{ original: { destination: ip("10.96.0.10"), destinationPort: 53 } }, true],
  [{ original: { destination: Prefix.parse("10.96.0.0/16") } }, true],
  [{ original: { destination: Prefix.parse("fd00::/8") } }, false],
  [{ original: { destination: ip("10.96.0.10") }, reply: { source: ip("10.244.1.6") } }, false],
] as [FlowFilter, boolean][])("%j is true of the flow: %p", (filter, expected) => {
  expect(matches(filter, flow)).toBe(expected);
});

test("several filters leave to the kernel what all of them ask for", () => {
  const dns = { destination: ip("10.96.0.10"), destinationPort: 53 };
  expect(commonFilter([])).toEqual({});
  expect(commonFilter([{ protocol: 17, original: dns }])).toEqual({ protocol: 17, original: dns });
  expect(
    commonFilter([
      { protocol: 17, family: 4, original: dns, reply: { source: ip("10.244.1.5") } },
      {
        protocol: 17,
        original: { ...dns, destination: ip("10.96.0.11") },
        reply: { source: ip("10.244.1.5") },
      },
    ]),
  ).toEqual({ protocol: 17, original: { destinationPort: 53 }, reply: { source: ip("10.244.1.5") } });
});

test("the kernel is not asked to compare IPv6 addresses, nor ports without a protocol", () => {
  const six: FlowFilter = { protocol: 17, original: { destination: ip("fd00::1"), destinationPort: 53 } };
  expect(familyOf(six)).toBe(6);
  const proto = { number: 17 };
  const withPort = { proto: { number: 17, destinationPort: 53 } };
  const flags = { originalFlags: (1 << 3) | (1 << 5), replyFlags: 1 << 3 };
  expect(filterValue(six)).toEqual({ original: withPort, reply: { proto }, filter: flags });
  expect(filterValue({ family: 4, original: { destinationPort: 53 } })).toEqual({});
  expect(filterValue({ protocol: 17 })).toEqual({});
  expect(filterValue({ mark: { value: 5 } })).toEqual({ mark: 5, markMask: 0xffff_ffff });
});

test("a flow is deleted by its original direction, its number and its zone", () => {
  const { ip: addresses, proto } = flowKey(flow).original ?? {};
  expect(addresses).toEqual({ source4: flow.original.source, destination4: flow.original.destination });
  expect(proto).toEqual({ number: 17, sourcePort: 4001, destinationPort: 53 });
  expect(flowKey(flow)).toMatchObject({ id: 9, zone: 7 });
  expect(flowAttributes.fields.id[0]).toBe(12);
});

test("a filter without conditions is refused", () => {
  for (const filter of [{}, { original: {} }, { reply: {}, original: {} }]) {
    expect(() => requireConditions([{ protocol: 17 }, filter])).toThrow("has no condition");
  }
  expect(() => requireConditions([{ original: { sourcePort: 5 } }, { zone: 0 }])).not.toThrow();
});

test.each([
  [{ protocl: 17 }, 'filter: "protocl" is no condition (did you mean "protocol"?)'],
  [{ protocol: 17, original: { dport: 53 } }, 'filter.original: "dport" is no condition'],
  [{ reply: { source: "10.0.0.1" } }, 'filter.reply: "10.0.0.1" is neither an Ip nor a Prefix'],
])("%j is refused, since it would delete more than was meant", (filter, message) => {
  expect(() => requireConditions([filter as FlowFilter])).toThrow(message);
});
