import { CniError, cniErrorCode } from "../../cni/errors.ts";
import { isErrno } from "../../linux/errors.ts";

const tries = 20;
/** Milliseconds. */
const longestPause = 32;

/** True where nftables was changed by somebody else meanwhile, or was just being changed. */
function isDisturbed(error: unknown): boolean {
  return isErrno(error, "ERESTART", "EAGAIN");
}

/**
 * Runs a change that holds for what it has just seen of nftables, anew where somebody else changed something meanwhile:
 * after a short pause of chance length, lest all of them meet again. Throws a {@link CniError} of code 11 where that does
 * not end.
 */
export async function untilUndisturbed<T>(change: () => T): Promise<T> {
  let cause: unknown;
  for (let i = 0; i < tries; i++) {
    if (i > 0) await pause(Math.min(2 ** i, longestPause) * Math.random());
    try {
      return change();
    } catch (error) {
      if (!isDisturbed(error)) throw error;
      cause = error;
    }
  }
  throw new CniError(
    cniErrorCode.tryAgainLater,
    `others changed nftables ${tries} times while Weft was about to`,
    { cause, remedy: 'Look with "nft monitor" which program changes nftables all the time' },
  );
}

async function pause(milliseconds: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
}
