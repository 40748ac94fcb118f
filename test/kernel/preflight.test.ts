import { expect } from "bun:test";
import { preflight } from "../../src/agent/cni/preflight.ts";
import { listNetns } from "../../src/linux/netns.ts";
import { needs, testWith } from "../lib/needs.ts";

const kernelTest = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));

kernelTest("preflight passes where the kernel has everything, and leaves no namespace", () => {
  const before = listNetns();
  preflight([4, 6]);
  expect(listNetns()).toEqual(before);
});
