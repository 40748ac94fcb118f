import type { GcRequest } from "../cni/plugin.ts";
import { Rtnl } from "../linux/route/rtnl.ts";
import { aliasOf, isAliasOfNetwork } from "./attachment.ts";
import { deleteLink } from "./deletion.ts";

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
  await Promise.all(stale.map(({ index }) => deleteLink(request, { index })));
}
