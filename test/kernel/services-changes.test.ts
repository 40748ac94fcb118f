/** Services that change in every field that matters, with real traffic; the scene is drawn in services.test.ts. */
import { afterAll, afterEach, beforeAll, expect } from "bun:test";
import type { EndpointSlice, Service } from "../../src/kube/types.ts";
import { needs, testWith } from "../lib/needs.ts";
import { service, slice } from "../lib/services.ts";
import { Scene } from "./services-fixture.ts";

const kernelTest = testWith(needs.root, needs.kernel("nftables"));
const available = needs.root === undefined && needs.kernel("nftables") === undefined;
let scene: Scene;

beforeAll(async () => {
  if (!available) return;
  scene = new Scene(3);
  await Promise.all([
    ...scene.pods.map((pod, i) => pod.serve(8080, `p${i + 1}`)),
    scene.far.serve(8080, "far"),
    scene.pod(1).serve(9090, "p1-other"),
  ]);
});

afterAll(() => {
  if (available) scene.close();
});

afterEach(() => {
  if (!available) return;
  set();
  // Whatever came and went, nothing of it is left.
  const left = scene.node.nft("list table inet weft").match(/10\.96\.0\.[1-9]|fd00:10:96::[1-9]|3008[0-9]/g);
  expect(left ?? []).toEqual([]);
});

let now = { services: new Set<string>(), slices: new Set<string>() };

/** Makes these all that the API has. */
function set(...objects: (Service | EndpointSlice)[]): void {
  const next = { services: new Set<string>(), slices: new Set<string>() };
  for (const object of objects) {
    const key = `default/${object.metadata.name}`;
    if ("addressType" in object) {
      scene.table.setSlice(object);
      next.slices.add(key);
    } else {
      scene.table.setService(object);
      next.services.add(key);
    }
  }
  for (const key of now.services.difference(next.services)) scene.table.deleteService(key);
  for (const key of now.slices.difference(next.slices)) scene.table.deleteSlice(key);
  now = next;
  scene.driver.sync();
}

const four = (i: number) => `10.244.1.1${i}@a`;
const ask = async (address: string, port: number, patience = 300) =>
  (await scene.pod(3).ask(address, port, patience)).split(" ")[0];

kernelTest("its address, port, target, type, selector and end", async () => {
  const at = (ip: string, ports: string[], rest: Parameters<typeof service>[3] = {}) =>
    service("web", [ip], ports, rest);
  const one = slice("w", "web", [four(1)]);
  const steps: [string, (Service | EndpointSlice)[], Record<string, string>][] = [
    ["as it was made", [at("10.96.0.1", ["80"]), one], { "10.96.0.1:80": "p1", "10.96.0.1:81": "refused" }],
    ["another port", [at("10.96.0.1", ["81"]), one], { "10.96.0.1:80": "refused", "10.96.0.1:81": "p1" }],
    [
      "another target port",
      [at("10.96.0.1", ["81"]), slice("w", "web", [four(1)], ["9090"])],
      { "10.96.0.1:81": "p1-other" },
    ],
    [
      "a port with a name that no slice has",
      [at("10.96.0.1", ["http/81"]), one],
      { "10.96.0.1:81": "refused" },
    ],
    ["a node port", [at("10.96.0.1", ["80:30080"]), one], { "10.96.0.1:80": "p1", "172.30.0.1:30080": "p1" }],
    [
      "another node port",
      [at("10.96.0.1", ["80:30081"]), one],
      { "172.30.0.1:30080": "refused", "172.30.0.1:30081": "p1" },
    ],
    ["none again", [at("10.96.0.1", ["80"]), one], { "10.96.0.1:80": "p1", "172.30.0.1:30081": "refused" }],
    [
      "made anew with another address",
      [at("10.96.0.2", ["80"]), one],
      { "10.96.0.1:80": "silence", "10.96.0.2:80": "p1" },
    ],
    [
      "other endpoints, without a node's name",
      [at("10.96.0.2", ["80"]), slice("w", "web", ["10.244.2.2"])],
      { "10.96.0.2:80": "far" },
    ],
    ["itself", [at("10.96.0.2", ["80"]), slice("w", "web", [four(3)])], { "10.96.0.2:80": "p3" }],
    ["no endpoint", [at("10.96.0.2", ["80"]), slice("w", "web", [])], { "10.96.0.2:80": "refused" }],
    ["no slice", [at("10.96.0.2", ["80"])], { "10.96.0.2:80": "refused" }],
    ["headless", [service("web", ["None"], ["80"]), one], { "10.96.0.2:80": "silence" }],
    [
      "another's name",
      [service("web", [], ["80"], { type: "ExternalName", externalName: "example.com" }), one],
      { "10.96.0.2:80": "silence" },
    ],
    ["as it was made", [at("10.96.0.1", ["80"]), one], { "10.96.0.1:80": "p1" }],
    ["another proxy's", [labelled(at("10.96.0.1", ["80"])), one], { "10.96.0.1:80": "silence" }],
  ];
  for (const [what, objects, expected] of steps) {
    set(...objects);
    const got: Record<string, string | undefined> = {};
    for (const target of Object.keys(expected)) {
      const [ip = "", port] = target.split(":");
      got[target] = await ask(ip, Number(port));
    }
    expect({ what, ...got }).toEqual({ what, ...expected });
  }
});

const labelled = (made: Service): Service => ({
  ...made,
  metadata: { ...made.metadata, labels: { "service.kubernetes.io/service-proxy-name": "other" } },
});

kernelTest("its protocol", async () => {
  const caller = await scene.pod(3).udp("10.96.0.3", 80);
  const udp = () => caller.ask(300).then((answer) => answer.split(" ")[0]);
  for (const [protocol, tcp, datagram] of [
    ["TCP", "p1", "refused"],
    ["UDP", "refused", "p1"],
    ["TCP", "p1", "refused"],
  ] as const) {
    set(
      service("web", ["10.96.0.3"], [`80/${protocol}`]),
      slice("w", "web", [four(1)], [`8080/${protocol}`]),
    );
    expect([protocol, await ask("10.96.0.3", 80), await udp()]).toEqual([protocol, tcp, datagram]);
  }
  caller.close();
});

kernelTest("its families", async () => {
  const six = slice("w6", "web", ["fd00:10:244:1::11@a"]);
  const both = () => Promise.all(["10.96.0.4", "fd00:10:96::4"].map((ip) => ask(ip, 80)));
  for (const [ips, expected] of [
    [["10.96.0.4"], ["p1", "silence"]],
    [
      ["10.96.0.4", "fd00:10:96::4"],
      ["p1", "p1"],
    ],
    [["fd00:10:96::4"], ["silence", "p1"]],
  ] as const) {
    set(service("web", [...ips], ["80"]), slice("w4", "web", [four(1)]), six);
    expect(await both()).toEqual([...expected]);
  }
});

kernelTest("where its endpoints are: Local follows them from node to node", async () => {
  const local = service("web", ["10.96.0.5"], ["80:30082"], {
    type: "NodePort",
    externalTrafficPolicy: "Local",
    internalTrafficPolicy: "Local",
  });
  const outside = async () => (await scene.client.ask("172.30.0.1", 30082, 300)).split(" ").slice(0, 2);
  for (const [endpoints, inside, world] of [
    [[four(1)], "p1", ["p1", "172.30.0.2"]],
    [["10.244.2.2@b"], "silence", ["silence"]],
    [["10.244.2.2@b", four(2)], "p2", ["p2", "172.30.0.2"]],
    [["10.244.2.2@b!", `${four(2)}~`], "p2", ["p2", "172.30.0.2"]],
    [[`${four(2)}x`], "refused", ["refused"]],
  ] as const) {
    set(local, slice("w", "web", [...endpoints]));
    expect([endpoints, await ask("10.96.0.5", 80), await outside()]).toEqual([endpoints, inside, [...world]]);
  }
});

kernelTest("its affinity: a client stays, and for no longer than it shall", async () => {
  const spec = (seconds: number) =>
    service("web", ["10.96.0.6"], ["80"], {
      sessionAffinity: "ClientIP",
      sessionAffinityConfig: { clientIP: { timeoutSeconds: seconds } },
    });
  const all = slice("w", "web", [four(1), four(2), "10.244.2.2@b"]);
  const answers = async (times: number) => {
    const found = new Set<string | undefined>();
    for (let i = 0; i < times; i++) found.add(await ask("10.96.0.6", 80));
    return found;
  };
  const remembered = () => scene.node.nft("list map inet weft services-affinity4");
  set(spec(600), all);
  const first = await answers(20);
  expect(first.size).toBe(1);
  expect(remembered()).toMatch(/10\.244\.1\.13 .* 10\.96\.0\.6 .* timeout 10m expires/);
  // Less from now on, also for who is remembered; it stays where it is.
  set(spec(60), all);
  expect(await answers(20)).toEqual(first);
  expect(remembered()).toMatch(/expires (1m|[1-5][0-9]s[0-9]*m?s?) /);
  expect(remembered()).not.toMatch(/expires [0-9]+m[0-9]+s/);
  set(service("web", ["10.96.0.6"], ["80"]), all);
  expect(remembered()).not.toContain("10.96.0.6");
  // Of three, 40 answers are all the same once in 10^18 runs.
  expect((await answers(40)).size).toBeGreaterThan(1);
});

kernelTest("UDP: what goes to an endpoint that terminates goes on until it answers no more", async () => {
  set(service("dns", ["10.96.0.7"], ["53/UDP"]), slice("d", "dns", [four(1)], ["8080/UDP"]));
  const caller = await scene.pod(3).udp("10.96.0.7", 53);
  const udp = () => caller.ask(500).then((answer) => answer.split(" ")[0]);
  expect(await udp()).toBe("p1");
  for (const [endpoints, expected, newcomer] of [
    [[`${four(1)}~`, four(2)], "p1", "p2"],
    [[`${four(1)}x`, four(2)], "p2", "p2"],
    [[four(1), four(2)], "p2", undefined],
    [[four(1)], "p1", "p1"],
  ] as const) {
    set(service("dns", ["10.96.0.7"], ["53/UDP"]), slice("d", "dns", [...endpoints], ["8080/UDP"]));
    expect([endpoints, await udp()]).toEqual([endpoints, expected]);
    if (newcomer === undefined) continue;
    const other = await scene.pod(3).udp("10.96.0.7", 53);
    expect((await other.ask(500)).split(" ")[0]).toBe(newcomer);
    other.close();
  }
  caller.close();
});
