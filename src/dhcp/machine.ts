import type { Ip } from "../lib/ip.ts";
import { isAssignable, type Lease, leaseOf, type ServerAddress, unlessMalformed } from "./lease.ts";
import {
  BOOTREPLY,
  BOOTREQUEST,
  MalformedDhcp,
  type Message,
  messageType,
  messageTypeName,
  optionCode,
  unspecified,
} from "./message.ts";
import { byteOption, ipsOption, textOption } from "./options.ts";

/** What a client is and how patient it is. Times are milliseconds. */
export interface ClientSettings {
  chaddr: Uint8Array;
  /** Option 61. */
  clientId: Uint8Array;
  /** Option 55; none is sent where it is empty. */
  requested: readonly number[];
  /** Further options, of the operator's. */
  provided: ReadonlyMap<number, Uint8Array>;
  /** Ask servers to answer by broadcast. */
  broadcast: boolean;
  /** How long one server is asked for what it offered, and a lost lease is asked for again. */
  timeout: number;
  /** The longest pause between two tries. */
  resendMax: number;
  /** How long a lease is asked for in all. */
  resendTimeout: number;
}

/** What the states of one try have in common. */
interface Asking {
  xid: number;
  /** When the first message of the try was sent. */
  began: number;
  /** How many messages of this state were sent. */
  sent: number;
  /** When the next is due. */
  next: number;
}

/** A lease that its server took back: nothing but the same address will do, and only until it is over. */
interface Lost {
  lost?: Lease;
}

/** An address that a server offers or has given, and where the server is. */
export interface Offer extends ServerAddress {
  ip: Ip;
}

/** The states of RFC 2131 section 4.4 (figure 5), as far as they last. */
export type State =
  | ({ name: "selecting"; heard: string } & Asking & Lost)
  | ({ name: "requesting"; heard: string; offer: Offer; until: number } & Asking & Lost)
  | { name: "bound"; lease: Lease }
  | ({ name: "renewing"; lease: Lease } & Asking)
  | ({ name: "rebinding"; lease: Lease } & Asking)
  | { name: "ended"; reason: string };

/** Where a message goes: to all on the link, or to one server. */
export interface Sending {
  message: Message;
  /** The server that is the only one to get it. */
  unicast?: ServerAddress;
}

/** What comes of an event. */
export interface Step {
  state: State;
  send?: Sending;
  /** Why, for the log; undefined where nothing worth telling happened. */
  reason?: string;
}

/** The world of a step: when it is, and chance, from 0 up to 1. */
export interface Moment {
  now: number;
  random: () => number;
}

/** A message and who sent it on layer 2. */
export interface Received {
  message: Message;
  from: Uint8Array;
}

/** The reference's: a few quick tries, then pauses that grow. RFC 2131 section 4.1 has the second part. */
const quickTries = 4;
const quickPause = 2000;
const firstPause = 4000;
const jitter = 1000;

function pauseAfter(sent: number, { resendMax }: ClientSettings, { random }: Moment): number {
  const base =
    sent <= quickTries ? quickPause : Math.min(firstPause * 2 ** (sent - quickTries - 1), resendMax);
  return Math.max(base + jitter * (2 * random() - 1), 100);
}

/** The beginning: asks for a lease. */
export function begin(settings: ClientSettings, moment: Moment, lost?: Lease): Step {
  const asking = { xid: newXid(moment), began: moment.now, sent: 0, next: moment.now };
  const state = { name: "selecting", heard: "", ...asking, ...(lost === undefined ? {} : { lost }) } as const;
  return discover(settings, state, moment);
}

function newXid({ random }: Moment): number {
  return Math.floor(random() * 2 ** 32);
}

type Selecting = Extract<State, { name: "selecting" }>;
type Requesting = Extract<State, { name: "requesting" }>;
type Extending = Extract<State, { name: "renewing" | "rebinding" }>;

function discover(settings: ClientSettings, state: Selecting, moment: Moment): Step {
  const sent = state.sent + 1;
  const wanted = state.lost?.address.ip;
  const message = clientMessage(settings, state, moment, messageType.discover, {
    ...(wanted === undefined ? {} : { [optionCode.requestedAddress]: wanted.bytes }),
  });
  const next = moment.now + pauseAfter(sent, settings, moment);
  return { state: { ...state, sent, next }, send: { message } };
}

function request(settings: ClientSettings, state: Requesting, moment: Moment): Step {
  const sent = state.sent + 1;
  const message = clientMessage(settings, state, moment, messageType.request, {
    [optionCode.requestedAddress]: state.offer.ip.bytes,
    [optionCode.serverIdentifier]: state.offer.server.bytes,
  });
  const next = moment.now + pauseAfter(sent, settings, moment);
  return { state: { ...state, sent, next }, send: { message } };
}

/** Asks for more time: while renewing the server alone, while rebinding any. */
function extend(settings: ClientSettings, state: Extending, moment: Moment): Step {
  const { lease } = state;
  const message = clientMessage(settings, state, moment, messageType.request, {}, lease.address.ip);
  const end = state.name === "renewing" ? lease.rebinding : lease.expiry;
  // RFC 2131 section 4.4.5: after half of the time that is left, but not more often than once a minute, which leases of
  // a few minutes have no time for.
  const least = Math.min(60_000, Math.max(1000, (lease.expiry - lease.renewal) / 15));
  const next = moment.now + Math.max((end - moment.now) / 2, least) * (0.95 + 0.1 * moment.random());
  const send = state.name === "renewing" ? { message, unicast: lease } : { message };
  return { state: { ...state, sent: state.sent + 1, next }, send };
}

/** The message that gives a lease back (RFC 2131 section 4.4.6). */
export function releaseOf(settings: ClientSettings, offer: Offer, moment: Moment): Sending {
  const asking = { xid: newXid(moment), began: moment.now };
  const options = new Map<number, Uint8Array>([
    [optionCode.messageType, Uint8Array.of(messageType.release)],
    [optionCode.clientIdentifier, clientIdOf(settings)],
    [optionCode.serverIdentifier, offer.server.bytes],
  ]);
  const message = { ...emptyMessage(settings, asking, moment, offer.ip), broadcast: false, options };
  return { message, unicast: offer };
}

function clientIdOf({ clientId, provided }: ClientSettings): Uint8Array {
  return provided.get(optionCode.clientIdentifier) ?? clientId;
}

/** IP and UDP headers taken off, what an Ethernet frame has room for. */
const longestMessage = Uint8Array.of(0x05, 0xc0);

function clientMessage(
  settings: ClientSettings,
  asking: Pick<Asking, "xid" | "began">,
  moment: Moment,
  type: number,
  own: Record<number, Uint8Array>,
  ciaddr?: Ip,
): Message {
  const options = new Map<number, Uint8Array>([
    [optionCode.messageType, Uint8Array.of(type)],
    [optionCode.clientIdentifier, clientIdOf(settings)],
    [optionCode.maximumMessageSize, longestMessage],
  ]);
  for (const [code, value] of settings.provided) options.set(code, value);
  if (settings.requested.length > 0) {
    options.set(optionCode.parameterRequestList, Uint8Array.from(settings.requested));
  }
  for (const [code, value] of Object.entries(own)) options.set(Number(code), value);
  options.set(optionCode.messageType, Uint8Array.of(type));
  return { ...emptyMessage(settings, asking, moment, ciaddr), options };
}

function emptyMessage(
  { chaddr, broadcast }: ClientSettings,
  { xid, began }: Pick<Asking, "xid" | "began">,
  { now }: Moment,
  ciaddr: Ip = unspecified,
): Omit<Message, "options"> {
  const secs = Math.max(0, Math.floor((now - began) / 1000));
  const addresses = { ciaddr, yiaddr: unspecified, siaddr: unspecified, giaddr: unspecified };
  return { op: BOOTREQUEST, xid, secs, broadcast, chaddr, ...addresses };
}

/** When the state wants to be woken, in milliseconds of the clock; infinite where never. */
export function wakeTime(settings: ClientSettings, state: State): number {
  switch (state.name) {
    case "selecting":
      return Math.min(state.next, deadlineOf(settings, state));
    case "requesting":
      return Math.min(state.next, state.until, deadlineOf(settings, state));
    case "bound":
      return state.lease.renewal;
    case "renewing":
      return Math.min(state.next, state.lease.rebinding);
    case "rebinding":
      return Math.min(state.next, state.lease.expiry);
    case "ended":
      return Number.POSITIVE_INFINITY;
  }
}

function deadlineOf(settings: ClientSettings, { began, lost }: Selecting | Requesting): number {
  if (lost === undefined) return began + settings.resendTimeout;
  return Math.min(began + settings.timeout, lost.expiry);
}

/** Time has passed: sends again, asks others, or gives up. */
export function onTime(settings: ClientSettings, state: State, moment: Moment): Step {
  const { now } = moment;
  if (now < wakeTime(settings, state)) return { state };
  switch (state.name) {
    case "selecting":
    case "requesting":
      if (now >= deadlineOf(settings, state))
        return { state: { name: "ended", reason: givenUp(settings, state) } };
      if (state.name === "selecting") return discover(settings, state, moment);
      if (now >= state.until)
        return selectAgain(settings, state, moment, `${state.offer.server} is silent`, 0);
      return request(settings, state, moment);
    case "bound": {
      const { lease } = state;
      const asking = { xid: newXid(moment), began: now, sent: 0, next: now };
      const renewing = { name: "renewing", lease, ...asking } as const;
      // After a pause, as of a daemon that was away, T2 and the end may have passed as well.
      if (now >= lease.rebinding) return onTime(settings, renewing, moment);
      return { ...extend(settings, renewing, moment), reason: `asking ${lease.server} for more time` };
    }
    case "renewing": {
      if (now < state.lease.rebinding) return extend(settings, state, moment);
      const rebinding = { ...state, name: "rebinding", sent: 0, next: now } as const;
      if (now >= state.lease.expiry) return onTime(settings, rebinding, moment);
      const reason = `${state.lease.server} is silent; asking any server for more time`;
      return { ...extend(settings, rebinding, moment), reason };
    }
    case "rebinding":
      if (now < state.lease.expiry) return extend(settings, state, moment);
      return { state: { name: "ended", reason: "the lease is over, and no server gave more time" } };
    case "ended":
      return { state };
  }
}

function givenUp({ resendTimeout }: ClientSettings, { lost, heard }: Selecting | Requesting): string {
  if (lost !== undefined) return `${lost.server} took the lease back${heard === "" ? "" : ` (${heard})`}`;
  const seconds = resendTimeout / 1000;
  return `no DHCP server gave a lease within ${seconds} s (${heard === "" ? "none answered" : heard})`;
}

/** Back to the beginning of the same try. */
function selectAgain(
  settings: ClientSettings,
  state: Requesting,
  moment: Moment,
  heard: string,
  pause: number,
): Step {
  const { xid: _, began, lost } = state;
  const asking = { xid: newXid(moment), began, sent: 0, next: moment.now + pause };
  const selecting = { name: "selecting", heard, ...asking, ...(lost === undefined ? {} : { lost }) } as const;
  return pause === 0
    ? { ...discover(settings, selecting, moment), reason: heard }
    : { state: selecting, reason: heard };
}

/** A message came. What is not for this client, or out of place, changes nothing; what cannot be right is told. */
export function onMessage(settings: ClientSettings, state: State, received: Received, moment: Moment): Step {
  const { message } = received;
  if (state.name === "bound" || state.name === "ended") return { state };
  if (message.op !== BOOTREPLY || message.xid !== state.xid) return { state };
  if (message.chaddr.some((byte, i) => byte !== settings.chaddr[i])) return { state };
  try {
    const type = byteOption(message.options, optionCode.messageType);
    switch (state.name) {
      case "selecting":
        return type === messageType.offer ? onOffer(settings, state, received, moment) : { state };
      case "requesting":
        return onAnswer(settings, state, type, received, moment);
      case "renewing":
      case "rebinding":
        return onExtension(settings, state, type, received, moment);
    }
  } catch (error) {
    if (!(error instanceof MalformedDhcp)) throw error;
    // Whoever sends rubbish may be followed by somebody who does not.
    const heard = error.message;
    return { state: "heard" in state ? { ...state, heard } : state, reason: heard };
  }
}

function serverOf(message: Message): Ip | undefined {
  return ipsOption(message.options, optionCode.serverIdentifier)?.[0];
}

function onOffer(
  settings: ClientSettings,
  state: Selecting,
  { message, from }: Received,
  moment: Moment,
): Step {
  const server = serverOf(message);
  if (server === undefined) throw new MalformedDhcp("an offer does not say which server it is from");
  const ip = message.yiaddr;
  if (!isAssignable(ip)) throw new MalformedDhcp(`${server} offers ${ip}, which no host can have`);
  const { lost } = state;
  if (lost !== undefined && !lost.address.ip.equals(ip)) {
    const heard = `${server} offers ${ip} in place of ${lost.address.ip}`;
    return { state: { ...state, heard }, reason: heard };
  }
  const until = moment.now + settings.timeout;
  const { name: _, ...rest } = state;
  const requesting = {
    ...rest,
    name: "requesting",
    offer: { ip, server, serverMac: from },
    until,
    sent: 0,
  } as const;
  return { ...request(settings, requesting, moment), reason: `${server} offers ${ip}` };
}

function onAnswer(
  settings: ClientSettings,
  state: Requesting,
  type: number | undefined,
  { message, from }: Received,
  moment: Moment,
): Step {
  const { offer, lost } = state;
  const server = serverOf(message);
  if (server !== undefined && !server.equals(offer.server)) return { state };
  if (type === messageType.nak) {
    // A server that takes back its own offers must not be asked without pause for ever.
    const heard = refusalOf(message, offer.server);
    return selectAgain(settings, state, moment, heard, pauseAfter(1, settings, moment));
  }
  if (type !== messageType.ack) return { state };
  const lease = leaseOf(message, from, moment.now, offer.server);
  if (lost !== undefined && !lost.address.equals(lease.address)) {
    return selectAgain(settings, state, moment, `${offer.server} gives ${lease.address} now`, quickPause);
  }
  return { state: { name: "bound", lease }, reason: `${lease.server} gives ${lease.address}` };
}

function onExtension(
  settings: ClientSettings,
  state: Extending,
  type: number | undefined,
  { message, from }: Received,
  moment: Moment,
): Step {
  const { lease } = state;
  const server = serverOf(message) ?? lease.server;
  if (state.name === "renewing" && !server.equals(lease.server)) return { state };
  if (type === messageType.nak) {
    return { ...begin(settings, moment, lease), reason: refusalOf(message, server) };
  }
  if (type !== messageType.ack) return { state, reason: `${server} answers with ${messageTypeName(type)}` };
  const extended = leaseOf(message, from, moment.now, server);
  if (!extended.address.ip.equals(lease.address.ip)) {
    throw new MalformedDhcp(`${server} extends ${lease.address.ip} by giving ${extended.address.ip}`);
  }
  return { state: { name: "bound", lease: extended }, reason: `${server} gives more time` };
}

function refusalOf(message: Message, server: Ip): string {
  const why = unlessMalformed(() => textOption(message.options, optionCode.message));
  return `${server} refuses${why === undefined ? "" : `: ${why.slice(0, 200)}`}`;
}
