import { InvalidInput } from "../lib/errors.ts";
import { Prefix } from "../lib/prefix.ts";
import { ipOf, is, isNot, meta, type Selector, type Statement } from "../linux/nftables/expr.ts";

/** How the conditions are written: words of iptables or of nft. */
const selectors: Readonly<Record<string, "saddr" | "daddr" | "iifname">> = {
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

/**
 * The conditions of conditionsV4 or conditionsV6 as statements of a rule: source, destination and incoming interface,
 * each perhaps negated, in the words of iptables (`"!", "-d", "192.0.2.0/24"`) or of nft (`"ip", "daddr", "!=",
 * "192.0.2.0/24"`). Throws {@link InvalidInput} for anything else.
 */
export function parseConditions(words: readonly string[], family: 4 | 6): Statement[] {
  const field = `conditionsV${family}`;
  const statements: Statement[] = [];
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
    const name = Object.hasOwn(selectors, word) ? selectors[word] : undefined;
    if (name === undefined) {
      throw new InvalidInput(field, word, "is no condition that is understood here", {
        remedy:
          "Use -s, -d and -i with an optional ! before, or saddr, daddr and iifname with an optional != behind",
      });
    }
    if (accept("!", "!=")) negated = true;
    else accept("==");
    const value = words[i++];
    if (value === undefined) throw new InvalidInput(field, word, "has no value behind it");
    statements.push(condition(name, value, negated, family, field));
  }
  return statements;
}

function condition(
  name: "saddr" | "daddr" | "iifname",
  value: string,
  negated: boolean,
  family: 4 | 6,
  field: string,
): Statement {
  const compare = negated ? isNot : is;
  // iptables ends a pattern of names with "+", nft with "*".
  if (name === "iifname")
    return compare(meta.iifname, value.endsWith("+") ? `${value.slice(0, -1)}*` : value);
  const prefix = value.includes("/")
    ? Prefix.parse(value, field)
    : Prefix.parse(`${value}/${family === 4 ? 32 : 128}`, field);
  if (prefix.family !== family) throw new InvalidInput(field, value, `is not of IPv${family}`);
  const selector: Selector = ipOf(family)[name];
  return compare(selector, String(prefix.masked()));
}
