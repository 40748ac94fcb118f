/**
 * What the kernel sends is decoded with care: bytes that are cut, changed or mixed give MalformedMessage or a value, never
 * another error, and never take long. The seed is printed with a failure; the mutations come from valid messages.
 */
import { expect, test } from "bun:test";
import { setup } from "../../../test/conformance/nftables.ts";
import { Ip } from "../../lib/ip.ts";
import { flowAttributes, readFlow } from "../conntrack/messages.ts";
import { MalformedMessage, Writer } from "../netlink/codec.ts";
import { parseError, parseMessages, writeMessage } from "../netlink/socket.ts";
import { canonicalExpressions } from "./compare.ts";
import { readChain, readCounter, readRule, readSet, readTable } from "./decode.ts";
import { ElementCodec } from "./elements.ts";
import { encodeOperations, type OutMessage } from "./encode.ts";
import {
  chainAttributes,
  counterAttributes,
  elementListAttributes,
  message,
  ruleAttributes,
  setAttributes,
  tableAttributes,
} from "./messages.ts";
import type { NftMap, NftSet } from "./model.ts";
import { nameAttribute } from "./trace.ts";

/** Numbers from 0 to below 1 that are the same for the same seed (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Sample {
  readonly bytes: Uint8Array;
  readonly decode: (bytes: Uint8Array) => unknown;
}

const sets = setup().operations.flatMap(({ object }) =>
  (object.kind === "set" || object.kind === "map") && "key" in object ? [object] : [],
) as (NftSet | NftMap)[];

function decoderOf({ type, schema }: OutMessage): Sample["decode"] {
  const decoders: Record<number, Sample["decode"]> = {
    [message.NEWTABLE]: (bytes) => readTable(tableAttributes.read(bytes), "inet"),
    [message.NEWCHAIN]: (bytes) => readChain(chainAttributes.read(bytes), "inet"),
    [message.NEWRULE]: (bytes) => canonicalExpressions(readRule(ruleAttributes.read(bytes)).expressions),
    [message.NEWSET]: (bytes) => readSet(setAttributes.read(bytes)),
    [message.NEWOBJ]: (bytes) => readCounter(counterAttributes.read(bytes)),
    [message.NEWSETELEM]: (bytes) => {
      const { elements = [], set } = elementListAttributes.read(bytes);
      for (const one of sets) if (set === undefined || one.name === set) new ElementCodec(one).read(elements);
    },
  };
  const decode = decoders[type];
  if (decode === undefined) throw new Error(`no decoder for message ${type}`);
  return (bytes) => [nameAttribute(bytes, bytes.length >> 1, schema), decode(bytes)];
}

function samples(): Sample[] {
  const { operations, table } = setup();
  return encodeOperations(operations, table, { destroy: true }).map((one) => {
    const writer = new Writer();
    one.write(writer);
    return { bytes: writer.finish(), decode: decoderOf(one) };
  });
}

/** Some bytes changed, some left out, some put in from another sample, or the end cut off. */
function mutate(bytes: Uint8Array, other: Uint8Array, random: () => number): Uint8Array {
  const below = (limit: number) => Math.floor(random() * limit);
  let mutant = bytes.slice();
  for (let i = below(4); i >= 0; i--) {
    const at = below(mutant.length + 1);
    switch (below(5)) {
      case 0:
        if (at < mutant.length) mutant[at] = below(256);
        break;
      case 1:
        // Lengths and types of attributes are where the decoders branch.
        if (at < mutant.length) mutant[at & ~3] = below(20);
        break;
      case 2:
        mutant = mutant.slice(0, at);
        break;
      case 3:
        mutant = Uint8Array.from([...mutant.slice(0, at), ...mutant.slice(at + below(9))]);
        break;
      default: {
        const from = below(other.length + 1);
        mutant = Uint8Array.from([
          ...mutant.slice(0, at),
          ...other.slice(from, from + below(40)),
          ...mutant.slice(at),
        ]);
      }
    }
  }
  return mutant;
}

/** Decodes many mutants; the first one that throws anything but MalformedMessage is the test's failure. */
function fuzz(all: readonly Sample[], rounds: number, seed: number): number {
  const random = generator(seed);
  const pick = () => all[Math.floor(random() * all.length)] as Sample;
  let malformed = 0;
  for (let round = 0; round < rounds; round++) {
    const { bytes, decode } = pick();
    const mutant = mutate(bytes, pick().bytes, random);
    try {
      decode(mutant);
    } catch (error) {
      if (!(error instanceof MalformedMessage)) {
        throw new Error(`seed ${seed}, round ${round}: ${Buffer.from(mutant).toString("hex")}`, {
          cause: error,
        });
      }
      malformed += 1;
    }
  }
  return malformed;
}

test("mutated nf_tables messages", () => {
  const all = samples();
  for (const { bytes, decode } of all) expect(() => decode(bytes)).not.toThrow();
  const malformed = fuzz(all, 30_000, 1);
  expect(malformed).toBeGreaterThan(1000);
});

test("mutated connections", () => {
  const [four, six] = [Ip.parse("10.0.0.1"), Ip.parse("fd00::1")];
  const tuples = [
    {
      ip: { source4: four, destination4: four },
      proto: { number: 17, sourcePort: 1, destinationPort: 2 },
      zone: 3,
    },
    {
      ip: { source6: six, destination6: six },
      proto: { number: 58, icmpv6Id: 1, icmpv6Type: 128, icmpv6Code: 0 },
    },
  ];
  const decode = (bytes: Uint8Array) => readFlow(flowAttributes.read(bytes));
  const list: Sample[] = tuples.map((tuple) => {
    const writer = new Writer();
    flowAttributes.write(writer, { original: tuple, reply: tuple, status: 8, id: 5, mark: 7 });
    return { bytes: writer.finish(), decode };
  });
  for (const { bytes } of list) expect(() => decode(bytes)).not.toThrow();
  expect(fuzz(list, 10_000, 2)).toBeGreaterThan(1000);
});

test("mutated datagrams and refusals", () => {
  const writer = new Writer();
  for (const flags of [0, 0x100, 0x300]) {
    writeMessage(writer, 2, flags, 7, (w) => {
      for (const value of [-2, 20, 0x0005_0a09, 7, 0]) w.u32(value >>> 0);
      for (const attribute of [1, 2]) {
        const at = w.begin(attribute);
        w.u32(0x2041_4141);
        w.end(at);
      }
    });
  }
  const decode = (bytes: Uint8Array) => parseMessages(bytes).map(parseError);
  const bytes = writer.finish();
  expect(parseMessages(bytes).length).toBe(3);
  expect(fuzz([{ bytes, decode }], 10_000, 3)).toBeGreaterThan(1000);
});
