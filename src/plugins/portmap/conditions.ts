import { InvalidInput } from "../../lib/errors.ts";
import { Prefix } from "../../lib/prefix.ts";

/** How the conditions are written: words of iptables or of nft. */
const selectors: Readonly<Record<string, Condition["what"]>> = {
  "-s": "saddr",
  "--source": "saddr",
  "--src": "saddr",
  saddr: "saddr",
  "-d": "daddr",
  "--destination": "daddr",
  "--dst": "daddr",
  daddr: "daddr",
  "-i": "iifname",
  "--in-interface": "iifname",
  iifname: "iifname",
};

/** What a packet has to be, or not to be where `negated`. */
export interface Condition {
  what: "saddr" | "daddr" | "iifname";
  /** A prefix, or the name of an interface, perhaps with "*" at its end. */
  value: string;
  negated: boolean;
}

/**
 * The conditions of conditionsV4 or conditionsV6: source, destination and incoming interface, each perhaps negated, in
 * the words of iptables (`"!", "-d", "192.0.2.0/24"`) or of nft (`"ip", "daddr", "!=", "192.0.2.0/24"`). Throws
 * {@link InvalidInput} for anything else.
 */
export function parseConditions(words: readonly string[], family: 4 | 6): Condition[] {
  const field = `conditionsV${family}`;
  const conditions: Condition[] = [];
  for (let i = 0; i < words.length; ) {
    let negated = false;
    const accept = (...candidates: string[]) => {
      const found = candidates.includes(words[i] ?? "");
      if (found) i++;
      return found;
    };
    if (accept("!")) negated = true;
    accept("ip", "ip6", "meta");
    const word = words[i++] ?? "";
    const what = Object.hasOwn(selectors, word) ? selectors[word] : undefined;
    if (what === undefined) {
      throw new InvalidInput(field, word, "is no condition that is understood here", {
        remedy:
          'Use -s, -d and -i with an optional ! before, or saddr, daddr and iifname with an optional != behind; backend "iptables" knows all of iptables\' own',
      });
    }
    if (accept("!", "!=")) negated = true;
    else accept("==");
    const value = words[i++];
    if (value === undefined) throw new InvalidInput(field, word, "has no value behind it");
    conditions.push({ what, value: canonical(what, value, family, field), negated });
  }
  return conditions;
}

/** True for conditions that only iptables understands: one of its many other matches. */
export function needsIptables(words: readonly string[], family: 4 | 6): boolean {
  try {
    parseConditions(words, family);
    return false;
  } catch {
    return words.some((word) => word.startsWith("-"));
  }
}

function canonical(what: Condition["what"], value: string, family: 4 | 6, field: string): string {
  // iptables ends a pattern of names with "+", nft with "*".
  if (what === "iifname") return value.endsWith("+") ? `${value.slice(0, -1)}*` : value;
  const prefix = Prefix.parse(value.includes("/") ? value : `${value}/${family === 4 ? 32 : 128}`, field);
  if (prefix.family !== family) throw new InvalidInput(field, value, `is not of IPv${family}`);
  return String(prefix.masked());
}
