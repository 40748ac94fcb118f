import { Conntrack } from "./conntrack/conntrack.ts";
import type { ConntrackApi } from "./conntrack/model.ts";
import type { NetnsRef } from "./netns.ts";
import { Nftables, type NftablesApi } from "./nftables/nftables.ts";
import { Rtnl } from "./route/rtnl.ts";
import { ProcSysctl, type Sysctl } from "./sysctl.ts";

/** The kernel's networking of one namespace, or the fake of it. */
export interface Kernel extends Disposable {
  readonly rtnl: Rtnl;
  readonly nft: NftablesApi;
  readonly conntrack: ConntrackApi;
  readonly sysctl: Sysctl;
  /** Closes the sockets. Monitors have their own. */
  close(): void;
}

/**
 * The kernel in a namespace; in the caller's own where none is given. Each socket is opened at its first use, so that
 * what is not used costs nothing, and works from then on even if the namespace loses its name.
 */
export function openKernel(netns?: NetnsRef): Kernel {
  const options = { netns };
  const rtnl = new Rtnl(options);
  const nft = new Nftables(options);
  const conntrack = new Conntrack(options);
  const close = () => {
    rtnl.close();
    nft.close();
    conntrack.close();
  };
  return { rtnl, nft, conntrack, sysctl: new ProcSysctl(options), close, [Symbol.dispose]: close };
}
