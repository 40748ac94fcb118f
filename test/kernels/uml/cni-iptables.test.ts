/** The backends iptables on a kernel whose nftables has no tables for packets, but for the bridge family. */
import { expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { join as path } from "node:path";
import { CniHost } from "../../kernel/cni-fixture.ts";

test("by iptables, mappings and firewall come and go without nftables", async () => {
  using host = new CniHost();
  const bin = path(host.dir, "bin");
  mkdirSync(bin);
  for (const suffix of ["", "-restore"]) {
    symlinkSync("/usr/sbin/xtables-legacy-multi", path(bin, `iptables${suffix}`));
  }
  const call = { env: { PATH: `${bin}:${process.env.PATH}` } };
  const container = host.container();
  const prevResult = {
    cniVersion: "1.1.0",
    interfaces: [{ name: "br0" }, { name: "eth0", sandbox: `/run/netns/${container.name}` }],
    ips: [{ address: "10.77.0.2/24", interface: 1 }],
  };
  const common = { cniVersion: "1.1.0", name: "net", prevResult, backend: "iptables" };
  const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
  const chain = [
    { ...common, type: "portmap", runtimeConfig: { portMappings } },
    { ...common, type: "firewall", ingressPolicy: "same-bridge" },
  ];
  for (const each of chain) await host.succeed("ADD", container, each, call);
  const rules = () =>
    ["nat", "filter"].flatMap((table) => {
      const { stdout } = host.node.in(() => Bun.spawnSync(["iptables-legacy", "-t", table, "-S"]));
      return stdout
        .toString()
        .split("\n")
        .filter((line) => /^-A/.test(line) && /10\.77\.0\.|CNI-DN-/.test(line));
    });
  // From the own network and localhost, then to the container; and the jump to these.
  expect(rules()).toHaveLength(4 + 2);
  for (const each of chain) await host.succeed("CHECK", container, each, call);
  for (const each of chain.toReversed()) await host.succeed("DEL", container, each, call);
  expect(rules()).toEqual([]);
}, 60_000);
