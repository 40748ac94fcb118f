import { describe, expect, test } from "bun:test";
import { service, slice } from "../../test/lib/services.ts";
import type { EndpointSlice, Service } from "../kube/types.ts";
import { Ip } from "../lib/ip.ts";
import { Prefix } from "../lib/prefix.ts";
import { ServiceTable } from "./table.ts";

const here = { name: "a", zone: "z1" };
const policy = {
  reserved: ["10.244.0.0/16", "10.96.0.0/16"].map((text) => Prefix.parse(text)),
  nodeAddresses: [Ip.parse("172.30.0.1")],
};

function tableOf(...objects: (Service | EndpointSlice)[]): ServiceTable {
  const table = new ServiceTable(here, policy);
  for (const object of objects) {
    if ("addressType" in object) table.setSlice(object);
    else table.setService(object);
  }
  table.compute();
  return table;
}

const shown = (table: ServiceTable) => table.elements.toString().replaceAll("services-", "");
const lines = (text: string) =>
  text
    .trim()
    .split("\n")
    .map((line) => line.trim())
    .join("\n");

const blue = service("blue", ["10.96.0.1"], ["80"]);
const two = slice("blue-1", "blue", ["10.244.1.2@a", "10.244.2.2@b"]);

describe("elements", () => {
  test.each<[string, (Service | EndpointSlice)[], string]>([
    [
      "a ClusterIP with two endpoints",
      [blue, two],
      `chains pick4-2
       cluster-ips4 10.96.0.1
       endpoints4 10.96.0.1 . tcp . 80 . 0 : 10.244.1.2 . 8080
       endpoints4 10.96.0.1 . tcp . 80 . 1 : 10.244.2.2 . 8080
       frontends4 10.96.0.1 . tcp . 80 : goto pick4-2
       hairpin4 10.244.1.2 . 10.244.1.2`,
    ],
    ["nothing behind it", [blue], "cluster-ips4 10.96.0.1\nfrontends4 10.96.0.1 . tcp . 80 : goto refuse"],
    ["endpoints without a Service", [two], ""],
    [
      "both families, each with its own endpoints",
      [
        service("blue", ["10.96.0.1", "fd00::1"], ["80"]),
        slice("4", "blue", ["10.244.1.2@a"]),
        slice("6", "blue", ["fd00:2::1@b", "fd00:2:0::2@b"]),
      ],
      `chains pick4-1
       chains pick6-2
       cluster-ips4 10.96.0.1
       cluster-ips6 fd00::1
       endpoints4 10.96.0.1 . tcp . 80 . 0 : 10.244.1.2 . 8080
       endpoints6 fd00::1 . tcp . 80 . 0 : fd00:2::1 . 8080
       endpoints6 fd00::1 . tcp . 80 . 1 : fd00:2::2 . 8080
       frontends4 10.96.0.1 . tcp . 80 : goto pick4-1
       frontends6 fd00::1 . tcp . 80 : goto pick6-2
       hairpin4 10.244.1.2 . 10.244.1.2`,
    ],
    [
      "ports by name and protocol, each endpoint with its own target port",
      [
        service("dns", ["10.96.0.10"], ["dns/53/UDP", "dns-tcp/53/TCP", "sig/5060/SCTP"]),
        slice("1", "dns", ["10.244.2.1@b"], ["dns/5353/UDP", "dns-tcp/5353", "sig/5061/SCTP"]),
        slice("2", "dns", ["10.244.2.2@b"], ["dns/1053/UDP", "other/1/TCP"]),
      ],
      `chains pick4-1
       chains pick4-2
       cluster-ips4 10.96.0.10
       endpoints4 10.96.0.10 . sctp . 5060 . 0 : 10.244.2.1 . 5061
       endpoints4 10.96.0.10 . tcp . 53 . 0 : 10.244.2.1 . 5353
       endpoints4 10.96.0.10 . udp . 53 . 0 : 10.244.2.1 . 5353
       endpoints4 10.96.0.10 . udp . 53 . 1 : 10.244.2.2 . 1053
       frontends4 10.96.0.10 . sctp . 5060 : goto pick4-1
       frontends4 10.96.0.10 . tcp . 53 : goto pick4-1
       frontends4 10.96.0.10 . udp . 53 : goto pick4-2`,
    ],
    [
      "a node port of both families",
      [
        service("web", ["10.96.0.2", "fd00::2"], ["80:30080"], { type: "NodePort" }),
        slice("1", "web", ["10.244.2.1@b"]),
      ],
      `chains nodeport-pick4-1
       chains pick4-1
       cluster-ips4 10.96.0.2
       cluster-ips6 fd00::2
       endpoints4 10.96.0.2 . tcp . 80 . 0 : 10.244.2.1 . 8080
       frontends4 10.96.0.2 . tcp . 80 : goto pick4-1
       frontends6 fd00::2 . tcp . 80 : goto refuse
       nodeport-endpoints4 tcp . 30080 . 0 : 10.244.2.1 . 8080
       nodeport-gate4 tcp . 30080
       nodeport-gate6 tcp . 30080
       nodeports4 tcp . 30080 : goto nodeport-pick4-1
       nodeports6 tcp . 30080 : goto refuse`,
    ],
    [
      "externalTrafficPolicy Local: this node's endpoints for the world, all of them for pods",
      [
        service("web", ["10.96.0.2"], ["80:30080"], {
          type: "LoadBalancer",
          externalTrafficPolicy: "Local",
          externalIPs: ["192.0.2.7"],
        }),
        slice("1", "web", ["10.244.1.1@a", "10.244.2.1@b"]),
      ],
      `chains nodeport-pick4-1-outside
       chains nodeport-pick4-2
       chains pick4-1-outside
       chains pick4-2
       cluster-ips4 10.96.0.2
       endpoints4 10.96.0.2 . tcp . 80 . 0 : 10.244.1.1 . 8080
       endpoints4 10.96.0.2 . tcp . 80 . 1 : 10.244.2.1 . 8080
       endpoints4 192.0.2.7 . tcp . 80 . 0 : 10.244.1.1 . 8080
       endpoints4 192.0.2.7 . tcp . 80 . 1 : 10.244.2.1 . 8080
       endpoints4 192.0.2.7 . tcp . 80 . 2147483648 : 10.244.1.1 . 8080
       frontends4 10.96.0.2 . tcp . 80 : goto pick4-2
       frontends4 192.0.2.7 . tcp . 80 : goto pick4-2
       hairpin4 10.244.1.1 . 10.244.1.1
       nodeport-endpoints4 tcp . 30080 . 0 : 10.244.1.1 . 8080
       nodeport-endpoints4 tcp . 30080 . 1 : 10.244.2.1 . 8080
       nodeport-endpoints4 tcp . 30080 . 2147483648 : 10.244.1.1 . 8080
       nodeport-gate4 tcp . 30080
       nodeport-outside4 tcp . 30080 : goto nodeport-pick4-1-outside
       nodeports4 tcp . 30080 : goto nodeport-pick4-2
       outside4 192.0.2.7 . tcp . 80 : goto pick4-1-outside
       special4 192.0.2.7 . tcp . 80`,
    ],
    [
      "externalTrafficPolicy Local without an endpoint here: dropped, as another node has one",
      [
        service("web", ["10.96.0.2"], ["80:30080"], { type: "NodePort", externalTrafficPolicy: "Local" }),
        slice("1", "web", ["10.244.2.1@b"]),
      ],
      `chains nodeport-pick4-1
       chains pick4-1
       cluster-ips4 10.96.0.2
       endpoints4 10.96.0.2 . tcp . 80 . 0 : 10.244.2.1 . 8080
       frontends4 10.96.0.2 . tcp . 80 : goto pick4-1
       nodeport-endpoints4 tcp . 30080 . 0 : 10.244.2.1 . 8080
       nodeport-gate4 tcp . 30080
       nodeport-outside4 tcp . 30080 : drop
       nodeports4 tcp . 30080 : goto nodeport-pick4-1`,
    ],
    [
      "internalTrafficPolicy Local",
      [
        service("log", ["10.96.0.3"], ["80"], { internalTrafficPolicy: "Local" }),
        slice("1", "log", ["10.244.1.1@a", "10.244.2.1@b"]),
        service("away", ["10.96.0.4"], ["80"], { internalTrafficPolicy: "Local" }),
        slice("2", "away", ["10.244.2.1@b"]),
        service("none", ["10.96.0.5"], ["80"], { internalTrafficPolicy: "Local" }),
      ],
      `chains pick4-1
       cluster-ips4 10.96.0.3
       cluster-ips4 10.96.0.4
       cluster-ips4 10.96.0.5
       endpoints4 10.96.0.3 . tcp . 80 . 0 : 10.244.1.1 . 8080
       frontends4 10.96.0.3 . tcp . 80 : goto pick4-1
       frontends4 10.96.0.4 . tcp . 80 : drop
       frontends4 10.96.0.5 . tcp . 80 : goto refuse
       hairpin4 10.244.1.1 . 10.244.1.1`,
    ],
    [
      "session affinity",
      [
        service("shop", ["10.96.0.6"], ["80"], {
          sessionAffinity: "ClientIP",
          sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
        }),
        slice("1", "shop", ["10.244.2.1@b", "10.244.2.2@b"]),
      ],
      `chains pick4-2-sticky
       chains remember4-60
       cluster-ips4 10.96.0.6
       endpoints4 10.96.0.6 . tcp . 80 . 0 : 10.244.2.1 . 8080
       endpoints4 10.96.0.6 . tcp . 80 . 1 : 10.244.2.2 . 8080
       frontends4 10.96.0.6 . tcp . 80 : goto pick4-2-sticky
       sticky4 10.96.0.6 . tcp . 80 : jump remember4-60`,
    ],
    [
      "a load balancer's address, for some",
      [
        {
          ...service("lb", ["10.96.0.7"], ["80"], {
            type: "LoadBalancer",
            loadBalancerSourceRanges: [
              "172.30.0.0/24",
              " 10.0.0.0/8",
              "10.1.0.0/16",
              "192.0.2.1/32",
              "fd00::/8",
            ],
          }),
          status: {
            loadBalancer: {
              ingress: [
                { ip: "192.0.2.8" },
                { ip: "192.0.2.9", ipMode: "Proxy" },
                { hostname: "lb.example" },
              ],
            },
          },
        },
        slice("1", "lb", ["10.244.2.1@b"]),
      ],
      `chains pick4-1
       cluster-ips4 10.96.0.7
       endpoints4 10.96.0.7 . tcp . 80 . 0 : 10.244.2.1 . 8080
       endpoints4 192.0.2.8 . tcp . 80 . 0 : 10.244.2.1 . 8080
       frontends4 10.96.0.7 . tcp . 80 : goto pick4-1
       frontends4 192.0.2.8 . tcp . 80 : goto pick4-1
       restricted4 192.0.2.8 . tcp . 80
       source-ranges4 192.0.2.8 . tcp . 80 . 10.0.0.0/8
       source-ranges4 192.0.2.8 . tcp . 80 . 172.30.0.0/24
       source-ranges4 192.0.2.8 . tcp . 80 . 192.0.2.1
       source-ranges4 192.0.2.8 . tcp . 80 . 192.0.2.8
       special4 192.0.2.8 . tcp . 80`,
    ],
  ])("%s", (_, objects, expected) => {
    expect(shown(tableOf(...objects))).toBe(lines(expected));
  });

  test.each<[string, Service]>([
    ["headless", service("x", ["None"], ["80"])],
    ["ExternalName", service("x", [], [], { type: "ExternalName", externalName: "example.com" })],
    ["without an address yet", service("x", [], ["80"])],
    [
      "another proxy's",
      {
        ...blue,
        metadata: { ...blue.metadata, labels: { "service.kubernetes.io/service-proxy-name": "other" } },
      },
    ],
  ])("nothing for a Service that is %s", (_, headless) => {
    expect(shown(tableOf(headless, slice("1", "x", ["10.244.2.1@b"])))).toBe("");
  });
});

describe("which endpoints", () => {
  const chosen = (
    endpoints: string[],
    more: Partial<Service["spec"]> = {},
    edit = (s: EndpointSlice) => s,
  ) => {
    const table = tableOf(service("s", ["10.96.0.1"], ["80"], more), edit(slice("1", "s", endpoints)));
    return (table.installed("4 10.96.0.1 . tcp . 80")?.inside ?? [])
      .map((text) => text.split(" ")[0])
      .join(" ");
  };
  const hints =
    (...zones: (string | undefined)[]) =>
    (given: EndpointSlice) => ({
      ...given,
      endpoints: given.endpoints.map((endpoint, i) => {
        const zone = zones[i];
        return zone === undefined ? endpoint : { ...endpoint, hints: { forZones: [{ name: zone }] } };
      }),
    });
  const nodeHints =
    (...nodes: string[]) =>
    (given: EndpointSlice) => ({
      ...given,
      endpoints: given.endpoints.map((endpoint, i) => ({
        ...endpoint,
        hints: { forNodes: [{ name: nodes[i] as string }], forZones: [{ name: "z1" }] },
      })),
    });

  test.each<[string, string, string]>([
    ["the ready ones", "1.1.1.1 1.1.1.2! 1.1.1.3~ 1.1.1.4x", "1.1.1.1"],
    ["serving while terminating, where none is ready", "1.1.1.2! 1.1.1.3~ 1.1.1.4x", "1.1.1.3"],
    ["none", "1.1.1.2! 1.1.1.4x", ""],
    ["each address once", "1.1.1.1 1.1.1.1 1.1.1.2", "1.1.1.1 1.1.1.2"],
    ["ready in one of two places", "1.1.1.1! 1.1.1.1", "1.1.1.1"],
    ["no loopback, multicast or nonsense", "127.0.0.1 224.0.0.1 0.0.0.0 1.1.1.1", "1.1.1.1"],
  ])("%s", (_, endpoints, expected) => {
    expect(chosen(endpoints.split(" "))).toBe(expected);
  });

  test("publishNotReadyAddresses takes all", () => {
    expect(chosen(["1.1.1.1!", "1.1.1.2x"], { publishNotReadyAddresses: true })).toBe("1.1.1.1 1.1.1.2");
  });

  test("Local falls back to this node's terminating ones, not to other nodes'", () => {
    const local = { internalTrafficPolicy: "Local" } as const;
    expect(chosen(["1.1.1.1@a~", "1.1.1.2@b"], local)).toBe("1.1.1.1");
    expect(chosen(["1.1.1.1@a~", "1.1.1.2@a"], local)).toBe("1.1.1.2");
  });

  test.each<[string, (given: EndpointSlice) => EndpointSlice, string]>([
    ["the zone's", hints("z1", "z2", "z1"), "1.1.1.1 1.1.1.3"],
    ["all, where one has no hint", hints("z1", undefined, "z2"), "1.1.1.1 1.1.1.2 1.1.1.3"],
    ["all, where none is for the zone", hints("z2", "z2", "z3"), "1.1.1.1 1.1.1.2 1.1.1.3"],
    ["the node's before the zone's", nodeHints("b", "a", "c"), "1.1.1.2"],
    ["the zone's where none is for the node", nodeHints("b", "b", "c"), "1.1.1.1 1.1.1.2 1.1.1.3"],
  ])("hints: %s", (_, edit, expected) => {
    expect(chosen(["1.1.1.1", "1.1.1.2", "1.1.1.3"], {}, edit)).toBe(expected);
  });
});

test("the DNS address at which each node answers itself is not sent elsewhere", () => {
  const table = new ServiceTable(here, { ...policy, dnsAddresses: [Ip.parse("10.96.0.10")] });
  table.setService(
    service("kube-dns", ["10.96.0.10"], ["dns/53/UDP", "metrics/9153:30153"], { type: "NodePort" }),
  );
  table.compute();
  expect([...table.frontends()].map(([id]) => id).sort()).toEqual([
    "4 10.96.0.10 . tcp . 9153",
    "4 tcp . 30153",
  ]);
  expect(table.elements.of("services-cluster-ips4").size).toBe(0);
});

describe("changes", () => {
  const write = (table: ServiceTable) =>
    table
      .compute()
      .changes.map(({ set, key, before, after }) =>
        `${set} ${key}: ${before} -> ${after}`.replaceAll("services-", ""),
      )
      .sort();

  test("one endpoint replaced is one slot", () => {
    const table = tableOf(blue, two);
    table.setSlice(slice("blue-1", "blue", ["10.244.1.2@a", "10.244.2.9@b"]));
    expect(write(table)).toEqual([
      "endpoints4 10.96.0.1 . tcp . 80 . 1: 10.244.2.2 . 8080 -> 10.244.2.9 . 8080",
    ]);
  });

  test("one endpoint more changes the class; the old one's chain stays for the next", () => {
    const table = tableOf(blue, two);
    table.setSlice(slice("blue-1", "blue", ["10.244.1.2@a", "10.244.2.2@b", "10.244.2.1@b"]));
    expect(write(table)).toEqual([
      "chains pick4-3: undefined -> ",
      "endpoints4 10.96.0.1 . tcp . 80 . 2: undefined -> 10.244.2.1 . 8080",
      "frontends4 10.96.0.1 . tcp . 80: goto pick4-2 -> goto pick4-3",
    ]);
  });

  test("nothing for what comes back, is said twice, or does not matter", () => {
    const table = tableOf(blue, two);
    table.setSlice({ ...two, metadata: { ...two.metadata, resourceVersion: "2" } });
    table.deleteService("default/blue");
    table.setService(blue);
    expect(write(table)).toEqual([]);
  });

  test("a Service that goes takes all with it", () => {
    const table = tableOf(blue, two);
    table.deleteService("default/blue");
    table.compute();
    expect(shown(table)).toBe("chains pick4-2");
  });

  test("of chains without use, few are kept", () => {
    const table = new ServiceTable(here, policy);
    for (let count = 100; count > 0; count--) {
      const addresses = Array.from({ length: count }, (_, i) => `10.244.1.${i}`);
      table.setService(blue);
      table.setSlice(slice("blue-1", "blue", addresses));
      table.compute();
    }
    const chains = [...table.elements.of("chains").keys()];
    expect(chains).toHaveLength(65);
    expect(chains).toContain("services-pick4-1");
    expect(chains).toContain("services-pick4-65");
    expect(chains).not.toContain("services-pick4-66");
  });

  test("a slice that moves to another Service", () => {
    const table = tableOf(blue, service("red", ["10.96.0.2"], ["80"]), two);
    table.setSlice(slice("blue-1", "red", ["10.244.2.2@b"]));
    table.compute();
    expect(table.installed("4 10.96.0.1 . tcp . 80")?.inside).toEqual([]);
    expect(table.installed("4 10.96.0.2 . tcp . 80")?.inside).toEqual(["10.244.2.2 . 8080"]);
  });

  test("adopted slots stay where they are", () => {
    const table = new ServiceTable(here, policy);
    const slots = new Map([
      ["10.96.0.1 . tcp . 80 . 0", "10.244.2.2 . 8080"],
      ["10.96.0.1 . tcp . 80 . 1", "10.244.1.2 . 8080"],
    ]);
    const chains = ["services-pick4-2", "services-pick4-7", "services-entry4"];
    table.adopt((set) => (set === "services-endpoints4" ? slots : new Map()), chains);
    table.setService(blue);
    table.setSlice(two);
    table.compute();
    expect(table.elements.of("services-endpoints4")).toEqual(slots);
    expect([...table.elements.of("chains").keys()]).toEqual(["services-pick4-2", "services-pick4-7"]);
  });

  test("UDP frontends whose endpoint went, or whose first came, are named", () => {
    const dns = service("dns", ["10.96.0.10"], ["53/UDP"]);
    const table = new ServiceTable(here, policy);
    const stale = () => [...table.compute().staleFlows];
    const id = "4 10.96.0.10 . udp . 53";
    table.setService(dns);
    expect(stale()).toEqual([]);
    table.setSlice(slice("1", "dns", ["1.1.1.1"], ["53/UDP"]));
    expect(stale()).toEqual([id]);
    table.setSlice(slice("1", "dns", ["1.1.1.1", "1.1.1.2"], ["53/UDP"]));
    expect(stale()).toEqual([]);
    table.setSlice(slice("1", "dns", ["1.1.1.2"], ["53/UDP"]));
    expect(stale()).toEqual([id]);
    table.deleteService("default/dns");
    expect(stale()).toEqual([id]);
  });
});

describe("two that want the same", () => {
  const other = (name: string, created: string, spec: Partial<Service["spec"]> = {}, ip = "10.96.0.9") => {
    const made = service(name, [ip], ["80"], spec);
    return { ...made, metadata: { ...made.metadata, creationTimestamp: created } };
  };
  const winner = (table: ServiceTable, id: string) => table.installed(id)?.inside[0];

  test("a ClusterIP before an external IP, the older before the younger; the next in line follows", () => {
    const claims = { externalIPs: ["192.0.2.1"] };
    const table = tableOf(
      other("young", "2030-01-03T00:00:00Z", claims, "10.96.0.8"),
      slice("1", "young", ["1.1.1.1"]),
      other("old", "2030-01-02T00:00:00Z", claims),
      slice("2", "old", ["1.1.1.2"]),
    );
    const id = "4 192.0.2.1 . tcp . 80";
    expect(winner(table, id)).toBe("1.1.1.2 . 8080");
    expect(table.conflicts()).toEqual([{ frontend: id, service: "default/young", winner: "default/old" }]);
    table.setService(other("owner", "2030-01-09T00:00:00Z", {}, "192.0.2.1"));
    table.setSlice(slice("3", "owner", ["1.1.1.3"]));
    table.compute();
    expect(winner(table, id)).toBe("1.1.1.3 . 8080");
    table.deleteService("default/owner");
    table.deleteService("default/old");
    table.compute();
    expect(winner(table, id)).toBe("1.1.1.1 . 8080");
    expect(table.conflicts()).toEqual([]);
  });

  test.each([
    ["a pod's address", "10.244.1.7"],
    ["another Service's address", "10.96.0.10"],
    ["loopback", "127.0.0.1"],
    ["link-local", "169.254.169.254"],
    ["multicast", "224.0.0.1"],
    ["no address", "example.com"],
  ])("externalIPs do not capture %s", (_, ip) => {
    const table = tableOf(service("evil", ["10.96.0.66"], ["53/UDP"], { externalIPs: [ip] }));
    expect([...table.frontends()].map(([id]) => id)).toEqual(["4 10.96.0.66 . udp . 53"]);
    expect(table.refusals().get("default/evil")).toEqual([
      expect.stringContaining(`spec.externalIPs: "${ip}"`),
    ]);
  });
});
