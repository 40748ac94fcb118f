import { isErrno, isNotSupported } from "../../linux/errors.ts";
import { LeanNft } from "../../linux/lean/nft.ts";
import { tableName } from "../netfilter/masquerade-names.ts";

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
    nft.chainUse("firewall");
    return nft;
  } catch (error) {
    nft?.close();
    if (isNotSupported(error) || isErrno(error, "EINVAL")) return undefined;
    throw error;
  }
}
