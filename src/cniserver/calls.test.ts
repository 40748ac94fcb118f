import { expect, test } from "bun:test";
import { Calls } from "./calls.ts";

/** Calls whose ends are in the test's hands. */
function scene() {
  const log: string[] = [];
  const ends = new Map<string, () => void>();
  const calls = new Calls(() => log.push("idle"));
  const add = (key: string | undefined, name: string) =>
    calls.add(key, async () => {
      log.push(`${name} begins`);
      await new Promise<void>((resolve) => ends.set(name, resolve));
      log.push(`${name} ends`);
    });
  const end = async (name: string) => {
    ends.get(name)?.();
    await Bun.sleep(0);
  };
  return { log, calls, add, end };
}

test("calls with one key are made in a row, others at the same time", async () => {
  const { log, calls, add, end } = scene();
  expect(calls.isIdle).toBe(true);
  add("blue", "ADD");
  add("blue", "DEL");
  add("green", "ADD of green");
  add(undefined, "GC");
  add(undefined, "STATUS");
  expect(log.splice(0)).toEqual(["ADD begins", "ADD of green begins", "GC begins", "STATUS begins"]);
  await end("ADD");
  expect(log.splice(0)).toEqual(["ADD ends", "DEL begins"]);
  add("blue", "ADD again");
  await end("GC");
  await end("STATUS");
  await end("ADD of green");
  await end("DEL");
  expect(log.splice(0)).toEqual([
    "GC ends",
    "STATUS ends",
    "ADD of green ends",
    "DEL ends",
    "ADD again begins",
  ]);
  expect(calls.isIdle).toBe(false);
  await end("ADD again");
  expect(log).toEqual(["ADD again ends", "idle"]);
  expect(calls.isIdle).toBe(true);
});

test("the end is when those are done that came while it was waited for, too", async () => {
  const { calls, add, end } = scene();
  await calls.ended();
  add("blue", "ADD");
  let hasEnded = false;
  const ended = calls.ended().then(() => {
    hasEnded = true;
  });
  add("blue", "DEL");
  await end("ADD");
  expect(hasEnded).toBe(false);
  await end("DEL");
  await ended;
});
