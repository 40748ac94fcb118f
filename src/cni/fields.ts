import { InvalidInput } from "../lib/errors.ts";
import { Ip } from "../lib/ip.ts";
import { Prefix } from "../lib/prefix.ts";
import { printable } from "../lib/printable.ts";
import { didYouMean, suggest } from "../lib/suggest.ts";

/** Of what {@link Fields.unknownKeys} says. */
const mostSentences = 20;
const longestKey = 120;
/** So many are looked at one by one. */
const fewKeys = 200;
/** Nobody looks for a misspelt key among more. */
const mostKeys = 1000;

/** A JSON object as it was parsed. */
export type JsonObject = Record<string, unknown>;

/** True for a JSON object, not for arrays and null. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Typed reading of a JSON object from a configuration. A field that is absent or null is undefined; one of the wrong
 * type throws {@link InvalidInput} with the field's whole path. As in Go's encoding/json, on which the reference
 * plugins stand, a name that does not match exactly is matched without regard to case.
 */
export class Fields {
  readonly raw: JsonObject;
  readonly path: string;
  #byLowerCase: Map<string, string> | undefined;

  constructor(raw: JsonObject, path = "") {
    this.raw = raw;
    this.path = path;
  }

  /** The field's path for messages, such as "ipam.ranges[0][0].subnet". */
  at(name: string): string {
    return this.path === "" ? name : `${this.path}.${name}`;
  }

  /** The value as it was parsed; undefined where absent or null. */
  get(name: string): unknown {
    const key = Object.hasOwn(this.raw, name) ? name : this.#similar(name);
    return key === undefined ? undefined : (this.raw[key] ?? undefined);
  }

  #similar(name: string): string | undefined {
    const wanted = name.toLowerCase();
    if (this.#byLowerCase !== undefined) return this.#byLowerCase.get(wanted);
    let count = 0;
    for (const key in this.raw) {
      if (key.length === name.length && key.toLowerCase() === wanted) return key;
      if (++count > fewKeys) return this.#index().get(wanted);
    }
    return undefined;
  }

  /** Where there are very many keys, looking at all of them for each that is missing takes seconds. */
  #index(): Map<string, string> {
    const index = new Map<string, string>();
    for (const key in this.raw) {
      const lower = key.toLowerCase();
      if (!index.has(lower)) index.set(lower, key);
    }
    this.#byLowerCase = index;
    return index;
  }

  string(name: string): string | undefined {
    return this.#typed(name, "string", "is not a text");
  }

  boolean(name: string): boolean | undefined {
    return this.#typed(name, "boolean", "is neither true nor false");
  }

  #typed(name: string, type: "string", problem: string): string | undefined;
  #typed(name: string, type: "boolean", problem: string): boolean | undefined;
  #typed(name: string, type: string, problem: string): unknown {
    const value = this.get(name);
    if (value === undefined || typeof value === type) return value;
    throw new InvalidInput(this.at(name), value, problem, { remedy: `Write it as a JSON ${type}` });
  }

  /** A whole number from `min` to `max`. */
  integer(name: string, min: number, max: number): number | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
    throw new InvalidInput(this.at(name), value, `is not a whole number from ${min} to ${max}`);
  }

  strings(name: string): string[] | undefined {
    return this.#array(name)?.map((item, i) => {
      if (typeof item === "string") return item;
      throw new InvalidInput(`${this.at(name)}[${i}]`, item, "is not a text");
    });
  }

  object(name: string): Fields | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    if (isJsonObject(value)) return new Fields(value, this.at(name));
    throw new InvalidInput(this.at(name), value, "is not a JSON object");
  }

  objects(name: string): Fields[] | undefined {
    return this.#array(name)?.map((item, i) => this.#element(item, `${this.at(name)}[${i}]`));
  }

  /** An array of arrays of objects, as host-local's `ranges`. */
  objectLists(name: string): Fields[][] | undefined {
    return this.#array(name)?.map((list, i) => {
      const path = `${this.at(name)}[${i}]`;
      if (!Array.isArray(list)) {
        const remedy = "Put brackets around it: [[{ ... }]] is a list of lists";
        throw new InvalidInput(path, list, "is not a list", { remedy });
      }
      return list.map((item, j) => this.#element(item, `${path}[${j}]`));
    });
  }

  #element(item: unknown, path: string): Fields {
    if (isJsonObject(item)) return new Fields(item, path);
    throw new InvalidInput(path, item, "is not a JSON object");
  }

  #array(name: string): unknown[] | undefined {
    const value = this.get(name);
    if (value === undefined || Array.isArray(value)) return value;
    throw new InvalidInput(this.at(name), value, "is not a list");
  }

  /** A path that means the same wherever the caller has its working directory; undefined where absent or "". */
  absolutePath(name: string): string | undefined {
    const path = this.string(name) || undefined;
    if (path === undefined) return undefined;
    if (path.includes("\0")) throw new InvalidInput(this.at(name), path, "has a zero byte in it");
    if (path.startsWith("/")) return path;
    throw new InvalidInput(this.at(name), path, "is not an absolute path", { remedy: "Begin it with /" });
  }

  ip(name: string): Ip | undefined {
    const text = this.string(name);
    return text === undefined || text === "" ? undefined : Ip.parse(text, this.at(name));
  }

  prefix(name: string): Prefix | undefined {
    const text = this.string(name);
    return text === undefined || text === "" ? undefined : Prefix.parse(text, this.at(name));
  }

  /** The error for a key that must be there; its remedy is the key that was likely meant to be it, where there is one. */
  missing(name: string, remedy?: string): InvalidInput {
    const advice = this.misspelt(name) ?? remedy;
    return new InvalidInput(
      this.at(name),
      undefined,
      "is missing",
      advice === undefined ? {} : { remedy: advice },
    );
  }

  /** The remedy for a key that is not there, where another one looks like it. */
  misspelt(name: string): string | undefined {
    if (this.get(name) !== undefined) return undefined;
    // One that is there with null is no misspelling.
    const others = Object.keys(this.raw).filter((key) => key.toLowerCase() !== name.toLowerCase());
    const meant = others.length > mostKeys ? undefined : suggest(name, others);
    return meant === undefined ? undefined : `Write "${name}" in place of "${meant}"`;
  }

  /**
   * One sentence for each key that is not among `known`, with the likeliest intended one. What is very many is counted
   * instead.
   */
  unknownKeys(known: readonly string[]): string[] {
    const sentences: string[] = [];
    const exact = new Set(known);
    const lower = new Set(known.map((key) => key.toLowerCase()));
    let count = 0;
    for (const key in this.raw) {
      if (exact.has(key) || lower.has(key.toLowerCase())) continue;
      if (++count <= mostSentences) {
        const shown = printable(this.at(key), longestKey);
        sentences.push(`${shown}: unknown key${didYouMean(key, known)}; it is ignored`);
      }
    }
    if (count > mostSentences) {
      sentences.push(`${this.path || "the configuration"}: ${count - mostSentences} more unknown keys`);
    }
    return sentences;
  }
}
