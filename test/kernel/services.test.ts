/**
 * Services in the real kernel, with real traffic:
 *
 *     client ──172.30.0.0/24, fd00:30::/64── node "a" ──10.244.2.0/24, fd00:10:244:2::/64── far (a pod of node "b")
 *      .2                                .1   │                                          .2
 *                                           weft0 10.244.1.1, fd00:10:244:1::1
 *                                             ├── p1 .11   ├── p2 .12   └── p3 .13
 *
 * Every pod answers on port 8080 with its name and the caller's address as it sees it.
 */
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
    scene.node.serve(8080, "node"),
  ]);
});

afterAll(() => {
  if (available) scene.close();
});

const present: (() => void)[] = [];
afterEach(() => {
  for (const remove of present.splice(0)) remove();
  if (available) scene.driver.sync();
});

function apply(...objects: (Service | EndpointSlice)[]): void {
  for (const object of objects) {
    const key = `default/${object.metadata.name}`;
    if ("addressType" in object) {
      scene.table.setSlice(object);
      present.push(() => scene.table.deleteSlice(key));
    } else {
      scene.table.setService(object);
      present.push(() => scene.table.deleteService(key));
    }
  }
  scene.driver.sync();
}

const four = (i: number) => `10.244.1.1${i}@a`;
const six = (i: number) => `fd00:10:244:1::1${i}@a`;
const ips = ["10.96.0.1", "fd00:10:96::1"];
const names = (answers: string[]) => answers.map((answer) => answer.split(" ")[0] as string);
const repeat = <T>(times: number, action: () => Promise<T>) =>
  Array.from({ length: times }).reduce<Promise<T[]>>(
    async (before) => [...(await before), await action()],
    Promise.resolve([]),
  );

const blue = service("blue", ips, ["80"]);
const blue4 = slice("blue-4", "blue", [four(1), four(2), four(3)]);
const blue6 = slice("blue-6", "blue", [six(1), six(2), six(3)]);

kernelTest.each(["client", "node", "far", "p1"] as const)("balances from %s, both families", async (from) => {
  apply(blue, blue4, blue6);
  const caller = from === "p1" ? scene.pod(1) : scene[from];
  for (const ip of ips) {
    const answers = names(await repeat(90, () => caller.ask(ip, 80)));
    const counts = ["p1", "p2", "p3"].map((name) => answers.filter((answer) => answer === name).length);
    expect(counts.reduce((a, b) => a + b)).toBe(90);
    // Each of three gets 90/3; less than 10 of them happens once in a million runs.
    expect(Math.min(...counts)).toBeGreaterThan(9);
  }
});

kernelTest("pods are seen by their own addresses, also by a pod of the same bridge", async () => {
  apply(blue, slice("blue-4", "blue", [four(2)]), slice("blue-6", "blue", [six(2)]));
  expect(await scene.pod(1).ask(ips[0] as string, 80)).toStartWith("p2 10.244.1.11 ");
  expect(await scene.pod(1).ask(ips[1] as string, 80)).toStartWith("p2 fd00:10:244:1::11 ");
  const caller = await scene.pod(1).udp("10.96.0.2", 53);
  apply(service("dns", ["10.96.0.2"], ["53/UDP"]), slice("dns", "dns", [four(2)], ["8080/UDP"]));
  expect(await caller.ask()).toStartWith("p2 10.244.1.11 ");
  caller.close();
});

kernelTest("a pod reaches itself through its Service", async () => {
  apply(blue, slice("blue-4", "blue", [four(1)]), slice("blue-6", "blue", [six(1)]));
  expect(await scene.pod(1).ask("10.96.0.1", 80)).toStartWith("p1 10.244.1.1 ");
  expect(await scene.pod(1).ask("fd00:10:96::1", 80)).toStartWith("p1 fd00:10:244:1::1 ");
});

kernelTest("a sticky Service is translated at its source as any other", async () => {
  const sticky = service("shop", ips, ["80:30085"], { type: "NodePort", sessionAffinity: "ClientIP" });
  apply(sticky, slice("s4", "shop", [four(1)]), slice("s6", "shop", ["fd00:10:244:2::2@b"]));
  for (let i = 0; i < 2; i++) {
    expect(await scene.pod(1).ask("10.96.0.1", 80)).toStartWith("p1 10.244.1.1 ");
    expect(await scene.client.ask("fd00:30::1", 30085)).toStartWith("far fd00:10:244:2::1 ");
  }
});

kernelTest("refuses at once where a Service has no endpoint, and at ports that it has not", async () => {
  apply({
    ...blue,
    spec: {
      ...blue.spec,
      ports: [
        { port: 80, nodePort: 30080 },
        { port: 53, protocol: "UDP" },
      ],
    },
  });
  for (const caller of [scene.client, scene.node, scene.pod(1)]) {
    for (const ip of ips) {
      expect(await caller.ask(ip, 80)).toBe("refused");
      expect(await caller.ask(ip, 81)).toBe("refused");
    }
  }
  for (const ip of ["172.30.0.1", "fd00:30::1"]) expect(await scene.client.ask(ip, 30080)).toBe("refused");
  for (const ip of ips) {
    const caller = await scene.pod(1).udp(ip, 53);
    expect(await caller.ask()).toBe("refused");
    caller.close();
  }
});

kernelTest(
  "session affinity: a client keeps its endpoint until it stays away",
  async () => {
    const sticky = service("shop", ips, ["80:30081"], {
      type: "NodePort",
      sessionAffinity: "ClientIP",
      sessionAffinityConfig: { clientIP: { timeoutSeconds: 2 } },
    });
    apply(
      sticky,
      slice("s4", "shop", [four(1), four(2), four(3)]),
      slice("s6", "shop", [six(1), six(2), six(3)]),
    );
    const remembered = () =>
      scene.node.kernel.nft
        .elements({ family: "inet", name: "weft" }, affinity)
        .map(({ key, data, expires }) => ({ key: String(key), data: String(data), expires: expires ?? 0 }));
    for (const ip of [...ips, "172.30.0.1", "fd00:30::1"]) {
      const port = ips.includes(ip) ? 80 : 30081;
      const answers = names(await repeat(12, () => scene.client.ask(ip, port)));
      expect(new Set(answers).size).toBe(1);
    }
    const [first] = names([await scene.client.ask("10.96.0.1", 80)]);
    const mine = () => remembered().find(({ key }) => key.startsWith("172.30.0.2,10.96.0.1,"));
    // Refreshed by use: the time left goes up again.
    await until(() => (mine()?.expires ?? 0) < 1500);
    expect(names([await scene.client.ask("10.96.0.1", 80)])).toEqual([first as string]);
    expect(mine()?.expires ?? 0).toBeGreaterThan(1500);
    await until(() => remembered().length === 0);
  },
  20_000,
);

const affinity = {
  kind: "map",
  name: "services-affinity4",
  key: ["ipv4_addr", "ipv4_addr", "inet_proto", "inet_service"],
  data: ["ipv4_addr", "inet_service"],
  flags: ["timeout", "dynamic"],
} as const;

async function until(condition: () => boolean, patience = 5000): Promise<void> {
  const end = Date.now() + patience;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`Not so after ${patience} ms: ${condition}`);
    await Bun.sleep(20);
  }
}

kernelTest(
  "session affinity: the clients of an endpoint that goes get another at once, the others keep theirs",
  async () => {
    const sticky = service("shop", ["10.96.0.3"], ["80"], { sessionAffinity: "ClientIP" });
    const endpoints = [1, 2, 3].map(four);
    apply(sticky, slice("s", "shop", endpoints));
    const callers = [scene.client, scene.far, scene.node, ...scene.pods];
    const askAll = async () => names(await Promise.all(callers.map((caller) => caller.ask("10.96.0.3", 80))));
    const before = await askAll();
    const gone = before[0] as string;
    apply(
      slice(
        "s",
        "shop",
        endpoints.filter((_, i) => `p${i + 1}` !== gone),
      ),
    );
    const after = await askAll();
    expect(after).not.toContain(gone);
    for (const [i, name] of before.entries()) if (name !== gone) expect(after[i]).toBe(name);
    expect(scene.driver.counts.clients).toBeGreaterThan(0);
  },
);

kernelTest.each([
  ["172.30.0.1", "172.30.0.2"],
  ["fd00:30::1", "fd00:30::2"],
  ["10.244.1.1", "172.30.0.2"],
])("node port at %s: the node's address for Cluster, the client's for Local", async (ip, caller) => {
  const ports = service("web", ips, ["80:30082"], { type: "NodePort" });
  const endpoints = [slice("w4", "web", ["10.244.2.2@b"]), slice("w6", "web", ["fd00:10:244:2::2@b"])];
  apply(ports, ...endpoints);
  const inside = ip.includes(":") ? "fd00:10:244:2::1" : "10.244.2.1";
  expect(await scene.client.ask(ip, 30082)).toStartWith(`far ${inside} `);
  // From a pod of this node the answer comes back this way: it keeps its address.
  expect(await scene.pod(1).ask(ip, 30082)).toStartWith(
    `far ${ip.includes(":") ? "fd00:10:244:1::11" : "10.244.1.11"} `,
  );
  apply({ ...ports, spec: { ...ports.spec, externalTrafficPolicy: "Local" } });
  expect(await scene.client.ask(ip, 30082, 300)).toBe("silence");
  expect(await scene.pod(1).ask(ip, 30082)).toStartWith("far ");
  expect(await scene.node.ask(ip, 30082)).toStartWith("far ");
  apply(slice("w4", "web", ["10.244.2.2@b", four(2)]), slice("w6", "web", ["fd00:10:244:2::2@b", six(2)]));
  const answers = await repeat(12, () => scene.client.ask(ip, 30082));
  for (const answer of answers) expect(answer).toStartWith(`p2 ${caller} `);
});

kernelTest("node ports are not opened on loopback, nor at addresses that are not the node's", async () => {
  apply(
    service("web", ips, ["80:30083"], { type: "NodePort" }),
    slice("w4", "web", [four(1)]),
    slice("w6", "web", [six(1)]),
  );
  expect(await scene.node.ask("127.0.0.1", 30083)).toBe("refused");
  expect(await scene.node.ask("::1", 30083)).toBe("refused");
  expect(await scene.client.ask("10.244.2.2", 30083)).toBe("refused");
  expect(await scene.node.ask("172.30.0.1", 30083)).toStartWith("p1 ");
});

kernelTest("internalTrafficPolicy Local takes this node's endpoints or none", async () => {
  const local = service("log", ["10.96.0.4"], ["80"], { internalTrafficPolicy: "Local" });
  apply(local, slice("l", "log", [four(3), "10.244.2.2@b"]));
  expect(new Set(names(await repeat(12, () => scene.pod(1).ask("10.96.0.4", 80))))).toEqual(new Set(["p3"]));
  apply(slice("l", "log", ["10.244.2.2@b"]));
  expect(await scene.pod(1).ask("10.96.0.4", 80, 300)).toBe("silence");
});

kernelTest("external addresses and a load balancer's source ranges", async () => {
  const balancer: Service = {
    ...service("lb", ["10.96.0.5"], ["80"], {
      type: "LoadBalancer",
      externalIPs: ["192.0.2.1"],
      loadBalancerSourceRanges: ["10.244.0.0/16"],
    }),
    status: { loadBalancer: { ingress: [{ ip: "192.0.2.2" }] } },
  };
  apply(balancer, slice("lb", "lb", [four(2)]));
  expect(await scene.client.ask("192.0.2.1", 80)).toStartWith("p2 10.244.1.1 ");
  expect(await scene.client.ask("192.0.2.2", 80, 300)).toBe("silence");
  expect(await scene.pod(1).ask("192.0.2.2", 80)).toStartWith("p2 10.244.1.11 ");
});

kernelTest("UDP: a client that never stops is led to another endpoint when its own goes", async () => {
  apply(service("dns", ["10.96.0.6", "fd00:10:96::6"], ["53/UDP:30053"], { type: "NodePort" }));
  const callers = await Promise.all([
    scene.pod(1).udp("10.96.0.6", 53),
    scene.pod(1).udp("fd00:10:96::6", 53),
    scene.client.udp("172.30.0.1", 30053),
    scene.client.udp("fd00:30::1", 30053),
  ]);
  const ask = async () => names(await Promise.all(callers.map((caller) => caller.ask())));
  const both = (...which: number[]) => [
    slice("d4", "dns", which.map(four), ["8080/UDP"]),
    slice("d6", "dns", which.map(six), ["8080/UDP"]),
  ];
  apply(...both(2));
  expect(await ask()).toEqual(["p2", "p2", "p2", "p2"]);
  apply(...both(2, 3));
  expect(await ask()).toEqual(["p2", "p2", "p2", "p2"]);
  apply(...both(3));
  expect(await ask()).toEqual(["p3", "p3", "p3", "p3"]);
  for (const caller of callers) caller.close();
});

kernelTest("UDP: what went to the node's own port goes to the Service that takes it over", async () => {
  const caller = await scene.client.udp("172.30.0.1", 8080);
  const stranger = await scene.client.udp("10.244.2.2", 8080);
  expect(await caller.ask()).toStartWith("node ");
  expect(await stranger.ask()).toStartWith("far ");
  const before = scene.driver.counts.flows;
  apply(service("new", ["10.96.0.7"], ["53/UDP:8080"]), slice("n", "new", [four(1)], ["8080/UDP"]));
  expect(await caller.ask()).toStartWith("p1 ");
  // A flow to the same port elsewhere is none of the Service's.
  expect(scene.driver.counts.flows - before).toBe(1);
  expect(await stranger.ask()).toStartWith("far ");
  caller.close();
  stranger.close();
});

kernelTest("drops what is sent to addresses of the service prefix that no Service has", async () => {
  apply(blue);
  expect(await scene.pod(1).ask("10.96.9.9", 80, 200)).toBe("silence");
  scene.node.address("lo", "10.96.0.10/32");
  await scene.node.serve(5300, "dns");
  expect(await scene.pod(1).ask("10.96.0.10", 5300)).toStartWith("dns 10.244.1.11 ");
});

kernelTest("leaves the other bits of a packet's mark alone", async () => {
  scene.node.nft(
    `table inet other {
       chain before { type filter hook prerouting priority -300; meta mark set 0x00000421; }
       chain after { type filter hook postrouting priority 300; meta mark 0x00000421 counter; }
     }`,
  );
  apply(service("web", ips, ["80:30084"], { type: "NodePort" }), slice("w", "web", ["10.244.2.2@b"]));
  const packets = () => Number(/packets ([0-9]+)/.exec(scene.node.nft("list table inet other"))?.[1]);
  const before = packets();
  expect(await scene.client.ask("172.30.0.1", 30084)).toStartWith("far 10.244.2.1 ");
  expect(packets()).toBeGreaterThan(before);
  expect(scene.node.nft("list table inet other")).toContain("packets");
  scene.node.nft("delete table inet other");
});
