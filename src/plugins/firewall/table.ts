import { isErrno, isNotFound, isNotSupported } from "../../linux/errors.ts";
import {
  accept,
  ct,
  drop,
  icmpv6,
  ip,
  ip6,
  is,
  isIn,
  jump,
  meta,
  rule,
  type Statement,
  tcp,
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
import { adminEntry, firewallChain, firewallMap, forwardHookChain, isChainOfBridge } from "./names.ts";

/*
 * The structure around the elements of nftables.ts, and what looks through all of them.
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
  setChain(transaction, baseChain(adminEntry(adminChain), filter - 1), [[jump(adminChain)]]);
  setChain(transaction, baseChain(forwardHookChain, filter), [
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
          // What comes from the bridge itself comes by here where bridges call iptables.
          ...(policy === "isolated"
            ? [[is(icmpv6.type, neighbourDiscovery), accept]]
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

/** The two messages by which neighbours find each other's link-layer addresses (RFC 4861, 4.3 and 4.4). */
const neighbourDiscovery = "135-136";

/**
 * Keeps connections that other ports of the bridge begin from a port: they do not come by the chains of table inet
 * everywhere. ARP, neighbour discovery and answers pass. A kernel without nf_conntrack_bridge knows only of TCP which
 * packets are answers.
 */
export function isolatePort(port: string, comment: string): void {
  try {
    setIsolated(port, comment, [is(ct.state, "established,related"), accept]);
  } catch (error) {
    if (!isErrno(error, "EPROTO", "EINVAL") && !isNotSupported(error) && !isNotFound(error)) throw error;
    setIsolated(port, comment, [is(tcp.flags, "ack,rst"), accept]);
  }
}

function setIsolated(port: string, comment: string, answers: readonly Statement[]): void {
  const transaction = new Transaction(bridgeTable).add({ kind: "table", ...bridgeTable }, isolated);
  setChain(transaction, baseChain("firewall-isolated", filter), [
    answers,
    [is(icmpv6.type, neighbourDiscovery), accept],
    [is(meta.protocol, "ip"), isIn(meta.oifname, isolated), drop],
    [is(meta.protocol, "ip6"), isIn(meta.oifname, isolated), drop],
  ]);
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
export async function sweepFirewall(open: Disposable[], isGone: (comment: string) => boolean): Promise<void> {
  const isMap = (name: string) => name.startsWith("firewall");
  const isOwn = ({ comment = "" }: { comment?: string }) => isGone(comment);
  await sweep(
    open,
    {
      isMap,
      chains: ["firewall-open", "firewall-same-bridge-", "firewall-isolated-"],
      derived: {
        set: bridges.name,
        isNeeded: (name, used) => [...used].some((chain) => isChainOfBridge(chain, name)),
      },
    },
    isOwn,
  );
  await sweep(open, { table: bridgeTable, isMap, chains: [] }, isOwn);
}
