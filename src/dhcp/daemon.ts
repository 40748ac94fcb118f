import type { DhcpRequest } from "../cni/dhcp-protocol.ts";
import { CniError, cniErrorCode } from "../cni/errors.ts";
import type { JsonObject } from "../cni/fields.ts";
import type { AttachmentKey } from "../cni/plugin.ts";
import { formatResult } from "../cni/result.ts";
import type { Clock } from "../lib/clock.ts";
import { sleep } from "../lib/clock.ts";
import { counted } from "../lib/count.ts";
import { explain } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { netnsIdentity } from "../linux/netns.ts";
import { DhcpClient, LinkGone } from "./client.ts";
import { isThere, withContainer, withNetns } from "./container.ts";
import { type DaemonSettings, keyOf, type PendingRecord, settingsOf } from "./identity.ts";
import { type DhcpConfig, parseDhcpConfig } from "./ipam-config.ts";
import { type Lease, resultOf } from "./lease.ts";
import type { ClientSettings } from "./machine.ts";
import type { Key, LeaseRecord, LeaseStore } from "./store.ts";
import { Turns } from "./turns.ts";
import { type DhcpLink, findLink, openWire, setLinkUp } from "./wire.ts";

interface DaemonWorld {
  clock: Clock;
  random: () => number;
  log: Log;
  store: LeaseStore;
}

/** A lease and the client that keeps it. */
interface Held {
  record: LeaseRecord;
  client: DhcpClient;
}

/** How often it is looked whether the containers are still there. Milliseconds. */
const sweepPause = 10_000;
/** How long a link that was just set up may take until it has a carrier. Milliseconds. */
const carrierPatience = 2000;

/** Keeps the leases of all containers of a host. */
export class DhcpDaemon {
  readonly #settings: DaemonSettings;
  readonly #world: DaemonWorld;
  readonly #held = new Map<string, Held>();
  readonly #turns = new Turns();
  #cancelSweep: (() => void) | undefined;

  constructor(settings: DaemonSettings, world: DaemonWorld) {
    this.#settings = settings;
    this.#world = world;
  }

  /** How long an ADD may take, in milliseconds. */
  get patience(): number {
    return this.#settings.resendTimeout + carrierPatience;
  }

  /** Goes on with the leases of the process before. */
  start(): void {
    const { store, log } = this.#world;
    const records = store.load((path, error) => {
      log.warn("forgetting a lease that cannot be read", { file: path, cause: error.message });
    });
    for (const record of records) this.#resume(record);
    if (records.length > 0) log.info(`taking up ${counted(this.#held.size, "lease")} again`);
    this.#sweepLater();
  }

  #resume(record: LeaseRecord): void {
    if (!isThere(record)) {
      this.#forget(record, "its container is gone");
      return;
    }
    const held = this.#hold(record, settingsOf(this.#settings, record));
    if (record.ended === undefined) held.client.resume(record.lease);
  }

  /** Ends without giving leases back: another process takes them up. */
  stop(): void {
    this.#cancelSweep?.();
    this.#turns.giveUpAll(new Error("the daemon ends"));
    for (const { client } of this.#held.values()) client.stop();
  }

  /** Answers a request of the plugin. `signal` aborts where nobody waits for the answer any more. */
  async handle(request: DhcpRequest, signal: AbortSignal): Promise<JsonObject> {
    switch (request.command) {
      case "ADD":
        return await this.#turns.runYielding(keyOf(request), signal, (either) => this.#add(request, either));
      case "DEL":
        this.#turns.giveUp(keyOf(request), new Error("DEL came for it"));
        await this.#turns.run(keyOf(request), signal, () => this.#release(request));
        return {};
      case "CHECK":
        this.#check(request);
        return {};
      case "GC":
        await this.#collect(request, signal);
        return {};
      case "STATUS":
        parseDhcpConfig(request.ipam, request.args);
        return {};
    }
  }

  async #add(request: DhcpRequest, signal: AbortSignal): Promise<JsonObject> {
    const config = parseDhcpConfig(request.ipam, request.args);
    const netns = `${this.#settings.hostPrefix}${request.netns}`;
    const before = this.#held.get(keyOf(request));
    if (before !== undefined && this.#isCurrent(before, netns)) return answer(before.record, config);
    if (before !== undefined) this.#forget(before.record, "its container was made anew");
    const { link, identity } = await this.#prepareLink(netns, request.ifname, signal);
    const pending: PendingRecord = {
      network: request.network,
      containerId: request.containerId,
      ifname: request.ifname,
      netns,
      netnsIdentity: identity,
      link: link.index,
      requested: config.requested,
      provided: config.provided,
      broadcast: this.#settings.broadcast || link.sharesMac,
    };
    const record = await this.#acquire(pending, signal);
    return answer(record, config);
  }

  /** True where the lease is alive and of the container that is there now. */
  #isCurrent({ record }: Held, netns: string): boolean {
    if (record.ended !== undefined || record.netns !== netns) return false;
    try {
      return withContainer(record, (ref) => findLink(ref, record.ifname)?.index === record.link);
    } catch (error) {
      if (error instanceof LinkGone) return false;
      throw error;
    }
  }

  /** Sets the container's link up, where it is not, and waits for its carrier. */
  async #prepareLink(
    netns: string,
    ifname: string,
    signal: AbortSignal,
  ): Promise<{ link: DhcpLink; identity: string }> {
    const { clock } = this.#world;
    const look = () =>
      withNetns(netns, (ref) => {
        const link = findLink(ref, ifname);
        if (link === undefined) {
          throw new CniError(
            cniErrorCode.internal,
            `error looking up "${ifname}" in ${netns}: no such link`,
            {
              remedy: "Use dhcp as the ipam of a plugin that makes the interface",
            },
          );
        }
        if (!link.up) setLinkUp(ref, link.index, true);
        return { link, identity: netnsIdentity(ref) };
      });
    const deadline = clock.now() + carrierPatience;
    for (;;) {
      const found = orNoNetns(look);
      if (found.link.running || clock.now() >= deadline) return found;
      await sleep(clock, 10, signal);
    }
  }

  /** Gets a lease and keeps it from then on. */
  async #acquire(pending: PendingRecord, signal: AbortSignal): Promise<LeaseRecord> {
    const settings = settingsOf(this.#settings, pending);
    const log = this.#logOf(pending);
    signal.throwIfAborted();
    log.info("asking for a lease");
    let client: DhcpClient | undefined;
    try {
      const lease = await new Promise<Lease>((resolve, reject) => {
        const giveUp = () => {
          // At once: the link may go as soon as the caller hears of it.
          client?.giveUp();
          reject(signal.reason);
        };
        signal.addEventListener("abort", giveUp, { once: true });
        client = new DhcpClient(settings, {
          ...this.#world,
          log,
          open: (listener) => this.#open(pending, listener),
          bound: resolve,
          ended: ({ reason }) => reject(noLease(reason)),
        });
        client.start();
      });
      return this.#keep({ ...pending, lease }, settings, signal);
    } catch (error) {
      log.warn("got no lease", { cause: explain(error) });
      throw error;
    } finally {
      client?.stop();
    }
  }

  /** Keeps a new lease, unless nobody wants it any more or it cannot be remembered. */
  #keep(record: LeaseRecord, settings: ClientSettings, signal: AbortSignal): LeaseRecord {
    this.#hold(record, settings).client.resume(record.lease);
    try {
      signal.throwIfAborted();
      this.#world.store.save(record);
    } catch (error) {
      this.#release(record);
      throw error;
    }
    this.#logOf(record).info("has a lease", this.#fieldsOf(record));
    return record;
  }

  #open(
    record: Pick<LeaseRecord, "netns" | "netnsIdentity" | "link" | "ifname">,
    listener: Parameters<typeof openWire>[2],
  ) {
    return withContainer(record, (ref) => {
      const link = findLink(ref, record.link);
      if (link === undefined) throw new LinkGone(`link ${record.ifname}`);
      return openWire(ref, link, listener);
    });
  }

  /** Keeps a client for a lease. */
  #hold(record: LeaseRecord, settings: ClientSettings): Held {
    const log = this.#logOf(record);
    const held: Held = {
      record,
      client: new DhcpClient(settings, {
        ...this.#world,
        log,
        open: (listener) => this.#open(held.record, listener),
        bound: (lease) => {
          held.record = { ...held.record, lease };
          this.#save(held.record);
          log.info("has more time", this.#fieldsOf(held.record));
        },
        ended: ({ reason, isGone }) => {
          if (isGone) this.#forget(held.record, reason);
          else this.#lose(held, reason);
        },
      }),
    };
    this.#held.set(keyOf(record), held);
    return held;
  }

  #save(record: LeaseRecord): void {
    try {
      this.#world.store.save(record);
    } catch (error) {
      this.#logOf(record).error("cannot remember the lease for a restart", { cause: explain(error) });
    }
  }

  /** A file that stays is no reason to keep the lease, and the daemon after this one may be rid of it. */
  #remove(record: LeaseRecord): void {
    try {
      this.#world.store.remove(record);
    } catch (error) {
      this.#logOf(record).error("cannot remove the lease's file", { cause: explain(error) });
    }
  }

  /** The address is not the container's any more (RFC 2131 section 4.4.5): nothing may be sent from it. */
  #lose(held: Held, reason: string): void {
    const { record } = held;
    const log = this.#logOf(record);
    held.record = { ...record, ended: reason };
    this.#save(held.record);
    log.error("lease lost, setting the interface down", {
      cause: reason,
      address: String(record.lease.address),
    });
    try {
      withContainer(record, (ref) => setLinkUp(ref, record.link, false));
    } catch (error) {
      log.warn("cannot set the interface down", { cause: explain(error) });
    }
  }

  /** Lets go of a lease that cannot be given back, since there is no link for it. */
  #forget(record: LeaseRecord, why: string): void {
    this.#held.get(keyOf(record))?.client.stop();
    this.#held.delete(keyOf(record));
    this.#remove(record);
    this.#logOf(record).warn(`stops keeping a lease: ${why}`, this.#fieldsOf(record));
  }

  #release(key: Key): void {
    const held = this.#held.get(keyOf(key));
    if (held === undefined) return;
    const { record, client } = held;
    const log = this.#logOf(record);
    client.stop();
    this.#held.delete(keyOf(key));
    try {
      if (record.ended === undefined) {
        client.release(record.lease);
        log.info("gave the lease back", this.#fieldsOf(record));
      }
    } catch (error) {
      log.warn("cannot give the lease back; it ends by itself", {
        ...this.#fieldsOf(record),
        cause: explain(error),
      });
    }
    this.#remove(record);
  }

  #check(request: DhcpRequest): void {
    const held = this.#held.get(keyOf(request));
    const remedy = "Delete the container's sandbox and make it anew";
    if (held === undefined) {
      throw new CniError(cniErrorCode.unknownContainer, `no DHCP lease is kept for ${nameOf(request)}`, {
        remedy,
      });
    }
    const { ended, lease } = held.record;
    const problem =
      ended !== undefined
        ? `the DHCP lease of ${nameOf(request)} is lost: ${ended}`
        : request.addresses.length > 0 && !request.addresses.includes(String(lease.address))
          ? `the DHCP lease of ${nameOf(request)} is for ${lease.address}, not for ${request.addresses.join(", ")}`
          : undefined;
    if (problem !== undefined) throw new CniError(cniErrorCode.internal, problem, { remedy });
  }

  async #collect({ network, valid }: DhcpRequest, signal: AbortSignal): Promise<void> {
    const isValid = (record: LeaseRecord) => valid.some((key) => isSame(key, record));
    for (const { record } of [...this.#held.values()]) {
      if (record.network !== network || isValid(record)) continue;
      await this.#turns.run(keyOf(record), signal, () => this.#release(record));
    }
  }

  #sweepLater(): void {
    this.#cancelSweep = this.#world.clock.after(sweepPause, () => {
      this.#sweepLater();
      for (const { record } of [...this.#held.values()]) {
        if (!isThere(record)) this.#forget(record, "its container went without DEL");
      }
    });
  }

  #fieldsOf({ lease: { address, server, expiry } }: LeaseRecord): Record<string, unknown> {
    const left = expiry - this.#world.clock.now();
    const until = Number.isFinite(left) ? new Date(Date.now() + left).toISOString() : "for ever";
    return { address: String(address), server: String(server), until };
  }

  #logOf({ network, containerId, ifname }: Key): Log {
    return this.#world.log.with({ network, container: containerId, ifname });
  }
}

function nameOf({ network, containerId, ifname }: Key): string {
  return `${containerId}/${network}/${ifname}`;
}

function isSame(key: AttachmentKey, { containerId, ifname }: Key): boolean {
  return key.containerId === containerId && key.ifname === ifname;
}

function answer({ lease }: LeaseRecord, config: DhcpConfig): JsonObject {
  return formatResult(resultOf(lease, config), "1.1.0");
}

/** For a namespace that the caller says is there. */
function orNoNetns<T>(look: () => T): T {
  try {
    return look();
  } catch (error) {
    if (!(error instanceof LinkGone)) throw error;
    throw new CniError(cniErrorCode.invalidNetns, `the DHCP daemon sees no ${error.what}`, {
      remedy: "Run it where it sees the paths of the runtime, or give it --hostprefix",
      cause: error,
    });
  }
}

function noLease(reason: string): CniError {
  return new CniError(cniErrorCode.tryAgainLater, reason, {
    remedy: "Look whether a DHCP server is on the network of the interface, and has an address left",
  });
}
