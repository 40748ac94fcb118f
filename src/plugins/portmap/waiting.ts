import type { Prefix } from "../../lib/prefix.ts";
import { isNotFound } from "../../linux/errors.ts";
import {
  type Datum,
  type Element,
  Nftables,
  type NftMap,
  type NftSet,
  Transaction,
} from "../../linux/nftables/index.ts";
import { table } from "../netfilter/nft-table.ts";
import { untilUndisturbed } from "../netfilter/optimistic.ts";
import { isOfFamily, type PortmapConfig, protocolName } from "./config.ts";
import { groupOf, type PortmapGroup, snatChainName, snatNetwork, waitingMapName } from "./elements.ts";
import { dnatMap, snatMap } from "./table.ts";

/*
 * A port that two containers on a host ask for belongs to the later one: the earlier may be dead already, with a runtime
 * that has not called DEL yet. Until the later one goes, the mapping of the earlier waits in a map of its own:
 *
 *     map portmap-waiting4     host address (0.0.0.0: any) . protocol . port . container's address . port
 *                              : jump to its chain of portmap-snat, or accept where there is none
 *
 * No packet is looked up there. The map is there only while somebody waits. A mapping that was at 0.0.0.0 or at any
 * address at all is the same.
 */

const families = [4, 6] as const;

const any = { 4: "0.0.0.0", 6: "::" } as const;

function waitingMap(family: 4 | 6, group: PortmapGroup): NftMap {
  const address = family === 4 ? "ipv4_addr" : "ipv6_addr";
  return {
    kind: "map",
    name: waitingMapName(family, group),
    key: [address, "inet_proto", "inet_service", address, "inet_service"],
    data: "verdict",
  };
}

function listOf(values: Element["key"]): Datum[] {
  return Array.isArray(values) ? [...values] : [values as Datum];
}

/** All maps with their elements, as one look at the table found them. */
class Maps {
  readonly sets: readonly (NftSet | NftMap)[];

  constructor(sets: readonly (NftSet | NftMap)[]) {
    this.sets = sets;
  }

  elements({ name }: { name: string }): readonly Element[] {
    return this.sets.find((set) => set.name === name)?.elements ?? [];
  }

  /** The elements of a map by their keys as text. */
  byKey(map: NftMap): ReadonlyMap<string, Element> {
    return new Map(this.elements(map).map((element) => [String(element.key), element]));
  }

  has({ name }: { name: string }): boolean {
    return this.sets.some((set) => set.name === name);
  }
}

/** Applies what `plan` makes of what is there. */
async function change(nft: Nftables, plan: (maps: Maps) => Transaction): Promise<void> {
  await untilUndisturbed(() => {
    const { sets, generation } = nft.dump(table, { elements: ({ name }) => name.startsWith("portmap") });
    nft.apply(plan(new Maps(sets)), { generation });
  });
}

/** A mapping as it stands in the two maps. */
interface Mapping {
  family: 4 | 6;
  byAddress: boolean;
  /** [host address .] protocol . port */
  key: Datum[];
  dnat: Element;
  snat: Element | undefined;
}

function mappingsIn(maps: Maps, group: PortmapGroup): Mapping[] {
  return families.flatMap((family) =>
    [true, false].flatMap((byAddress) => {
      const snats = maps.byKey(snatMap(family, byAddress, group));
      return maps.elements(dnatMap(family, byAddress, group)).map((dnat) => {
        const key = listOf(dnat.key);
        return { family, byAddress, key, dnat, snat: snats.get(String(key)) };
      });
    }),
  );
}

function waitingElement({ family, byAddress, key, dnat, snat }: Mapping): Element {
  const data = snat?.data;
  return {
    key: [...(byAddress ? key : [any[family], ...key]), ...listOf(dnat.data as Element["key"])],
    data: typeof data === "object" && "chain" in data ? data : { verdict: "accept" },
    ...(dnat.comment === undefined ? {} : { comment: dnat.comment }),
  };
}

/** The mappings of a configuration, as they are to stand in the maps. */
function planned(config: PortmapConfig, addresses: readonly Prefix[], comment: string): Mapping[] {
  return addresses.flatMap((address) =>
    config.mappings
      .filter((mapping) => isOfFamily(mapping, address.family))
      .map((mapping) => {
        const { protocol, hostPort, containerPort, hostIp } = mapping;
        const byAddress = hostIp !== undefined && !hostIp.isUnspecified();
        const key = [...(byAddress ? [String(hostIp)] : []), protocolName(protocol), hostPort];
        const chain = snatChainName(snatNetwork(address, config), config.markBit);
        return {
          family: address.family,
          byAddress,
          key,
          dnat: { key, data: [String(address.ip), containerPort], comment },
          snat: config.snat ? { key, data: { verdict: "jump" as const, chain }, comment } : undefined,
        };
      }),
  );
}

/** Equal for mappings of the same port. */
function portOf({ family, byAddress, key }: Mapping): string {
  return `${family} ${byAddress} ${key}`;
}

/**
 * Maps a container's ports where others have some of them, which wait from now on. Returns a sentence for each of those.
 * Throws ENOENT where the structure is missing.
 */
export async function takeOver(
  config: PortmapConfig,
  addresses: readonly Prefix[],
  comment: string,
): Promise<string[]> {
  const group = groupOf(config);
  const wanted = planned(config, addresses, comment);
  const ports = new Set(wanted.map(portOf));
  let displaced: Mapping[] = [];
  using nft = new Nftables();
  await change(nft, (maps) => {
    const present = mappingsIn(maps, group).filter((each) => ports.has(portOf(each)));
    displaced = present.filter(({ dnat }) => dnat.comment !== comment);
    const transaction = new Transaction(table);
    for (const family of families) {
      const waiting = waitingMap(family, group);
      const before = maps.elements(waiting).filter((each) => each.comment === comment);
      const now = displaced.filter((each) => each.family === family).map(waitingElement);
      transaction.deleteElements(waiting, before);
      if (now.length > 0) transaction.add(waiting).addElements(waiting, now);
    }
    for (const mapping of present) place(transaction, mapping, group, "delete");
    for (const mapping of wanted) place(transaction, mapping, group, "add");
    return transaction;
  });
  const warnings = displaced.map(
    ({ key, dnat }) =>
      `host port ${key.toReversed().join("/")} belonged to ${dnat.comment}, which gets it back when this container is deleted`,
  );
  // A port of both families is one port to whoever reads it.
  return [...new Set(warnings)];
}

function place(
  transaction: Transaction,
  { family, byAddress, dnat, snat }: Mapping,
  group: PortmapGroup,
  how: "add" | "delete",
): void {
  const steps: [NftMap, Element | undefined][] = [
    [dnatMap(family, byAddress, group), dnat],
    [snatMap(family, byAddress, group), snat],
  ];
  for (const [map, element] of steps) {
    if (element === undefined) continue;
    if (how === "add") transaction.addElements(map, [element]);
    else transaction.deleteElements(map, [element]);
  }
}

/** Gives ports that nobody has any more to those who wait for them. `open` takes the socket; see closingLate. */
export async function handBack(open: Disposable[]): Promise<void> {
  const nft = new Nftables();
  open.push(nft);
  try {
    await change(nft, (maps) => {
      const transaction = new Transaction(table);
      for (const suffix of suffixesIn(maps)) handBackIn(transaction, maps, { suffix });
      return transaction;
    });
  } catch (error) {
    // The last mapping went, and the table with it.
    if (!isNotFound(error)) throw error;
  }
}

function suffixesIn({ sets }: Maps): Set<string> {
  const found = sets.map(({ name }) => /^portmap-waiting[46](.*)$/.exec(name)?.[1]);
  return new Set(found.filter((suffix) => suffix !== undefined));
}

function handBackIn(transaction: Transaction, maps: Maps, group: PortmapGroup): void {
  const taken = new Set(mappingsIn(maps, group).map(portOf));
  for (const family of families) {
    const waiting = waitingMap(family, group);
    if (!maps.has(waiting)) continue;
    const all = maps.elements(waiting);
    const served: Element[] = [];
    for (const element of all) {
      const mapping = mappingOf(element, family);
      if (taken.has(portOf(mapping))) continue;
      place(transaction, mapping, group, "add");
      taken.add(portOf(mapping));
      served.push(element);
    }
    if (served.length === all.length) transaction.delete({ kind: "map", name: waiting.name });
    else transaction.deleteElements(waiting, served);
  }
}

/** The opposite of {@link waitingElement}. */
function mappingOf({ key: whole, data, comment }: Element, family: 4 | 6): Mapping {
  const [host, protocol, port, ...target] = listOf(whole);
  const byAddress = host !== any[family];
  const key = (byAddress ? [host, protocol, port] : [protocol, port]) as Datum[];
  const owner = comment === undefined ? {} : { comment };
  const jumps = typeof data === "object" && "chain" in data;
  return {
    family,
    byAddress,
    key,
    dnat: { key, data: target, ...owner },
    snat: jumps ? { key, data, ...owner } : undefined,
  };
}
