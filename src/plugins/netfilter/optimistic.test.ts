import { expect, test } from "bun:test";
import { CniError, cniErrorCode } from "../../cni/errors.ts";
import { type ErrnoName, errno } from "../../linux/errno.ts";
import { KernelError } from "../../linux/errors.ts";
import { untilUndisturbed } from "./optimistic.ts";

/** Fails so many times. Returns how often it was tried, and what came out. */
async function run(failures: number, name: ErrnoName): Promise<{ tried: number; error?: unknown }> {
  let tried = 0;
  try {
    await untilUndisturbed(() => {
      if (++tried <= failures) throw new KernelError("apply", "table", errno[name]);
    });
    return { tried };
  } catch (error) {
    return { tried, error };
  }
}

test.each(["ERESTART", "EAGAIN"] as const)("%s is tried again, and is code 11 in the end", async (name) => {
  expect(await run(3, name)).toEqual({ tried: 4 });
  const { tried, error } = await run(Infinity, name);
  expect(tried).toBe(20);
  expect(error).toBeInstanceOf(CniError);
  expect((error as CniError).cniCode).toBe(cniErrorCode.tryAgainLater);
  expect((error as CniError).remedy).toContain("nft monitor");
});

test("another failure is thrown at once", async () => {
  const { tried, error } = await run(1, "EBUSY");
  expect({ tried, message: (error as Error).message }).toEqual({
    tried: 1,
    message: "cannot apply table (EBUSY)",
  });
});

test("others go on during the pauses", async () => {
  const order: string[] = [];
  let tried = 0;
  const change = untilUndisturbed(() => {
    order.push("change");
    if (++tried === 1) throw new KernelError("apply", "table", errno.ERESTART);
  });
  order.push("other");
  await change;
  expect(order).toEqual(["change", "other", "change"]);
});
