import type { ClientSettings } from "./machine.ts";
import type { Key, LeaseRecord } from "./store.ts";

/** How the daemon asks, and where containers are. Times are milliseconds. */
export interface DaemonSettings {
  /** Stands before the path of each namespace: where the host's root is seen. */
  hostPrefix: string;
  broadcast: boolean;
  timeout: number;
  resendMax: number;
  resendTimeout: number;
}

/** What is known of an attachment before it has a lease. */
export type PendingRecord = Omit<LeaseRecord, "lease" | "ended">;

/** How a client is to ask for an attachment. Its hardware address is that of the link at the time. */
export function settingsOf(daemon: DaemonSettings, record: PendingRecord): ClientSettings {
  const { timeout, resendMax, resendTimeout } = daemon;
  const { requested, provided, broadcast } = record;
  const clientId = clientIdOf(record);
  const chaddr = new Uint8Array(6);
  return { chaddr, clientId, requested, provided, broadcast, timeout, resendMax, resendTimeout };
}

const longestClientId = 254;

/**
 * Option 61, as the reference has it, so that a server knows a container again whichever asks: type 0, which is no hardware
 * address (RFC 2132 section 9.14), and the attachment's names.
 */
export function clientIdOf({ network, containerId, ifname }: Key): Uint8Array {
  const text = new TextEncoder().encode(`${containerId}/${network}/${ifname}`);
  return Uint8Array.of(0, ...text.subarray(0, longestClientId));
}

/** A text that is an attachment's alone. */
export function keyOf({ network, containerId, ifname }: Key): string {
  return JSON.stringify([network, containerId, ifname]);
}
