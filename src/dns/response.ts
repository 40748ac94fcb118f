import { Answer } from "./answer.ts";
import { Flag, Rcode, RrType } from "./wire/constants.ts";
import { DnsFormatError } from "./wire/errors.ts";
import { decodeMessage, encodeMessage } from "./wire/message.ts";
import { skipName } from "./wire/name.ts";
import { type RecordSpan, scanMessage } from "./wire/scan.ts";

/** A response from an upstream, made fit for being kept and given to others. */
export interface UpstreamResponse {
  answer: Answer;
  rcode: number;
  /** How long it may be kept, in seconds; 0 where it may not. */
  ttl: number;
  /** True for NXDOMAIN and NODATA (RFC 2308). */
  negative: boolean;
}

/**
 * Takes a response apart: the OPT record goes (it speaks of one hop alone, RFC 6891 section 6.1.1), the flags become
 * ours, and the TTL follows from the records, or for a negative response from its SOA record (RFC 2308 section 5).
 * @throws DnsFormatError where the response is malformed
 */
export function acceptResponse(raw: Buffer, type: number): UpstreamResponse {
  const { plain, records, rcode: upstreamRcode } = withoutOpt(raw);
  // Extended codes speak of the hop to the upstream (bad version, bad cookie): for the client it has failed.
  const rcode = upstreamRcode > 15 ? Rcode.SERVFAIL : upstreamRcode;
  const flags = Flag.QR | Flag.RA | (plain.readUInt16BE(2) & Flag.AD) | rcode;
  plain.writeUInt16BE(0, 0);
  plain.writeUInt16BE(flags, 2);
  const values = records.map((record) => ttlOf(plain, record));
  const answered = records.some(
    (record) => record.section === 0 && (record.type === type || type === RrType.ANY),
  );
  const negative = rcode === Rcode.NXDOMAIN || (rcode === Rcode.NOERROR && !answered);
  let ttl = values.length === 0 ? 0 : Math.min(...values);
  if (negative) {
    const index = records.findIndex((record) => record.section === 1 && record.type === RrType.SOA);
    const soa = records[index];
    if (soa === undefined) ttl = 0;
    else {
      const least = Math.min(values[index] as number, plain.readUInt32BE(soa.end - 4));
      values[index] = least;
      plain.writeUInt32BE(least, soa.ttlAt);
      ttl = Math.min(ttl, least);
    }
  }
  const ttls = {
    offsets: Uint16Array.from(records, (record) => record.ttlAt),
    values: Uint32Array.from(values),
  };
  return { answer: new Answer(type, plain, undefined, ttls), rcode, ttl, negative };
}

function withoutOpt(raw: Buffer): { plain: Buffer; records: RecordSpan[]; rcode: number } {
  const { records } = scanMessage(raw);
  const rcode = (raw[3] as number) & 15;
  const opts = records.filter((record) => record.type === RrType.OPT);
  if (opts.length > 1 || opts.some((opt) => opt.section < 2)) {
    throw new DnsFormatError(raw.length, "more than one OPT record, or one outside the additional section");
  }
  const at = records.findIndex((record) => record.type === RrType.OPT);
  if (at < 0) return { plain: Buffer.from(raw), records, rcode };
  const opt = records[at] as RecordSpan;
  const extended = ((raw[opt.ttlAt] as number) << 4) | rcode;
  if (at === records.length - 1) {
    const plain = Buffer.from(raw.subarray(0, opt.start));
    plain.writeUInt16BE(plain.readUInt16BE(10) - 1, 10);
    return { plain, records: records.slice(0, -1), rcode: extended };
  }
  // Records behind the OPT record would move, and pointers to them with it: write it anew.
  const { edns: _, ...message } = decodeMessage(raw);
  const plain = encodeMessage({ ...message, rcode: rcode });
  return { plain, records: scanMessage(plain).records, rcode: extended };
}

/** RFC 2181 section 8: a TTL with its highest bit set counts as 0. */
function ttlOf(bytes: Buffer, record: RecordSpan): number {
  const ttl = bytes.readUInt32BE(record.ttlAt);
  return ttl > 0x7fffffff ? 0 : ttl;
}

/** True where `response` answers `query`: same id and question (letter case apart), and marked as a response. */
export function answers(response: Buffer, query: Buffer): boolean {
  if (response.length < 12 || response[0] !== query[0] || response[1] !== query[1]) return false;
  if (((response[2] as number) & 0xf8) !== 0x80) return false;
  if (response.readUInt16BE(4) === 0) {
    // Servers that could not read the query, or want none of it, send no question back.
    const rcode = (response[3] as number) & 15;
    return rcode === Rcode.FORMERR || rcode === Rcode.NOTIMP || rcode === Rcode.REFUSED;
  }
  if (response.readUInt16BE(4) !== 1) return false;
  try {
    const end = skipName(query, 12);
    if (response.length < end + 4 || skipName(response, 12) !== end) return false;
    const asked = query.toString("latin1", 12, end).toLowerCase();
    if (asked !== response.toString("latin1", 12, end).toLowerCase()) return false;
    return query.readUInt32BE(end) === response.readUInt32BE(end);
  } catch (error) {
    if (error instanceof DnsFormatError) return false;
    throw error;
  }
}
