import type { NetnsRef } from "./netns.ts";
import { Nftables, type NftablesApi } from "./nftables/nftables.ts";
import { Rtnl } from "./route/rtnl.ts";
import { ProcSysctl, type Sysctl } from "./sysctl.ts";

/** The kernel's networking of one namespace, or the fake of it. */
export interface Kernel {
  readonly rtnl: Rtnl;
  readonly nft: NftablesApi;
  readonly sysctl: Sysctl;
  /** Closes the sockets. Monitors have their own. */
  close(): void;
}

/**
 * The kernel in a namespace; in the caller's own where none is given. Sockets are opened at their first use, so that
 * what is not used costs nothing; they keep working when the namespace has lost its name.
 */
export function openKernel(netns?: NetnsRef): Kernel {
  const options = { netns };
  const rtnl = new Rtnl(options);
  const nft = new Nftables(options);
  return {
    rtnl,
    nft,
    sysctl: new ProcSysctl(options),
    close() {
      rtnl.close();
      nft.close();
    },
  };
}
