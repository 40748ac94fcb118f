/** The tap plugin: a link in the container that a program, here the test itself, attaches to as a virtual machine would. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, read, writeFileSync } from "node:fs";
import { join as path } from "node:path";
import { promisify } from "node:util";
import type { JsonObject } from "../../src/cni/fields.ts";
import * as ffi from "../../src/linux/ffi.ts";
import type { NewLink } from "../../src/linux/route/link.ts";
import { openTun } from "../../src/linux/tun.ts";
import { waitFor } from "../../src/plugins/shared/wait.ts";
import { needs, testWith } from "../lib/needs.ts";
import { CniHost, ownPlugins } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

function tapConfig(more: JsonObject = {}): JsonObject {
  return { cniVersion: "1.1.0", name: "net", type: "tap", ...more };
}

/** host-local, dual stack; the leases are the scene's own. */
function withIpam(host: CniHost, more: JsonObject = {}): JsonObject {
  return tapConfig({
    ipam: {
      type: "host-local",
      dataDir: host.dataDir,
      ranges: [[{ subnet: "10.77.0.0/24" }], [{ subnet: "fd77::/64" }]],
      routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
    },
    ...more,
  });
}

/** Opens a queue of the container's tap link. */
function attach({ name }: Namespace, multiQueue = false): Disposable & { fd: number } {
  const { fd } = openTun({ name: "eth0", mode: "tap", netns: { name }, multiQueue, attach: true });
  return { fd, [Symbol.dispose]: () => ffi.close(fd) };
}

/** The first frame of an EtherType that comes out of the link. */
async function frameOf(fd: number, type: number): Promise<Buffer> {
  for (;;) {
    const { bytesRead, buffer } = await promisify(read)(fd, Buffer.alloc(2048), 0, 2048, null);
    if (buffer.readUInt16BE(12) === type) return buffer.subarray(0, bytesRead);
  }
}

test("the container has a tap link that nobody in particular owns, and it stays without a program", async () => {
  using host = new CniHost();
  const container = host.container();
  const { json } = await host.succeed("ADD", container, tapConfig());
  const link = container.kernel.rtnl.links.get("eth0");
  expect(json).toEqual({
    cniVersion: "1.1.0",
    interfaces: [{ name: "eth0", mac: link.mac, mtu: 1500, sandbox: `/run/netns/${container.name}` }],
    dns: {},
  });
  expect(link).toMatchObject({ kind: "tun", up: true, alias: `weft: net/${container.name}/eth0` });
  expect(link.tun).toMatchObject({ type: "tap", persist: true, multiQueue: false, packetInformation: false });
  expect([link.tun?.owner, link.tun?.group]).toEqual([undefined, undefined]);
});

test("mtu, mac, owner, group and multiQueue are as configured", async () => {
  using host = new CniHost();
  const container = host.container();
  const keys = { mtu: 1400, mac: "02:00:00:00:00:07", owner: 0, group: 4321, multiQueue: true };
  const { json } = await host.succeed("ADD", container, tapConfig(keys));
  const link = container.kernel.rtnl.links.get("eth0");
  expect(link).toMatchObject({ mtu: 1400, mac: "02:00:00:00:00:07" });
  expect(link.tun).toMatchObject({ owner: 0, group: 4321, multiQueue: true });
  expect(json.interfaces).toMatchObject([{ mac: "02:00:00:00:00:07", mtu: 1400 }]);
  using first = attach(container, true);
  using second = attach(container, true);
  expect(first.fd).not.toBe(second.fd);
  expect(container.kernel.rtnl.links.get("eth0").running).toBe(true);
});

const macs: [string, JsonObject, string][] = [
  ["the configuration", { mac: "02:00:00:00:00:01" }, ""],
  ["CNI_ARGS before it", { mac: "02:00:00:00:00:09" }, "MAC=02:00:00:00:00:01"],
  [
    "the capability before both",
    { mac: "02:00:00:00:00:09", runtimeConfig: { mac: "02:00:00:00:00:01" } },
    "MAC=02:00:00:00:00:08",
  ],
];
test.each(macs)("the hardware address is that of %s", async (_, more, args) => {
  using host = new CniHost();
  const container = host.container();
  await host.succeed("ADD", container, tapConfig(more), { args });
  expect(container.kernel.rtnl.links.get("eth0").mac).toBe("02:00:00:00:00:01");
});

test("with ipam it has addresses and routes at once, also before a program attaches, which then gets the frames", async () => {
  using host = new CniHost();
  const container = host.container();
  const { json } = await host.succeed("ADD", container, withIpam(host));
  expect(json).toMatchObject({
    interfaces: [{ name: "eth0" }],
    ips: [
      { interface: 0, address: "10.77.0.2/24", gateway: "10.77.0.1" },
      { interface: 0, address: "fd77::2/64", gateway: "fd77::1" },
    ],
    routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
  });
  const addresses = container.kernel.rtnl.addresses.list({ link: "eth0" });
  expect(addresses.filter(({ flags }) => flags.includes("tentative"))).toEqual([]);
  using queue = attach(container);
  const asked = container.ask("10.77.0.1", 80, 1000);
  const arp = await frameOf(queue.fd, 0x0806);
  // The sender's and the wanted address of an ARP request.
  expect([...arp.subarray(28, 32), ...arp.subarray(38, 42)]).toEqual([10, 77, 0, 2, 10, 77, 0, 1]);
  await asked;
});

test("as a port of the container's bridge it carries what the bridge forwards", async () => {
  using host = new CniHost();
  const container = host.container();
  container.kernel.rtnl.links.add({ kind: "bridge", name: "vmbr", up: true });
  container.address("vmbr", "10.9.0.1/24");
  const config = tapConfig({ bridge: "vmbr" });
  const { json: prevResult } = await host.succeed("ADD", container, config);
  const { links } = container.kernel.rtnl;
  expect(links.get("eth0").master).toBe(links.get("vmbr").index);
  await host.succeed("CHECK", container, { ...config, prevResult });
  using queue = attach(container);
  const asked = container.ask("10.9.0.2", 80, 1000);
  expect((await frameOf(queue.fd, 0x0806)).subarray(38, 42)).toEqual(Buffer.from([10, 9, 0, 2]));
  await asked;
  links.set("eth0", { master: null });
  expect((await host.call("CHECK", container, { ...config, prevResult })).json.msg).toMatch(/bridge/);
});

const failures: [string, JsonObject, { code: number; msg: RegExp }][] = [
  [
    "the bridge is missing",
    { bridge: "vmbr" },
    { code: 999, msg: /failed to get bridge vmbr: there is no such/ },
  ],
  ["the bridge is none", { bridge: "lo" }, { code: 999, msg: /failed to get bridge lo/ }],
  ["the MTU is too large", { mtu: 65536 }, { code: 7, msg: /mtu: 65536 is not/ }],
  ["the kernel takes no such MTU", { mtu: 65535 }, { code: 999, msg: /EINVAL/ }],
  ["the owner is none", { owner: -1 }, { code: 7, msg: /owner: -1 is not/ }],
  ["the address is a group's", { mac: "01:00:00:00:00:01" }, { code: 7, msg: /mac: .* is not a unicast/ }],
  [
    "no address is left",
    {
      ipam: {
        type: "host-local",
        ranges: [[{ subnet: "10.77.0.0/30", rangeStart: "10.77.0.1", rangeEnd: "10.77.0.1" }]],
      },
    },
    { code: 11, msg: /no IP addresses available/ },
  ],
  [
    "the gateway of a route is out of reach",
    {
      ipam: {
        type: "static",
        addresses: [{ address: "10.1.0.2/24" }],
        routes: [{ dst: "10.9.0.0/16", gw: "10.5.0.1" }],
      },
    },
    { code: 999, msg: /ENETUNREACH/ },
  ],
  [
    "the MTU is too small for IPv6",
    { mtu: 1000, ipam: { type: "static", addresses: [{ address: "fd01::2/64" }] } },
    { code: 7, msg: /too small/ },
  ],
];
test.each(failures)("ADD that fails because %s leaves nothing", async (_, more, error) => {
  using host = new CniHost();
  const container = host.container();
  const before = host.state();
  const ipam =
    more.ipam === undefined ? {} : { ipam: { ...(more.ipam as JsonObject), dataDir: host.dataDir } };
  const { json } = await host.call("ADD", container, tapConfig({ ...more, ...ipam }));
  expect(json).toMatchObject({ code: error.code, msg: expect.stringMatching(error.msg) });
  expect(container.kernel.rtnl.links.list().map(({ name }) => name)).toEqual(["lo"]);
  expect(host.state()).toBe(before);
});

const context = { selinuxContext: "system_u:system_r:container_t:s0" };

testWith(needs.that(!existsSync("/sys/fs/selinux"), "a kernel without SELinux"))(
  "without SELinux a context is refused, and nothing is left",
  async () => {
    using host = new CniHost();
    const container = host.container();
    const { json } = await host.call("ADD", container, tapConfig(context));
    expect(json).toMatchObject({ code: 2, msg: expect.stringContaining("selinuxContext") });
    expect(container.kernel.rtnl.links.list().map(({ name }) => name)).toEqual(["lo"]);
  },
);

test("a process that was started with the context makes the link itself", async () => {
  using host = new CniHost();
  const container = host.container();
  await host.succeed("ADD", container, tapConfig(context), { env: { WEFT_TAP_LABELLED: "1" } });
  expect(container.kernel.rtnl.links.get("eth0").kind).toBe("tun");
});

/** A call that starts a process with the context, on a kernel that seems to take any; CNI_PATH leads to a script. */
function startLabelled(host: CniHost, container: Namespace, config: JsonObject, script: string) {
  const [plugins, attribute] = [path(host.dir, "plugins"), path(host.dir, "exec")];
  mkdirSync(plugins);
  writeFileSync(attribute, "");
  writeFileSync(path(plugins, "tap"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const caller = path(import.meta.dir, "cni-labelled.ts");
  const mount = 'mount --bind "$0" /proc/$$/task/$$/attr/exec && exec "$@"';
  return host.node.in(() =>
    Bun.spawn(["unshare", "-m", "sh", "-c", mount, attribute, process.execPath, caller], {
      stdin: new TextEncoder().encode(JSON.stringify(config)),
      stdout: "pipe",
      stderr: "inherit",
      env: {
        PATH: process.env.PATH,
        CNI_COMMAND: "ADD",
        CNI_CONTAINERID: container.name,
        CNI_NETNS: `/run/netns/${container.name}`,
        CNI_IFNAME: "eth0",
        CNI_PATH: `${plugins}:${ownPlugins}`,
      },
    }),
  );
}

test("what a process with the context had made when it was killed is taken back", async () => {
  using host = new CniHost();
  const container = host.container();
  const made = path(host.dir, "made");
  const script = `${ownPlugins}/tap >${made}.new && mv ${made}.new ${made} && exec sleep 600`;
  const child = startLabelled(host, container, withIpam(host, context), script);
  expect(await waitFor(30_000, () => existsSync(made) || child.exitCode !== null)).toBe(true);
  expect(container.kernel.rtnl.links.get("eth0").kind).toBe("tun");
  expect(Object.keys(host.leases())).toHaveLength(2);
  child.kill("SIGTERM");
  expect(await new Response(child.stdout).json()).toMatchObject({
    code: 11,
    msg: expect.stringContaining("was killed"),
  });
  expect(container.kernel.rtnl.links.find("eth0")).toBeUndefined();
  expect(host.leases()).toEqual({});
});

test("no process with the context is started for an interface that is there already", async () => {
  using host = new CniHost();
  const container = host.container();
  const { links } = container.kernel.rtnl;
  await host.succeed("ADD", container, withIpam(host));
  const child = startLabelled(host, container, withIpam(host, context), "exec sleep 600");
  expect(await new Response(child.stdout).json()).toMatchObject({
    code: 999,
    msg: 'container interface name ("eth0") already exists',
  });
  expect(links.get("eth0").kind).toBe("tun");
  expect(Object.keys(host.leases())).toHaveLength(2);
});

const others: [string, NewLink][] = [
  ["a veth", { kind: "veth", name: "eth0", peer: { name: "other" } }],
  ["a VPN's tun link", { kind: "tun", name: "eth0", tun: { type: "tun" } }],
  ["another network's tap", { kind: "tun", name: "eth0", tun: { type: "tap" }, alias: "weft: other/x/eth0" }],
];
test.each(others)("%s that is there already stays, also at DEL after the refusal", async (_, link) => {
  using host = new CniHost();
  const container = host.container();
  const { links } = container.kernel.rtnl;
  links.add(link);
  const { json } = await host.call("ADD", container, withIpam(host));
  expect(json).toMatchObject({ code: 999, msg: 'container interface name ("eth0") already exists' });
  await host.succeed("DEL", container, withIpam(host));
  expect(links.get("eth0").kind).toBe(link.kind);
  expect(host.leases()).toEqual({});
});

test("DEL removes a tap that does not say whose it is, as the reference makes them", async () => {
  using host = new CniHost();
  const container = host.container();
  const { links } = container.kernel.rtnl;
  links.add({ kind: "tun", name: "eth0", tun: { type: "tap" } });
  await host.succeed("DEL", container, withIpam(host));
  expect(links.find("eth0")).toBeUndefined();
});

test("DEL removes link and leases, may be repeated, and needs no namespace", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  const config = withIpam(host);
  await host.succeed("ADD", blue, config);
  await host.succeed("ADD", green, config);
  for (let i = 0; i < 2; i++) {
    await host.succeed("DEL", blue, config);
    expect(blue.kernel.rtnl.links.list().map(({ name }) => name)).toEqual(["lo"]);
  }
  expect(Object.values(host.leases())).toEqual([`${green.name}/eth0`, `${green.name}/eth0`]);
  await host.succeed("DEL", green, config, { netns: "/run/netns/weft-t-gone" });
  expect(host.leases()).toEqual({});
});

test("CHECK compares the link with the configuration and with the result", async () => {
  using host = new CniHost();
  const container = host.container();
  const config = withIpam(host, { mtu: 1400, owner: 7 });
  const { json: prevResult } = await host.succeed("ADD", container, config);
  const check = async (more: JsonObject = {}) =>
    (await host.call("CHECK", container, { ...config, prevResult, ...more })).json.msg;
  expect(await check()).toBeUndefined();
  expect(await check({ mtu: 1300 })).toMatch(/MTU 1400 does not match expected value: 1300/);
  expect(await check({ owner: 8 })).toMatch(/owner 7 does not match/);
  expect(await check({ multiQueue: true })).toMatch(/multiQueue false does not match/);
  expect(await check({ prevResult: undefined })).toBe("Required prevResult missing");
  const { rtnl } = container.kernel;
  rtnl.addresses.delete({ link: "eth0", address: "10.77.0.2/24" });
  expect(await check()).toMatch(/Failed to match addr 10\.77\.0\.2\/24/);
  rtnl.links.delete("eth0");
  expect(await check()).toMatch(/eth0 not found/);
});

test("GC releases the leases of others and deletes their links, STATUS asks the IPAM plugin", async () => {
  using host = new CniHost();
  const [blue, green] = [host.container(), host.container()];
  const config = withIpam(host);
  await host.succeed("ADD", blue, config);
  await host.succeed("ADD", green, config);
  const valid = [{ containerID: blue.name, ifname: "eth0" }];
  await host.succeed("GC", undefined, { ...config, "cni.dev/valid-attachments": valid });
  expect([...new Set(Object.values(host.leases()))]).toEqual([`${blue.name}/eth0`]);
  expect(blue.kernel.rtnl.links.find("eth0")).toBeDefined();
  expect(green.kernel.rtnl.links.find("eth0")).toBeUndefined();
  await host.succeed("STATUS", undefined, config);
  const full = {
    type: "host-local",
    dataDir: host.dataDir,
    ranges: [[{ subnet: "10.77.0.0/30", rangeStart: "10.77.0.1", rangeEnd: "10.77.0.1" }]],
  };
  expect((await host.call("STATUS", undefined, { ...config, ipam: full })).json).toMatchObject({ code: 50 });
});

test.each(["0.3.1", "0.4.0", "1.0.0"])("speaks version %s", async (cniVersion) => {
  using host = new CniHost();
  const container = host.container();
  const { json } = await host.succeed("ADD", container, withIpam(host, { cniVersion }), {
    plugins: ownPlugins,
  });
  expect(json.cniVersion).toBe(cniVersion);
  expect(json.interfaces).toEqual([
    { name: "eth0", mac: expect.any(String), sandbox: `/run/netns/${container.name}` },
  ]);
  await host.succeed("DEL", container, withIpam(host, { cniVersion }));
});
