import { InvalidInput } from "../../lib/errors.ts";
import { Flag, Rcode, RrType } from "./constants.ts";
import { DnsFormatError } from "./errors.ts";
import { nameFromText } from "./name.ts";
import { Reader } from "./reader.ts";
import type { ResourceRecord } from "./schema.ts";
import { maxMessage, Writer } from "./writer.ts";

export interface Question {
  /** Text with a final dot, in the letter case of the message. */
  name: string;
  type: number;
  class: number;
}

/** The OPT pseudo-record (RFC 6891 section 6.1); the extended response code is in the message's `rcode`. */
export interface Edns {
  /** The largest UDP payload that its sender takes, in bytes. */
  udpPayload: number;
  version: number;
  dnssecOk: boolean;
  options: { code: number; data: Uint8Array }[];
}

export interface Message {
  id: number;
  opcode: number;
  /** 12 bits where `edns` is there, else 4. */
  rcode: number;
  response: boolean;
  authoritative: boolean;
  truncated: boolean;
  recursionDesired: boolean;
  recursionAvailable: boolean;
  authenticData: boolean;
  checkingDisabled: boolean;
  questions: Question[];
  answers: ResourceRecord[];
  authorities: ResourceRecord[];
  /** Without the OPT record, which is in `edns`. */
  additionals: ResourceRecord[];
  edns?: Edns;
}

/** A query for one name, with recursion desired; change what you need before encoding it. */
export function query(name: string, type: number, id = 0): Message {
  return {
    id,
    opcode: 0,
    rcode: Rcode.NOERROR,
    response: false,
    authoritative: false,
    truncated: false,
    recursionDesired: true,
    recursionAvailable: false,
    authenticData: false,
    checkingDisabled: false,
    questions: [{ name, type, class: 1 }],
    answers: [],
    authorities: [],
    additionals: [],
  };
}

/**
 * Decodes a whole message (RFC 1035 section 4, RFC 6891).
 * @throws DnsFormatError, and nothing else, whatever the bytes are
 */
export function decodeMessage(bytes: Uint8Array): Message {
  const reader = new Reader(bytes);
  if (bytes.length < 12) throw new DnsFormatError(bytes.length, "shorter than a header");
  const id = reader.u16();
  const flags = reader.u16();
  const [questions, answers, authorities, additionals] = [
    reader.u16(),
    reader.u16(),
    reader.u16(),
    reader.u16(),
  ] as const;
  const message: Message = {
    id,
    opcode: (flags >> 11) & 15,
    rcode: flags & 15,
    response: (flags & Flag.QR) !== 0,
    authoritative: (flags & Flag.AA) !== 0,
    truncated: (flags & Flag.TC) !== 0,
    recursionDesired: (flags & Flag.RD) !== 0,
    recursionAvailable: (flags & Flag.RA) !== 0,
    authenticData: (flags & Flag.AD) !== 0,
    checkingDisabled: (flags & Flag.CD) !== 0,
    questions: times(questions, () => ({ name: reader.name(), type: reader.u16(), class: reader.u16() })),
    answers: times(answers, () => reader.record()),
    authorities: times(authorities, () => reader.record()),
    additionals: times(additionals, () => reader.record()),
  };
  if (reader.offset !== bytes.length) {
    throw new DnsFormatError(reader.offset, `${bytes.length - reader.offset} bytes follow the message`);
  }
  for (const section of [message.answers, message.authorities]) {
    if (section.some((record) => record.type === RrType.OPT)) {
      throw new DnsFormatError(0, "an OPT record stands outside the additional section");
    }
  }
  takeEdns(message, bytes.length);
  return message;
}

/** A count is only a claim: each item takes at least one byte, so reading stops at the end of the bytes. */
function times<T>(count: number, read: () => T): T[] {
  const items: T[] = [];
  for (let i = 0; i < count; i++) items.push(read());
  return items;
}

function takeEdns(message: Message, end: number): void {
  const opts = message.additionals.filter((record) => record.type === RrType.OPT);
  const opt = opts[0];
  if (opt === undefined) return;
  if (opts.length > 1) throw new DnsFormatError(end, "more than one OPT record");
  if (opt.name !== ".") throw new DnsFormatError(end, "an OPT record has an owner other than the root");
  const reader = new Reader((opt as Extract<ResourceRecord, { rdata: Uint8Array }>).rdata);
  const options: Edns["options"] = [];
  while (reader.offset < reader.bytes.length) {
    const code = reader.u16();
    options.push({ code, data: reader.copy(reader.u16()) });
  }
  const ttl = opt.ttl;
  message.additionals = message.additionals.filter((record) => record !== opt);
  message.rcode |= (ttl >>> 24) << 4;
  message.edns = {
    udpPayload: opt.class,
    version: (ttl >>> 16) & 0xff,
    dnssecOk: (ttl & 0x8000) !== 0,
    options,
  };
}

/**
 * Encodes a message with name compression. What does not fit in `limit` bytes is left out, whole records at a time, and
 * TC is set where that was an answer or authority (RFC 2181 section 9); the OPT record always stays.
 * @throws InvalidInput where a name, string or address cannot be written, or 65,535 bytes are passed without `limit`
 */
export function encodeMessage(message: Message, limit = maxMessage): Buffer {
  const writer = new Writer();
  const opt = message.edns === undefined ? undefined : encodeOpt(message.edns, message.rcode);
  const room = limit - (opt?.length ?? 0);
  for (const word of [message.id, flagsOf(message), message.questions.length, 0, 0, 0]) writer.u16(word);
  for (const question of message.questions) {
    writer.name(nameFromText(question.name), true);
    writer.u16(question.type);
    writer.u16(question.class);
  }
  const sections = [message.answers, message.authorities, message.additionals] as const;
  let truncated = false;
  let full = false;
  for (const [index, section] of sections.entries()) {
    let count = 0;
    for (const record of full ? [] : section) {
      const start = writer.length;
      writer.record(record);
      if (writer.length > room) {
        writer.rewind(start);
        full = true;
        break;
      }
      count++;
    }
    if (index < 2 && count < section.length) truncated = true;
    if (opt !== undefined && index === 2) count++;
    writer.setU16(6 + 2 * index, count);
  }
  if (opt !== undefined) writer.raw(opt);
  if (truncated && limit >= maxMessage) {
    throw new InvalidInput("message", message.questions, `does not fit in ${maxMessage} bytes`);
  }
  if (truncated) writer.setU16(2, flagsOf(message) | Flag.TC);
  return writer.finish();
}

function flagsOf(message: Message): number {
  return (
    (message.response ? Flag.QR : 0) |
    ((message.opcode & 15) << 11) |
    (message.authoritative ? Flag.AA : 0) |
    (message.truncated ? Flag.TC : 0) |
    (message.recursionDesired ? Flag.RD : 0) |
    (message.recursionAvailable ? Flag.RA : 0) |
    (message.authenticData ? Flag.AD : 0) |
    (message.checkingDisabled ? Flag.CD : 0) |
    (message.rcode & 15)
  );
}

function encodeOpt(edns: Edns, rcode: number): Buffer {
  const writer = new Writer();
  writer.u8(0);
  writer.u16(RrType.OPT);
  writer.u16(edns.udpPayload);
  writer.u8(rcode >>> 4);
  writer.u8(edns.version);
  writer.u16(edns.dnssecOk ? 0x8000 : 0);
  const at = writer.length;
  writer.u16(0);
  for (const { code, data } of edns.options) {
    writer.u16(code);
    writer.u16(data.length);
    writer.raw(data);
  }
  writer.setU16(at, writer.length - at - 2);
  return writer.finish();
}
