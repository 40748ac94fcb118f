import type { Clock } from "../lib/clock.ts";
import { explain, WeftError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { KernelError } from "../linux/errors.ts";
import type { Lease } from "./lease.ts";
import {
  begin,
  type ClientSettings,
  type Moment,
  type Offer,
  onMessage,
  onTime,
  releaseOf,
  type Sending,
  type State,
  type Step,
  wakeTime,
} from "./machine.ts";
import type { Wire, WireListener } from "./wire.ts";

/** What a client needs of the world. */
export interface ClientWorld {
  clock: Clock;
  /** From 0 up to 1. */
  random: () => number;
  log: Log;
  /** Opens a wire on the container's link. Throws {@link LinkGone} where it is there no more. */
  open: (listener: WireListener) => Wire;
  /** A lease was given, or more time for it. */
  bound: (lease: Lease) => void;
  /** Nothing more will come: no server gave a lease, or the one that there was is lost, or its link is gone. */
  ended: (end: { reason: string; isGone: boolean }) => void;
}

/** The link of a lease, or its whole namespace, is not there any more. */
export class LinkGone extends WeftError {
  readonly what: string;

  constructor(what: string) {
    super("dhcp-link-gone", `${what} is gone`);
    this.what = what;
  }
}

/**
 * One lease of one link: gets it, keeps it, gives it back. The states are computed in machine.ts; this brings them time
 * and messages. A wire is open only while messages are under way, so that a lease at rest costs a timer and no more.
 */
export class DhcpClient {
  #settings: ClientSettings;
  readonly #world: ClientWorld;
  #state: State | undefined;
  #wire: Wire | undefined;
  #cancelTimer: (() => void) | undefined;

  constructor(settings: ClientSettings, world: ClientWorld) {
    this.#settings = settings;
    this.#world = world;
  }

  /** The name of its state (RFC 2131 figure 5); "init" before it began. */
  get state(): State["name"] | "init" {
    return this.#state?.name ?? "init";
  }

  /** Asks for a lease. What comes of it is told by `bound` or `ended`. */
  start(): void {
    this.#apply(begin(this.#settings, this.#moment()));
  }

  /** Goes on with a lease that was given earlier, perhaps to a process before this one. */
  resume(lease: Lease): void {
    this.#state = { name: "bound", lease };
    this.#schedule();
  }

  /** Gives a lease back to its server; nothing is told of it. Throws where its message could not be sent. */
  release(lease: Lease): void {
    this.stop();
    const wire = this.#world.open({ received: () => {}, ended: () => {} });
    try {
      this.#settings = { ...this.#settings, chaddr: wire.mac };
      wire.send(releaseOf(this.#settings, { ...lease, ip: lease.address.ip }, this.#moment()));
    } finally {
      wire.close();
    }
  }

  /** Ends asking, since nobody wants the lease any more. */
  giveUp(): void {
    if (this.#state?.name === "requesting") this.#renounce(this.#state.offer);
    this.stop();
  }

  /**
   * Tells a server that was asked for what it offered, and whose answer is not waited for, that it is not wanted: a server
   * that has given it, or is about to, would keep it until the lease ends.
   */
  #renounce(offer: Offer): void {
    const { log } = this.#world;
    const fields = { address: String(offer.ip), server: String(offer.server) };
    try {
      const wire = this.#openedWire();
      wire.send(releaseOf(this.#settings, offer, this.#moment()));
      log.info("gave back what was asked for and is not wanted any more", fields);
    } catch (error) {
      log.warn("cannot give back what was asked for", { ...fields, cause: explain(error) });
    }
  }

  /** Ends all activity, without a word to anybody. */
  stop(): void {
    this.#state = { name: "ended", reason: "stopped" };
    this.#cancelTimer?.();
    this.#closeWire();
  }

  #moment(): Moment {
    return { now: this.#world.clock.now(), random: this.#world.random };
  }

  #apply(step: Step): void {
    const before = this.#state;
    this.#state = step.state;
    if (step.reason !== undefined) this.#tell(step.reason, step.state.name);
    if (step.send !== undefined && !this.#send(step.send)) return;
    if (step.state !== before && step.state.name === "bound") {
      this.#closeWire();
      this.#world.bound(step.state.lease);
    }
    if (step.state.name === "ended" && before?.name === "requesting") this.#renounce(before.offer);
    if (step.state.name === "ended") this.#end(step.state.reason, false);
    else this.#schedule();
  }

  /** What should not have come about is for everybody, what is as usual for who looks closely. */
  #tell(reason: string, state: State["name"]): void {
    const { log } = this.#world;
    if (state === "selecting" || state === "rebinding") log.warn(reason, { state });
    else log.debug(reason, { state });
  }

  #end(reason: string, isGone: boolean): void {
    this.stop();
    this.#world.ended({ reason, isGone });
  }

  /** False where there is nothing more to do, since the link is gone. */
  #send(sending: Sending): boolean {
    try {
      const wire = this.#openedWire();
      wire.send({ ...sending, message: { ...sending.message, chaddr: this.#settings.chaddr } });
      return true;
    } catch (error) {
      if (error instanceof LinkGone) {
        this.#end(error.message, true);
        return false;
      }
      if (!(error instanceof KernelError)) throw error;
      // Such as a link that is down for now. It is sent again in any case, through another socket.
      this.#world.log.warn("cannot send", { cause: error.message });
      this.#closeWire();
      return true;
    }
  }

  #openedWire(): Wire {
    if (this.#wire !== undefined) return this.#wire;
    const wire = this.#world.open({
      received: (received) => {
        if (this.#wire !== wire || this.#state === undefined) return;
        this.#apply(onMessage(this.#settings, this.#state, received, this.#moment()));
      },
      // Sending opens another, if it can.
      ended: () => {
        if (this.#wire === wire) this.#closeWire();
      },
    });
    this.#wire = wire;
    // Somebody may have changed it since the lease was given.
    this.#settings = { ...this.#settings, chaddr: wire.mac };
    return wire;
  }

  #closeWire(): void {
    this.#wire?.close();
    this.#wire = undefined;
  }

  #schedule(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (this.#state === undefined) return;
    const { clock } = this.#world;
    const time = wakeTime(this.#settings, this.#state);
    if (time === Number.POSITIVE_INFINITY) return;
    this.#cancelTimer = clock.after(Math.max(0, time - clock.now()), () => {
      if (this.#state !== undefined) this.#apply(onTime(this.#settings, this.#state, this.#moment()));
    });
  }
}
