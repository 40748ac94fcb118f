/**
 * Masquerade with real traffic: who is seen by whom. The scene is that of services.test.ts; `client` is the world outside
 * the cluster, `far` a pod of another node.
 */
import { afterAll, beforeAll, expect } from "bun:test";
import { Prefix } from "../../src/lib/prefix.ts";
import { MasqueradeDriver } from "../../src/services/masquerade.ts";
import { needs, testWith } from "../lib/needs.ts";
import { service, slice } from "../lib/services.ts";
import { Scene } from "./services-fixture.ts";

const kernelTest = testWith(needs.root, needs.kernel("nftables"));
const available = needs.root === undefined && needs.kernel("nftables") === undefined;
const prefixes = (...texts: string[]) => texts.map((text) => Prefix.parse(text));
const cluster = prefixes("10.244.0.0/16", "fd00:10:244::/56", "10.96.0.0/16", "fd00:10:96::/112");
let scene: Scene;
let driver: MasqueradeDriver;

beforeAll(async () => {
  if (!available) return;
  scene = new Scene(2);
  driver = new MasqueradeDriver(scene.node.kernel.nft);
  driver.update(scene.podPrefixes, cluster);
  await Promise.all([
    scene.pod(2).serve(8080, "p2"),
    scene.far.serve(8080, "far"),
    scene.client.serve(8080, "client"),
    scene.node.serve(8080, "node"),
  ]);
});

afterAll(() => {
  if (available) scene.close();
});

const seenBy = async (from: "p1" | "node" | "far" | "client", address: string) => {
  const caller = from === "p1" ? scene.pod(1) : scene[from];
  const [, seen] = (await caller.ask(address, 8080)).split(" ");
  return seen;
};

kernelTest.each([
  ["p1", "172.30.0.2", "172.30.0.1", "a pod outside has the node's address"],
  ["p1", "fd00:30::2", "fd00:30::1", "a pod outside has the node's address"],
  ["p1", "10.244.2.2", "10.244.1.11", "pods of two nodes have their own"],
  ["p1", "fd00:10:244:2::2", "fd00:10:244:1::11", "pods of two nodes have their own"],
  ["p1", "10.244.1.12", "10.244.1.11", "pods of one node have their own"],
  ["p1", "fd00:10:244:1::12", "fd00:10:244:1::11", "pods of one node have their own"],
  ["p1", "172.30.0.1", "10.244.1.11", "a pod at its node has its own"],
  ["p1", "fd00:30::1", "fd00:10:244:1::11", "a pod at its node has its own"],
  ["node", "10.244.1.12", "10.244.1.1", "the node at a pod has its own"],
  ["node", "10.244.2.2", "10.244.2.1", "the node at a pod has its own"],
  ["client", "10.244.1.12", "172.30.0.2", "the world at a pod has its own"],
  ["far", "10.244.1.12", "10.244.2.2", "another node's pod has its own"],
  ["far", "172.30.0.2", "10.244.2.2", "another node's pod is none of this node's business"],
] as const)("%s to %s is seen as %s: %s", async (from, to, seen) => {
  expect(await seenBy(from, to)).toBe(seen);
});

kernelTest("UDP and a Service whose endpoint is outside the cluster", async () => {
  const caller = await scene.pod(1).udp("172.30.0.2", 8080);
  expect(await caller.ask()).toStartWith("client 172.30.0.1 ");
  caller.close();
  scene.table.setService(service("out", ["10.96.0.1"], ["80"]));
  scene.table.setSlice(slice("out", "out", ["172.30.0.2"]));
  scene.driver.sync();
  expect(await scene.pod(1).ask("10.96.0.1", 80)).toStartWith("client 172.30.0.1 ");
});

kernelTest(
  "prefixes may be named in which pods keep their addresses, one inside of another too",
  async () => {
    driver.update(scene.podPrefixes, [
      ...cluster,
      ...prefixes("172.30.0.2/32", "172.30.0.0/24", "fd00:30::2/128"),
    ]);
    expect(await seenBy("p1", "172.30.0.2")).toBe("10.244.1.11");
    expect(await seenBy("p1", "fd00:30::2")).toBe("fd00:10:244:1::11");
    driver.update(scene.podPrefixes, cluster);
    expect(await seenBy("p1", "172.30.0.2")).toBe("172.30.0.1");
  },
);

kernelTest("a node without podCIDRs translates nothing", async () => {
  driver.update([], cluster);
  expect(await seenBy("p1", "172.30.0.2")).toBe("10.244.1.11");
  driver.update(scene.podPrefixes, cluster);
});
