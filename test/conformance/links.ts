import { describe, expect, test } from "bun:test";
import type { Link, NewLink } from "../../src/linux/route/link.ts";
import type { Rtnl } from "../../src/linux/route/rtnl.ts";
import { eventually, type Flavour, refusal } from "./lab.ts";

const pair = (a: string, b: string, more: Partial<NewLink> = {}): NewLink => ({
  kind: "veth",
  name: a,
  peer: { name: b },
  ...more,
});

/** Links that tunnel modules, once loaded, put into every namespace. */
const fallbacks = new Set([
  "tunl0",
  "gre0",
  "gretap0",
  "erspan0",
  "sit0",
  "ip6tnl0",
  "ip6gre0",
  "ip_vti0",
  "ip6_vti0",
]);
const made = (links: Link[]) => links.filter((link) => !fallbacks.has(link.name));

/** What must hold of links, whichever the kernel. */
export function linkConformance(flavour: Flavour): void {
  describe(`links of ${flavour.name}`, () => {
    test("a new namespace has a loopback link, which is down", () => {
      using lab = flavour.open();
      const { links } = lab.netns().kernel.rtnl;
      expect(made(links.list())).toMatchObject([
        { index: 1, name: "lo", type: 772, loopback: true, up: false, running: false, mtu: 65536, group: 0 },
      ]);
    });

    test("a veth pair has the names, addresses and MTUs that were given, and each end is the other's parent", () => {
      using lab = flavour.open();
      const { links } = lab.netns().kernel.rtnl;
      links.add(
        pair("a", "b", {
          mac: "0a:00:00:00:00:01",
          mtu: 1400,
          peer: { name: "b", mac: "0a:00:00:00:00:02", mtu: 1300 },
        }),
      );
      const [a, b] = [links.get("a"), links.get("b")];
      expect(a).toMatchObject({
        kind: "veth",
        mac: "0a:00:00:00:00:01",
        mtu: 1400,
        type: 1,
        parent: b.index,
      });
      expect(b).toMatchObject({
        kind: "veth",
        mac: "0a:00:00:00:00:02",
        mtu: 1300,
        type: 1,
        parent: a.index,
      });
      expect(links.get(a.index).name).toBe("a");
    });

    test("a peer is born in another namespace, and goes with its end", () => {
      using lab = flavour.open();
      const [host, pod] = [lab.netns(), lab.netns()];
      host.kernel.rtnl.links.add(
        pair("veth0", "eth0", {
          peer: { name: "eth0", netns: pod.ref, mac: "0a:58:0a:f4:01:07", mtu: 1400 },
        }),
      );
      expect(host.kernel.rtnl.links.find("eth0")).toBeUndefined();
      const outside = host.kernel.rtnl.links.get("veth0");
      const inside = pod.kernel.rtnl.links.get("eth0");
      expect(inside).toMatchObject({ mac: "0a:58:0a:f4:01:07", mtu: 1400, up: false, parent: outside.index });
      expect(outside.parent).toBe(inside.index);
      expect(outside.parentNetnsId).toBeNumber();
      host.kernel.rtnl.links.delete("veth0");
      expect(pod.kernel.rtnl.links.find("eth0")).toBeUndefined();
    });

    test("a pair has a carrier when both ends are up", async () => {
      using lab = flavour.open();
      const { links } = lab.netns().kernel.rtnl;
      // The state follows the carrier a moment later.
      const becomes = (name: string, state: object) =>
        eventually(() => expect(links.get(name)).toMatchObject(state));
      links.add(pair("a", "b", { up: true }));
      await becomes("a", { up: true, lowerUp: false, running: false, operState: "lowerlayerdown" });
      links.set("b", { up: true });
      for (const name of ["a", "b"]) {
        await becomes(name, { up: true, lowerUp: true, running: true, operState: "up" });
      }
      links.set("b", { up: false });
      await becomes("a", { up: true, lowerUp: false });
      await becomes("b", { up: false, operState: "down" });
    });

    test("links are listed by kind and by master", () => {
      using lab = flavour.open();
      const { links } = lab.netns().kernel.rtnl;
      links.add({ kind: "bridge", name: "br0", mac: "0a:00:00:00:00:aa" });
      links.add({ kind: "bridge", name: "br1" });
      links.add(pair("a", "b", { master: "br0" }));
      links.add(pair("c", "d", { master: links.index("br1") }));
      const names = (list: { name: string }[]) => list.map((link) => link.name).sort();
      expect(names(made(links.list()))).toEqual(["a", "b", "br0", "br1", "c", "d", "lo"]);
      expect(names(links.list({ kind: "veth" }))).toEqual(["a", "b", "c", "d"]);
      expect(names(links.list({ master: "br0" }))).toEqual(["a"]);
      expect(links.get("br0")).toMatchObject({ kind: "bridge", mac: "0a:00:00:00:00:aa", type: 1 });
      expect(links.get("a").master).toBe(links.index("br0"));
    });

    test("a link joins a bridge and leaves it, and is free when the bridge goes", () => {
      using lab = flavour.open();
      const { links } = lab.netns().kernel.rtnl;
      links.add({ kind: "bridge", name: "br0", up: true });
      links.add(pair("a", "b", { master: "br0", bridgePort: { hairpin: true }, up: true }));
      expect(links.get("a").bridgePort).toMatchObject({ hairpin: true, isolated: false, learning: true });
      links.set("a", { bridgePort: { isolated: true, hairpin: false } });
      expect(links.get("a").bridgePort).toMatchObject({ hairpin: false, isolated: true });
      links.set("a", { master: null });
      expect(links.get("a").master).toBeUndefined();
      expect(links.get("a").bridgePort).toBeUndefined();
      links.set("a", { master: "br0", bridgePort: { isolated: true } });
      expect(links.get("a").bridgePort).toMatchObject({ isolated: true });
      links.delete("br0");
      expect(links.get("a")).toMatchObject({ name: "a", up: true });
      expect(links.get("a").master).toBeUndefined();
    });

    test("a bridge has a carrier when one of its ports has", async () => {
      using lab = flavour.open();
      const { links } = lab.netns().kernel.rtnl;
      links.add({ kind: "bridge", name: "br0", up: true });
      links.add(pair("a", "b", { master: "br0", up: true }));
      links.set("b", { up: true });
      await eventually(() => expect(links.get("br0")).toMatchObject({ lowerUp: true, operState: "up" }));
      links.set("b", { up: false });
      await eventually(() => expect(links.get("br0")).toMatchObject({ up: true, lowerUp: false }));
    });

    test("a bridge's own attributes are kept and changed", () => {
      using lab = flavour.open();
      const { links } = lab.netns().kernel.rtnl;
      links.add({ kind: "bridge", name: "br0", bridge: { ageingTime: 12300, groupForwardMask: 16 } });
      expect(links.get("br0").bridge).toMatchObject({ ageingTime: 12300, groupForwardMask: 16, stpState: 0 });
      links.set("br0", { bridge: { ageingTime: 400 } });
      expect(links.get("br0").bridge).toMatchObject({ ageingTime: 400, groupForwardMask: 16 });
    });

    test("settings are changed one at a time, and the rest stays", () => {
      using lab = flavour.open();
      const { links } = lab.netns().kernel.rtnl;
      links.add(pair("a", "b"));
      const { index } = links.get("a");
      const steps = [
        { mtu: 1400 },
        { mac: "0a:00:00:00:00:09" },
        { alias: "to the pod" },
        { group: 7 },
        { txQueueLength: 50 },
        { promiscuous: true },
        { allMulticast: true },
        { arp: false },
        { up: true },
      ];
      const expected: Record<string, unknown> = { index, name: "a", kind: "veth" };
      for (const step of steps) {
        links.set("a", step);
        Object.assign(expected, step);
        expect(links.get("a")).toMatchObject(expected);
      }
    });

    test("a renamed link keeps its index, and its old name is free", () => {
      using lab = flavour.open();
      const { links } = lab.netns().kernel.rtnl;
      links.add(pair("a", "b"));
      const { index } = links.get("a");
      links.set("a", { name: "eth0" });
      expect(links.get("eth0").index).toBe(index);
      expect(links.find("a")).toBeUndefined();
      links.add(pair("a", "c"));
    });

    test("alternative names find a link and are unique among names", () => {
      using lab = flavour.open();
      const { links } = lab.netns().kernel.rtnl;
      links.add(pair("a", "b"));
      const long = "a-name-that-is-longer-than-fifteen-bytes";
      links.addAltNames("a", "short", long);
      expect(links.get(long).name).toBe("a");
      expect(links.get("short").name).toBe("a");
      expect(links.get("a").altNames.toSorted()).toEqual([long, "short"]);
      expect(refusal(() => links.addAltNames("b", "short"))).toBe("EEXIST");
      expect(refusal(() => links.add(pair("short", "c")))).toBe("EEXIST");
      links.deleteAltNames("a", "short", long);
      expect(links.get("a").altNames).toEqual([]);
    });

    test("a link that moves to another namespace arrives there down, without master, with the name asked for", () => {
      using lab = flavour.open();
      const [host, pod] = [lab.netns(), lab.netns()];
      const { links } = host.kernel.rtnl;
      links.add({ kind: "bridge", name: "br0" });
      links.add(pair("a", "b", { master: "br0", up: true, mtu: 1400 }));
      host.kernel.rtnl.addresses.add({ link: "a", address: "10.0.0.1/24" });
      links.set("a", { netns: pod.ref, name: "eth0" });
      expect(links.find("a")).toBeUndefined();
      const moved = pod.kernel.rtnl.links.get("eth0");
      expect(moved).toMatchObject({ kind: "veth", up: false, mtu: 1400 });
      expect(moved.master).toBeUndefined();
      expect(pod.kernel.rtnl.addresses.list({ link: "eth0" })).toEqual([]);
    });

    test("a group is deleted in one go", () => {
      using lab = flavour.open();
      const { links } = lab.netns().kernel.rtnl;
      for (const i of [1, 2, 3]) links.add(pair(`a${i}`, `b${i}`, { group: i === 3 ? 0 : 119 }));
      links.deleteGroup(119);
      expect(
        links
          .list({ kind: "veth" })
          .map((link) => link.name)
          .sort(),
      ).toEqual(["a3", "b3"]);
      expect(refusal(() => links.deleteGroup(119))).toBe("ENODEV");
    });

    refusals(flavour);
  });
}

function refusals(flavour: Flavour): void {
  const cases: [what: string, errno: string, action: (rtnl: Rtnl) => unknown][] = [
    ["a name that is taken", "EEXIST", ({ links }) => links.add({ kind: "bridge", name: "a" })],
    ["a peer's name that is taken", "EEXIST", ({ links }) => links.add(pair("c", "b"))],
    ["an unknown kind", "EOPNOTSUPP", ({ links }) => links.add({ kind: "nonesuch", name: "c" })],
    ["a name with a slash", "EINVAL", ({ links }) => links.add({ kind: "bridge", name: "c/d" })],
    ["an empty name", "EINVAL", ({ links }) => links.add({ kind: "bridge", name: "" })],
    [
      "a name of sixteen bytes",
      "ERANGE",
      ({ links }) => links.add({ kind: "bridge", name: "0123456789abcdef" }),
    ],
    ["an MTU that is too small", "EINVAL", ({ links }) => links.set("a", { mtu: 67 })],
    ["an MTU that is too large", "EINVAL", ({ links }) => links.set("a", { mtu: 65536 })],
    ["a multicast MAC address", "EADDRNOTAVAIL", ({ links }) => links.set("a", { mac: "01:00:00:00:00:01" })],
    ["to find what is not there", "ENODEV", ({ links }) => links.get("c")],
    ["to find an index that is not there", "ENODEV", ({ links }) => links.get(4711)],
    ["to change what is not there", "ENODEV", ({ links }) => links.set("c", { up: true })],
    ["to delete what is not there", "ENODEV", ({ links }) => links.delete("c")],
    ["to delete the loopback link", "EOPNOTSUPP", ({ links }) => links.delete("lo")],
    ["a rename to a name that is taken", "EEXIST", ({ links }) => links.set("a", { name: "b" })],
    ["a master that is not there", "ENODEV", ({ links }) => links.set("a", { master: "c" })],
    ["a master that is none", "EOPNOTSUPP", ({ links }) => links.set("a", { master: "b" })],
    ["the loopback link as a port", "EINVAL", ({ links }) => links.set("lo", { master: "br0" })],
    ["a bridge as another's port", "ELOOP", ({ links }) => links.set("br1", { master: "br0" })],
    [
      "a namespace that is not there",
      "ENOENT",
      ({ links }) => links.set("a", { netns: { name: "weft-t-none" } }),
    ],
  ];
  test.each(cases)("refused: %s (%s)", (_, errno, action) => {
    using lab = flavour.open();
    const { rtnl } = lab.netns().kernel;
    rtnl.links.add(pair("a", "b"));
    rtnl.links.add({ kind: "bridge", name: "br0" });
    rtnl.links.add({ kind: "bridge", name: "br1" });
    const before = rtnl.links.list();
    expect(refusal(() => action(rtnl))).toBe(errno);
    expect(rtnl.links.list()).toEqual(before);
  });
}
