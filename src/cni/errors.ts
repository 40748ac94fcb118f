import { type ErrorDetails, explain, InvalidInput, WeftError } from "../lib/errors.ts";
import { printable } from "../lib/printable.ts";

/** Error codes of the CNI specification ("Well-known Error Codes"), and of libcni where it has its own. */
export const cniErrorCode = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  decoding: 6,
  invalidNetworkConfig: 7,
  invalidNetns: 8,
  tryAgainLater: 11,
  pluginNotAvailable: 50,
  limitedConnectivity: 51,
  internal: 999,
} as const;

/** A failure with a code of the CNI specification: 1 to 99 are the specification's, 100 and more a plugin's own. */
export class CniError extends WeftError {
  readonly cniCode: number;

  constructor(cniCode: number, message: string, details: ErrorDetails = {}) {
    super(`cni-${cniCode}`, message, details);
    this.cniCode = cniCode;
  }
}

/** A {@link CniError} with this code. */
export function hasCniCode(error: unknown, code: number): error is CniError {
  return error instanceof CniError && error.cniCode === code;
}

/** What a plugin prints on standard output when it fails. */
export interface ErrorResult {
  cniVersion: string;
  code: number;
  msg: string;
  details?: string;
}

/** The error result for anything that was thrown; the remedy stands in `details`. */
export function toErrorResult(error: unknown, cniVersion: string): ErrorResult {
  const remedy = error instanceof WeftError ? error.remedy : undefined;
  return {
    cniVersion,
    code: codeOf(error),
    msg: printable(error instanceof Error ? error.message : explain(error)),
    ...(remedy === undefined ? {} : { details: printable(remedy) }),
  };
}

/** The code for anything that was thrown: what cannot be configured so is 7, what nobody thought of 999. */
export function codeOf(error: unknown): number {
  if (error instanceof CniError) return error.cniCode;
  return error instanceof InvalidInput ? cniErrorCode.invalidNetworkConfig : cniErrorCode.internal;
}

/**
 * The error that a plugin printed, or undefined where the text is no error result. Codes outside of the unsigned range
 * count as 0 (unknown).
 */
export function parseErrorResult(text: string): ErrorResult | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const { cniVersion, code, msg, details } = value as Record<string, unknown>;
  if (typeof msg !== "string" || msg === "") return undefined;
  return {
    cniVersion: typeof cniVersion === "string" ? cniVersion : "",
    code: typeof code === "number" && Number.isInteger(code) && code >= 0 ? code : 0,
    msg,
    ...(typeof details === "string" && details !== "" ? { details } : {}),
  };
}
