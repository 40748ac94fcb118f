import { describe, expect, test } from "bun:test";
import { askZone, type TypeName } from "../../test/lib/dns.ts";
import type { EndpointSlice, Pod, Service } from "../kube/types.ts";
import { createLog } from "../lib/log.ts";
import { dnsEndpointSlice, dnsPod, dnsService, zoneHandlers } from "./kubernetes.ts";
import { createZone, type ZoneOptions } from "./zone.ts";

const service = (spec: Service["spec"], name = "web"): Service => ({
  metadata: { name, namespace: "shop" },
  spec,
});
const slice = (change: Partial<EndpointSlice> = {}): EndpointSlice => ({
  metadata: { name: "web-x", namespace: "shop", labels: { "kubernetes.io/service-name": "web" } },
  addressType: "IPv4",
  endpoints: [{ addresses: ["10.244.1.1"], hostname: "web-0", conditions: { ready: true } }],
  ports: [{ name: "http", protocol: "TCP", port: 8080 }],
  ...change,
});
const pod = (status: NonNullable<Pod["status"]>, name = "p"): Pod => ({
  metadata: { name, namespace: "shop" },
  spec: { containers: [] },
  status,
});

describe("Services", () => {
  const cases: [string, Service["spec"], object][] = [
    [
      "dual stack",
      { clusterIP: "10.96.0.1", clusterIPs: ["10.96.0.1", "fd00::1"] },
      { clusterIPs: ["10.96.0.1", "fd00::1"], headless: false },
    ],
    ["clusterIP alone", { clusterIP: "10.96.0.1" }, { clusterIPs: ["10.96.0.1"] }],
    ["not allocated yet", { clusterIP: "" }, { clusterIPs: [] }],
    ["headless", { clusterIP: "None", clusterIPs: ["None"] }, { clusterIPs: [], headless: true }],
    [
      "headless, unready ones too",
      { clusterIP: "None", publishNotReadyAddresses: true },
      { publishNotReadyAddresses: true },
    ],
    [
      "ExternalName",
      { type: "ExternalName", externalName: "a.test" },
      { externalName: "a.test", headless: false },
    ],
    [
      "externalName of another type",
      { type: "ClusterIP", externalName: "a.test" },
      { externalName: undefined },
    ],
    [
      "protocol absent",
      { ports: [{ name: "http", port: 80 }] },
      { ports: [{ name: "http", protocol: "TCP", port: 80 }] },
    ],
  ];
  test.each(cases)("%s", (_what, spec, expected) => {
    expect(dnsService(service(spec))).toMatchObject({ namespace: "shop", name: "web", ...expected });
  });
});

describe("EndpointSlices", () => {
  test("addresses, readiness, hostnames and ports", () => {
    expect(dnsEndpointSlice(slice())).toEqual({
      namespace: "shop",
      name: "web-x",
      service: "web",
      endpoints: [{ addresses: ["10.244.1.1"], hostname: "web-0", ready: true }],
      ports: [{ name: "http", protocol: "TCP", port: 8080 }],
    });
  });

  test("of no Service, or of names instead of addresses: none", () => {
    expect(dnsEndpointSlice(slice({ metadata: { name: "x", namespace: "shop" } }))).toBeUndefined();
    expect(dnsEndpointSlice(slice({ addressType: "FQDN" }))).toBeUndefined();
  });
});

test.each([
  [
    "running",
    { phase: "Running", podIPs: [{ ip: "10.244.1.1" }, { ip: "fd00::1" }] },
    ["10.244.1.1", "fd00::1"],
  ],
  ["without address", { phase: "Pending" }, undefined],
  ["ended", { phase: "Succeeded", podIPs: [{ ip: "10.244.1.1" }] }, undefined],
  ["failed", { phase: "Failed", podIPs: [{ ip: "10.244.1.1" }] }, undefined],
] as const)("a pod that is %s", (_what, status, addresses) => {
  expect(dnsPod(pod(status as unknown as NonNullable<Pod["status"]>))?.addresses).toEqual(
    addresses === undefined ? undefined : [...addresses],
  );
});

describe("events", () => {
  function feed(options: ZoneOptions = {}) {
    const zone = createZone({ serial: 1, ...options });
    const lines: string[] = [];
    const handlers = zoneHandlers(zone, createLog({ write: (line) => lines.push(line) }));
    const ask = (name: string, type: TypeName = "A") => {
      const { rcode, answers } = askZone(zone, `${name}.cluster.local`, type);
      return rcode === 0 ? answers.map((line) => line.split(" ").at(-1)) : rcode;
    };
    return { handlers, ask, lines };
  }
  const headless = service({ clusterIP: "None", ports: [{ name: "http", port: 80 }] });

  test("slices may come before their Service, and stay after it", () => {
    const { handlers, ask } = feed();
    handlers.endpointSlices.add(slice());
    expect(ask("web.shop.svc")).toBe(3);
    handlers.services.add(headless);
    expect(ask("web.shop.svc")).toEqual(["10.244.1.1"]);
    expect(ask("web-0.web.shop.svc")).toEqual(["10.244.1.1"]);
    expect(ask("_http._tcp.web.shop.svc", "SRV")).toEqual(["web-0.web.shop.svc.cluster.local."]);
    handlers.services.delete(headless);
    expect(ask("web.shop.svc")).toBe(3);
    handlers.services.add(headless);
    expect(ask("web.shop.svc")).toEqual(["10.244.1.1"]);
  });

  test("an endpoint becomes unready, and its slice goes", () => {
    const { handlers, ask } = feed();
    handlers.services.add(headless);
    handlers.endpointSlices.add(slice());
    const endpoints = [{ addresses: ["10.244.1.1"], conditions: { ready: false, terminating: true } }];
    handlers.endpointSlices.update(slice({ endpoints }), slice());
    expect(ask("web.shop.svc")).toBe(3);
    handlers.endpointSlices.update(slice(), slice());
    expect(ask("web.shop.svc")).toEqual(["10.244.1.1"]);
    // Its label went: it belongs to no Service any more.
    handlers.endpointSlices.update(slice({ metadata: { name: "web-x", namespace: "shop" } }), slice());
    expect(ask("web.shop.svc")).toBe(3);
    handlers.endpointSlices.update(slice(), slice());
    handlers.endpointSlices.delete(slice());
    expect(ask("web.shop.svc")).toBe(3);
  });

  test("namespaces make pod names", () => {
    const { handlers, ask } = feed();
    expect(ask("10-244-1-1.shop.pod")).toBe(3);
    handlers.namespaces.add({ metadata: { name: "shop" } });
    expect(ask("10-244-1-1.shop.pod")).toEqual(["10.244.1.1"]);
    handlers.namespaces.delete({ metadata: { name: "shop" } });
    expect(ask("10-244-1-1.shop.pod")).toBe(3);
  });

  test("verified pods come, and give their names back when they end", () => {
    const { handlers, ask } = feed({ pods: "verified" });
    const running = pod({ phase: "Running", podIPs: [{ ip: "10.244.1.1" }] });
    handlers.pods.add(pod({ phase: "Pending" }));
    handlers.pods.update(running, running);
    expect(ask("10-244-1-1.shop.pod")).toEqual(["10.244.1.1"]);
    handlers.pods.update(pod({ phase: "Succeeded", podIPs: [{ ip: "10.244.1.1" }] }), running);
    expect(ask("10-244-1-1.shop.pod")).toBe(3);
    handlers.pods.add(running);
    handlers.pods.delete(running);
    expect(ask("10-244-1-1.shop.pod")).toBe(3);
  });

  test("an object that cannot be in the DNS is logged by name, and costs nothing else", () => {
    const { handlers, ask, lines } = feed();
    handlers.services.add(service({ clusterIP: "10.96.0.1" }));
    handlers.services.update(service({ clusterIP: "10.96.0" }), service({ clusterIP: "10.96.0.1" }));
    handlers.services.add(service({ clusterIP: "10.96.0.2" }, "other"));
    expect(ask("web.shop.svc")).toEqual(["10.96.0.1"]);
    expect(ask("other.shop.svc")).toEqual(["10.96.0.2"]);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain("kind=Service namespace=shop name=web");
    expect(lines[0]).toContain("10.96.0");
  });
});
