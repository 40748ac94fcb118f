/** DEL and GC where something is not as it should be: what can go, goes; see cni-fixture.ts for the picture. */
import { expect, test } from "bun:test";
import { join as path } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { unfinishedGroup } from "../../src/plugins/names.ts";
import { vethName } from "../../src/plugins/shared/veth.ts";
import { CniHost, ownPlugins } from "./cni-fixture.ts";

function configOf(host: CniHost, type: string, more: JsonObject = {}): JsonObject {
  const { bridge, isDefaultGateway, ...others } = host.config({ type, ...more });
  return type === "bridge" ? { bridge, isDefaultGateway, ...others } : others;
}

const types = ["bridge", "ptp"];
const spoilt: [string, JsonObject, JsonObject][] = types.flatMap((type) => [
  [type, { ipMasq: "yes" }, {}],
  [type, { mtu: -1, ipMasqBackend: 7, macspoofchk: 1 }, {}],
  [type, { ipam: { type: "nowhere" } }, { code: 7 }],
  [type, { ipMasq: true, ipam: { type: "host-local", dataDir: "nowhere" } }, { code: 7 }],
]);
test.each(spoilt)("%s: DEL does all it can with %p", async (type, keys, error) => {
  using host = new CniHost();
  const blue = host.container();
  const config = configOf(host, type, { ipMasq: true });
  await host.succeed("ADD", blue, config);
  const { status, json } = await host.call("DEL", blue, { ...config, ...keys });
  expect(status).toBe(error.code === undefined ? 0 : 1);
  expect(json).toMatchObject(error);
  expect(blue.kernel.rtnl.links.find("eth0")).toBeUndefined();
  expect(host.state()).not.toContain("masquerade4 10.77.0.2 ");
  // A lease is given back by whoever knows of it.
  expect(Object.keys(host.leases())).toHaveLength(status === 0 ? 0 : 2);
  await host.succeed("DEL", blue, config);
  expect(host.leases()).toEqual({});
});

test("DEL deletes the pair where a DHCP lease cannot be given back", async () => {
  using host = new CniHost();
  const blue = host.container();
  await host.succeed("ADD", blue, host.config({ ipam: undefined, isDefaultGateway: false }));
  const ipam = { type: "dhcp", daemonSocketPath: 7 };
  expect((await host.call("DEL", blue, host.config({ ipam }))).json).toMatchObject({ code: 7 });
  expect(blue.kernel.rtnl.links.find("eth0")).toBeUndefined();
});

for (const type of types) {
  test(`${type}: DEL finds the pair where the interface in the container is called otherwise by now`, async () => {
    using host = new CniHost();
    const blue = host.container();
    const config = configOf(host, type);
    await host.succeed("ADD", blue, config);
    const { links } = blue.kernel.rtnl;
    links.set("eth0", { up: false });
    links.set("eth0", { name: "blue0" });
    await host.succeed("DEL", blue, config);
    expect(links.find("blue0")).toBeUndefined();
    expect(host.leases()).toEqual({});
  });

  test(`${type}: DEL without a namespace finds the pair of an ADD that was killed before it said whose it is`, async () => {
    using host = new CniHost();
    const { links } = host.node.kernel.rtnl;
    const name = vethName("blue/eth0", 1);
    links.add({ kind: "veth", name, group: unfinishedGroup, peer: { name: "peer" } });
    await host.succeed("DEL", undefined, configOf(host, type), { containerId: "blue" });
    expect(links.find(name)).toBeUndefined();
    for (const foreign of [{ alias: "somebody's" }, { group: 7 }, {}]) {
      links.add({ kind: "veth", name, ...foreign, peer: { name: "peer" } });
      await host.succeed("DEL", undefined, configOf(host, type), { containerId: "blue" });
      expect(links.find(name)).toBeDefined();
      links.delete(name);
    }
  });

  test(`${type}: GC finds the pair of an ADD that was killed before it said whose it is`, async () => {
    using host = new CniHost();
    const blue = host.container();
    const config = configOf(host, type, { cniVersion: "1.1.0" });
    await host.succeed("ADD", blue, config);
    const { links } = host.node.kernel.rtnl;
    expect(links.list({ kind: "veth" }).map(({ group }) => group ?? 0)).toEqual([0, 0]);
    const pair = { kind: "veth", group: unfinishedGroup };
    links.add({ ...pair, name: "veth0000abcd", peer: { name: "killed" } });
    links.add({ ...pair, name: "veth0000abce", alias: "somebody's", peer: { name: "foreign" } });
    const valid = [{ containerID: blue.name, ifname: "eth0" }];
    await host.succeed("GC", undefined, { ...config, "cni.dev/valid-attachments": valid });
    expect(links.find("veth0000abcd")).toBeUndefined();
    expect(links.find("veth0000abce")).toBeDefined();
    expect(blue.kernel.rtnl.links.find("eth0")).toBeDefined();
  });

  test(`${type}: a plugin that gives no addresses is refused as ipam, instead of asking itself without end`, async () => {
    using host = new CniHost();
    const blue = host.container();
    const before = host.state();
    for (const command of ["ADD", "CHECK", "DEL", "GC", "STATUS"]) {
      const config = configOf(host, type, {
        cniVersion: "1.1.0",
        ipam: { type },
        "cni.dev/valid-attachments": [],
      });
      const { json } = await host.call(command, blue, config);
      expect(json).toMatchObject({ code: 7, msg: `ipam.type: "${type}" gives no addresses` });
    }
    expect(host.state()).toBe(before);
  });
}

test("nobody waits for long for a lock on deletions that somebody keeps", async () => {
  using host = new CniHost();
  const blue = host.container();
  const config = host.config();
  await host.succeed("ADD", blue, config);
  // In a mount namespace of its own: nobody else's deletions are to wait.
  const script = `mount -t tmpfs none /run/weft && exec 9> /run/weft/deletions.lock && flock 9 &&
    exec ${path(ownPlugins, "bridge")}`;
  const child = host.node.in(() =>
    Bun.spawn(["unshare", "-m", "sh", "-c", script], {
      stdin: new TextEncoder().encode(JSON.stringify(config)),
      env: {
        PATH: process.env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin",
        CNI_COMMAND: "DEL",
        CNI_CONTAINERID: blue.name,
        CNI_NETNS: `/run/netns/${blue.name}`,
        CNI_IFNAME: "eth0",
        CNI_PATH: ownPlugins,
      },
    }),
  );
  expect(await child.exited).toBe(0);
  expect(blue.kernel.rtnl.links.find("eth0")).toBeUndefined();
  expect(host.leases()).toEqual({});
});
