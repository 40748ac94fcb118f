import { WeftError } from "../lib/errors.ts";
import type { Status, StatusDetails } from "./types.ts";

/** Reasons of Status objects that have a meaning beyond their HTTP code. */
export type StatusReason =
  | "BadRequest"
  | "Unauthorized"
  | "Forbidden"
  | "NotFound"
  | "AlreadyExists"
  | "Conflict"
  | "Gone"
  | "Expired"
  | "Invalid"
  | "MethodNotAllowed"
  | "NotAcceptable"
  | "UnsupportedMediaType"
  | "RequestEntityTooLarge"
  | "TooManyRequests"
  | "Timeout"
  | "ServerTimeout"
  | "ServiceUnavailable"
  | "InternalError"
  | "Unknown";

/** An answer of the API server that is an error: its Status, and what was asked. */
export class ApiError extends WeftError {
  /** The HTTP status code, such as 404. */
  readonly httpStatus: number;
  /** Such as "NotFound"; "" where the server gave none. */
  readonly reason: StatusReason | (string & {});
  /** Which object and which fields, where the server told. */
  readonly details: StatusDetails | undefined;

  constructor(status: Status, operation: string, options: { remedy?: string; cause?: unknown } = {}) {
    const httpStatus = status.code ?? 500;
    const reason = status.reason ?? reasonOf(httpStatus);
    super(`api-${kebab(reason)}`, `${operation}: ${status.message ?? reason} (${httpStatus})`, options);
    this.httpStatus = httpStatus;
    this.reason = reason;
    this.details = status.details;
  }
}

/** The API server could not be asked, or went away before it had answered: whether it acted is unknown. */
export class ApiUnreachable extends WeftError {
  readonly server: string;
  /** It was given up because nothing came for too long, not because the connection failed. */
  readonly silent: boolean;

  constructor(
    server: string,
    operation: string,
    problem: string,
    options: { cause?: unknown; silent?: boolean } = {},
  ) {
    super("api-unreachable", `${operation}: the API server "${server}" ${problem}`, {
      remedy: "Check that the server runs, and the address and certificates in the kubeconfig",
      ...options,
    });
    this.server = server;
    this.silent = options.silent === true;
  }
}

/** The server answered with something that is not what the API promises, such as a proxy's page in place of JSON. */
export class ApiMalformed extends WeftError {
  constructor(operation: string, problem: string, options: { cause?: unknown } = {}) {
    super("api-malformed", `${operation}: ${problem}`, {
      remedy: "Check that the address is that of a Kubernetes API server",
      ...options,
    });
  }
}

/** The client was closed while, or before, it was asked. */
export class ClientClosed extends WeftError {
  constructor(server: string) {
    super("client-closed", `The client of the API server "${server}" is closed`);
  }
}

/** The object, or the resource itself, does not exist (404). */
export function isNotFound(error: unknown): error is ApiError {
  return error instanceof ApiError && error.httpStatus === 404;
}

/** The object changed since it was read, or a precondition failed (409 Conflict): read it again and retry. */
export function isConflict(error: unknown): error is ApiError {
  return error instanceof ApiError && error.httpStatus === 409 && error.reason !== "AlreadyExists";
}

/** An object of that name is there already (409 AlreadyExists). */
export function isAlreadyExists(error: unknown): error is ApiError {
  return error instanceof ApiError && error.reason === "AlreadyExists";
}

/** The resource version, or the continue token, is too old (410): list anew. */
export function isGone(error: unknown): error is ApiError {
  return error instanceof ApiError && (error.httpStatus === 410 || error.reason === "Expired");
}

/** The object does not pass validation (422); `details.causes` names the fields. */
export function isInvalid(error: unknown): error is ApiError {
  return error instanceof ApiError && error.httpStatus === 422;
}

/** The credentials are missing or not accepted (401). */
export function isUnauthorized(error: unknown): error is ApiError {
  return error instanceof ApiError && error.httpStatus === 401;
}

/** The credentials are known, but not allowed to do this (403). */
export function isForbidden(error: unknown): error is ApiError {
  return error instanceof ApiError && error.httpStatus === 403;
}

/** No answer: refused, reset, timed out, or TLS failed. */
export function isUnreachable(error: unknown): error is ApiUnreachable {
  return error instanceof ApiUnreachable;
}

/** The answer could not be understood. */
export function isMalformed(error: unknown): error is ApiMalformed {
  return error instanceof ApiMalformed;
}

/** Nothing will be answered any more: `close` was called on the client. */
export function isClientClosed(error: unknown): error is ClientClosed {
  return error instanceof ClientClosed;
}

/** Worth the same request again after a while: unreachable, overloaded (429), or a fault of the server (5xx). */
export function isTransient(error: unknown): boolean {
  if (isUnreachable(error)) return true;
  return error instanceof ApiError && (error.httpStatus === 429 || error.httpStatus >= 500);
}

const reasons: Record<number, StatusReason> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  405: "MethodNotAllowed",
  406: "NotAcceptable",
  409: "Conflict",
  410: "Gone",
  413: "RequestEntityTooLarge",
  415: "UnsupportedMediaType",
  422: "Invalid",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};

function reasonOf(httpStatus: number): StatusReason {
  return reasons[httpStatus] ?? "Unknown";
}

function kebab(reason: string): string {
  return reason.replace(/(?<=[a-z])(?=[A-Z])/g, "-").toLowerCase();
}
