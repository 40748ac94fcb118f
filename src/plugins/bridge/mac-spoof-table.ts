import { askNft } from "../netfilter/ask-nft.ts";
import { tableName } from "../netfilter/masquerade-names.ts";

/** The name of the chain and of the set of what is allowed; see mac-spoof.ts. */
export const macSpoofName = "macspoofchk";

/**
 * True where frames of some container are looked at, of Weft's or of the reference's. Two questions to the kernel, for
 * which an ordinary DEL need not load mac-spoof.ts.
 */
export function hasMacSpoofTable(): boolean {
  const found = askNft(
    (nft) =>
      nft.chainOf({ family: "bridge", name: tableName }, macSpoofName) !== undefined ||
      nft.chainOf({ family: "bridge", name: "nat" }, "PREROUTING") !== undefined,
  );
  return found === true;
}
