import { describe, expect, test } from "bun:test";
import { longestConfig } from "../cni/netconf.ts";
import { Incoming, Input } from "./call.ts";
import { headerSize, identities, longestStrings, magic, pieceSize, statSize } from "./protocol.ts";

const number = (value: number) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);

/** What a launcher sends before anything else. */
function header(argv: string[], env: string[], length?: number): Buffer {
  const strings = Buffer.from([...argv, ...env].map((each) => `${each}\0`).join(""));
  const stats = identities.map((_, i) =>
    Buffer.concat([number(i), number(100 + i), Buffer.alloc(statSize - 16)]),
  );
  return Buffer.concat([magic, number(argv.length), number(length ?? strings.length), ...stats, strings]);
}

const piece = (text: string) => Buffer.concat([number(text.length), Buffer.from(text)]);

describe("Incoming", () => {
  const whole = Buffer.concat([
    header(
      ["/opt/cni/bin/bridge", ""],
      ["CNI_COMMAND=ADD", "A=1", "A=2", "EMPTY=", "=x", "noise", "URL=a=b", "constructor=1"],
    ),
    piece('{"name":'),
    piece('"net"}'),
    number(0),
  ]);

  for (const step of [1, 7, 1000, whole.length]) {
    test(`reads what comes in pieces of ${step} bytes`, () => {
      const incoming = new Incoming();
      const pieces: string[] = [];
      let caller: ReturnType<Incoming["takeCaller"]>;
      for (let at = 0; at < whole.length; at += step) {
        incoming.add(whole.subarray(at, at + step));
        caller ??= incoming.takeCaller();
        if (caller === undefined) continue;
        for (let next = incoming.takePiece(); next !== undefined; next = incoming.takePiece())
          pieces.push(new TextDecoder().decode(next));
      }
      expect(caller).toEqual({
        argv: ["/opt/cni/bin/bridge", ""],
        env: { CNI_COMMAND: "ADD", A: "1", EMPTY: "", URL: "a=b", constructor: "1" },
        identities: identities.map((_, i) => `${i}.${100 + i}`),
      });
      expect(pieces).toEqual(['{"name":', '"net"}', ""]);
    });
  }

  test("refuses what no launcher says, as soon as it can be seen", () => {
    const noise = new Incoming();
    noise.add(Buffer.from("GET / HTTP/1.1\r\n"));
    expect(() => noise.takeCaller()).toThrow(/not a launcher/);
    const start = new Incoming();
    start.add(Buffer.from("weft"));
    expect(start.takeCaller()).toBeUndefined();
    start.add(Buffer.from("-CNI"));
    expect(() => start.takeCaller()).toThrow(/not a launcher/);
  });

  test("refuses strings that are longer than a launcher sends", () => {
    const incoming = new Incoming();
    incoming.add(header(["bridge"], [], longestStrings + 1));
    expect(() => incoming.takeCaller()).toThrow(/too long/);
    expect(headerSize).toBe(24 + identities.length * statSize);
  });

  test("refuses a piece that is longer than a launcher sends", () => {
    const incoming = new Incoming();
    incoming.add(number(pieceSize + 1));
    expect(() => incoming.takePiece()).toThrow(/too long/);
  });
});

describe("Input", () => {
  test("is text, without a byte order mark", () => {
    const input = new Input();
    // A character of two bytes that is cut in the middle.
    const bytes = Buffer.from('\ufeff{"name":"é"}');
    for (const [from, to] of [[0, 13], [13]]) input.add(bytes.subarray(from, to));
    expect(input.text()).toBe('{"name":"é"}');
  });

  test("that is longer than a configuration may be is none", () => {
    const input = new Input();
    for (let length = 0; length < longestConfig; length += pieceSize) input.add(new Uint8Array(pieceSize));
    expect(input.isTooLong).toBe(false);
    input.add(new Uint8Array(1));
    expect([input.isTooLong, input.text()]).toEqual([true, undefined]);
  });
});
