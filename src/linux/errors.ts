import { type ErrorDetails, WeftError } from "../lib/errors.ts";
import { type ErrnoName, errnoName } from "./errno.ts";

/** What the kernel refused: the operation, its subject, the errno, and the extended-ack text where it gave one. */
export class KernelError extends WeftError {
  /** Positive, as in errno.h. */
  readonly errno: number;
  /** Such as "EEXIST". */
  readonly errnoName: string;
  /** Such as "add route", "setns". */
  readonly operation: string;
  /** Such as "10.244.1.0/24 via 172.30.0.2". */
  readonly subject: string;
  /** The kernel's own sentence (NLMSGERR_ATTR_MSG). */
  readonly extack: string | undefined;

  constructor(
    operation: string,
    subject: string,
    errno: number,
    details: ErrorDetails & { extack?: string | undefined } = {},
  ) {
    const name = errnoName(errno);
    const said = details.extack === undefined ? name : `${name}: ${details.extack}`;
    super(`kernel-${name.toLowerCase()}`, `cannot ${operation}${subject && ` ${subject}`} (${said})`, {
      ...remedyFor(name),
      ...details,
    });
    this.errno = errno;
    this.errnoName = name;
    this.operation = operation;
    this.subject = subject;
    this.extack = details.extack;
  }
}

/** What helps whatever was attempted, for those errnos that have such a thing. */
function remedyFor(name: string): ErrorDetails {
  return name === "EPERM" ? { remedy: "Run it as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN" } : {};
}

/** A {@link KernelError} with one of these names. */
export function isErrno(error: unknown, ...names: ErrnoName[]): error is KernelError {
  return error instanceof KernelError && (names as string[]).includes(error.errnoName);
}

/** The thing is not there: no such file, link, route or process. */
export const isNotFound = (error: unknown): error is KernelError =>
  isErrno(error, "ENOENT", "ENODEV", "ESRCH", "ENXIO", "EADDRNOTAVAIL");

/** The thing is there already. */
export const isExists = (error: unknown): error is KernelError => isErrno(error, "EEXIST");

/** Something else still uses the thing. */
export const isBusy = (error: unknown): error is KernelError => isErrno(error, "EBUSY");

/** The kernel lacks the feature (or its module). */
export const isNotSupported = (error: unknown): error is KernelError =>
  isErrno(error, "EOPNOTSUPP", "EPROTONOSUPPORT", "EAFNOSUPPORT", "ENOSYS");

/** The caller lacks a capability. */
export const isNotPermitted = (error: unknown): error is KernelError => isErrno(error, "EPERM", "EACCES");
