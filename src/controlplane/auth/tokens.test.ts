import { describe, expect, test } from "bun:test";
import { Tokens } from "./tokens.ts";

describe("Tokens", () => {
  const tokens = new Tokens(Tokens.newKey());
  const user = { name: "admin", groups: ["system:masters"] };

  test("tell who holds them", () => expect(tokens.verify(tokens.issue(user))).toEqual(user));

  test("expire", () => {
    const token = tokens.issue({ ...user, expires: 10_000 }, 0);
    expect(tokens.verify(token, 9_000)).toEqual(user);
    expect(tokens.verify(token, 10_000)).toBeUndefined();
  });

  test("of another key are refused", () => {
    expect(new Tokens(Tokens.newKey()).verify(tokens.issue(user))).toBeUndefined();
  });

  test("with any byte changed, cut or added are refused, and nothing throws (fuzz, seed 1)", () => {
    const token = tokens.issue(user);
    let seed = 1;
    const random = (below: number) => {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      return (seed >> 8) % below;
    };
    const alphabet = "ABCxyz019-_.=\n\u0000é";
    for (let i = 0; i < 2000; i++) {
      const position = random(token.length);
      const char = alphabet[random(alphabet.length)] as string;
      const changed = [
        token.slice(0, position) + char + token.slice(position + 1),
        token.slice(0, position),
        token.slice(0, position) + char + token.slice(position),
      ][random(3)] as string;
      if (changed !== token) expect(tokens.verify(changed)).toBeUndefined();
    }
  });
});
