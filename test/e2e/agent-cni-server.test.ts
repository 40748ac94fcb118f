/** The plugins' server on a node: there while the agent is, again where it was killed, and gone with the agent. */
import { afterEach, beforeEach, expect } from "bun:test";
import { existsSync, readlinkSync, statSync } from "node:fs";
import { join } from "node:path";
import { socketPath } from "../../src/cniserver/protocol.ts";
import { Namespace } from "../kernel/services-fixture.ts";
import { type Agent, eventually, type Host, TestCluster, until } from "../lib/agent.ts";
import { needs, testWith } from "../lib/needs.ts";

const kernelTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));
const available = needs.root === undefined && needs.kernel("bridge") === undefined;

let cluster: TestCluster;
let node: Host;
let agent: Agent;
let socket: string;

beforeEach(async () => {
  if (!available) return;
  cluster = await TestCluster.start();
  cluster.kubeconfig();
  node = cluster.host("node", 11);
  agent = cluster.agent(node, "node-1");
  socket = socketPath(node.in(() => statSync("/proc/thread-self/ns/net", { bigint: true }).ino));
  await cluster.node("node-1", ["10.244.1.0/24", "fd00:10:244:1::/64"], node.addresses);
});

afterEach(async () => {
  if (available) await cluster.close();
});

/** The process of the n-th server that the agent started, once it listens. */
async function server(n: number): Promise<number> {
  return await until(
    () => JSON.stringify(agent.log()),
    () => agent.log().filter(({ message }) => message === "Plugins are served")[n]?.pid as number | undefined,
  );
}

function executableOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return undefined;
  }
}

kernelTest("comes with the agent, comes again where it was killed, and ends with the agent", async () => {
  agent.start();
  await agent.isReady();
  const first = await server(0);
  expect(executableOf(first)).toBe(readlinkSync(join(agent.binDir, "weft-cni")));
  expect(existsSync(socket)).toBe(true);
  process.kill(first, "SIGKILL");
  const second = await server(1);
  expect(executableOf(second)).toBe(readlinkSync(join(agent.binDir, "weft-cni")));
  const pod = new Namespace("pod");
  try {
    expect(agent.attach(pod)).toEqual(["10.244.1.2", "fd00:10:244:1::2"]);
    expect((await agent.stop()).status).toBe(0);
    expect([executableOf(second), existsSync(socket)]).toEqual([undefined, false]);
    // Without it the plugins do it themselves.
    agent.detach(pod);
  } finally {
    pod.close();
  }
});

kernelTest("ends with an agent that is killed", async () => {
  agent.start();
  await agent.isReady();
  const pid = await server(0);
  await agent.kill();
  await eventually(
    () => `${executableOf(pid)}, ${socket} there: ${existsSync(socket)}`,
    () => executableOf(pid) === undefined && !existsSync(socket),
  );
});

kernelTest("cleanup removes the socket that a killed server left", async () => {
  agent.start();
  await agent.isReady();
  const pid = await server(0);
  process.kill(pid, "SIGSTOP");
  await agent.kill();
  process.kill(pid, "SIGKILL");
  await eventually(
    () => `${executableOf(pid)} is still there`,
    () => executableOf(pid) === undefined,
  );
  expect(existsSync(socket)).toBe(true);
  expect(agent.cleanup().status).toBe(0);
  expect(existsSync(socket)).toBe(false);
});
