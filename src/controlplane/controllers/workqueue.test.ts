import { expect, test } from "bun:test";
import { ApiError } from "../../kube/errors.ts";
import { FakeClock } from "../../lib/clock.ts";
import { createLog } from "../../lib/log.ts";
import { WorkQueue } from "./workqueue.ts";

function setUp(process: (key: string) => Promise<number | undefined>, concurrency?: number) {
  const clock = new FakeClock();
  const controller = new AbortController();
  const logged: string[] = [];
  const log = createLog({ write: (line) => logged.push(line.slice(25)) });
  const options = { clock, log, signal: controller.signal, process };
  const queue = new WorkQueue({ ...options, ...(concurrency === undefined ? {} : { concurrency }) });
  return { queue, clock, controller, logged };
}

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

test("keys are gathered until the start, each is worked on once", async () => {
  const done: string[] = [];
  const { queue } = setUp(async (key) => void done.push(key) as undefined);
  for (const key of ["a", "b", "a"]) queue.add(key);
  await settle();
  expect(done).toEqual([]);
  queue.start();
  await settle();
  queue.add("a");
  queue.add("a");
  await settle();
  expect(done).toEqual(["a", "b", "a"]);
});

test("one key is never worked on twice at a time, and again when it was added meanwhile", async () => {
  const running = new Map<string, number>();
  const finish: (() => void)[] = [];
  const started: string[] = [];
  const { queue } = setUp(async (key) => {
    running.set(key, (running.get(key) ?? 0) + 1);
    expect(running.get(key)).toBe(1);
    started.push(key);
    await new Promise<void>((resolve) => finish.push(resolve));
    running.set(key, 0);
    return undefined;
  }, 2);
  queue.start();
  for (const key of ["a", "b", "c"]) queue.add(key);
  await settle();
  expect(started).toEqual(["a", "b"]);
  queue.add("a");
  queue.add("a");
  finish.shift()?.();
  await settle();
  expect(started).toEqual(["a", "b", "c"]);
  finish.shift()?.();
  await settle();
  expect(started).toEqual(["a", "b", "c", "a"]);
});

test("failures are tried again, ever later, and a success begins anew", async () => {
  let failing = true;
  const at: number[] = [];
  const { queue, clock, logged } = setUp(async () => {
    at.push(clock.now());
    if (failing) throw new Error("no luck");
    return undefined;
  });
  queue.start();
  queue.add("a");
  await settle();
  for (let i = 0; i < 700; i++) {
    clock.advance(5);
    await settle();
  }
  const gaps = at.slice(1).map((time, i) => time - (at[i] as number));
  expect(gaps).toEqual([5, 10, 20, 40, 80, 160, 320, 640, 1280]);
  expect(logged[0]).toContain('A step failed and is tried again key=a error="no luck" inMs=5');
  failing = false;
  clock.advance(30_000);
  await settle();
  failing = true;
  const last = at.length;
  queue.add("a");
  await settle();
  clock.advance(5);
  await settle();
  expect(at.length).toBe(last + 2);
});

test("conflicts are part of the work and not told", async () => {
  let left = 3;
  const { queue, clock, logged } = setUp(async () => {
    if (left-- > 0) throw new ApiError({ code: 409, reason: "Conflict" }, "update");
    return undefined;
  });
  queue.start();
  queue.add("a");
  for (let i = 0; i < 10; i++) {
    await settle();
    clock.advance(50);
  }
  expect([left, logged]).toEqual([-1, []]);
});

test("a key that is to come again comes once, at the earliest of its times, and not after the end", async () => {
  const at: number[] = [];
  const { queue, clock, controller } = setUp(async () => {
    at.push(clock.now() - start);
    return at.length === 1 ? 100 : undefined;
  });
  const start = clock.now();
  queue.start();
  queue.add("a");
  await settle();
  queue.addAfter("a", 500);
  queue.addAfter("a", 50);
  for (let i = 0; i < 20; i++) {
    clock.advance(50);
    await settle();
  }
  expect(at).toEqual([0, 50]);
  queue.addAfter("a", 100);
  controller.abort();
  queue.add("b");
  clock.advance(1000);
  await settle();
  expect(at.length).toBe(2);
  expect(clock.waiting).toBe(0);
});
