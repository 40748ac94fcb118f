/** Letters that form no words, as Kubernetes uses them in generated names. */
const alphabet = "bcdfghjklmnpqrstvwxz2456789";

/** A short name for a JSON value: equal for equal values, whatever the order of their keys. */
export function hashOf(value: unknown, salt = 0): string {
  // FNV-1a of 64 bits: a hash of 32 would make two templates out of 77,000 meet.
  let hash = 0xcbf29ce484222325n ^ BigInt(salt);
  for (const byte of new TextEncoder().encode(canonical(value))) {
    hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  }
  let text = "";
  for (let i = 0; i < 10; i++) {
    text += alphabet[Number(hash % 27n)];
    hash /= 27n;
  }
  return text;
}

/** JSON with sorted keys and without what is absent. */
export function canonical(value: unknown): string {
  return (
    JSON.stringify(value, (_, part: unknown) =>
      typeof part === "object" && part !== null && !Array.isArray(part)
        ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
        : part,
    ) ?? ""
  );
}
