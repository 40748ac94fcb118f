import { randomBytes } from "node:crypto";
import { CniError, cniErrorCode } from "../cni/errors.ts";
import { quote } from "../lib/errors.ts";
import { isExists } from "../linux/errors.ts";
import type { Link, NewLink } from "../linux/route/link.ts";
import type { Rtnl } from "../linux/route/rtnl.ts";

const tries = 10;
/** How long a new port may take until it forwards. Milliseconds. */
const patience = 2500;

/** A name for the host's end, in the manner of the reference plugins. */
export function randomVethName(): string {
  return `veth${randomBytes(4).toString("hex")}`;
}

/** A pair whose one end is born in a container. */
export interface VethInput {
  /** A descriptor that is open on the container's namespace. */
  netnsFd: number;
  ifname: string;
  mtu?: number;
  /** Of the container's end. */
  mac?: string;
  /** The host's end belongs to this link from the start. */
  master?: number;
}

/**
 * Makes a pair: the host's end up, the container's end down and without address. Returns the host's end. Throws where
 * the container has such an interface already.
 */
export function createVeth(rtnl: Rtnl, input: VethInput): Link {
  const { ifname, netnsFd, mtu, mac, master } = input;
  const common = mtu === undefined ? {} : { mtu };
  for (let i = 1; ; i++) {
    const name = randomVethName();
    const link: NewLink = {
      kind: "veth",
      name,
      up: true,
      ...common,
      ...(master === undefined ? {} : { master }),
      peer: { name: ifname, netns: { fd: netnsFd }, ...common, ...(mac === undefined ? {} : { mac }) },
    };
    try {
      rtnl.links.add(link);
      return rtnl.links.get(name);
    } catch (error) {
      // Either name may be taken; only the random one is worth another try.
      if (!isExists(error) || rtnl.links.find(name) === undefined || i === tries) throw error;
    }
  }
}

/** Throws where the container has an interface of that name. */
export function requireAbsent(rtnl: Rtnl, ifname: string, netns: string): void {
  if (rtnl.links.find(ifname) === undefined) return;
  throw new CniError(
    cniErrorCode.internal,
    `container veth name (${quote(ifname)}) already exists in ${netns}`,
    { remedy: "Call DEL for the container first, or choose another CNI_IFNAME" },
  );
}

/**
 * Waits until a link is operational; for a bridge port that is when it forwards. Asking makes recent kernels (6.7 and
 * newer) bring the state up to date at once; older ones do it within milliseconds.
 */
export async function waitUntilUp(rtnl: Rtnl, name: string): Promise<Link> {
  const deadline = performance.now() + patience;
  for (let pause = 1; ; pause = Math.min(pause * 2, 50)) {
    const link = rtnl.links.get(name);
    if (link.operState === "up") return link;
    if (performance.now() >= deadline) {
      throw new CniError(cniErrorCode.internal, `bridge port in error state: ${link.operState}`, {
        remedy: `Look at ${quote(name)} and at what controls its bridge`,
      });
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}
