import { expect, test } from "bun:test";
import { isChainOfBridge } from "./names.ts";

const chains: [string, string, boolean][] = [
  ["firewall-same-bridge-br0", "br0", true],
  ["firewall-isolated-br0", "br0", true],
  ["firewall-same-bridge-br0.5", "br0", true],
  ["firewall-same-bridge-br0.5", "br0.5", true],
  ["firewall-same-bridge-br0", "br0.5", false],
  ["firewall-same-bridge-br01", "br0", false],
  ["firewall-same-bridge-cni-podman0", "podman0", false],
  ["firewall-isolated-cni-podman0.5", "podman0", false],
  ["firewall-open", "open", false],
];
test.each(chains)("chain %s is for bridge %s: %p", (chain, bridge, expected) => {
  expect(isChainOfBridge(chain, bridge)).toBe(expected);
});
