import { describe, expect, test } from "bun:test";
import { FakeClock } from "../lib/clock.ts";
import { ReconcileLoop } from "./loop.ts";

const settle = () => new Promise((resolve) => setImmediate(resolve));

describe("ReconcileLoop", () => {
  test("makes one run of triggers that come together, and one more of those that come meanwhile", async () => {
    const gates: (() => void)[] = [];
    const abort = new AbortController();
    const loop = new ReconcileLoop(() => new Promise<void>((resolve) => gates.push(resolve)), {
      clock: new FakeClock(),
      signal: abort.signal,
      onError: () => {},
    });
    loop.trigger();
    loop.trigger();
    await settle();
    expect(gates.length).toBe(1);
    loop.trigger();
    loop.trigger();
    gates[0]?.();
    await settle();
    expect(gates.length).toBe(2);
    gates[1]?.();
    await settle();
    expect(gates.length).toBe(2);
  });

  test("tries again with growing pauses after failures, until it succeeds", async () => {
    const clock = new FakeClock();
    const errors: unknown[] = [];
    let runs = 0;
    const loop = new ReconcileLoop(
      () => {
        runs++;
        if (runs < 4) throw new Error(`run ${runs}`);
      },
      { clock, signal: new AbortController().signal, retryMin: 100, onError: (error) => errors.push(error) },
    );
    loop.trigger();
    await settle();
    for (const pause of [100, 200, 400]) {
      clock.advance(pause - 1);
      await settle();
      const before = runs;
      clock.advance(1);
      await settle();
      expect(runs).toBe(before + 1);
    }
    expect(errors.map(String)).toEqual(["Error: run 1", "Error: run 2", "Error: run 3"]);
    expect(clock.waiting).toBe(0);
  });

  test("does nothing more once it is aborted", async () => {
    const clock = new FakeClock();
    const abort = new AbortController();
    let runs = 0;
    const loop = new ReconcileLoop(
      () => {
        runs++;
        throw new Error("no");
      },
      { clock, signal: abort.signal, onError: () => {} },
    );
    loop.trigger();
    await settle();
    abort.abort();
    clock.advance(60_000);
    loop.trigger();
    await settle();
    expect(runs).toBe(1);
  });
});
