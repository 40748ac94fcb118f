import { ApiError, isUnreachable } from "../kube/errors.ts";
import { explain, WeftError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";

/**
 * Whether the API server is heard, told once for all informers: what each of them would say when it goes is the same.
 */
export class ApiConnection {
  readonly #server: string;
  readonly #log: Log;
  readonly #now: () => number;
  /** The kinds of objects that are followed, with what keeps them from being heard. */
  readonly #followed = new Map<string, unknown>();
  #lost: { since: string; kind: string; message: string } | undefined;

  constructor(server: string, log: Log, now: () => number = Date.now) {
    this.#server = server;
    this.#log = log;
    this.#now = now;
  }

  /** True from the first answer on, while nothing is amiss. */
  get connected(): boolean {
    return this.#lost === undefined && this.#followed.size > 0;
  }

  /** One line for /readyz. */
  get message(): string {
    if (this.#lost !== undefined) return `not heard since ${this.#lost.since}: ${this.#lost.message}`;
    return this.connected ? this.#server : `waiting for ${this.#server}`;
  }

  /** The objects of one kind are heard. */
  heard(resource: string): void {
    this.#followed.set(resource, undefined);
    if (this.#lost === undefined || [...this.#followed.values()].some((error) => error !== undefined)) return;
    this.#lost = undefined;
    this.#log.info("The API server is heard again", { server: this.#server });
  }

  /** They are not, and why. A reason of another kind than the last is told again: who is back may refuse the token. */
  interrupted(resource: string, error: unknown): void {
    this.#followed.set(resource, error);
    const text = explain(error);
    const message = error instanceof ApiError ? `the API server "${this.#server}" says: ${text}` : text;
    const kind = kindOf(error);
    const known = this.#lost;
    this.#lost = { since: known?.since ?? new Date(this.#now()).toISOString(), kind, message };
    if (known?.kind === kind) return;
    this.#log.warn("The API server is not heard; what was last known stays in force", { error: message });
  }
}

/** A connection that is refused was often closed just before: no news. A certificate that is not trusted is. */
function kindOf(error: unknown): string {
  const code = error instanceof WeftError ? error.code : "";
  const cause = (error as { cause?: { code?: unknown } }).cause?.code;
  return isUnreachable(error) && /CERT|SIGNATURE|EPROTO/.test(String(cause)) ? `${code} ${cause}` : code;
}
