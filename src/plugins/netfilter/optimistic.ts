import { CniError, cniErrorCode } from "../../cni/errors.ts";
import { isErrno } from "../../linux/errors.ts";
import { isGenerationChanged } from "../../linux/nftables/index.ts";

const tries = 20;
/** Milliseconds. */
const longestPause = 32;

/** True where nftables changed, or was being changed, by somebody else meanwhile. */
function isDisturbed(error: unknown): boolean {
  return isGenerationChanged(error) || isErrno(error, "EAGAIN");
}

/**
 * Runs a change that holds for what it has just seen of nftables, anew where somebody else changed something meanwhile:
 * after a short pause of chance length, lest all of them meet again. Throws a {@link CniError} of code 11 where that does
 * not end.
 */
export async function untilUndisturbed(change: () => void): Promise<void> {
  let cause: unknown;
  for (let i = 0; i < tries; i++) {
    if (i > 0) await pause(Math.min(2 ** i, longestPause) * Math.random());
    try {
      change();
      return;
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
