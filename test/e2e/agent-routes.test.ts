/** Routes to other nodes' pods follow the nodes and what others do to them, and only Weft's own are touched. */
import { afterEach, beforeEach, describe, expect } from "bun:test";
import { resources } from "../../src/kube/types.ts";
import { Namespace } from "../kernel/services-fixture.ts";
import { type Agent, eventually, type Host, TestCluster } from "../lib/agent.ts";
import { needs, testWith } from "../lib/needs.ts";

const kernelTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));
const available = needs.root === undefined && needs.kernel("bridge") === undefined;

let cluster: TestCluster;
let node: Host;
let agent: Agent;

async function begin(
  families: readonly (4 | 6)[] = [4, 6],
  options: Record<string, string> = {},
): Promise<void> {
  cluster = await TestCluster.start({ families });
  cluster.kubeconfig();
  node = cluster.host("node", 11);
  agent = cluster.agent(node, "node-1", options);
}

/** Node N with podCIDRs and addresses of the cluster's families. */
async function addNode(number: number): Promise<void> {
  const four = cluster.families.includes(4);
  const six = cluster.families.includes(6);
  await cluster.node(
    `node-${number}`,
    [...(four ? [`10.244.${number}.0/24`] : []), ...(six ? [`fd00:10:244:${number}::/64`] : [])],
    [...(four ? [`172.30.0.${10 + number}`] : []), ...(six ? [`fd00:30::${10 + number}`] : [])],
  );
}

const removeNode = (number: number) => cluster.client.delete(resources.nodes, { name: `node-${number}` });

/** Main table's routes that the kernel did not make itself, the default routes left out. */
const routes = () =>
  node.kernel.rtnl.routes
    .list()
    .filter(({ protocol, dst, type }) => protocol !== "kernel" && dst.length > 0 && type === "unicast")
    .map(({ dst, gateway, protocol }) => `${dst} ${gateway} ${protocol}`)
    .sort();

async function routesBecome(...wanted: string[]): Promise<void> {
  await eventually(
    () => `routes are ${JSON.stringify(routes())}, not ${JSON.stringify(wanted)}`,
    () => Bun.deepEquals(routes(), wanted.sort()),
  );
}

const to = (number: number, by = 10 + number) => [
  `10.244.${number}.0/24 172.30.0.${by} weft`,
  `fd00:10:244:${number}::/64 fd00:30::${by} weft`,
];

afterEach(async () => {
  if (available) await cluster.close();
});

describe("in both families", () => {
  beforeEach(async () => {
    if (!available) return;
    await begin();
    await addNode(1);
    await addNode(2);
    agent.start();
    await agent.isReady();
  });

  kernelTest("come, go and change with the nodes", async () => {
    await routesBecome(...to(2));
    await addNode(3);
    await routesBecome(...to(2), ...to(3));
    await cluster.setAddresses({ metadata: { name: "node-3" } }, ["172.30.0.33", "fd00:30::33"]);
    await routesBecome(...to(2), ...to(3, 33));
    // A node that changed its podCIDRs is another node of the same name.
    await removeNode(3);
    await cluster.node("node-3", ["10.244.7.0/24"], ["172.30.0.33"]);
    await routesBecome(...to(2), "10.244.7.0/24 172.30.0.33 weft");
    await cluster.setAddresses({ metadata: { name: "node-3" } }, []);
    await routesBecome(...to(2));
    await agent.says(
      /routes: ready \(.*node "node-3": it has podCIDR 10\.244\.7\.0\/24 but no IPv4 address\)/,
    );
    await removeNode(2);
    await removeNode(3);
    await routesBecome();
  });

  kernelTest("come back when somebody removes or replaces them, or takes their link away", async () => {
    const ip = (...args: string[]) => node.output("ip", ...args);
    ip("route", "del", "10.244.2.0/24");
    ip("-6", "route", "del", "fd00:10:244:2::/64");
    await routesBecome(...to(2));
    ip("route", "change", "10.244.2.0/24", "via", "172.30.0.77", "proto", "119");
    await routesBecome(...to(2));
    ip("link", "set", "eth0", "down");
    expect(routes()).toEqual([]);
    ip("link", "set", "eth0", "up");
    ip("-6", "address", "replace", "fd00:30::11/64", "dev", "eth0", "nodad");
    await routesBecome(...to(2));
    ip("address", "del", "172.30.0.11/24", "dev", "eth0");
    ip("address", "add", "172.30.0.11/24", "dev", "eth0");
    await routesBecome(...to(2));
    await agent.isReady();
  });

  kernelTest("others' stay, also where they stand in the way, which is told", async () => {
    const others = ["10.9.0.0/16 172.30.0.9 static", "fd00:9::/64 fd00:30::9 bird"];
    node.output("ip", "route", "add", "10.9.0.0/16", "via", "172.30.0.9", "proto", "static");
    node.output("ip", "-6", "route", "add", "fd00:9::/64", "via", "fd00:30::9", "proto", "bird");
    // Takes the place of Weft's, of which the kernel tells only this.
    node.output("ip", "route", "replace", "10.244.2.0/24", "via", "172.30.0.99", "proto", "static");
    await agent.says(
      /routes: degraded \(.*node "node-2": its podCIDR 10\.244\.2\.0\/24 cannot be routed by 172\.30\.0\.12: another's route by 172\.30\.0\.99 \(protocol static\) is in the way, remove it\)/,
    );
    expect(routes()).toContain("10.244.2.0/24 172.30.0.99 static");
    node.output("ip", "route", "del", "10.244.2.0/24");
    await routesBecome(...others, ...to(2));
    await agent.isReady();
    // What carries Weft's number and is not wanted is a leftover.
    node.output("ip", "route", "add", "10.77.0.0/16", "via", "172.30.0.9", "proto", "119");
    await routesBecome(...others, ...to(2));
  });

  kernelTest("podCIDRs that overlap are told by name; the rest works", async () => {
    await cluster.node("node-3", ["10.244.2.128/25", "fd00:10:244:3::/64"], ["172.30.0.13", "fd00:30::13"]);
    await agent.says(
      /routes: degraded \(routes to 2 nodes; node "node-3": its podCIDR 10\.244\.2\.128\/25 overlaps 10\.244\.2\.0\/24 of node "node-2"\)/,
    );
    await routesBecome(...to(2), "fd00:10:244:3::/64 fd00:30::13 weft");
    await removeNode(2);
    await routesBecome("10.244.2.128/25 172.30.0.13 weft", "fd00:10:244:3::/64 fd00:30::13 weft");
    await agent.isReady();
  });
});

describe.each([4, 6] as const)("in a cluster of IPv%i alone", (family) => {
  testWith(
    needs.root,
    needs.kernel("bridge"),
    needs.kernel("nftables"),
    needs.command("dig", "bind9-dnsutils"),
  )("all features work, and nothing is said of the other family", async () => {
    const cidrs = family === 4 ? ["10.244.0.0/16", "10.96.0.0/16"] : ["fd00:10:244::/56", "fd00:10:96::/112"];
    await begin([family], { "cluster-cidr": cidrs[0] as string, "service-cidr": cidrs[1] as string });
    const { sysctl } = node.kernel;
    // A new namespace may begin as the machine's own is.
    for (const key of ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"]) sysctl.write(key, 0);
    await addNode(1);
    await addNode(2);
    agent.start();
    await agent.isReady();
    await routesBecome(to(2)[family === 4 ? 0 : 1] as string);
    const { plugins } = await Bun.file(agent.conflist).json();
    expect(plugins[0].ipam.ranges).toHaveLength(1);
    expect([sysctl.read("net.ipv4.ip_forward"), sysctl.read("net.ipv6.conf.all.forwarding")]).toEqual(
      family === 4 ? ["1", "0"] : ["0", "1"],
    );
    const own = node.kernel.rtnl.addresses.list({ link: "lo" }).map(({ address }) => address.ip.toString());
    expect(own.sort()).toEqual(
      family === 4 ? ["10.96.0.10", "127.0.0.1", "::1"] : ["127.0.0.1", "::1", "fd00:10:96::a"],
    );
    const pod = new Namespace("pod");
    try {
      expect(agent.attach(pod)).toEqual(family === 4 ? ["10.244.1.2"] : ["fd00:10:244:1::2"]);
      const dns = family === 4 ? "10.96.0.10" : "fd00:10:96::a";
      const dig = ["dig", "+short", "+time=2", "+tries=3", `@${dns}`, "kubernetes.default.svc.cluster.local"];
      const { stdout } = pod.in(() => Bun.spawnSync([...dig, family === 4 ? "A" : "AAAA"]));
      expect(stdout.toString().trim()).toBe(family === 4 ? "10.96.0.1" : "fd00:10:96::1");
    } finally {
      pod.close();
    }
  });

  kernelTest("the default settings, which name both, work too", async () => {
    await begin([family]);
    await addNode(1);
    await addNode(2);
    agent.start();
    await agent.isReady();
    await routesBecome(to(2)[family === 4 ? 0 : 1] as string);
    expect((await agent.stop()).status).toBe(0);
    expect(agent.cleanup().status).toBe(0);
    await routesBecome();
  });
});

kernelTest("a machine on which IPv6 is switched off carries IPv4 with the default settings", async () => {
  await begin([4]);
  for (const link of ["all", "default", "lo"]) {
    node.kernel.sysctl.write(`net.ipv6.conf.${link}.disable_ipv6`, 1);
  }
  await addNode(1);
  await addNode(2);
  agent.start();
  await agent.isReady();
  expect((await agent.ready())?.body).toContain(
    "[+] dns: ready (answers at 10.96.0.10, as IPv6 is disabled on this machine)",
  );
  await routesBecome(to(2)[0] as string);
  const pod = new Namespace("pod");
  try {
    expect(agent.attach(pod)).toEqual(["10.244.1.2"]);
  } finally {
    pod.close();
  }
});
