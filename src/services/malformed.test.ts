/** What no API server should tell, and yet must not keep the other Services from being served. */
import { expect, test } from "bun:test";
import { service, slice } from "../../test/lib/services.ts";
import type { EndpointSlice, Service } from "../kube/types.ts";
import { ServiceTable } from "./table.ts";

const ip = "10.96.0.2";
/** The Service "odd", with fields of any kind. */
const odd = (spec: object): Service => ({
  ...service("odd", [ip], ["80"]),
  spec: { ...plain.spec, ...spec },
});
const plain = service("odd", [ip], ["80"]);
const port = (fields: object) => odd({ ports: [{ ...plain.spec.ports?.[0], ...fields }, { port: 81 }] });
const endpoints = (fields: object): EndpointSlice => ({ ...slice("odd", "odd", ["1.1.1.1"]), ...fields });
const affinity = (timeoutSeconds: number) =>
  odd({ sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP: { timeoutSeconds } } });
const http = `4 ${ip} . tcp . 80`;
const other = `4 ${ip} . tcp . 81`;

/** What it says of the Service, the frontends that it gives it, and their endpoints. */
test.each<[string, Service | EndpointSlice, string[], string[]]>([
  ["a port too large", port({ port: 70_000 }), ["spec.ports: port 70000 is no port"], [other]],
  ["a port of zero", port({ port: 0 }), ["spec.ports: port 0 is no port"], [other]],
  ["a port's name for a number", port({ port: "http" }), ['spec.ports: port "http" is no port'], [other]],
  ["no port", port({ port: undefined }), ["spec.ports: port nothing is no port"], [other]],
  ["a node port", port({ nodePort: 99_999 }), ["spec.ports: nodePort 99999 is no port"], [other]],
  ["a protocol", port({ protocol: "FOO" }), ['spec.ports: protocol "FOO" is not TCP, UDP or SCTP'], [other]],
  ["a protocol's number", port({ protocol: 6 }), ["spec.ports: protocol 6 is not TCP, UDP or SCTP"], [other]],
  ["no ports", odd({ ports: null }), [], []],
  ["no seconds", affinity(0), [], [http]],
  ["negative seconds", affinity(-1), [], [http]],
  ["part of a second", affinity(0.5), [], [http]],
  ["seconds without end", affinity(1e15), [], [http]],
  ["an endpoint's port", endpoints({ ports: [{ port: 70_000 }] }), [], [http]],
  ["an endpoint's negative port", endpoints({ ports: [{ port: -1 }] }), [], [http]],
  ["an endpoint's address", endpoints({ endpoints: [{ addresses: ["x"] }] }), [], [http]],
])("%s", (_, object, problems, frontends) => {
  const table = filled();
  set(table, object);
  table.compute();
  expect(table.refusals().get("default/odd") ?? []).toEqual(problems);
  const ids = [...table.frontends()].map(([id]) => id);
  expect(ids.filter((id) => id.includes(ip))).toEqual(frontends);
  expect(ids).toContain("4 10.96.0.1 . tcp . 80");
  for (const [, { frontend }] of table.frontends()) {
    expect([0, 10_800]).toContain(frontend.affinity);
  }
});

test.each<[string, Service | EndpointSlice]>([
  ["ClusterIPs", odd({ clusterIPs: [1] })],
  ["a ClusterIP for the list", odd({ clusterIPs: ip })],
  ["ports", odd({ ports: 80 })],
  ["external addresses", odd({ externalIPs: [5] })],
  ["an endpoint", endpoints({ endpoints: [null] })],
  ["an endpoint's addresses", endpoints({ endpoints: [{ addresses: null }] })],
])("%s of another type: the Service keeps what it had", (_, object) => {
  const table = filled();
  const before = String(table.elements);
  set(table, object);
  expect(table.compute().changes).toEqual([]);
  expect(String(table.elements)).toBe(before);
  expect(table.refusals().get("default/odd")).toEqual([expect.stringMatching(/^it is malformed \(/)]);
  set(table, plain);
  set(table, slice("odd", "odd", ["1.1.1.1"]));
  table.compute();
  expect(String(table.elements)).toBe(before);
  expect(table.refusals().size).toBe(0);
});

function filled(): ServiceTable {
  const table = new ServiceTable({ name: "a" }, { reserved: [], nodeAddresses: [] });
  for (const object of [service("good", ["10.96.0.1"], ["80"]), plain, slice("odd", "odd", ["1.1.1.1"])]) {
    set(table, object);
  }
  table.compute();
  return table;
}

function set(table: ServiceTable, object: Service | EndpointSlice): void {
  if ("addressType" in object) table.setSlice(object);
  else table.setService(object);
}
