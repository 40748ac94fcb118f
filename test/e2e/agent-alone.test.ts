/** One agent is at work in a network namespace at a time, and what it has started ends with it. */
import { afterEach, beforeEach, expect } from "bun:test";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Agent, eventually, type Host, TestCluster, until, weft } from "../lib/agent.ts";
import { needs, testWith } from "../lib/needs.ts";

const kernelTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));
const available = needs.root === undefined && needs.kernel("bridge") === undefined;

let cluster: TestCluster;
let node: Host;
let agent: Agent;

beforeEach(async () => {
  if (!available) return;
  cluster = await TestCluster.start();
  cluster.kubeconfig();
  node = cluster.host("node", 11);
  agent = cluster.agent(node, "node-1");
  await cluster.node("node-1", ["10.244.1.0/24"], node.addresses);
  await cluster.node("node-2", ["10.244.2.0/24"], ["172.30.0.12"]);
});

afterEach(async () => {
  if (available) await cluster.close();
});

/** What another agent or cleanup says beside this one. */
const refusal = (then: string) =>
  `a weft agent with process id ${agent.pid} is at work in this network namespace: two would undo each other's work. ` +
  `Stop it first (kill ${agent.pid}, or the service or DaemonSet that starts it), ${then}\n`;

/** What there is of Weft's in the node's kernel. */
const state = () => node.output("ip", "route") + node.output("nft", "list", "ruleset");

kernelTest("a cleanup beside a running agent is refused, and takes nothing away", async () => {
  agent.start();
  await agent.isReady();
  const before = state();
  expect(agent.cleanup()).toEqual({ status: 1, stdout: "", stderr: refusal("then clean up again") });
  expect(state()).toBe(before);
  // In other mount namespaces too, such as a container's.
  const elsewhere = node.run(["unshare", "-m", weft, "agent", "cleanup", ...agent.args]);
  expect(elsewhere.stderr).toBe(refusal("then clean up again"));
  expect(state()).toBe(before);
  // Another machine is none of its business.
  const peer = cluster.host("peer", 12);
  expect(cluster.agent(peer, "node-2").cleanup().status).toBe(0);
});

kernelTest("a second agent is refused, whatever its port", async () => {
  agent.start();
  await agent.isReady();
  const { status, stderr } = node.run([weft, "agent", ...agent.args, "--health-address", "127.0.0.1:9120"]);
  expect({ status, stderr }).toEqual({ status: 1, stderr: refusal("then start this one") });
});

kernelTest("an agent that was killed keeps nobody away", async () => {
  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    agent.start();
    await agent.isReady();
    await agent.stop(signal);
    agent.start();
    await agent.isReady();
    await agent.stop(signal);
  }
  expect(agent.cleanup().status).toBe(0);
  expect(node.output("nft", "list", "tables")).toBe("");
});

kernelTest("others' locks on the namespace, without the agent's rights, keep nobody away", async () => {
  const held = join(cluster.dir, "held");
  const holder = node.in(() =>
    Bun.spawn(
      [
        "setpriv",
        "--reuid=65534",
        "--clear-groups",
        "flock",
        "/proc/self/ns/net",
        "sh",
        "-c",
        "echo; sleep 60",
      ],
      { stdout: Bun.file(held) },
    ),
  );
  try {
    await eventually(
      () => "nobody has locked the namespace",
      () => existsSync(held) && readFileSync(held, "utf8") !== "",
    );
    expect(agent.cleanup().status).toBe(0);
    agent.start();
    await agent.isReady();
  } finally {
    holder.kill("SIGKILL");
    await holder.exited;
  }
});

/** The program with a plugin executable of our own beside it. */
function withPlugin(content: string): string {
  const dir = join(cluster.dir, "program");
  mkdirSync(dir);
  const program = join(dir, "weft");
  copyFileSync(weft, program);
  writeFileSync(join(dirname(program), "weft-cni"), content, { mode: 0o755 });
  chmodSync(program, 0o755);
  return program;
}

const runs = (pid: number) => {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
};

/** A script that hangs together with one that it has started, and notes both. */
const hanging = () =>
  `#!/bin/sh\nsleep 600 & echo $! >> ${cluster.dir}/pids\necho $$ >> ${cluster.dir}/pids\nwait\n`;

/** Lets the agent run until so many processes hang, then ends it. */
async function endsWithItsOwn(count: number): Promise<void> {
  const path = join(cluster.dir, "pids");
  agent.start();
  const started = await until(
    () => "nothing was started",
    () => {
      const found = existsSync(path) ? readFileSync(path, "utf8").trim().split("\n").map(Number) : [];
      return found.length >= count ? found : undefined;
    },
  );
  expect(started.filter(runs)).toEqual(started);
  expect((await agent.stop()).status).toBe(0);
  await eventually(
    () => `they run: ${started.filter(runs)}`,
    () => !started.some(runs),
  );
}

kernelTest("plugins that hang, and what they have started, end with the agent", async () => {
  agent = cluster.agent(node, "node-1", {}, withPlugin(hanging()));
  await endsWithItsOwn(8);
});

kernelTest("so does a credential plugin", async () => {
  const command = join(cluster.dir, "login");
  writeFileSync(command, hanging(), { mode: 0o755 });
  const kubeconfig = Bun.YAML.parse(cluster.api.kubeconfig("agent")) as { users: [{ user: object }] };
  const apiVersion = "client.authentication.k8s.io/v1";
  kubeconfig.users[0].user = { exec: { apiVersion, command, interactiveMode: "Never" } };
  cluster.kubeconfig("kubeconfig", JSON.stringify(kubeconfig));
  await endsWithItsOwn(2);
});
