import { describe, expect, test } from "bun:test";
import type { NewRoute, RouteFilter } from "../../src/linux/route/route.ts";
import type { Rtnl } from "../../src/linux/route/rtnl.ts";
import { addPair, showRoute } from "./addresses.ts";
import { type Flavour, type Lab, refusal } from "./lab.ts";

/** A pair with addresses 10.0.0.1/24 and fd00::1/64 on a, and 10.1.0.1/24 and fd00:1::1/64 on b. */
function routed(lab: Lab): Rtnl {
  const { rtnl } = lab.netns().kernel;
  addPair(rtnl);
  for (const [link, v4, v6] of [
    ["a", "10.0.0.1/24", "fd00::1/64"],
    ["b", "10.1.0.1/24", "fd00:1::1/64"],
  ] as const) {
    rtnl.addresses.add({ link, address: v4 });
    rtnl.addresses.add({ link, address: v6, flags: ["nodad"] });
  }
  return rtnl;
}

const own = (rtnl: Rtnl, filter: RouteFilter = {}) =>
  rtnl.routes.list(filter).filter((route) => route.protocol !== "kernel");

/** What must hold of routes, whichever the kernel. */
export function routeConformance(flavour: Flavour): void {
  describe(`routes of ${flavour.name}`, () => {
    const cases: [what: string, route: NewRoute, listed: string][] = [
      [
        "through a gateway",
        { dst: "10.9.0.0/16", gateway: "10.0.0.2" },
        "10.9.0.0/16 via 10.0.0.2 boot global",
      ],
      ["the default route", { dst: "0.0.0.0/0", gateway: "10.0.0.2" }, "0.0.0.0/0 via 10.0.0.2 boot global"],
      ["on the link", { dst: "10.9.0.0/16", oif: "b" }, "10.9.0.0/16 boot link"],
      [
        "with a source address and a metric",
        { dst: "10.9.0.0/16", gateway: "10.0.0.2", src: "10.1.0.1", priority: 50 },
        "10.9.0.0/16 via 10.0.0.2 boot global src 10.1.0.1 metric 50",
      ],
      [
        "of Weft's protocol",
        { dst: "10.9.0.0/16", gateway: "10.0.0.2", protocol: "weft" },
        "10.9.0.0/16 via 10.0.0.2 weft global",
      ],
      [
        "of a protocol without a name",
        { dst: "10.9.0.0/16", gateway: "10.0.0.2", protocol: 77 },
        "10.9.0.0/16 via 10.0.0.2 77 global",
      ],
      [
        "through a gateway that only the route knows to be on the link",
        { dst: "10.9.0.0/16", gateway: "192.0.2.1", oif: "a", onlink: true },
        "10.9.0.0/16 via 192.0.2.1 boot global",
      ],
      ["blackhole", { dst: "10.9.0.0/16", type: "blackhole" }, "blackhole 10.9.0.0/16 boot global"],
      ["unreachable", { dst: "10.9.0.0/16", type: "unreachable" }, "unreachable 10.9.0.0/16 boot global"],
      [
        "IPv4 through an IPv6 gateway",
        { dst: "10.9.0.0/16", gateway: "fd00::2", oif: "a" },
        "10.9.0.0/16 via fd00::2 boot global",
      ],
      [
        "IPv6 through a gateway",
        { dst: "fd09::/32", gateway: "fd00::2" },
        "fd09::/32 via fd00::2 boot global metric 1024",
      ],
      [
        "the IPv6 default route",
        { dst: "::/0", gateway: "fd00::2" },
        "::/0 via fd00::2 boot global metric 1024",
      ],
      [
        "IPv6 on the link with a metric",
        { dst: "fd09::/32", oif: "b", priority: 7 },
        "fd09::/32 boot global metric 7",
      ],
      [
        "IPv6 blackhole",
        { dst: "fd09::/32", type: "blackhole" },
        "blackhole fd09::/32 boot global metric 1024",
      ],
    ];
    test.each(cases)("%s", (_, route, listed) => {
      using lab = flavour.open();
      const rtnl = routed(lab);
      rtnl.routes.add(route);
      expect(own(rtnl).map(showRoute)).toEqual([listed]);
      rtnl.routes.delete(route);
      expect(own(rtnl)).toEqual([]);
    });

    test("the link of a gateway is found by the gateway's prefix", () => {
      using lab = flavour.open();
      const rtnl = routed(lab);
      rtnl.routes.add({ dst: "10.9.0.0/16", gateway: "10.1.0.2" });
      rtnl.routes.add({ dst: "fd09::/32", gateway: "fd00:1::2" });
      expect(own(rtnl).map((route) => route.oif)).toEqual([rtnl.links.index("b"), rtnl.links.index("b")]);
    });

    test("metrics of the path are kept", () => {
      using lab = flavour.open();
      const rtnl = routed(lab);
      rtnl.routes.add({
        dst: "10.9.0.0/16",
        gateway: "10.0.0.2",
        metrics: { mtu: 1400, advmss: 1360, initcwnd: 20 },
      });
      rtnl.routes.add({ dst: "fd09::/32", gateway: "fd00::2", metrics: { mtu: 1380 } });
      expect(own(rtnl).map((route) => route.metrics)).toEqual([
        { mtu: 1400, advmss: 1360, initcwnd: 20 },
        { mtu: 1380 },
      ]);
    });

    test("a table beyond 255 is apart from the main one", () => {
      using lab = flavour.open();
      const rtnl = routed(lab);
      rtnl.routes.add({ dst: "10.9.0.0/16", gateway: "10.0.0.2", table: 70_000 });
      rtnl.routes.add({ dst: "fd09::/32", gateway: "fd00::2", table: 70_000 });
      expect(own(rtnl)).toEqual([]);
      expect(own(rtnl, { table: 70_000 }).map((route) => [route.table, String(route.dst)])).toEqual([
        [70_000, "10.9.0.0/16"],
        [70_000, "fd09::/32"],
      ]);
      expect(own(rtnl, { table: 70_001 })).toEqual([]);
      expect(own(rtnl, { table: "all" })).toHaveLength(2);
    });

    test("filters choose by family, protocol, link, type and destination", () => {
      using lab = flavour.open();
      const rtnl = routed(lab);
      rtnl.routes.add({ dst: "10.8.0.0/16", gateway: "10.0.0.2", protocol: "weft" });
      rtnl.routes.add({ dst: "10.9.0.0/16", gateway: "10.1.0.2", protocol: "bird" });
      rtnl.routes.add({ dst: "10.10.0.0/16", type: "blackhole", protocol: "weft" });
      rtnl.routes.add({ dst: "fd08::/32", gateway: "fd00::2", protocol: "weft" });
      const texts = (filter: RouteFilter) => own(rtnl, filter).map((route) => String(route.dst));
      expect(texts({ protocol: "weft" })).toEqual(["10.8.0.0/16", "10.10.0.0/16", "fd08::/32"]);
      expect(texts({ protocol: "weft", family: 6 })).toEqual(["fd08::/32"]);
      expect(texts({ oif: "b" })).toEqual(["10.9.0.0/16"]);
      expect(texts({ type: "blackhole" })).toEqual(["10.10.0.0/16"]);
      expect(texts({ dst: "10.9.0.0/16" })).toEqual(["10.9.0.0/16"]);
      expect(texts({ dst: "10.9.0.0/17" })).toEqual([]);
    });

    test("a replaced route takes the place of the one with the same metric", () => {
      using lab = flavour.open();
      const rtnl = routed(lab);
      for (const [dst, gateways] of [
        ["10.9.0.0/16", ["10.0.0.2", "10.0.0.3"]],
        ["fd09::/32", ["fd00::2", "fd00::3"]],
      ] as const) {
        rtnl.routes.replace({ dst, gateway: gateways[0] });
        rtnl.routes.replace({ dst, gateway: gateways[0], priority: 2000 });
        rtnl.routes.replace({ dst, gateway: gateways[1] });
        const found = own(rtnl, { dst }).map((route) => String(route.gateway));
        expect(found).toEqual([gateways[1], gateways[0]]);
      }
    });

    test("an appended route stands behind the first (IPv4) or beside it as a next hop (IPv6)", () => {
      using lab = flavour.open();
      const rtnl = routed(lab);
      rtnl.routes.add({ dst: "10.9.0.0/16", gateway: "10.0.0.2" });
      rtnl.routes.append({ dst: "10.9.0.0/16", gateway: "10.0.0.3" });
      expect(own(rtnl).map((route) => String(route.gateway))).toEqual(["10.0.0.2", "10.0.0.3"]);
      rtnl.routes.add({ dst: "fd09::/32", gateway: "fd00::2" });
      rtnl.routes.append({ dst: "fd09::/32", gateway: "fd00::3" });
      const [route] = own(rtnl, { family: 6 });
      expect(route?.nextHops?.map((hop) => String(hop.gateway))).toEqual(["fd00::2", "fd00::3"]);
    });

    test("next hops share a route by weight", () => {
      using lab = flavour.open();
      const rtnl = routed(lab);
      rtnl.routes.add({
        dst: "10.9.0.0/16",
        nextHops: [
          { gateway: "10.0.0.2", weight: 3 },
          { gateway: "10.1.0.2", oif: "b" },
        ],
      });
      rtnl.routes.add({
        dst: "fd09::/32",
        nextHops: [{ gateway: "fd00::2", weight: 3 }, { gateway: "fd00:1::2" }],
      });
      const [a, b] = [rtnl.links.index("a"), rtnl.links.index("b")];
      for (const [dst, first, second] of [
        ["10.9.0.0/16", "10.0.0.2", "10.1.0.2"],
        ["fd09::/32", "fd00::2", "fd00:1::2"],
      ] as const) {
        const [route] = own(rtnl, { dst });
        expect(route?.nextHops?.map((hop) => [String(hop.gateway), hop.oif, hop.weight])).toEqual([
          [first, a, 3],
          [second, b, 1],
        ]);
      }
    });

    test("the routes of a link go when it goes down", () => {
      using lab = flavour.open();
      const rtnl = routed(lab);
      rtnl.routes.add({ dst: "10.9.0.0/16", gateway: "10.0.0.2" });
      rtnl.routes.add({ dst: "fd09::/32", gateway: "fd00::2" });
      rtnl.routes.add({ dst: "10.8.0.0/16", type: "blackhole" });
      rtnl.links.set("a", { up: false });
      expect(own(rtnl).map(showRoute)).toEqual(["blackhole 10.8.0.0/16 boot global"]);
    });

    test("the routes with a source address go with the address", () => {
      using lab = flavour.open();
      const rtnl = routed(lab);
      rtnl.routes.add({ dst: "10.9.0.0/16", gateway: "10.1.0.2", src: "10.0.0.1" });
      rtnl.addresses.delete({ link: "a", address: "10.0.0.1/24" });
      expect(own(rtnl)).toEqual([]);
    });

    test("a deletion finds the route by what is given", () => {
      using lab = flavour.open();
      const rtnl = routed(lab);
      rtnl.routes.add({ dst: "10.9.0.0/16", gateway: "10.0.0.2", priority: 1, protocol: "weft" });
      rtnl.routes.add({ dst: "10.9.0.0/16", gateway: "10.0.0.3", priority: 2, protocol: "bird" });
      rtnl.routes.delete({ dst: "10.9.0.0/16", protocol: "bird" });
      expect(own(rtnl).map((route) => route.protocol)).toEqual(["weft"]);
      expect(refusal(() => rtnl.routes.delete({ dst: "10.9.0.0/16", gateway: "10.0.0.9" }))).toBe("ESRCH");
      rtnl.routes.delete({ dst: "10.9.0.0/16" });
      expect(own(rtnl)).toEqual([]);
    });

    lookups(flavour);
    refusals(flavour);
  });
}

function lookups(flavour: Flavour): void {
  test("a lookup takes the longest prefix and the lowest metric", () => {
    using lab = flavour.open();
    const rtnl = routed(lab);
    rtnl.routes.add({ dst: "0.0.0.0/0", gateway: "10.0.0.254" });
    rtnl.routes.add({ dst: "10.9.0.0/16", gateway: "10.0.0.2", priority: 10 });
    rtnl.routes.add({ dst: "10.9.0.0/16", gateway: "10.0.0.3", priority: 5 });
    rtnl.routes.add({ dst: "10.9.9.0/24", gateway: "10.1.0.9" });
    rtnl.routes.add({ dst: "fd09::/32", gateway: "fd00:1::9" });
    const way = (dst: string) => {
      const { gateway, oif, src, type } = rtnl.routes.lookup(dst);
      return [type, gateway && String(gateway), oif, src && String(src)];
    };
    const [a, b] = [rtnl.links.index("a"), rtnl.links.index("b")];
    expect(way("192.0.2.1")).toEqual(["unicast", "10.0.0.254", a, "10.0.0.1"]);
    expect(way("10.9.1.1")).toEqual(["unicast", "10.0.0.3", a, "10.0.0.1"]);
    expect(way("10.9.9.1")).toEqual(["unicast", "10.1.0.9", b, "10.1.0.1"]);
    expect(way("10.0.0.7")).toEqual(["unicast", undefined, a, "10.0.0.1"]);
    expect(way("fd09::1")).toEqual(["unicast", "fd00:1::9", b, "fd00:1::1"]);
    expect(way("10.0.0.1")[0]).toBe("local");
  });

  test("rules choose the table of a lookup", () => {
    using lab = flavour.open();
    const rtnl = routed(lab);
    rtnl.routes.add({ dst: "10.9.0.0/16", gateway: "10.0.0.2" });
    rtnl.routes.add({ dst: "10.9.0.0/16", gateway: "10.1.0.2", table: 1000 });
    rtnl.rules.add({ family: 4, mark: 1, table: 1000, priority: 100 });
    expect(String(rtnl.routes.lookup("10.9.0.1").gateway)).toBe("10.0.0.2");
    expect(String(rtnl.routes.lookup("10.9.0.1", { mark: 1 }).gateway)).toBe("10.1.0.2");
    rtnl.rules.add({ src: "10.1.0.1/32", table: 1000, priority: 101 });
    expect(String(rtnl.routes.lookup("10.9.0.1", { src: "10.1.0.1" }).gateway)).toBe("10.1.0.2");
  });

  test("a lookup without an answer says why", () => {
    using lab = flavour.open();
    const rtnl = routed(lab);
    rtnl.routes.add({ dst: "10.8.0.0/16", type: "unreachable" });
    rtnl.routes.add({ dst: "10.7.0.0/16", type: "prohibit" });
    rtnl.routes.add({ dst: "10.6.0.0/16", type: "blackhole" });
    const found = ["192.0.2.1", "2001:db8::1", "10.8.0.1", "10.7.0.1", "10.6.0.1"].map((dst) =>
      refusal(() => rtnl.routes.lookup(dst)),
    );
    expect(found).toEqual(["ENETUNREACH", "ENETUNREACH", "EHOSTUNREACH", "EACCES", "EINVAL"]);
  });
}

function refusals(flavour: Flavour): void {
  const refused: [what: string, errno: string, action: (rtnl: Rtnl) => unknown][] = [
    [
      "a route that is there",
      "EEXIST",
      ({ routes }) => routes.add({ dst: "10.9.0.0/16", gateway: "10.0.0.3" }),
    ],
    [
      "an IPv6 route that is there",
      "EEXIST",
      ({ routes }) => routes.add({ dst: "fd09::/32", gateway: "fd00::3" }),
    ],
    [
      "a gateway out of reach",
      "ENETUNREACH",
      ({ routes }) => routes.add({ dst: "10.8.0.0/16", gateway: "192.0.2.1" }),
    ],
    [
      "an IPv6 gateway out of reach",
      "EHOSTUNREACH",
      ({ routes }) => routes.add({ dst: "fd08::/32", gateway: "2001:db8::1" }),
    ],
    [
      "a broadcast address as gateway",
      "EINVAL",
      ({ routes }) => routes.add({ dst: "10.8.0.0/16", gateway: "10.0.0.255" }),
    ],
    ["a link that is not there", "ENODEV", ({ routes }) => routes.add({ dst: "10.8.0.0/16", oif: 4711 })],
    ["a link that is down", "ENETDOWN", ({ routes }) => routes.add({ dst: "10.8.0.0/16", oif: "c" })],
    [
      "host bits in the destination",
      "EINVAL",
      ({ routes }) => routes.add({ dst: "10.8.0.1/16", gateway: "10.0.0.2" }),
    ],
    ["neither gateway nor link", "ENODEV", ({ routes }) => routes.add({ dst: "10.8.0.0/16" })],
    [
      "a source address that is not ours",
      "EINVAL",
      ({ routes }) => routes.add({ dst: "10.8.0.0/16", gateway: "10.0.0.2", src: "192.0.2.1" }),
    ],
    ["to delete what is not there", "ESRCH", ({ routes }) => routes.delete({ dst: "10.8.0.0/16" })],
    [
      "to delete from another table",
      "ESRCH",
      ({ routes }) => routes.delete({ dst: "10.9.0.0/16", table: 1000 }),
    ],
    [
      "to delete an IPv6 route that is not there",
      "ESRCH",
      ({ routes }) => routes.delete({ dst: "fd08::/32" }),
    ],
  ];
  test.each(refused)("refused: %s (%s)", (_, errno, action) => {
    using lab = flavour.open();
    const rtnl = routed(lab);
    rtnl.links.add({ kind: "veth", name: "c", peer: { name: "d" } });
    rtnl.routes.add({ dst: "10.9.0.0/16", gateway: "10.0.0.2" });
    rtnl.routes.add({ dst: "fd09::/32", gateway: "fd00::2" });
    const before = rtnl.routes.list();
    expect(refusal(() => action(rtnl))).toBe(errno);
    expect(rtnl.routes.list()).toEqual(before);
  });
}
