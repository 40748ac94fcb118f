import { InvalidInput } from "./errors.ts";

/** 4 or 6, as in IPv4 and IPv6. */
export type Family = 4 | 6;

/** An IP address: its bytes in network order, 4 or 16 of them. Immutable; compare with `equals` or `compare`. */
export class Ip {
  readonly family: Family;
  readonly bytes: Uint8Array;
  #text: string | undefined;

  private constructor(bytes: Uint8Array) {
    this.family = bytes.length === 4 ? 4 : 6;
    this.bytes = bytes;
  }

  /** From 4 or 16 bytes in network order, which are copied. */
  static fromBytes(bytes: Uint8Array): Ip {
    if (bytes.length !== 4 && bytes.length !== 16) {
      throw new InvalidInput("address", [...bytes], `has ${bytes.length} bytes, not 4 or 16`);
    }
    return new Ip(bytes.slice());
  }

  /** From a number of 32 or 128 bits. */
  static fromBigInt(value: bigint, family: Family): Ip {
    const bytes = new Uint8Array(family === 4 ? 4 : 16);
    let rest = value;
    for (let i = bytes.length - 1; i >= 0; i--) {
      bytes[i] = Number(rest & 0xffn);
      rest >>= 8n;
    }
    if (rest !== 0n) throw new InvalidInput("address", value.toString(), `does not fit in IPv${family}`);
    return new Ip(bytes);
  }

  /** Parses the text forms of RFC 4291 section 2.2 and dotted quads without leading zeros; no zone. */
  static parse(text: string, field = "address"): Ip {
    const bytes = parseBytes(text);
    if (bytes === undefined) {
      throw new InvalidInput(field, text, "is not an IP address", {
        remedy: "Write it like 10.0.0.1 or fd00::1",
      });
    }
    return new Ip(bytes);
  }

  /** As {@link Ip.parse}, but undefined where the text is no address. */
  static tryParse(text: string): Ip | undefined {
    const bytes = parseBytes(text);
    return bytes === undefined ? undefined : new Ip(bytes);
  }

  /** 32 or 128. */
  get bits(): number {
    return this.bytes.length * 8;
  }

  toBigInt(): bigint {
    let value = 0n;
    for (const byte of this.bytes) value = (value << 8n) | BigInt(byte);
    return value;
  }

  /** The address `offset` further on; throws where that leaves the family's range. */
  add(offset: bigint | number): Ip {
    return Ip.fromBigInt(this.toBigInt() + BigInt(offset), this.family);
  }

  equals(other: Ip): boolean {
    return this.compare(other) === 0;
  }

  /** Negative, 0 or positive; IPv4 sorts before IPv6. */
  compare(other: Ip): number {
    if (this.family !== other.family) return this.family - other.family;
    for (let i = 0; i < this.bytes.length; i++) {
      const difference = (this.bytes[i] as number) - (other.bytes[i] as number);
      if (difference !== 0) return difference;
    }
    return 0;
  }

  isUnspecified(): boolean {
    return this.bytes.every((byte) => byte === 0);
  }

  isLoopback(): boolean {
    return this.family === 4 ? this.bytes[0] === 127 : this.toString() === "::1";
  }

  isMulticast(): boolean {
    return this.family === 4 ? ((this.bytes[0] as number) & 0xf0) === 0xe0 : this.bytes[0] === 0xff;
  }

  /** 169.254.0.0/16 (RFC 3927) or fe80::/10 (RFC 4291). */
  isLinkLocal(): boolean {
    const [a, b] = this.bytes as unknown as [number, number];
    return this.family === 4 ? a === 169 && b === 254 : a === 0xfe && (b & 0xc0) === 0x80;
  }

  /** The canonical text of RFC 5952. */
  toString(): string {
    this.#text ??= this.bytes.length === 4 ? this.bytes.join(".") : format6(this.bytes);
    return this.#text;
  }

  toJSON(): string {
    return this.toString();
  }
}

function parseBytes(text: string): Uint8Array | undefined {
  return text.includes(":") ? parse6(text) : parse4(text);
}

// One pass over the characters: thousands of addresses are parsed by programs that have just started.
function parse4(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(4);
  let place = 0;
  let value = -1;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 46 /* . */) {
      if (value < 0 || place === 3) return undefined;
      bytes[place++] = value;
      value = -1;
    } else {
      // A leading zero would be read as octal elsewhere.
      if (code < 48 || code > 57 || value === 0) return undefined;
      value = value < 0 ? code - 48 : value * 10 + code - 48;
      if (value > 255) return undefined;
    }
  }
  if (value < 0 || place !== 3) return undefined;
  bytes[3] = value;
  return bytes;
}

function parse6(text: string): Uint8Array | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = groups(halves[0] as string, halves.length === 1);
  const tail = halves.length === 2 ? groups(halves[1] as string, true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const bytes = new Uint8Array(16);
  const words = [...head, ...new Array<number>(missing).fill(0), ...tail];
  for (const [i, word] of words.entries()) {
    bytes[2 * i] = word >> 8;
    bytes[2 * i + 1] = word & 0xff;
  }
  return bytes;
}

/** The 16-bit groups of one side of "::"; a dotted quad may stand last. */
function groups(text: string, last: boolean): number[] | undefined {
  if (text === "") return [];
  const words: number[] = [];
  const parts = text.split(":");
  for (const [i, part] of parts.entries()) {
    if (last && i === parts.length - 1 && part.includes(".")) {
      const quad = parse4(part);
      if (quad === undefined) return undefined;
      const [a, b, c, d] = quad as unknown as [number, number, number, number];
      words.push((a << 8) | b, (c << 8) | d);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      words.push(Number.parseInt(part, 16));
    } else {
      return undefined;
    }
  }
  return words;
}

function format6(bytes: Uint8Array): string {
  const words: number[] = [];
  for (let i = 0; i < 16; i += 2) words.push(((bytes[i] as number) << 8) | (bytes[i + 1] as number));
  // IPv4-mapped addresses keep their dotted quad (RFC 5952 section 5).
  if (words.slice(0, 5).every((word) => word === 0) && words[5] === 0xffff) {
    return `::ffff:${bytes.slice(12).join(".")}`;
  }
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let j = i;
    while (j < 8 && words[j] === 0) j++;
    if (j - i > length) [start, length] = [i, j - i];
    if (j > i) i = j;
  }
  const hex = (part: number[]) => part.map((word) => word.toString(16)).join(":");
  return start < 0 ? hex(words) : `${hex(words.slice(0, start))}::${hex(words.slice(start + length))}`;
}
