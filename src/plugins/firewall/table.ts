import { isNotFound } from "../../linux/errors.ts";
import {
  accept,
  ct,
  drop,
  ip,
  ip6,
  is,
  isIn,
  jump,
  meta,
  rule,
  type Statement,
  vmap,
} from "../../linux/nftables/expr.ts";
import {
  type Chain,
  Nftables,
  type NftMap,
  type NftSet,
  type TableRef,
  Transaction,
} from "../../linux/nftables/index.ts";
import { tableName } from "../netfilter/masquerade-names.ts";
import { sweep, table } from "../netfilter/nft-table.ts";
import type { Bridge, FirewallConfig } from "./config.ts";
import { firewallChain, firewallMap } from "./names.ts";

/*
 * The structure around the elements of firewall-nftables.ts, and what looks through all of them.
 */

const filter = 0;

function mapOf(family: 4 | 6): NftMap {
  const key = family === 4 ? "ipv4_addr" : "ipv6_addr";
  return { kind: "map", name: firewallMap(family), key, data: "verdict" };
}

const bridges: NftSet = { kind: "set", name: "firewall-bridges", key: "ifname" };

function baseChain(name: string, priority: number): Chain {
  return { kind: "chain", name, type: "filter", hook: "forward", priority };
}

function setChain(transaction: Transaction, chain: Chain, rules: readonly (readonly Statement[])[]): void {
  transaction
    .add(chain)
    .flush({ kind: "chain", name: chain.name })
    .add(...rules.map((statements) => rule(transaction.table.family, chain.name, ...statements)));
}

function interfacesOf({ name, vlan }: Bridge): string[] {
  return vlan === undefined ? [name] : [name, vlan];
}

/** Makes table, maps and chains for a configuration and the containers' bridge. Safe to repeat. */
export function addFirewallStructure(
  { policy, adminChain }: FirewallConfig,
  bridge: Bridge | undefined,
): void {
  const transaction = new Transaction(table)
    .add({ kind: "table", ...table }, mapOf(4), mapOf(6), bridges)
    .add({ kind: "chain", name: adminChain });
  setChain(transaction, baseChain(`firewall-admin-${adminChain}`, filter - 1), [[jump(adminChain)]]);
  setChain(transaction, baseChain("firewall", filter), [
    [is(ct.state, "established,related"), accept],
    [vmap(ip.daddr, mapOf(4))],
    [vmap(ip6.daddr, mapOf(6))],
  ]);
  setChain(
    transaction,
    { kind: "chain", name: firewallChain(policy, bridge) },
    bridge === undefined
      ? [[accept]]
      : [
          ...(policy === "isolated"
            ? []
            : interfacesOf(bridge).map((name) => [is(meta.iifname, name), accept])),
          [isIn(meta.iifname, bridges), drop],
        ],
  );
  if (bridge !== undefined) {
    transaction.addElements(
      bridges,
      interfacesOf(bridge).map((key) => ({ key })),
    );
  }
  using nft = new Nftables();
  nft.apply(transaction);
}

const bridgeTable: TableRef = { family: "bridge", name: tableName };
const isolated: NftSet = { kind: "set", name: "firewall-isolated", key: "ifname" };

/** Keeps what other ports of the bridge send from a port: that does not come by the chains of table inet everywhere. */
export function isolatePort(port: string, comment: string): void {
  const transaction = new Transaction(bridgeTable).add({ kind: "table", ...bridgeTable }, isolated);
  setChain(transaction, baseChain("firewall-isolated", filter), [[isIn(meta.oifname, isolated), drop]]);
  // In place of the one of an earlier container with this port.
  transaction.destroyElements(isolated, [{ key: port }]).addElements(isolated, [{ key: port, comment }]);
  using nft = new Nftables();
  nft.apply(transaction);
}

/** True where {@link isolatePort} holds. */
export function isIsolatedPort(port: string): boolean {
  using nft = new Nftables();
  try {
    return nft.elements(bridgeTable, isolated).some(({ key }) => key === port);
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

/** Removes what is there for attachments that a condition is true for, of their comments, and what nothing needs any more. */
export function sweepFirewall(open: Disposable[], isGone: (comment: string) => boolean): void {
  const isMap = (name: string) => name.startsWith("firewall");
  const isOwn = ({ comment = "" }: { comment?: string }) => isGone(comment);
  sweep(
    open,
    {
      isMap,
      chains: ["firewall-open", "firewall-same-bridge-", "firewall-isolated-"],
      derived: {
        set: bridges.name,
        isNeeded: (name, used) =>
          [...used].some((chain) => chain.endsWith(`-${name}`) || chain.includes(`-${name}.`)),
      },
    },
    isOwn,
  );
  sweep(open, { table: bridgeTable, isMap, chains: [] }, isOwn);
}
