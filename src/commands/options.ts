import { parseArgs } from "node:util";
import { type ErrorDetails, InvalidInput } from "../lib/errors.ts";
import { Prefix } from "../lib/prefix.ts";
import { didYouMean, suggest } from "../lib/suggest.ts";
import { UsageError } from "./usage.ts";

/** One option of a command: its help and how it is written. */
export interface OptionSpec {
  type: "string" | "boolean";
  /** The placeholder in the help, such as "NAME"; for strings. */
  value?: string;
  help: string;
  /** Shown in the help; the command applies it. */
  default?: string;
  /** May be given more than once: the value is then an array. */
  multiple?: boolean;
  short?: string;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

/** The values that a command line gave, by option name. */
export type OptionValues<S extends OptionSpecs> = {
  -readonly [K in keyof S]?: S[K]["multiple"] extends true
    ? string[]
    : S[K]["type"] extends "boolean"
      ? boolean
      : string;
};

/**
 * Reads a command line by a table of options. What follows `--` is kept apart in `rest`. Throws {@link UsageError}
 * for unknown options (with the likeliest intended one), missing values and too many or too few arguments.
 */
export function parseOptions<const S extends OptionSpecs>(
  command: string,
  args: readonly string[],
  specs: S,
  arity: { min?: number; max?: number; names?: string } = {},
): { options: OptionValues<S>; positionals: string[]; rest: string[] } {
  const cut = args.indexOf("--");
  const own = cut < 0 ? [...args] : args.slice(0, cut);
  const rest = cut < 0 ? [] : args.slice(cut + 1);
  const { tokens } = parseArgs({
    args: own,
    options: { ...specs },
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const options: Record<string, unknown> = {};
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const spec = specs[token.name];
    if (spec === undefined) {
      throw unknownOption(command, token.rawName, own[token.index] ?? token.rawName, specs);
    }
    if (spec.type === "boolean") {
      if (token.value !== undefined) throw new UsageError(`weft ${command}: ${token.rawName} takes no value`);
      options[token.name] = true;
    } else {
      if (token.value === undefined || (!token.inlineValue && token.value.startsWith("--"))) {
        throw new UsageError(
          `weft ${command}: ${token.rawName} wants a value: ${token.rawName} ${spec.value ?? "VALUE"}`,
        );
      }
      if (spec.multiple === true) {
        options[token.name] = [...((options[token.name] as string[] | undefined) ?? []), token.value];
      } else options[token.name] = token.value;
    }
  }
  const { min = 0, max = 0, names = "" } = arity;
  if (positionals.length < min)
    throw new UsageError(`weft ${command}: missing ${names}`, `See weft ${command} --help`);
  if (positionals.length > max) {
    throw new UsageError(
      `weft ${command}: too many arguments: "${positionals[max]}"`,
      `See weft ${command} --help`,
    );
  }
  return { options: options as OptionValues<S>, positionals, rest };
}

/** An option that is none, as it was typed: "-nodes" is taken apart into short ones, but surely meant as a whole. */
function unknownOption(command: string, rawName: string, typed: string, specs: OptionSpecs): UsageError {
  const whole = /^-[a-z][a-z-]+/.exec(typed)?.[0] ?? rawName;
  const near = suggest(whole.replace(/^-+/, ""), Object.keys(specs));
  const hint = near === undefined ? "" : ` (did you mean "--${near}"?)`;
  return new UsageError(
    `weft ${command}: there is no option "${near === undefined ? rawName : whole}"${hint}`,
    `See weft ${command} --help`,
  );
}

/** A whole number in a range, from an option's text. */
export function integerOption(
  name: string,
  text: string,
  min: number,
  max: number,
  details: ErrorDetails = {},
): number {
  const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) {
    throw new InvalidInput(`--${name}`, text, `is not a whole number from ${min} to ${max}`, details);
  }
  return value;
}

/** The option lines of a help text. */
export function optionsHelp(specs: OptionSpecs): string {
  const rows = Object.entries(specs).map(([name, spec]) => {
    const short = spec.short === undefined ? "" : `-${spec.short}, `;
    const head = `${short}--${name}${spec.type === "string" ? ` ${spec.value ?? "VALUE"}` : ""}`;
    const more = spec.default === undefined ? "" : ` (default: ${spec.default})`;
    return [head, `${spec.help}${spec.multiple === true ? "; may be repeated" : ""}${more}`] as const;
  });
  const width = Math.max(0, ...rows.map(([head]) => head.length));
  return rows.map(([head, help]) => `  ${head.padEnd(width)}  ${help}`).join("\n");
}

/** The parts of texts that are lists with commas. */
export function listOption(texts: readonly string[]): string[] {
  return texts.flatMap((text) => text.split(",")).filter((part) => part !== "");
}

/** Networks from lists with commas; host bits are refused. */
export function prefixesOption(name: string, texts: readonly string[]): Prefix[] {
  return listOption(texts).map((text) => {
    const prefix = Prefix.parse(text, `--${name}`);
    if (prefix.isMasked()) return prefix;
    throw new InvalidInput(`--${name}`, text, "has bits set behind its length", {
      remedy: `Write ${prefix.masked()}`,
    });
  });
}

/** One of a few words. */
export function choiceOption<const T extends string>(name: string, value: string, choices: readonly T[]): T {
  const found = choices.find((each) => each === value);
  if (found !== undefined) return found;
  throw new InvalidInput(
    `--${name}`,
    value,
    `is not one of ${choices.join(", ")}${didYouMean(value, choices)}`,
  );
}
