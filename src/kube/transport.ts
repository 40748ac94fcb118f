import { abortable } from "../lib/abort.ts";
import { type Clock, sleep, systemClock } from "../lib/clock.ts";
import { WeftError } from "../lib/errors.ts";
import type { ClientConfig } from "./clientconfig.ts";
import type { Credential } from "./credentials.ts";
import { ApiError, ApiUnreachable } from "./errors.ts";
import type { Status } from "./types.ts";

export interface TransportOptions {
  clock?: Clock;
  userAgent?: string;
  /** Carries requests in place of the global `fetch`: to a server in the same process, without a connection. */
  fetch?: (url: string, init: BunFetchRequestInit) => Promise<Response>;
}

/** One HTTP exchange. */
export interface Exchange {
  method: string;
  /** With its query. */
  path: string;
  /** What is attempted, for messages: "get pod default/blue". */
  operation: string;
  body?: unknown;
  contentType?: string;
  accept?: string;
  signal: AbortSignal;
}

/** How often a request that the server put off (429 or 503 with Retry-After) is sent again. */
const putOffs = 5;

/** Carries requests to one API server by `fetch`: TLS, credentials, and what is wrong with an answer. */
export class Transport {
  readonly server: string;
  readonly #config: ClientConfig;
  readonly #clock: Clock;
  readonly #userAgent: string;
  readonly #fetch: NonNullable<TransportOptions["fetch"]>;

  constructor(config: ClientConfig, options: TransportOptions = {}) {
    this.server = config.server;
    this.#config = config;
    this.#clock = options.clock ?? systemClock;
    this.#userAgent = options.userAgent ?? "weft";
    this.#fetch = options.fetch ?? fetch;
  }

  /**
   * Sends a request and answers with the response once its status is a good one. Rejects with `ApiError`,
   * `ApiUnreachable`, or the reason of the signal's abort.
   */
  async send(exchange: Exchange): Promise<Response> {
    let refreshed = false;
    for (let attempt = 0; ; attempt++) {
      const response = await this.#attempt(exchange);
      if (response.ok) return response;
      const error = await this.#errorOf(response, exchange);
      const credentials = this.#config.credentials;
      if (response.status === 401 && !refreshed && credentials?.refresh !== undefined) {
        refreshed = true;
        credentials.refresh();
        continue;
      }
      const wait = retryAfterMs(response);
      if (wait === undefined || attempt >= putOffs) throw error;
      await sleep(this.#clock, wait, exchange.signal);
    }
  }

  async #attempt(exchange: Exchange): Promise<Response> {
    const credential = (await this.#config.credentials?.current(exchange.signal)) ?? {};
    try {
      const answer = this.#fetch(`${this.server}${exchange.path}`, this.#init(exchange, credential));
      return await abortable(answer, exchange.signal);
    } catch (error) {
      throw this.unreachable(exchange, error);
    }
  }

  #init(exchange: Exchange, credential: Credential): BunFetchRequestInit {
    const { ca, insecure, serverName, proxy } = this.#config;
    const headers: Record<string, string> = {
      Accept: exchange.accept ?? "application/json",
      "User-Agent": this.#userAgent,
      ...this.#config.headers,
    };
    if (credential.authorization !== undefined) headers.Authorization = credential.authorization;
    if (exchange.body !== undefined) headers["Content-Type"] = exchange.contentType ?? "application/json";
    return {
      method: exchange.method,
      headers,
      signal: exchange.signal,
      redirect: "manual",
      timeout: false,
      ...(exchange.body === undefined ? {} : { body: JSON.stringify(exchange.body) }),
      ...(proxy === undefined ? {} : { proxy }),
      tls: {
        rejectUnauthorized: insecure !== true,
        ...(ca === undefined ? {} : { ca }),
        ...(credential.cert === undefined ? {} : { cert: credential.cert }),
        ...(credential.key === undefined ? {} : { key: credential.key }),
        ...(serverName === undefined ? {} : { serverName }),
      },
    };
  }

  async #errorOf(response: Response, exchange: Exchange): Promise<Error> {
    let text: string;
    try {
      text = await response.text();
    } catch (error) {
      return this.unreachable(exchange, error);
    }
    return new ApiError(statusOf(response, text), exchange.operation, remedyOf(response.status));
  }

  /** What a failed fetch, or a body that broke off, means; the abort's reason stays what it is. */
  unreachable(exchange: Pick<Exchange, "operation" | "signal">, error: unknown): Error {
    if (exchange.signal.aborted) {
      const reason: unknown = exchange.signal.reason;
      if (reason instanceof NotInTime) {
        return new ApiUnreachable(this.server, exchange.operation, reason.message, {
          cause: reason,
          silent: true,
        });
      }
      return reason instanceof Error ? reason : new Error(String(reason));
    }
    if (error instanceof WeftError) return error;
    return new ApiUnreachable(this.server, exchange.operation, problemOf(error), { cause: error });
  }
}

/** The reason with which a deadline of the client itself aborts a request. */
export class NotInTime extends Error {
  constructor(milliseconds: number) {
    super(`did not answer within ${milliseconds} ms`);
  }
}

const problems: Record<string, string> = {
  ECONNREFUSED: "refuses the connection",
  ECONNRESET: "closed the connection",
  ENOTFOUND: "has a name that cannot be resolved",
  EPROTO: "does not finish the TLS handshake (is a client certificate missing?)",
  ERR_TLS_CERT_ALTNAME_INVALID: "shows a certificate for another name",
  SELF_SIGNED_CERT_IN_CHAIN: "shows a certificate of an unknown authority",
  DEPTH_ZERO_SELF_SIGNED_CERT: "shows a certificate of an unknown authority",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "shows a certificate of an unknown authority",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "shows a certificate of an unknown authority",
  CERT_HAS_EXPIRED: "shows a certificate that has expired",
};

function problemOf(error: unknown): string {
  const code = (error as { code?: unknown }).code;
  const text = error instanceof Error ? error.message : String(error);
  return (typeof code === "string" ? problems[code] : undefined) ?? `cannot be reached: ${text}`;
}

function statusOf(response: Response, text: string): Status {
  try {
    const status = JSON.parse(text) as Status | null;
    if (typeof status === "object" && status?.kind === "Status") return { code: response.status, ...status };
  } catch {
    // Not from the API server itself: a proxy, or the net/http text of an unknown path.
  }
  const message = text.trim().slice(0, 200) || response.statusText || "no explanation";
  return { code: response.status, message };
}

function remedyOf(httpStatus: number): { remedy?: string } {
  if (httpStatus === 401) return { remedy: "Check the user's credentials in the kubeconfig" };
  if (httpStatus === 403) return { remedy: "Give the user this right (RBAC)" };
  return {};
}

/** In milliseconds; undefined where the server did not ask for another attempt. */
function retryAfterMs(response: Response): number | undefined {
  if (response.status !== 429 && response.status !== 503) return undefined;
  const seconds = Number(response.headers.get("Retry-After") ?? "");
  return Number.isInteger(seconds) && seconds > 0 ? seconds * 1000 : undefined;
}
