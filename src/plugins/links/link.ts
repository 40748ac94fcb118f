import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import { quote } from "../../lib/errors.ts";
import { isErrno, isExists, isNotSupported, type KernelError } from "../../linux/errors.ts";
import type { Link, NewLink } from "../../linux/route/link.ts";
import type { Rtnl } from "../../linux/route/rtnl.ts";
import { aliasOf, attachmentOf, isAlias } from "../shared/attachment.ts";
import { deleteLink } from "../shared/deletion.ts";
import type { OpenNetns } from "../shared/netns.ts";
import { interfaceExists, vethName, vethPurpose } from "../shared/veth.ts";
import type { MasterConfig } from "./master.ts";

/*
 * A link of a container that the kernel makes on another link (macvlan, ipvlan, vlan) or on nothing (dummy). It is born in
 * the container's namespace, so that the host never has it.
 */

/** The kernel module of a kind, where it is called otherwise. */
const modules: Readonly<Record<string, string>> = { vlan: "8021q" };
const tries = 3;

/** What to make: all of a link but its name, its parent and where it lives. */
export type ChildLink = Pick<NewLink, "kind" | "mtu" | "mac" | "macvlan" | "ipvlan" | "vlan">;

/** What one call asks of such a plugin. */
export interface ChildConfig {
  link: ChildLink;
  /** Undefined where the link stands for itself. */
  master?: MasterConfig;
}

/** The link below. */
export interface Master {
  link: Link;
  /** It is in the container's namespace, not in the host's. */
  inContainer: boolean;
}

/** Both sides of an attachment. */
export interface Sides {
  netns: OpenNetns;
  host: Rtnl;
  container: Rtnl;
}

/**
 * The names under which a link is made before it gets its own. The kernel asks that the name of a new link be free where
 * the request comes from, which is the host, and there CNI_IFNAME mostly is taken: so links of the host's are made under a
 * name of the attachment's own and renamed in the container.
 */
function temporaryNames({ invocation }: PluginRequest): string[] {
  const purpose = vethPurpose(invocation);
  return Array.from({ length: tries }, (_, i) => vethName(purpose, i + 1).replace("veth", "weft"));
}

/** Makes a container's link, down and without addresses; its alias says whose it is. Throws a {@link CniError} where the name is taken. */
export function createChild(request: PluginRequest, sides: Sides, child: ChildLink, master?: Master): void {
  const { ifname } = request.invocation;
  const { container } = sides;
  if (container.links.find(ifname) !== undefined) throw interfaceExists(ifname);
  const parent = master === undefined ? {} : { parent: master.link.index };
  const fromHost = master !== undefined && !master.inContainer;
  if (fromHost) {
    removeUnfinished(request, container, child.kind);
    const name = addFromHost(request, sides, { ...child, ...parent }, master);
    rename(request, container, name);
    return;
  }
  try {
    container.links.add({ ...child, ...parent, name: ifname, alias: aliasOf(attachmentOf(request)) });
  } catch (error) {
    throw explained(error, child, master);
  }
}

/** Makes the link in the container at a request of the host; returns the name that it has got. */
function addFromHost(request: PluginRequest, { netns, host }: Sides, link: NewLink, master: Master): string {
  for (const name of temporaryNames(request)) {
    try {
      host.links.add({ ...link, name, netns: { fd: netns.fd } });
      return name;
    } catch (error) {
      // Where it is not the name that is there already, it is the VLAN.
      if (!isExists(error) || host.links.find(name) === undefined) throw explained(error, link, master);
    }
  }
  throw new CniError(cniErrorCode.internal, `failed to create ${link.kind}: no name was free for it`, {
    remedy: `Look for links named ${temporaryNames(request).map(quote).join(", ")} on the host`,
  });
}

function rename(request: PluginRequest, container: Rtnl, name: string): void {
  const { ifname } = request.invocation;
  try {
    container.links.set(name, { name: ifname, alias: aliasOf(attachmentOf(request)) });
  } catch (error) {
    container.links.delete(name);
    throw isExists(error) ? interfaceExists(ifname, error) : error;
  }
}

/** What an ADD that was killed left under a temporary name. */
function removeUnfinished(request: PluginRequest, container: Rtnl, kind: string): void {
  for (const name of temporaryNames(request)) {
    if (container.links.find(name)?.kind === kind) container.links.delete(name);
  }
}

/**
 * Deletes the container's link, where it is one of the kind: another has been made by somebody else. So has one that says
 * that it is another network's, as after an ADD that was refused because of it. None is fine.
 */
export async function deleteChild(
  request: PluginRequest,
  netns: OpenNetns,
  container: Rtnl,
  kind: string,
): Promise<void> {
  for (const name of [request.invocation.ifname, ...temporaryNames(request)]) {
    const link = container.links.find(name);
    const owner = link?.alias ?? "";
    if (isAlias(owner) && owner !== aliasOf(attachmentOf(request))) continue;
    if (link?.kind === kind) await deleteLink(request, { index: link.index, netnsFd: netns.fd });
  }
}

/** Throws a {@link CniError} of code 50 where the kernel has no links of the kind. Nothing is made. */
export function requireKind(rtnl: Rtnl, kind: string): void {
  try {
    // No kind is made without its parent, or with a group's address; what is said depends on whether it is known.
    rtnl.links.add({ kind, name: "weft-probe", mac: "01:00:5e:00:00:00" });
  } catch (error) {
    if (!isNotSupported(error)) return;
    throw new CniError(cniErrorCode.pluginNotAvailable, `the kernel has no links of kind ${kind}`, {
      remedy: kindRemedy(kind),
      cause: error,
    });
  }
  rtnl.links.delete("weft-probe");
}

function kindRemedy(kind: string): string {
  return `Load the module (modprobe ${modules[kind] ?? kind}), or boot a kernel that has it`;
}

/** The kernel's refusal with what helps against it. */
function explained(error: unknown, link: ChildLink, master: Master | undefined): unknown {
  if (!isErrno(error, "EBUSY", "EEXIST", "EINVAL", "ENETDOWN", "EOPNOTSUPP")) return error;
  const remedy = remedyFor(error, link, master?.link.name ?? "");
  return new CniError(cniErrorCode.internal, `failed to create ${link.kind}: ${error.message}`, {
    cause: error,
    ...(remedy === undefined ? {} : { remedy }),
  });
}

function remedyFor(
  error: KernelError,
  { kind, vlan, macvlan }: ChildLink,
  master: string,
): string | undefined {
  if (isNotSupported(error)) return kindRemedy(kind);
  if (isExists(error) && vlan !== undefined) {
    return `VLAN ${vlan.id} of ${master} is in use: every container needs another master or vlanId`;
  }
  if (isErrno(error, "EBUSY")) {
    return `${master} is in use as a bridge's port, or by links of another kind: macvlan and ipvlan cannot share a master`;
  }
  if (isErrno(error, "EINVAL") && macvlan?.mode === "passthru") {
    return `In mode passthru ${master} has room for one container alone: look for another one on it`;
  }
  return undefined;
}
