import { Ip } from "../lib/ip.ts";
import type { Prefix } from "../lib/prefix.ts";
import type { ConntrackApi, Flow, FlowFilter } from "../linux/conntrack/index.ts";
import { type NftablesApi, type NftMap, type NftSet, Transaction } from "../linux/nftables/index.ts";
import { type DesiredPart, elementOf, TablePart, weftTable } from "../reconcile/table-part.ts";
import { CHAINS, type Change, setNames } from "./elements.ts";
import { disjoint, rangeText } from "./prefixes.ts";
import { servicesRuleset, variableChain } from "./ruleset.ts";
import { isStaleFlow, type Surroundings, staleClients } from "./stale.ts";
import type { ServiceTable } from "./table.ts";

const UDP = 17;
/** Frontends up to this number are asked for one by one; for more, all UDP flows are read. */
const FEW = 16;

/** What the driver works with. */
export interface DriverKernel {
  readonly nft: NftablesApi;
  readonly conntrack: ConntrackApi;
  /** The addresses of this node now. */
  addresses(): readonly Ip[];
}

/** What the driver did, for metrics. */
export interface DriverCounts {
  /** Transactions written. */
  transactions: number;
  /** Elements, chains and rules written by them. */
  operations: number;
  /** Times when the table was not as it had been left. */
  repairs: number;
  /** UDP flows cut because their endpoint went. */
  flows: number;
  /** Clients forgotten because their endpoint went. */
  clients: number;
}

/**
 * Makes the kernel do what a {@link ServiceTable} says: `adopt` once, then `sync` whenever something was set in the table,
 * and `check` now and then for what others may have changed. Each may be repeated after a failure.
 */
export class ServicesDriver {
  readonly counts: DriverCounts = { transactions: 0, operations: 0, repairs: 0, flows: 0, clients: 0 };
  readonly #kernel: DriverKernel;
  readonly #table: ServiceTable;
  readonly #part: TablePart;
  readonly #ruleset = servicesRuleset();
  readonly #sets: ReadonlyMap<string, NftSet | NftMap>;
  #pods: readonly Prefix[] = [];
  /** The kernel is known to be what the table said at the last sync. */
  #inStep = false;
  /** Left to do since a failure. */
  #staleFlows = new Set<string>();
  #staleClients = new Set<string>();

  constructor(kernel: DriverKernel, table: ServiceTable) {
    this.#kernel = kernel;
    this.#table = table;
    this.#part = new TablePart(kernel.nft, "services");
    this.#sets = new Map(this.#ruleset.sets.map((set) => [set.name, set] as const));
  }

  /** Reads what an earlier process left, so that the table's first computation changes no more than it must. */
  adopt(): void {
    const found = this.#part.read();
    this.#table.adopt((set) => found.elements(set), found.chains.keys());
  }

  /** Sets this node's pod prefixes and the prefixes of ClusterIPs. */
  setPrefixes(pods: readonly Prefix[], serviceCidrs: readonly Prefix[]): void {
    this.#pods = pods;
    for (const [name, prefixes] of [
      [setNames.pods, disjoint(pods)],
      [setNames.serviceCidrs, disjoint(serviceCidrs)],
    ] as const) {
      const wanted = new Set(prefixes.map((prefix) => `${name}${prefix.family} ${rangeText(prefix)}`));
      for (const set of [`${name}4`, `${name}6`]) {
        for (const key of this.#table.elements.of(set).keys()) {
          if (!wanted.has(`${set} ${key}`)) this.#table.elements.put(set, key, undefined);
        }
      }
      for (const prefix of prefixes) {
        this.#table.elements.put(name + prefix.family, rangeText(prefix), "");
      }
    }
  }

  /**
   * Writes what changed in the table since the last call, in one transaction; all that differs where the kernel's state
   * is not known. Then cuts flows and forgets clients of endpoints that went. Returns the number of operations.
   */
  sync(): number {
    const changes = this.#compute();
    const written = this.#inStep ? this.#write(changes) : this.#repair();
    this.#forgetClients();
    this.#cutFlows();
    return written;
  }

  /** Computes what the next sync is to write, which then compares it with all that is there. */
  prepare(): void {
    this.#compute();
    this.#inStep = false;
  }

  /** The first sync after a start: what happened while nobody looked is cleaned too. */
  syncAll(): number {
    const written = this.sync();
    for (const [id, { frontend }] of this.#table.frontends()) {
      if (frontend.protocol === "udp") this.#staleFlows.add(id);
      if (frontend.affinity > 0) this.#staleClients.add(id);
    }
    this.#forgetClients();
    this.#cutFlows();
    return written;
  }

  /** Puts right what somebody else changed in the table. Returns the number of operations. */
  check(): number {
    if (this.#inStep && !this.#part.maybeChanged) return 0;
    const written = this.sync();
    if (!this.#part.maybeChanged) return written;
    const repaired = this.#repair();
    if (repaired > 0) this.counts.repairs++;
    return written + repaired;
  }

  #compute(): readonly Change[] {
    const { changes, staleFlows, staleClients } = this.#table.compute();
    for (const id of staleFlows) this.#staleFlows.add(id);
    for (const id of staleClients) this.#staleClients.add(id);
    return changes;
  }

  #write(changes: readonly Change[]): number {
    const transaction = this.#transactionOf(changes);
    const count = changes.length;
    if (count === 0) return 0;
    try {
      this.#part.apply(transaction);
      this.#count(count);
      return count;
    } catch {
      // Somebody else changed the table: what it is now has to be looked at.
      this.#inStep = false;
      this.counts.repairs++;
      return this.#repair();
    }
  }

  #repair(): number {
    const count = this.#part.repair(this.#desired());
    this.#inStep = true;
    this.#count(count);
    return count;
  }

  #count(operations: number): void {
    if (operations === 0) return;
    this.counts.transactions++;
    this.counts.operations += operations;
  }

  #desired(): DesiredPart {
    const { elements } = this.#table;
    return {
      sets: this.#ruleset.sets,
      chains: [...this.#ruleset.chains, ...[...elements.of(CHAINS).keys()].map(variableChain)],
      elements: (set) => elements.of(set),
    };
  }

  #transactionOf(changes: readonly Change[]): Transaction {
    const transaction = new Transaction(weftTable);
    const chains = changes.filter(({ set }) => set === CHAINS);
    for (const { key, after } of chains) {
      if (after === undefined) continue;
      const { chain, rules } = variableChain(key);
      transaction.add(chain, ...rules);
    }
    const bySet = Map.groupBy(changes, ({ set }) => set);
    for (const [name, changed] of bySet) {
      const set = this.#sets.get(name);
      if (set === undefined) continue;
      const gone = changed.filter(({ before }) => before !== undefined);
      const added = changed.filter(({ after }) => after !== undefined);
      transaction.deleteElements(
        set,
        gone.map(({ key, before }) => elementOf(set, key, before as string)),
      );
      transaction.addElements(
        set,
        added.map(({ key, after }) => elementOf(set, key, after as string)),
      );
    }
    for (const { key, after } of chains) {
      if (after === undefined) transaction.delete({ kind: "chain", name: key });
    }
    return transaction;
  }

  #surroundings(): Surroundings {
    const own = new Set(this.#kernel.addresses().map(String));
    return {
      isLocal: (address) => own.has(address),
      isPod: (address) => {
        const ip = Ip.parse(address);
        return this.#pods.some((prefix) => prefix.contains(ip));
      },
    };
  }

  #forgetClients(): void {
    if (this.#staleClients.size === 0) return;
    const surroundings = this.#surroundings();
    for (const family of [4, 6] as const) {
      const map = this.#sets.get(setNames.affinity + family) as NftMap;
      const found = this.#part.elementsOf(map);
      const stale = staleClients(family, found, this.#table, this.#staleClients, surroundings);
      if (stale.length === 0) continue;
      const elements = stale.map((key) => elementOf(map, key, found.get(key) as string));
      // Some may have run out since they were read.
      this.#part.apply(new Transaction(weftTable).destroyElements(map, elements));
      this.counts.clients += stale.length;
    }
    this.#staleClients = new Set();
  }

  #cutFlows(): void {
    if (this.#staleFlows.size === 0) return;
    const ids = this.#staleFlows;
    const surroundings = this.#surroundings();
    const stale = new Map<string, FlowFilter>();
    for (const flow of this.#kernel.conntrack.list(filtersOf(ids))) {
      if (!isStaleFlow(udpFlow(flow), this.#table, ids, surroundings)) continue;
      const { family, original, reply } = flow;
      const { destination, destinationPort = 0 } = original;
      const { source, sourcePort = 0 } = reply;
      stale.set(`${destination} ${destinationPort} ${source} ${sourcePort}`, {
        family,
        protocol: UDP,
        original: { destination, destinationPort },
        reply: { source, sourcePort },
      });
    }
    if (stale.size > 0) this.counts.flows += this.#kernel.conntrack.delete([...stale.values()]);
    this.#staleFlows = new Set();
  }
}

/** Removes all that the driver writes to the kernel. Returns false where there was nothing. */
export function removeServices(nft: NftablesApi): boolean {
  return new TablePart(nft, "services").remove();
}

/** The UDP flows to some frontends, by their ids: "4 10.96.0.10 . udp . 53", "4 udp . 30053". */
function filtersOf(ids: ReadonlySet<string>): FlowFilter[] {
  if (ids.size > FEW) return [{ protocol: UDP }];
  return [...ids].map((id) => {
    const words = id.slice(2).split(" . ");
    const address = words.length === 3 ? Ip.parse(words[0] as string) : undefined;
    return {
      family: id.startsWith("4") ? 4 : 6,
      protocol: UDP,
      original: {
        destinationPort: Number(words.at(-1)),
        ...(address === undefined ? {} : { destination: address }),
      },
    };
  });
}

function udpFlow({ family, original, reply }: Flow) {
  return {
    family,
    destination: String(original.destination),
    destinationPort: original.destinationPort ?? 0,
    answerer: String(reply.source),
    answererPort: reply.sourcePort ?? 0,
  };
}
