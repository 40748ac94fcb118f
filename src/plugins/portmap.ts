import { CniError, cniErrorCode } from "../cni/errors.ts";
import type { GcRequest, Plugin, PluginRequest } from "../cni/plugin.ts";
import type { Result } from "../cni/result.ts";
import type { Prefix } from "../lib/prefix.ts";
import { isExists, isNotFound } from "../linux/errors.ts";
import { type LeanElement, type LeanKey, LeanNft } from "../linux/lean/nft.ts";
import { LeanRtnl } from "../linux/lean/rtnl.ts";
import { attachmentOf, commentOf, isOfNetwork } from "./attachment.ts";
import { closingLate } from "./closing.ts";
import { tryWriteSysctl } from "./interface.ts";
import { tableName } from "./masquerade-names.ts";
import {
  containerAddresses,
  type PortmapConfig,
  parsePortmapConfig,
  portmapKeys,
  udp,
} from "./portmap-config.ts";
import {
  elementsFor,
  groupOf,
  keysFor,
  mainChainName,
  snatChainName,
  snatNetwork,
} from "./portmap-elements.ts";

/** How many rules a chain of {@link snatChainName} has at most. */
const rulesOfSnatChain = 2;

/** Leads ports of the host to a container. Comes behind the plugin that made the interface. */
export const portmap: Plugin = {
  name: "portmap",
  keys: portmapKeys,

  async add(request: PluginRequest): Promise<Result> {
    const { prevResult } = request.config;
    if (prevResult === undefined) {
      throw new CniError(cniErrorCode.invalidNetworkConfig, "must be called as chained plugin", {
        remedy: "Put portmap behind the plugin that makes the interface, in a configuration list",
      });
    }
    const config = parsePortmapConfig(request);
    if (config.mappings.length === 0) return prevResult;
    const addresses = containerAddresses(request.config, request.invocation.ifname);
    const elements = elementsFor(config, addresses, commentOf(attachmentOf(request)));
    if (elements.length === 0) return prevResult;
    if (config.snat) allowLocalhost(addresses);
    await addElements(config, addresses, elements);
    if (hasUdp(config)) await forgetFlows(config);
    return prevResult;
  },

  async del(request: PluginRequest): Promise<void> {
    const config = parsePortmapConfig(request);
    const comment = commentOf(attachmentOf(request));
    await closingLate(async (open) => {
      const nft = new LeanNft(tableName);
      open.push(nft);
      const chains = removeElements(nft, config, comment);
      if (chains !== undefined && hasUdp(config)) await forgetFlows(config);
      // What the runtime forgot to say is found by the comment, and what a DEL left that was killed is done away with,
      // unless nobody has mapped a port.
      const mayBeLeft =
        chains === undefined
          ? nft.chainUse(mainChainName(groupOf(config))) !== undefined
          : chains.every((chain) => (nft.chainUse(chain) ?? 0) <= rulesOfSnatChain);
      if (!mayBeLeft) return;
      const { sweepPortmap } = await import("./portmap-table.ts");
      sweepPortmap(open, (element) => element.comment === comment);
    });
  },

  check(request: PluginRequest): void {
    const { prevResult } = request.config;
    if (prevResult === undefined) {
      throw new CniError(cniErrorCode.invalidNetworkConfig, "Required prevResult missing", {
        remedy: "CHECK needs the result of ADD under prevResult",
      });
    }
    const config = parsePortmapConfig(request);
    const comment = commentOf(attachmentOf(request));
    const addresses = containerAddresses(request.config, request.invocation.ifname);
    using nft = new LeanNft(tableName);
    for (const element of elementsFor(config, addresses, comment)) {
      if (nft.find(element)?.comment === comment) continue;
      throw new CniError(
        cniErrorCode.internal,
        `a port mapping is missing in map ${element.set} of table ${tableName}`,
        {
          remedy: "Delete the container's sandbox and make it anew",
        },
      );
    }
  },

  async gc(request: GcRequest): Promise<void> {
    const { network } = attachmentOf(request);
    const keep = new Set(request.valid.map((key) => commentOf({ network, ...key })));
    const { sweepPortmap } = await import("./portmap-table.ts");
    await closingLate((open) => {
      sweepPortmap(open, ({ comment = "" }) => isOfNetwork(comment, network) && !keep.has(comment));
    });
  },
};

/** In place of whatever has these ports: the latest container wins, as with the reference. */
async function addElements(
  config: PortmapConfig,
  addresses: readonly Prefix[],
  elements: readonly LeanElement[],
): Promise<void> {
  using nft = new LeanNft(tableName);
  const chains = new Set(elements.flatMap(({ data }) => (typeof data === "string" ? [data] : [])));
  const isComplete = chains.size > 0 && [...chains].every((chain) => nft.chainUse(chain) !== undefined);
  if (!isComplete) await makeStructure(config, addresses);
  for (let attempt = 1; ; attempt++) {
    try {
      nft.add(
        elements,
        elements.filter((key) => nft.find(key) !== undefined),
      );
      return;
    } catch (error) {
      // Another process removed the structure with its last element, or took the port in this moment.
      if (attempt === 3 || (!isNotFound(error) && !isExists(error))) throw error;
      await makeStructure(config, addresses);
    }
  }
}

async function makeStructure(config: PortmapConfig, addresses: readonly Prefix[]): Promise<void> {
  const { addPortmapStructure } = await import("./portmap-table.ts");
  addPortmapStructure(
    config,
    addresses.map((address) => snatNetwork(address, config)),
  );
}

/** Removes the container's own elements. Returns the chains that they led to, or undefined where there were none. */
function removeElements(nft: LeanNft, config: PortmapConfig, comment: string): string[] | undefined {
  const own: LeanKey[] = [];
  const chains = new Set<string>();
  for (const key of keysFor(config)) {
    const element = nft.find(key);
    if (element?.comment !== comment) continue;
    own.push(key);
    if (element.chain !== undefined) chains.add(element.chain);
  }
  if (own.length === 0) return undefined;
  try {
    nft.delete(own);
  } catch (error) {
    // A second DEL of the same attachment was quicker.
    if (!isNotFound(error)) throw error;
  }
  return [...chains];
}

/**
 * Lets connections from 127.0.0.1 leave by the link to the container (route_localnet). The structure has a rule that
 * keeps the neighbours there from reaching 127.0.0.0/8 (CVE-2020-8558).
 */
function allowLocalhost(addresses: readonly Prefix[]): void {
  const address = addresses.find(({ family }) => family === 4);
  if (address === undefined) return;
  using rtnl = new LeanRtnl();
  const index = rtnl.outgoingLink(address.ip);
  const link = index === undefined ? undefined : rtnl.find(index);
  if (link !== undefined) tryWriteSysctl(`net/ipv4/conf/${link.name}/route_localnet`, "1");
}

function hasUdp({ mappings }: PortmapConfig): boolean {
  return mappings.some(({ protocol }) => protocol === udp);
}

/** UDP flows that were seen before the mapping changed would go on to where they went. */
async function forgetFlows(config: PortmapConfig): Promise<void> {
  const { forgetUdpFlows } = await import("./portmap-flows.ts");
  forgetUdpFlows(config);
}
