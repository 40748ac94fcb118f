/** DHCP leases from Kea: got, kept, lost and given back. The scene is drawn in dhcp-fixture.ts. */
import { describe, expect } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { referencePlugins } from "../kernel/cni-fixture.ts";
import { join } from "../kernel/services-fixture.ts";
import { needs, testWith } from "../lib/needs.ts";
import { addressIn, DhcpScene, until } from "./dhcp-fixture.ts";

const keaTest = testWith(needs.root, needs.command("kea-dhcp4", "kea-dhcp4-server"), needs.kernel("bridge"));
const macvlanTest = testWith(
  needs.root,
  needs.command("kea-dhcp4", "kea-dhcp4-server"),
  needs.kernel("macvlan"),
);
const referenceTest = testWith(
  needs.root,
  needs.command("kea-dhcp4", "kea-dhcp4-server"),
  needs.kernel("bridge"),
  needs.file(`${referencePlugins}/dhcp`, "containernetworking-plugins"),
);
const patience = 60_000;

describe("Kea", () => {
  keaTest(
    "gives a container of a bridge address, gateway, routes and DNS, and gets them back",
    async () => {
      using scene = new DhcpScene();
      await scene.daemon();
      const kea = await scene.kea(3600);
      scene.bridge();
      const container = scene.host.container();
      const added = await scene.host.succeed("ADD", container, scene.bridged());
      expect(added.json).toMatchObject({
        ips: [{ address: "10.99.0.100/24", gateway: "10.99.0.1", interface: 2 }],
        routes: [{ dst: "0.0.0.0/0", gw: "10.99.0.1" }],
        dns: {
          nameservers: ["10.99.0.1", "10.99.0.2"],
          domain: "lan.example",
          search: ["lan.example", "corp.example"],
        },
      });
      const { addresses, routes } = container.kernel.rtnl;
      expect(addresses.list({ family: 4 }).map(({ address }) => String(address))).toContain("10.99.0.100/24");
      expect(routes.list({ family: 4 }).map(({ gateway }) => String(gateway))).toContain("10.99.0.1");
      expect(scene.keaLeases().get("10.99.0.100")).toMatchObject({
        clientId: `${container.name}/net/eth0`,
        lifetime: 3600,
      });
      const known = { ...scene.bridged(), prevResult: added.json };
      await scene.host.succeed("CHECK", container, known);
      // The same container again is the same lease.
      const again = await scene.host.call("CHECK", container, {
        ...known,
        prevResult: { ...added.json, ips: [{ address: "10.99.0.77/24", interface: 2 }] },
      });
      expect(again.json).toMatchObject({ msg: expect.stringContaining("10.99.0.77/24") });
      await scene.host.succeed("DEL", container, known);
      await kea.said("DHCP4_RELEASE ");
      expect(scene.keaLeases().get("10.99.0.100")?.lifetime).toBe(0);
      await scene.host.succeed("DEL", container, known);
      const gone = await scene.host.call("CHECK", container, known);
      expect(gone.json).toMatchObject({ code: 3, msg: expect.stringContaining("no DHCP lease is kept") });
    },
    patience,
  );

  macvlanTest(
    "gives a macvlan an address, with a host name from CNI_ARGS and a metric for its routes",
    async () => {
      using scene = new DhcpScene();
      await scene.daemon();
      await scene.kea(3600, { "ddns-send-updates": false, "hostname-char-set": "" });
      const container = scene.host.container();
      const config = scene.macvlan({
        provide: [{ option: "host-name", fromArg: "K8S_POD_NAME" }],
        priority: 512,
      });
      const added = await scene.host.succeed("ADD", container, config, { args: "K8S_POD_NAME=blue" });
      expect(added.json).toMatchObject({
        ips: [{ address: "10.99.0.100/24", gateway: "10.99.0.1", interface: 0 }],
        routes: [{ dst: "0.0.0.0/0", gw: "10.99.0.1", priority: 512 }],
      });
      const [route] = container.kernel.rtnl.routes.list({ family: 4 }).filter(({ dst }) => dst.length === 0);
      expect(route).toMatchObject({ priority: 512 });
      expect(scene.keaLeases().get("10.99.0.100")?.hostname).toBe("blue");
      await scene.host.succeed("DEL", container, config);
      await until(
        () => scene.keaLeases().get("10.99.0.100")?.lifetime === 0,
        () => "released",
      );
    },
    patience,
  );

  keaTest(
    "is asked for more time at T1, by others' answers at T2 while it is away, and the link goes down at the end",
    async () => {
      using scene = new DhcpScene();
      const daemon = await scene.daemon();
      const times = { "renew-timer": 1, "rebind-timer": 4 };
      const kea = await scene.kea(10, times);
      scene.bridge();
      const container = scene.host.container();
      const config = scene.bridged();
      const added = await scene.host.succeed("ADD", container, config);
      await daemon.said("has more time");
      await daemon.said("has more time", 2);
      expect(daemon.log).not.toContain("asking any server");
      // Away until T2 has passed, and back before the end.
      await kea.end("SIGKILL");
      await daemon.said("asking any server for more time");
      const back = await scene.kea(10, times);
      await daemon.said("has more time", 3);
      await back.end("SIGKILL");
      await daemon.said("lease lost, setting the interface down");
      expect(container.kernel.rtnl.links.get("eth0").up).toBe(false);
      const check = await scene.host.call("CHECK", container, { ...config, prevResult: added.json });
      expect(check.json).toMatchObject({ code: 999, msg: expect.stringContaining("is lost") });
      await scene.host.succeed("DEL", container, config);
      expect(readdirSync(scene.stateDir)).toEqual(["lock"]);
    },
    patience,
  );

  keaTest(
    "that has given the address to somebody else refuses more time, and the link goes down",
    async () => {
      using scene = new DhcpScene();
      const daemon = await scene.daemon();
      const kea = await scene.kea(30, { "renew-timer": 2, "rebind-timer": 4 });
      scene.bridge();
      const container = scene.host.container();
      await scene.host.succeed("ADD", container, scene.bridged());
      await kea.end("SIGKILL");
      scene.giveKeaLeasesAway();
      await scene.kea(30);
      await daemon.said("refuses");
      await daemon.said("offers 10.99.0.101 in place of 10.99.0.100");
      await daemon.said("lease lost, setting the interface down");
      expect(container.kernel.rtnl.links.get("eth0").up).toBe(false);
      expect(scene.keaLeases().get("10.99.0.100")).toMatchObject({ clientId: "somebody else" });
    },
    patience,
  );

  keaTest(
    "sees nothing of a restart of the daemon, which renews what it finds and lets go of what is gone",
    async () => {
      using scene = new DhcpScene();
      const first = await scene.daemon();
      await scene.kea(60, { "renew-timer": 3 });
      scene.bridge();
      const stays = scene.host.container();
      const goes = scene.host.container();
      const added = await scene.host.succeed("ADD", stays, scene.bridged());
      await scene.host.succeed("ADD", goes, scene.bridged());
      await first.end("SIGKILL");
      goes.close();
      const second = await scene.daemon();
      await second.said("taking up 1 lease again");
      await second.said("its container is gone");
      await second.said("has more time", 2);
      expect(second.log).not.toContain("asking for a lease");
      const known = { ...scene.bridged(), prevResult: added.json };
      await scene.host.succeed("CHECK", stays, known);
      await scene.host.succeed("DEL", stays, known);
      await until(
        () => scene.keaLeases().get(addressIn(added).replace("/24", ""))?.lifetime === 0,
        () => "released",
      );
      await second.end();
      expect(existsSync(scene.socket)).toBe(false);
    },
    patience,
  );

  keaTest(
    "gives 20 containers at once an address each, and gets back by GC what is not valid",
    async () => {
      using scene = new DhcpScene();
      await scene.daemon();
      await scene.kea(3600);
      scene.bridge();
      const containers = Array.from({ length: 20 }, () => scene.host.container());
      const answers = await Promise.all(
        containers.map((container) => scene.host.succeed("ADD", container, scene.bridged())),
      );
      expect(new Set(answers.map(addressIn)).size).toBe(20);
      const [stays] = containers;
      const valid = [{ containerID: stays?.name, ifname: "eth0" }];
      await scene.host.succeed("GC", undefined, { ...scene.bridged(), "cni.dev/valid-attachments": valid });
      const leased = () => [...scene.keaLeases().values()].filter(({ lifetime }) => lifetime > 0);
      await until(
        () => leased().length === 1,
        () => `${leased().length} leases`,
      );
      expect(leased()).toMatchObject([{ clientId: `${stays?.name}/net/eth0` }]);
    },
    patience,
  );

  referenceTest(
    "knows a container again, whether the reference asks or Weft, and gives both the same but for DNS",
    async () => {
      using scene = new DhcpScene();
      await scene.daemon();
      await scene.kea(3600);
      scene.bridge();
      const container = scene.host.container();
      join(scene.host.node, "port", container, "eth0");
      scene.host.node.kernel.rtnl.links.set("port", { master: "br0", up: true });
      const other = `${scene.dir}/reference.sock`;
      const daemon = scene.host.node.in(() =>
        Bun.spawn([`${referencePlugins}/dhcp`, "daemon", "-socketpath", other], { stderr: "ignore" }),
      );
      try {
        await until(
          () => existsSync(other),
          () => "a socket",
        );
        const config = { ...scene.bridged(), type: "dhcp", cniVersion: "1.0.0" };
        const reference = { ...config, ipam: scene.ipam({ daemonSocketPath: other }) };
        const call = { plugins: referencePlugins };
        const theirs = await scene.host.succeed("ADD", container, reference, call);
        const ours = await scene.host.succeed("ADD", container, config);
        const { dns, ...rest } = ours.json;
        expect({ ...rest, dns: {} } as unknown).toEqual(theirs.json);
        expect(dns).toMatchObject({ domain: "lan.example" });
        expect(addressIn(ours)).toBe("10.99.0.100/24");
      } finally {
        daemon.kill();
        await daemon.exited;
      }
    },
    patience,
  );

  macvlanTest(
    "gives 500 interfaces a lease and more time, with one process that stays small and has no thread for each",
    async () => {
      using scene = new DhcpScene();
      const daemon = await scene.daemon();
      await scene.kea(60, {
        "renew-timer": 5,
        subnet4: [{ id: 1, subnet: "10.99.0.0/16", pools: [{ pool: "10.99.1.0 - 10.99.3.255" }] }],
      });
      const container = scene.host.container();
      const { links } = scene.host.node.kernel.rtnl;
      const names = Array.from({ length: 500 }, (_, i) => `m${i}`);
      for (const name of names) {
        links.add({
          kind: "macvlan",
          name,
          parent: "eth1",
          macvlan: { mode: "bridge" },
          netns: { name: container.name },
        });
      }
      const answers = await Promise.all(names.map((ifname) => scene.ask("ADD", container, ifname)));
      expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(500);
      const threads = /^Threads:\s+([0-9]+)$/m.exec(
        readFileSync(`/proc/${daemon.child.pid}/status`, "utf8"),
      )?.[1];
      expect(Number(threads)).toBeLessThan(32);
      expect(readdirSync(scene.stateDir)).toHaveLength(501);
      await daemon.said("has more time", 500);
      expect(daemon.log).not.toContain("lease lost");
      await Promise.all(names.map((ifname) => scene.ask("DEL", container, ifname)));
      // Nothing stays open for a lease that is gone.
      const open = () => readdirSync(`/proc/${daemon.child.pid}/fd`).length;
      await until(
        () => open() < 64,
        () => `${open()} descriptors`,
      );
      await until(
        () => [...scene.keaLeases().values()].every(({ lifetime }) => lifetime === 0),
        () => `${[...scene.keaLeases().values()].filter(({ lifetime }) => lifetime > 0).length} leases`,
      );
      expect(readdirSync(scene.stateDir)).toEqual(["lock"]);
    },
    patience,
  );

  keaTest(
    "has no address left: ADD fails, leaves nothing behind, and says who was asked",
    async () => {
      using scene = new DhcpScene();
      await scene.daemon("--resendtimeout", "2s");
      await scene.kea(3600, {
        subnet4: [{ id: 1, subnet: "10.99.0.0/24", pools: [{ pool: "10.99.0.100 - 10.99.0.100" }] }],
      });
      scene.bridge();
      const [first, second] = [scene.host.container(), scene.host.container()];
      await scene.host.succeed("ADD", first, scene.bridged());
      const refused = await scene.host.call("ADD", second, scene.bridged());
      expect(refused.json).toMatchObject({
        code: 11,
        msg: "no DHCP server gave a lease within 2 s (none answered)",
      });
      expect(second.kernel.rtnl.links.find("eth0")).toBeUndefined();
      expect(readdirSync(scene.stateDir)).toHaveLength(2);
    },
    patience,
  );
});
