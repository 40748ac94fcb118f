import type { Query } from "./query.ts";
import { Flag, RrType } from "./wire/constants.ts";
import { truncateMessage } from "./wire/scan.ts";

/** The UDP payload size that Weft itself offers: what passes everywhere without fragments (DNS flag day 2020). */
export const ownPayload = 1232;

/** The TTL fields of a response that is kept, with their values at the start. */
export interface TtlFields {
  offsets: Uint16Array;
  values: Uint32Array;
}

/**
 * A whole response, built once and then sent to everybody who asks the same: only the id, the copied flags, the question
 * in the client's letter case, and (where it has several addresses) their order differ from one to the next.
 */
export class Answer {
  readonly type: number;
  /** Without OPT record, id 0. */
  readonly plain: Buffer;
  #withOpt: Buffer | undefined;
  /** Equal-sized records that take turns at being first. */
  readonly #rotation: { start: number; step: number; end: number } | undefined;
  readonly #ttls: TtlFields | undefined;
  #age = 0;

  constructor(
    type: number,
    plain: Buffer,
    rotation?: { start: number; step: number; end: number },
    ttls?: TtlFields,
  ) {
    this.type = type;
    this.plain = plain;
    this.#rotation = rotation;
    this.#ttls = ttls;
  }

  get rcode(): number {
    return (this.plain[3] as number) & 15;
  }

  /** The response to one query, of at most `limit` bytes, in a buffer of the pool. */
  emit(query: Query, limit: number, pool: BufferPool): Buffer {
    const template = query.edns ? (this.#withOpt ?? this.#addOpt()) : this.plain;
    if (this.#rotation !== undefined) rotate(template, this.#rotation);
    const out = template.length <= limit ? pool.copyOf(template) : truncateMessage(template, limit);
    const asked = query.bytes;
    out[0] = asked[0] as number;
    out[1] = asked[1] as number;
    out[2] = (out[2] as number) | ((asked[2] as number) & 0x01);
    out[3] = (out[3] as number) | ((asked[3] as number) & Flag.CD);
    // RFC 6840 section 5.8: AD only for those who asked for it.
    if (!query.dnssecOk && ((asked[3] as number) & Flag.AD) === 0) out[3] = (out[3] as number) & ~Flag.AD;
    for (let i = 12; i < query.questionEnd; i++) out[i] = asked[i] as number;
    // RFC 3225 section 3: the DO bit is copied; it is in the OPT record, which is last.
    if (query.edns && query.dnssecOk) out[out.length - 4] = 0x80;
    return out;
  }

  /** Lowers all TTLs to what is left of them after `seconds`, but not below `least`. */
  age(seconds: number, least = 0): void {
    if (this.#ttls === undefined || seconds === this.#age) return;
    this.#age = seconds;
    const { offsets, values } = this.#ttls;
    for (let i = 0; i < offsets.length; i++) {
      const ttl = Math.max(least, (values[i] as number) - seconds);
      this.plain.writeUInt32BE(ttl, offsets[i] as number);
      this.#withOpt?.writeUInt32BE(ttl, offsets[i] as number);
    }
  }

  #addOpt(): Buffer {
    const opt = [0, 0, RrType.OPT, ownPayload >> 8, ownPayload & 0xff, 0, 0, 0, 0, 0, 0];
    const withOpt = Buffer.concat([this.plain, Uint8Array.from(opt)]);
    withOpt.writeUInt16BE(withOpt.readUInt16BE(10) + 1, 10);
    this.#withOpt = withOpt;
    return withOpt;
  }
}

function rotate(bytes: Buffer, { start, step, end }: { start: number; step: number; end: number }): void {
  const first = bytes.toString("latin1", start, start + step);
  bytes.copyWithin(start, start + step, end);
  bytes.write(first, end - step, "latin1");
}

/** Buffers of responses that were sent, to be used again; bounded in number for each length. */
export class BufferPool {
  readonly #free: Buffer[][] = [];
  static readonly #keep = 64;

  copyOf(template: Buffer): Buffer {
    const out = this.#free[template.length]?.pop() ?? Buffer.allocUnsafeSlow(template.length);
    template.copy(out);
    return out;
  }

  give(buffer: Buffer): void {
    if (buffer.length > ownPayload) return;
    const list = this.#free[buffer.length];
    if (list === undefined) this.#free[buffer.length] = [buffer];
    else if (list.length < BufferPool.#keep) list.push(buffer);
  }
}

/** A response of a header alone, and the question where there is one: FORMERR, NOTIMP, REFUSED, SERVFAIL, BADVERS. */
export function bareResponse(query: Query, rcode: number, recursion: boolean): Buffer {
  const edns = query.edns || rcode > 15;
  const out = Buffer.alloc(query.questionEnd + (edns ? 11 : 0));
  query.bytes.copy(out, 0, 0, Math.min(query.questionEnd, query.bytes.length));
  out[2] = 0x80 | ((query.bytes[2] as number) & 0x79);
  out[3] = (recursion ? Flag.RA : 0) | ((query.bytes[3] as number) & Flag.CD) | (rcode & 15);
  out.fill(0, 4, 12);
  out[5] = query.questionEnd > 12 ? 1 : 0;
  if (edns) {
    const at = query.questionEnd;
    out[11] = 1;
    out[at + 2] = RrType.OPT;
    out.writeUInt16BE(ownPayload, at + 3);
    out[at + 5] = rcode >> 4;
    if (query.dnssecOk) out[at + 7] = 0x80;
  }
  return out;
}
