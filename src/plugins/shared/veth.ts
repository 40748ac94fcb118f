import type { Invocation } from "../../cni/env.ts";
import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import { quote } from "../../lib/errors.ts";
import { isExists } from "../../linux/errors.ts";
import { type LeanLink, LeanRtnl } from "../../linux/lean/rtnl.ts";
import { unfinishedGroup } from "../names.ts";
import { aliasOf, attachmentOf, isAlias } from "./attachment.ts";
import { deleteLink } from "./deletion.ts";
import { refuseRouterAdvertisements } from "./interface.ts";
import type { OpenNetns } from "./netns.ts";
import type { Undo } from "./undo.ts";
import { waitFor } from "./wait.ts";

const tries = 10;
/** How long a new port may take until it forwards. Milliseconds. */
const patience = 2500;

/**
 * A name for a host's end, in the manner of the reference plugins: a hash (FNV-1a) of what it is for. Where the name is
 * taken, the next try gets another.
 */
export function vethName(text: string, attempt: number): string {
  let hash = 0x811c9dc5 ^ attempt;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return `veth${(hash >>> 0).toString(16).padStart(8, "0")}`;
}

/** What the pair of an attachment is for, after which its host's end is named. */
export function vethPurpose({ containerId, ifname }: Invocation): string {
  return `${containerId}/${ifname}`;
}

/** All names that {@link createVeth} may have given the host's end. */
export function vethNames(purpose: string): string[] {
  return Array.from({ length: tries }, (_, i) => vethName(purpose, i + 1));
}

/** A pair whose one end is born in a container. */
export interface VethInput {
  netns: OpenNetns;
  /** Of the container's namespace. */
  container: LeanRtnl;
  mtu: number | undefined;
  /** Of the container's end. */
  mac: string | undefined;
  /** The host's end belongs to this link from the start. */
  master: number | undefined;
}

/** The ends of a pair. */
export interface Veth {
  host: LeanLink;
  container: LeanLink;
}

/**
 * Makes the pair of an attachment: the host's end up, the container's end down and without address. Throws where the
 * container has such an interface already.
 */
export function createVeth(request: PluginRequest, host: LeanRtnl, input: VethInput, undo: Undo[]): Veth {
  const { ifname } = request.invocation;
  const { container } = input;
  const name = addPair(request, host, input);
  undo.push(() => void host.deleteLink(name));
  const link = host.get(name);
  refuseRouterAdvertisements(name, link);
  host.setAlias(link.index, aliasOf(attachmentOf(request)));
  return { host: link, container: container.get(ifname) };
}

/** Returns the name of the host's end. */
function addPair({ invocation }: PluginRequest, host: LeanRtnl, input: VethInput): string {
  const { netns, container, mtu, mac, master } = input;
  const { ifname } = invocation;
  for (let i = 1; ; i++) {
    const name = vethName(vethPurpose(invocation), i);
    try {
      host.addVeth({
        name,
        master,
        mtu,
        group: unfinishedGroup,
        peer: { name: ifname, netnsFd: netns.fd, mac },
      });
      return name;
    } catch (error) {
      if (!isExists(error)) throw error;
      if (container.find(ifname) !== undefined) throw interfaceExists(ifname, error);
      if (i === tries) throw error;
    }
  }
}

/** What ADD says where the container has an interface of that name. */
export function interfaceExists(ifname: string, cause?: unknown): CniError {
  return new CniError(cniErrorCode.internal, `container interface name (${quote(ifname)}) already exists`, {
    remedy: "Call DEL for the container first, or choose another CNI_IFNAME",
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Deletes the pair of an attachment; none is fine. `netns`: the container's namespace, where it is known and there. */
export async function deleteVeth(netns: OpenNetns | undefined, request: PluginRequest): Promise<void> {
  const isFound = netns !== undefined && (await deleteContainerEnd(netns, request));
  if (!isFound) await deleteHostEnd(request);
}

/** False where the container has no such interface of this attachment. */
async function deleteContainerEnd(netns: OpenNetns, request: PluginRequest): Promise<boolean> {
  using container = new LeanRtnl(netns.fd);
  const link = container.find(request.invocation.ifname);
  if (link?.kind !== "veth") return false;
  const port = hostEndOf(link);
  const owner = port?.alias ?? "";
  // Of another network, as after an ADD that was refused because the container has such an interface.
  if (isAlias(owner) && owner !== aliasOf(attachmentOf(request))) return false;
  const isOurs = port !== undefined && vethNames(vethPurpose(request.invocation)).includes(port.name);
  await deleteLink(request, isOurs ? { index: port.index } : { index: link.index, netnsFd: netns.fd });
  return true;
}

/**
 * Where the runtime does not say where the container is, or somebody renamed the interface in there: the host's end tells
 * whose it is. One of a name of this attachment that says nothing was made by an ADD that was killed right then, if it is in
 * the group of those; else it is somebody's.
 */
async function deleteHostEnd(request: PluginRequest): Promise<void> {
  using host = new LeanRtnl();
  const alias = aliasOf(attachmentOf(request));
  for (const name of vethNames(vethPurpose(request.invocation))) {
    const link = host.find(name);
    if (link?.kind !== "veth") continue;
    const isUnfinished = link.alias === "" && link.group === unfinishedGroup;
    if (isUnfinished || link.alias === alias) await deleteLink(request, { index: link.index });
  }
}

/**
 * The other end of a container's link; undefined where it cannot be told for sure which one that is: an index alone is
 * that of a link in some namespace.
 */
function hostEndOf({ index, parent }: LeanLink): LeanLink | undefined {
  if (parent === undefined) return undefined;
  using host = new LeanRtnl();
  const other = host.find(parent);
  return other?.kind === "veth" && other.parent === index ? other : undefined;
}

/**
 * Waits until a link is operational; for a bridge port that is when it forwards. Asking makes recent kernels (6.7 and
 * newer) bring the state up to date at once; older ones do it within milliseconds.
 */
export async function waitUntilUp(rtnl: LeanRtnl, name: string): Promise<void> {
  if (await waitFor(patience, () => rtnl.get(name).operational)) return;
  throw new CniError(cniErrorCode.internal, `bridge port in error state: ${quote(name)} does not forward`, {
    remedy: "Look at the bridge and at what controls it",
  });
}
