import { describe, expect, test } from "bun:test";
import { FakeClock } from "../lib/clock.ts";
import { silentLog } from "../lib/log.ts";
import { seededRandom } from "../lib/random.ts";
import { DhcpClient, LinkGone } from "./client.ts";
import type { Lease } from "./lease.ts";
import type { ClientSettings, Received, Sending } from "./machine.ts";
import { messageType, optionCode } from "./message.ts";
import { ips, reply, u32 } from "./testing.ts";
import type { WireListener } from "./wire.ts";

const chaddr = Uint8Array.of(2, 0, 0, 0, 0, 9);
const serverMac = Uint8Array.of(2, 0, 0, 0, 0, 1);
const second = 1000;

const settings: ClientSettings = {
  chaddr,
  clientId: Uint8Array.of(0, 97),
  requested: [1, 3],
  provided: new Map([[optionCode.hostName, Uint8Array.of(98)]]),
  broadcast: false,
  timeout: 10 * second,
  resendMax: 62 * second,
  resendTimeout: 208 * second,
};

const names = new Map<number, string>(Object.entries(messageType).map(([name, value]) => [value, name]));

/** A client on a wire that ends in the test. */
class Bench {
  readonly clock = new FakeClock();
  readonly start = this.clock.now();
  readonly sent: { name: string; at: number; sending: Sending }[] = [];
  readonly leases: Lease[] = [];
  readonly ends: string[] = [];
  listener: WireListener | undefined;
  isGone = false;
  readonly client: DhcpClient;

  constructor(more: Partial<ClientSettings> = {}) {
    this.client = new DhcpClient(
      { ...settings, ...more },
      {
        clock: this.clock,
        random: seededRandom(7),
        log: silentLog,
        open: (listener) => {
          if (this.isGone) throw new LinkGone("link eth0");
          this.listener = listener;
          return {
            mac: chaddr,
            send: (sending) => {
              const type = sending.message.options.get(optionCode.messageType)?.[0] ?? 0;
              this.sent.push({ name: names.get(type) ?? "?", at: this.now, sending });
            },
            close: () => {
              this.listener = undefined;
            },
          };
        },
        bound: (lease) => this.leases.push(lease),
        ended: ({ reason }) => this.ends.push(reason),
      },
    );
  }

  /** Seconds since the beginning. */
  get now(): number {
    return (this.clock.now() - this.start) / second;
  }

  get last(): Sending {
    const last = this.sent.at(-1);
    if (last === undefined) throw new Error("nothing was sent");
    return last.sending;
  }

  /** Says the last message's answer. */
  answer(
    ...[type, address, options]: [Parameters<typeof reply>[1], string, Parameters<typeof reply>[3]?]
  ): void {
    this.hear({ message: reply(this.last.message, type, address, options), from: serverMac });
  }

  hear(received: Received): void {
    this.listener?.received(received);
  }

  bind(options: Parameters<typeof reply>[3] = {}): void {
    this.client.start();
    this.answer("offer", "10.0.0.9", options);
    this.answer("ack", "10.0.0.9", options);
  }

  get names(): string {
    return this.sent.map(({ name }) => name).join(" ");
  }
}

describe("A client", () => {
  test("asks, takes the offer, and has a lease with its socket closed", () => {
    const bench = new Bench();
    bench.bind();
    expect(bench.names).toBe("discover request");
    const { message, unicast } = bench.last;
    expect(unicast).toBeUndefined();
    expect(message.options.get(optionCode.requestedAddress)).toEqual(ips("10.0.0.9"));
    expect(message.options.get(optionCode.serverIdentifier)).toEqual(ips("10.0.0.1"));
    expect(message.options.get(optionCode.parameterRequestList)).toEqual(Uint8Array.of(1, 3));
    expect(message.options.get(optionCode.clientIdentifier)).toEqual(Uint8Array.of(0, 97));
    expect(message.options.get(optionCode.hostName)).toEqual(Uint8Array.of(98));
    expect(bench.leases.map(({ address }) => String(address))).toEqual(["10.0.0.9/24"]);
    expect(bench.listener).toBeUndefined();
    expect(bench.client.state).toBe("bound");
    expect(bench.clock.waiting).toBe(1);
  });

  test("asks again after 2 s four times, then with doubling pauses, and gives up at last", () => {
    const bench = new Bench({ resendMax: 16 * second });
    bench.client.start();
    bench.clock.advance(300 * second);
    const pauses = bench.sent.slice(1).map(({ at }, i) => at - (bench.sent[i]?.at ?? 0));
    const expected = [2, 2, 2, 2, 4, 8, ...pauses.slice(6).map(() => 16)];
    for (const [i, pause] of pauses.entries())
      expect(Math.abs(pause - (expected[i] ?? 0))).toBeLessThanOrEqual(1);
    expect(bench.ends).toEqual(["no DHCP server gave a lease within 208 s (none answered)"]);
    expect(bench.clock.waiting).toBe(0);
    expect(new Set(bench.sent.map(({ sending }) => sending.message.xid)).size).toBe(1);
    expect(bench.last.message.secs).toBeGreaterThan(180);
  });

  test("begins anew where the server of the offer says no more", () => {
    const bench = new Bench();
    bench.client.start();
    bench.answer("offer", "10.0.0.9");
    bench.clock.advance(11 * second);
    expect(bench.names).toMatch(/^discover( request){4,9} discover$/);
    bench.answer("offer", "10.0.0.10");
    bench.answer("ack", "10.0.0.10");
    expect(bench.leases.map(({ address }) => String(address))).toEqual(["10.0.0.10/24"]);
  });

  test("is not driven round and round by a server that refuses its own offers", () => {
    const bench = new Bench({ resendTimeout: 20 * second });
    bench.client.start();
    for (let i = 0; i < 200; i++) {
      bench.answer(bench.client.state === "selecting" ? "offer" : "nak", "10.0.0.9", {
        56: Uint8Array.of(110, 111),
      });
      bench.clock.advance(second / 10);
    }
    expect(bench.sent.length).toBeLessThan(50);
    expect(bench.ends).toEqual(["no DHCP server gave a lease within 20 s (10.0.0.1 refuses: no)"]);
  });

  const bad: [string, (bench: Bench) => void][] = [
    [
      "another xid",
      (bench) =>
        bench.hear({
          message: { ...reply(bench.last.message, "offer", "10.0.0.8"), xid: 1 },
          from: serverMac,
        }),
    ],
    [
      "another client",
      (bench) =>
        bench.hear({
          message: { ...reply(bench.last.message, "offer", "10.0.0.8"), chaddr: serverMac },
          from: serverMac,
        }),
    ],
    [
      "a request",
      (bench) =>
        bench.hear({
          message: { ...reply(bench.last.message, "offer", "10.0.0.8"), op: 1 },
          from: serverMac,
        }),
    ],
    ["no server", (bench) => bench.answer("offer", "10.0.0.8", { 54: undefined })],
    ["no type", (bench) => bench.answer("offer", "10.0.0.8", { 53: undefined })],
    ["a long type", (bench) => bench.answer("offer", "10.0.0.8", { 53: u32(2) })],
    ["no address", (bench) => bench.answer("offer", "0.0.0.0")],
    ["an ack out of place", (bench) => bench.answer("ack", "10.0.0.8")],
    ["a nak out of place", (bench) => bench.answer("nak", "10.0.0.8")],
  ];
  test.each(bad)("waits for a better answer than one with %s", (_, say) => {
    const bench = new Bench();
    bench.client.start();
    say(bench);
    expect(bench.names).toBe("discover");
    bench.answer("offer", "10.0.0.9");
    bench.answer("ack", "10.0.0.9", { 1: undefined });
    expect(bench.client.state).toBe("requesting");
    bench.answer("ack", "10.0.0.9");
    expect(bench.client.state).toBe("bound");
  });

  test("asks its server at T1, all at T2, and is over at the end", () => {
    const bench = new Bench();
    bench.bind();
    const before = bench.sent.length;
    bench.clock.advance(2000 * second);
    const asked = bench.sent.slice(before);
    expect(asked.every(({ name }) => name === "request")).toBe(true);
    expect(asked[0]?.at).toBe(500);
    for (const { at, sending } of asked) {
      expect(sending.unicast === undefined).toBe(at >= 875);
      expect(String(sending.message.ciaddr)).toBe("10.0.0.9");
      expect(sending.message.options.has(optionCode.serverIdentifier)).toBe(false);
      expect(sending.message.options.has(optionCode.requestedAddress)).toBe(false);
    }
    expect(asked.filter(({ at }) => at >= 875).length).toBeGreaterThanOrEqual(2);
    expect(asked.length).toBeLessThan(20);
    expect(bench.ends).toEqual(["the lease is over, and no server gave more time"]);
  });

  test("has its time from the last grant, and takes one at T2 from another server", () => {
    const bench = new Bench();
    bench.bind();
    bench.clock.advance(500 * second);
    bench.answer("ack", "10.0.0.9");
    expect(bench.client.state).toBe("bound");
    bench.clock.advance(499 * second);
    expect(bench.client.state).toBe("bound");
    bench.clock.advance(second);
    // While it renews, only the server that gave the lease counts.
    bench.answer("nak", "0.0.0.0", { 54: ips("10.0.0.2") });
    expect(bench.client.state).toBe("renewing");
    bench.clock.advance(376 * second);
    expect(bench.client.state).toBe("rebinding");
    bench.answer("ack", "10.0.0.9", { 54: ips("10.0.0.2") });
    expect(bench.leases.map(({ server }) => String(server))).toEqual(["10.0.0.1", "10.0.0.1", "10.0.0.2"]);
    expect(bench.leases.at(-1)?.expiry).toBe(bench.clock.now() + 1000 * second);
  });

  test("does not let a grant of another address pass for more time", () => {
    const bench = new Bench();
    bench.bind();
    bench.clock.advance(500 * second);
    bench.answer("ack", "10.0.0.77");
    expect(bench.client.state).toBe("renewing");
    expect(bench.leases).toHaveLength(1);
  });

  test("asks anew for the address that is refused more time, and is content with that one alone", () => {
    const lost = new Bench();
    lost.bind();
    lost.clock.advance(500 * second);
    lost.answer("nak", "0.0.0.0");
    expect(lost.last.message.options.get(optionCode.requestedAddress)).toEqual(ips("10.0.0.9"));
    lost.answer("offer", "10.0.0.10");
    expect(lost.client.state).toBe("selecting");
    lost.clock.advance(10 * second);
    expect(lost.ends).toEqual([
      "10.0.0.1 took the lease back (10.0.0.1 offers 10.0.0.10 in place of 10.0.0.9)",
    ]);
    const regained = new Bench();
    regained.bind();
    regained.clock.advance(500 * second);
    regained.answer("nak", "0.0.0.0");
    regained.answer("offer", "10.0.0.9");
    regained.answer("ack", "10.0.0.9");
    expect(regained.client.state).toBe("bound");
    expect(regained.ends).toEqual([]);
  });

  test("goes on with a lease of an earlier process, however late", () => {
    const first = new Bench();
    first.bind();
    const [lease] = first.leases;
    if (lease === undefined) throw new Error("no lease");
    const states: [number, string][] = [
      [0, "bound"],
      [600, "renewing"],
      [900, "rebinding"],
      [1000, "ended"],
    ];
    for (const [late, state] of states) {
      const bench = new Bench();
      bench.clock.advance(late * second);
      bench.client.resume(lease);
      bench.clock.advance(1);
      expect(bench.client.state).toBe(state as "bound");
    }
  });

  test("waits for ever where the lease is endless", () => {
    const bench = new Bench();
    bench.bind({ 51: u32(0xffffffff) });
    expect(bench.clock.waiting).toBe(0);
    expect(bench.client.state).toBe("bound");
  });

  test("gives a lease back to its server", () => {
    const bench = new Bench();
    bench.bind();
    const [lease] = bench.leases;
    if (lease === undefined) throw new Error("no lease");
    bench.client.release(lease);
    const { message, unicast } = bench.last;
    expect(bench.names).toBe("discover request release");
    expect(unicast?.serverMac).toEqual(serverMac);
    expect(String(message.ciaddr)).toBe("10.0.0.9");
    expect([...message.options.keys()].sort()).toEqual([53, 54, 61]);
    expect(bench.clock.waiting).toBe(0);
  });

  const unwanted: [string, (bench: Bench) => void][] = [
    ["given up", (bench) => bench.client.giveUp()],
    ["not answered in time", (bench) => bench.clock.advance(5 * second)],
  ];
  test.each(unwanted)("gives back what it asked for where that is %s", (_, end) => {
    const bench = new Bench({ resendTimeout: 5 * second });
    bench.client.start();
    bench.answer("offer", "10.0.0.9");
    end(bench);
    expect(bench.names).toMatch(/^discover( request)+ release$/);
    const { message, unicast } = bench.last;
    expect(unicast?.serverMac).toEqual(serverMac);
    expect(message.options.get(optionCode.serverIdentifier)).toEqual(ips("10.0.0.1"));
    expect(message.options.get(optionCode.clientIdentifier)).toEqual(settings.clientId);
    expect([String(message.ciaddr), message.chaddr]).toEqual(["10.0.0.9", chaddr]);
    expect([bench.listener, bench.clock.waiting, bench.client.state]).toEqual([undefined, 0, "ended"]);
  });

  test("has nothing to give back before it asked, and when it was refused", () => {
    const selecting = new Bench();
    selecting.client.start();
    selecting.client.giveUp();
    expect(selecting.names).toBe("discover");
    const refused = new Bench();
    refused.client.start();
    refused.answer("offer", "10.0.0.9");
    refused.answer("nak", "0.0.0.0");
    refused.client.giveUp();
    expect(refused.names).toBe("discover request");
    expect(refused.clock.waiting).toBe(0);
  });

  test("ends also where it cannot give back what it asked for, since its link is gone", () => {
    const bench = new Bench();
    bench.client.start();
    bench.answer("offer", "10.0.0.9");
    bench.listener?.ended(new Error("down"));
    bench.isGone = true;
    bench.client.giveUp();
    expect(bench.names).toBe("discover request");
    expect([bench.clock.waiting, bench.client.state]).toEqual([0, "ended"]);
  });

  test("ends where its link is gone", () => {
    const bench = new Bench();
    bench.bind();
    bench.isGone = true;
    bench.clock.advance(500 * second);
    expect(bench.ends).toEqual(["link eth0 is gone"]);
    expect(bench.clock.waiting).toBe(0);
  });
});
