import { quote } from "../lib/errors.ts";
import { ApiMalformed } from "./errors.ts";

/** A watch event holds one object, and etcd takes none above 1.5 MiB by default; this leaves room for any that was raised. */
const longestLine = 64 * 1024 * 1024;

const newline = 0x0a;

/**
 * Cuts a byte stream into lines and parses each as JSON. Chunks may end anywhere, also within a character: a line is
 * decoded only when it is complete, and no byte of a multi-byte UTF-8 character is a newline.
 */
export class JsonLines {
  readonly #decoder = new TextDecoder();
  readonly #operation: string;
  readonly #longest: number;
  #pieces: Uint8Array[] = [];
  #length = 0;

  constructor(operation: string, longest = longestLine) {
    this.#operation = operation;
    this.#longest = longest;
  }

  /** The values of the lines that this chunk completes. Throws `ApiMalformed` where one is not JSON, or too long. */
  *push(chunk: Uint8Array): Generator<unknown> {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(newline, start);
      const piece = chunk.subarray(start, end < 0 ? chunk.length : end);
      this.#length += piece.length;
      if (this.#length > this.#longest) {
        throw new ApiMalformed(this.#operation, `a line of the stream is longer than ${this.#longest} bytes`);
      }
      if (end < 0) {
        if (piece.length > 0) this.#pieces.push(piece);
        return;
      }
      const value = this.#complete(piece);
      if (value !== undefined) yield value;
      start = end + 1;
    }
  }

  /** The stream ended: the value of a last line without newline. Throws `ApiMalformed` where it was cut off. */
  *end(): Generator<unknown> {
    const value = this.#complete(new Uint8Array(0));
    if (value !== undefined) yield value;
  }

  /** Undefined for a blank line. */
  #complete(last: Uint8Array): unknown {
    const bytes = this.#pieces.length === 0 ? last : Buffer.concat([...this.#pieces, last]);
    this.#pieces = [];
    this.#length = 0;
    const text = this.#decoder.decode(bytes).trim();
    if (text === "") return undefined;
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw new ApiMalformed(this.#operation, `a line of the stream is not JSON: ${quote(text)}`, { cause });
    }
  }
}
