import { expect, test } from "bun:test";
import { parseInvocation } from "../../cni/env.ts";
import type { JsonObject } from "../../cni/fields.ts";
import { parseNetworkConfig } from "../../cni/netconf.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import { bridgeOf, parseFirewallConfig } from "../firewall/config.ts";
import { parsePortmapConfig } from "../portmap/config.ts";
import { line } from "./iptables.ts";
import { iptablesChain, requireChainName } from "./iptables-names.ts";
import { goneContainers } from "./iptables-rules.ts";

function request(raw: JsonObject): PluginRequest {
  const invocation = parseInvocation({
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: "blue",
    CNI_NETNS: "/run/netns/blue",
    CNI_IFNAME: "eth0",
    CNI_PATH: "/opt/cni/bin",
  });
  const config = parseNetworkConfig({ cniVersion: "1.1.0", name: "net", type: "x", ...raw });
  return { invocation, config, warn: () => {}, builtin: async () => undefined, env: {} };
}

test("chains are named as by the reference", () => {
  // Of the reference's own tests (pkg/utils/utils_test.go).
  expect(iptablesChain("test", "1234")).toBe("CNI-2bbe0c48b91a7d1b8a6753a8");
  expect(iptablesChain("", "1234")).toBe("CNI-d404559f602eab6fd602ac76");
  expect(iptablesChain("test", "1234", "DN-")).toHaveLength(28);
  expect(iptablesChain("test", "1234", "DN-")).toBe("CNI-DN-2bbe0c48b91a7d1b8a675");
});

test("words of a line are quoted where iptables would take them apart", () => {
  expect(line("-s", "10.0.0.0/8", "!", "-i", "eth+", "-j", "A")).toBe("-s 10.0.0.0/8 ! -i eth+ -j A");
  expect(line("--comment", 'name: "a\\b"')).toBe('--comment "name: \\"a\\\\b\\""');
  expect(line("$(id)", "`id`", "#", "")).toBe('"$(id)" "`id`" "#" ""');
  for (const word of ["a\nCOMMIT", "a\rb", "a\0b", "\u0085"]) {
    expect(() => line("-m", word)).toThrow("has a control character");
  }
});

test.each(["", "-A", "a b", "a\n", "1a", "x".repeat(29), "a;b", 'a"b'])(
  "%j is the name of no chain",
  (name) => {
    expect(() => requireChainName(name, "f")).toThrow("cannot be the name of a chain");
  },
);

test("containers that are gone are told by the reference's comments", () => {
  const jump = (network: string, id: string, chain = iptablesChain(network, id)) =>
    `-A POSTROUTING -s 10.1.0.5/32 -m comment --comment "name: \\"${network}\\" id: \\"${id}\\"" -j ${chain}`;
  const rules = [
    jump("net", "blue"),
    jump("net", "green"),
    jump("net", "green"),
    jump("other", "blue"),
    jump("net", "red", "KUBE-MARK-MASQ"),
    '-A POSTROUTING -m comment --comment "name: net id: blue" -j ACCEPT',
    "-A POSTROUTING -j CNI-HOSTPORT-MASQ",
  ];
  expect(goneContainers(rules, "net", [])).toEqual([
    iptablesChain("net", "blue"),
    iptablesChain("net", "green"),
  ]);
  expect(goneContainers(rules, "net", [{ containerId: "green", ifname: "eth1" }])).toEqual([
    iptablesChain("net", "blue"),
  ]);
  expect(goneContainers(rules, "none", [])).toEqual([]);
});

const backends: [string, JsonObject, "nftables" | "iptables"][] = [
  ["nothing said", {}, "nftables"],
  ["an empty text", { backend: "" }, "nftables"],
  ["the key", { backend: "iptables" }, "iptables"],
  ["conditions in simple words of iptables", { conditionsV4: ["!", "-d", "10.0.0.0/8"] }, "nftables"],
  ["a chain of iptables", { externalSetMarkChain: "KUBE-MARK-MASQ" }, "iptables"],
  ["conditions that only iptables knows", { conditionsV6: ["-m", "mark", "--mark", "1"] }, "iptables"],
];
test.each(backends)("portmap's backend: %s", (_, raw, backend) => {
  expect(parsePortmapConfig(request(raw)).backend).toBe(backend);
});

test("firewall's defaults", () => {
  expect(parseFirewallConfig(request({}))).toEqual({ policy: "open", adminChain: "CNI-ADMIN" });
  expect(
    parseFirewallConfig(request({ backend: "", ingressPolicy: "", iptablesAdminChainName: "" })),
  ).toEqual({
    policy: "open",
    adminChain: "CNI-ADMIN",
  });
});

test("the interfaces by which a container is reached", () => {
  const host = (...names: string[]) => names.map((name) => ({ name }));
  const container = { name: "eth0", sandbox: "/run/netns/blue" };
  const of = (interfaces: { name: string; sandbox?: string }[]) =>
    bridgeOf({ interfaces, ips: [], routes: [], dns: {} }, "isolated");
  expect(of([...host("cni0", "veth1"), container])).toEqual({ name: "cni0", port: "veth1" });
  expect(of([...host("cni0", "veth1"), container, ...host("cni0.100")])).toEqual({
    name: "cni0",
    port: "veth1",
    vlan: "cni0.100",
  });
  expect(of(host("veth1"))).toEqual({ name: "veth1" });
  expect(() => of([])).toThrow("interface needs to be set");
  expect(() => of([container])).toThrow("the host's interface needs to be first");
});
