import type { Address } from "../route/address.ts";
import type { Link, LinkRef } from "../route/link.ts";
import type { RtnlEvent } from "../route/monitor.ts";
import type { FdbEntry, Neighbour } from "../route/neighbour.ts";
import type { Route } from "../route/route.ts";
import type { Rule } from "../route/rule.ts";
import type { Filter, Qdisc, TcClass } from "../route/tc.ts";
import type { BridgeVlan } from "../route/vlan.ts";
import { FakeConntrack } from "./conntrack.ts";
import type { FakeMonitor } from "./monitor.ts";
import { FakeNftables } from "./nftables.ts";
import { refuse } from "./refusal.ts";

/** What a link is, wherever it lives; its relations are objects, since indexes change when it moves. */
export interface FakeLink {
  namespace: FakeNamespace;
  /** Without `parent`, `master` and what follows from the state of others. */
  own: Link;
  /** The other end of a veth pair. */
  peer?: FakeLink;
  /** The link below a VLAN or MACVLAN. */
  parent?: FakeLink;
  master?: FakeLink;
}

/** The whole machine, as far as a namespace needs it. */
export interface FakeMachine {
  /** Throws a `KernelError` for a namespace that is not there. */
  namespace(path: string): FakeNamespace;
  nextMac(): string;
}

/** The state of one network namespace. */
export class FakeNamespace {
  readonly machine: FakeMachine;
  readonly links: FakeLink[] = [];
  addresses: Address[] = [];
  routes: Route[] = [];
  rules: Rule[];
  neighbours: Neighbour[] = [];
  fdb: FdbEntry[] = [];
  vlans: BridgeVlan[] = [];
  qdiscs: Qdisc[] = [];
  classes: TcClass[] = [];
  filters: Filter[] = [];
  readonly nft = new FakeNftables();
  readonly conntrack = new FakeConntrack();
  readonly sysctls = new Map<string, string>();
  readonly monitors = new Set<FakeMonitor>();
  #lastIndex = 0;

  constructor(machine: FakeMachine) {
    this.machine = machine;
    const rule = (family: 4 | 6, priority: number, table: number): Rule => ({
      family,
      priority,
      table,
      action: "table",
      protocol: "kernel",
    });
    this.rules = [
      rule(4, 0, 255),
      rule(4, 32766, 254),
      rule(4, 32767, 253),
      rule(6, 0, 255),
      rule(6, 32766, 254),
    ];
  }

  emit(event: RtnlEvent): void {
    for (const monitor of this.monitors) monitor.tell(event);
  }

  /** A free index; `wanted` where it is free. */
  newIndex(wanted?: number): number {
    if (wanted !== undefined && !this.links.some((link) => link.own.index === wanted)) return wanted;
    do this.#lastIndex += 1;
    while (this.links.some((link) => link.own.index === this.#lastIndex));
    return this.#lastIndex;
  }

  find(ref: LinkRef): FakeLink | undefined {
    return this.links.find(({ own }) =>
      typeof ref === "number" ? own.index === ref : own.name === ref || own.altNames.includes(ref),
    );
  }

  /** Refuses with ENODEV. */
  get(ref: LinkRef): FakeLink {
    return this.find(ref) ?? refuse("ENODEV");
  }
}
