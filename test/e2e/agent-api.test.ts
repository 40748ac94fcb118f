/** The agent and an API server that is away, comes back, forgets, or does not want it. */
import { afterEach, beforeEach, describe, expect } from "bun:test";
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startApiServer } from "../../src/controlplane/server.ts";
import { resources } from "../../src/kube/types.ts";
import { type Agent, eventually, type Host, TestCluster } from "../lib/agent.ts";
import { needs, testWith } from "../lib/needs.ts";
import { service, slice } from "../lib/services.ts";

const dig = needs.command("dig", "bind9-dnsutils");
const digTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"), dig);
const kernelTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));
const available = needs.root === undefined && needs.kernel("bridge") === undefined;

let cluster: TestCluster;
let node: Host;
let agent: Agent;
let dataFile: string;

beforeEach(async () => {
  if (!available) return;
  cluster = await TestCluster.start({ dataFile: "cluster.db" });
  dataFile = join(cluster.dir, "cluster.db");
  cluster.kubeconfig();
  node = cluster.host("node", 11);
  await cluster.node("node-1", ["10.244.1.0/24", "fd00:10:244:1::/64"], node.addresses);
  await other(2);
  agent = cluster.agent(node, "node-1");
});

afterEach(async () => {
  if (available) await cluster.close();
});

/** Another node of the cluster. */
const other = (number: number) =>
  cluster.node(`node-${number}`, [`10.244.${number}.0/24`], [`172.30.0.${10 + number}`]);

const routes = () =>
  node.kernel.rtnl.routes
    .list({ protocol: "weft" })
    .map(({ dst }) => dst.toString())
    .sort();

const kernelState = () =>
  ["ip address", "ip route", "ip -6 route", "ip rule", "nft list ruleset"].map((command) =>
    node.output(...command.split(" ")),
  );

async function routesBecome(...wanted: string[]): Promise<void> {
  await eventually(
    () => `routes are ${routes()}`,
    () => Bun.deepEquals(routes(), wanted),
  );
}

const logged = (message: string) => agent.log().filter((line) => line.message.startsWith(message));

describe("goes away in mid-watch", () => {
  kernelTest(
    "the agent keeps what it last knew, says so once, and catches up",
    async () => {
      agent.start();
      await agent.isReady();
      const conflist = readFileSync(agent.conflist, "utf8");
      cluster.stopApi();
      const { status, body } = await agent.says(/\[!\] api-server: not heard since 20/);
      expect(body).toContain(`the API server "https://172.30.0.1:6443"`);
      // The network stands: no reason to be unready.
      expect(status).toBe(200);
      expect((await agent.get("/metrics")).body).toContain("weft_api_connected 0\n");
      expect(routes()).toEqual(["10.244.2.0/24"]);
      // The kernel is still kept as it should be.
      node.output("ip", "route", "del", "10.244.2.0/24");
      await routesBecome("10.244.2.0/24");
      expect(readFileSync(agent.conflist, "utf8")).toBe(conflist);
      await cluster.startApi();
      await other(3);
      await routesBecome("10.244.2.0/24", "10.244.3.0/24");
      await agent.says(/\[\+\] api-server: https:/);
      expect(logged("The API server is not heard")).toHaveLength(1);
      expect(logged("The API server is heard again")).toHaveLength(1);
    },
    30_000,
  );

  kernelTest(
    "and has forgotten what happened since: the agent lists anew",
    async () => {
      agent.start();
      await agent.isReady();
      cluster.stopApi();
      await cluster.startApi({ listen: [], historyLimit: 1 });
      await other(3);
      await other(4);
      await cluster.client.delete(resources.nodes, { name: "node-2" });
      cluster.stopApi();
      await cluster.startApi({ historyLimit: 1 });
      await routesBecome("10.244.3.0/24", "10.244.4.0/24");
    },
    30_000,
  );

  kernelTest(
    "and comes back as it was long ago: it is believed",
    async () => {
      cluster.stopApi();
      const backup = `${dataFile}.backup`;
      copyFileSync(dataFile, backup);
      await cluster.startApi();
      await other(3);
      await cluster.client.delete(resources.nodes, { name: "node-2" });
      agent.start();
      await agent.isReady();
      expect(routes()).toEqual(["10.244.3.0/24"]);
      cluster.stopApi();
      for (const ending of ["", "-wal", "-shm"]) rmSync(`${dataFile}${ending}`, { force: true });
      copyFileSync(backup, dataFile);
      await cluster.startApi();
      await routesBecome("10.244.2.0/24");
      await other(5);
      await routesBecome("10.244.2.0/24", "10.244.5.0/24");
    },
    30_000,
  );
});

describe("is away from the start", () => {
  kernelTest(
    "the agent says what it waits for, ends when it is told to, and begins when it comes",
    async () => {
      cluster.stopApi();
      agent.start();
      const { status, body } = await agent.says(/not heard since(.*\n)*.*cni-config: starting \(waiting/);
      expect(status).toBe(503);
      expect(body).toMatch(
        /api-server: not heard since .*"https:\/\/172.30.0.1:6443" refuses the connection/,
      );
      for (const feature of ["routes", "masquerade", "services", "dns", "cni-config"]) {
        expect(body).toContain(`[-] ${feature}: starting (waiting for the API server to list`);
      }
      expect((await agent.get("/healthz")).status).toBe(200);
      expect(existsSync(agent.conflist)).toBe(false);
      const { status: exit, took } = await agent.stop();
      expect({ exit, quick: took < 1000 }).toEqual({ exit: 0, quick: true });
      agent.start();
      await agent.says(/not heard since/);
      await cluster.startApi();
      await agent.isReady();
      expect(routes()).toEqual(["10.244.2.0/24"]);
      expect(existsSync(agent.conflist)).toBe(true);
      expect(logged("The API server is not heard")).toHaveLength(2);
    },
    30_000,
  );

  kernelTest(
    "a restarted agent leaves the network as it found it until then",
    async () => {
      agent.start();
      await agent.isReady();
      await agent.stop();
      cluster.stopApi();
      const generation = node.kernel.nft.generation();
      const before = kernelState();
      agent.start();
      await agent.says(/\[-\] dns: degraded/);
      expect(routes()).toEqual(["10.244.2.0/24"]);
      expect(kernelState()).toEqual(before);
      expect(existsSync(agent.conflist)).toBe(true);
      expect(node.kernel.nft.generation()).toBe(generation);
    },
    30_000,
  );
});

describe("does not want the agent", () => {
  interface Kubeconfig {
    clusters: [{ cluster: { server: string; "certificate-authority-data": string } }];
    users: [{ user: { token: string } }];
  }
  const cases: [string, (kubeconfig: Kubeconfig) => unknown, RegExp][] = [
    [
      "a token that it does not know",
      ({ users: [{ user }] }) => {
        user.token = "not-one-of-yours";
      },
      /the API server "https:\/\/172\.30\.0\.1:6443" says: list [a-z0-9.]+: .*\(401\)\. Check the user's credentials in the kubeconfig/,
    ],
    [
      "a certificate of another authority",
      async ({ clusters: [{ cluster }] }) => {
        const stranger = await startApiServer();
        cluster["certificate-authority-data"] = Buffer.from(stranger.caCert).toString("base64");
        stranger.close();
      },
      /"https:\/\/172\.30\.0\.1:6443" shows a certificate of an unknown authority\. Check .* certificates in the kubeconfig/,
    ],
    [
      "a port where nobody listens",
      ({ clusters: [{ cluster }] }) => {
        cluster.server = "https://172.30.0.1:6444";
      },
      /"https:\/\/172\.30\.0\.1:6444" refuses the connection\. Check that the server runs, and the address/,
    ],
    [
      "a port where something else listens",
      ({ clusters: [{ cluster }] }) => {
        cluster.server = "http://172.30.0.1:6443";
      },
      /"http:\/\/172\.30\.0\.1:6443"/,
    ],
  ];
  for (const [what, change, expected] of cases) {
    kernelTest(
      `${what}: one line says it, and the agent begins when it is mended`,
      async () => {
        const good = cluster.api.kubeconfig("agent");
        const bad = Bun.YAML.parse(good) as Kubeconfig;
        await change(bad);
        cluster.kubeconfig("kubeconfig", JSON.stringify(bad));
        agent.start();
        const { status, body } = await agent.says(expected);
        expect(status).toBe(503);
        expect(body.split("\n").filter((line) => expected.test(line))).toHaveLength(1);
        expect(logged("The API server is not heard")).toHaveLength(1);
        expect(String(logged("The API server is not heard")[0]?.error)).toMatch(expected);
        expect(node.kernel.nft.tables()).toEqual([]);
        await agent.stop();
        cluster.kubeconfig("kubeconfig", good);
        agent.start();
        await agent.isReady();
      },
      30_000,
    );
  }
});

describe("is away when an agent begins again", () => {
  const ask = (name: string) => {
    const { stdout } = node.run([
      "dig",
      "+time=1",
      "+tries=1",
      "+noall",
      "+comments",
      "+answer",
      "@10.96.0.10",
      name,
    ]);
    return /status: NOERROR/.test(stdout)
      ? /\sA\s(\S+)/.exec(stdout)?.[1]
      : /status: ([A-Z]+)/.exec(stdout)?.[1];
  };
  const names = () =>
    ["blue", "bare", "green", "none"].map((name) => ask(`${name}.default.svc.cluster.local`));
  const remembered = () => {
    const file =
      existsSync(agent.stateDir) && readdirSync(agent.stateDir).find((name) => !name.endsWith(".tmp"));
    return file ? join(agent.stateDir, file) : "";
  };

  beforeEach(async () => {
    if (!available) return;
    await cluster.client.create(resources.services, service("blue", ["10.96.0.50"], ["80"]));
    await cluster.client.create(resources.services, service("bare", ["None"], ["80"]));
    await cluster.client.create(resources.endpointSlices, slice("bare", "bare", ["10.244.2.9"]));
    agent.start();
    await agent.isReady();
  });

  digTest(
    "the names are those that it last knew, until it is heard",
    async () => {
      expect(names()).toEqual(["10.96.0.50", "10.244.2.9", "NXDOMAIN", "NXDOMAIN"]);
      await agent.stop();
      cluster.stopApi();
      agent.start();
      const { status } = await agent.says(
        /\[-\] dns: degraded \(answers at .* by what was known at 20\S+, as/,
      );
      expect(status).toBe(503);
      expect(names()).toEqual(["10.96.0.50", "10.244.2.9", "NXDOMAIN", "NXDOMAIN"]);
      // Its address is kept as ever.
      node.output("ip", "address", "del", "10.96.0.10/32", "dev", "lo");
      await eventually(
        () => `names are ${names()}`,
        () => names()[0] === "10.96.0.50",
      );
      // What changes meanwhile.
      await cluster.startApi({ listen: [] });
      const { client } = cluster;
      await client.delete(resources.services, { namespace: "default", name: "blue" });
      await client.create(resources.services, service("green", ["10.96.0.51"], ["80"]));
      cluster.stopApi();
      await cluster.startApi();
      await agent.isReady();
      expect(names()).toEqual(["NXDOMAIN", "10.244.2.9", "10.96.0.51", "NXDOMAIN"]);
    },
    30_000,
  );

  digTest(
    "what it last knew was written before it was killed, and goes with a cleanup",
    async () => {
      await eventually(
        () => "nothing was written",
        () => remembered() !== "" && readFileSync(remembered(), "utf8").includes("10.96.0.50"),
      );
      await agent.stop("SIGKILL");
      cluster.stopApi();
      agent.start();
      await agent.says(/\[-\] dns: degraded/);
      expect(names()).toEqual(["10.96.0.50", "10.244.2.9", "NXDOMAIN", "NXDOMAIN"]);
      await agent.stop();
      // Of another node, it is none of its business.
      const other = cluster.agent(node, "node-2", { "state-dir": agent.stateDir }).start();
      await other.says(/not heard since/);
      await Bun.sleep(1_500);
      expect((await other.ready())?.body).toContain("[-] dns: starting (waiting for the API server");
      await other.stop();
      expect(agent.cleanup().status).toBe(0);
      expect(readdirSync(agent.stateDir)).toEqual([]);
    },
    30_000,
  );

  digTest.each([
    ["cut", (text: string) => text.slice(0, text.length - 40)],
    ["rubbish", () => "\0\0\0"],
    ["empty", () => ""],
    ["of nothing", () => '{"format":1,"node":"node-1","written":"x"}\n["services",null]\n'],
    ["of what there is not", () => '{"format":1,"node":"node-1","written":"x"}\n["secrets",{}]\n'],
  ])("what is written is %s: said once, and nothing is answered by it", async (_, change) => {
    await agent.stop();
    writeFileSync(remembered(), change(readFileSync(remembered(), "utf8")));
    cluster.stopApi();
    agent.start();
    await eventually(
      () => "it does not say so",
      () => logged("Cannot recall names").length === 1,
    );
    expect(await agent.says(/dns: starting \(waiting for the API server/)).toMatchObject({ status: 503 });
    await cluster.startApi();
    await agent.isReady();
    expect(names()).toEqual(["10.96.0.50", "10.244.2.9", "NXDOMAIN", "NXDOMAIN"]);
  });

  kernelTest("a folder that cannot be written to is said once, and all else works", async () => {
    await agent.stop();
    const other = cluster.agent(node, "node-1", { "state-dir": "/proc/weft" }).start();
    await other.isReady();
    await eventually(
      () => "it does not say so",
      () => other.log().filter(({ message }) => message.startsWith("Cannot write down names")).length === 1,
    );
    expect(other.log().at(-1)).toMatchObject({ level: "warn", path: expect.stringContaining("/proc/weft/") });
    await other.isReady();
  });
});
