/**
 * What iproute2 made, we list as iproute2 does; and what we made, iproute2 lists as we do.
 *
 *     ip, bridge --make--> kernel --list--> ip -json, bridge -json
 *                             \----list--> ours, in the words of ip -json
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Change } from "../../src/linux/route/changes.ts";
import { eventually } from "../conformance/lab.ts";
import { describeWith, needs } from "../lib/needs.ts";
import * as words from "./ip-json.ts";
import { RtnlNamespace } from "./rtnl-fixture.ts";

const describeKernel = describeWith(
  needs.root,
  needs.command("ip", "iproute2"),
  needs.kernel("bridge"),
  needs.kernel("vxlan"),
  needs.kernel("macvlan"),
  needs.kernel("ifb"),
  needs.kernel("tun"),
);

const script = `
ip link set lo up
ip link add v0 type veth peer name v1
ip link set v0 up alias "to v1" txqueuelen 100 group 7 mtu 1400
ip link set v1 up address 0a:00:00:00:00:01
ip link property add dev v0 altname other-name
ip link add br0 type bridge ageing_time 1000 stp_state 1 mcast_snooping 0
ip link add p0 type veth peer name p1
ip link set p0 master br0 up
ip link set dev p0 type bridge_slave hairpin on isolated on
ip link add vx0 type vxlan id 42 dstport 4789 local 10.0.0.1 dev v0 nolearning
ip link add mv0 link v0 type macvlan mode bridge
ip link add ifb0 type ifb
ip tuntap add tap0 mode tap user 4711
ip addr add 10.0.0.1/24 broadcast + dev v0
ip addr add 10.0.0.9/24 dev v0 label v0:1
ip addr add 10.2.0.1 peer 10.2.0.2/32 dev v1
ip addr add fd00::1/64 dev v0 nodad
ip addr add fd00::2/64 dev v0 nodad noprefixroute
ip route add 10.9.0.0/16 via 10.0.0.2
ip route add default via 10.0.0.2 metric 9
ip route add 10.8.0.0/16 via 10.0.0.2 metric 5 proto 119 src 10.0.0.9 mtu 1300 advmss 1200
ip route add 10.7.0.0/16 nexthop via 10.0.0.2 weight 3 nexthop via 10.2.0.2 dev v1
ip route add 10.6.0.0/16 via inet6 fd00::9 dev v0
ip route add blackhole 10.5.0.0/16
ip route add 10.4.0.0/16 via 192.0.2.1 dev v0 onlink table 70000
ip route add prohibit 10.3.0.0/16 table 70000
ip -6 route add fd09::/32 via fd00::9 metric 7
ip -6 route add fd08::/32 nexthop via fd00::9 nexthop via fd00::8 weight 2
ip -6 route add unreachable fd07::/32
ip rule add from 10.0.0.0/8 to 10.9.0.0/16 iif v0 fwmark 0x10/0xff lookup 70000 pref 100
ip rule add from 10.1.0.0/16 blackhole pref 101
ip rule add not from 10.1.0.0/16 lookup 70000 pref 103
ip -6 rule add ipproto tcp dport 80-90 suppress_prefixlength 0 lookup main pref 102
ip neigh add 10.0.0.2 lladdr 0a:00:00:00:00:02 dev v0 nud permanent
ip neigh add fd00::9 lladdr 0a:00:00:00:00:09 dev v0 router nud permanent
bridge fdb add 0a:00:00:00:00:03 dev p0 master static
bridge fdb append 00:00:00:00:00:00 dev vx0 dst 192.0.2.9
`;

const changes: Change[] = [
  { setLink: { link: "lo", up: true } },
  {
    addLink: { kind: "veth", name: "v0", alias: "to v1", txQueueLength: 100, group: 7, peer: { name: "v1" } },
  },
  { setLink: { link: "v0", up: true, mtu: 1400 } },
  { setLink: { link: "v1", up: true, mac: "0a:00:00:00:00:01" } },
  { addAltNames: { link: "v0", names: ["other-name"] } },
  {
    addLink: {
      kind: "bridge",
      name: "br0",
      bridge: { ageingTime: 1000, stpState: 1, multicastSnooping: false },
    },
  },
  { addLink: { kind: "veth", name: "p0", peer: { name: "p1" } } },
  { setLink: { link: "p0", master: "br0", up: true, bridgePort: { hairpin: true, isolated: true } } },
  { addLink: { kind: "macvlan", name: "mv0", parent: "v0", macvlan: { mode: "bridge" } } },
  { addLink: { kind: "ifb", name: "ifb0" } },
  { addLink: { kind: "tun", name: "tap0", tun: { type: "tap", owner: 4711 } } },
  { addAddress: { link: "v0", address: "10.0.0.1/24", broadcast: "10.0.0.255" } },
  { addAddress: { link: "v0", address: "10.0.0.9/24", label: "v0:1" } },
  { addAddress: { link: "v1", address: "10.2.0.1/32", peer: "10.2.0.2" } },
  { addAddress: { link: "v0", address: "fd00::1/64", flags: ["nodad"] } },
  { addAddress: { link: "v0", address: "fd00::2/64", flags: ["nodad", "noprefixroute"] } },
  { addRoute: { dst: "10.9.0.0/16", gateway: "10.0.0.2" } },
  { addRoute: { dst: "0.0.0.0/0", gateway: "10.0.0.2", priority: 9 } },
  {
    addRoute: {
      dst: "10.8.0.0/16",
      gateway: "10.0.0.2",
      priority: 5,
      protocol: 119,
      src: "10.0.0.9",
      metrics: { mtu: 1300, advmss: 1200 },
    },
  },
  {
    addRoute: {
      dst: "10.7.0.0/16",
      nextHops: [
        { gateway: "10.0.0.2", weight: 3 },
        { gateway: "10.2.0.2", oif: "v1" },
      ],
    },
  },
  { addRoute: { dst: "10.6.0.0/16", gateway: "fd00::9", oif: "v0" } },
  { addRoute: { dst: "10.5.0.0/16", type: "blackhole" } },
  { addRoute: { dst: "10.4.0.0/16", gateway: "192.0.2.1", oif: "v0", onlink: true, table: 70000 } },
  { addRoute: { dst: "10.3.0.0/16", type: "prohibit", table: 70000 } },
  { addRoute: { dst: "fd09::/32", gateway: "fd00::9", priority: 7 } },
  { addRoute: { dst: "fd08::/32", nextHops: [{ gateway: "fd00::9" }, { gateway: "fd00::8", weight: 2 }] } },
  { addRoute: { dst: "fd07::/32", type: "unreachable" } },
  {
    addRule: {
      src: "10.0.0.0/8",
      dst: "10.9.0.0/16",
      iif: "v0",
      mark: 0x10,
      mask: 0xff,
      table: 70000,
      priority: 100,
    },
  },
  { addRule: { src: "10.1.0.0/16", action: "blackhole", priority: 101 } },
  { addRule: { src: "10.1.0.0/16", invert: true, table: 70000, priority: 103 } },
  {
    addRule: {
      family: 6,
      ipProtocol: 6,
      destinationPorts: { start: 80, end: 90 },
      suppressPrefixLength: 0,
      priority: 102,
    },
  },
  { addNeighbour: { link: "v0", ip: "10.0.0.2", mac: "0a:00:00:00:00:02" } },
  { addNeighbour: { link: "v0", ip: "fd00::9", mac: "0a:00:00:00:00:09", flags: ["router"] } },
  { addFdbEntry: { link: "p0", mac: "0a:00:00:00:00:03", state: "noarp", flags: ["master"] } },
];

/** In an order that is the same on both sides. */
const sorted = (list: readonly words.Json[]) =>
  list
    .map((one) => JSON.stringify(Object.fromEntries(Object.entries(one).sort())))
    .sort()
    .map((one) => JSON.parse(one) as words.Json);

const makers: [who: string, make: (namespace: RtnlNamespace) => void][] = [
  ["iproute2", (namespace) => void namespace.run("sh", "-ec", script)],
  [
    "us",
    ({ rtnl }) => {
      // The link of a VXLAN is given by its index, which is known only now.
      const errors = rtnl.batch(changes);
      const link = rtnl.links.index("v0");
      const local = "10.0.0.1";
      const more = rtnl.batch([
        {
          addLink: {
            kind: "vxlan",
            name: "vx0",
            vxlan: { id: 42, port: 4789, local, link, learning: false },
          },
        },
        { appendFdbEntry: { link: "vx0", mac: "00:00:00:00:00:00", dst: "192.0.2.9" } },
      ]);
      expect([...errors.values(), ...more.values()].map(String)).toEqual([]);
    },
  ],
];
for (const [who, make] of makers) {
  describeKernel(`what ${who} made is listed alike`, () => {
    let namespace: RtnlNamespace;
    let nameOf: words.NameOf;

    beforeAll(() => {
      namespace = new RtnlNamespace();
      make(namespace);
      const names = new Map(namespace.rtnl.links.list().map((link) => [link.index, link.name]));
      nameOf = (index) => names.get(index) ?? String(index);
    });
    afterAll(() => namespace[Symbol.dispose]());

    test("links", () => {
      const ours = namespace.rtnl.links.list().map((link) => words.linkJson(link, nameOf));
      const theirs = namespace.json("ip -d link show").map(words.cutLink);
      expect(ours).toEqual(theirs);
      expect(ours.length).toBeGreaterThan(9);
    });

    test("the attributes of their kinds", () => {
      const { links } = namespace.rtnl;
      const data = (name: string) => {
        const [link] = namespace.json(`ip -d link show ${name}`);
        return (link?.linkinfo as { info_data?: words.Json } | undefined)?.info_data;
      };
      expect(data("br0")).toMatchObject({ ageing_time: 1000, stp_state: 1, mcast_snooping: 0 });
      expect(links.get("br0").bridge).toMatchObject({
        ageingTime: 1000,
        stpState: 1,
        multicastSnooping: false,
      });
      expect(data("vx0")).toMatchObject({
        id: 42,
        port: 4789,
        local: "10.0.0.1",
        link: "v0",
        learning: false,
      });
      expect(links.get("vx0").vxlan).toMatchObject({
        id: 42,
        port: 4789,
        local: "10.0.0.1",
        link: links.index("v0"),
        learning: false,
      });
      expect(data("mv0")).toMatchObject({ mode: "bridge" });
      expect(links.get("mv0").macvlan).toMatchObject({ mode: "bridge" });
      expect(data("tap0")).toMatchObject({ type: "tap", user: 4711, persist: true });
      expect(links.get("tap0").tun).toMatchObject({ type: "tap", owner: 4711, persist: true });
    });

    test("the settings of bridge ports", () => {
      const [port] = namespace.json("bridge -d link show dev p0");
      const ours = namespace.rtnl.links.get("p0").bridgePort;
      expect(port).toMatchObject({
        hairpin: ours?.hairpin,
        isolated: ours?.isolated,
        learning: ours?.learning,
        flood: ours?.unicastFlood,
        mcast_flood: ours?.multicastFlood,
        neigh_suppress: ours?.neighbourSuppress,
        state: ours?.state,
        priority: ours?.priority,
        cost: ours?.cost,
      });
      expect(ours).toMatchObject({ hairpin: true, isolated: true });
    });

    test("addresses", async () => {
      // Link-local addresses are tentative for a while, and may change between the two lists.
      const settled = (list: words.Json[]) => sorted(list.filter((one) => one.scope !== "link"));
      const theirs = namespace
        .json("ip addr show")
        .flatMap((link) => link.addr_info as words.Json[])
        .filter((one) => one.local !== undefined);
      const ours = namespace.rtnl.addresses.list().map(words.addressJson);
      expect(settled(ours)).toEqual(settled(theirs));
      expect(settled(ours)).toHaveLength(7);
    });

    test("routes of all tables", async () => {
      await eventually(() => {
        for (const [family, option] of [
          [4, "-4"],
          [6, "-6"],
        ] as const) {
          const ours = namespace.rtnl.routes
            .list({ family, table: "all" })
            .map((one) => words.routeJson(one, nameOf));
          const theirs = namespace.json(`ip ${option} route show table all`);
          expect(sorted(ours)).toEqual(sorted(theirs));
          expect(ours.length).toBeGreaterThan(8);
        }
      });
    });

    test("rules", () => {
      for (const [family, option] of [
        [4, "-4"],
        [6, "-6"],
      ] as const) {
        const ours = namespace.rtnl.rules.list(family).map(words.ruleJson);
        expect(ours).toEqual(namespace.json(`ip ${option} rule show`));
      }
    });

    test("neighbours", () => {
      const ours = namespace.rtnl.neighbours.list().filter((one) => one.state === "permanent");
      const theirs = namespace.json("ip neigh show nud permanent");
      expect(sorted(ours.map((one) => words.neighbourJson(one, nameOf)))).toEqual(sorted(theirs));
      expect(ours).toHaveLength(2);
    });

    test("forwarding entries", () => {
      const ours = namespace.rtnl.fdb.list().map((one) => words.fdbJson(one, nameOf));
      const theirs = namespace.json("bridge fdb show");
      expect(sorted(ours)).toEqual(sorted(theirs));
      expect(ours).toContainEqual(expect.objectContaining({ mac: "0a:00:00:00:00:03", state: "static" }));
    });

    test("the way that a packet goes", () => {
      const { routes } = namespace.rtnl;
      for (const dst of ["10.9.1.1", "10.8.1.1", "192.0.2.77", "10.2.0.2", "fd09::1"]) {
        const [theirs] = namespace.json(`ip route get ${dst}`);
        const ours = routes.lookup(dst);
        expect([
          ours.oif && nameOf(ours.oif),
          ours.gateway && String(ours.gateway),
          String(ours.src),
        ]).toEqual([theirs?.dev as string, theirs?.gateway as string | undefined, theirs?.prefsrc as string]);
      }
    });
  });
}
