/** The little of DER (X.690) that an X.509 certificate needs: definite lengths, no options. */

const concat = (parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

/** One element: tag, length, content. */
export function element(tag: number, ...content: readonly Uint8Array[]): Uint8Array {
  const body = concat(content);
  const length: number[] = [];
  if (body.length < 0x80) length.push(body.length);
  else {
    for (let rest = body.length; rest > 0; rest >>>= 8) length.unshift(rest & 0xff);
    length.unshift(0x80 | length.length);
  }
  return concat([Uint8Array.of(tag, ...length), body]);
}

export const sequence = (...items: readonly Uint8Array[]) => element(0x30, ...items);
export const set = (...items: readonly Uint8Array[]) => element(0x31, ...items);
export const octets = (bytes: Uint8Array) => element(0x04, bytes);
export const utf8 = (text: string) => element(0x0c, new TextEncoder().encode(text));
export const boolean = (value: boolean) => element(0x01, Uint8Array.of(value ? 0xff : 0));

/** A context-specific element, explicit (constructed) or implicit over primitive content. */
export const context = (number: number, constructed: boolean, ...content: readonly Uint8Array[]) =>
  element(0x80 | (constructed ? 0x20 : 0) | number, ...content);

/** A bit string; `unused` bits at its end do not count. */
export const bits = (bytes: Uint8Array, unused = 0) => element(0x03, Uint8Array.of(unused), bytes);

/** An unsigned integer from its bytes in network order. */
export function integer(bytes: Uint8Array): Uint8Array {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const trimmed = bytes.subarray(start);
  const negative = ((trimmed[0] ?? 0) & 0x80) !== 0;
  return element(0x02, ...(negative ? [Uint8Array.of(0)] : []), trimmed);
}

/** An object identifier from its dotted text. */
export function oid(text: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = text.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const groups = [arc & 0x7f];
    for (let high = arc >>> 7; high > 0; high >>>= 7) groups.unshift((high & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return element(0x06, Uint8Array.from(bytes));
}

/** UTCTime to 2049 and GeneralizedTime after it, as RFC 5280 section 4.1.2.5 wants. */
export function time(date: Date): Uint8Array {
  const digits = date.toISOString().replace(/[-:T]|\.\d+/g, "");
  const short = date.getUTCFullYear() < 2050;
  return element(short ? 0x17 : 0x18, new TextEncoder().encode(short ? digits.slice(2) : digits));
}
