import { InvalidInput, WeftError } from "../lib/errors.ts";

/** The command line is wrong; the exit status is 2. */
export class UsageError extends WeftError {
  constructor(message: string, remedy?: string) {
    super("usage", message, remedy === undefined ? {} : { remedy });
  }
}

/**
 * True for what is wrong with the command line itself: its form, or the value of an option. A value with which the work
 * began and then failed, such as a port in use, has a cause, and is none of these.
 */
export function isUsageError(error: unknown): boolean {
  if (error instanceof UsageError) return true;
  return error instanceof InvalidInput && error.field.startsWith("--") && error.cause === undefined;
}
