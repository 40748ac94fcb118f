import { Rcode, RrType } from "./wire/constants.ts";
import { isDnsFormatError } from "./wire/errors.ts";
import { decodeMessage } from "./wire/message.ts";
import { lowerName, rootName, type WireName } from "./wire/name.ts";

/** What {@link Query.parse} says beside a response code: go on, or give no answer at all. */
export const Verdict = { OK: -1, DROP: -2 } as const;

/**
 * The parts of a query that decide its answer. One object serves many queries, one after the other: plain queries are
 * read here without any allocation but the name's; all others go through the full decoder.
 */
export class Query {
  bytes: Buffer = Buffer.alloc(0);
  /** The name asked for, in lower case. */
  name: WireName = rootName;
  type = 0;
  class = 0;
  /** Offset behind the question; 12 where there is none that can be repeated. */
  questionEnd = 12;
  edns = false;
  dnssecOk = false;
  /** The largest response over UDP that the client takes, in bytes: at least 512 (RFC 6891 section 6.2.3). */
  payload = 512;

  get recursionDesired(): boolean {
    return ((this.bytes[2] as number) & 0x01) !== 0;
  }

  get checkingDisabled(): boolean {
    return ((this.bytes[3] as number) & 0x10) !== 0;
  }

  /** Reads a query; returns a verdict, or the response code with which to refuse it. */
  parse(bytes: Buffer): number {
    this.bytes = bytes;
    this.questionEnd = 12;
    this.edns = false;
    this.dnssecOk = false;
    this.payload = 512;
    // A response must never be answered: two servers would go on forever.
    if (bytes.length < 12 || (bytes[2] as number) >= 0x80) return Verdict.DROP;
    if (((bytes[2] as number) & 0x78) !== 0) return Rcode.NOTIMP;
    // One question, no answers, no authorities (RFC 9619 for the first).
    if (bytes[4] !== 0 || bytes[5] !== 1) return Rcode.FORMERR;
    const length = bytes.length;
    let at = 12;
    for (;;) {
      if (at >= length) return Rcode.FORMERR;
      const label = bytes[at] as number;
      if (label === 0) break;
      if (label > 63) return Rcode.FORMERR;
      at += 1 + label;
    }
    const nameEnd = at + 1;
    if (nameEnd - 12 > 255 || nameEnd + 4 > length) return Rcode.FORMERR;
    this.name = lowerName(bytes.toString("latin1", 12, nameEnd));
    this.type = ((bytes[nameEnd] as number) << 8) | (bytes[nameEnd + 1] as number);
    this.class = ((bytes[nameEnd + 2] as number) << 8) | (bytes[nameEnd + 3] as number);
    this.questionEnd = nameEnd + 4;
    if (bytes.readUInt32BE(6) === 0 && bytes[10] === 0) {
      if (bytes[11] === 0 && this.questionEnd === length) return Verdict.OK;
      if (bytes[11] === 1 && this.#plainOpt())
        return this.#checkVersion(bytes[this.questionEnd + 6] as number);
    }
    return this.#decode();
  }

  /** Reads an OPT record that is the last thing in the message; false where something else stands there. */
  #plainOpt(): boolean {
    const bytes = this.bytes;
    const at = this.questionEnd;
    if (at + 11 > bytes.length || bytes[at] !== 0 || bytes[at + 1] !== 0 || bytes[at + 2] !== RrType.OPT) {
      return false;
    }
    // Options are skipped, but their lengths must be right, which the full decoder finds out.
    if (bytes[at + 9] !== 0 || bytes[at + 10] !== 0 || at + 11 !== bytes.length) return false;
    this.edns = true;
    this.payload = Math.max(512, bytes.readUInt16BE(at + 3));
    this.dnssecOk = ((bytes[at + 7] as number) & 0x80) !== 0;
    return true;
  }

  #decode(): number {
    try {
      const { edns } = decodeMessage(this.bytes);
      if (edns === undefined) return Verdict.OK;
      this.edns = true;
      this.payload = Math.max(512, edns.udpPayload);
      this.dnssecOk = edns.dnssecOk;
      return this.#checkVersion(edns.version);
    } catch (error) {
      if (isDnsFormatError(error)) return Rcode.FORMERR;
      throw error;
    }
  }

  #checkVersion(version: number): number {
    return version === 0 ? Verdict.OK : Rcode.BADVERS;
  }
}
