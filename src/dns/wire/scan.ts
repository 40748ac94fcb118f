import { Flag, RrType } from "./constants.ts";
import { DnsFormatError } from "./errors.ts";
import { skipName } from "./name.ts";
import { fieldsOf } from "./schema.ts";

/** Where one record stands in a message; offsets are in bytes from the message's start. */
export interface RecordSpan {
  /** 0 answer, 1 authority, 2 additional. */
  section: number;
  start: number;
  type: number;
  class: number;
  ttlAt: number;
  rdataAt: number;
  end: number;
}

export interface MessageSpans {
  questionEnd: number;
  records: RecordSpan[];
}

/**
 * Finds the records of a message without decoding them, and checks all names and lengths on the way, so that a message
 * from outside can be passed on as it stands.
 * @throws DnsFormatError
 */
export function scanMessage(bytes: Uint8Array): MessageSpans {
  if (bytes.length < 12) throw new DnsFormatError(bytes.length, "shorter than a header");
  let at = 12;
  for (let i = word(bytes, 4); i > 0; i--) at = need(bytes, skipName(bytes, at) + 4);
  const questionEnd = at;
  const records: RecordSpan[] = [];
  for (let section = 0; section < 3; section++) {
    for (let i = word(bytes, 6 + 2 * section); i > 0; i--) {
      const span = scanRecord(bytes, at, section);
      records.push(span);
      at = span.end;
    }
  }
  if (at !== bytes.length) throw new DnsFormatError(at, `${bytes.length - at} bytes follow the message`);
  return { questionEnd, records };
}

function scanRecord(bytes: Uint8Array, start: number, section: number): RecordSpan {
  const head = skipName(bytes, start);
  const rdataAt = need(bytes, head + 10);
  const type = word(bytes, head);
  const end = need(bytes, rdataAt + word(bytes, head + 8));
  const fields = fieldsOf(type);
  if (fields !== undefined) {
    let at = rdataAt;
    for (const [, kind] of fields) at = skipField(bytes, at, kind, end);
    if (at !== end) throw new DnsFormatError(at, "RDATA is longer or shorter than its fields");
  }
  return { section, start, type, class: word(bytes, head + 2), ttlAt: head + 4, rdataAt, end };
}

const fixedSizes: Record<string, number> = { u16: 2, u32: 4, ipv4: 4, ipv6: 16 };

function skipField(bytes: Uint8Array, at: number, kind: string, end: number): number {
  if (kind === "name" || kind === "plain-name") return skipName(bytes, at);
  if (kind === "string") return at + 1 + (bytes[at] ?? 0);
  if (kind === "strings") {
    let next = at;
    while (next < end) next += 1 + (bytes[next] ?? 0);
    return next;
  }
  return at + (fixedSizes[kind] as number);
}

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}

function need(bytes: Uint8Array, end: number): number {
  if (end > bytes.length) throw new DnsFormatError(bytes.length, "the message ends too early");
  return end;
}

/**
 * A well-formed response cut to `limit` bytes: as many whole records as fit, TC set where an answer or authority was
 * left out, a final OPT record kept.
 */
export function truncateMessage(message: Uint8Array, limit: number): Buffer {
  const { questionEnd, records } = scanMessage(message);
  const last = records.at(-1);
  const opt = last?.type === RrType.OPT ? last : undefined;
  const room = limit - (opt === undefined ? 0 : opt.end - opt.start);
  const counts = [0, 0, 0];
  let end = questionEnd;
  let truncated = false;
  for (const record of records) {
    if (record === opt) continue;
    if (record.end > room) {
      truncated = record.section < 2;
      break;
    }
    end = record.end;
    counts[record.section] = (counts[record.section] as number) + 1;
  }
  const out = Buffer.alloc(end + (opt === undefined ? 0 : opt.end - opt.start));
  out.set(message.subarray(0, end));
  if (opt !== undefined) {
    out.set(message.subarray(opt.start, opt.end), end);
    counts[2] = (counts[2] as number) + 1;
  }
  for (const [section, count] of counts.entries()) out.writeUInt16BE(count, 6 + 2 * section);
  if (truncated) out[2] = (out[2] as number) | (Flag.TC >> 8);
  return out;
}
