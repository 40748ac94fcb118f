/** DHCP leases from dnsmasq. The scene is drawn in dhcp-fixture.ts. */
import { describe, expect } from "bun:test";
import { needs, testWith } from "../lib/needs.ts";
import { DhcpScene, until } from "./dhcp-fixture.ts";

const dnsmasqTest = testWith(needs.root, needs.command("dnsmasq", "dnsmasq-base"), needs.kernel("bridge"));
const patience = 60_000;

describe("dnsmasq", () => {
  dnsmasqTest(
    "gives routes by option 121 in place of the router, and DNS",
    async () => {
      using scene = new DhcpScene();
      await scene.daemon();
      await scene.dnsmasq(
        "--dhcp-option=121,10.50.0.0/16,10.99.0.7,198.51.100.0/24,0.0.0.0",
        "--dhcp-option=option:dns-server,10.99.0.53",
        "--dhcp-option=option:domain-search,one.example,two.example",
        "--domain=lan.example",
      );
      scene.bridge();
      const container = scene.host.container();
      const added = await scene.host.succeed("ADD", container, scene.bridged());
      expect(added.json).toMatchObject({
        ips: [{ gateway: "10.99.0.1" }],
        routes: [
          { dst: "10.50.0.0/16", gw: "10.99.0.7" },
          { dst: "198.51.100.0/24", gw: "0.0.0.0", scope: 253 },
        ],
        dns: {
          nameservers: ["10.99.0.53"],
          domain: "lan.example",
          search: ["one.example", "two.example"],
        },
      });
      const routes = container.kernel.rtnl.routes
        .list({ family: 4 })
        .map(({ dst, gateway }) => `${dst} ${gateway}`);
      expect(routes).toContain("10.50.0.0/16 10.99.0.7");
      expect(routes).toContain("198.51.100.0/24 undefined");
      expect(routes.filter((route) => route.startsWith("0.0.0.0/0"))).toEqual([]);
    },
    patience,
  );

  dnsmasqTest(
    "gives only what is requested where the default is skipped, and sees what is provided",
    async () => {
      using scene = new DhcpScene();
      await scene.daemon("--broadcast");
      const server = await scene.dnsmasq(
        "--dhcp-option=option:dns-server,10.99.0.53",
        "--dhcp-userclass=set:red,red",
      );
      scene.bridge();
      const container = scene.host.container();
      const config = scene.bridged({
        request: [{ skipDefault: true }, { option: "subnet-mask" }],
        provide: [
          { option: "vendor-class-identifier", value: "weft" },
          { option: "12", fromArg: "K8S_POD_NAME" },
        ],
      });
      const added = await scene.host.succeed("ADD", container, config, { args: "K8S_POD_NAME=blue" });
      expect(added.json).not.toHaveProperty("routes");
      expect(added.json).toMatchObject({ dns: {} });
      expect(server.log).toContain("vendor class: weft");
      expect(server.log).toContain("client provides name: blue");
      expect(server.log).toMatch(/requested options: 1:netmask\n/);
      expect(scene.dnsmasqLeases()).toMatchObject([expect.stringContaining(" blue ")]);
    },
    patience,
  );

  dnsmasqTest(
    "gives more time for what it gave, also when it has forgotten it, and gets it back",
    async () => {
      using scene = new DhcpScene();
      const first = await scene.daemon();
      const server = await scene.dnsmasq();
      scene.bridge();
      const container = scene.host.container();
      await scene.host.succeed("ADD", container, scene.bridged());
      expect(scene.dnsmasqLeases()).toHaveLength(1);
      await first.end();
      // Its leases last two minutes at least, of which nobody wants to wait for the half.
      scene.renewSoon();
      const second = await scene.daemon();
      await second.said("has more time");
      await second.end();
      await server.end();
      scene.forgetDnsmasqLeases();
      const again = await scene.dnsmasq();
      scene.renewSoon();
      const third = await scene.daemon();
      await third.said("has more time");
      expect(scene.dnsmasqLeases()).toHaveLength(1);
      await scene.host.succeed("DEL", container, scene.bridged());
      await again.said("DHCPRELEASE");
      await until(
        () => scene.dnsmasqLeases().length === 0,
        () => scene.dnsmasqLeases().join(),
      );
    },
    patience,
  );
});
