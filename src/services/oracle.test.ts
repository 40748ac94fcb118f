/**
 * Random Services and EndpointSlices, changed at random. What the elements lead a packet to is compared with what a plain
 * reading of the objects says; and a table that grew by changes with one that was filled at once.
 */
import { expect, test } from "bun:test";
import { service, slice } from "../../test/lib/services.ts";
import type { EndpointSlice, Service } from "../kube/types.ts";
import { Ip } from "../lib/ip.ts";
import { Prefix } from "../lib/prefix.ts";
import { seededRandom } from "../lib/random.ts";
import { OUTSIDE, parseChain } from "./classes.ts";
import { ServiceTable } from "./table.ts";

const node = { name: "a", zone: "z1" };
const policy = { reserved: [], nodeAddresses: [Ip.parse("172.30.0.1")] };

interface Packet {
  from: "pod" | "node" | "outside";
  source: string;
  destination: string;
  protocol: "tcp" | "udp";
  port: number;
}

/** Endpoints that may be chosen and whether the source is translated; or what else happens. */
type Fate = { endpoints: string[]; translated: boolean } | "refuse" | "drop" | "pass";

// --- The objects, read plainly ---

function fateByObjects(services: Service[], slices: EndpointSlice[], packet: Packet): Fate {
  const isSix = packet.destination.includes(":");
  const wishes = services
    // A Service is of the families of its ClusterIPs.
    .filter(({ spec }) => spec.clusterIPs?.some((ip) => ip.includes(":") === isSix))
    .flatMap((each) => frontendsWanted(each).map((wish) => ({ ...wish, service: each })))
    .filter(({ ip, port, protocol }) => {
      if (protocol.toLowerCase() !== packet.protocol || port !== packet.port) return false;
      return ip === undefined ? isNodes(packet.destination) : ip === packet.destination;
    });
  wishes.sort(
    (a, b) =>
      a.rank - b.rank ||
      Date.parse(a.service.metadata.creationTimestamp as string) -
        Date.parse(b.service.metadata.creationTimestamp as string) ||
      (a.service.metadata.name < b.service.metadata.name ? -1 : 1),
  );
  const [best] = wishes;
  if (best === undefined) {
    const owned = services.some((each) => each.spec.clusterIPs?.includes(packet.destination));
    return owned ? "refuse" : "pass";
  }
  const { spec } = best.service;
  if (best.ranges !== undefined && !best.ranges.some((range) => contains(range, packet.source)))
    return "drop";
  const family = isSix ? "IPv6" : "IPv4";
  const all = slices
    .filter(({ metadata }) => metadata.labels?.["kubernetes.io/service-name"] === best.service.metadata.name)
    .filter(({ addressType }) => addressType === family)
    .flatMap(({ endpoints, ports }) =>
      (ports ?? [])
        .filter(({ name, protocol }) => name === best.portName && protocol === best.protocol)
        .flatMap(({ port }) => endpoints.map((endpoint) => ({ endpoint, port }))),
    );
  const usable = (local: boolean) => {
    const candidates = all.filter(({ endpoint }) => !local || endpoint.nodeName === node.name);
    const ready = candidates.filter(({ endpoint }) => endpoint.conditions?.ready);
    const draining = candidates.filter(
      ({ endpoint }) => endpoint.conditions?.serving && endpoint.conditions.terminating,
    );
    const list = ready.length > 0 ? ready : draining;
    return [...new Set(list.map(({ endpoint, port }) => `${endpoint.addresses[0]} . ${port}`))].sort();
  };
  const external = best.rank > 0;
  const local = external
    ? spec.externalTrafficPolicy === "Local" && packet.from === "outside"
    : spec.internalTrafficPolicy === "Local";
  const endpoints = usable(local);
  if (endpoints.length > 0) {
    return { endpoints, translated: packet.from !== "pod" && !(external && local) };
  }
  return usable(false).length > 0 ? "drop" : "refuse";
}

interface Wish {
  rank: number;
  ip?: string;
  port: number;
  portName: string | undefined;
  protocol: string;
  ranges?: string[];
}

function frontendsWanted({ spec, status }: Service): Wish[] {
  return (spec.ports ?? []).flatMap(({ name, port, protocol = "TCP", nodePort }) => {
    const base = { portName: name, protocol };
    const ranges = spec.loadBalancerSourceRanges;
    return [
      ...(spec.clusterIPs ?? []).map((ip) => ({ ...base, rank: 0, ip, port })),
      ...(status?.loadBalancer?.ingress ?? []).map(({ ip }) => ({
        ...base,
        rank: 1,
        ip: ip as string,
        port,
        ...(ranges === undefined ? {} : { ranges }),
      })),
      ...(spec.externalIPs ?? []).map((ip) => ({ ...base, rank: 2, ip, port })),
      ...(nodePort === undefined ? [] : [{ ...base, rank: 3, port: nodePort }]),
    ];
  });
}

const isNodes = (ip: string) => ip === "172.30.0.1" || ip === "fd00:30::1";
const contains = (range: string, ip: string) => Prefix.parse(range).contains(Ip.parse(ip));

// --- The elements, followed as the rules do (see ruleset.ts) ---

function fateByElements({ elements }: ServiceTable, packet: Packet): Fate {
  const family = packet.destination.includes(":") ? 6 : 4;
  const get = (set: string, key: string) => elements.get(`services-${set}${family}`, key);
  const key = `${packet.destination} . ${packet.protocol} . ${packet.port}`;
  const follow = (verdict: string, entranceKey: string): Fate => {
    if (verdict === "drop") return "drop";
    const chain = verdict.replace("goto ", "");
    if (chain === "services-refuse") return "refuse";
    const parsed = parseChain(chain);
    if (parsed?.kind !== "pick") throw new Error(`${chain} is no chain to pick by`);
    if (elements.get("chains", chain) === undefined) throw new Error(`${chain} is not there`);
    const { count, entrance, outside } = parsed.class;
    const map = entrance === "service" ? "endpoints" : "nodeport-endpoints";
    const endpoints = Array.from({ length: count }, (_, slot) => {
      const found = get(map, `${entranceKey} . ${slot + (outside ? OUTSIDE : 0)}`);
      if (found === undefined) throw new Error(`slot ${slot} of ${entranceKey} is empty`);
      return found;
    });
    return { endpoints: endpoints.sort(), translated: !outside && packet.from !== "pod" };
  };
  if (get("special", key) !== undefined) {
    const ranges = [...elements.of(`services-source-ranges${family}`).keys()]
      .filter((text) => text.startsWith(`${key} . `))
      .map((text) => text.slice(key.length + 3))
      .map((text) => (text.includes("/") ? text : `${text}/${family === 4 ? 32 : 128}`));
    if (get("restricted", key) !== undefined && !ranges.some((range) => contains(range, packet.source))) {
      return "drop";
    }
    const outside = packet.from === "outside" ? get("outside", key) : undefined;
    if (outside !== undefined) return follow(outside, key);
  }
  const frontend = get("frontends", key);
  if (frontend !== undefined) return follow(frontend, key);
  if (get("cluster-ips", packet.destination) !== undefined) return "refuse";
  const portKey = `${packet.protocol} . ${packet.port}`;
  if (get("nodeport-gate", portKey) === undefined || !isNodes(packet.destination)) return "pass";
  const outside = packet.from === "outside" ? get("nodeport-outside", portKey) : undefined;
  const verdict = outside ?? get("nodeports", portKey);
  return verdict === undefined ? "pass" : follow(verdict, portKey);
}

// --- Worlds at random ---

class World {
  readonly #random: () => number;
  readonly services = new Map<string, Service>();
  readonly slices = new Map<string, EndpointSlice>();

  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }

  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  one<T>(...choices: T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  some<T>(...choices: T[]): T[] {
    return choices.filter(() => this.below(2) === 0);
  }

  service(): Service {
    const i = this.below(5);
    const spec: Partial<Service["spec"]> = {
      type: this.one("ClusterIP", "NodePort", "LoadBalancer"),
      externalTrafficPolicy: this.one("Cluster", "Local"),
      internalTrafficPolicy: this.one("Cluster", "Cluster", "Local"),
      sessionAffinity: this.one("None", "None", "ClientIP"),
      externalIPs: this.some("192.0.2.1", "10.96.0.3", "2001:db8::1"),
    };
    if (this.below(3) === 0) {
      spec.loadBalancerSourceRanges = [
        "10.244.1.0/24",
        ...this.some("192.0.2.0/24", "fd00:5::/64", "10.244.1.2/32"),
      ];
    }
    const made = service(
      `s${i}`,
      this.one([`10.96.0.${i}`], [`fd00:96::${i + 1}`], [`10.96.0.${i}`, `fd00:96::${i + 1}`]),
      this.one(["80"], ["a/80:30001", "b/81/UDP:30002"], [`a/80/UDP:3000${this.below(3)}`]),
      spec,
    );
    const ingress = spec.type === "LoadBalancer" ? this.some({ ip: "192.0.2.9" }, { ip: "2001:db8::9" }) : [];
    return {
      ...made,
      metadata: { ...made.metadata, creationTimestamp: `2030-01-0${1 + this.below(3)}T00:00:00Z` },
      status: { loadBalancer: { ingress } },
    };
  }

  slice(): EndpointSlice {
    const six = this.below(3) === 0;
    const endpoints = Array.from({ length: this.below(5) }, () => {
      const address = `${six ? "fd00:5::" : "10.244.1."}${1 + this.below(9)}`;
      return `${address}${this.one("@a", "@b", "@c")}${this.one("", "", "", "!", "~", "x")}`;
    });
    // An address once: twins of different condition are a case of their own.
    const unique = [...new Map(endpoints.map((text) => [text.split("@")[0], text])).values()];
    const i = this.below(5);
    const made = slice(`x${i}${six}`, `s${i}`, unique, ["8080", "a/8080", "a/8080/UDP", "b/5353/UDP"]);
    return { ...made, addressType: six ? "IPv6" : "IPv4" };
  }

  /** One change, in the world and in the table. */
  change(table: ServiceTable): void {
    const made = this.one("service", "slice", "slice") === "service" ? this.service() : this.slice();
    const key = `default/${made.metadata.name}`;
    const gone = this.below(6) === 0;
    if ("addressType" in made) {
      if (gone) this.slices.delete(key);
      else this.slices.set(key, made);
      if (gone) table.deleteSlice(key);
      else table.setSlice(made);
    } else {
      if (gone) this.services.delete(key);
      else this.services.set(key, made);
      if (gone) table.deleteService(key);
      else table.setService(made);
    }
  }

  packets(): Packet[] {
    const four = ["10.96.0.0", "10.96.0.1", "10.96.0.3", "192.0.2.1", "192.0.2.9", "172.30.0.1", "8.8.8.8"];
    const six = ["fd00:96::1", "fd00:96::2", "2001:db8::1", "2001:db8::9", "fd00:30::1"];
    return [...four, ...six].flatMap((destination) => {
      const isSix = destination.includes(":");
      const from = this.one("pod", "node", "outside");
      const source = {
        pod: isSix ? "fd00:5::3" : "10.244.1.2",
        node: isSix ? "fd00:30::1" : "172.30.0.1",
        outside: isSix ? "2001:db8:5::1" : this.one("192.0.2.77", "198.51.100.1"),
      }[from];
      return [80, 81, 30000, 30001, 30002].map((port) => {
        return { from, source, destination, protocol: this.one("tcp", "udp"), port };
      });
    });
  }
}

test("elements lead packets where the objects say", () => {
  const seen = new Map<string, number>();
  for (let seed = 0; seed < 60; seed++) {
    const world = new World(seed);
    const table = new ServiceTable(node, policy);
    for (let step = 0; step < 12; step++) {
      for (let i = 0; i <= world.below(4); i++) world.change(table);
      table.compute();
      const [services, slices] = [[...world.services.values()], [...world.slices.values()]];
      for (const packet of world.packets()) {
        const wanted = fateByObjects(services, slices, packet);
        expect({ seed, step, packet, fate: fateByElements(table, packet) }).toEqual({
          seed,
          step,
          packet,
          fate: wanted,
        });
        const kind = typeof wanted === "string" ? wanted : "endpoints";
        seen.set(kind, (seen.get(kind) ?? 0) + 1);
      }
    }
  }
  // The test sees all that can happen.
  expect([...seen.keys()].sort()).toEqual(["drop", "endpoints", "pass", "refuse"]);
  expect(Math.min(...seen.values())).toBeGreaterThan(100);
});

test("a table that grew by changes is one that was filled at once, but for the order of endpoints", () => {
  const order = (text: string) =>
    text
      .split("\n")
      // Chains without use stay for a while.
      .filter((line) => !line.startsWith("chains "))
      .map((line) => line.replace(/ \. \d+ : /, " : "))
      .sort()
      .join("\n");
  for (let seed = 100; seed < 140; seed++) {
    const world = new World(seed);
    const grown = new ServiceTable(node, policy);
    const kernel = new Map<string, string>();
    for (let step = 0; step < 40; step++) {
      world.change(grown);
      for (const { set, key, before, after } of grown.compute().changes) {
        expect(kernel.get(`${set} ${key}`)).toBe(before);
        if (after === undefined) kernel.delete(`${set} ${key}`);
        else kernel.set(`${set} ${key}`, after);
      }
    }
    const filled = new ServiceTable(node, policy);
    for (const each of world.slices.values()) filled.setSlice(each);
    for (const each of world.services.values()) filled.setService(each);
    filled.compute();
    expect(order(String(grown.elements))).toBe(order(String(filled.elements)));
    // And the changes, one after the other, are what is there.
    const lines = [...kernel].map(([key, value]) => `${key}${value === "" ? "" : ` : ${value}`}`).sort();
    expect(lines.join("\n")).toBe(String(grown.elements));
  }
});
