import { InvalidInput } from "./errors.ts";

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/**
 * Milliseconds of a duration as Go writes it: numbers with units from ms to h, such as "10s", "1m2s", "1.5h" or "0".
 * Throws {@link InvalidInput}.
 */
export function parseDuration(text: string, field = "duration"): number {
  if (text === "0") return 0;
  const part = /([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)/y;
  let total = 0;
  while (part.lastIndex < text.length) {
    const found = part.exec(text);
    if (found === null) break;
    total += Number(found[1]) * (units[found[2] as string] as number);
    if (part.lastIndex === text.length) return total;
  }
  throw new InvalidInput(field, text, "is not a duration", {
    remedy: "Write it with units, such as 500ms, 10s or 1m30s",
  });
}
