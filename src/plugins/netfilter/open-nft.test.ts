import { expect, test } from "bun:test";
import { KernelError } from "../../linux/errors.ts";
import type { LeanNft } from "../../linux/lean/nft.ts";
import { openNft } from "./open-nft.ts";

const EPERM = 1;
const EINVAL = 22;
const EPROTONOSUPPORT = 93;

/** A socket whose first question the kernel answers with an errno. */
function refusing(errno: number): LeanNft {
  const generation = () => {
    throw new KernelError("get generation", "of nftables", errno);
  };
  return { generation, close: () => undefined } as unknown as LeanNft;
}

test("a kernel without nftables is none of an error, and others are", () => {
  const noSocket = () => {
    throw new KernelError("open socket", "", EPROTONOSUPPORT);
  };
  expect(openNft(noSocket)).toBeUndefined();
  expect(openNft(() => refusing(EINVAL))).toBeUndefined();
  expect(() => openNft(() => refusing(EPERM))).toThrow("EPERM");
});
