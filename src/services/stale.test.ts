import { expect, test } from "bun:test";
import { service, slice } from "../../test/lib/services.ts";
import { isStaleFlow, staleClients } from "./stale.ts";
import { ServiceTable } from "./table.ts";

const surroundings = {
  isLocal: (address: string) => address === "172.30.0.1",
  isPod: (address: string) => address.startsWith("10.244.1."),
};

function tableOf(spec: Parameters<typeof service>[3] = {}): ServiceTable {
  const table = new ServiceTable({ name: "a" }, { reserved: [], nodeAddresses: [] });
  table.setService(service("dns", ["10.96.0.10"], ["53/UDP:30053"], spec));
  table.setSlice(
    slice("dns", "dns", ["10.244.1.2@a", "10.244.2.2@b", "10.244.2.3@b~", "10.244.2.4@b!"], ["5353/UDP"]),
  );
  table.compute();
  return table;
}

const all = new Set(["4 10.96.0.10 . udp . 53", "4 udp . 30053", "4 10.96.0.99 . udp . 53"]);

test.each([
  ["10.96.0.10:53 10.244.1.2:5353", false, "an endpoint"],
  ["10.96.0.10:53 10.244.1.9:5353", true, "no endpoint any more"],
  ["10.96.0.10:53 10.244.2.3:5353", false, "an endpoint that terminates and still answers"],
  ["10.96.0.10:53 10.244.2.4:5353", true, "an endpoint that is not ready any more"],
  ["10.96.0.10:53 10.244.1.2:53", true, "another port of an endpoint's address"],
  ["10.96.0.10:53 10.96.0.10:53", true, "never translated, from before there was a Service"],
  ["10.96.0.10:54 10.244.1.9:54", false, "a port that is no frontend"],
  ["172.30.0.1:30053 10.244.2.2:5353", false, "a node port's endpoint"],
  ["172.30.0.1:30053 172.30.0.1:30053", true, "a program of the node before the node port came"],
  ["10.244.9.9:30053 10.244.9.9:30053", false, "the same port of another machine"],
  ["10.96.0.99:53 10.244.1.2:5353", true, "of a Service that went"],
  ["10.96.0.99:53 10.96.0.99:53", false, "never translated, and nothing there now"],
])("UDP flow %s: stale is %p, %s", (text, expected) => {
  const [[destination, destinationPort], [answerer, answererPort]] = text
    .split(" ")
    .map((end) => end.split(":")) as [[string, string], [string, string]];
  const flow = {
    family: 4 as const,
    destination,
    destinationPort: Number(destinationPort),
    answerer,
    answererPort: Number(answererPort),
  };
  expect(isStaleFlow(flow, tableOf(), all, surroundings)).toBe(expected);
  expect(isStaleFlow(flow, tableOf(), new Set(), surroundings)).toBe(false);
});

const sticky = { sessionAffinity: "ClientIP", externalTrafficPolicy: "Local" } as const;

test.each([
  ["10.244.1.5 . 10.96.0.10 . udp . 53", "10.244.2.2 . 5353", false, "an endpoint"],
  ["10.244.1.5 . 10.96.0.10 . udp . 53", "10.244.2.9 . 5353", true, "none any more"],
  ["192.0.2.1 . 172.30.0.1 . udp . 30053", "10.244.1.2 . 5353", false, "the world at this node's endpoint"],
  ["192.0.2.1 . 172.30.0.1 . udp . 30053", "10.244.2.2 . 5353", true, "the world at another node's"],
  ["10.244.1.5 . 172.30.0.1 . udp . 30053", "10.244.2.2 . 5353", false, "a pod at another node's"],
  ["172.30.0.1 . 172.30.0.1 . udp . 30053", "10.244.2.2 . 5353", false, "the node at another node's"],
  ["192.0.2.1 . 10.96.0.99 . udp . 53", "10.244.1.2 . 5353", true, "a Service that went"],
  ["192.0.2.1 . 10.96.0.98 . udp . 53", "10.244.1.2 . 5353", false, "not asked about"],
])("client %s at %s: stale is %p, %s", (key, endpoint, expected) => {
  const clients = new Map([[key, endpoint]]);
  expect(staleClients(4, clients, tableOf(sticky), all, surroundings)).toEqual(expected ? [key] : []);
  // Without affinity nobody is to be remembered.
  const asked = !key.includes("10.96.0.98");
  expect(staleClients(4, clients, tableOf(), all, surroundings)).toEqual(asked ? [key] : []);
});
