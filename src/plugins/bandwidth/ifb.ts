import { CniError, cniErrorCode } from "../../cni/errors.ts";
import { isExists, isNotSupported } from "../../linux/errors.ts";
import type { LeanLink, LeanRtnl } from "../../linux/lean/rtnl.ts";
import type { LeanTc } from "../../linux/lean/tc.ts";
import { type Attachment, aliasOf, isAlias } from "../shared/attachment.ts";
import type { Undo } from "../shared/undo.ts";

/*
 * What a container sends arrives at the host's end of its pair, where nothing can be made to wait. So it is led through
 * a device of its own, an ifb, whose qdisc does that.
 */

export const ifbKind = "ifb";
/** The kernel's IFNAMSIZ without the final zero. */
const longestName = 15;
const namePrefix = "bwp";
/** Packets; the reference's least. */
const shortestQueue = 1000;

/** The device's name, which is the reference plugin's, so that either's DEL finds what the other made. */
export function ifbName({ network, containerId }: Attachment): string {
  return named(`${network}${containerId}`);
}

/** For a container's second interface on a network: with the reference plugin both have one name, and ADD fails. */
function secondName({ network, containerId, ifname }: Attachment): string {
  return named(`${network}${containerId}/${ifname}`);
}

function named(text: string): string {
  const hash = new Bun.CryptoHasher("sha512").update(text).digest("hex");
  return `${namePrefix}${hash}`.slice(0, longestName);
}

/**
 * The attachment's device: the one that says so, or one that says nothing and has the name, as the reference plugin makes
 * them. Undefined where there is none.
 */
export function findIfb(host: LeanRtnl, attachment: Attachment): LeanLink | undefined {
  const alias = aliasOf(attachment);
  const first = host.find(ifbName(attachment));
  if (first?.alias === alias) return first;
  const second = host.find(secondName(attachment));
  // A kill may have left it before it said so; nobody else gives this name.
  if (second?.kind === ifbKind && (second.alias === alias || !isAlias(second.alias))) return second;
  return first?.kind === ifbKind && !isAlias(first.alias) ? first : undefined;
}

/** Makes the attachment's device, down. `like` is the host's end of the pair. Throws where there is one already. */
export function addIfb(
  { host, tc, undo }: { host: LeanRtnl; tc: LeanTc; undo: Undo[] },
  attachment: Attachment,
  { mtu, txQueueLength }: LeanLink,
): LeanLink {
  const name = freeName(host, attachment);
  try {
    tc.addIfb({ name, mtu, txQueueLength: Math.max(txQueueLength, shortestQueue) });
  } catch (error) {
    throw explained(error, name);
  }
  undo.push(() => void host.deleteLink(name));
  const link = host.get(name);
  host.setAlias(link.index, aliasOf(attachment));
  return link;
}

/** The second name where another interface of the same container has the first. */
function freeName(host: LeanRtnl, attachment: Attachment): string {
  const name = ifbName(attachment);
  const alias = host.find(name)?.alias ?? "";
  const isOther = isAlias(alias) && alias !== aliasOf(attachment);
  return isOther ? secondName(attachment) : name;
}

function explained(error: unknown, name: string): unknown {
  if (isExists(error)) {
    return new CniError(cniErrorCode.internal, `adding link: ${name} already exists`, {
      remedy: "Call DEL for the container first",
      cause: error,
    });
  }
  return isNotSupported(error)
    ? withoutKernelSupport("ifb devices, which egressRate needs", "ifb", error)
    : error;
}

/** The error of code 50 for what the kernel lacks. */
export function withoutKernelSupport(what: string, module: string, cause: unknown): CniError {
  return new CniError(cniErrorCode.pluginNotAvailable, `the kernel has no ${what}`, {
    remedy: `Load the module ${module}, or use a kernel that has it`,
    cause,
  });
}
