import { describe, expect, test } from "bun:test";
import type { Address, NewAddress } from "../../src/linux/route/address.ts";
import type { Route } from "../../src/linux/route/route.ts";
import type { Rtnl } from "../../src/linux/route/rtnl.ts";
import { eventually, type Flavour, refusal } from "./lab.ts";

/** A pair a, b with a carrier. */
export function addPair({ links }: Rtnl): void {
  links.add({ kind: "veth", name: "a", up: true, addrGenMode: "none", peer: { name: "b" } });
  links.set("b", { addrGenMode: "none" });
  links.set("b", { up: true });
}

const show = (address: Address) =>
  [address.address, address.peer && `peer ${address.peer}`, address.scope, ...address.flags]
    .filter(Boolean)
    .join(" ");

/** A route in few words. */
export const showRoute = (route: Route) =>
  [
    route.type === "unicast" ? "" : route.type,
    route.dst,
    route.gateway && `via ${route.gateway}`,
    route.protocol,
    route.scope,
    route.src && `src ${route.src}`,
    route.priority && `metric ${route.priority}`,
  ]
    .filter(Boolean)
    .join(" ");

/** What must hold of addresses, whichever the kernel. */
export function addressConformance(flavour: Flavour): void {
  describe(`addresses of ${flavour.name}`, () => {
    const cases: [what: string, address: Omit<NewAddress, "link">, listed: string][] = [
      ["IPv4", { address: "10.0.0.1/24" }, "10.0.0.1/24 global permanent"],
      ["a host prefix", { address: "10.0.0.1/32" }, "10.0.0.1/32 global permanent"],
      ["a link scope by range", { address: "169.254.1.1/16" }, "169.254.1.1/16 link permanent"],
      ["a scope that is given", { address: "10.0.0.1/24", scope: "host" }, "10.0.0.1/24 host permanent"],
      [
        "a point-to-point address",
        { address: "10.0.0.1/32", peer: "10.0.0.2" },
        "10.0.0.1/32 peer 10.0.0.2 global permanent",
      ],
      ["IPv6", { address: "fd00::1/64", flags: ["nodad"] }, "fd00::1/64 global nodad permanent"],
      [
        "a flag beyond eight bits",
        { address: "fd00::1/64", flags: ["nodad", "noprefixroute"] },
        "fd00::1/64 global nodad permanent noprefixroute",
      ],
    ];
    test.each(cases)("%s", (_, address, listed) => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      rtnl.addresses.add({ link: "a", ...address });
      const found = rtnl.addresses.list({ link: "a" });
      expect(found.map(show)).toEqual([listed]);
      expect(found[0]?.link).toBe(rtnl.links.index("a"));
      rtnl.addresses.delete({ link: "a", ...address });
      expect(rtnl.addresses.list({ link: "a" })).toEqual([]);
    });

    test("the loopback link gets its addresses when it comes up", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      expect(rtnl.addresses.list()).toEqual([]);
      rtnl.links.set("lo", { up: true });
      expect(rtnl.addresses.list().map(show)).toEqual([
        "127.0.0.1/8 host permanent",
        "::1/128 host permanent",
      ]);
    });

    test("they are listed by link and by family", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      rtnl.addresses.add({ link: "a", address: "10.0.0.1/24" });
      rtnl.addresses.add({ link: "a", address: "fd00::1/64", flags: ["nodad"] });
      rtnl.addresses.add({ link: "b", address: "10.1.0.1/24" });
      const texts = (filter: Parameters<typeof rtnl.addresses.list>[0]) =>
        rtnl.addresses
          .list(filter)
          .map((found) => String(found.address))
          .toSorted();
      expect(texts({})).toEqual(["10.0.0.1/24", "10.1.0.1/24", "fd00::1/64"]);
      expect(texts({ link: "a" })).toEqual(["10.0.0.1/24", "fd00::1/64"]);
      expect(texts({ family: 6 })).toEqual(["fd00::1/64"]);
      expect(texts({ link: "a", family: 4 })).toEqual(["10.0.0.1/24"]);
    });

    test("the broadcast address, the label and the metric are kept", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      rtnl.addresses.add({
        link: "a",
        address: "10.0.0.1/24",
        broadcast: "10.0.0.255",
        label: "a:1",
        metric: 5,
      });
      const [found] = rtnl.addresses.list({ link: "a" });
      expect(String(found?.broadcast)).toBe("10.0.0.255");
      expect(found).toMatchObject({ label: "a:1", metric: 5 });
    });

    test("an address brings a route to its prefix and one to itself, and takes them away", async () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      rtnl.addresses.add({ link: "a", address: "10.0.0.1/24" });
      rtnl.addresses.add({ link: "a", address: "fd00::1/64", flags: ["nodad"] });
      const listed = (family: 4 | 6, table: number) =>
        rtnl.routes
          .list({ family, table, oif: "a" })
          .filter((route) => route.type !== "multicast" && route.type !== "anycast")
          .map(showRoute);
      expect(listed(4, 254)).toEqual(["10.0.0.0/24 kernel link src 10.0.0.1"]);
      expect(listed(6, 254)).toEqual(["fd00::/64 kernel global metric 256"]);
      expect(listed(4, 255)).toEqual([
        "local 10.0.0.1/32 kernel host src 10.0.0.1",
        "broadcast 10.0.0.255/32 kernel link src 10.0.0.1",
      ]);
      await eventually(() => expect(listed(6, 255)).toEqual(["local fd00::1/128 kernel global"]));
      rtnl.addresses.delete({ link: "a", address: "10.0.0.1/24" });
      rtnl.addresses.delete({ link: "a", address: "fd00::1/64" });
      expect([...listed(4, 254), ...listed(6, 254), ...listed(4, 255), ...listed(6, 255)]).toEqual([]);
    });

    test("noprefixroute brings none to the prefix", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      rtnl.addresses.add({ link: "a", address: "10.0.0.1/24", flags: ["noprefixroute"] });
      rtnl.addresses.add({ link: "a", address: "fd00::1/64", flags: ["nodad", "noprefixroute"] });
      expect(rtnl.routes.list({ oif: "a" }).filter((route) => route.type === "unicast")).toEqual([]);
    });

    test("a link that is down has no route to the prefix of its address", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      rtnl.addresses.add({ link: "a", address: "10.0.0.1/24" });
      rtnl.links.set("a", { up: false });
      expect(rtnl.routes.list({ family: 4 })).toEqual([]);
      expect(rtnl.addresses.list({ link: "a", family: 4 }).map(show)).toEqual([
        "10.0.0.1/24 global permanent",
      ]);
      rtnl.links.set("a", { up: true });
      expect(rtnl.routes.list({ family: 4 }).map(showRoute)).toEqual([
        "10.0.0.0/24 kernel link src 10.0.0.1",
      ]);
    });

    test("further addresses of a prefix are secondary, and go with the first", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      rtnl.addresses.add({ link: "a", address: "10.0.0.1/24" });
      rtnl.addresses.add({ link: "a", address: "10.0.0.2/24" });
      expect(rtnl.addresses.list({ link: "a" }).map(show)).toEqual([
        "10.0.0.1/24 global permanent",
        "10.0.0.2/24 global secondary permanent",
      ]);
      const local = rtnl.routes.list({ family: 4, table: 255, oif: "a", type: "local" });
      expect(local.map((route) => `${route.dst} src ${route.src}`)).toEqual([
        "10.0.0.1/32 src 10.0.0.1",
        "10.0.0.2/32 src 10.0.0.1",
      ]);
      rtnl.addresses.delete({ link: "a", address: "10.0.0.1/24" });
      expect(rtnl.addresses.list({ link: "a" })).toEqual([]);
      expect(rtnl.routes.list({ family: 4, table: "all" })).toEqual([]);
    });

    test("to replace is to add, and may be repeated", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      for (const address of ["10.0.0.1/24", "fd00::1/64"]) {
        for (let i = 0; i < 2; i++) rtnl.addresses.replace({ link: "a", address, flags: ["nodad"] });
      }
      expect(rtnl.addresses.list({ link: "a" }).map((found) => String(found.address))).toEqual([
        "10.0.0.1/24",
        "fd00::1/64",
      ]);
    });

    test("addresses go with their link", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      rtnl.addresses.add({ link: "a", address: "10.0.0.1/24" });
      rtnl.links.delete("a");
      expect(rtnl.addresses.list()).toEqual([]);
      expect(rtnl.routes.list({ family: 4, table: "all" })).toEqual([]);
    });

    const refused: [what: string, errno: string, action: (rtnl: Rtnl) => unknown][] = [
      ["an address that is there", "EEXIST", (r) => r.addresses.add({ link: "a", address: "10.0.0.1/24" })],
      [
        "an IPv6 address that is there",
        "EEXIST",
        (r) => r.addresses.add({ link: "a", address: "fd00::1/64" }),
      ],
      ["a link that is not there", "ENODEV", (r) => r.addresses.add({ link: "c", address: "10.0.0.1/24" })],
      [
        "an index that is not there",
        "ENODEV",
        (r) => r.addresses.add({ link: 4711, address: "10.0.0.1/24" }),
      ],
      [
        "to delete what is not there",
        "EADDRNOTAVAIL",
        (r) => r.addresses.delete({ link: "a", address: "10.0.0.9/24" }),
      ],
      [
        "to delete with another length",
        "EADDRNOTAVAIL",
        (r) => r.addresses.delete({ link: "a", address: "10.0.0.1/16" }),
      ],
      [
        "to delete an IPv6 address that is not there",
        "EADDRNOTAVAIL",
        (r) => r.addresses.delete({ link: "a", address: "fd00::9/64" }),
      ],
      [
        "a multicast IPv6 address",
        "EADDRNOTAVAIL",
        (r) => r.addresses.add({ link: "a", address: "ff02::1/64" }),
      ],
    ];
    test.each(refused)("refused: %s (%s)", (_, errno, action) => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      rtnl.addresses.add({ link: "a", address: "10.0.0.1/24" });
      rtnl.addresses.add({ link: "a", address: "fd00::1/64", flags: ["nodad"] });
      const before = rtnl.addresses.list();
      expect(refusal(() => action(rtnl))).toBe(errno);
      expect(rtnl.addresses.list()).toEqual(before);
    });
  });
}
