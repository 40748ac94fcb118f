/** The memory of an agent that knows a thousand Services with two endpoints each. */
import { afterAll, beforeAll, expect } from "bun:test";
import { readFileSync } from "node:fs";
import { resources } from "../../src/kube/types.ts";
import { type Agent, type Host, TestCluster, until } from "../lib/agent.ts";
import { needs, testWith } from "../lib/needs.ts";
import { service, slice } from "../lib/services.ts";

const dig = needs.command("dig", "bind9-dnsutils");
const kernelTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"), dig);
const available = needs.root === undefined && needs.kernel("bridge") === undefined;
const count = 1000;
const most = 80;

let cluster: TestCluster;
let node: Host;

beforeAll(async () => {
  if (!available) return;
  cluster = await TestCluster.start();
  cluster.kubeconfig();
  node = cluster.host("node", 11);
  await cluster.node("node-1", ["10.244.1.0/24", "fd00:10:244:1::/64"], node.addresses);
  for (let i = 0; i < count; i++) {
    const host = 1 + (i % 250);
    const ip = `10.96.${1 + Math.floor(i / 250)}.${host}`;
    const own = slice(`s${i}-x`, `s${i}`, [`10.244.2.${host}@node-2`, `10.244.3.${host}@node-3`]);
    for (const endpoint of own.endpoints) {
      endpoint.targetRef = {
        kind: "Pod",
        namespace: "default",
        name: `s${i}-7c9f`,
        uid: crypto.randomUUID(),
      };
    }
    const options = { selector: { app: `s${i}` } };
    await cluster.client.create(resources.services, service(`s${i}`, [ip], ["80"], options));
    await cluster.client.create(resources.endpointSlices, own);
  }
}, 60_000);

afterAll(async () => {
  if (available) await cluster.close();
});

/** What is resident now, or was at most, in megabytes. */
function resident(agent: Agent, field: "VmRSS" | "VmHWM"): number {
  const status = readFileSync(`/proc/${agent.pid}/status`, "utf8");
  return Number(new RegExp(`^${field}:\\s+([0-9]+) kB$`, "m").exec(status)?.[1]) / 1024;
}

kernelTest(
  `starts anew and again within ${most} MB, settles there after all has changed, and works then`,
  async () => {
    const agent = cluster.agent(node, "node-1").start();
    await agent.isReady();
    expect(resident(agent, "VmHWM")).toBeLessThan(most);
    await agent.stop();
    // Now it reads all that is in the kernel.
    agent.start();
    await agent.isReady();
    expect(resident(agent, "VmHWM")).toBeLessThan(most);
    for (let i = 0; i < count; i++) {
      await cluster.client.patch(
        resources.endpointSlices,
        { namespace: "default", name: `s${i}-x` },
        { type: "merge", body: { endpoints: [{ addresses: [`10.244.4.${1 + (i % 250)}`] }] } },
      );
    }
    await until(
      () => "the last change is not in nftables",
      () =>
        node.output("nft", "list", "map", "inet", "weft", "services-endpoints4").includes(last)
          ? true
          : undefined,
    );
    await until(
      () => `it has ${resident(agent, "VmRSS")} MB`,
      () => (resident(agent, "VmRSS") < most ? true : undefined),
      20_000,
    );
    const { stdout } = node.run(["dig", "+short", "@10.96.0.10", "s999.default.svc.cluster.local"]);
    expect(stdout.trim()).toBe("10.96.4.250");
  },
  60_000,
);

const last = "10.96.4.250 . tcp . 80 . 0x00000000 : 10.244.4.250 . 8080";
