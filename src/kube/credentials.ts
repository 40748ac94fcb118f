import { readFile } from "node:fs/promises";
import type { Clock } from "../lib/clock.ts";
import { WeftError } from "../lib/errors.ts";

/** What one request shows of who asks: a header, or a client certificate with its key (PEM). */
export interface Credential {
  authorization?: string;
  cert?: string;
  key?: string;
}

/** A source of credentials, which may change with time. */
export interface Credentials {
  /** What to show now. Rejects where there is nothing that could be shown. */
  current(signal?: AbortSignal): Promise<Credential>;
  /** The server refused the last one (401): get a new one the next time. Absent where there is no other. */
  refresh?(): void;
}

/** The same for ever. */
export function fixedCredentials(credential: Credential): Credentials {
  return { current: async () => credential };
}

export function bearer(token: string): Credential {
  return { authorization: `Bearer ${token.trim()}` };
}

export function basic(username: string, password: string): Credential {
  return { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}` };
}

/** Projected tokens are renewed long before they expire, so that one read a minute is enough (as in client-go). */
const rereadMs = 60_000;

/**
 * Text of a file that others renew: read again when a minute has passed, or after `refresh`. Keeps the last known text
 * while the file cannot be read.
 */
export class RenewedFile {
  readonly #path: string;
  readonly #clock: Clock;
  #text: string | undefined;
  #readAt = 0;

  constructor(path: string, clock: Clock) {
    this.#path = path;
    this.#clock = clock;
  }

  async current(): Promise<string> {
    const now = this.#clock.now();
    if (this.#text !== undefined && now - this.#readAt < rereadMs) return this.#text;
    try {
      this.#text = await readFile(this.#path, "utf8");
      this.#readAt = now;
    } catch (cause) {
      if (this.#text === undefined) {
        throw new WeftError("credentials-unreadable", `Cannot read the credentials in "${this.#path}"`, {
          cause,
          remedy: "Check that the file exists and may be read",
        });
      }
    }
    return this.#text;
  }

  refresh(): void {
    this.#readAt = Number.NEGATIVE_INFINITY;
  }
}

/** A bearer token in a file. */
export function tokenFile(path: string, options: { clock: Clock; fallback?: string }): Credentials {
  const file = new RenewedFile(path, options.clock);
  return {
    current: async () => {
      try {
        return bearer(await file.current());
      } catch (error) {
        if (options.fallback !== undefined) return bearer(options.fallback);
        throw error;
      }
    },
    refresh: () => file.refresh(),
  };
}

/** A client certificate and its key, each inline (PEM) or in a file that others renew, beside other credentials. */
export function withCertificate(
  cert: string | RenewedFile,
  key: string | RenewedFile,
  other?: Credentials,
): Credentials {
  const text = (source: string | RenewedFile) => (typeof source === "string" ? source : source.current());
  return {
    current: async (signal) => ({
      ...(await other?.current(signal)),
      cert: await text(cert),
      key: await text(key),
    }),
    refresh: () => {
      for (const source of [cert, key]) if (typeof source !== "string") source.refresh();
      other?.refresh?.();
    },
  };
}
