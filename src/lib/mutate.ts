/* Input as nobody should send it, made from good input; for tests of parsers. */

/** Values that are wrong nearly everywhere: other types, extremes, traps of the language. */
export const oddities: readonly unknown[] = [
  null,
  true,
  false,
  -1,
  0,
  1.5,
  65536,
  2 ** 31,
  2 ** 32,
  1e308,
  // What JSON.parse makes of 1e400.
  Number.POSITIVE_INFINITY,
  Number.MAX_SAFE_INTEGER + 2,
  "",
  "x",
  "..",
  "../..",
  "/",
  "\0",
  "a\nb",
  "\u001b[31mred",
  "\u{1f600}",
  "\ud800",
  "10.0.0.1/33",
  "10.0.0.0/0",
  "::/0",
  "::/129",
  "::ffff:1.2.3.4",
  "fe80::1%eth0",
  "1.1.0",
  "constructor",
  "__proto__",
  [],
  {},
  [null],
  [[[]]],
  [{}],
  { __proto__: null },
  JSON.parse('{"__proto__": {"x": 1}}'),
  "a".repeat(5000),
  Array.from({ length: 300 }, () => "x"),
];

const traps = ["__proto__", "constructor", "toString", "hasOwnProperty", "length", "IPS", "dns"];

/** A copy with one value somewhere inside replaced, left out, added, or under a name of another case. */
export function mutate(value: unknown, random: () => number): unknown {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  if (typeof value !== "object" || value === null || random() < 0.1) return pick(oddities);
  if (Array.isArray(value)) return mutateArray(value, random, pick);
  const keys = Object.keys(value);
  if (keys.length === 0 || random() < 0.1) return { ...value, [pick(traps)]: pick(oddities) };
  const key = pick(keys);
  const { [key]: inner, ...others } = value as Record<string, unknown>;
  const fate = random();
  if (fate < 0.1) return others;
  if (fate < 0.2) return { ...others, [random() < 0.5 ? key.toUpperCase() : key.toLowerCase()]: inner };
  return { ...value, [key]: mutate(inner, random) };
}

function mutateArray(
  list: readonly unknown[],
  random: () => number,
  pick: <T>(items: readonly T[]) => T,
): unknown[] {
  if (list.length === 0) return [pick(oddities)];
  const at = Math.floor(random() * list.length);
  const fate = random();
  if (fate < 0.1) return list.toSpliced(at, 1);
  if (fate < 0.2) return [...list, list[at]];
  return list.map((item, i) => (i === at ? mutate(item, random) : item));
}

/** Cuts, doubles and flips characters. */
export function scramble(text: string, random: () => number): string {
  const at = Math.floor(random() * text.length);
  const kind = Math.floor(random() * 4);
  if (kind === 0) return text.slice(0, at);
  if (kind === 1) return text.slice(0, at) + text.slice(Math.max(0, at - 20));
  if (kind === 2)
    return text.slice(0, at) + String.fromCharCode(Math.floor(random() * 300)) + text.slice(at + 1);
  return text.replace(/[{}[\]",:]/g, (c) => (random() < 0.02 ? "" : c));
}
