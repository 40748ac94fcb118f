import { longestConfig } from "../cni/netconf.ts";
import { headerSize, identities, longestStrings, magic, pieceSize, statSize } from "./protocol.ts";

/** What a launcher tells of the process that it is. */
export interface Caller {
  argv: string[];
  env: Record<string, string>;
  /** For each of the protocol's identities: device and inode. */
  identities: string[];
}

/** The bytes of one connection, as far as they have come. Throws RangeError for what no launcher says. */
export class Incoming {
  #bytes: Uint8Array = new Uint8Array(0);

  add(bytes: Uint8Array): void {
    if (this.#bytes.length === 0) this.#bytes = bytes.slice();
    else this.#bytes = Buffer.concat([this.#bytes, bytes]);
  }

  /** The caller, once all of it is there. */
  takeCaller(): Caller | undefined {
    const start = this.#bytes.subarray(0, magic.length);
    if (!start.every((byte, i) => byte === magic[i])) throw new RangeError("not a launcher of weft-cni");
    if (this.#bytes.length < headerSize) return undefined;
    const [count, length] = [this.#number(8), this.#number(16)];
    if (length > longestStrings || count > length) throw new RangeError("strings too long");
    const end = headerSize + length;
    if (this.#bytes.length < end) return undefined;
    const stats = Array.from(identities, (_, i) => {
      const at = 24 + i * statSize;
      return `${this.#view().getBigUint64(at, true)}.${this.#view().getBigUint64(at + 8, true)}`;
    });
    const strings = new TextDecoder().decode(this.#bytes.subarray(headerSize, end - 1)).split("\0");
    this.#bytes = this.#bytes.subarray(end);
    return { argv: strings.slice(0, count), env: environmentOf(strings.slice(count)), identities: stats };
  }

  /** The next piece of standard input once it is there; empty at its end. */
  takePiece(): Uint8Array | undefined {
    if (this.#bytes.length < 8) return undefined;
    const length = this.#number(0);
    if (length > pieceSize) throw new RangeError("a piece too long");
    const end = 8 + length;
    if (this.#bytes.length < end) return undefined;
    const piece = this.#bytes.subarray(8, end);
    this.#bytes = this.#bytes.subarray(end);
    return piece;
  }

  #number(at: number): number {
    return Number(this.#view().getBigUint64(at, true));
  }

  #view(): DataView {
    return new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
  }
}

/** As getenv(3): the first of two variables with one name counts. */
function environmentOf(pairs: readonly string[]): Record<string, string> {
  const env = new Map<string, string>();
  for (const pair of pairs) {
    const at = pair.indexOf("=");
    const name = pair.slice(0, at);
    if (at > 0 && !env.has(name)) env.set(name, pair.slice(at + 1));
  }
  return Object.fromEntries(env);
}

/** Standard input as it comes. */
export class Input {
  readonly #pieces: Uint8Array[] = [];
  #length = 0;

  add(piece: Uint8Array): void {
    this.#length += piece.length;
    this.#pieces.push(piece);
  }

  /** Longer than a configuration may be: nothing more has to be seen. */
  get isTooLong(): boolean {
    return this.#length > longestConfig;
  }

  /** Undefined where it is too long. */
  text(): string | undefined {
    return this.isTooLong ? undefined : new TextDecoder().decode(Buffer.concat(this.#pieces));
  }
}
