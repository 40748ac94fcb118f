import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { at, isDict } from "../objects.ts";

/** Who asks. Every known user may do everything: the embedded server knows no roles. */
export interface User {
  readonly name: string;
  readonly groups: readonly string[];
}

export interface TokenClaims extends User {
  /** For whom it is, where not for the API server alone. */
  readonly audiences?: readonly string[];
  /** Milliseconds since the epoch; never where not given. */
  readonly expires?: number;
  /** Further claims, such as the `kubernetes.io` one of service accounts. */
  readonly more?: Record<string, unknown>;
}

const ISSUER = "https://kubernetes.default.svc.cluster.local";

/**
 * Bearer tokens: JSON Web Tokens signed by HMAC-SHA-256 with a key that only the server has, so that it need keep no
 * list of them.
 */
export class Tokens {
  readonly #key: Buffer;

  /** The key in hex, as {@link Tokens.newKey} gives it. */
  constructor(key: string) {
    this.#key = Buffer.from(key, "hex");
  }

  static newKey(): string {
    return randomBytes(32).toString("hex");
  }

  issue(claims: TokenClaims, now = Date.now()): string {
    const head = encode({ alg: "HS256", typ: "JWT" });
    const body = encode({
      iss: ISSUER,
      sub: claims.name,
      aud: claims.audiences ?? [ISSUER],
      iat: Math.floor(now / 1000),
      ...(claims.expires === undefined ? {} : { exp: Math.floor(claims.expires / 1000) }),
      groups: claims.groups,
      ...claims.more,
    });
    return `${head}.${body}.${this.#sign(`${head}.${body}`)}`;
  }

  /** Who holds the token, or undefined where it is not one of ours, was changed, or has expired. */
  verify(token: string, now = Date.now()): User | undefined {
    const parts = token.split(".");
    if (parts.length !== 3) return undefined;
    const [head, body, signature] = parts as [string, string, string];
    const expected = Buffer.from(this.#sign(`${head}.${body}`));
    const given = Buffer.from(signature);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
    const claims: unknown = JSON.parse(Buffer.from(body, "base64url").toString());
    const name = at(claims, "sub");
    const groups = at(claims, "groups");
    const expires = at(claims, "exp");
    if (!isDict(claims) || typeof name !== "string" || !Array.isArray(groups)) return undefined;
    if (typeof expires === "number" && expires * 1000 <= now) return undefined;
    return { name, groups: groups.filter((group) => typeof group === "string") };
  }

  #sign(text: string): string {
    return createHmac("sha256", this.#key).update(text).digest("base64url");
  }
}

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
