/**
 * What the kernel sends is decoded with care: bytes that are cut, changed or mixed give a value or MalformedMessage, never
 * another error. The mutations come from valid messages and from a seed, which a failure names.
 */
import { expect, test } from "bun:test";
import { seededRandom } from "../../lib/random.ts";
import { MalformedMessage, Writer } from "../netlink/codec.ts";
import { parseError, parseMessages, writeMessage } from "../netlink/socket.ts";
import { readAddress } from "./address.ts";
import { type Change, requestsOf } from "./changes.ts";
import { linkKinds } from "./kinds.ts";
import { readLink, readStatistics } from "./link-messages.ts";
import { readEvent } from "./monitor.ts";
import { readFdbEntry, readNeighbour } from "./neighbour.ts";
import { readRoute } from "./route-messages.ts";
import { readRule } from "./rule.ts";
import { readClass, readFilter, readQdisc } from "./tc.ts";
import { readBridgeVlans } from "./vlan.ts";

const changes: Change[] = [
  {
    addLink: {
      kind: "bridge",
      name: "br0",
      mac: "0a:00:00:00:00:01",
      mtu: 1400,
      up: true,
      group: 7,
      bridge: { ageingTime: 5, vlanFiltering: true, vlanProtocol: "802.1ad", multicastMembershipInterval: 7 },
    },
  },
  { addLink: { kind: "veth", name: "a", peer: { name: "b", mtu: 1300 } } },
  { addLink: { kind: "vlan", name: "v", parent: 3, vlan: { id: 5, flags: ["gvrp"] } } },
  {
    addLink: {
      kind: "vxlan",
      name: "x",
      vxlan: { id: 5, local6: "fd00::1", portRange: { low: 1, high: 9 } },
    },
  },
  {
    setLink: {
      link: 3,
      bridgePort: { hairpin: true, state: "forwarding" },
      addrGenMode: "random",
      alias: "x",
    },
  },
  { addAltNames: { link: 3, names: ["one", "another-name"] } },
  {
    addAddress: {
      link: 3,
      address: "10.0.0.1/24",
      peer: "10.0.0.2",
      broadcast: "10.0.0.255",
      label: "a:1",
      flags: ["noprefixroute"],
      validLifetime: 9,
    },
  },
  { addAddress: { link: 3, address: "fd00::1/64" } },
  {
    addRoute: {
      dst: "10.9.0.0/16",
      gateway: "fd00::2",
      oif: 3,
      src: "10.0.0.1",
      priority: 3,
      table: 70_000,
      metrics: { mtu: 1400, lock: 4 },
    },
  },
  {
    addRoute: {
      dst: "fd09::/32",
      nextHops: [
        { gateway: "fd00::2", weight: 9 },
        { oif: 3, onlink: true },
      ],
      expires: 9,
    },
  },
  {
    addRule: {
      src: "10.0.0.0/8",
      dst: "10.9.0.0/16",
      iif: "eth0",
      mark: 1,
      mask: 3,
      uids: { start: 1, end: 2 },
      destinationPorts: { start: 1, end: 2 },
      suppressPrefixLength: 0,
      tunnelId: 7n,
    },
  },
  { addNeighbour: { link: 3, ip: "fd00::2", mac: "0a:00:00:00:00:02", flags: ["router"], protocol: "weft" } },
  { addFdbEntry: { link: 3, mac: "0a:00:00:00:00:02", dst: "192.0.2.1", vlan: 5, vni: 7, port: 4789 } },
  { addBridgeVlan: { link: 3, vid: 5, vidEnd: 9, untagged: true } },
  {
    addQdisc: {
      link: 3,
      kind: "tbf",
      tbf: { rate: 1e10, burst: 1e6, limit: 1e6, peakRate: 2e10, mtu: 1500 },
    },
  },
  { addQdisc: { link: 3, kind: "htb", handle: "1:", htb: { defaultClass: 3 } } },
  { addClass: { link: 3, kind: "htb", handle: "1:3", htb: { rate: 1e10 } } },
  {
    addFilter: {
      link: 3,
      kind: "u32",
      parent: "1:",
      u32: {
        classId: "1:3",
        match: [{ offset: 12, value: 1, mask: 255 }],
        actions: [{ mirred: { action: "egress redirect", link: 3 } }, { gact: "shot" }],
      },
    },
  },
];

const samples = changes.flatMap((change) => {
  const resolver = { index: Number, netnsFd: () => 0, kinds: linkKinds };
  return requestsOf(change, resolver).map(({ type, write }) => {
    const writer = new Writer();
    writeMessage(writer, type, 0, 1, write);
    return writer.finish();
  });
});

const decoders: readonly ((payload: Uint8Array) => unknown)[] = [
  (payload) => readLink(payload, linkKinds),
  readStatistics,
  readAddress,
  readRoute,
  readRule,
  readNeighbour,
  readFdbEntry,
  readBridgeVlans,
  readQdisc,
  readClass,
  readFilter,
];

/** Changes some bytes, cuts the end off, or puts a piece of another sample in. */
function mutated(sample: Uint8Array, random: () => number): Uint8Array {
  const below = (limit: number) => Math.floor(random() * limit);
  const bytes = sample.slice();
  for (let i = below(6); i >= 0; i--) {
    const at = below(bytes.length);
    const interesting = [0, 1, 2, 4, 0x7f, 0x80, 0xff, below(256)];
    bytes[at] = interesting[below(interesting.length)] as number;
  }
  if (random() < 0.3) {
    const other = samples[below(samples.length)] as Uint8Array;
    const from = below(other.length) & ~3;
    const piece = other.subarray(from, from + (below(64) & ~3));
    const at = below(bytes.length) & ~3;
    bytes.set(piece.subarray(0, bytes.length - at), at);
  }
  return random() < 0.3 ? bytes.subarray(0, below(bytes.length + 1)) : bytes;
}

function decode(bytes: Uint8Array): unknown[] {
  const decoded: unknown[] = [];
  const tries = [
    ...decoders.map((decoder) => () => decoder(bytes.subarray(16))),
    () => parseMessages(bytes).map((message) => [readEvent(message, linkKinds), parseError(message)]),
  ];
  for (const attempt of tries) {
    try {
      decoded.push(attempt());
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
    }
  }
  return decoded;
}

test("mutated messages are decoded or refused as malformed", () => {
  let decoded = 0;
  for (let seed = 0; seed < 20_000; seed++) {
    const random = seededRandom(seed);
    const sample = samples[seed % samples.length] as Uint8Array;
    const bytes = mutated(sample, random);
    try {
      decoded += decode(bytes).length;
    } catch (error) {
      throw new Error(`seed ${seed}: ${error}`, { cause: error });
    }
  }
  // Not everything was refused, or the test would try nothing.
  expect(decoded).toBeGreaterThan(20_000);
});

test("what was written is read back", () => {
  const resolver = { index: Number, netnsFd: () => 0, kinds: linkKinds };
  const payload = (change: Change) => {
    const writer = new Writer();
    requestsOf(change, resolver)[0]?.write(writer);
    return writer.finish();
  };
  expect(readLink(payload(changes[0] as Change), linkKinds)).toMatchObject({
    name: "br0",
    mac: "0a:00:00:00:00:01",
    mtu: 1400,
    up: true,
    group: 7,
    kind: "bridge",
    bridge: { ageingTime: 5, vlanFiltering: true, vlanProtocol: "802.1ad", multicastMembershipInterval: 7 },
  });
  const route = readRoute(payload(changes[8] as Change));
  expect([route.dst, route.gateway, route.src].map(String)).toEqual(["10.9.0.0/16", "fd00::2", "10.0.0.1"]);
  expect(route).toMatchObject({
    table: 70_000,
    priority: 3,
    metrics: { mtu: 1400, lock: 4 },
    oif: 3,
    type: "unicast",
  });
});
