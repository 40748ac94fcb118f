import { Answer } from "./answer.ts";
import { type Authority, Owner } from "./owner.ts";
import type { RrSet } from "./records.ts";
import { Flag, Rcode, RrClass, RrType } from "./wire/constants.ts";
import { decodeMessage } from "./wire/message.ts";
import type { WireName } from "./wire/name.ts";
import { maxMessage, Writer } from "./wire/writer.ts";
import type { Zone } from "./zone.ts";

/** Where a chain of CNAMEs leaves the zone: what it had until there, and the name to resolve elsewhere. */
export interface Departure {
  chain: Owner[];
  target: WireName;
}

/** RFC 1034 sets no limit for chains of CNAMEs; eight is more than anybody means. */
const maxChain = 8;

/** The response for a name that exists: from the owner's store, or built now. */
export function ownerAnswer(zone: Zone, owner: Owner, type: number, recursion: boolean): Answer | Departure {
  for (const answer of owner.answers) if (answer.type === type) return answer;
  // RFC 8482 section 4.1: one of the RRsets will do for ANY.
  const set = owner.setOf(type) ?? (type === RrType.ANY ? owner.sets[0] : undefined);
  if (set !== undefined) {
    const built = buildAnswer(zone, owner, type, set, recursion);
    owner.answers.push(built);
    return built;
  }
  if (owner.setOf(RrType.CNAME) !== undefined) return followChain(zone, owner, type, recursion);
  return negativeAnswer(owner.authority, owner.name.length, Rcode.NOERROR, zone.serial, recursion);
}

function buildAnswer(zone: Zone, owner: Owner, type: number, set: RrSet, recursion: boolean): Answer {
  const message = new ResponseBuilder(owner.name, type, recursion);
  const start = message.length;
  message.add(0, owner.name, set);
  const end = message.length;
  for (const target of additionalTargets(set)) {
    const found = zone.lookup(target);
    if (!(found instanceof Owner)) continue;
    for (const wanted of [RrType.A, RrType.AAAA]) {
      const addresses = found.setOf(wanted);
      if (addresses !== undefined) message.add(2, target, addresses);
    }
  }
  const several = set.rdatas.length > 1 && (set.type === RrType.A || set.type === RrType.AAAA);
  // Each of them is a pointer to the question's name, 10 bytes of type, class, TTL and length, and the address.
  const step = set.type === RrType.A ? 16 : 28;
  return new Answer(type, message.finish(Rcode.NOERROR), several ? { start, step, end } : undefined);
}

function additionalTargets(set: RrSet): Set<WireName> {
  if (set.type === RrType.SRV) return new Set(set.rdatas.map((rdata) => rdata.slice(6)));
  return new Set(set.type === RrType.NS ? set.rdatas : []);
}

function followChain(zone: Zone, owner: Owner, type: number, recursion: boolean): Answer | Departure {
  const chain: Owner[] = [];
  let at: Owner | Authority = owner;
  while (at instanceof Owner && chain.length < maxChain) {
    const target: WireName | undefined = at.setOf(RrType.CNAME)?.rdatas[0];
    if (target === undefined) break;
    chain.push(at);
    const next = zone.lookup(target);
    if (next === undefined) return { chain, target };
    at = next;
  }
  const message = chainStart(chain, type, recursion);
  if (chain.length === maxChain) return new Answer(type, message.finish(Rcode.SERVFAIL));
  const set = at instanceof Owner ? at.setOf(type) : undefined;
  if (at instanceof Owner && set !== undefined) {
    message.add(0, at.name, set);
    return new Answer(type, message.finish(Rcode.NOERROR));
  }
  const authority = at instanceof Owner ? at.authority : at;
  message.add(1, authority.apex, authority.soa(zone.serial));
  return new Answer(type, message.finish(at instanceof Owner ? Rcode.NOERROR : Rcode.NXDOMAIN));
}

function chainStart(chain: readonly Owner[], type: number, recursion: boolean): ResponseBuilder {
  const message = new ResponseBuilder((chain[0] as Owner).name, type, recursion);
  for (const owner of chain) message.add(0, owner.name, owner.setOf(RrType.CNAME) as RrSet);
  return message;
}

/** The response for a chain of CNAMEs that leaves the zone, with the response for its target, if there is one. */
export function departedAnswer(
  { chain }: Departure,
  type: number,
  found: Answer | undefined,
  recursion: boolean,
): Answer {
  const message = chainStart(chain, type, recursion);
  if (found !== undefined) message.append(found.plain);
  return new Answer(type, message.finish(found?.rcode ?? Rcode.NOERROR));
}

/**
 * NXDOMAIN or NODATA with the SOA record (RFC 2308 section 2). It depends on the length of the question's name alone,
 * which always ends with the authority's apex: one response serves all names of that length.
 */
export function negativeAnswer(
  authority: Authority,
  nameLength: number,
  rcode: number,
  serial: number,
  recursion: boolean,
): Answer {
  const soa = authority.soa(serial);
  const key = 4 * nameLength + (rcode === Rcode.NXDOMAIN ? 2 : 0) + (recursion ? 1 : 0);
  let answer = authority.negatives[key];
  if (answer === undefined) {
    const unnamed = "\0".repeat(nameLength - authority.apex.length);
    const message = new ResponseBuilder(authority.apex, 0, recursion, unnamed);
    message.add(1, authority.apex, soa);
    answer = new Answer(0, message.finish(rcode));
    authority.negatives[key] = answer;
  }
  return answer;
}

/** Builds a response of the zone from records in wire form. */
class ResponseBuilder {
  readonly #writer = new Writer();
  readonly #counts = [0, 0, 0];
  readonly #recursion: boolean;
  #full = false;

  /** `unnamed` stands before the name: labels that are not known yet and that nothing may point at. */
  constructor(name: WireName, type: number, recursion: boolean, unnamed = "") {
    this.#recursion = recursion;
    for (let i = 0; i < 6; i++) this.#writer.u16(i === 2 ? 1 : 0);
    this.#writer.latin1(unnamed);
    this.#writer.name(name, true);
    this.#writer.u16(type);
    this.#writer.u16(RrClass.IN);
  }

  get length(): number {
    return this.#writer.length;
  }

  add(section: 0 | 1 | 2, owner: WireName, set: RrSet): void {
    for (const rdata of set.rdatas) {
      this.#write(section, () => this.#writer.rawRecord(owner, set.type, set.ttl, rdata));
    }
  }

  /** Adds the answers and authorities of another response. */
  append(response: Buffer): void {
    const { answers, authorities } = decodeMessage(response);
    for (const record of answers) this.#write(0, () => this.#writer.record(record));
    for (const record of authorities) this.#write(1, () => this.#writer.record(record));
  }

  #write(section: 0 | 1 | 2, write: () => void): void {
    if (this.#full) return;
    const start = this.#writer.length;
    write();
    // Room is left for an OPT record.
    if (this.#writer.length > maxMessage - 11) {
      this.#writer.rewind(start);
      this.#full = true;
    } else {
      this.#counts[section] = (this.#counts[section] as number) + 1;
    }
  }

  finish(rcode: number): Buffer {
    const writer = this.#writer;
    const truncated = this.#full && this.#counts[2] === 0;
    writer.setU16(2, Flag.QR | Flag.AA | (this.#recursion ? Flag.RA : 0) | (truncated ? Flag.TC : 0) | rcode);
    for (const [section, count] of this.#counts.entries()) writer.setU16(6 + 2 * section, count);
    return writer.finish();
  }
}
