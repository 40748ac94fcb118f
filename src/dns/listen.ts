import { WeftError } from "../lib/errors.ts";

/** An address could not be listened on; `code` says which of the reasons that a caller may want to tell apart. */
export class ListenFailure extends WeftError {
  readonly address: string;
  readonly port: number;

  constructor(
    code: string,
    protocol: string,
    address: string,
    port: number,
    problem: string,
    remedy: string,
  ) {
    const where = `${address.includes(":") ? `[${address}]` : address}:${port}/${protocol}`;
    super(code, `Cannot serve DNS at ${where}: ${problem}`, { remedy });
    this.address = address;
    this.port = port;
  }
}

/** True where another program has the address and port (EADDRINUSE). */
export function isAddressInUse(error: unknown): error is ListenFailure {
  return error instanceof ListenFailure && error.code === "address-in-use";
}

/** True where no interface has the address yet (EADDRNOTAVAIL): trying again later can help. */
export function isAddressNotAvailable(error: unknown): error is ListenFailure {
  return error instanceof ListenFailure && error.code === "address-not-available";
}

/** The error of a failed bind, with what can be done about it. */
export function listenFailure(
  protocol: "udp" | "tcp",
  address: string,
  port: number,
  error: unknown,
): ListenFailure {
  const text = error instanceof Error ? error.message : String(error);
  const code = (error as { code?: string }).code ?? text;
  const fail = (kind: string, problem: string, remedy: string) =>
    new ListenFailure(kind, protocol, address, port, problem, remedy);
  if (code.includes("EADDRINUSE")) {
    return fail(
      "address-in-use",
      "another program listens there",
      "Stop it (ss -lunp and ss -ltnp name it), or choose another address",
    );
  }
  if (code.includes("EADDRNOTAVAIL")) {
    return fail(
      "address-not-available",
      "no interface has this address",
      "Add the address, or try again later",
    );
  }
  if (code.includes("EACCES")) {
    return fail("listen-denied", "ports below 1024 need privilege", "Run as root");
  }
  return fail("listen-failed", text, "Check the address and the port");
}
