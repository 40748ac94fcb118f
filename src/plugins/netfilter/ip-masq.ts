import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { Fields } from "../../cni/fields.ts";
import type { GcRequest, PluginRequest } from "../../cni/plugin.ts";
import { quote } from "../../lib/errors.ts";
import type { Ip } from "../../lib/ip.ts";
import type { Prefix } from "../../lib/prefix.ts";
import { LeanNft } from "../../linux/lean/nft.ts";
import { attachmentOf } from "../shared/attachment.ts";
import { closingLate } from "../shared/closing.ts";
import { knownAddresses } from "../shared/ipam.ts";
import type { Undo } from "../shared/undo.ts";
import { askNft } from "./ask-nft.ts";
import { iptablesChain, placesOf } from "./iptables-names.ts";
import { addMasquerade, isMasqueraded, removeKnownMasquerade, removeMasquerade } from "./masquerade.ts";
import { masqueradeMap, tableName } from "./masquerade-names.ts";
import { noChains, openNft, requireNftables } from "./open-nft.ts";

/*
 * The keys ipMasq and ipMasqBackend of the plugins that make interfaces.
 */

/** By what packets are masqueraded. */
export type IpMasqBackend = "nftables" | "iptables";

/** Reads `ipMasqBackend`; nftables where it is not given. Throws a {@link CniError} for anything else. */
export function parseIpMasqBackend(fields: Fields): IpMasqBackend {
  const backend = fields.string("ipMasqBackend") || "nftables";
  if (backend === "nftables" || backend === "iptables") return backend;
  throw new CniError(cniErrorCode.unsupportedField, `unknown ipmasq backend ${quote(backend)}`, {
    remedy: 'Leave ipMasqBackend out, or set it to "nftables" or "iptables"',
  });
}

/** Masquerades what comes from a container's addresses (each with its network's length). */
export async function addIpMasq(
  request: PluginRequest,
  backend: IpMasqBackend,
  addresses: readonly Prefix[],
  undo: Undo[],
): Promise<void> {
  const ips = addresses.map(({ ip }) => ip);
  undo.push(() => closingLate((open) => removeIpMasq(open, request, ips)));
  if (backend === "nftables") {
    await addMasquerade(attachmentOf(request), addresses);
  } else {
    const { addIptablesMasquerade } = await import("./masquerade-iptables.ts");
    await addIptablesMasquerade(request, addresses);
  }
}

/**
 * For DEL: takes back what {@link addIpMasq} did, also where `ipMasq` has been switched off or spoilt since. `open` takes
 * the sockets (see closingLate).
 */
export async function removeAnyIpMasq(open: Disposable[], request: PluginRequest): Promise<void> {
  if (request.config.fields.get("ipMasq") === true) {
    await removeIpMasq(open, request, await knownAddresses(request));
  } else {
    await removeFormerIpMasq(open, request);
  }
}

/**
 * Takes back what {@link addIpMasq} did with whichever backend, and what the reference did: a host's
 * plugins may have been replaced, or its configuration, while containers were running. `ips` are the addresses where
 * they are known.
 */
async function removeIpMasq(
  open: Disposable[],
  request: PluginRequest,
  ips: readonly Ip[] | undefined,
): Promise<void> {
  const nft = openNft();
  if (nft !== undefined) {
    open.push(nft);
    await removeMasquerade(open, nft, attachmentOf(request), ips);
    if (nft.chainOf(referenceTable, referenceChain) !== undefined)
      await removeReferenceMasquerade(open, request);
  }
  const chain = iptablesChain(request.config.name, request.invocation.containerId);
  if (placesOf(nft ?? noChains, "nat", chain).length === 0) return;
  const { removeIptablesMasquerade } = await import("./masquerade-iptables.ts");
  await removeIptablesMasquerade(request);
}

/**
 * As {@link removeIpMasq} where `ipMasq` is off: it may have been on when the container was added. Few questions to the
 * kernel, as hardly any container has something; what the old iptables has is left to GC.
 */
async function removeFormerIpMasq(open: Disposable[], request: PluginRequest): Promise<void> {
  const { prevResult, name } = request.config;
  const chain = iptablesChain(name, request.invocation.containerId);
  const found = askNft((nft) => ({
    isOfNftables: nft.hasSet(masqueradeMap(4)),
    isOfIptables: (["ip", "ip6"] as const).some(
      (family) => nft.chainOf({ family, name: "nat" }, chain) !== undefined,
    ),
  }));
  if (found?.isOfNftables === true) {
    const nft = new LeanNft(tableName);
    open.push(nft);
    const known = prevResult?.ips.map(({ address }) => address.ip) ?? [];
    const ips = known.length > 0 ? known : await knownAddresses(request);
    await removeKnownMasquerade(open, nft, attachmentOf(request), ips);
  }
  if (found?.isOfIptables === true) {
    const { removeIptablesMasquerade } = await import("./masquerade-iptables.ts");
    await removeIptablesMasquerade(request);
  }
}

/** Of the newer reference's backend nftables. */
const referenceTable = { family: "inet", name: "cni_plugins_masquerade" } as const;
const referenceChain = "masq_checks";

async function removeReferenceMasquerade(open: Disposable[], request: PluginRequest): Promise<void> {
  const { containerId, ifname } = request.invocation;
  const { masqueradeOwner, removeReferenceRules } = await import("./reference-rules.ts");
  const owner = masqueradeOwner(request.config.name, containerId, ifname);
  await removeReferenceRules(
    open,
    referenceTable,
    ({ chain, comment = "" }) => chain === referenceChain && comment.startsWith(owner),
  );
}

/** Throws a {@link CniError} where an address is not masqueraded. */
export async function checkIpMasq(
  request: PluginRequest,
  backend: IpMasqBackend,
  addresses: readonly Prefix[],
): Promise<void> {
  if (backend === "iptables") {
    const { checkIptablesMasquerade } = await import("./masquerade-iptables.ts");
    await checkIptablesMasquerade(request, addresses);
    return;
  }
  const { hasMasqueradeRules } = await import("./masquerade-table.ts");
  for (const address of addresses) {
    if (isMasqueraded(attachmentOf(request), address.ip) && hasMasqueradeRules(address)) continue;
    throw new CniError(cniErrorCode.internal, `traffic from ${address.ip} is not masqueraded`, {
      remedy: "Delete the container's sandbox and make it anew",
    });
  }
}

/** Removes what is there for attachments of the network that are not valid, of whichever backend. */
export async function collectIpMasq(request: GcRequest): Promise<void> {
  const { name } = request.config;
  if (askNft((nft) => nft.hasSet(masqueradeMap(4))) === true) {
    const { collectMasquerade } = await import("./masquerade-table.ts");
    await collectMasquerade(name, request.valid);
  }
  const { hasIptables } = await import("./iptables.ts");
  if (!hasIptables(request)) return;
  const { collectIptablesMasquerade } = await import("./masquerade-iptables.ts");
  await collectIptablesMasquerade(request, name, request.valid);
}

/** For STATUS: throws a {@link CniError} of code 50 where host or kernel lacks what the backend needs. */
export async function requireIpMasq(request: PluginRequest, backend: IpMasqBackend): Promise<void> {
  if (backend === "nftables") return requireNftables();
  const { requireIptables } = await import("./iptables.ts");
  requireIptables(request);
}
