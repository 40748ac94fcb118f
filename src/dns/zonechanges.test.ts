import { describe, expect, test } from "bun:test";
import { askZone as ask } from "../../test/lib/dns.ts";
import { InvalidInput } from "../lib/errors.ts";
import { seededRandom } from "../lib/random.ts";
import { RrType } from "./wire/constants.ts";
import { isKnown } from "./wire/schema.ts";
import { createZone, type Zone, type ZoneOptions } from "./zone.ts";

describe("changes", () => {
  const name = "web.n.svc.cluster.local";
  const service = { namespace: "n", name: "web", clusterIPs: ["10.96.1.1"], ports: [] };
  const slice = {
    namespace: "n",
    name: "web-1",
    service: "web",
    ports: [],
    endpoints: [{ addresses: ["10.244.1.1"], hostname: "web-0" }],
  };

  test("a Service comes, changes its address, becomes headless, and goes", () => {
    const zone = createZone({ serial: 1, reversePrefixes: ["10.0.0.0/8"] });
    expect(ask(zone, name, "A").rcode).toBe(3);
    zone.setService(service);
    expect(ask(zone, name, "A").answers).toEqual([`${name}. 5 A 10.96.1.1`]);
    zone.setService({ ...service, clusterIPs: ["10.96.1.2"] });
    expect(ask(zone, name, "A").answers).toEqual([`${name}. 5 A 10.96.1.2`]);
    expect(ask(zone, "1.1.96.10.in-addr.arpa", "PTR").rcode).toBe(3);
    zone.setService({ ...service, clusterIPs: [], headless: true });
    expect(ask(zone, name, "A").rcode).toBe(3);
    zone.setEndpointSlice(slice);
    expect(ask(zone, name, "A").answers).toEqual([`${name}. 5 A 10.244.1.1`]);
    zone.deleteService("n", "web");
    expect(ask(zone, name, "A").rcode).toBe(3);
    expect(ask(zone, "1.1.244.10.in-addr.arpa", "PTR").rcode).toBe(3);
    // The slice waits for its Service.
    zone.setService({ ...service, clusterIPs: [], headless: true });
    expect(ask(zone, `web-0.${name}`, "A").answers).toEqual([`web-0.${name}. 5 A 10.244.1.1`]);
    zone.deleteEndpointSlice("n", "web-1");
    expect(ask(zone, `web-0.${name}`, "A").rcode).toBe(3);
  });

  test("a slice that moves to another Service leaves the first", () => {
    const zone = createZone();
    for (const each of ["web", "other"]) {
      zone.setService({ namespace: "n", name: each, clusterIPs: [], headless: true, ports: [] });
    }
    zone.setEndpointSlice(slice);
    expect(ask(zone, name, "A").answers).toHaveLength(1);
    zone.setEndpointSlice({ ...slice, service: "other" });
    expect(ask(zone, name, "A").rcode).toBe(3);
    expect(ask(zone, "other.n.svc.cluster.local", "A").answers).toHaveLength(1);
  });

  test("an address of several Services has a PTR record for each", () => {
    const zone = createZone({ reversePrefixes: ["10.244.0.0/16"] });
    for (const each of ["a", "b"]) {
      zone.setService({ namespace: "n", name: each, clusterIPs: [], headless: true, ports: [] });
      zone.setEndpointSlice({ ...slice, name: each, service: each });
    }
    const targets = () =>
      ask(zone, "1.1.244.10.in-addr.arpa", "PTR").answers.map((line) => line.split(" ").at(-1));
    expect(targets()).toEqual(["web-0.a.n.svc.cluster.local.", "web-0.b.n.svc.cluster.local."]);
    zone.deleteService("n", "a");
    expect(targets()).toEqual(["web-0.b.n.svc.cluster.local."]);
  });

  test("an SRV response that was given before follows the addresses", () => {
    const zone = createZone();
    const port = { name: "http", protocol: "TCP", port: 80 };
    zone.setService({ ...service, ports: [port] });
    const additionals = () => ask(zone, `_http._tcp.${name}`, "SRV").additionals;
    expect(additionals()).toEqual([`${name}. 5 A 10.96.1.1`]);
    zone.setService({ ...service, clusterIPs: ["10.96.1.9"], ports: [port] });
    expect(additionals()).toEqual([`${name}. 5 A 10.96.1.9`]);
  });

  test("the serial grows with each change and only then", () => {
    const zone = createZone({ serial: 100 });
    const serial = () => Number(ask(zone, "cluster.local", "SOA").message.answers.length && zone.serial);
    const first = serial();
    zone.setService(service);
    const second = serial();
    expect(second).toBeGreaterThan(first);
    zone.setService({ ...service });
    expect(serial()).toBe(second);
    zone.setEndpointSlice(slice);
    const third = serial();
    expect(third).toBeGreaterThan(second);
    zone.setEndpointSlice({ ...slice, endpoints: slice.endpoints.map((endpoint) => ({ ...endpoint })) });
    expect(serial()).toBe(third);
    zone.deleteService("n", "web");
    expect(serial()).toBeGreaterThan(second);
  });

  test("negative answers carry the serial of the moment", () => {
    const zone = createZone({ serial: 7 });
    const shownSerial = () => {
      const [record] = ask(zone, `x.${name}`, "A").message.authorities;
      return record !== undefined && isKnown(record) && record.type === RrType.SOA ? record.data.serial : -1;
    };
    expect(shownSerial()).toBe(7);
    zone.setService(service);
    expect(shownSerial()).toBe(zone.serial);
    expect(zone.serial).toBeGreaterThan(7);
  });

  test.each([
    ["a Service's name", { ...service, name: "a.b" }, "metadata.name"],
    ["a namespace", { ...service, namespace: "" }, "metadata.namespace"],
    ["an address", { ...service, clusterIPs: ["10.96.0.300"] }, "spec.clusterIPs"],
    ["an external name", { ...service, externalName: "a..b" }, "spec.externalName"],
    ["a port's name", { ...service, ports: [{ name: "a b", protocol: "TCP", port: 1 }] }, "port name"],
  ])("refuses %s that cannot be in the DNS, and stays as it was", (_what, bad, field) => {
    const zone = createZone({ serial: 1 });
    zone.setService(service);
    const before = zone.serial;
    expect(() => zone.setService(bad)).toThrow(InvalidInput);
    expect(() => zone.setService(bad)).toThrow(field);
    expect(ask(zone, name, "A").answers).toEqual([`${name}. 5 A 10.96.1.1`]);
    expect(zone.serial).toBe(before);
  });

  test("random changes lead to the same zone as its last state alone", () => {
    const random = seededRandom(2308);
    const below = (limit: number) => Math.floor(random() * limit);
    const options: ZoneOptions = { serial: 1, reversePrefixes: ["10.0.0.0/8"], pods: "verified" };
    const lived = createZone(options);
    const services = new Map<string, Parameters<Zone["setService"]>[0]>();
    const slices = new Map<string, Parameters<Zone["setEndpointSlice"]>[0]>();
    const pods = new Map<string, Parameters<Zone["setPod"]>[0]>();
    const names = new Set<string>(["svc.cluster.local", "pod.cluster.local"]);
    for (let i = 0; i < 3000; i++) {
      const namespace = `n${below(3)}`;
      const service = `s${below(4)}`;
      const key = `${namespace}/${service}`;
      const base = `${service}.${namespace}.svc.cluster.local`;
      for (const each of [
        base,
        `web-0.${base}`,
        `_p._tcp.${base}`,
        `_tcp.${base}`,
        `${namespace}.svc.cluster.local`,
      ]) {
        names.add(each);
      }
      const address = `10.244.${below(2)}.${below(4)}`;
      names.add(`${address.split(".").reverse().join(".")}.in-addr.arpa`);
      names.add(`${address.replaceAll(".", "-")}.${namespace}.pod.cluster.local`);
      const ports = below(2) === 0 ? [] : [{ name: "p", protocol: "TCP", port: below(3) }];
      switch (below(7)) {
        case 0:
        case 1: {
          const headless = below(2) === 0;
          const clusterIPs = headless ? [] : [`10.96.0.${below(5)}`];
          const object = { namespace, name: service, headless, clusterIPs, ports };
          services.set(key, object);
          lived.setService(object);
          break;
        }
        case 2:
          services.delete(key);
          lived.deleteService(namespace, service);
          break;
        case 3:
        case 4: {
          const endpoints = [
            { addresses: [address], hostname: below(2) === 0 ? "web-0" : undefined, ready: below(3) > 0 },
          ];
          const object = { namespace, name: `slice${below(4)}`, service, ports, endpoints };
          slices.set(`${namespace}/${object.name}`, object);
          lived.setEndpointSlice(object);
          break;
        }
        case 5: {
          const slice = `slice${below(4)}`;
          slices.delete(`${namespace}/${slice}`);
          lived.deleteEndpointSlice(namespace, slice);
          break;
        }
        default: {
          const pod = `p${below(3)}`;
          if (below(2) === 0) {
            pods.set(`${namespace}/${pod}`, { namespace, name: pod, addresses: [address] });
            lived.setPod({ namespace, name: pod, addresses: [address] });
          } else {
            pods.delete(`${namespace}/${pod}`);
            lived.deletePod(namespace, pod);
          }
        }
      }
      if (i % 100 !== 99) continue;
      const fresh = createZone(options);
      for (const object of services.values()) fresh.setService(object);
      for (const object of slices.values()) fresh.setEndpointSlice(object);
      for (const object of pods.values()) fresh.setPod(object);
      expect(lived.size).toBe(fresh.size);
      for (const each of names) {
        for (const type of ["A", "SRV", "PTR"] as const) {
          const [a, b] = [ask(lived, each, type), ask(fresh, each, type)];
          expect([each, a.rcode, a.answers.sort(), a.additionals.sort()]).toEqual([
            each,
            b.rcode,
            b.answers.sort(),
            b.additionals.sort(),
          ]);
        }
      }
    }
    for (const { namespace, name } of services.values()) lived.deleteService(namespace, name);
    for (const { namespace, name } of slices.values()) lived.deleteEndpointSlice(namespace, name);
    for (const { namespace, name } of pods.values()) lived.deletePod(namespace, name);
    expect(lived.size).toBe(0);
    for (const each of names) {
      const { rcode } = ask(lived, each, "A");
      expect([each, rcode]).toEqual([each, each.split(".").length === 3 ? 0 : 3]);
    }
  }, 30_000);
});
