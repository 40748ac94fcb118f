import { WeftError } from "../../lib/errors.ts";

/** A message that does not follow RFC 1035: the only error that decoding throws. `offset` is in bytes from its start. */
export class DnsFormatError extends WeftError {
  readonly offset: number;

  constructor(offset: number, problem: string) {
    super("dns-format", `DNS message at byte ${offset}: ${problem}`);
    this.offset = offset;
  }
}

/** True for the error that decoding a malformed message throws; such a query is answered with FORMERR. */
export function isDnsFormatError(error: unknown): error is DnsFormatError {
  return error instanceof DnsFormatError;
}
