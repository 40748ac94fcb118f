import { InvalidInput } from "../../lib/errors.ts";
import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, type Request } from "../netlink/socket.ts";
import * as address from "./address.ts";
import * as link from "./link.ts";
import * as linkMessages from "./link-messages.ts";
import * as neighbour from "./neighbour.ts";
import type { Body, Resolver } from "./resolver.ts";
import type * as route from "./route.ts";
import * as routeMessages from "./route-messages.ts";
import * as rule from "./rule.ts";
import * as tc from "./tc.ts";
import * as vlan from "./vlan.ts";

/** Changes of one link: which one, and what shall be different. */
export interface SetLink extends link.LinkSettings {
  link: link.LinkRef;
}

/** Every change that can be asked of rtnetlink, with what it takes. */
export interface ChangeArguments {
  addLink: link.NewLink;
  setLink: SetLink;
  deleteLink: { link: link.LinkRef } | { group: number };
  addAltNames: { link: link.LinkRef; names: string[] };
  deleteAltNames: { link: link.LinkRef; names: string[] };
  addAddress: address.NewAddress;
  replaceAddress: address.NewAddress;
  deleteAddress: address.NewAddress;
  addRoute: route.NewRoute;
  replaceRoute: route.NewRoute;
  appendRoute: route.NewRoute;
  deleteRoute: route.NewRoute;
  addRule: rule.NewRule;
  deleteRule: rule.NewRule;
  addNeighbour: neighbour.NewNeighbour;
  replaceNeighbour: neighbour.NewNeighbour;
  deleteNeighbour: Pick<neighbour.NewNeighbour, "link" | "ip" | "flags">;
  addFdbEntry: neighbour.NewFdbEntry;
  appendFdbEntry: neighbour.NewFdbEntry;
  replaceFdbEntry: neighbour.NewFdbEntry;
  deleteFdbEntry: neighbour.NewFdbEntry;
  addBridgeVlan: vlan.NewBridgeVlan;
  deleteBridgeVlan: vlan.NewBridgeVlan;
  addQdisc: tc.NewQdisc;
  replaceQdisc: tc.NewQdisc;
  deleteQdisc: tc.NewQdisc;
  addClass: tc.NewTcClass;
  replaceClass: tc.NewTcClass;
  deleteClass: tc.NewTcClass;
  addFilter: tc.NewFilter;
  replaceFilter: tc.NewFilter;
  deleteFilter: tc.NewFilter;
}

/** One change as plain data: an object with one key, such as `{ addRoute: { dst: "10.0.0.0/8", gateway: "10.1.1.1" } }`. */
export type Change = {
  [K in keyof ChangeArguments]: { [N in K]: ChangeArguments[K] };
}[keyof ChangeArguments];

const add = NLM_F_CREATE | NLM_F_EXCL;
const replace = NLM_F_CREATE | NLM_F_REPLACE;
const append = NLM_F_CREATE | NLM_F_APPEND;

type Build<T> = (argument: T, resolver: Resolver) => Request[];

class ChangeRequest implements Request {
  readonly operation: string;
  readonly type: number;
  readonly flags: number;
  readonly write: Body;
  readonly #subject: () => string;

  constructor(operation: string, subject: () => string, type: number, flags: number, write: Body) {
    this.operation = operation;
    this.#subject = subject;
    this.type = type;
    this.flags = flags;
    this.write = write;
  }

  // Only an error needs it.
  get subject(): string {
    return this.#subject();
  }
}

const on = (ref: link.LinkRef) => (typeof ref === "string" ? ref : `link ${ref}`);

function addLink(spec: link.NewLink, resolver: Resolver): Request[] {
  // What the kernel ignores in a new link, and what must be there before the link is up.
  const { alias, addrGenMode, bridgePort, ...first } = spec;
  const late: link.LinkSettings = {
    ...(alias !== undefined && { alias }),
    ...(addrGenMode !== undefined && { addrGenMode }),
    ...(bridgePort !== undefined && { bridgePort }),
  };
  const subject = () => `${spec.name ?? ""} of kind ${spec.kind}`;
  const create = (settings: link.NewLink) =>
    new ChangeRequest(
      "add link",
      subject,
      linkMessages.RTM_NEWLINK,
      add,
      linkMessages.newLinkBody(settings, resolver),
    );
  if (Object.keys(late).length === 0) return [create(first)];
  const { name } = spec;
  if (name === undefined || spec.netns !== undefined) {
    throw new InvalidInput(
      Object.keys(late).join(", "),
      name,
      "can only be set on a named link of this namespace",
    );
  }
  if (addrGenMode !== undefined && first.up) {
    delete first.up;
    late.up = true;
  }
  const then = linkMessages.setLinkBody(0, { ...late, name }, resolver);
  return [create(first), new ChangeRequest("set link", subject, linkMessages.RTM_NEWLINK, 0, then)];
}

function setLink({ link: ref, ...settings }: SetLink, resolver: Resolver): Request[] {
  const byName = typeof ref === "string" && ref.length <= link.nameLimit && settings.name === undefined;
  const write = (part: link.LinkSettings) => {
    const body = byName
      ? linkMessages.setLinkBody(0, { ...part, name: ref }, resolver)
      : linkMessages.setLinkBody(resolver.index(ref), part, resolver);
    return new ChangeRequest("set link", () => String(ref), linkMessages.RTM_NEWLINK, 0, body);
  };
  // The kernel looks at the port's attributes before it makes the link a port.
  const { bridgePort, ...rest } = settings;
  if (bridgePort === undefined || settings.master === undefined) return [write(settings)];
  return [write(rest), write({ bridgePort })];
}

function deleteLink(spec: ChangeArguments["deleteLink"]): Request[] {
  if ("group" in spec) {
    const body = linkMessages.groupBody(spec.group);
    return [
      new ChangeRequest("delete link group", () => String(spec.group), linkMessages.RTM_DELLINK, 0, body),
    ];
  }
  return [
    new ChangeRequest(
      "delete link",
      () => String(spec.link),
      linkMessages.RTM_DELLINK,
      0,
      linkMessages.keyBody(spec.link),
    ),
  ];
}

/** A builder for changes that are one request about one link. */
function onLink<T extends { link: link.LinkRef }>(
  operation: string,
  subject: (spec: T) => unknown,
  type: number,
  flags: number,
  body: (spec: T, resolver: Resolver) => Body,
): Build<T> {
  return (spec, resolver) => [
    new ChangeRequest(
      operation,
      () => `${subject(spec)} on ${on(spec.link)}`,
      type,
      flags,
      body(spec, resolver),
    ),
  ];
}

const altNames = (operation: string, type: number, flags: number) =>
  onLink<ChangeArguments["addAltNames"]>(
    operation,
    (spec) => spec.names.join(", "),
    type,
    flags,
    (spec, resolver) => linkMessages.altNamesBody(resolver.index(spec.link), spec.names),
  );

const addresses = (operation: string, type: number, flags: number) =>
  onLink<address.NewAddress>(operation, (spec) => spec.address, type, flags, address.addressBody);

const neighbours = (operation: string, type: number, flags: number) =>
  onLink<neighbour.NewNeighbour>(operation, (spec) => spec.ip, type, flags, neighbour.neighbourBody);

const fdb = (operation: string, type: number, flags: number) =>
  onLink<neighbour.NewFdbEntry>(operation, (spec) => spec.mac, type, flags, neighbour.fdbEntryBody);

const vlans = (operation: string, type: number) =>
  onLink<vlan.NewBridgeVlan>(operation, (spec) => spec.vid, type, 0, vlan.bridgeVlanBody);

const qdiscs = (operation: string, type: number, flags: number) =>
  onLink<tc.NewQdisc>(
    operation,
    (spec) => `${spec.kind ?? ""} ${spec.handle ?? ""}`.trim(),
    type,
    flags,
    tc.qdiscBody,
  );

const classes = (operation: string, type: number, flags: number) =>
  onLink<tc.NewTcClass>(operation, (spec) => spec.handle, type, flags, tc.classBody);

const filters = (operation: string, type: number, flags: number, deletion = false) =>
  onLink<tc.NewFilter>(
    operation,
    (spec) => `${spec.kind ?? ""} of ${spec.parent}`,
    type,
    flags,
    (spec, resolver) => tc.filterBody(spec, resolver, deletion),
  );

const routes =
  (operation: string, type: number, flags: number, deletion = false): Build<route.NewRoute> =>
  (spec, resolver) => [
    new ChangeRequest(
      operation,
      () => describeRoute(spec),
      type,
      flags,
      routeMessages.routeBody(spec, resolver, deletion),
    ),
  ];

/** A route in the words of `ip route`. */
function describeRoute(spec: route.NewRoute): string {
  const words = [String(spec.dst)];
  if (spec.type !== undefined) words.unshift(String(spec.type));
  if (spec.gateway !== undefined) words.push(`via ${spec.gateway}`);
  if (spec.oif !== undefined) words.push(`dev ${on(spec.oif)}`);
  if (spec.nextHops !== undefined) words.push(`with ${spec.nextHops.length} next hops`);
  if (spec.table !== undefined) words.push(`table ${spec.table}`);
  return words.join(" ");
}

const rules =
  (operation: string, type: number, flags: number, deletion = false): Build<rule.NewRule> =>
  (spec) => [
    new ChangeRequest(operation, () => describeRule(spec), type, flags, rule.ruleBody(spec, deletion)),
  ];

function describeRule(spec: rule.NewRule): string {
  const words = [`from ${spec.src ?? "all"}`];
  if (spec.priority !== undefined) words.unshift(`${spec.priority}:`);
  if (spec.dst !== undefined) words.push(`to ${spec.dst}`);
  if (spec.mark !== undefined) words.push(`fwmark ${spec.mark}`);
  if (spec.table !== undefined) words.push(`table ${spec.table}`);
  return words.join(" ");
}

const builders: { [K in keyof ChangeArguments]: Build<ChangeArguments[K]> } = {
  addLink,
  setLink,
  deleteLink,
  addAltNames: altNames("add alternative names", linkMessages.RTM_NEWLINKPROP, add | NLM_F_APPEND),
  deleteAltNames: altNames("delete alternative names", linkMessages.RTM_DELLINKPROP, 0),
  addAddress: addresses("add address", address.RTM_NEWADDR, add),
  replaceAddress: addresses("replace address", address.RTM_NEWADDR, replace),
  deleteAddress: addresses("delete address", address.RTM_DELADDR, 0),
  addRoute: routes("add route", routeMessages.RTM_NEWROUTE, add),
  replaceRoute: routes("replace route", routeMessages.RTM_NEWROUTE, replace),
  appendRoute: routes("append route", routeMessages.RTM_NEWROUTE, append),
  deleteRoute: routes("delete route", routeMessages.RTM_DELROUTE, 0, true),
  addRule: rules("add rule", rule.RTM_NEWRULE, add),
  deleteRule: rules("delete rule", rule.RTM_DELRULE, 0, true),
  addNeighbour: neighbours("add neighbour", neighbour.RTM_NEWNEIGH, add),
  replaceNeighbour: neighbours("replace neighbour", neighbour.RTM_NEWNEIGH, replace),
  deleteNeighbour: neighbours("delete neighbour", neighbour.RTM_DELNEIGH, 0),
  addFdbEntry: fdb("add forwarding entry", neighbour.RTM_NEWNEIGH, add),
  appendFdbEntry: fdb("append forwarding entry", neighbour.RTM_NEWNEIGH, append),
  replaceFdbEntry: fdb("replace forwarding entry", neighbour.RTM_NEWNEIGH, replace),
  deleteFdbEntry: fdb("delete forwarding entry", neighbour.RTM_DELNEIGH, 0),
  addBridgeVlan: vlans("add bridge VLAN", linkMessages.RTM_SETLINK),
  deleteBridgeVlan: vlans("delete bridge VLAN", linkMessages.RTM_DELLINK),
  addQdisc: qdiscs("add qdisc", tc.RTM_NEWQDISC, add),
  replaceQdisc: qdiscs("replace qdisc", tc.RTM_NEWQDISC, replace),
  deleteQdisc: qdiscs("delete qdisc", tc.RTM_DELQDISC, 0),
  addClass: classes("add class", tc.RTM_NEWTCLASS, add),
  replaceClass: classes("replace class", tc.RTM_NEWTCLASS, replace),
  deleteClass: classes("delete class", tc.RTM_DELTCLASS, 0),
  addFilter: filters("add filter", tc.RTM_NEWTFILTER, add),
  replaceFilter: filters("replace filter", tc.RTM_NEWTFILTER, replace),
  deleteFilter: filters("delete filter", tc.RTM_DELTFILTER, 0, true),
};

/** The requests that make a change, in order; mostly one. */
export function requestsOf(change: Change, resolver: Resolver): Request[] {
  let requests: Request[] | undefined;
  for (const name in change) {
    const build = Object.hasOwn(builders, name)
      ? (builders[name as keyof ChangeArguments] as Build<unknown>)
      : undefined;
    if (build === undefined || requests !== undefined) {
      requests = undefined;
      break;
    }
    requests = build((change as Readonly<Record<string, unknown>>)[name], resolver);
  }
  if (requests !== undefined) return requests;
  throw new InvalidInput("change", Object.keys(change), "is not one change", {
    remedy: `Give an object with one key of ${Object.keys(builders).join(", ")}`,
  });
}

/** True for changes after which a link may have another index or name. */
export function changesNames(change: Change): boolean {
  return "addLink" in change || "setLink" in change || "deleteLink" in change || "addAltNames" in change;
}
