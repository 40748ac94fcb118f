import { expect, test } from "bun:test";
import { Writer } from "./codec.ts";

test("a value that makes the buffer grow is not lost", () => {
  const writer = new Writer();
  writer.raw(new Uint8Array(writer.bytes.length));
  const at = writer.length;
  writer.u8(7);
  expect(writer.bytes[at]).toBe(7);
});
