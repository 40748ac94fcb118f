import { CniError, cniErrorCode } from "../../cni/errors.ts";
import { isErrno, isNotSupported } from "../../linux/errors.ts";
import { LeanNft } from "../../linux/lean/nft.ts";
import { tableName } from "./masquerade-names.ts";

/** What a kernel without nftables has of iptables' chains there. */
export const noChains: Pick<LeanNft, "chainOf"> = { chainOf: () => undefined };

/**
 * The plugins' table, or undefined on a kernel without nftables: there is no such socket, or nobody behind it, which
 * nfnetlink tells by EINVAL.
 */
export function openNft(open = () => new LeanNft(tableName)): LeanNft | undefined {
  let nft: LeanNft | undefined;
  try {
    nft = open();
    nft.generation();
    return nft;
  } catch (error) {
    nft?.close();
    if (isNotSupported(error) || isErrno(error, "EINVAL")) return undefined;
    throw error;
  }
}

/** The error for a kernel without nftables, where that is what is asked for. */
export function noNftables(cniCode: number = cniErrorCode.internal): CniError {
  return new CniError(cniCode, "the kernel has no nftables (CONFIG_NF_TABLES)", {
    remedy: 'Install iptables and set the backend to "iptables"',
  });
}

/** For STATUS: throws a {@link CniError} of code 50 where the kernel has no nftables. */
export function requireNftables(): void {
  using nft = openNft();
  if (nft === undefined) throw noNftables(cniErrorCode.pluginNotAvailable);
}
