import { describe, expect, test } from "bun:test";
import { Ip } from "../lib/ip.ts";
import { seededRandom } from "../lib/random.ts";
import { leaseOf } from "./lease.ts";
import {
  decodeMessage,
  encodeMessage,
  MalformedDhcp,
  type Message,
  messageType,
  optionCode,
  unspecified,
} from "./message.ts";
import { classlessRoutes, maskOption, searchOption, staticRoutes, textOption } from "./options.ts";
import { clientFilter, decodeFrames, encodeFrame } from "./packet.ts";
import { ips, reply, u32 } from "./testing.ts";

const chaddr = Uint8Array.of(2, 0, 0, 0, 0, 9);

function discover(options: [number, Uint8Array][] = []): Message {
  return {
    op: 1,
    xid: 0xdeadbeef,
    secs: 3,
    broadcast: true,
    ciaddr: unspecified,
    yiaddr: unspecified,
    siaddr: unspecified,
    giaddr: unspecified,
    chaddr,
    options: new Map([[optionCode.messageType, Uint8Array.of(messageType.discover)], ...options]),
  };
}

const options = (code: number, bytes: readonly number[]) => new Map([[code, Uint8Array.from(bytes)]]);

describe("messages", () => {
  test("come back as they went, padded to what relays forward", () => {
    const message = discover([[optionCode.hostName, new TextEncoder().encode("blue")]]);
    const bytes = encodeMessage(message);
    expect(bytes.length).toBe(300);
    expect(decodeMessage(bytes)).toEqual(message);
  });

  test.each([0, 1, 255, 256, 600])(
    "carry an option of %d bytes, in parts where it is long (RFC 3396)",
    (length) => {
      const value = Uint8Array.from({ length }, (_, i) => i & 0xff);
      const decoded = decodeMessage(encodeMessage(discover([[121, value]])));
      expect(decoded.options.get(121)).toEqual(value);
    },
  );

  test("hold options in file and sname too, where option 52 says so", () => {
    const bytes = encodeMessage(discover([[optionCode.overload, Uint8Array.of(3)]]));
    bytes.set([12, 2, 98, 108, 255], 108);
    bytes.set([12, 2, 117, 101, 255], 44);
    expect(textOption(decodeMessage(bytes).options, 12)).toBe("blue");
  });

  const broken: [string, (bytes: Uint8Array) => Uint8Array][] = [
    ["too short", (bytes) => bytes.subarray(0, 239)],
    ["without the cookie", (bytes) => bytes.fill(0, 236, 240)],
    ["of token ring", (bytes) => bytes.fill(6, 1, 2)],
    ["with an option beyond the end", (bytes) => Uint8Array.from([...bytes.subarray(0, 240), 12, 200, 1])],
    ["with an option without length", (bytes) => Uint8Array.from([...bytes.subarray(0, 240), 12])],
  ];
  test.each(broken)("%s are malformed", (_, breakIt) => {
    expect(() => decodeMessage(breakIt(encodeMessage(discover())))).toThrow(MalformedDhcp);
  });
});

describe("options", () => {
  const masks: [string, number | undefined][] = [
    ["255.255.255.255", 32],
    ["255.255.255.0", 24],
    ["128.0.0.0", 1],
    ["0.0.0.0", 0],
    ["255.0.255.0", undefined],
  ];
  test.each(masks)("subnet mask %s has length %p", (mask, length) => {
    const given = new Map([[optionCode.subnetMask, ips(mask)]]);
    if (length === undefined) expect(() => maskOption(given)).toThrow(MalformedDhcp);
    else expect(maskOption(given)).toBe(length);
  });

  test("121 has routes of every length, with and without a router (RFC 3442)", () => {
    const bytes = [
      0, 10, 0, 0, 1, 8, 10, 10, 0, 0, 2, 24, 192, 0, 2, 0, 0, 0, 0, 32, 1, 2, 3, 4, 10, 0, 0, 3,
    ];
    const routes = classlessRoutes(options(121, bytes))?.map(({ dst, gw, scope }) => `${dst} ${gw} ${scope}`);
    expect(routes).toEqual([
      "0.0.0.0/0 10.0.0.1 undefined",
      "10.0.0.0/8 10.0.0.2 undefined",
      "192.0.2.0/24 0.0.0.0 253",
      "1.2.3.4/32 10.0.0.3 undefined",
    ]);
  });

  test.each([[[33, 1, 2, 3, 4, 5, 10, 0, 0, 1]], [[24, 192, 0]], [[8, 10, 10, 0, 0]]])(
    "121 of %p is malformed",
    (bytes) => {
      expect(() => classlessRoutes(options(121, bytes))).toThrow(MalformedDhcp);
    },
  );

  test("33 has routes to classful networks; none to 0.0.0.0 and multicast", () => {
    const given = new Map([
      [
        33,
        ips(
          "10.1.2.3",
          "10.0.0.1",
          "172.20.1.1",
          "10.0.0.2",
          "192.0.2.9",
          "10.0.0.3",
          "0.0.0.0",
          "10.0.0.4",
          "224.0.0.5",
          "10.0.0.5",
        ),
      ],
    ]);
    expect(staticRoutes(given)?.map(({ dst, gw }) => `${dst} ${gw}`)).toEqual([
      "10.0.0.0/8 10.0.0.1",
      "172.20.0.0/16 10.0.0.2",
      "192.0.2.0/24 10.0.0.3",
    ]);
  });

  test("119 has compressed names (RFC 3397 section 2)", () => {
    const name = (text: string) => [text.length, ...new TextEncoder().encode(text)];
    const bytes = [...name("eng"), ...name("apple"), ...name("com"), 0, ...name("marketing"), 0xc0, 4];
    expect(searchOption(options(119, bytes))).toEqual(["eng.apple.com", "marketing.apple.com"]);
  });

  const loops = [
    [0xc0, 0],
    [1, 97, 0xc0, 2],
    [0xc0, 9],
    [1, 97],
    [1, 32, 0],
    [70, 97, 0],
  ];
  test.each(loops.map((bytes) => [bytes]))("119 of %p is malformed", (bytes) => {
    expect(() => searchOption(options(119, bytes))).toThrow(MalformedDhcp);
  });
});

describe("leases", () => {
  const lease = (more: Record<number, Uint8Array | undefined>, address = "10.0.0.9") =>
    leaseOf(reply(discover(), "ack", address, more), chaddr, 0);

  test("have 121 in place of 33 and of the router", () => {
    const more = { 33: ips("172.16.0.1", "10.0.0.7"), 121: Uint8Array.of(8, 11, 10, 0, 0, 8) };
    expect(lease(more).routes.map(({ dst, gw }) => `${dst} ${gw}`)).toEqual(["11.0.0.0/8 10.0.0.8"]);
    expect(lease({ ...more, 121: undefined }).routes.map(({ dst, gw }) => `${dst} ${gw}`)).toEqual([
      "172.16.0.0/16 10.0.0.7",
      "0.0.0.0/0 10.0.0.1",
    ]);
  });

  const times: [string, Record<number, Uint8Array | undefined>, number[]][] = [
    ["half and seven eighths", {}, [500, 875, 1000]],
    ["the server's", { 58: u32(100), 59: u32(200) }, [100, 200, 1000]],
    ["the customary where the server's are past the end", { 58: u32(2000), 59: u32(1000) }, [500, 875, 1000]],
    ["an early T2", { 59: u32(300) }, [300, 300, 1000]],
    ["an hour where nothing is told", { 51: undefined }, [1800, 3150, 3600]],
    ["none where it is endless", { 51: u32(0xffffffff) }, [Infinity, Infinity, Infinity]],
  ];
  test.each(times)("have times: %s", (_, more, seconds) => {
    const { renewal, rebinding, expiry } = lease(more);
    expect([renewal, rebinding, expiry].map((each) => each / 1000)).toEqual(seconds);
  });

  test("do without name servers that are malformed, not without a mask", () => {
    expect(lease({ 6: Uint8Array.of(1), 15: Uint8Array.of(10), 119: Uint8Array.of(0xc0, 0) }).dns).toEqual(
      {},
    );
    expect(() => lease({ 1: undefined })).toThrow("Subnet Mask not found");
    for (const address of ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"]) {
      expect(() => lease({}, address)).toThrow(MalformedDhcp);
    }
  });
});

describe("frames", () => {
  const payload = encodeMessage(discover());
  // A server's frame is a client's with the ports the other way round, whose sum is the same.
  const toClient = () => {
    const frame = encodeFrame(payload, { fromMac: chaddr, fromIp: Ip.parse("10.0.0.1") });
    frame.set([0, 67, 0, 68], 34);
    return frame;
  };

  test("come apart again where several were read at once", () => {
    const frames = decodeFrames(Buffer.concat([toClient(), toClient()]));
    expect(frames).toEqual([
      { fromMac: chaddr, payload },
      { fromMac: chaddr, payload },
    ]);
  });

  const damages: [string, (frame: Uint8Array) => unknown, number][] = [
    ["whole", () => undefined, 1],
    ["without checksum", (frame) => frame.fill(0, 40, 42), 1],
    ["with a wrong byte", (frame) => frame.fill(7, 100, 101), 0],
    ["with a wrong byte in the IP header", (frame) => frame.fill(9, 22, 23), 0],
    ["for another port", (frame) => frame.fill(1, 37, 38), 0],
    ["of IPv6", (frame) => frame.fill(0x65, 14, 15), 0],
    ["with an IP length of nothing", (frame) => frame.fill(0, 16, 18), 0],
    ["with an IP length beyond the end", (frame) => frame.fill(0xff, 16, 18), 0],
  ];
  test.each(damages)("%s: %#", (_, damage, count) => {
    const frame = toClient();
    damage(frame);
    expect(decodeFrames(frame)).toHaveLength(count);
  });

  test("pass a filter of whole instructions", () => {
    expect(clientFilter.length % 8).toBe(0);
  });
});

test("Whatever comes, nothing but MalformedDhcp is thrown", () => {
  const random = seededRandom(20310);
  const pick = (most: number) => Math.floor(random() * most);
  let decoded = 0;
  for (let run = 0; run < 3000; run++) {
    const some = Array.from({ length: pick(12) }, (): [number, Uint8Array] => [
      [1, 3, 6, 15, 33, 51, 52, 53, 54, 58, 59, 119, 121][pick(13)] as number,
      Uint8Array.from({ length: pick(20) }, () => pick(256)),
    ]);
    const given = reply(discover(), "ack", "10.0.0.9", Object.fromEntries(some));
    const bytes = encodeMessage(given);
    for (let i = pick(4); i > 0; i--) bytes[pick(bytes.length)] = pick(256);
    try {
      leaseOf(decodeMessage(bytes.subarray(0, bytes.length - (pick(5) === 0 ? pick(80) : 0))), chaddr, 0);
      decoded++;
    } catch (error) {
      expect(error).toBeInstanceOf(MalformedDhcp);
    }
    const frame = encodeFrame(bytes, { fromMac: chaddr, fromIp: unspecified });
    for (let i = pick(4); i > 0; i--) frame[pick(60)] = pick(256);
    decodeFrames(frame);
  }
  expect(decoded).toBeGreaterThan(100);
});
