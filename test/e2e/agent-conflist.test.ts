/** 10-weft.conflist appears at once, and only when all that it promises works; what it waits for, /readyz says. */
import { afterEach, beforeEach, describe, expect } from "bun:test";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { runControllers } from "../../src/controlplane/controllers/index.ts";
import { nodeIpam } from "../../src/controlplane/controllers/nodeipam.ts";
import { resources } from "../../src/kube/types.ts";
import { Prefix } from "../../src/lib/prefix.ts";
import { Namespace } from "../kernel/services-fixture.ts";
import { type Agent, eventually, type Host, TestCluster, until, weft } from "../lib/agent.ts";
import { needs, testWith } from "../lib/needs.ts";

const kernelTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));
const available = needs.root === undefined && needs.kernel("bridge") === undefined;
const podCIDRs = ["10.244.1.0/24", "fd00:10:244:1::/64"];

let cluster: TestCluster;
let node: Host;
let agent: Agent;

beforeEach(async () => {
  if (!available) return;
  cluster = await TestCluster.start();
  cluster.kubeconfig();
  node = cluster.host("node", 11);
  agent = cluster.agent(node, "node-1");
});

afterEach(async () => {
  if (available) await cluster.close();
});

const isThere = () => existsSync(agent.conflist);

/** Waits for what the feature says; the file is not there meanwhile, nor then. */
async function waits(pattern: RegExp): Promise<void> {
  const { status } = await agent.says(pattern);
  expect({ status, isThere: isThere() }).toEqual({ status: 503, isThere: false });
}

/** Reads the file from its first moment on: it is whole from the start. */
async function appears(): Promise<{ plugins: [{ ipam: { ranges: { subnet: string }[][] } }] }> {
  return await until(
    () => "no conflist",
    () => (isThere() ? JSON.parse(readFileSync(agent.conflist, "utf8")) : undefined),
  );
}

kernelTest("waits for the Node object, then for its podCIDRs; then carries pods", async () => {
  agent.start();
  await waits(/cni-config: starting \(waiting for the Node object "node-1": is --node right/);
  await cluster.node("node-1", [], node.addresses);
  await waits(
    /cni-config: starting \(waiting for podCIDRs of node "node-1": the controller allocates them from its --cluster-cidr/,
  );
  const spec = { podCIDR: "10.244.1.0/24", podCIDRs };
  await cluster.client.patch(resources.nodes, { name: "node-1" }, { type: "merge", body: { spec } });
  const { plugins } = await appears();
  expect(plugins[0].ipam.ranges.flat().map(({ subnet }) => subnet)).toEqual(podCIDRs);
  expect(readdirSync(agent.confDir)).toEqual(["10-weft.conflist"]);
  await agent.isReady();
  const pod = new Namespace("pod");
  try {
    expect(agent.attach(pod)).toEqual(["10.244.1.2", "fd00:10:244:1::2"]);
  } finally {
    pod.close();
  }
});

kernelTest("says that the cluster CIDR has no room, and goes on when it has", async () => {
  const end = new AbortController();
  try {
    const cidr = Prefix.parse("10.244.0.0/24");
    await runControllers(
      cluster.client,
      { clusterCIDRs: [cidr], serviceCIDRs: [Prefix.parse("10.96.0.0/16")] },
      end.signal,
      [nodeIpam],
    ).ready;
    await cluster.node("node-0", [], ["172.30.0.10"]);
    await until(
      () => "node-0 gets no podCIDR",
      async () => (await cluster.client.get(resources.nodes, { name: "node-0" })).spec?.podCIDR,
    );
    await cluster.node("node-1", [], node.addresses);
    agent.start();
    await waits(/waiting for podCIDRs of node "node-1": .*--cluster-cidr, which must have room/);
    await cluster.client.delete(resources.nodes, { name: "node-0" });
    const { plugins } = await appears();
    expect(plugins[0].ipam.ranges).toEqual([[{ subnet: "10.244.0.0/24" }]]);
  } finally {
    end.abort();
  }
});

describe("podCIDRs that cannot work", () => {
  const cases: [string, string[], RegExp][] = [
    [
      "outside of the cluster CIDR",
      ["10.245.1.0/24"],
      /its podCIDR 10\.245\.1\.0\/24 is outside of --cluster-cidr 10\.244\.0\.0\/16,/,
    ],
    [
      "another node's",
      ["10.244.2.0/25"],
      /its podCIDR 10\.244\.2\.0\/25 overlaps 10\.244\.2\.0\/24 of node "node-2"/,
    ],
    ["a link's", ["10.244.9.0/24"], /its podCIDR 10\.244\.9\.0\/24 holds 10\.244\.9\.1\/24 of link "old0"/],
  ];
  for (const [what, own, message] of cases) {
    kernelTest(`${what}: named, and nothing is promised`, async () => {
      node.kernel.rtnl.links.add({ kind: "bridge", name: "old0", up: true });
      node.address("old0", "10.244.9.1/24");
      await cluster.node("node-2", ["10.244.2.0/24"], ["172.30.0.12"]);
      await cluster.node("node-1", own, node.addresses);
      agent.start();
      await waits(message);
      // It is mended as one does it: the node is registered again.
      await cluster.client.delete(resources.nodes, { name: "node-1" });
      await cluster.node("node-1", podCIDRs, node.addresses);
      await appears();
      await agent.isReady();
    });
  }

  kernelTest("that come later leave what is there alone", async () => {
    await cluster.node("node-1", podCIDRs, node.addresses);
    agent.start();
    await agent.isReady();
    const before = readFileSync(agent.conflist, "utf8");
    await cluster.node("node-2", ["10.244.1.0/24"], ["172.30.0.12"]);
    const { body } = await agent.says(/cni-config: failing/);
    expect(body).toContain(
      'node "node-2": its podCIDR 10.244.1.0/24 overlaps 10.244.1.0/24 of node "node-1"',
    );
    expect(readFileSync(agent.conflist, "utf8")).toBe(before);
  });
});

kernelTest("a node that is registered again with other podCIDRs gets pods of those", async () => {
  await cluster.node("node-1", podCIDRs, node.addresses);
  agent.start();
  await agent.isReady();
  const pods = [new Namespace("old"), new Namespace("new")] as const;
  try {
    agent.attach(pods[0]);
    const before = readFileSync(agent.conflist, "utf8");
    const masquerade = () => node.output("nft", "list", "set", "inet", "weft", "masquerade-pods4");
    await cluster.client.delete(resources.nodes, { name: "node-1" });
    await agent.says(/cni-config: starting \(waiting for the Node object/);
    // Until then its pods are served as they were.
    expect(readFileSync(agent.conflist, "utf8")).toBe(before);
    expect(masquerade()).toContain("10.244.1.0/24");
    await cluster.node("node-1", ["10.244.7.0/24", "fd00:10:244:7::/64"], node.addresses);
    await agent.says(/cni-config: ready \(.* with 10\.244\.7\.0\/24 and fd00:10:244:7::\/64/);
    expect(masquerade()).toContain("10.244.7.0/24");
    expect(agent.attach(pods[1])).toEqual(["10.244.7.2", "fd00:10:244:7::2"]);
    for (const gateway of ["10.244.7.1", "fd00:10:244:7::1"]) {
      const { exitCode } = pods[1].in(() => Bun.spawnSync(["ping", "-c1", "-W2", gateway]));
      expect([gateway, exitCode]).toEqual([gateway, 0]);
    }
    for (const pod of pods) agent.detach(pod);
    expect(node.kernel.rtnl.links.list({ master: "weft0" })).toEqual([]);
  } finally {
    for (const pod of pods) pod.close();
  }
});

describe("what cannot work on this machine is named, and nothing is promised", () => {
  const cases: [string, Record<string, string>, RegExp][] = [
    [
      "another machine's name",
      { node: "node-2" },
      /node "node-2" has 172\.30\.0\.12, and no link of this machine has\. Give --node /,
    ],
    [
      "a bridge that is something else",
      { bridge: "eth0" },
      /--bridge: "eth0" is a link of kind "veth" on this machine, not a bridge\. Choose /,
    ],
    [
      "a folder that cannot be made",
      { "cni-conf-dir": "/proc/weft" },
      /--cni-conf-dir: "\/proc\/weft" cannot be written to \(ENOENT: no such file or directory\)\. Name /,
    ],
    [
      "a file for a folder",
      { "cni-bin-dir": "/dev/null" },
      /--cni-bin-dir: "\/dev\/null" cannot be written to \((EEXIST|ENOTDIR): [^)]*\)\. Name /,
    ],
  ];
  for (const [what, options, message] of cases) {
    kernelTest(what, async () => {
      await cluster.node("node-1", podCIDRs, node.addresses);
      await cluster.node("node-2", ["10.244.2.0/24"], ["172.30.0.12"]);
      agent = cluster.agent(node, "node-1", options).start();
      await waits(message);
      // The rest works, and the one line is not repeated.
      await agent.says(/\[\+\] services: ready/);
      expect(agent.log().filter(({ message: said }) => message.test(said))).toHaveLength(1);
    });
  }

  kernelTest("a folder that is mounted read-only", async () => {
    await cluster.node("node-1", podCIDRs, node.addresses);
    mkdirSync(agent.confDir, { recursive: true });
    const script = `mount --bind ${agent.confDir} ${agent.confDir} && mount -o remount,bind,ro ${agent.confDir} && exec "$@"`;
    agent.start({}, ["unshare", "-m", "sh", "-c", script, "sh"]);
    await waits(/--cni-conf-dir: "[^"]*" cannot be written to \(EROFS: read-only file system\)\. Name /);
  });

  kernelTest("names, of which a folder that is read-only cannot keep any", async () => {
    await cluster.node("node-1", podCIDRs, node.addresses);
    mkdirSync(agent.stateDir, { recursive: true });
    const script = `mount --bind ${agent.stateDir} ${agent.stateDir} && mount -o remount,bind,ro ${agent.stateDir} && exec "$@"`;
    agent.start({}, ["unshare", "-m", "sh", "-c", script, "sh"]);
    await until(
      () => "it does not say so",
      () => agent.log().find(({ message }) => message.startsWith("Cannot write down names")),
    );
    await agent.isReady();
  });
});

kernelTest("another node that cannot be reached does not keep this one from carrying pods", async () => {
  await cluster.node("node-1", podCIDRs, node.addresses);
  await cluster.node("node-2", ["10.244.2.0/24"], ["192.0.2.1"]);
  agent.start();
  await agent.says(
    /routes: degraded \(.*node "node-2": its podCIDR 10\.244\.2\.0\/24 cannot be routed by 192\.0\.2\.1/,
  );
  // The default route leads there, but a next hop must be on a link.
  await agent.says(/cni-config: ready/);
  expect(isThere()).toBe(true);
});

kernelTest("follows what others do to its files", async () => {
  await cluster.node("node-1", podCIDRs, node.addresses);
  agent.start();
  await agent.isReady();
  const before = readFileSync(agent.conflist, "utf8");
  await agent.stop();
  writeFileSync(agent.conflist, before.slice(0, 40));
  rmSync(join(agent.binDir, "portmap"));
  writeFileSync(join(agent.binDir, "bridge.new"), "another's", { mode: 0o755 });
  node.output("mv", join(agent.binDir, "bridge.new"), join(agent.binDir, "bridge"));
  agent.start();
  await agent.isReady();
  expect(readFileSync(agent.conflist, "utf8")).toBe(before);
  expect(readFileSync(join(agent.binDir, "bridge.before-weft"), "utf8")).toBe("another's");
  expect(node.run([join(agent.binDir, "portmap")], { CNI_COMMAND: "VERSION" }).status).toBe(0);
});

describe("plugin executables", () => {
  const plugin = join(dirname(weft), "weft-cni");
  let own: string;

  /** Weft's executable in a folder of its own, where weft-cni is what the test wants. */
  const ownWeft = (content: string | undefined): string => {
    const dir = join(cluster.dir, "dist");
    mkdirSync(dir);
    copyFileSync(weft, join(dir, "weft"));
    own = join(dir, "weft-cni");
    if (content !== undefined) writeFileSync(own, content, { mode: 0o755 });
    return join(dir, "weft");
  };
  const cases: [string, string | undefined, RegExp][] = [
    ["that are missing", undefined, /the plugin executable "[^"]*\/dist\/weft-cni" is not there\. Build it/],
    [
      "that print rubbish",
      "#!/bin/sh\necho hello\n",
      /the plugins in "[^"]*\/bin" do not work: .*printed "hello", which is no result/,
    ],
    [
      "that fail",
      "#!/bin/sh\necho broken >&2; exit 3\n",
      /do not work: .*exit status 3, without an error result; it printed "broken"/,
    ],
    [
      "of another architecture",
      "\x7fELF nonsense",
      /do not work: .*cannot be started \(.*\/bin\/[a-z-]+: ENOEXEC\)/,
    ],
    ["that hang", "#!/bin/sh\nexec sleep 600\n", /do not work: .*did not end within 5 s and was killed/],
  ];
  for (const [what, content, message] of cases) {
    kernelTest(
      `${what}: named in one line, and tried again`,
      async () => {
        await cluster.node("node-1", podCIDRs, node.addresses);
        agent = cluster.agent(node, "node-1", {}, ownWeft(content)).start();
        // Nothing else waits for them, least of all the process.
        await agent.says(/\[\+\] dns: ready/);
        await waits(message);
        copyFileSync(plugin, `${own}.new`);
        chmodSync(`${own}.new`, 0o755);
        node.output("mv", `${own}.new`, own);
        await agent.isReady();
        expect(isThere()).toBe(true);
      },
      40_000,
    );
  }

  kernelTest("are copied whole, and not again", async () => {
    await cluster.node("node-1", podCIDRs, node.addresses);
    agent = cluster.agent(node, "node-1", { "cni-install": "copy" }).start();
    await agent.isReady();
    const copy = readFileSync(join(agent.binDir, "weft-cni"));
    expect(copy.equals(readFileSync(plugin))).toBe(true);
    const state = () => node.output("stat", "-c", "%i %y %z", join(agent.binDir, "weft-cni"));
    const before = state();
    await agent.stop();
    agent.start();
    await agent.isReady();
    expect(state()).toBe(before);
    await eventually(
      () => "it logs that it installed",
      () => agent.log().filter(({ message }) => message === "Installed the plugins").length === 1,
    );
  });
});
