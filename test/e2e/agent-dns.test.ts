/**
 * The cluster's DNS on a node, asked with dig by the node and by one of its pods:
 *
 *     pod 10.244.1.2 ── weft0 ── node 172.30.0.11, DNS at 10.96.0.10 and fd00:10:96::a ══ wire ══ 172.30.0.53 dnsmasq
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { resources } from "../../src/kube/types.ts";
import { inNetns } from "../../src/linux/netns.ts";
import { Namespace } from "../kernel/services-fixture.ts";
import { type Agent, eventually, type Host, TestCluster, until } from "../lib/agent.ts";
import { needs, testWith } from "../lib/needs.ts";
import { parsePrometheus } from "../lib/prometheus.ts";
import { service, slice } from "../lib/services.ts";

const dig = needs.command("dig", "bind9-dnsutils");
const dnsmasq = needs.command("dnsmasq", "dnsmasq-base");
const kernelTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"), dig);
const forwardTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"), dig, dnsmasq);
const available = needs.root === undefined && needs.kernel("bridge") === undefined && dig === undefined;

let cluster: TestCluster;
let node: Host;
let upstream: Host;
let pod: Namespace;
let agent: Agent;
let upstreamServer: Bun.Subprocess | undefined;

beforeAll(async () => {
  if (!available) return;
  cluster = await TestCluster.start();
  cluster.kubeconfig();
  node = cluster.host("node", 11);
  upstream = cluster.host("up", 53);
  if (dnsmasq === undefined) upstreamServer = startDnsmasq();
  const { client } = cluster;
  await cluster.node("node-1", ["10.244.1.0/24", "fd00:10:244:1::/64"], node.addresses);
  const dual = { ipFamilyPolicy: "RequireDualStack" } as const;
  await client.create(
    resources.services,
    service("blue", ["10.96.0.50", "fd00:10:96::50"], ["http/80", "dns/53/UDP"], dual),
  );
  await client.create(
    resources.services,
    service("bare", ["None"], ["http/80"], { selector: { app: "bare" } }),
  );
  const hosts = slice("bare-4", "bare", ["10.244.1.7", "10.244.1.8", "10.244.1.9!"], ["http/8080"]);
  const [first] = hosts.endpoints;
  if (first !== undefined) first.hostname = "first";
  await client.create(resources.endpointSlices, hosts);
  await client.create(resources.endpointSlices, slice("bare-6", "bare", ["fd00:10:244:1::7"], ["http/8080"]));
  const external = service("far", [], [], { type: "ExternalName", externalName: "www.up.example" });
  await client.create(resources.services, external);
  const resolvConf = join(cluster.dir, "resolv.conf");
  writeFileSync(resolvConf, "nameserver 172.30.0.53\n");
  agent = cluster.agent(node, "node-1", { "resolv-conf": resolvConf }).start();
  await agent.isReady();
  pod = new Namespace("pod");
  agent.attach(pod);
}, 30_000);

afterAll(async () => {
  if (!available) return;
  upstreamServer?.kill("SIGKILL");
  await upstreamServer?.exited;
  await cluster.close();
  pod?.close();
});

/** A server of the world outside, with one name that takes more than a datagram. */
function startDnsmasq(): Bun.Subprocess {
  const long = Array.from({ length: 20 }, (_, i) => `--txt-record=long.up.example,${"x".repeat(200)}${i}`);
  const options = ["--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root"];
  const names = ["--address=/www.up.example/192.0.2.77", "--address=/www.up.example/2001:db8::77"];
  return upstream.in(() =>
    Bun.spawn(["dnsmasq", ...options, "--listen-address=172.30.0.53", ...names, ...long], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "ignore",
    }),
  );
}

interface Answer {
  status: string;
  flags: string;
  answers: string[];
}

/** Asks with dig; answers as "name type data", sorted. */
async function ask(from: Namespace, ...question: string[]): Promise<Answer> {
  const command = ["dig", "+time=2", "+tries=2", "+noall", "+comments", "+answer", ...question];
  const child = inNetns({ name: from.name }, () => ({
    spawned: Bun.spawn(command, { stderr: "pipe" }),
  })).spawned;
  const text = await new Response(child.stdout).text();
  await child.exited;
  const answers = text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith(";"))
    .map((line) => line.split(/\s+/))
    .map(([name, _ttl, _class, ...rest]) => [name, ...rest].join(" "));
  return {
    status: /status: ([A-Z]+)/.exec(text)?.[1] ?? text.trim(),
    flags: /flags: ([a-z ]+)/.exec(text)?.[1] ?? "",
    answers: answers.sort(),
  };
}

const zone = "svc.cluster.local.";
const blue = `blue.default.${zone}`;
const bare = `bare.default.${zone}`;

describe("answers for the cluster", () => {
  const cases: [string, string[], string[]][] = [
    ["A", [blue, "A"], [`${blue} A 10.96.0.50`]],
    ["AAAA", [blue, "AAAA"], [`${blue} AAAA fd00:10:96::50`]],
    ["SRV", [`_http._tcp.${blue}`, "SRV"], [`_http._tcp.${blue} SRV 0 100 80 ${blue}`]],
    ["SRV of UDP", [`_dns._udp.${blue}`, "SRV"], [`_dns._udp.${blue} SRV 0 100 53 ${blue}`]],
    ["PTR", ["-x", "10.96.0.50"], [`50.0.96.10.in-addr.arpa. PTR ${blue}`]],
    [
      "PTR of IPv6",
      ["-x", "fd00:10:96::50"],
      [`0.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa. PTR ${blue}`],
    ],
    ["headless A", [bare, "A"], [`${bare} A 10.244.1.7`, `${bare} A 10.244.1.8`]],
    ["headless AAAA", [bare, "AAAA"], [`${bare} AAAA fd00:10:244:1::7`]],
    ["a host of a headless Service", [`first.${bare}`, "A"], [`first.${bare} A 10.244.1.7`]],
    ["PTR of an endpoint", ["-x", "10.244.1.7"], [`7.1.244.10.in-addr.arpa. PTR first.${bare}`]],
    [
      "a pod",
      ["10-244-1-2.default.pod.cluster.local.", "A"],
      ["10-244-1-2.default.pod.cluster.local. A 10.244.1.2"],
    ],
    [
      "the API server",
      ["kubernetes.default.svc.cluster.local", "A"],
      [`kubernetes.default.${zone} A 10.96.0.1`],
    ],
  ];
  for (const [what, question, answers] of cases) {
    kernelTest(`${what}, at both addresses, by UDP and TCP, on the node and in a pod`, async () => {
      const asked = [
        ask(node, "@10.96.0.10", ...question),
        ask(node, "@fd00:10:96::a", "+tcp", ...question),
        ask(pod, "@10.96.0.10", "+tcp", ...question),
        ask(pod, "@fd00:10:96::a", ...question),
      ];
      for (const answer of await Promise.all(asked)) {
        expect(answer).toMatchObject({ status: "NOERROR", answers });
        expect(answer.flags.split(" ")).toContain("aa");
      }
    });
  }

  kernelTest("no such name", async () => {
    expect(await ask(node, "@10.96.0.10", `none.default.${zone}`)).toMatchObject({
      status: "NXDOMAIN",
      answers: [],
    });
  });

  kernelTest("as the API changes", async () => {
    const name = `green.default.${zone}`;
    const answer = () => ask(node, "@10.96.0.10", name, "A");
    expect((await answer()).status).toBe("NXDOMAIN");
    await cluster.client.create(resources.services, service("green", ["10.96.0.51"], ["80"]));
    await until(
      () => "the new Service has no name",
      async () => ((await answer()).answers[0] === `${name} A 10.96.0.51` ? true : undefined),
    );
    await cluster.client.delete(resources.services, { namespace: "default", name: "green" });
    await eventually(
      () => "the removed Service has a name",
      async () => (await answer()).status === "NXDOMAIN",
    );
  });
});

kernelTest("counts what it holds: Services, addresses with PTR records, and namespaces", async () => {
  const metric = async () => parsePrometheus((await agent.get("/metrics")).body).get("weft_dns_names");
  const count = async () => (await metric())?.samples[0]?.value ?? 0;
  expect((await metric())?.help).toBe(
    "Services, addresses with PTR records, and namespaces in the cluster's zone",
  );
  const before = await count();
  const becomes = (more: number) =>
    eventually(
      () => `it does not count ${more} more`,
      async () => (await count()) === before + more,
    );
  await cluster.client.create(resources.namespaces, { metadata: { name: "counted" } });
  await becomes(1);
  await cluster.client.create(resources.services, service("counted", ["10.96.0.52"], ["80"]));
  await becomes(3);
  await cluster.client.delete(resources.services, { namespace: "default", name: "counted" });
  await becomes(1);
});

describe("forwards the rest to a server in another namespace", () => {
  forwardTest("by UDP and TCP, from the node and from a pod", async () => {
    const answers = ["www.up.example. A 192.0.2.77"];
    for (const [from, ...how] of [
      [node, "@10.96.0.10"],
      [pod, "@10.96.0.10", "+tcp"],
      [pod, "@fd00:10:96::a"],
    ] as [Namespace, ...string[]][]) {
      expect(await ask(from, ...how, "www.up.example", "A")).toMatchObject({ status: "NOERROR", answers });
    }
  });

  forwardTest("and tries TCP where an answer is too long", async () => {
    const { answers } = await ask(pod, "@10.96.0.10", "long.up.example", "TXT");
    expect(answers).toHaveLength(20);
  });

  forwardTest("also for a Service that is a name outside", async () => {
    expect((await ask(pod, "@10.96.0.10", `far.default.${zone}`, "A")).answers).toEqual([
      `far.default.${zone} CNAME www.up.example.`,
      "www.up.example. A 192.0.2.77",
    ]);
  });

  forwardTest("names of nobody", async () => {
    expect((await ask(pod, "@10.96.0.10", "none.invalid", "A")).status).not.toBe("NOERROR");
  });
});

kernelTest("an agent without DNS leaves its address to a Service of the cluster", async () => {
  const dns = service("kube-dns", ["10.96.0.10"], ["dns/53/UDP"]);
  await cluster.client.create(resources.services, dns);
  await cluster.client.create(
    resources.endpointSlices,
    slice("d", "kube-dns", ["10.244.1.9"], ["dns/53/UDP"]),
  );
  const leads = () => node.output("nft", "list", "map", "inet", "weft", "services-endpoints4");
  const entry = "10.96.0.10 . udp . 53 . 0x00000000 : 10.244.1.9 . 53";
  expect(leads()).not.toContain(entry);
  await agent.stop();
  const other = cluster.agent(node, "node-1", { features: "routes,masquerade,services" }).start();
  try {
    await other.isReady();
    expect(leads()).toContain(entry);
  } finally {
    await other.stop();
    await cluster.client.delete(resources.services, { namespace: "default", name: "kube-dns" });
    agent.start();
    await agent.isReady();
  }
  expect(leads()).not.toContain(entry);
});

describe("keeps its addresses", () => {
  kernelTest("they come back when somebody removes them", async () => {
    node.output("ip", "address", "del", "10.96.0.10/32", "dev", "lo");
    node.output("ip", "-6", "address", "del", "fd00:10:96::a/128", "dev", "lo");
    for (const address of ["@10.96.0.10", "@fd00:10:96::a"]) {
      await eventually(
        () => `${address} does not answer`,
        async () => (await ask(node, address, blue, "A")).status === "NOERROR",
      );
    }
  });

  kernelTest("they leave when they are configured no more, and others' stay", async () => {
    node.output("ip", "address", "add", "10.96.0.99/32", "dev", "lo");
    await agent.stop();
    const other = cluster.agent(node, "node-1", { "cluster-dns": "10.96.0.11" }).start();
    try {
      await other.isReady();
      const own = node.kernel.rtnl.addresses.list({ link: "lo" }).map(({ address }) => String(address.ip));
      expect(own.sort()).toEqual(["10.96.0.11", "10.96.0.99", "127.0.0.1", "::1"]);
    } finally {
      await other.stop();
      agent.start();
      await agent.isReady();
    }
  });

  kernelTest("port 53 in use is told, the rest goes on, and it is taken when it is free", async () => {
    await agent.stop();
    const taken = node.in(() => Bun.listen({ hostname: "10.96.0.10", port: 53, socket: { data() {} } }));
    try {
      agent.start();
      const { status, body } = await agent.says(/dns: failing/);
      expect(status).toBe(503);
      expect(body).toContain(
        "dns: failing (Cannot serve DNS at 10.96.0.10:53/tcp: another program listens there. Stop it",
      );
      // The other address answers, the other features work.
      expect((await ask(node, "@fd00:10:96::a", blue, "A")).answers).toEqual([`${blue} A 10.96.0.50`]);
      for (const feature of ["routes", "masquerade", "services", "cni-config"]) {
        await agent.says(new RegExp(`\\[\\+\\] ${feature}: ready`));
      }
    } finally {
      taken.stop(true);
    }
    await agent.isReady();
    expect((await ask(pod, "@10.96.0.10", blue, "A")).answers).toEqual([`${blue} A 10.96.0.50`]);
  });
});
