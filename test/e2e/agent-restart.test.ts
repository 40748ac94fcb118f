/**
 * The agent ends and begins again under running streams, which lose nothing; and takes over what it finds.
 *
 *     pod 10.244.1.2 ── weft0 ── node 172.30.0.11 ══ wire ══ 172.30.0.12 peer ── far 10.244.2.2
 *
 * The Service "echo" (10.96.0.50, fd00:10:96::50) leads to 10.244.2.2 and fd00:10:244:2::2.
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { lstatSync, readdirSync } from "node:fs";
import { join as pathOf } from "node:path";
import { resources } from "../../src/kube/types.ts";
import type { RtnlEvent } from "../../src/linux/route/monitor.ts";
import { weftTable } from "../../src/reconcile/table-part.ts";
import { join, Namespace } from "../kernel/services-fixture.ts";
import { type Agent, countersOf, eventually, type Host, TestCluster } from "../lib/agent.ts";
import { needs, testWith } from "../lib/needs.ts";
import { service, slice } from "../lib/services.ts";
import { type Stream, serveUdp, tcpStream, udpStream } from "../lib/streams.ts";

const kernelTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));
const available = needs.root === undefined && needs.kernel("bridge") === undefined;

let cluster: TestCluster;
let node: Host;
let peer: Host;
let pod: Namespace;
let far: Namespace;
let agent: Agent;
let stopUdp: () => void;

const clusterIPs = ["10.96.0.50", "fd00:10:96::50"];

beforeAll(async () => {
  if (!available) return;
  cluster = await TestCluster.start();
  cluster.kubeconfig();
  node = cluster.host("node", 11);
  peer = cluster.host("peer", 12);
  far = remotePod(peer);
  await far.serve(8080, "far");
  stopUdp = await serveUdp(far, 8081);
  await cluster.node("node-1", ["10.244.1.0/24", "fd00:10:244:1::/64"], node.addresses);
  await cluster.node("node-2", ["10.244.2.0/24", "fd00:10:244:2::/64"], peer.addresses);
  await cluster.client.create(
    resources.services,
    service("echo", clusterIPs, ["tcp/80/TCP", "udp/81/UDP"], { ipFamilyPolicy: "RequireDualStack" }),
  );
  for (const [i, address] of ["10.244.2.2", "fd00:10:244:2::2"].entries()) {
    const ports = ["tcp/8080/TCP", "udp/8081/UDP"];
    await cluster.client.create(
      resources.endpointSlices,
      slice(`echo-${i}`, "echo", [`${address}@node-2`], ports),
    );
  }
  agent = cluster.agent(node, "node-1").start();
  await agent.isReady();
  pod = new Namespace("pod");
  agent.attach(pod);
}, 30_000);

afterAll(async () => {
  if (!available) return;
  stopUdp();
  await cluster.close();
  pod?.close();
  far?.close();
});

/** A pod of the peer, which knows the way to the node's pods by itself. */
function remotePod(at: Host): Namespace {
  const made = new Namespace("far");
  join(at, "far0", made, "eth0");
  at.address("far0", "10.244.2.1/24", "fd00:10:244:2::1/64");
  made.address("eth0", "10.244.2.2/24", "fd00:10:244:2::2/64");
  made.route("0.0.0.0/0", "10.244.2.1");
  made.route("::/0", "fd00:10:244:2::1");
  at.kernel.sysctl.write("net.ipv4.ip_forward", 1);
  at.kernel.sysctl.write("net.ipv6.conf.all.forwarding", 1);
  at.route("10.244.1.0/24", "172.30.0.11");
  at.route("fd00:10:244:1::/64", "fd00:30::11");
  return made;
}

/** What tells whether anybody wrote: of files, inodes and times of change. */
function written(): { generation: number; files: string[] } {
  const stat = (path: string) => {
    const { ino, mtimeNs, ctimeNs } = lstatSync(path, { bigint: true });
    return `${path} ${ino} ${mtimeNs} ${ctimeNs}`;
  };
  const files = [agent.confDir, agent.binDir, pathOf(agent.ipamDir, "weft")].flatMap((dir) => [
    stat(dir),
    ...readdirSync(dir)
      .sort()
      .map((name) => stat(pathOf(dir, name))),
  ]);
  return { generation: node.kernel.nft.generation(), files };
}

/** Everything that the kernel tells of while something is done in the node's namespace. */
async function eventsDuring(action: () => Promise<void>): Promise<RtnlEvent[]> {
  const monitor = node.kernel.rtnl.monitor("links", "addresses", "routes", "rules");
  const events: RtnlEvent[] = [];
  const reading = (async () => {
    for await (const event of monitor) events.push(event);
  })();
  try {
    await action();
  } finally {
    await monitor.close();
    await reading;
  }
  return events;
}

/** The streams of a pod through the Service and past it, and of the node itself. */
async function openStreams(): Promise<Stream[]> {
  return await Promise.all([
    ...clusterIPs.flatMap((ip) => [tcpStream(pod, ip, 80), udpStream(pod, ip, 81)]),
    tcpStream(pod, "10.244.2.2", 8080),
    tcpStream(node, clusterIPs[0] as string, 80),
  ]);
}

/** Segments that had to be sent again; what the receiver had already is only impatience. */
function retransmitted(at: Namespace): number {
  const counters = countersOf(at);
  return (counters.get("Tcp: RetransSegs") ?? 0) - (counters.get("TcpExt: TCPDSACKRecv") ?? 0);
}

const resent = () => [node, pod, far].map(retransmitted).reduce((sum, each) => sum + each);

describe.each(["SIGTERM", "SIGKILL"] as const)("after %s", (signal) => {
  kernelTest(
    "streams go on without loss, and nothing is written",
    async () => {
      const streams = await openStreams();
      const flows = () => Promise.all(streams.map((stream) => stream.more(50)));
      await flows();
      const before = written();
      const resentBefore = resent();
      const events = await eventsDuring(async () => {
        const { status, took } = await agent.stop(signal);
        if (signal === "SIGTERM") {
          expect(status).toBe(0);
          expect(took).toBeLessThan(1000);
        }
        await flows();
        agent.start();
        await agent.isReady();
        await flows();
      });
      expect(events).toEqual([]);
      expect(written()).toEqual(before);
      for (const stream of streams) expect(await stream.end()).toEqual({ lost: 0, error: undefined });
      expect(resent()).toBe(resentBefore);
    },
    40_000,
  );
});

kernelTest(
  "what changed in the API while the agent was away is made so",
  async () => {
    const routes = () =>
      node.kernel.rtnl.routes
        .list({ protocol: "weft" })
        .map(({ dst, gateway }) => `${dst} via ${gateway}`)
        .sort();
    const endpoints = () =>
      (
        node.kernel.nft.dump(weftTable).sets.find(({ name }) => name === "services-endpoints4")?.elements ??
        []
      )
        .map(({ key, data }) => [key, data].flat().join(" "))
        .filter((text) => text.startsWith("10.96.0.60"));
    await cluster.node("node-3", ["10.244.3.0/24"], ["172.30.0.13"]);
    await cluster.node("node-4", ["10.244.4.0/24"], ["172.30.0.14"]);
    await cluster.client.create(resources.services, service("late", ["10.96.0.60"], ["80"]));
    await cluster.client.create(
      resources.endpointSlices,
      slice("late", "late", ["10.244.2.8", "10.244.2.9"]),
    );
    await eventually(
      () => `routes ${routes()}`,
      () => routes().length === 4,
    );
    await eventually(
      () => `endpoints ${endpoints()}`,
      () => endpoints().length === 2,
    );
    await agent.stop();

    const { client } = cluster;
    await client.delete(resources.nodes, { name: "node-3" });
    await cluster.setAddresses({ metadata: { name: "node-4" } }, ["172.30.0.99"]);
    await cluster.node("node-5", ["10.244.5.0/24"], ["172.30.0.15"]);
    const lateSlice = await client.get(resources.endpointSlices, { namespace: "default", name: "late" });
    const { endpoints: had = [] } = lateSlice;
    await client.update(resources.endpointSlices, { ...lateSlice, endpoints: had.slice(1) });
    await client.delete(resources.services, { namespace: "default", name: "echo" });

    agent.start();
    await agent.isReady();
    await eventually(
      () => `routes ${routes()}`,
      () =>
        Bun.deepEquals(routes(), [
          "10.244.2.0/24 via 172.30.0.12",
          "10.244.4.0/24 via 172.30.0.99",
          "10.244.5.0/24 via 172.30.0.15",
          "fd00:10:244:2::/64 via fd00:30::12",
        ]),
    );
    expect(endpoints()).toEqual(["10.96.0.60 tcp 80 0 10.244.2.9 8080"]);
    expect(node.output("nft", "list", "table", "inet", "weft")).not.toContain("10.96.0.50");
  },
  30_000,
);

/** All that the agent makes, as text. */
function made(): string {
  return [
    node.output("ip", "route", "show", "table", "all", "proto", "119"),
    node.output("ip", "-6", "route", "show", "table", "all", "proto", "119"),
    node.output("ip", "-o", "address", "show", "dev", "lo"),
    // A set's elements are listed in the order of hashes.
    node
      .output("nft", "list", "table", "inet", "weft")
      .split(/[\s,]+/)
      .sort()
      .join(" "),
    node.output("ls", "-lR", "--time-style=+", agent.confDir, agent.binDir),
  ].join("\n");
}

kernelTest(
  "an agent that is killed again and again while it begins ends where an undisturbed one does",
  async () => {
    const stopAndCleanUp = async () => {
      await agent.stop();
      expect(agent.cleanup().status).toBe(0);
    };
    await stopAndCleanUp();
    agent.start();
    await agent.isReady();
    const whole = made();
    await stopAndCleanUp();
    for (const deed of [
      "Agent starts",
      "Routes written",
      "Masquerade written",
      "Installed the plugins",
      "Wrote the",
    ]) {
      const known = agent.log().length;
      agent.start();
      await eventually(
        () => `the agent does not log "${deed}"`,
        () =>
          agent
            .log()
            .slice(known)
            .some(({ message }) => message.startsWith(deed)),
      );
      await agent.stop("SIGKILL");
      agent.start();
      await agent.isReady();
      expect(made()).toBe(whole);
      await stopAndCleanUp();
    }
  },
  40_000,
);
