import { describe, expect, test } from "bun:test";
import type { RtnlEvent } from "../../src/linux/route/monitor.ts";
import type { Rtnl } from "../../src/linux/route/rtnl.ts";
import { addPair } from "./addresses.ts";
import { type Flavour, refusal } from "./lab.ts";

/** What must hold of sysctls, batches and monitors, whichever the kernel. */
export function kernelConformance(flavour: Flavour): void {
  sysctlConformance(flavour);
  batchConformance(flavour);
  monitorConformance(flavour);
}

function sysctlConformance(flavour: Flavour): void {
  describe(`sysctls of ${flavour.name}`, () => {
    test("are read and written, each namespace for itself", () => {
      using lab = flavour.open();
      const [one, other] = [lab.netns().kernel.sysctl, lab.netns().kernel.sysctl];
      expect(one.read("net.ipv4.ip_forward")).toBe("0");
      one.write("net.ipv4.ip_forward", 1);
      expect(one.read("net/ipv4/ip_forward")).toBe("1");
      expect(other.read("net.ipv4.ip_forward")).toBe("0");
    });

    test("of a link come and go with it", () => {
      using lab = flavour.open();
      const { rtnl, sysctl } = lab.netns().kernel;
      const key = "net/ipv4/conf/v.1/proxy_arp";
      expect(refusal(() => sysctl.read(key))).toBe("ENOENT");
      rtnl.links.add({ kind: "veth", name: "v.1", peer: { name: "b" } });
      sysctl.write(key, 1);
      expect(sysctl.read(key)).toBe("1");
      rtnl.links.delete("v.1");
      expect(refusal(() => sysctl.write(key, 1))).toBe("ENOENT");
    });

    test("what is no parameter is refused", () => {
      using lab = flavour.open();
      const { sysctl } = lab.netns().kernel;
      expect(refusal(() => sysctl.read("net.ipv4.nonesuch"))).toBe("ENOENT");
      expect(refusal(() => sysctl.write("net.ipv4.ip_forward", "yes"))).toBe("EINVAL");
      for (const key of [
        "",
        "net..ipv4",
        "net/../../etc/passwd",
        "net/ipv4/./ip_forward",
        "net.ipv4.ip forward",
      ]) {
        expect(() => sysctl.read(key)).toThrow("is not a kernel parameter");
      }
      expect(() => sysctl.write("net.ipv4.ip_forward", "1\n0")).toThrow("is not one line");
    });
  });
}

function batchConformance(flavour: Flavour): void {
  describe(`batches of ${flavour.name}`, () => {
    test("changes are made in order, and names that they make are known to the next", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      const errors = rtnl.batch([
        { addLink: { kind: "bridge", name: "br0", up: true } },
        {
          addLink: { kind: "veth", name: "a", master: "br0", up: true, alias: "first", peer: { name: "b" } },
        },
        { setLink: { link: "b", name: "eth0" } },
        { setLink: { link: "eth0", up: true } },
        { addAddress: { link: "eth0", address: "10.0.0.2/24" } },
        { addRoute: { dst: "0.0.0.0/0", gateway: "10.0.0.1" } },
      ]);
      expect([...errors]).toEqual([]);
      expect(rtnl.routes.list({ family: 4 }).map((route) => route.oif)).toEqual([
        rtnl.links.index("eth0"),
        rtnl.links.index("eth0"),
      ]);
      expect(rtnl.links.get("a").alias).toBe("first");
    });

    test("a change that fails is told by its place, and the others are made", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      const errors = rtnl.batch([
        { addAddress: { link: "a", address: "10.0.0.1/24" } },
        { addAddress: { link: "a", address: "10.0.0.1/24" } },
        { addRoute: { dst: "10.9.0.0/16", gateway: "192.0.2.1" } },
        { addRoute: { dst: "10.9.0.0/16", oif: "nonesuch" } },
        { addLink: { kind: "veth", name: "a", alias: "mine", peer: { name: "c" } } },
        { addRoute: { dst: "10.9.0.0/16", gateway: "10.0.0.2" } },
      ]);
      expect([...errors].map(([place, error]) => [place, error.errnoName]).toSorted()).toEqual([
        [1, "EEXIST"],
        [2, "ENETUNREACH"],
        [3, "ENODEV"],
        [4, "EEXIST"],
      ]);
      expect(errors.get(2)?.message).toStartWith("cannot add route 10.9.0.0/16 via 192.0.2.1 (ENETUNREACH");
      expect(rtnl.links.get("a").alias).toBeUndefined();
      expect(rtnl.routes.list({ dst: "10.9.0.0/16" })).toHaveLength(1);
    });

    test("a thousand routes are added, and a thousand refusals are all told", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      rtnl.addresses.add({ link: "a", address: "10.0.0.1/24" });
      const changes = Array.from({ length: 1000 }, (_, i) => ({
        addRoute: { dst: `10.${100 + (i >> 8)}.${i & 255}.0/24`, gateway: "10.0.0.2" },
      }));
      expect(rtnl.batch(changes).size).toBe(0);
      expect(rtnl.routes.list({ protocol: "boot" })).toHaveLength(1000);
      const errors = rtnl.batch(changes);
      expect(errors.size).toBe(1000);
      expect(errors.get(999)?.errnoName).toBe("EEXIST");
    });

    test("what is no change is refused before anything is done", () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      const bad = { addLnik: { kind: "bridge" } } as unknown as Parameters<typeof rtnl.batch>[0][number];
      expect(() => rtnl.batch([bad])).toThrow("is not one change");
    });
  });
}

const show = (event: RtnlEvent): string => {
  switch (event.object) {
    case "link":
      return `${event.action} link ${event.link.name}`;
    case "address":
      return `${event.action} address ${event.address.address}`;
    case "route":
      return `${event.action} route ${event.route.type} ${event.route.dst}`;
    case "rule":
      return `${event.action} rule ${event.rule.priority}`;
    case "neighbour":
      return `${event.action} neighbour ${event.neighbour.ip}`;
    case "fdb":
      return `${event.action} fdb ${event.entry.mac}`;
    default:
      return event.object;
  }
};

/** What `topics` tell of while `action` runs, up to a link that is made last. */
async function heard(rtnl: Rtnl, topics: Parameters<Rtnl["monitor"]>, action: () => void): Promise<string[]> {
  const events: string[] = [];
  const monitor = rtnl.monitor("links", ...topics);
  action();
  rtnl.links.add({ kind: "bridge", name: "last" });
  for await (const event of monitor) {
    if (show(event) === "new link last") break;
    events.push(show(event));
  }
  return events;
}

function monitorConformance(flavour: Flavour): void {
  describe(`monitors of ${flavour.name}`, () => {
    test("tell of what was made and what went, from their own beginning on", async () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      rtnl.links.add({ kind: "bridge", name: "before" });
      addPair(rtnl);
      const events = await heard(rtnl, ["addresses", "routes", "rules", "neighbours"], () => {
        rtnl.addresses.add({ link: "a", address: "10.0.0.1/24" });
        rtnl.routes.add({ dst: "10.9.0.0/16", gateway: "10.0.0.2" });
        rtnl.rules.add({ src: "10.0.0.0/8", table: 1000, priority: 5 });
        rtnl.neighbours.add({ link: "a", ip: "10.0.0.2", mac: "0a:00:00:00:00:02" });
        rtnl.neighbours.delete({ link: "a", ip: "10.0.0.2" });
        rtnl.rules.delete({ src: "10.0.0.0/8", table: 1000, priority: 5 });
        rtnl.routes.delete({ dst: "10.9.0.0/16" });
        rtnl.addresses.delete({ link: "a", address: "10.0.0.1/24" });
        rtnl.links.delete("a");
      });
      const expected = [
        "new address 10.0.0.1/24",
        "new route unicast 10.0.0.0/24",
        "new route unicast 10.9.0.0/16",
        "new rule 5",
        "new neighbour 10.0.0.2",
        "delete neighbour 10.0.0.2",
        "delete rule 5",
        "delete route unicast 10.9.0.0/16",
        "delete route unicast 10.0.0.0/24",
        "delete address 10.0.0.1/24",
        "delete link a",
        "delete link b",
      ];
      // The kernel tells more: both ends' states, neighbours that it looks for, routes to local addresses.
      const of = (event: string) => events.indexOf(event);
      expect(expected.filter((event) => of(event) < 0)).toEqual([]);
      expect(expected.slice(0, 9).map(of)).toEqual(
        expected
          .slice(0, 9)
          .map(of)
          .toSorted((x, y) => x - y),
      );
      expect(events).not.toContain("new link before");
    });

    test("only what was asked for is told", async () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      addPair(rtnl);
      const events = await heard(rtnl, ["rules"], () => {
        rtnl.rules.add({ src: "10.0.0.0/8", table: 1000, priority: 5 });
        rtnl.routes.add({ dst: "10.9.0.0/16", type: "blackhole" });
      });
      expect(events.filter((event) => !event.includes("link"))).toEqual(["new rule 5"]);
    });

    test("a port that leaves its bridge is no link that went", async () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      rtnl.links.add({ kind: "bridge", name: "br0" });
      addPair(rtnl);
      rtnl.links.set("a", { master: "br0" });
      const events = await heard(rtnl, [], () => rtnl.links.set("a", { master: null }));
      expect(events).toContain("new link a");
      expect(events).not.toContain("delete link a");
    });

    test("a closed monitor ends, even one that waits", async () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      const monitor = rtnl.monitor("links");
      const ended = (async () => {
        for await (const event of monitor) expect(event).toBeUndefined();
        return "ended";
      })();
      await Bun.sleep(1);
      await monitor.close();
      expect(await ended).toBe("ended");
      await monitor.close();
    });

    test("several monitors wait at once, and files are read meanwhile", async () => {
      using lab = flavour.open();
      const { rtnl } = lab.netns().kernel;
      const monitors = Array.from({ length: 6 }, () => rtnl.monitor("links"));
      const first = monitors.map((monitor) => monitor[Symbol.asyncIterator]().next());
      expect(await Bun.file(import.meta.path).text()).toContain("files are read meanwhile");
      rtnl.links.add({ kind: "bridge", name: "br0" });
      const events = await Promise.all(first);
      expect(events.map(({ value }) => show(value as RtnlEvent))).toEqual(
        Array.from({ length: 6 }, () => "new link br0"),
      );
      await Promise.all(monitors.map((monitor) => monitor.close()));
    });
  });
}
