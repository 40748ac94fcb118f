/**
 * Host-gateway routes in a node's namespace:
 *
 *     node: d0 = 172.30.0.11/24, fd00:30::11/64 (a veth to nowhere), gateways .12 and .13 on the link
 */
import { afterEach, beforeEach, expect } from "bun:test";
import { Ip } from "../../src/lib/ip.ts";
import { Prefix } from "../../src/lib/prefix.ts";
import { type Kernel, openKernel } from "../../src/linux/kernel.ts";
import { createNetns, deleteNetns } from "../../src/linux/netns.ts";
import { removeHostGateway, syncHostGateway } from "../../src/routes/host-gw.ts";
import type { PodRoute } from "../../src/routes/plan.ts";
import { needs, testWith } from "../lib/needs.ts";

const kernelTest = testWith(needs.root);
let count = 0;
let name: string;
let kernel: Kernel;

beforeEach(() => {
  name = `weft-t-routes-${process.pid}-${count++}`;
  createNetns(name);
  kernel = openKernel({ name });
  kernel.rtnl.links.add({ kind: "veth", name: "d0", up: true, peer: { name: "d1" } });
  kernel.rtnl.links.set("d1", { up: true });
  for (const address of ["172.30.0.11/24", "fd00:30::11/64"]) {
    kernel.rtnl.addresses.add({ link: "d0", address, flags: ["nodad"] });
  }
});

afterEach(() => {
  kernel.close();
  deleteNetns(name);
});

const to = (dst: string, gateway: string, node = "b"): PodRoute => ({
  dst: Prefix.parse(dst),
  gateway: Ip.parse(gateway),
  node,
});

function listed(): string[] {
  return kernel.rtnl.routes
    .list()
    .filter(({ protocol }) => protocol !== "kernel")
    .map(({ dst, gateway, protocol }) => `${dst} via ${gateway} proto ${protocol}`)
    .sort();
}

const both = [to("10.244.1.0/24", "172.30.0.12"), to("fd00:2::/64", "fd00:30::12")];

kernelTest("writes what is missing, and nothing the second time", () => {
  expect(syncHostGateway(kernel, both)).toEqual({ changed: 2, problems: [] });
  expect(listed()).toEqual([
    "10.244.1.0/24 via 172.30.0.12 proto weft",
    "fd00:2::/64 via fd00:30::12 proto weft",
  ]);
  expect(syncHostGateway(kernel, both)).toEqual({ changed: 0, problems: [] });
});

kernelTest("replaces a gateway in place and removes what is no longer wanted", () => {
  syncHostGateway(kernel, both);
  const moved = [to("10.244.1.0/24", "172.30.0.13")];
  expect(syncHostGateway(kernel, moved).changed).toBe(2);
  expect(listed()).toEqual(["10.244.1.0/24 via 172.30.0.13 proto weft"]);
});

kernelTest("leaves other protocols' routes alone and reports one that stands in the way", () => {
  kernel.rtnl.routes.add({ dst: "10.244.1.0/24", gateway: "172.30.0.99", protocol: "static" });
  kernel.rtnl.routes.add({ dst: "10.9.0.0/16", gateway: "172.30.0.99", protocol: "bird" });
  const { problems } = syncHostGateway(kernel, both);
  expect(problems.map(({ node }) => node)).toEqual(["b"]);
  expect(problems[0]?.message).toContain("10.244.1.0/24 cannot be routed by 172.30.0.12");
  removeHostGateway(kernel);
  expect(listed()).toEqual([
    "10.244.1.0/24 via 172.30.0.99 proto static",
    "10.9.0.0/16 via 172.30.0.99 proto bird",
  ]);
});

kernelTest("reports a gateway that is not on a link, and writes the others", () => {
  const { changed, problems } = syncHostGateway(kernel, [to("10.244.9.0/24", "192.0.2.9", "far"), ...both]);
  expect(changed).toBe(2);
  expect(problems).toHaveLength(1);
  expect(problems[0]?.node).toBe("far");
  expect(problems[0]?.message).toContain("the nodes must share a link");
});

kernelTest("writes again what lost its link", () => {
  syncHostGateway(kernel, both);
  kernel.rtnl.links.set("d0", { up: false });
  kernel.rtnl.links.set("d0", { up: true });
  expect(syncHostGateway(kernel, [to("10.244.1.0/24", "172.30.0.12")])).toEqual({ changed: 1, problems: [] });
  expect(listed()).toEqual(["10.244.1.0/24 via 172.30.0.12 proto weft"]);
});
