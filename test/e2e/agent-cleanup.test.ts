/**
 * `weft agent cleanup` takes away all that Weft owns on a node, and nothing else: a node full of other people's links,
 * addresses, routes, rules, tables and files is the same before the agent and after the cleanup.
 */
import { afterEach, beforeEach, expect } from "bun:test";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { resources } from "../../src/kube/types.ts";
import { Namespace } from "../kernel/services-fixture.ts";
import { type Agent, type Host, TestCluster } from "../lib/agent.ts";
import { needs, testWith } from "../lib/needs.ts";
import { service, slice } from "../lib/services.ts";

const kernelTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));
const available = needs.root === undefined && needs.kernel("bridge") === undefined;

let cluster: TestCluster;
let node: Host;
let agent: Agent;
let pods: Namespace[];

beforeEach(async () => {
  if (!available) return;
  cluster = await TestCluster.start();
  cluster.kubeconfig();
  node = cluster.host("node", 11);
  agent = cluster.agent(node, "node-1");
  pods = [];
  await cluster.node("node-1", ["10.244.1.0/24", "fd00:10:244:1::/64"], node.addresses);
  await cluster.node("node-2", ["10.244.2.0/24", "fd00:10:244:2::/64"], ["172.30.0.12", "fd00:30::12"]);
  await cluster.client.create(
    resources.services,
    service("blue", ["10.96.0.50"], ["80:30080"], { type: "NodePort", sessionAffinity: "ClientIP" }),
  );
  await cluster.client.create(resources.endpointSlices, slice("blue", "blue", ["10.244.2.2@node-2"]));
});

afterEach(async () => {
  if (!available) return;
  await cluster.close();
  for (const pod of pods) pod.close();
});

/** Numbers from 0 to `below`, the same in each run of a seed. */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Other people's things of every kind, some of them near to Weft's own. */
function addForeign(seed: number): void {
  const random = seeded(seed);
  const pick = <T>(...choices: T[]): T => choices[random(choices.length)] as T;
  const script: string[] = [
    // Parameters of the kernel stay as the agent set them: nobody owns them, and others may count on them by now.
    "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
    "ip link add br-x type bridge",
    "ip link add veth-x type veth peer name veth-y",
    "ip link set veth-x master br-x up",
    "ip link set br-x up",
    "ip address add 10.99.0.1/32 dev lo",
    "ip -6 address add fd00:99::1/128 dev lo nodad",
  ];
  for (let i = 0; i < 12; i++) {
    const family = pick("4", "6");
    const dst =
      family === "4" ? `10.${pick(9, 244, 96)}.${64 + i}.0/24` : `fd00:${pick("9", "10:244")}:${64 + i}::/64`;
    const via = family === "4" ? `172.30.0.${20 + random(200)}` : `fd00:30::${20 + random(80)}`;
    const protocol = pick("static", "bird", "boot", "118", "120", "bgp");
    const table = pick("main", "main", "100", "1190");
    const way = pick(`via ${via}`, `via ${via} metric ${1 + random(100)}`, "dev br-x");
    script.push(`ip -${family} route add ${dst} ${way} proto ${protocol} table ${table}`);
    script.push(`ip -${family} rule add pref ${1000 + i} fwmark ${1 + random(100)} table 100`);
  }
  for (let i = 0; i < 4; i++) {
    const family = pick("inet", "ip", "ip6", "bridge");
    const name = pick("weft-other", "filter", "kube-proxy", "weft2");
    script.push(
      `nft add table ${family} ${name}${i}`,
      `nft add chain ${family} ${name}${i} services-entry4 '{ type filter hook input priority ${random(100)}; }'`,
      `nft add rule ${family} ${name}${i} services-entry4 counter comment '"n${random(1000)}"'`,
      `nft add set ${family} ${name}${i} s '{ type inet_service; flags interval; elements = { ${1 + random(100)}-200 }; }'`,
    );
  }
  // What weft names as well, in another family.
  script.push("nft add table ip weft", "nft add chain ip weft services-entry4");
  for (const command of script) {
    const { status, stderr } = node.run(["sh", "-c", command]);
    if (status !== 0) throw new Error(`${command}: ${stderr}`);
  }
  addForeignFiles(random);
}

function addForeignFiles(random: (below: number) => number): void {
  const { confDir, binDir, ipamDir } = agent;
  for (const dir of [confDir, binDir, join(ipamDir, "other")]) mkdirSync(dir, { recursive: true });
  const content = () => `${random(1e9)}\n`.repeat(1 + random(50));
  writeFileSync(join(confDir, "05-other.conf"), content());
  writeFileSync(join(confDir, "10-weft.conflist.bak"), content());
  for (const name of ["bridge", "host-local", "macvlan"]) {
    writeFileSync(join(binDir, name), content());
    chmodSync(join(binDir, name), 0o755);
  }
  symlinkSync("/opt/elsewhere/portmap", join(binDir, "portmap"));
  writeFileSync(join(ipamDir, "other", "10.1.2.3"), content());
}

/** The node as others see it. Folders' own times are left out: they tell that something was there meanwhile. */
function portrait(): Record<string, string> {
  const files: string[] = [];
  const visit = (path: string) => {
    const stat = lstatSync(path);
    const kind = stat.isDirectory()
      ? "folder"
      : stat.isSymbolicLink()
        ? readlinkSync(path)
        : readFileSync(path, "utf8");
    files.push(`${path} ${stat.mode} ${stat.isDirectory() ? "" : `${stat.ino} ${stat.mtimeMs}`} ${kind}`);
    if (stat.isDirectory()) for (const name of readdirSync(path).sort()) visit(join(path, name));
  };
  for (const dir of [agent.confDir, agent.binDir, agent.ipamDir]) visit(dir);
  return {
    // A bridge's timers run.
    addresses: node.output("ip", "-details", "address").replace(/timer +[0-9.]+/g, "timer"),
    routes4: node.output("ip", "-details", "route", "show", "table", "all"),
    routes6: node.output("ip", "-details", "-6", "route", "show", "table", "all"),
    rules: node.output("ip", "rule") + node.output("ip", "-6", "rule"),
    nft: node.output("nft", "-a", "-s", "list", "ruleset"),
    files: files.join("\n"),
  };
}

kernelTest.each([1, 2, 3])(
  "a node full of other people's things is as it was (%i)",
  async (seed) => {
    addForeign(seed);
    const before = portrait();
    agent.start();
    await agent.isReady();
    for (const word of ["a", "b"]) {
      const pod = new Namespace(word);
      pods.push(pod);
      const hostPort = 8080 + pods.length;
      agent.attach(pod, { portMappings: [{ hostPort, containerPort: 80, protocol: "tcp" }] });
    }
    for (const table of ["weft", "weft-cni"]) node.output("nft", "list", "table", "inet", table);
    expect(portrait()).not.toEqual(before);
    await agent.stop();
    cluster.stopApi();
    expect(agent.cleanup().status).toBe(0);
    expect(portrait()).toEqual(before);
    expect(agent.cleanup()).toEqual({ status: 0, stdout: "", stderr: "" });
    expect(portrait()).toEqual(before);
  },
  30_000,
);
