/**
 * A text as a terminal and a log may show it: control characters, line separators and what turns the direction of writing
 * are written as escapes, and what is longer than `longest` characters is cut.
 */
export function printable(text: string, longest = 1800): string {
  const shown = text.length > longest ? `${text.slice(0, longest)}...` : text;
  return isPlain(shown) ? shown : shown.replace(unprintable, escapeOf);
}

const unprintable = /[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]/gu;

function escapeOf(character: string): string {
  const short = JSON.stringify(character).slice(1, -1);
  return short.startsWith("\\") ? short : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** Spares the regular expression, whose first use takes long. */
function isPlain(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 32 || code > 126) return false;
  }
  return true;
}
