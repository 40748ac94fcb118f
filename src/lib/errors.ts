import { printable } from "./printable.ts";

/** Details that every Weft error can carry; see {@link WeftError}. */
export interface ErrorDetails {
  /** What the operator can do about it, one sentence in the imperative. */
  remedy?: string;
  cause?: unknown;
}

/**
 * The root of all errors that Weft throws on purpose. The message says what was attempted, on what, and why it
 * failed, with values quoted; `code` is stable and for programs; `remedy` says what to do.
 */
export class WeftError extends Error {
  readonly code: string;
  readonly remedy: string | undefined;

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.remedy = details.remedy;
  }

  /** One line for people: the message, then the remedy. */
  explain(): string {
    return shown(this.remedy === undefined ? this.message : `${this.message}. ${this.remedy}`);
  }
}

/** Input that cannot be used: names the field, the value where there is one, and the remedy. Nothing was changed. */
export class InvalidInput extends WeftError {
  readonly field: string;
  readonly value: unknown;

  constructor(field: string, value: unknown, problem: string, details: ErrorDetails = {}) {
    const what = value === undefined ? problem : `${quote(value)} ${problem}`;
    super("invalid-input", `${field}: ${what}`, details);
    this.field = field;
    this.value = value;
  }
}

/** Of a line that is shown to people. Characters. */
const longest = 10_000;

/** A value as it is shown in messages: JSON, cut to 120 characters. */
export function quote(value: unknown): string {
  const text = value === undefined ? "nothing" : (JSON.stringify(value) ?? String(value));
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}

/** The one line to show for anything that was thrown. */
export function explain(error: unknown): string {
  if (error instanceof WeftError) return error.explain();
  return shown(error instanceof Error ? error.message : String(error));
}

/** Messages may carry what came from outside; of more than one line each stays a line. */
function shown(text: string): string {
  if (!text.includes("\n")) return printable(text, longest);
  return text
    .split("\n")
    .map((line) => printable(line, longest))
    .join("\n");
}
