/** The tuning plugin behind the bridge plugin, as executables in namespaces; see cni-fixture.ts for the picture. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { needs, testWith } from "../lib/needs.ts";
import { type Call, CniHost, ownPlugins, referencePlugins } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

const withReference = testWith(
  needs.root,
  needs.file(join(referencePlugins, "tuning"), "containernetworking-plugins"),
);

/** A container with an interface, and how it is tuned. */
class Tuned implements Disposable {
  readonly host = new CniHost();
  readonly dataDir = join(this.host.dir, "tuning");
  readonly container: Namespace;
  prevResult: JsonObject = {};

  constructor() {
    this.container = this.host.container();
  }

  static async make(): Promise<Tuned> {
    const made = new Tuned();
    const { json } = await made.host.succeed(
      "ADD",
      made.container,
      made.host.config({ cniVersion: "1.1.0" }),
    );
    made.prevResult = json;
    return made;
  }

  config(keys: JsonObject): JsonObject {
    const { prevResult, dataDir } = this;
    return { cniVersion: "1.1.0", name: "net", type: "tuning", dataDir, prevResult, ...keys };
  }

  async call(command: string, keys: JsonObject, call: Call = {}): Promise<JsonObject> {
    return (await this.host.call(command, this.container, this.config(keys), call)).json;
  }

  async succeed(command: string, keys: JsonObject, call: Call = {}): Promise<JsonObject> {
    return (await this.host.succeed(command, this.container, this.config(keys), call)).json;
  }

  /** All of the interface that the plugin can change. */
  link() {
    const { mac, mtu, promiscuous, allMulticast, txQueueLength } =
      this.container.kernel.rtnl.links.get("eth0");
    return { mac, mtu, promiscuous, allMulticast, txQueueLength };
  }

  backups(): string[] {
    return existsSync(this.dataDir) ? readdirSync(this.dataDir).sort() : [];
  }

  get backup(): string {
    return join(this.dataDir, `${this.container.name}_eth0.json`);
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
  }
}

const all = { mac: "02:00:00:00:00:aa", mtu: 1400, promisc: true, allmulti: true, txQLen: 777 };
const allOnLink = {
  mac: all.mac,
  mtu: all.mtu,
  promiscuous: true,
  allMulticast: true,
  txQueueLength: all.txQLen,
};

test("the interface is changed, the result says so, and DEL restores it", async () => {
  using tuned = await Tuned.make();
  const before = tuned.link();
  const result = await tuned.succeed("ADD", all);
  expect(tuned.link()).toEqual(allOnLink);
  const [bridge, port, inside] = tuned.prevResult.interfaces as JsonObject[];
  expect(result).toEqual({
    ...tuned.prevResult,
    interfaces: [bridge, port, { ...inside, mac: all.mac, mtu: all.mtu }],
  });
  expect(JSON.parse(readFileSync(tuned.backup, "utf8"))).toEqual({
    mac: before.mac,
    promisc: before.promiscuous,
    mtu: before.mtu,
    allmulti: before.allMulticast,
    txQLen: before.txQueueLength,
    network: "net",
  });
  for (let i = 0; i < 2; i++) {
    await tuned.succeed("DEL", all);
    expect(tuned.link()).toEqual(before);
    expect(tuned.backups()).toEqual([]);
  }
});

test("neighbours learn the new hardware address at once", async () => {
  using tuned = await Tuned.make();
  const { container, host } = tuned;
  await container.serve(8080, "blue");
  expect(await host.node.ask("10.77.0.2", 8080, 1000)).toStartWith("blue ");
  expect(await host.node.ask("fd77::2", 8080, 1000)).toStartWith("blue ");
  await tuned.succeed("ADD", { mac: all.mac });
  expect(await host.node.ask("10.77.0.2", 8080, 1000)).toStartWith("blue ");
  expect(await host.node.ask("fd77::2", 8080, 1000)).toStartWith("blue ");
});

const sources: [string, JsonObject, string, JsonObject][] = [
  ["the key", { mac: "02:00:00:00:00:01" }, "", { mac: "02:00:00:00:00:01" }],
  ["CNI_ARGS", { mac: "02:00:00:00:00:01" }, "MAC=02:00:00:00:00:02", { mac: "02:00:00:00:00:02" }],
  [
    "the mac capability",
    { mac: "02:00:00:00:00:01", runtimeConfig: { mac: "02:00:00:00:00:03" } },
    "MAC=02:00:00:00:00:02",
    { mac: "02:00:00:00:00:03" },
  ],
  [
    "args",
    {
      mac: "02:00:00:00:00:01",
      mtu: 1450,
      promisc: true,
      allmulti: true,
      txQLen: 5,
      runtimeConfig: { mac: "02:00:00:00:00:03" },
      args: { cni: { mac: "02:00:00:00:00:04", mtu: 1300, promisc: false, allmulti: false, txQLen: 6 } },
    },
    "",
    { mac: "02:00:00:00:00:04", mtu: 1300, promiscuous: false, allMulticast: false, txQueueLength: 6 },
  ],
];
test.each(sources)("values by %s", async (_, keys, args, expected) => {
  using tuned = await Tuned.make();
  await tuned.succeed("ADD", keys, { args });
  expect(tuned.link()).toMatchObject(expected);
});

test("parameters of the namespace are set, in it alone", async () => {
  using tuned = await Tuned.make();
  const { container, host } = tuned;
  const sysctl = {
    "net.ipv4.tcp_fin_timeout": "17",
    "net.ipv4.conf.IFNAME.arp_filter": "1",
    "net/ipv6/conf/IFNAME/hop_limit": "33",
    "net.ipv4.tcp_rmem": "4096 100000 200000",
  };
  const args = { cni: { sysctl: { "net.ipv4.tcp_fin_timeout": "18" } } };
  const before = host.node.kernel.sysctl.read("net.ipv4.tcp_fin_timeout");
  expect(await tuned.succeed("ADD", { sysctl, args })).toEqual(tuned.prevResult);
  const read = (key: string) => container.kernel.sysctl.read(key);
  expect(read("net.ipv4.tcp_fin_timeout")).toBe("18");
  expect(read("net.ipv4.conf.eth0.arp_filter")).toBe("1");
  expect(read("net.ipv6.conf.eth0.hop_limit")).toBe("33");
  expect(host.node.kernel.sysctl.read("net.ipv4.tcp_fin_timeout")).toBe(before);
  expect(tuned.backups()).toEqual([]);
  await tuned.succeed("CHECK", { sysctl, args });
  container.kernel.sysctl.write("net.ipv4.conf.eth0.arp_filter", 0);
  expect((await tuned.call("CHECK", { sysctl, args })).msg).toBe(
    "Tuning configured value of /proc/sys/net/ipv4/conf/eth0/arp_filter is 1, current value is 0",
  );
  await tuned.succeed("DEL", { sysctl, args });
});

const refused: [string, JsonObject, number, string][] = [
  [
    "a parameter of the whole machine",
    { sysctl: { "kernel.hostname": "x" } },
    7,
    "is no parameter of a network namespace",
  ],
  ["a path that leads out", { sysctl: { "net/../kernel/hostname": "x" } }, 7, "is no parameter"],
  [
    "an unknown parameter",
    { sysctl: { "net.core.nothing": "1" } },
    999,
    "cannot set /proc/sys/net/core/nothing",
  ],
  ["a value that the kernel refuses", { sysctl: { "net.ipv4.tcp_fin_timeout": "soon" } }, 999, "EINVAL"],
  ["a value that is no text", { sysctl: { "net.ipv4.tcp_fin_timeout": 5 } }, 7, "is not a text"],
  ["one parameter twice", { sysctl: { "net.core.x": "1", "net/core/x": "2" } }, 7, "is given twice"],
  ["a group address", { mac: "01:00:00:00:00:01" }, 7, "is not a unicast address"],
  ["an MTU below that of IPv6", { mtu: 1200 }, 7, "is too small for an IPv6 address such as fd77::2/64"],
  ["a relative folder", { mtu: 1400, dataDir: "tuning" }, 7, "is not an absolute path"],
  ["a folder that is a file", { mtu: 1400, dataDir: "/proc/version" }, 5, "cannot read backup"],
  ["nothing before it", { mtu: 1400, prevResult: undefined }, 7, "Required prevResult missing"],
];
test.each(refused)("%s is refused, and nothing changes", async (_, keys, code, message) => {
  using tuned = await Tuned.make();
  const before = tuned.link();
  const fin = tuned.container.kernel.sysctl.read("net.ipv4.tcp_fin_timeout");
  const answer = await tuned.call("ADD", keys);
  expect(answer).toMatchObject({ code, msg: expect.stringContaining(message) });
  expect(tuned.link()).toEqual(before);
  expect(tuned.container.kernel.sysctl.read("net.ipv4.tcp_fin_timeout")).toBe(fin);
  expect(tuned.backups()).toEqual([]);
});

const missing = { "net.ipv4.tcp_fin_timeout": "17", "net.core.nothing": "1" };
const halfway: [string, (tuned: Tuned) => JsonObject, string][] = [
  ["a parameter that is not there", () => ({ sysctl: missing }), "cannot set /proc/sys/net/core/nothing"],
  [
    "a folder that cannot be made",
    ({ host }) => ({
      ...all,
      sysctl: { "net.ipv4.tcp_fin_timeout": "17" },
      dataDir: join(host.dir, "file", "x"),
    }),
    "cannot read backup",
  ],
  // The kernel has set the hardware address when it refuses the MTU: that of the link below is less.
  ["an MTU that the kernel refuses", () => ({ ...all, mtu: 9000 }), "cannot change link mv0 (EINVAL"],
];
test.each(halfway)("%s: what was done before is taken back", async (_, keysOf, message) => {
  using tuned = await Tuned.make();
  const { rtnl, sysctl } = tuned.container.kernel;
  rtnl.links.add({ kind: "macvlan", name: "mv0", parent: "eth0", macvlan: { mode: "bridge" } });
  writeFileSync(join(tuned.host.dir, "file"), "");
  const state = () => [rtnl.links.get("mv0"), sysctl.read("net.ipv4.tcp_fin_timeout"), tuned.backups()];
  const before = state();
  const { msg } = await tuned.call("ADD", { ...keysOf(tuned), prevResult: {} }, { ifname: "mv0" });
  expect(msg).toContain(message);
  expect(state()).toEqual(before);
});

test("of two in a chain, DEL restores what was there before both", async () => {
  using tuned = await Tuned.make();
  const before = tuned.link();
  await tuned.succeed("ADD", { mtu: 1400, promisc: true });
  await tuned.succeed("ADD", { mtu: 1300, txQLen: 9 });
  expect(tuned.link()).toMatchObject({ mtu: 1300, promiscuous: true, txQueueLength: 9 });
  await tuned.succeed("DEL", { mtu: 1300, txQLen: 9 });
  await tuned.succeed("DEL", { mtu: 1400, promisc: true });
  expect(tuned.link()).toEqual(before);
  expect(tuned.backups()).toEqual([]);
});

const gone: [string, (tuned: Tuned) => { netns?: string }][] = [
  ["no namespace", () => ({ netns: "" })],
  ["a namespace that is gone", () => ({ netns: "/run/netns/weft-t-gone" })],
  [
    "no such interface",
    ({ container }) => {
      container.kernel.rtnl.links.delete("eth0");
      return {};
    },
  ],
];
test.each(gone)("DEL with %s removes the backup", async (_, callOf) => {
  using tuned = await Tuned.make();
  await tuned.succeed("ADD", all);
  expect(tuned.backups()).toHaveLength(1);
  await tuned.succeed("DEL", { prevResult: undefined }, callOf(tuned));
  expect(tuned.backups()).toEqual([]);
});

test.each(["", "{", '{"mac":5,"mtu":"x"}', "\0\0"])("DEL with a backup %j removes it", async (text) => {
  using tuned = await Tuned.make();
  const before = tuned.link();
  mkdirSync(tuned.dataDir, { recursive: true });
  writeFileSync(tuned.backup, text);
  await tuned.succeed("DEL", {});
  expect(tuned.link()).toEqual(before);
  expect(tuned.backups()).toEqual([]);
});

test("DEL of another network for an interface of that name changes nothing", async () => {
  using tuned = await Tuned.make();
  const before = tuned.link();
  await tuned.succeed("ADD", all);
  await tuned.succeed("DEL", { ...all, name: "other" });
  expect(tuned.link()).toMatchObject({ mtu: all.mtu, mac: all.mac });
  await tuned.succeed("DEL", all);
  expect(tuned.link()).toEqual(before);
  expect(tuned.backups()).toEqual([]);
});

test("a backup that is a symbolic link is neither read nor followed", async () => {
  using tuned = await Tuned.make();
  const before = tuned.link();
  const target = join(tuned.host.dir, "target");
  writeFileSync(target, '{"mtu":1300}');
  mkdirSync(tuned.dataDir, { recursive: true });
  symlinkSync(target, tuned.backup);
  expect(await tuned.call("ADD", all)).toMatchObject({ code: 5, msg: expect.stringContaining("ELOOP") });
  expect(tuned.link()).toEqual(before);
  await tuned.succeed("DEL", all);
  expect(tuned.link()).toEqual(before);
  expect(readFileSync(target, "utf8")).toBe('{"mtu":1300}');
});

test.each(Object.keys(all))("CHECK finds another %s", async (key) => {
  using tuned = await Tuned.make();
  await tuned.succeed("ADD", all);
  await tuned.succeed("CHECK", all);
  const otherwise: JsonObject = {
    mac: "02:00:00:00:00:bb",
    mtu: 1401,
    promisc: false,
    allmulti: false,
    txQLen: 1,
  };
  const { msg } = await tuned.call("CHECK", { ...all, [key]: otherwise[key] });
  expect(msg).toContain(`of eth0 is ${otherwise[key]}, current value is ${all[key as keyof typeof all]}`);
});

test("CHECK passes over a parameter that can be written only, but not over one that is not there", async () => {
  using tuned = await Tuned.make();
  const flushing = { sysctl: { "net.ipv4.route.flush": "1" } };
  await tuned.succeed("ADD", flushing);
  await tuned.succeed("CHECK", flushing);
  expect((await tuned.call("CHECK", { sysctl: { "net.ipv4.nosuch": "1" } })).msg).toContain("nosuch");
});

test("DEL is content where ADD was refused because of dataDir", async () => {
  using tuned = await Tuned.make();
  expect(await tuned.call("ADD", { dataDir: "relative" })).toMatchObject({ code: 7 });
  await tuned.succeed("DEL", { dataDir: "relative" });
});

test("CHECK looks at what is configured alone", async () => {
  using tuned = await Tuned.make();
  await tuned.succeed("ADD", all);
  await tuned.succeed("CHECK", { sysctl: {} });
  expect((await tuned.call("CHECK", { prevResult: undefined })).msg).toBe("Required prevResult missing");
  tuned.container.kernel.rtnl.links.delete("eth0");
  expect((await tuned.call("CHECK", {})).msg).toBe("Cannot find container link eth0");
});

test("GC removes backups of its network that belong to no valid attachment", async () => {
  using tuned = await Tuned.make();
  await tuned.succeed("ADD", all);
  await tuned.succeed("ADD", { ...all, name: "other" }, { containerId: "elsewhere" });
  await tuned.succeed("ADD", all, { containerId: "dead" });
  // One of the reference, which does not say of which network it is, and what a kill left of a draft.
  writeFileSync(join(tuned.dataDir, "theirs_eth0.json"), '{\n "mtu": 1500\n}');
  writeFileSync(join(tuned.dataDir, "unrelated"), "");
  const suffix = `.weft-${Bun.hash.crc32("net").toString(16)}`;
  writeFileSync(join(tuned.dataDir, `torn_eth0.json${suffix}`), "");
  const valid = [{ containerID: tuned.container.name, ifname: "eth0" }];
  const gc = { ...tuned.config({}), prevResult: undefined, "cni.dev/valid-attachments": valid };
  await tuned.host.succeed("GC", undefined, gc);
  const kept = [`${tuned.container.name}_eth0.json`, "elsewhere_eth0.json", "theirs_eth0.json", "unrelated"];
  expect(tuned.backups()).toEqual(kept.sort());
  await tuned.host.succeed("GC", undefined, { ...gc, dataDir: join(tuned.host.dir, "nowhere") });
});

test("only what stands in the administrator's list can be set", async () => {
  using tuned = await Tuned.make();
  const { host, container } = tuned;
  const config = (sysctl: JsonObject) => JSON.stringify(tuned.config({ sysctl }));
  // The plugin sees another /etc than this machine's.
  const script = `
    mount -t tmpfs none /etc && mkdir -p /etc/cni/tuning
    printf '^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]*$\\n\\ntcp_fin\\n' >/etc/cni/tuning/allowlist.conf
    exec ${ownPlugins}/tuning`;
  const run = (command: string, sysctl: JsonObject) => {
    const child = host.node.in(() =>
      Bun.spawnSync(["unshare", "--mount", "sh", "-ec", script], {
        stdin: Buffer.from(config(sysctl)),
        env: {
          PATH: process.env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin",
          CNI_COMMAND: command,
          CNI_CONTAINERID: container.name,
          CNI_NETNS: `/run/netns/${container.name}`,
          CNI_IFNAME: "eth0",
          CNI_PATH: ownPlugins,
        },
      }),
    );
    return JSON.parse(child.stdout.toString() || "{}") as JsonObject;
  };
  expect(run("ADD", { "net.ipv4.conf.IFNAME.arp_filter": "1", "net.ipv4.tcp_fin_timeout": "19" })).toEqual(
    tuned.prevResult,
  );
  expect(container.kernel.sysctl.read("net.ipv4.tcp_fin_timeout")).toBe("19");
  expect(container.kernel.sysctl.read("net.ipv4.conf.eth0.arp_filter")).toBe("1");
  for (const command of ["ADD", "STATUS"]) {
    expect(run(command, { "net.ipv4.conf.eth0.arp_filter": "0" })).toMatchObject({
      code: 7,
      msg: expect.stringContaining("Sysctl net.ipv4.conf.eth0.arp_filter is not allowed"),
    });
  }
  expect(container.kernel.sysctl.read("net.ipv4.conf.eth0.arp_filter")).toBe("1");
});

test("STATUS tells of a configuration that cannot work", async () => {
  using tuned = await Tuned.make();
  const status = (keys: JsonObject) => tuned.call("STATUS", { prevResult: undefined, ...keys });
  expect(await status(all)).toEqual({});
  expect(await status({ sysctl: { "kernel.hostname": "x" } })).toMatchObject({ code: 7 });
  const file = join(tuned.host.dir, "file");
  writeFileSync(file, "");
  expect(await status({ dataDir: file })).toMatchObject({ code: 50 });
});

const reference = { plugins: referencePlugins };
const known = { mac: all.mac, mtu: all.mtu, promisc: true, allmulti: true };
const handovers: [string, Call, Call][] = [
  ["the reference's DEL after our ADD", {}, reference],
  ["our DEL after the reference's ADD", reference, {}],
];
for (const [name, adding, deleting] of handovers) {
  withReference(name, async () => {
    using tuned = await Tuned.make();
    const before = tuned.link();
    const cniVersion = "1.0.0";
    const version = { cniVersion, prevResult: { ...tuned.prevResult, cniVersion } };
    await tuned.succeed("ADD", { ...known, ...version }, adding);
    expect(tuned.link()).toEqual({ ...allOnLink, txQueueLength: before.txQueueLength });
    await tuned.succeed("DEL", { ...known, ...version }, deleting);
    expect(tuned.link()).toEqual(before);
    expect(tuned.backups()).toEqual([]);
  });
}
