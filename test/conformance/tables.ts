import { describe, expect, test } from "bun:test";
import { Prefix } from "../../src/lib/prefix.ts";
import type { FdbEntry, Neighbour } from "../../src/linux/route/neighbour.ts";
import type { Rtnl } from "../../src/linux/route/rtnl.ts";
import type { Rule } from "../../src/linux/route/rule.ts";
import { matchPrefix } from "../../src/linux/route/tc-filters.ts";
import { needs, testWith } from "../lib/needs.ts";
import { addPair } from "./addresses.ts";
import { type Flavour, realKernel, refusal } from "./lab.ts";

const defaults = (rule: Rule) => rule.protocol === "kernel";
const showRule = (rule: Rule) =>
  [
    `${rule.priority}:`,
    rule.invert && "not",
    rule.src && `from ${rule.src}`,
    rule.dst && `to ${rule.dst}`,
    rule.iif && `iif ${rule.iif}`,
    rule.mark !== undefined && `fwmark ${rule.mark}/${rule.mask}`,
    rule.action === "table" ? `table ${rule.table}` : rule.action,
  ]
    .filter(Boolean)
    .join(" ");

/** What must hold of rules, neighbours, forwarding entries and qdiscs, whichever the kernel. */
export function tableConformance(flavour: Flavour): void {
  ruleConformance(flavour);
  neighbourConformance(flavour);
  fdbConformance(flavour);
  vlanConformance(flavour);
  tcConformance(flavour);
}

function ruleConformance(flavour: Flavour): void {
  describe(`rules of ${flavour.name}`, () => {
    test("a new namespace asks the tables local, main and default", () => {
      using lab = flavour.open();
      const { rules } = lab.netns().kernel.rtnl;
      expect(rules.list(4).map(showRule)).toEqual(["0: table 255", "32766: table 254", "32767: table 253"]);
      expect(rules.list(6).map(showRule)).toEqual(["0: table 255", "32766: table 254"]);
      expect(rules.list()).toHaveLength(5);
    });

    const cases: [what: string, rule: Parameters<Rtnl["rules"]["add"]>[0], listed: string][] = [
      ["by source", { src: "10.0.0.0/8", table: 1000, priority: 5 }, "5: from 10.0.0.0/8 table 1000"],
      ["by destination", { dst: "fd00::/16", table: 100, priority: 5 }, "5: to fd00::/16 table 100"],
      ["by mark", { family: 4, mark: 0x80, priority: 5 }, "5: fwmark 128/4294967295 table 254"],
      [
        "by some bits of the mark",
        { family: 6, mark: 0x80, mask: 0xff, table: 9, priority: 5 },
        "5: fwmark 128/255 table 9",
      ],
      ["by input link", { family: 4, iif: "eth0", table: 9, priority: 5 }, "5: iif eth0 table 9"],
      [
        "inverted",
        { src: "10.0.0.0/8", invert: true, table: 9, priority: 5 },
        "5: not from 10.0.0.0/8 table 9",
      ],
      ["that refuses", { src: "10.0.0.0/8", action: "prohibit", priority: 5 }, "5: from 10.0.0.0/8 prohibit"],
    ];
    test.each(cases)("%s", (_, rule, listed) => {
      using lab = flavour.open();
      const { rules } = lab.netns().kernel.rtnl;
      rules.add({ ...rule, protocol: "weft" });
      const found = rules.list().filter((one) => !defaults(one));
      expect(found.map(showRule)).toEqual([listed]);
      expect(found[0]?.protocol).toBe("weft");
      expect(refusal(() => rules.add({ ...rule, protocol: "weft" }))).toBe("EEXIST");
      rules.delete(rule);
      expect(rules.list().every(defaults)).toBe(true);
      expect(refusal(() => rules.delete(rule))).toBe("ENOENT");
    });

    test("rules are asked by priority, and a new one without goes before the others", () => {
      using lab = flavour.open();
      const { rules } = lab.netns().kernel.rtnl;
      rules.add({ src: "10.2.0.0/16", table: 2, priority: 200 });
      rules.add({ src: "10.1.0.0/16", table: 1, priority: 100 });
      rules.add({ src: "10.3.0.0/16", table: 3 });
      expect(
        rules
          .list(4)
          .filter((rule) => !defaults(rule))
          .map(showRule),
      ).toEqual([
        "99: from 10.3.0.0/16 table 3",
        "100: from 10.1.0.0/16 table 1",
        "200: from 10.2.0.0/16 table 2",
      ]);
    });
  });
}

const showNeighbour = ({ ip, mac, state, flags }: Neighbour) =>
  [ip, mac, state, ...flags].filter(Boolean).join(" ");

function neighbourConformance(flavour: Flavour): void {
  describe(`neighbours of ${flavour.name}`, () => {
    test("are added, replaced and deleted, in both families", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      const { neighbours } = rtnl;
      for (const ip of ["10.0.0.2", "fd00::2"]) {
        const listed = () => neighbours.list({ link: "a" }).map(showNeighbour);
        neighbours.add({ link: "a", ip, mac: "0a:00:00:00:00:02" });
        expect(listed()).toEqual([`${ip} 0a:00:00:00:00:02 permanent`]);
        expect(refusal(() => neighbours.add({ link: "a", ip, mac: "0a:00:00:00:00:03" }))).toBe("EEXIST");
        neighbours.replace({ link: "a", ip, mac: "0a:00:00:00:00:03", state: "noarp" });
        expect(listed()).toEqual([`${ip} 0a:00:00:00:00:03 noarp`]);
        expect(neighbours.list({ link: "b" })).toEqual([]);
        expect(neighbours.list({ family: ip.includes(":") ? 4 : 6, link: "a" })).toEqual([]);
        neighbours.delete({ link: "a", ip });
        expect(listed()).toEqual([]);
        expect(refusal(() => neighbours.delete({ link: "a", ip }))).toBe("ENOENT");
      }
      expect(refusal(() => neighbours.add({ link: 4711, ip: "10.0.0.2", mac: "0a:00:00:00:00:02" }))).toBe(
        "ENODEV",
      );
    });

    test("proxy entries are a list of their own", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      rtnl.neighbours.add({ link: "a", ip: "10.0.0.9", flags: ["proxy"] });
      expect(rtnl.neighbours.list({ link: "a" })).toEqual([]);
      expect(
        rtnl.neighbours.list({ link: "a", proxy: true }).map(({ ip, flags }) => `${ip} ${flags}`),
      ).toEqual(["10.0.0.9 proxy"]);
      rtnl.neighbours.delete({ link: "a", ip: "10.0.0.9", flags: ["proxy"] });
      expect(rtnl.neighbours.list({ proxy: true })).toEqual([]);
    });
  });
}

const showEntry = ({ mac, state, flags, dst }: FdbEntry) =>
  [mac, state, ...flags, dst].filter(Boolean).join(" ");

function fdbConformance(flavour: Flavour): void {
  describe(`forwarding entries of ${flavour.name}`, () => {
    test("of a bridge are added, replaced and deleted", () => {
      using lab = flavour.open();
      const { links, fdb } = lab.netns().kernel.rtnl;
      links.add({ kind: "bridge", name: "br0" });
      links.add({ kind: "veth", name: "a", master: "br0", mac: "0a:00:00:00:00:01", peer: { name: "b" } });
      const mac = "0a:00:00:00:00:99";
      const listed = () =>
        fdb
          .list({ master: "br0" })
          // Where the kernel knows VLANs, the port's own has the entry too.
          .filter((entry) => entry.mac === mac && entry.vlan === undefined)
          .map(showEntry);
      fdb.add({ link: "a", mac, flags: ["master"], state: "noarp" });
      expect(listed()).toEqual([`${mac} noarp`]);
      expect(refusal(() => fdb.add({ link: "a", mac, flags: ["master"] }))).toBe("EEXIST");
      fdb.replace({ link: "a", mac, flags: ["master"], state: "permanent" });
      expect(listed()).toEqual([`${mac} permanent`]);
      fdb.delete({ link: "a", mac, flags: ["master"] });
      expect(listed()).toEqual([]);
      expect(refusal(() => fdb.delete({ link: "a", mac, flags: ["master"] }))).toBe("ENOENT");
      // A port's own address is always known.
      expect(fdb.list({ master: "br0" }).map(showEntry)).toContain("0a:00:00:00:00:01 permanent");
    });
  });
}

function vlanConformance(flavour: Flavour): void {
  const vlanTest = flavour === realKernel ? testWith(needs.kernel("bridgeVlanFiltering")) : test;
  vlanTest(`bridge VLANs of ${flavour.name} are added and deleted, one by one and by range`, () => {
    using lab = flavour.open();
    const { links, bridgeVlans } = lab.netns().kernel.rtnl;
    links.add({ kind: "bridge", name: "br0", bridge: { vlanFiltering: true } });
    links.add({ kind: "veth", name: "a", master: "br0", peer: { name: "b" } });
    const shown = (link: string) =>
      bridgeVlans.list(link).map(({ vid, vidEnd, pvid, untagged }) => {
        const range = vid === vidEnd ? `${vid}` : `${vid}-${vidEnd}`;
        return [range, pvid && "pvid", untagged && "untagged"].filter(Boolean).join(" ");
      });
    expect(shown("a")).toEqual(["1 pvid untagged"]);
    bridgeVlans.add({ link: "a", vid: 10, pvid: true, untagged: true });
    bridgeVlans.add({ link: "a", vid: 100, vidEnd: 199 });
    expect(shown("a")).toEqual(["1 untagged", "10 pvid untagged", "100-199"]);
    bridgeVlans.delete({ link: "a", vid: 120, vidEnd: 129 });
    bridgeVlans.delete({ link: "a", vid: 1 });
    bridgeVlans.delete({ link: "a", vid: 4000 });
    expect(shown("a")).toEqual(["10 pvid untagged", "100-119", "130-199"]);
    bridgeVlans.add({ link: "br0", vid: 10, self: true });
    expect(shown("br0")).toEqual(["1 pvid untagged", "10"]);
    expect(refusal(() => bridgeVlans.add({ link: "b", vid: 10 }))).toBe("EOPNOTSUPP");
    expect(refusal(() => bridgeVlans.add({ link: "a", vid: 10, vidEnd: 11, pvid: true }))).toBe("EINVAL");
    links.set("a", { master: null });
    expect(shown("a")).toEqual([]);
  });
}

function tcConformance(flavour: Flavour): void {
  describe(`traffic control of ${flavour.name}`, () => {
    test("a token bucket shapes a link", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      const { tc } = rtnl;
      const tbf = { rate: 125_000, burst: 32_768, limit: 100_000 };
      tc.addQdisc({ link: "a", kind: "tbf", handle: "1:", tbf });
      expect(tc.qdiscs("a")).toMatchObject([{ kind: "tbf", handle: "1:", parent: "root", tbf }]);
      expect(refusal(() => tc.addQdisc({ link: "a", kind: "tbf", handle: "1:", tbf }))).toBe("EEXIST");
      tc.replaceQdisc({ link: "a", kind: "tbf", handle: "1:", tbf: { ...tbf, rate: 250_000 } });
      expect(tc.qdiscs("a")[0]?.tbf).toEqual({ ...tbf, rate: 250_000 });
      tc.deleteQdisc({ link: "a" });
      expect(tc.qdiscs("a").filter((qdisc) => qdisc.kind === "tbf")).toEqual([]);
      expect(refusal(() => tc.addQdisc({ link: "a", kind: "nonesuch" }))).toBe("ENOENT");
    });

    test("what comes in is redirected to another link, which shapes it", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      const { tc } = rtnl;
      const link = rtnl.links.index("b");
      tc.addQdisc({ link: "a", kind: "ingress" });
      const actions = [{ mirred: { action: "egress redirect" as const, link } }];
      tc.addFilter({ link: "a", parent: "ffff:", kind: "u32", priority: 1, u32: { match: [], actions } });
      expect(tc.filters("a", "ffff:")).toMatchObject([
        { kind: "u32", parent: "ffff:", priority: 1, protocol: "all", u32: { match: [], actions } },
      ]);
      tc.deleteQdisc({ link: "a", kind: "ingress" });
      expect(tc.qdiscs("a").filter((qdisc) => qdisc.kind === "ingress")).toEqual([]);
      expect(refusal(() => tc.deleteQdisc({ link: "a", kind: "ingress" }))).toBe("EINVAL");
    });

    test("filters sort packets into classes", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      const { tc } = rtnl;
      tc.addQdisc({ link: "a", kind: "htb", handle: "1:", htb: { defaultClass: 0x30 } });
      tc.addClass({ link: "a", kind: "htb", handle: "1:30", htb: { rate: 1_000_000 } });
      tc.addClass({
        link: "a",
        kind: "htb",
        handle: "1:10",
        htb: { rate: 250_000, ceil: 500_000, burst: 20_000 },
      });
      expect(tc.classes("a").toSorted((x, y) => x.handle.localeCompare(y.handle))).toMatchObject([
        { handle: "1:10", parent: "root", htb: { rate: 250_000, ceil: 500_000, burst: 20_000 } },
        { handle: "1:30", parent: "root", htb: { rate: 1_000_000, ceil: 1_000_000 } },
      ]);
      const match = matchPrefix(Prefix.parse("10.1.0.0/16"), "dst");
      const filter = { link: "a", parent: "1:", kind: "u32", priority: 5, protocol: "ip" } as const;
      tc.addFilter({ ...filter, u32: { classId: "1:10", match } });
      expect(tc.filters("a", "1:")).toMatchObject([
        { kind: "u32", priority: 5, protocol: "ip", u32: { classId: "1:10", match } },
      ]);
      tc.deleteFilter(filter);
      expect(tc.filters("a", "1:")).toEqual([]);
      tc.deleteClass({ link: "a", handle: "1:10" });
      expect(tc.classes("a")).toHaveLength(1);
      expect(refusal(() => tc.deleteClass({ link: "a", handle: "1:77" }))).toBe("ENOENT");
    });
  });
}
