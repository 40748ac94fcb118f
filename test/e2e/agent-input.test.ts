/** What the agent says to input that it cannot use, and what it shows of itself over HTTP. */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Agent, eventually, type Host, TestCluster, until, weft } from "../lib/agent.ts";
import { needs, testWith } from "../lib/needs.ts";
import { parsePrometheus } from "../lib/prometheus.ts";

const kernelTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));
const available = needs.root === undefined && needs.kernel("bridge") === undefined;

let cluster: TestCluster;
let node: Host;

beforeAll(async () => {
  if (!available) return;
  cluster = await TestCluster.start();
  cluster.kubeconfig();
  node = cluster.host("node", 11);
  await cluster.node("node-1", ["10.244.1.0/24", "fd00:10:244:1::/64"], node.addresses);
  await cluster.node("node-2", ["10.244.2.0/24", "fd00:10:244:2::/64"], ["172.30.0.12", "fd00:30::12"]);
});

afterAll(async () => {
  if (available) await cluster.close();
});

/** The kernel's state in the node's namespace. */
const state = () =>
  [
    ["ip", "address"],
    ["ip", "route", "show", "table", "all"],
    ["ip", "-6", "route", "show", "table", "all"],
    ["nft", "list", "ruleset"],
    ["sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"],
  ].map((command) => node.output(...command));

describe("refuses with one line that names the option, the value and the remedy", () => {
  const usage = 2;
  const failure = 1;
  const cases: [string, string[], number, RegExp][] = [
    ["no node", ["--node"], usage, /^weft agent: --node wants a value: --node NAME$/],
    [
      "an unknown option",
      ["--cluster-cird", "10.0.0.0/16"],
      usage,
      /^weft agent: there is no option "--cluster-cird" \(did you mean "--cluster-cidr"\?\)/,
    ],
    [
      "an unknown verb",
      ["cleenup"],
      usage,
      /^weft agent: "cleenup" is not known \(did you mean "cleanup"\?\)/,
    ],
    ["a node's name", ["--node", "Node 1"], usage, /^--node: "Node 1" is not a DNS name\. Use /],
    [
      "an unknown feature",
      ["--features", "routs"],
      usage,
      /^--features: "routs" is not a feature \(did you mean "routes"\?\)\. There are /,
    ],
    [
      "overlapping prefixes",
      ["--cluster-cidr", "10.96.0.0/12"],
      usage,
      /^--cluster-cidr: "10\.96\.0\.0\/12" overlaps --service-cidr "10\.96\.0\.0\/16"\. Choose /,
    ],
    [
      "two prefixes of a family",
      ["--service-cidr", "10.1.0.0/16,10.2.0.0/16"],
      usage,
      /^--service-cidr: .* has two prefixes of one family\. Give /,
    ],
    ["no prefix", ["--cluster-cidr", ""], usage, /^--cluster-cidr: "" has no prefix\. Give /],
    [
      "host bits",
      ["--cluster-cidr", "10.244.0.1/16"],
      usage,
      /^--cluster-cidr: "10\.244\.0\.1\/16" has bits set behind its length\. Write 10\.244\.0\.0\/16$/,
    ],
    [
      "DNS among the pods",
      ["--cluster-dns", "10.244.0.10"],
      usage,
      /^--cluster-dns: "10\.244\.0\.10" lies in a cluster CIDR.*\. Take /,
    ],
    [
      "no address for DNS",
      ["--upstream-dns", "ns.example"],
      usage,
      /^--upstream-dns: "ns\.example" is not an address with an optional port\. Write /,
    ],
    [
      "a domain",
      ["--cluster-domain", "my cluster"],
      usage,
      /^--cluster-domain: "my cluster" is not a DNS name\. Use /,
    ],
    [
      "a link's name",
      ["--bridge", "a-name-that-is-too-long"],
      usage,
      /^--bridge: "a-name-that-is-too-long" is not a link name\. Use /,
    ],
    ["an MTU", ["--mtu", "42"], usage, /^--mtu: "42" is not a whole number from 1280 to 65535$/],
    ["a choice", ["--cni-install", "lnik"], usage, /^--cni-install: "lnik" is not one of copy, link/],
    [
      "a port alone",
      ["--health-address", "9119"],
      usage,
      /^--health-address: "9119" is not an IP address and a port\. Write it like 127\.0\.0\.1:9119 or \[::1\]:9119$/,
    ],
    [
      "another machine's address",
      ["--health-address", "192.0.2.1:9119"],
      failure,
      /^--health-address: "192\.0\.2\.1:9119" is not an address of this machine\. Choose /,
    ],
    [
      "a kubeconfig that is not there",
      ["--kubeconfig", "/nonexistent"],
      failure,
      /^kubeconfig: "\/nonexistent" cannot be read: ENOENT.*\. Check /,
    ],
  ];
  for (const [what, args, status, message] of cases) {
    kernelTest(what, () => {
      const before = state();
      const kubeconfig = join(cluster.dir, "kubeconfig");
      const ran = node.run([weft, "agent", "--node", "node-1", "--kubeconfig", kubeconfig, ...args]);
      expect(ran.stderr.trim()).toMatch(message);
      expect({ status: ran.status, lines: ran.stderr.trim().split("\n").length, stdout: ran.stdout }).toEqual(
        {
          status,
          lines: 1,
          stdout: "",
        },
      );
      expect(state()).toEqual(before);
    });
  }

  kernelTest("a kubeconfig that is none", () => {
    const path = join(cluster.dir, "broken");
    writeFileSync(path, "clusters: [");
    const { status, stderr } = node.run([weft, "agent", "--node", "node-1", "--kubeconfig", path]);
    expect(stderr).toMatch(/^kubeconfig: ".*\/broken" is not YAML: [^\n]*\n$/);
    expect(status).toBe(failure);
  });

  kernelTest("no right to change the network", () => {
    const kubeconfig = join(cluster.dir, "kubeconfig");
    for (const args of [["--node", "node-1", "--kubeconfig", kubeconfig], ["cleanup"]]) {
      const user = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"];
      const { status, stderr } = node.run([...user, weft, "agent", ...args]);
      expect(stderr).toMatch(
        /^weft agent may not change this machine's network \(CAP_NET_ADMIN\)\. Run [^\n]*\n$/,
      );
      expect(status).toBe(failure);
    }
  });

  kernelTest("a port in use", () => {
    const taken = node.in(() => Bun.listen({ hostname: "127.0.0.1", port: 9119, socket: { data() {} } }));
    try {
      const before = state();
      const kubeconfig = join(cluster.dir, "kubeconfig");
      const { status, stderr } = node.run([weft, "agent", "--node", "node-1", "--kubeconfig", kubeconfig]);
      expect(stderr).toBe(
        '--health-address: "127.0.0.1:9119" is in use by another process. Stop that process or choose another port\n',
      );
      expect(status).toBe(failure);
      expect(state()).toEqual(before);
    } finally {
      taken.stop(true);
    }
  });
});

describe("shows itself", () => {
  for (const address of ["127.0.0.1:9119", "[::1]:9120", "[fd00:30::11]:9121", "0.0.0.0:9122"]) {
    kernelTest(`at ${address}: alive, ready by feature, and counted`, async () => {
      const agent: Agent = cluster.agent(node, "node-1", { "health-address": address }).start();
      await agent.isReady();
      expect(await agent.get("/healthz")).toMatchObject({ status: 200, body: "ok\n" });
      const { body } = await agent.get("/readyz");
      expect(body).toMatch(
        /^ok\n\[\+\] api-server: \S+\n\[\+\] routes: ready \(.*\)\n\[\+\] masquerade: ready \(.*\)\n\[\+\] services: ready \(.*\)\n\[\+\] dns: ready \(.*\)\n\[\+\] cni-config: ready \(.*\)\n$/,
      );
      const { type, body: text } = await agent.get("/metrics");
      expect(type).toBe("text/plain; version=0.0.4; charset=utf-8");
      const metrics = parsePrometheus(text);
      expect(
        metrics.get("weft_feature_ready")?.samples.map(({ labels, value }) => [labels.feature, value]),
      ).toEqual(["routes", "masquerade", "services", "dns", "cni-config"].map((feature) => [feature, 1]));
      expect(metrics.get("weft_routes")).toMatchObject({
        type: "gauge",
        samples: [{ labels: {}, value: 2 }],
      });
      expect(metrics.get("weft_api_connected")?.samples[0]?.value).toBe(1);
      for (const name of metrics.keys()) expect(name).toMatch(/^(weft|process)_/);
      expect((await agent.get("/")).status).toBe(404);
      await agent.stop();
    });
  }

  kernelTest("also when nobody reads its log any more", async () => {
    const agent: Agent = cluster.agent(node, "node-1");
    agent.start({}, ["sh", "-c", 'exec 3>"$0"; exec "$@" 2>&1 | head -n 1 >&3', agent.logFile]);
    const pid = await until(
      () => "it does not listen",
      async () => {
        const { body } = (await agent.ready()) ?? {};
        return body?.startsWith("ok") ? Number(listener(":9119")) : undefined;
      },
    );
    expect(readFileSync(agent.logFile, "utf8").split("\n")).toHaveLength(2);
    process.kill(pid, "SIGTERM");
    await eventually(
      () => "it does not end",
      async () => (await agent.ready()) === undefined,
    );
  });
});

/** The process id of who listens at a port of the node. */
const listener = (port: string) => /pid=([0-9]+)/.exec(node.output("ss", "-Hltnp", `sport = ${port}`))?.[1];
