import { expect, test } from "bun:test";
import { Turns } from "./turns.ts";

const never = new AbortController().signal;

/** An action that ends only where it is aborted, as an ADD without a server. */
function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** What comes of each, as text. */
async function outcomes(calls: readonly Promise<unknown>[]): Promise<string[]> {
  const settled = await Promise.allSettled(calls);
  return settled.map((each) => (each.status === "fulfilled" ? String(each.value) : each.reason.message));
}

test("what concerns one thing happens in a row, whatever comes of what was before", async () => {
  const turns = new Turns();
  const order: string[] = [];
  const calls = ["first", "second", "third"].map((what) =>
    turns.run("a", never, async () => {
      order.push(`${what} begins`);
      await Bun.sleep(1);
      order.push(`${what} ends`);
      if (what === "first") throw new Error("failed");
      return what;
    }),
  );
  expect(await outcomes(calls)).toEqual(["failed", "second", "third"]);
  expect(order).toEqual(["first", "second", "third"].flatMap((what) => [`${what} begins`, `${what} ends`]));
});

const queues: [string, ("ADD" | "DEL")[], string[]][] = [
  ["the one under way", ["ADD"], ["DEL came"]],
  ["the one under way and the ones that wait", ["ADD", "ADD", "ADD"], ["DEL came", "DEL came", "DEL came"]],
  ["but no DEL that waits", ["ADD", "DEL"], ["DEL came", "deleted"]],
  [
    "on either side of a DEL, in its place",
    ["ADD", "DEL", "ADD", "DEL"],
    ["DEL came", "deleted", "DEL came", "deleted"],
  ],
];
for (const [what, queue, expected] of queues) {
  test(`giving up aborts every ADD: ${what}`, async () => {
    const turns = new Turns();
    const calls = queue.map((command) =>
      command === "ADD"
        ? turns.runYielding("a", never, untilAborted)
        : turns.run("a", never, () => "deleted"),
    );
    const abort = new AbortController();
    const other = turns.runYielding("b", abort.signal, untilAborted);
    turns.giveUp("a", new Error("DEL came"));
    const own = turns.run("a", never, () => "deleted");
    expect(await outcomes([...calls, own])).toEqual([...expected, "deleted"]);
    abort.abort(new Error("not wanted"));
    expect(await outcomes([other])).toEqual(["not wanted"]);
  });
}

test("what begins after giving up is not aborted by it", async () => {
  const turns = new Turns();
  const before = turns.runYielding("a", never, untilAborted);
  turns.giveUp("a", new Error("DEL came"));
  const after = turns.runYielding("a", never, () => "added");
  expect(await outcomes([before, after])).toEqual(["DEL came", "added"]);
});

test("at the end everything is aborted, also what is under way before others", async () => {
  const turns = new Turns();
  const calls = [
    turns.runYielding("a", never, untilAborted),
    turns.run("a", never, () => "deleted"),
    turns.run("b", never, untilAborted),
  ];
  await Bun.sleep(0);
  turns.giveUpAll(new Error("the daemon ends"));
  expect(await outcomes(calls)).toEqual(["the daemon ends", "the daemon ends", "the daemon ends"]);
});
