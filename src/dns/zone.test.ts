import { describe, expect, test } from "bun:test";
import { askZone as ask, type TypeName } from "../../test/lib/dns.ts";
import { InvalidInput } from "../lib/errors.ts";
import { Authority, Owner } from "./owner.ts";
import { nameFromText } from "./wire/name.ts";
import { createZone, type Zone, type ZoneOptions } from "./zone.ts";

const soa = (apex: string, serial: number | string = "*") =>
  `${apex} 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. ${serial} 7200 1800 86400 5`;

/** The cluster that the cases below are about. */
function cluster(options: ZoneOptions = {}): Zone {
  const zone = createZone({
    serial: 1,
    nameservers: ["10.96.0.10", "fd00:10:96::a"],
    reversePrefixes: ["10.96.0.0/16", "10.244.0.0/16", "fd00:10:96::/112", "fd00:10:244::/56"],
    ...options,
  });
  const http = { name: "http", protocol: "TCP", port: 80 };
  zone.setService({
    namespace: "testns",
    name: "svc1",
    clusterIPs: ["10.96.0.1"],
    ports: [http, { name: "dns", protocol: "UDP", port: 53 }],
  });
  zone.setService({
    namespace: "testns",
    name: "dual",
    clusterIPs: ["10.96.0.3", "fd00:10:96::3"],
    ports: [http],
  });
  zone.setService({
    namespace: "testns",
    name: "unnamed",
    clusterIPs: ["10.96.0.4"],
    ports: [{ protocol: "TCP", port: 8080 }],
  });
  zone.setService({ namespace: "testns", name: "pending", clusterIPs: [], ports: [http] });
  zone.setService({ namespace: "testns", name: "hdls1", clusterIPs: [], headless: true, ports: [http] });
  zone.setEndpointSlice({
    namespace: "testns",
    name: "hdls1-4",
    service: "hdls1",
    ports: [{ name: "http", protocol: "TCP", port: 8080 }],
    endpoints: [
      { addresses: ["10.244.0.2"] },
      { addresses: ["10.244.0.3"], ready: true },
      { addresses: ["10.244.0.4"], hostname: "dup-name" },
      { addresses: ["10.244.0.5"], hostname: "dup-name" },
      { addresses: ["10.244.0.6"], ready: false },
      { addresses: ["10.244.0.7"], hostname: "web-0" },
    ],
  });
  zone.setEndpointSlice({
    namespace: "testns",
    name: "hdls1-6",
    service: "hdls1",
    ports: [{ name: "http", protocol: "TCP", port: 8080 }],
    endpoints: [{ addresses: ["fd00:10:244::2"] }, { addresses: ["fd00:10:244::7"], hostname: "web-0" }],
  });
  zone.setService({ namespace: "testns", name: "unready", clusterIPs: [], headless: true, ports: [http] });
  zone.setService({
    namespace: "testns",
    name: "eager",
    clusterIPs: [],
    headless: true,
    publishNotReadyAddresses: true,
    ports: [http],
  });
  for (const service of ["unready", "eager"]) {
    zone.setEndpointSlice({
      namespace: "testns",
      name: `${service}-1`,
      service,
      ports: [],
      endpoints: [{ addresses: ["10.244.0.9"], hostname: "late", ready: false }],
    });
  }
  zone.setEndpointSlice({
    namespace: "testns",
    name: "svc1-1",
    service: "svc1",
    ports: [{ name: "http", protocol: "TCP", port: 8080 }],
    endpoints: [{ addresses: ["10.244.0.20"] }, { addresses: ["192.168.7.7"] }],
  });
  const external = { namespace: "testns", clusterIPs: [], ports: [] };
  zone.setService({ ...external, name: "external", externalName: "ext.interwebs.test" });
  zone.setService({ ...external, name: "to-svc1", externalName: "SVC1.testns.svc.cluster.local." });
  zone.setService({ ...external, name: "to-nothing", externalName: "nothing.testns.svc.cluster.local" });
  zone.setService({ ...external, name: "ring-a", externalName: "ring-b.testns.svc.cluster.local" });
  zone.setService({ ...external, name: "ring-b", externalName: "ring-a.testns.svc.cluster.local" });
  zone.setService({ ...external, name: "to-address", externalName: "192.0.2.1" });
  zone.setNamespace("empty");
  return zone;
}

const at = (name: string, rest: string) => `${name}.svc.cluster.local. 5 ${rest}`;

describe("answers (Kubernetes DNS-Based Service Discovery 1.1.0)", () => {
  const zone = cluster();
  const cases: [string, TypeName, string[], string[]?][] = [
    // 2.2 schema version
    ["dns-version.cluster.local", "TXT", ['dns-version.cluster.local. 28800 TXT ["1.1.0"]']],
    // 2.3 Services with a ClusterIP
    ["svc1.testns.svc.cluster.local", "A", [at("svc1.testns", "A 10.96.0.1")]],
    ["dual.testns.svc.cluster.local", "A", [at("dual.testns", "A 10.96.0.3")]],
    ["dual.testns.svc.cluster.local", "AAAA", [at("dual.testns", "AAAA fd00:10:96::3")]],
    [
      "_http._tcp.svc1.testns.svc.cluster.local",
      "SRV",
      [at("_http._tcp.svc1.testns", "SRV 0 100 80 svc1.testns.svc.cluster.local.")],
      [at("svc1.testns", "A 10.96.0.1")],
    ],
    [
      "_dns._udp.svc1.testns.svc.cluster.local",
      "SRV",
      [at("_dns._udp.svc1.testns", "SRV 0 100 53 svc1.testns.svc.cluster.local.")],
      [at("svc1.testns", "A 10.96.0.1")],
    ],
    [
      "_http._tcp.dual.testns.svc.cluster.local",
      "SRV",
      [at("_http._tcp.dual.testns", "SRV 0 100 80 dual.testns.svc.cluster.local.")],
      [at("dual.testns", "A 10.96.0.3"), at("dual.testns", "AAAA fd00:10:96::3")],
    ],
    [
      "unnamed.testns.svc.cluster.local",
      "SRV",
      [at("unnamed.testns", "SRV 0 100 8080 unnamed.testns.svc.cluster.local.")],
      [at("unnamed.testns", "A 10.96.0.4")],
    ],
    ["1.0.96.10.in-addr.arpa", "PTR", ["1.0.96.10.in-addr.arpa. 5 PTR svc1.testns.svc.cluster.local."]],
    [
      "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa",
      "PTR",
      [
        "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa. 5 PTR dual.testns.svc.cluster.local.",
      ],
    ],
    // 2.4 headless Services
    [
      "hdls1.testns.svc.cluster.local",
      "A",
      ["2", "3", "4", "5", "7"].map((last) => at("hdls1.testns", `A 10.244.0.${last}`)),
    ],
    [
      "hdls1.testns.svc.cluster.local",
      "AAAA",
      [at("hdls1.testns", "AAAA fd00:10:244::2"), at("hdls1.testns", "AAAA fd00:10:244::7")],
    ],
    [
      "dup-name.hdls1.testns.svc.cluster.local",
      "A",
      [at("dup-name.hdls1.testns", "A 10.244.0.4"), at("dup-name.hdls1.testns", "A 10.244.0.5")],
    ],
    ["web-0.hdls1.testns.svc.cluster.local", "A", [at("web-0.hdls1.testns", "A 10.244.0.7")]],
    ["web-0.hdls1.testns.svc.cluster.local", "AAAA", [at("web-0.hdls1.testns", "AAAA fd00:10:244::7")]],
    ["10-244-0-2.hdls1.testns.svc.cluster.local", "A", [at("10-244-0-2.hdls1.testns", "A 10.244.0.2")]],
    [
      "fd00-10-244--2.hdls1.testns.svc.cluster.local",
      "AAAA",
      [at("fd00-10-244--2.hdls1.testns", "AAAA fd00:10:244::2")],
    ],
    [
      "_http._tcp.hdls1.testns.svc.cluster.local",
      "SRV",
      ["10-244-0-2", "10-244-0-3", "dup-name", "fd00-10-244--2", "web-0"].map((host) =>
        at("_http._tcp.hdls1.testns", `SRV 0 20 8080 ${host}.hdls1.testns.svc.cluster.local.`),
      ),
      [
        at("10-244-0-2.hdls1.testns", "A 10.244.0.2"),
        at("10-244-0-3.hdls1.testns", "A 10.244.0.3"),
        at("dup-name.hdls1.testns", "A 10.244.0.4"),
        at("dup-name.hdls1.testns", "A 10.244.0.5"),
        at("fd00-10-244--2.hdls1.testns", "AAAA fd00:10:244::2"),
        at("web-0.hdls1.testns", "A 10.244.0.7"),
        at("web-0.hdls1.testns", "AAAA fd00:10:244::7"),
      ],
    ],
    [
      "7.0.244.10.in-addr.arpa",
      "PTR",
      ["7.0.244.10.in-addr.arpa. 5 PTR web-0.hdls1.testns.svc.cluster.local."],
    ],
    [
      "2.0.244.10.in-addr.arpa",
      "PTR",
      ["2.0.244.10.in-addr.arpa. 5 PTR 10-244-0-2.hdls1.testns.svc.cluster.local."],
    ],
    ["eager.testns.svc.cluster.local", "A", [at("eager.testns", "A 10.244.0.9")]],
    ["late.eager.testns.svc.cluster.local", "A", [at("late.eager.testns", "A 10.244.0.9")]],
    // as in CoreDNS: endpoints of Services with a ClusterIP have names
    ["10-244-0-20.svc1.testns.svc.cluster.local", "A", [at("10-244-0-20.svc1.testns", "A 10.244.0.20")]],
    [
      "20.0.244.10.in-addr.arpa",
      "PTR",
      ["20.0.244.10.in-addr.arpa. 5 PTR 10-244-0-20.svc1.testns.svc.cluster.local."],
    ],
    // 2.5 ExternalName
    ["external.testns.svc.cluster.local", "CNAME", [at("external.testns", "CNAME ext.interwebs.test.")]],
    ["external.testns.svc.cluster.local", "A", [at("external.testns", "CNAME ext.interwebs.test.")]],
    [
      "to-svc1.testns.svc.cluster.local",
      "A",
      [at("to-svc1.testns", "CNAME svc1.testns.svc.cluster.local."), at("svc1.testns", "A 10.96.0.1")],
    ],
    // 2.6 pods
    ["10-240-0-1.testns.pod.cluster.local", "A", ["10-240-0-1.testns.pod.cluster.local. 5 A 10.240.0.1"]],
    ["fd00--7.testns.pod.cluster.local", "AAAA", ["fd00--7.testns.pod.cluster.local. 5 AAAA fd00::7"]],
    ["10-240-0-1.empty.pod.cluster.local", "A", ["10-240-0-1.empty.pod.cluster.local. 5 A 10.240.0.1"]],
    // the zone itself
    ["cluster.local", "SOA", [soa("cluster.local.")]],
    [
      "cluster.local",
      "NS",
      ["cluster.local. 5 NS ns.dns.cluster.local."],
      ["ns.dns.cluster.local. 5 A 10.96.0.10", "ns.dns.cluster.local. 5 AAAA fd00:10:96::a"],
    ],
    ["ns.dns.cluster.local", "A", ["ns.dns.cluster.local. 5 A 10.96.0.10"]],
    ["96.10.in-addr.arpa", "SOA", [soa("96.10.in-addr.arpa.")]],
    [
      "96.10.in-addr.arpa",
      "NS",
      ["96.10.in-addr.arpa. 5 NS ns.dns.cluster.local."],
      ["ns.dns.cluster.local. 5 A 10.96.0.10", "ns.dns.cluster.local. 5 AAAA fd00:10:96::a"],
    ],
  ];
  test.each(cases)("%s %s", (name, type, answers, additionals = []) => {
    const result = ask(zone, name, type);
    expect(result.rcode).toBe(0);
    expect(result.answers.sort()).toEqual(answers.sort());
    expect(result.additionals.sort()).toEqual(additionals.sort());
    expect(result.authorities).toEqual([]);
    expect(result.message.authoritative).toBe(true);
  });
});

describe("negative answers (RFC 2308, RFC 8020)", () => {
  const zone = cluster();
  const nodata: [string, TypeName, string?][] = [
    ["svc1.testns.svc.cluster.local", "AAAA"],
    ["svc1.testns.svc.cluster.local", "TXT"],
    ["svc1.testns.svc.cluster.local", "SOA"],
    ["10-240-0-1.testns.pod.cluster.local", "AAAA"],
    ["fd00--7.testns.pod.cluster.local", "A"],
    ["cluster.local", "A"],
    ["dns-version.cluster.local", "A"],
    // empty non-terminals
    ["svc.cluster.local", "A"],
    ["pod.cluster.local", "A"],
    ["dns.cluster.local", "A"],
    ["testns.svc.cluster.local", "A"],
    ["testns.svc.cluster.local", "NS"],
    ["testns.pod.cluster.local", "A"],
    ["empty.svc.cluster.local", "A"],
    ["_tcp.svc1.testns.svc.cluster.local", "SRV"],
    ["_tcp.hdls1.testns.svc.cluster.local", "A"],
    ["96.10.in-addr.arpa", "PTR", "96.10.in-addr.arpa."],
    ["0.96.10.in-addr.arpa", "PTR", "96.10.in-addr.arpa."],
    [
      "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa",
      "PTR",
      "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa.",
    ],
  ];
  test.each(nodata)("NODATA for %s %s", (name, type, apex = "cluster.local.") => {
    const result = ask(zone, name, type);
    expect(result.rcode).toBe(0);
    expect(result.answers).toEqual([]);
    expect(result.authorities).toEqual([soa(apex)]);
    expect(result.message.authoritative).toBe(true);
  });

  const nxdomain: [string, TypeName, string?][] = [
    ["svc0.testns.svc.cluster.local", "A"],
    ["svc0.testns.svc.cluster.local", "AAAA"],
    ["svc1.nons.svc.cluster.local", "A"],
    ["nons.svc.cluster.local", "NS"],
    ["foo.cluster.local", "NS"],
    ["example.org.cluster.local", "PTR"],
    ["bogus.hdls1.testns.svc.cluster.local", "A"],
    ["10-244-0-6.hdls1.testns.svc.cluster.local", "A"],
    ["unready.testns.svc.cluster.local", "A"],
    ["late.unready.testns.svc.cluster.local", "A"],
    ["pending.testns.svc.cluster.local", "A"],
    ["to-address.testns.svc.cluster.local", "A"],
    ["_https._tcp.svc1.testns.svc.cluster.local", "SRV"],
    ["_http._udp.svc1.testns.svc.cluster.local", "SRV"],
    ["_udp.hdls1.testns.svc.cluster.local", "SRV"],
    ["endpoint.external.testns.svc.cluster.local", "CNAME"],
    ["blah.testns.pod.cluster.local", "A"],
    ["10-240-0-1.nons.pod.cluster.local", "A"],
    ["10-240-0-256.testns.pod.cluster.local", "A"],
    ["1.10-240-0-1.testns.pod.cluster.local", "A"],
    ["www.google.com.testns.svc.cluster.local", "A"],
    ["99.0.96.10.in-addr.arpa", "PTR", "96.10.in-addr.arpa."],
    ["6.0.244.10.in-addr.arpa", "PTR", "244.10.in-addr.arpa."],
    ["1.1.0.96.10.in-addr.arpa", "PTR", "96.10.in-addr.arpa."],
    ["7.96.10.in-addr.arpa", "PTR", "96.10.in-addr.arpa."],
  ];
  test.each(nxdomain)("NXDOMAIN for %s %s", (name, type, apex = "cluster.local.") => {
    const result = ask(zone, name, type);
    expect(result.rcode).toBe(3);
    expect(result.answers).toEqual([]);
    expect(result.authorities).toEqual([soa(apex)]);
    expect(result.message.authoritative).toBe(true);
    expect(result.message.questions[0]?.name).toBe(`${name}.`);
  });

  test("a CNAME to a name that does not exist comes with that verdict", () => {
    const result = ask(zone, "to-nothing.testns.svc.cluster.local", "A");
    expect(result.rcode).toBe(3);
    expect(result.answers).toEqual([at("to-nothing.testns", "CNAME nothing.testns.svc.cluster.local.")]);
    expect(result.authorities).toEqual([soa("cluster.local.")]);
    const nodata = ask(zone, "to-svc1.testns.svc.cluster.local", "AAAA");
    expect(nodata.rcode).toBe(0);
    expect(nodata.answers).toEqual([at("to-svc1.testns", "CNAME svc1.testns.svc.cluster.local.")]);
    expect(nodata.authorities).toEqual([soa("cluster.local.")]);
  });

  test("a ring of CNAMEs ends with SERVFAIL", () => {
    expect(ask(zone, "ring-a.testns.svc.cluster.local", "A").rcode).toBe(2);
  });
});

describe("what the zone speaks for", () => {
  test.each([
    ["www.example.com", false],
    ["local", false],
    ["xcluster.local", false],
    ["cluster.local", true],
    ["10.in-addr.arpa", false],
    ["in-addr.arpa", false],
    ["1.0.97.10.in-addr.arpa", false],
    ["7.7.168.192.in-addr.arpa", false],
    ["1.0.96.10.in-addr.arpa", true],
    ["1.0.0.0.ip6.arpa", false],
    ["x\\007cluster\\005local", false],
  ])("%s: %p", (name, ours) => {
    const zone = cluster();
    expect(zone.lookup(nameFromText(name)) !== undefined).toBe(ours);
  });

  test.each([
    [["10.0.0.0/8"], "10.in-addr.arpa", "1.2.3.10.in-addr.arpa"],
    [["10.96.0.0/12"], "111.10.in-addr.arpa", "1.2.111.10.in-addr.arpa"],
    [["10.96.0.0/20"], "15.96.10.in-addr.arpa", "9.15.96.10.in-addr.arpa"],
    [["10.96.0.64/26"], "64.0.96.10.in-addr.arpa", "64.0.96.10.in-addr.arpa"],
    [["fd00::/15"], "1.0.d.f.ip6.arpa", "0.1.0.d.f.ip6.arpa"],
  ])("reverse zones of %p", (reversePrefixes, apex, name) => {
    const zone = createZone({ reversePrefixes });
    const found = zone.lookup(nameFromText(name));
    expect(found instanceof Owner ? found.authority.apex : found?.apex).toBe(nameFromText(apex));
  });

  test("reverse zones end where their prefix ends", () => {
    const zone = createZone({ reversePrefixes: ["10.96.0.0/12"] });
    expect(zone.lookup(nameFromText("1.1.95.10.in-addr.arpa"))).toBeUndefined();
    expect(zone.lookup(nameFromText("1.1.112.10.in-addr.arpa"))).toBeUndefined();
    expect(zone.lookup(nameFromText("1.1.96.10.in-addr.arpa"))).toBeInstanceOf(Authority);
  });
});

describe("pod names", () => {
  const pod = { namespace: "testns", name: "p", addresses: ["10.244.0.2", "fd00:10:244::2"] };

  test("verified: only addresses of that namespace's pods", () => {
    const zone = cluster({ pods: "verified" });
    expect(ask(zone, "10-244-0-2.testns.pod.cluster.local", "A").rcode).toBe(3);
    zone.setPod(pod);
    expect(ask(zone, "10-244-0-2.testns.pod.cluster.local", "A").answers).toHaveLength(1);
    expect(ask(zone, "fd00-10-244--2.testns.pod.cluster.local", "AAAA").answers).toHaveLength(1);
    expect(ask(zone, "10-244-0-2.empty.pod.cluster.local", "A").rcode).toBe(3);
    zone.setPod({ ...pod, addresses: ["10.244.0.3"] });
    expect(ask(zone, "10-244-0-2.testns.pod.cluster.local", "A").rcode).toBe(3);
    expect(ask(zone, "10-244-0-3.testns.pod.cluster.local", "A").answers).toHaveLength(1);
    zone.deletePod("testns", "p");
    expect(ask(zone, "10-244-0-3.testns.pod.cluster.local", "A").rcode).toBe(3);
  });

  test("disabled: no such names at all", () => {
    const zone = cluster({ pods: "disabled" });
    zone.setPod(pod);
    expect(ask(zone, "10-244-0-2.testns.pod.cluster.local", "A").rcode).toBe(3);
    expect(ask(zone, "pod.cluster.local", "A").rcode).toBe(3);
  });

  test("a namespace exists while anything in it does", () => {
    const zone = createZone({ serial: 1 });
    const exists = () => ask(zone, "n.svc.cluster.local", "A").rcode === 0;
    expect(exists()).toBe(false);
    zone.setPod({ ...pod, namespace: "n" });
    expect(exists()).toBe(true);
    zone.setService({ namespace: "n", name: "s", clusterIPs: [], ports: [] });
    zone.deletePod("n", "p");
    expect(exists()).toBe(true);
    zone.setNamespace("n");
    zone.setNamespace("n");
    zone.deleteService("n", "s");
    expect(exists()).toBe(true);
    zone.deleteNamespace("n");
    zone.deleteNamespace("n");
    expect(exists()).toBe(false);
    expect(ask(zone, "n.pod.cluster.local", "A").rcode).toBe(3);
  });
});

describe("options", () => {
  test("another domain and TTL", () => {
    const zone = createZone({ domain: "Prod.Example.COM.", ttl: 30, serial: 1 });
    zone.setService({ namespace: "n", name: "s", clusterIPs: ["10.0.0.1"], ports: [] });
    expect(ask(zone, "s.n.svc.prod.example.com", "A").answers).toEqual([
      "s.n.svc.prod.example.com. 30 A 10.0.0.1",
    ]);
    expect(ask(zone, "s.n.svc.cluster.local", "A").rcode).toBe(5);
  });

  test.each([
    [{ domain: "a..b" }, "domain"],
    [{ ttl: -1 }, "ttl"],
    [{ ttl: 3601 }, "ttl"],
    [{ ttl: 1.5 }, "ttl"],
    [{ reversePrefixes: ["10.0.0.0"] }, "reversePrefixes"],
    [{ nameservers: ["ns"] }, "nameservers"],
  ])("%p is refused", (options, field) => {
    expect(() => createZone(options)).toThrow(field);
    expect(() => createZone(options)).toThrow(InvalidInput);
  });
});
