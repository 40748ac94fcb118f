import { expect, test } from "bun:test";
import { FakeClock, sleep, systemClock } from "./clock.ts";

test("a fake clock fires timers in order of time, with their time as now", () => {
  const clock = new FakeClock(1000);
  const fired: [string, number][] = [];
  clock.after(30, () => fired.push(["c", clock.now()]));
  clock.after(10, () => {
    fired.push(["a", clock.now()]);
    clock.after(5, () => fired.push(["b", clock.now()]));
  });
  const cancel = clock.after(20, () => fired.push(["never", clock.now()]));
  cancel();
  clock.advance(29);
  expect(fired).toEqual([
    ["a", 1010],
    ["b", 1015],
  ]);
  expect(clock.waiting).toBe(1);
  clock.advance(1);
  expect(fired.at(-1)).toEqual(["c", 1030]);
  expect(clock.now()).toBe(1030);
});

test("sleep rejects with the reason of the abort and leaves no timer", async () => {
  const clock = new FakeClock();
  const controller = new AbortController();
  const slept = sleep(clock, 1000, controller.signal);
  controller.abort(new Error("enough"));
  expect(slept).rejects.toThrow("enough");
  await slept.catch(() => {});
  expect(clock.waiting).toBe(0);
  expect(sleep(clock, 1, AbortSignal.abort(new Error("before")))).rejects.toThrow("before");
});

test("sleep resolves by the system's clock", async () => {
  await sleep(systemClock, 1);
  expect(systemClock.now()).toBeGreaterThan(1_600_000_000_000);
});
