import { NetlinkMonitor } from "../netlink/monitor.ts";
import type { Message } from "../netlink/socket.ts";
import { NETLINK_ROUTE } from "../netlink/socket.ts";
import type { NetnsRef } from "../netns.ts";
import { type Address, RTM_DELADDR, RTM_NEWADDR, readAddress } from "./address.ts";
import type { LinkKind } from "./kinds.ts";
import type { Link } from "./link.ts";
import { ifinfomsg, RTM_DELLINK, RTM_NEWLINK, readLink } from "./link-messages.ts";
import {
  AF_BRIDGE,
  type FdbEntry,
  type Neighbour,
  neighbourFamily,
  RTM_DELNEIGH,
  RTM_NEWNEIGH,
  readFdbEntry,
  readNeighbour,
} from "./neighbour.ts";
import type { Route } from "./route.ts";
import { RTM_DELROUTE, RTM_NEWROUTE, readRoute } from "./route-messages.ts";
import { RTM_DELRULE, RTM_NEWRULE, type Rule, readRule } from "./rule.ts";

/** What to be told of, with the multicast groups of linux/rtnetlink.h. */
const groups = {
  links: [1 /* RTNLGRP_LINK */],
  /** Neighbours and forwarding entries. */
  neighbours: [3 /* RTNLGRP_NEIGH */],
  addresses: [5 /* RTNLGRP_IPV4_IFADDR */, 9 /* RTNLGRP_IPV6_IFADDR */],
  routes: [7 /* RTNLGRP_IPV4_ROUTE */, 11 /* RTNLGRP_IPV6_ROUTE */],
  rules: [8 /* RTNLGRP_IPV4_RULE */, 19 /* RTNLGRP_IPV6_RULE */],
};
export type MonitorTopic = keyof typeof groups;

/**
 * Something that happened. `action` "new" is also told of changes. After an "overrun", events were lost: list again
 * what you follow.
 */
export type RtnlEvent =
  | { object: "link"; action: "new" | "delete"; link: Link }
  | { object: "address"; action: "new" | "delete"; address: Address }
  | { object: "route"; action: "new" | "delete"; route: Route }
  | { object: "rule"; action: "new" | "delete"; rule: Rule }
  | { object: "neighbour"; action: "new" | "delete"; neighbour: Neighbour }
  | { object: "fdb"; action: "new" | "delete"; entry: FdbEntry }
  | { object: "overrun" };

/**
 * Events from the moment of its making on; to be iterated once. The iteration keeps the process
 * alive until `close`, and closes when it is left.
 */
export interface Monitor extends AsyncIterable<RtnlEvent>, AsyncDisposable {
  close(): Promise<void>;
}

/** The kernel's events of one namespace. */
export class RtnlMonitor implements Monitor {
  readonly #monitor: NetlinkMonitor;
  readonly #kinds: Readonly<Record<string, LinkKind>>;

  constructor(
    topics: readonly MonitorTopic[],
    kinds: Readonly<Record<string, LinkKind>>,
    netns: NetnsRef | undefined,
  ) {
    this.#kinds = kinds;
    const mask = topics
      .flatMap((topic) => groups[topic])
      .reduce((bits, group) => bits | (1 << (group - 1)), 0);
    this.#monitor = new NetlinkMonitor(NETLINK_ROUTE, { groups: mask, netns });
  }

  async *[Symbol.asyncIterator](): AsyncIterator<RtnlEvent> {
    for await (const messages of this.#monitor) {
      if (messages === undefined) yield { object: "overrun" };
      else yield* readEvents(messages, this.#kinds);
    }
  }

  close(): Promise<void> {
    return this.#monitor.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function* readEvents(
  messages: readonly Message[],
  kinds: Readonly<Record<string, LinkKind>>,
): Generator<RtnlEvent> {
  for (const message of messages) {
    const event = readEvent(message, kinds);
    if (event !== undefined) yield event;
  }
}

/** The event in a message; undefined for messages of no interest here. Throws {@link MalformedMessage}. */
export function readEvent(
  { type, payload }: Message,
  kinds: Readonly<Record<string, LinkKind>>,
): RtnlEvent | undefined {
  switch (type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      // A bridge tells of its ports with messages of its own family; their deletion is not the link's.
      if (ifinfomsg.read(payload).family === AF_BRIDGE) return undefined;
      return { object: "link", action: action(type === RTM_NEWLINK), link: readLink(payload, kinds) };
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return { object: "address", action: action(type === RTM_NEWADDR), address: readAddress(payload) };
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      return { object: "route", action: action(type === RTM_NEWROUTE), route: readRoute(payload) };
    case RTM_NEWRULE:
    case RTM_DELRULE:
      return { object: "rule", action: action(type === RTM_NEWRULE), rule: readRule(payload) };
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      return neighbourFamily(payload) === AF_BRIDGE
        ? { object: "fdb", action: action(type === RTM_NEWNEIGH), entry: readFdbEntry(payload) }
        : { object: "neighbour", action: action(type === RTM_NEWNEIGH), neighbour: readNeighbour(payload) };
    default:
      return undefined;
  }
}

const action = (isNew: boolean) => (isNew ? "new" : "delete");
