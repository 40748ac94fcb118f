import type { GcRequest, PluginRequest } from "../../cni/plugin.ts";
import type { Link } from "../../linux/route/link.ts";
import { Rtnl } from "../../linux/route/rtnl.ts";
import { findInvalid, findRecorded, type Recorded } from "../ipam/host-local.ts";
import { unfinishedGroup } from "../names.ts";
import { aliasOf, isAlias, isAliasOfNetwork } from "./attachment.ts";
import { deleteLink } from "./deletion.ts";
import { tryOpenNetns } from "./netns.ts";

/** How long an ADD may be between making a pair and saying whose it is, which is a few system calls. Milliseconds. */
const patience = 1_000;

/**
 * Deletes the host's links of a kind that belong to attachments of the network that are not valid. A link that does not
 * say whose it is, as the reference plugins make them, may be of any network: its name is a hash.
 */
export async function collectLinks(request: GcRequest, kind: string): Promise<void> {
  const { name: network } = request.config;
  const keep = new Set(request.valid.map((key) => aliasOf({ network, ...key })));
  using rtnl = new Rtnl();
  const stale = rtnl.links
    .list({ kind })
    .filter(({ alias = "" }) => isAliasOfNetwork(alias, network) && !keep.has(alias));
  const unfinished = await findUnfinished(rtnl, kind);
  await Promise.all([...stale, ...unfinished].map(({ index }) => deleteLink(request, { index })));
}

/** What ADDs left that were killed before they could say whose a link is: that of no network, so of any. */
async function findUnfinished(rtnl: Rtnl, kind: string): Promise<Link[]> {
  const list = () =>
    rtnl.links.list({ kind }).filter(({ group, alias }) => group === unfinishedGroup && alias === undefined);
  const seen = new Set(list().map(({ index }) => index));
  if (seen.size === 0) return [];
  // An ADD may be under way, another network's even.
  await new Promise((resolve) => setTimeout(resolve, patience));
  return list().filter(({ index }) => seen.has(index));
}

/**
 * Deletes the links of a kind in the containers of attachments that are not valid, before their addresses are given to
 * others. Where they are, host-local's records tell.
 */
export async function collectContainerLinks(request: GcRequest, kind: string): Promise<void> {
  if (request.config.ipamType !== "host-local") return;
  for (const recorded of await findInvalid(request)) await deleteContainerLink(request, kind, recorded);
}

/** The same for the link of a DEL that does not say where the container is. */
export async function deleteRecordedLink(request: PluginRequest, kind: string): Promise<void> {
  if (request.config.ipamType !== "host-local") return;
  const recorded = await findRecorded(request);
  if (recorded !== undefined) await deleteContainerLink(request, kind, recorded);
}

/** A namespace's path may lead to another container by now: only a link that has one of the addresses is meant. */
async function deleteContainerLink(
  request: PluginRequest,
  kind: string,
  { ifname, netns: path, ips }: Recorded,
): Promise<void> {
  using netns = tryOpenNetns(path);
  if (netns === undefined) return;
  using container = new Rtnl({ netns: { fd: netns.fd } });
  const link = container.links.find(ifname);
  if (link?.kind !== kind) return;
  const { alias = "" } = link;
  if (isAlias(alias) && !isAliasOfNetwork(alias, request.config.name)) return;
  const present = container.addresses.list({ link: link.index });
  if (!present.some(({ address }) => ips.some((ip) => ip.equals(address.ip)))) return;
  await deleteLink(request, { index: link.index, netnsFd: netns.fd });
}
