import { WeftError } from "../lib/errors.ts";

/** The command line is wrong; the exit status is 2. */
export class UsageError extends WeftError {
  constructor(message: string, remedy?: string) {
    super("usage", message, remedy === undefined ? {} : { remedy });
  }
}
