import { isErrno, isNotSupported } from "../../linux/errors.ts";
import { LeanNft } from "../../linux/lean/nft.ts";
import { tableName } from "./masquerade-names.ts";

/** Asks nftables what is there. Undefined where the kernel has no nftables, where netlink says EINVAL if it says anything. */
export function askNft<T>(question: (nft: LeanNft) => T): T | undefined {
  try {
    using nft = new LeanNft(tableName);
    return question(nft);
  } catch (error) {
    if (isNotSupported(error) || isErrno(error, "EINVAL")) return undefined;
    throw error;
  }
}
