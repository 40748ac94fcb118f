/**
 * The host-device plugin with virtual links as devices; hardware is in test/kernels/host-device.test.ts. The host has
 * beside what cni-fixture.ts draws:
 *
 *     outside 198.51.100.2, fd51::2 -- far0 (outside) -- card0 (host; moved into containers)
 */
import { describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join as path } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import type { Link } from "../../src/linux/route/link.ts";
import { describeWith, needs } from "../lib/needs.ts";
import { CniHost, ownPlugins, referencePlugins } from "./cni-fixture.ts";
import { join, type Namespace } from "./services-fixture.ts";

const reference = needs.file(`${referencePlugins}/host-device`, "containernetworking-plugins");

/** A host with a device. */
class DeviceHost extends CniHost {
  readonly records = path(this.dir, "devices");

  constructor() {
    super();
    join(this.node, "card0", this.outside, "far0");
    this.outside.address("far0", "198.51.100.2/24", "fd51::2/64");
    this.node.kernel.rtnl.links.set("card0", { up: true, mac: "02:00:00:00:00:c0" });
  }

  device(more: JsonObject = {}): JsonObject {
    return {
      cniVersion: "1.1.0",
      name: "net",
      type: "host-device",
      device: "card0",
      dataDir: this.records,
      ...more,
    };
  }

  withIpam(more: JsonObject = {}): JsonObject {
    const ranges = [
      [{ subnet: "198.51.100.0/24", rangeStart: "198.51.100.50", gateway: "198.51.100.2" }],
      [{ subnet: "fd51::/64", rangeStart: "fd51::50", gateway: "fd51::2" }],
    ];
    const routes = [{ dst: "0.0.0.0/0" }, { dst: "::/0" }];
    return this.device({ ipam: { type: "host-local", dataDir: this.dataDir, ranges, routes }, ...more });
  }

  card(name = "card0"): Link | undefined {
    return this.node.kernel.rtnl.links.find(name);
  }

  /** Another device, and a network of its own that has it. */
  another(more: JsonObject = {}): JsonObject {
    join(this.node, "card1", this.outside, "far1");
    this.node.kernel.rtnl.links.set("card1", { up: true, mac: "02:00:00:00:00:c1" });
    return this.device({ name: "other", device: "", ...more });
  }

  /** Whose devices are remembered. */
  remembered(): string[] {
    return existsSync(path(this.records, "net")) ? readdirSync(path(this.records, "net")).sort() : [];
  }
}

const namesIn = ({ kernel }: Namespace) =>
  kernel.rtnl.links
    .list()
    .map(({ name }) => name)
    .sort();

test("the device is in the container under its name there, up, with its own name as alias", async () => {
  using host = new DeviceHost();
  const container = host.container();
  const { json } = await host.succeed("ADD", container, host.device(), { ifname: "net1" });
  expect(host.card()).toBeUndefined();
  expect(container.kernel.rtnl.links.get("net1")).toMatchObject({
    up: true,
    alias: "card0",
    mac: "02:00:00:00:00:c0",
  });
  expect(json).toEqual({
    cniVersion: "1.1.0",
    interfaces: [
      { name: "net1", mac: "02:00:00:00:00:c0", mtu: 1500, sandbox: `/run/netns/${container.name}` },
    ],
    dns: {},
  });
});

test("with ipam the container reaches and is reached through it at once", async () => {
  using host = new DeviceHost();
  const container = host.container();
  await container.serve(8080, "container");
  await host.outside.serve(8080, "outside");
  const { json } = await host.succeed("ADD", container, host.withIpam());
  expect(json).toMatchObject({
    interfaces: [{ name: "eth0", mac: "02:00:00:00:00:c0" }],
    ips: [
      { interface: 0, address: "198.51.100.50/24", gateway: "198.51.100.2" },
      { interface: 0, address: "fd51::50/64", gateway: "fd51::2" },
    ],
  });
  expect(await host.outside.ask("198.51.100.50", 8080, 1000)).toStartWith("container 198.51.100.2 ");
  expect(await host.outside.ask("fd51::50", 8080, 1000)).toStartWith("container fd51::2 ");
  expect(await container.ask("192.0.2.2", 8080, 1000)).toStartWith("outside 198.51.100.50 ");
  await host.succeed("DEL", container, host.withIpam());
  expect(host.leases()).toEqual({});
});

const states: [string, Partial<Pick<Link, "up" | "mtu" | "alias">> & { master?: string }][] = [
  ["up", { up: true }],
  ["down", { up: false }],
  ["another MTU", { up: true, mtu: 1400 }],
  ["an alias", { up: true, alias: "to the lab" }],
  ["a bridge that it belongs to", { up: true, master: "br9" }],
];
test.each(states)("DEL returns it with its old name and state: %s", async (_, state) => {
  using host = new DeviceHost();
  const { links } = host.node.kernel.rtnl;
  links.add({ kind: "bridge", name: "br9" });
  links.set("card0", state);
  const before = host.card();
  const container = host.container();
  await host.succeed("ADD", container, host.device());
  // What a container does to it does not come home with it.
  container.kernel.rtnl.links.set("eth0", { up: false, mtu: 1280, mac: "02:00:00:00:00:77" });
  await host.succeed("DEL", container, host.device());
  const { up, mtu, mac, alias, master, index, name } = host.card() as Link;
  expect({ up, mtu, mac, alias, master, index, name }).toEqual({
    up: before?.up as boolean,
    mtu: before?.mtu as number,
    mac: "02:00:00:00:00:c0",
    alias: before?.alias,
    master: before?.master,
    index: before?.index as number,
    name: "card0",
  });
  expect(namesIn(container)).toEqual(["lo"]);
  expect(host.remembered()).toEqual([]);
});

test("DEL may be repeated, and comes for what was never added", async () => {
  using host = new DeviceHost();
  const [blue, green] = [host.container(), host.container()];
  await host.succeed("ADD", blue, host.withIpam());
  for (let i = 0; i < 2; i++) {
    await host.succeed("DEL", green, host.withIpam());
    expect(namesIn(blue)).toEqual(["eth0", "lo"]);
  }
  for (let i = 0; i < 2; i++) {
    await host.succeed("DEL", blue, host.withIpam());
    expect(host.card()).toMatchObject({ up: true });
  }
});

test("DEL leaves another network's interface of the same name alone", async () => {
  using host = new DeviceHost();
  const container = host.container();
  container.kernel.rtnl.links.add({ kind: "veth", name: "eth0", peer: { name: "other" }, alias: "mine" });
  const { json } = await host.call("ADD", container, host.device());
  expect(json).toMatchObject({ code: 999, msg: 'container interface name ("eth0") already exists' });
  await host.succeed("DEL", container, host.device());
  expect(container.kernel.rtnl.links.get("eth0").alias).toBe("mine");
  expect(host.card()).toMatchObject({ up: true });
});

const refused: [string, JsonObject][] = [
  ["another device by its address", { hwaddr: "02:00:00:00:00:c1" }],
  ["that device by its address", { hwaddr: "02:00:00:00:00:c0" }],
  ["that device by its name", { device: "card0" }],
  ["no device", {}],
];
test.each(refused)(
  "DEL after a refused ADD leaves the device alone that another network has there: %s",
  async (_, more) => {
    using host = new DeviceHost();
    const container = host.container();
    await host.succeed("ADD", container, host.device(), { ifname: "net1" });
    const other = host.another(more);
    expect((await host.call("ADD", container, other, { ifname: "net1" })).status).toBe(1);
    await host.succeed("DEL", container, other, { ifname: "net1" });
    expect(container.kernel.rtnl.links.get("net1")).toMatchObject({ alias: "card0", up: true });
    expect(namesIn(host.node)).toEqual(["card1", "eth0", "lo"]);
    await host.succeed("DEL", container, host.device(), { ifname: "net1" });
    expect(host.card()).toMatchObject({ up: true });
  },
);

test("DEL without a record brings home the device that is selected, and no other", async () => {
  using host = new DeviceHost();
  const container = host.container();
  await host.succeed("ADD", container, host.device());
  rmSync(host.records, { recursive: true });
  const another = host.another({ hwaddr: "02:00:00:00:00:c1" });
  await host.succeed("DEL", container, another);
  expect(namesIn(container)).toEqual(["eth0", "lo"]);
  await host.succeed("DEL", container, { ...another, hwaddr: "02:00:00:00:00:c0" });
  expect(host.card()).toMatchObject({ mac: "02:00:00:00:00:c0" });
  expect(namesIn(container)).toEqual(["lo"]);
});

test("DEL for a device with a driver in userspace moves nothing", async () => {
  using host = new DeviceHost();
  const container = host.container();
  await host.succeed("ADD", container, host.device(), { ifname: "net1" });
  // A sysfs of the plugin's own, with such a device.
  const sysfs = path(host.dir, "sys");
  const device = path(sysfs, "bus/pci/devices/0000:03:10.1");
  mkdirSync(device, { recursive: true });
  symlinkSync("../../drivers/vfio-pci", path(device, "driver"));
  const plugins = path(host.dir, "plugins");
  mkdirSync(plugins);
  const script = `mount --bind ${sysfs} /sys && exec ${ownPlugins}/host-device`;
  writeFileSync(path(plugins, "host-device"), `#!/bin/sh\nexec unshare -m sh -c '${script}'\n`, {
    mode: 0o755,
  });
  // A server would look into its own.
  const call = { ifname: "net1", plugins, env: { WEFT_CNI_SERVED: "1" } };
  const dataDir = path(host.dir, "elsewhere");
  for (const more of [{ device: "" }, { dataDir }]) {
    const config = host.device({ name: "dpdk", pciBusID: "0000:03:10.1", ...more });
    const { json } = await host.succeed("ADD", container, config, call);
    expect(json.interfaces).toMatchObject([{ name: "net1", pciID: "0000:03:10.1" }]);
    await host.succeed("DEL", container, config, call);
    expect(namesIn(container)).toEqual(["lo", "net1"]);
  }
});

const clashes: [string, { inContainer?: string; ifname: string }][] = [
  ["the container has a link of the device's name", { inContainer: "card0", ifname: "net1" }],
  ["the host has a link of the container's name", { ifname: "eth0" }],
  ["both", { inContainer: "card0", ifname: "eth0" }],
  ["the name stays", { ifname: "card0" }],
];
test.each(clashes)("it moves in and out where %s", async (_, { inContainer, ifname }) => {
  using host = new DeviceHost();
  const container = host.container();
  const { links } = container.kernel.rtnl;
  if (inContainer !== undefined) links.add({ kind: "bridge", name: inContainer });
  await host.succeed("ADD", container, host.device(), { ifname });
  expect(links.get(ifname)).toMatchObject({ kind: "veth", mac: "02:00:00:00:00:c0", up: true });
  await host.succeed("DEL", container, host.device(), { ifname });
  expect(host.card()).toMatchObject({ mac: "02:00:00:00:00:c0", up: true });
  expect(namesIn(container)).toEqual([...(inContainer === undefined ? [] : [inContainer]), "lo"]);
  expect(namesIn(host.node)).toEqual(["card0", "eth0", "lo"]);
});

test("a host that has given the name away gets the device under another, with the old one as alias", async () => {
  using host = new DeviceHost();
  const container = host.container();
  await host.succeed("ADD", container, host.device());
  host.node.kernel.rtnl.links.add({ kind: "bridge", name: "card0" });
  const { stderr } = await host.succeed("DEL", container, host.device());
  expect(stderr).toContain('cannot restore name of device "card0"');
  expect(host.card("dev0")).toMatchObject({
    kind: "veth",
    alias: "card0",
    mac: "02:00:00:00:00:c0",
    up: true,
  });
  expect(host.card()?.kind).toBe("bridge");
  expect(namesIn(container)).toEqual(["lo"]);
});

test("it is found again where the container renamed it and gave it another alias", async () => {
  using host = new DeviceHost();
  const container = host.container();
  await host.succeed("ADD", container, host.device());
  const { links } = container.kernel.rtnl;
  links.set("eth0", { up: false });
  links.set("eth0", { name: "mine" });
  await host.succeed("DEL", container, host.device());
  expect(host.card()).toMatchObject({ mac: "02:00:00:00:00:c0", up: true });
});

test("a late DEL takes no device out of a container whose namespace has the path of the one before", async () => {
  using host = new DeviceHost();
  const container = host.container();
  await host.succeed("ADD", container, host.device(), { containerId: "blue" });
  // As if the namespace had gone, and the device with it.
  container.kernel.rtnl.links.delete("eth0");
  join(host.node, "card0", host.outside, "far0");
  await host.succeed("ADD", container, host.device(), { containerId: "green" });
  for (const call of [{}, { netns: "" }]) {
    await host.succeed("DEL", container, host.device(), { containerId: "blue", ...call });
    expect(namesIn(container)).toEqual(["eth0", "lo"]);
  }
  expect(host.remembered()).toEqual(["green:eth0"]);
  await host.succeed("DEL", container, host.device(), { containerId: "green" });
  expect(host.card()).toBeDefined();
});

test("of two devices that the host called the same DEL takes the one of its interface", async () => {
  using host = new DeviceHost();
  const container = host.container();
  await host.succeed("ADD", container, host.device(), { ifname: "net1" });
  join(host.node, "card0", host.outside, "far1");
  host.node.kernel.rtnl.links.set("card0", { mac: "02:00:00:00:00:c1" });
  await host.succeed("ADD", container, host.device(), { ifname: "net2" });
  await host.succeed("DEL", container, host.device(), { ifname: "net2" });
  expect(namesIn(container)).toEqual(["lo", "net1"]);
  expect(host.card()).toMatchObject({ mac: "02:00:00:00:00:c1", up: false });
});

test("two containers cannot have one device; the one that has it keeps it", async () => {
  using host = new DeviceHost();
  const containers = [host.container(), host.container()];
  const answers = await Promise.all(containers.map((each) => host.call("ADD", each, host.device())));
  expect(answers.map(({ status }) => status).sort()).toEqual([0, 1]);
  const winner = containers[answers.findIndex(({ status }) => status === 0)] as Namespace;
  const loser = containers[answers.findIndex(({ status }) => status === 1)] as Namespace;
  expect(namesIn(winner)).toEqual(["eth0", "lo"]);
  await host.succeed("DEL", loser, host.device());
  expect(namesIn(winner)).toEqual(["eth0", "lo"]);
  await host.succeed("DEL", winner, host.device());
  expect(host.card()).toMatchObject({ up: true });
});

const failures: [string, JsonObject, { code: number; msg: RegExp; details?: RegExp }][] = [
  ["no device is named", { device: "" }, { code: 7, msg: /specify either "device", "hwaddr"/ }],
  ["the device is missing", { device: "card9" }, { code: 999, msg: /failed to find host device: .*"card9"/ }],
  [
    "no device has the address",
    { hwaddr: "02:00:00:00:00:99", device: "" },
    { code: 999, msg: /02:00:00:00:00:99/ },
  ],
  ["the path is none", { kernelpath: "/x", device: "" }, { code: 7, msg: /kernelpath/ }],
  [
    "the kernel does not let it go",
    { device: "lo" },
    { code: 999, msg: /failed to move link "lo"/, details: /lets no loopback link leave/ },
  ],
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
    "what is to be remembered cannot be written",
    { dataDir: "/proc/nowhere" },
    { code: 5, msg: /cannot write/ },
  ],
];
test.each(failures)("ADD that fails because %s leaves the device as it was", async (_, more, error) => {
  using host = new DeviceHost();
  const container = host.container();
  const before = [host.card(), host.state()];
  const ipam =
    more.ipam === undefined ? {} : { ipam: { ...(more.ipam as JsonObject), dataDir: host.dataDir } };
  const { json } = await host.call("ADD", container, host.device({ ...more, ...ipam }));
  expect(json).toMatchObject({ code: error.code, msg: expect.stringMatching(error.msg) });
  if (error.details !== undefined) expect(json.details).toMatch(error.details);
  expect(namesIn(container)).toEqual(["lo"]);
  expect(host.card()?.up).toBe(true);
  expect(host.state()).toBe(before[1] as string);
  expect(host.remembered()).toEqual([]);
});

test("by its address, hardware comes before what has the same", async () => {
  using host = new DeviceHost();
  const container = host.container();
  await host.succeed("ADD", container, host.device({ device: "", hwaddr: "02-00-00-00-00-C0" }));
  expect(container.kernel.rtnl.links.get("eth0").alias).toBe("card0");
  await host.succeed("DEL", container, host.device({ device: "", hwaddr: "02-00-00-00-00-C0" }));
  expect(host.card()).toMatchObject({ up: true });
});

describe("where the namespace is gone", () => {
  test("a virtual device has gone with it, and DEL is content", async () => {
    using host = new DeviceHost();
    const container = host.container();
    await host.succeed("ADD", container, host.withIpam());
    await host.succeed("DEL", container, host.withIpam(), { netns: "/run/netns/weft-t-gone" });
    expect(host.leases()).toEqual({});
    expect(host.remembered()).toEqual([]);
  });

  // As the kernel would give hardware back: under the container's name, or one of its own, down.
  for (const name of ["net1", "dev7"]) {
    for (const isRemembered of [true, false]) {
      test(`a device that came back as ${name} gets its name${isRemembered ? " and state" : ""} back`, async () => {
        using host = new DeviceHost();
        const container = host.container();
        await host.succeed("ADD", container, host.device(), { ifname: "net1" });
        container.kernel.rtnl.links.set("net1", { netns: { name: host.node.name }, name });
        if (!isRemembered) rmSync(host.records, { recursive: true });
        expect(host.card(name)).toMatchObject({ alias: "card0", up: false });
        await host.succeed("DEL", container, host.device(), { ifname: "net1", netns: "" });
        expect(host.card()).toMatchObject({ up: isRemembered, mac: "02:00:00:00:00:c0" });
        expect(host.card()?.alias).toBeUndefined();
        expect(namesIn(host.node)).toEqual(["card0", "eth0", "lo"]);
      });
    }
  }

  for (const name of ["net1", "dev7"]) {
    test(`a device that came back as ${name} has its old name also where the next container gets it before DEL`, async () => {
      using host = new DeviceHost();
      const [blue, green] = [host.container(), host.container()];
      host.node.kernel.rtnl.links.set("card0", { mtu: 1400, alias: "to the lab" });
      await host.succeed("ADD", blue, host.device(), { ifname: "net1" });
      const moved = { netns: { name: host.node.name }, name, mtu: 1300 };
      blue.kernel.rtnl.links.set("net1", moved);
      blue.close();
      const next = host.device({ name: "other", device: "", hwaddr: "02:00:00:00:00:c0" });
      await host.succeed("ADD", green, next);
      expect(green.kernel.rtnl.links.get("eth0")).toMatchObject({ alias: "card0", mtu: 1400, up: true });
      const late = { ifname: "net1", containerId: blue.name, netns: `/run/netns/${blue.name}` };
      await host.succeed("DEL", undefined, host.device(), late);
      expect(namesIn(green)).toEqual(["eth0", "lo"]);
      await host.succeed("DEL", green, next);
      expect(host.card()).toMatchObject({ alias: "to the lab", mtu: 1400, up: true });
      expect(namesIn(host.node)).toEqual(["card0", "eth0", "lo"]);
      expect(host.remembered()).toEqual([]);
    });
  }

  test("a link of the host with such an alias is left alone where it cannot be the device", async () => {
    using host = new DeviceHost();
    host.node.kernel.rtnl.links.add({ kind: "bridge", name: "wan0", alias: "card0" });
    await host.succeed("DEL", undefined, host.device(), { containerId: "x" });
    expect(host.card("wan0")).toMatchObject({ alias: "card0" });
  });
});

test("a kill between remembering and moving leaves nothing behind after DEL", async () => {
  using host = new DeviceHost();
  const container = host.container();
  await host.succeed("ADD", container, host.device());
  const file = path(host.records, "net", `${container.name}:eth0`);
  const record = readFileSync(file, "utf8");
  await host.succeed("DEL", container, host.device());
  for (const text of [record, "", "{", "[]", '{"name":7}']) {
    writeFileSync(file, text);
    await host.succeed("DEL", container, host.device());
    expect(host.card()).toMatchObject({ up: true });
    expect(host.remembered()).toEqual([]);
  }
});

test("useInterfaceNetwork takes the host's addresses, routes and rules along", async () => {
  using host = new DeviceHost();
  const { rtnl } = host.node.kernel;
  host.node.address("card0", "198.51.100.1/24", "fd51::1/64");
  rtnl.routes.add({ dst: "203.0.113.0/24", gateway: "198.51.100.2", oif: "card0" });
  rtnl.routes.add({ dst: "0.0.0.0/0", gateway: "198.51.100.2", oif: "card0", table: 7, priority: 9 });
  rtnl.routes.add({ dst: "198.51.100.0/25", oif: "card0", table: 7 });
  rtnl.routes.add({ dst: "fd99::/64", gateway: "fd51::2", oif: "card0" });
  rtnl.rules.add({ src: "198.51.100.1/32", table: 7, priority: 700 });
  rtnl.rules.add({ src: "192.0.2.1/32", table: 7, priority: 701 });
  const container = host.container();
  await container.serve(8080, "container");
  const config = host.device({
    useInterfaceNetwork: true,
    ipam: { type: "static", addresses: [{ address: "198.51.100.9/24" }] },
  });
  const { json: prevResult } = await host.succeed("ADD", container, config);
  expect(prevResult).toMatchObject({
    ips: [
      { interface: 0, address: "198.51.100.9/24" },
      { interface: 0, address: "198.51.100.1/24" },
      { interface: 0, address: "fd51::1/64" },
    ],
  });
  const routes = prevResult.routes as JsonObject[];
  expect(routes.map(({ dst, gw, table }) => `${dst} ${gw} ${table}`).sort()).toEqual([
    "0.0.0.0/0 198.51.100.2 7",
    "198.51.100.0/25 undefined 7",
    "203.0.113.0/24 198.51.100.2 254",
    "fd99::/64 fd51::2 254",
  ]);
  const rules = container.kernel.rtnl.rules.list().filter(({ src }) => src !== undefined);
  expect(rules).toMatchObject([{ priority: 700, table: 7 }]);
  expect(await host.outside.ask("198.51.100.1", 8080, 1000)).toStartWith("container 198.51.100.2 ");
  expect(await host.outside.ask("fd51::1", 8080, 1000)).toStartWith("container fd51::2 ");
  await host.succeed("CHECK", container, { ...config, prevResult });
  await host.succeed("DEL", container, config);
  expect(host.card()).toMatchObject({ up: true });
});

test("CHECK compares the interface with the result", async () => {
  using host = new DeviceHost();
  const container = host.container();
  const config = host.withIpam();
  const { json: prevResult } = await host.succeed("ADD", container, config);
  const check = async (more: JsonObject = {}) =>
    (await host.call("CHECK", container, { ...config, prevResult, ...more })).json.msg;
  expect(await check()).toBeUndefined();
  expect(await check({ prevResult: undefined })).toBe("Required prevResult missing");
  const { rtnl } = container.kernel;
  rtnl.routes.delete({ dst: "0.0.0.0/0" });
  expect(await check()).toMatch(/Expected Route 0\.0\.0\.0\/0 not found/);
  rtnl.links.set("eth0", { mac: "02:00:00:00:00:77" });
  expect(await check()).toMatch(/Mac doesn't match/);
});

test("GC brings devices home whose attachments are not valid, and no others", async () => {
  using host = new DeviceHost();
  join(host.node, "card1", host.outside, "far1");
  const [blue, green] = [host.container(), host.container()];
  await host.succeed("ADD", blue, host.withIpam());
  await host.succeed("ADD", green, host.withIpam({ device: "card1" }));
  const valid = [{ containerID: blue.name, ifname: "eth0" }];
  await host.succeed("GC", undefined, { ...host.withIpam(), "cni.dev/valid-attachments": valid });
  expect(namesIn(host.node)).toEqual(["card1", "eth0", "lo"]);
  expect([namesIn(blue), namesIn(green)]).toEqual([["eth0", "lo"], ["lo"]]);
  expect(host.remembered()).toEqual([`${blue.name}:eth0`]);
  expect([...new Set(Object.values(host.leases()))]).toEqual([`${blue.name}/eth0`]);
});

test("GC brings home the others where one record cannot be removed, or the IPAM plugin fails", async () => {
  using host = new DeviceHost();
  const container = host.container();
  const all = { "cni.dev/valid-attachments": [] };
  for (const more of [{}, { ipam: { type: "no-such-plugin" } }]) {
    await host.succeed("ADD", container, host.device());
    mkdirSync(path(host.records, "net", "a:eth0"));
    const { json } = await host.call("GC", undefined, { ...host.device(more), ...all });
    expect(json.code).toBe(5);
    expect(host.card()).toMatchObject({ up: true });
    expect(host.remembered()).toEqual(["a:eth0"]);
    rmSync(path(host.records, "net", "a:eth0"), { recursive: true });
  }
});

test("DEL is content where ADD was refused because of dataDir", async () => {
  using host = new DeviceHost();
  const container = host.container();
  const config = host.withIpam({ dataDir: "relative" });
  expect((await host.call("ADD", container, config)).json).toMatchObject({ code: 7 });
  await host.succeed("DEL", container, config);
  await host.succeed("DEL", undefined, config, { containerId: "x" });
});

test("STATUS tells whether the device is there", async () => {
  using host = new DeviceHost();
  const container = host.container();
  const byRuntime = host.device({ device: "", capabilities: { deviceID: true } });
  await host.succeed("STATUS", undefined, host.device());
  await host.succeed("STATUS", undefined, byRuntime);
  await host.succeed("ADD", container, host.device());
  expect((await host.call("STATUS", undefined, host.device())).json).toMatchObject({
    code: 50,
    msg: expect.stringContaining('"card0"'),
  });
  const unplugged = host.device({ device: "", pciBusID: "0000:99:00.0" });
  expect((await host.call("STATUS", undefined, unplugged)).json).toMatchObject({
    code: 50,
    msg: expect.stringContaining("0000:99:00.0"),
  });
  expect((await host.call("ADD", host.container(), unplugged)).json).toMatchObject({ code: 999 });
});

test.each(["0.3.1", "0.4.0", "1.0.0"])("speaks version %s", async (cniVersion) => {
  using host = new DeviceHost();
  const container = host.container();
  const { json } = await host.succeed("ADD", container, host.withIpam({ cniVersion }));
  expect(json.cniVersion).toBe(cniVersion);
  expect(json.interfaces).toEqual([
    { name: "eth0", mac: "02:00:00:00:00:c0", sandbox: `/run/netns/${container.name}` },
  ]);
  await host.succeed("DEL", container, host.withIpam({ cniVersion }));
});

describeWith(reference)("beside the reference", () => {
  test("result and container are the same", async () => {
    const seen: unknown[] = [];
    for (const plugins of [ownPlugins, referencePlugins]) {
      using host = new DeviceHost();
      const container = host.container();
      const config = host.withIpam({ cniVersion: "1.0.0", dns: { nameservers: ["192.0.2.53"] } });
      const { json } = await host.succeed("ADD", container, config, { plugins });
      const { rtnl } = container.kernel;
      const link = rtnl.links.get("eth0");
      const routes = rtnl.routes.list().map(({ dst, gateway }) => `${dst} ${gateway}`);
      const text = JSON.stringify(json).replaceAll(container.name, "NETNS");
      seen.push({ json: text, alias: link.alias, up: link.up, routes: routes.sort() });
    }
    expect(seen[0]).toEqual(seen[1]);
  });

  for (const [added, deleted, up] of [
    [referencePlugins, ownPlugins, false],
    [ownPlugins, referencePlugins, false],
  ] as const) {
    const of = (plugins: string) => (plugins === ownPlugins ? "ours" : "the reference's");
    test(`what ${of(added)} moved in, ${of(deleted)} moves out`, async () => {
      using host = new DeviceHost();
      const container = host.container();
      const config = host.withIpam({ cniVersion: "1.0.0" });
      await host.succeed("ADD", container, config, { plugins: added });
      await host.succeed("DEL", container, config, { plugins: deleted });
      expect(host.card()).toMatchObject({ name: "card0", up });
      expect(host.leases()).toEqual({});
    });
  }
});
