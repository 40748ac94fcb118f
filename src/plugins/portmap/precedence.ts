import type { Prefix } from "../../lib/prefix.ts";
import { type Element, Nftables, Transaction } from "../../linux/nftables/index.ts";
import { table } from "../netfilter/nft-table.ts";
import { untilUndisturbed } from "../netfilter/optimistic.ts";
import { isOfFamily, type PortmapConfig, protocolName } from "./config.ts";
import { dnatMapName, groupOf } from "./elements.ts";
import { addHooks, hostPortOf } from "./table.ts";

/*
 * Configurations with other conditions have base chains of their own. They all stand, since their conditions may well
 * exclude each other; a connection for which several hold belongs to the chain that the kernel asks first. Of chains of
 * one priority that is the one that was made last.
 */

/**
 * Makes the base chains of a configuration anew where containers under other conditions have some of its ports, so that
 * the later container has the connections that fit both. Returns a sentence for each of those.
 */
export async function comeFirst(
  config: PortmapConfig,
  addresses: readonly Prefix[],
  comment: string,
): Promise<string[]> {
  const group = groupOf(config);
  const families = addresses.map(({ family }) => family);
  const own = new Set(
    families.flatMap((family) => [true, false].map((byAddress) => dnatMapName(family, byAddress, group))),
  );
  using nft = new Nftables();
  return await untilUndisturbed(() => {
    const isDnat = ({ name }: { name: string }) => /^portmap(?:-ip)?[46]/.test(name);
    const { sets, generation } = nft.dump(table, { elements: isDnat });
    const others = sets.filter((set) => isDnat(set) && !own.has(set.name));
    const sentences = new Set<string>();
    for (const { name, elements = [] } of others) {
      const family = /^portmap(?:-ip)?4/.test(name) ? 4 : 6;
      if (!families.includes(family)) continue;
      for (const element of elements) {
        if (element.comment === comment || !isWanted(config, family, element)) continue;
        const { protocol, hostPort } = hostPortOf(element.key);
        sentences.add(
          `host port ${hostPort}/${protocolName(protocol)} is also ${element.comment}'s under other conditions: connections for which both hold now come here`,
        );
      }
    }
    if (sentences.size === 0) return [];
    const transaction = new Transaction(table);
    addHooks(transaction, config, group, true);
    nft.apply(transaction, { generation });
    return [...sentences];
  });
}

/** True where one of the configuration's ports is an element's, at whichever address of the host. */
function isWanted({ mappings }: PortmapConfig, family: 4 | 6, { key }: Element): boolean {
  const { protocol, hostPort } = hostPortOf(key);
  return mappings.some(
    (mapping) =>
      isOfFamily(mapping, family) && mapping.protocol === protocol && mapping.hostPort === hostPort,
  );
}
