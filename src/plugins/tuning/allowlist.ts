import { CniError, cniErrorCode } from "../../cni/errors.ts";
import { quote } from "../../lib/errors.ts";
import type { Sysctl } from "./config.ts";

/** What names of POSIX classes stand for, as Go has them. */
const classes: Readonly<Record<string, string>> = {
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  ascii: "\\x00-\\x7f",
  blank: "\\t ",
  cntrl: "\\x00-\\x1f\\x7f",
  digit: "0-9",
  graph: "!-~",
  lower: "a-z",
  print: " -~",
  punct: "!-/:-@[-`{-~",
  space: "\\t-\\r ",
  upper: "A-Z",
  word: "0-9A-Za-z_",
  xdigit: "0-9A-Fa-f",
};

/**
 * Throws a {@link CniError} where a parameter matches none of the lines of a list, which are regular expressions as Go
 * has them. They are found anywhere in the key as it is configured.
 */
export function requireAllowed(text: string, path: string, sysctls: readonly Sysctl[]): void {
  const lines = text.split("\n").map((line) => line.trim());
  const list = lines.filter((line) => line !== "");
  const patterns = list.map((line) => compile(line, path));
  for (const { key } of sysctls) {
    if (patterns.some((pattern) => pattern.test(key))) continue;
    throw new CniError(
      cniErrorCode.invalidNetworkConfig,
      `Sysctl ${key} is not allowed. Only the following sysctls are allowed: [${list.join(" ")}]`,
      { remedy: `Leave it out, or let the administrator add it to ${path}` },
    );
  }
}

function compile(line: string, path: string): RegExp {
  try {
    const [source, flags] = translate(line);
    return new RegExp(source, flags);
  } catch (error) {
    throw new CniError(cniErrorCode.internal, `${path}: ${quote(line)} is not a pattern`, {
      cause: error,
      remedy: "Write one regular expression on each line",
    });
  }
}

/**
 * Go's syntax in that of JavaScript. What only Go knows and this does not is an error: in JavaScript it could mean
 * something else and allow more.
 */
function translate(line: string): [string, string] {
  const [, inline = "", rest = line] = /^\(\?([ims]+)\)(.*)$/s.exec(line) ?? [];
  if (/\\[ACEQz]|\\[pP]|\\x\{|\(\?(?!:)|[*+?}]\+/.test(rest.replace(/\\\\/g, "").replace(/^\\A|\\z$/g, ""))) {
    throw new SyntaxError("not supported");
  }
  const source = rest
    .replace(/^\\A/, "^")
    .replace(/\\z$/, "$")
    .replace(/\[:(\w+):\]/g, (whole, name: string) => classes[name] ?? whole);
  if (source.includes("[:")) throw new SyntaxError("no such class");
  return [source, inline];
}
