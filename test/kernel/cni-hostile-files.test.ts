/**
 * Files, links and tables of the plugins that are not as the plugins leave them: cut short, exchanged for something else, or
 * leading elsewhere. What leads elsewhere is never followed, nobody else's is taken, and when it is put in order again, all
 * goes on.
 */
import { expect, setDefaultTimeout } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { ifbName } from "../../src/plugins/bandwidth/ifb.ts";
import { needs, testWith } from "../lib/needs.ts";
import { type Answer, CniHost } from "./cni-fixture.ts";

// Each starts many processes.
setDefaultTimeout(60_000);

const test = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"));

/** A scene with one container attached, and another that is to be. */
class Scene implements Disposable {
  readonly host = new CniHost();
  readonly staying = this.host.container();
  readonly coming = this.host.container();
  readonly config = this.host.config({ cniVersion: "1.1.0", ipMasq: true });
  readonly victim = join(this.host.dir, "victim");

  async prepare(): Promise<this> {
    writeFileSync(this.victim, "precious");
    await this.host.succeed("ADD", this.staying, this.config);
    return this;
  }

  path(name: string): string {
    return join(
      this.host.dir,
      name.replace("STAYING", this.staying.name).replace("COMING", this.coming.name),
    );
  }

  /** Puts something in place of a file, which is kept aside. */
  exchange(name: string, kind: Kind): void {
    const path = this.path(name);
    mkdirSync(dirname(path), { recursive: true });
    if (existsSync(path)) renameSync(path, `${this.host.dir}/aside`);
    if (kind === "link") symlinkSync(this.victim, path);
    else if (kind === "dangling link") symlinkSync(`${this.host.dir}/new`, path);
    else if (kind === "folder") mkdirSync(path);
    else if (kind === "pipe") Bun.spawnSync(["mkfifo", path]);
    else if (kind === "empty") writeFileSync(path, "");
    else writeFileSync(path, kind === "garbage" ? Buffer.from([0, 255, 27, 91, 50, 74, 10]) : kind.text);
  }

  putBack(name: string): void {
    const path = this.path(name);
    rmSync(path, { recursive: true, force: true });
    if (existsSync(`${this.host.dir}/aside`)) renameSync(`${this.host.dir}/aside`, path);
  }

  collect(config: JsonObject = this.config): Promise<Answer> {
    const valid = [{ containerID: this.staying.name, ifname: "eth0" }];
    return this.host.call("GC", undefined, { ...config, "cni.dev/valid-attachments": valid });
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
  }
}

type Kind = "link" | "dangling link" | "folder" | "pipe" | "empty" | "garbage" | { text: string };
const kinds: readonly Kind[] = [
  "link",
  "dangling link",
  "folder",
  "pipe",
  "empty",
  "garbage",
  { text: '{"ips":["10.77.0.2","fd77::2","x",5],"netns":5,"boot":[]}' },
];

/** Fails where an answer is neither success nor one coded error that names the place. */
function requireClear({ status, json, stderr }: Answer, place: RegExp): void {
  expect(stderr).not.toMatch(/[^\P{Cc}\n]/u);
  if (status === 0) return;
  expect(json).toMatchObject({ code: 5, msg: expect.stringMatching(place) });
  expect(`${json.msg}${json.details}`).not.toMatch(/\p{Cc}/u);
}

const leaseFiles = [
  "networks/net/lock",
  "networks/net/last_reserved_ip.0",
  "networks/net/weft.draft",
  "networks/net/10.77.0.2",
  "networks/net/10.77.0.3",
  "networks/net/fd77::3",
  "networks/.weft/net",
  "networks/.weft",
];

test.each(leaseFiles)("host-local: %s is something else", async (name) => {
  using scene = await new Scene().prepare();
  const { host, coming, staying, config } = scene;
  for (const kind of kinds) {
    const before = host.state();
    scene.exchange(name, kind);
    const added = await host.call("ADD", coming, config);
    requireClear(added, /networks/);
    if (added.status !== 0) {
      expect(host.state().replaceAll(/^lease.*\n?/gm, "")).toBe(before.replaceAll(/^lease.*\n?/gm, ""));
    }
    // Nobody gets what another one has.
    const addresses = ((added.json.ips ?? []) as { address: string }[]).map(({ address }) => address);
    expect(addresses).not.toContain("10.77.0.2/24");
    requireClear(await host.call("CHECK", staying, config).then(withoutCheck), /networks/);
    requireClear(await scene.collect(), /networks/);
    requireClear(await host.call("STATUS", undefined, config), /networks/);
    requireClear(await host.call("DEL", coming, config), /networks/);
    expect(readFileSync(scene.victim, "utf8")).toBe("precious");
    expect(existsSync(`${host.dir}/new`)).toBe(false);
    scene.putBack(name);
    // In order again: as if nothing had been.
    await host.succeed("DEL", coming, config);
    await scene.collect();
    if (Object.keys(host.leases()).length === 2) expect(host.state()).toBe(before);
    else await renew(scene);
  }
});

/** CHECK may say that what it looks for is not there, or that there is no prevResult. */
function withoutCheck(answer: Answer): Answer {
  return [3, 7].includes(Number(answer.json.code)) ? { ...answer, status: 0 } : answer;
}

/** The container whose lease was taken for garbage is attached anew. */
async function renew({ host, staying, config }: Scene): Promise<void> {
  await host.succeed("DEL", staying, config);
  expect(host.leases()).toEqual({});
  await host.succeed("ADD", staying, config);
}

test("leases that are cut short are nobody's, and their addresses are not given to another one", async () => {
  using scene = await new Scene().prepare();
  const { host, coming, config } = scene;
  for (const ip of Object.keys(host.leases())) truncateSync(join(host.dataDir, "net", ip), 3);
  const { json } = await host.succeed("ADD", coming, config);
  expect(JSON.stringify(json.ips)).not.toMatch(/10\.77\.0\.2\/|fd77::2\//);
  await host.succeed("DEL", coming, config);
  expect((await scene.collect()).status).toBe(0);
  expect(host.leases()).toEqual({});
});

test.each([
  ["tuning/COMING_eth0.json", "tuning"],
  ["tuning/COMING_eth0.json.weft-DRAFT", "tuning"],
  ["tuning/other.json", "tuning"],
])("tuning: %s is something else", async (name) => {
  using scene = await new Scene().prepare();
  const { host, coming, config } = scene;
  const dataDir = join(host.dir, "tuning");
  const { json } = await host.succeed("ADD", coming, config);
  const tuning = { ...config, type: "tuning", dataDir, mtu: 1400, ipam: undefined, prevResult: json };
  await host.succeed("ADD", coming, tuning);
  await host.succeed("DEL", coming, tuning);
  const draft = name.replace("DRAFT", Bun.hash.crc32("net").toString(16));
  const mtu = () => coming.kernel.rtnl.links.get("eth0").mtu;
  for (const kind of kinds) {
    scene.exchange(draft, kind);
    const added = await host.call("ADD", coming, tuning);
    requireClear(added, /tuning/);
    expect(mtu()).toBe(added.status === 0 ? 1400 : 1500);
    requireClear(await scene.collect(tuning), /tuning/);
    requireClear(await host.call("DEL", coming, tuning), /tuning/);
    expect(readFileSync(scene.victim, "utf8")).toBe("precious");
    expect(existsSync(`${host.dir}/new`)).toBe(false);
    rmSync(dataDir, { recursive: true, force: true });
    coming.kernel.rtnl.links.set("eth0", { mtu: 1500 });
    for (const command of ["ADD", "DEL"]) await host.succeed(command, coming, tuning);
    expect(mtu()).toBe(1500);
    expect(readdirSync(dataDir)).toEqual([]);
  }
});

test.each([
  "devices/net/COMING:net1",
  "devices/net/COMING:net1:",
  "devices/net/other:net1",
  "devices/other/other:net1",
  "devices/net",
])("host-device: %s is something else", async (name) => {
  using scene = await new Scene().prepare();
  const { host, coming } = scene;
  const { links } = host.node.kernel.rtnl;
  links.add({ kind: "veth", name: "card0", peer: { name: "far0" }, up: true });
  const devices = { ...scene.config, type: "host-device", device: "card0", ipam: undefined };
  const config = { ...devices, dataDir: join(host.dir, "devices") };
  const call = { ifname: "net1" };
  for (const kind of kinds) {
    scene.exchange(name, kind);
    const added = await host.call("ADD", coming, config, call);
    requireClear(added, /devices/);
    expect(links.find("card0") === undefined).toBe(added.status === 0);
    requireClear(await host.call("DEL", coming, config, call), /devices/);
    requireClear(await scene.collect(config), /devices/);
    expect(readFileSync(scene.victim, "utf8")).toBe("precious");
    expect(existsSync(`${host.dir}/new`)).toBe(false);
    rmSync(config.dataDir, { recursive: true, force: true });
    for (const command of ["ADD", "DEL"]) await host.succeed(command, coming, config, call);
    expect(links.get("card0").up).toBe(true);
    expect(readdirSync(`${config.dataDir}/net`)).toEqual([]);
  }
});

testWith(needs.root, needs.kernel("ifb"))("bandwidth leaves a link that has its device's name", async () => {
  using scene = await new Scene().prepare();
  const { host, coming, config } = scene;
  const { json } = await host.succeed("ADD", coming, config);
  const rate = { egressRate: 1_000_000, egressBurst: 1_000_000 };
  const bandwidth = { ...config, ...rate, type: "bandwidth", ipam: undefined, prevResult: json };
  const name = ifbName({ network: "net", containerId: coming.name, ifname: "eth0" });
  const { links } = host.node.kernel.rtnl;
  links.add({ kind: "bridge", name, alias: "mine" });
  const before = host.state();
  const { status, json: error } = await host.call("ADD", coming, bandwidth);
  expect([status, error.msg]).toEqual([1, `adding link: ${name} already exists`]);
  for (const command of ["DEL", "DEL"]) await host.succeed(command, coming, bandwidth);
  expect((await scene.collect(bandwidth)).status).toBe(0);
  expect(host.state()).toBe(before);
  links.delete(name);
  for (const command of ["ADD", "DEL"]) await host.succeed(command, coming, bandwidth);
});

test("what an administrator has in the plugins' own table stays, with and without containers", async () => {
  using scene = await new Scene().prepare();
  const { host, coming, staying, config } = scene;
  const own = [
    'chain mine { ip saddr 10.0.0.0/8 counter packets 1 bytes 2 accept comment "mine" }',
    "chain hooked { type filter hook forward priority 5; }",
    "chain empty { }",
    "set mine { type ipv4_addr; }",
    'map marks { type inet_service : mark; elements = { 80 comment "net/x/eth0" : 0x5 } }',
    "counter seen { packets 5 bytes 6 }",
  ];
  const portmap = {
    cniVersion: "1.1.0",
    name: "net",
    type: "portmap",
    runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80 }] },
  };
  // Whatever of it there is alone.
  for (const part of own) {
    host.node.nft(
      `table inet weft-cni { ${part.replaceAll(/([{;}]) (?=[a-z])/g, "$1\n").replaceAll(" }", "\n}")} \n}`,
    );
    const [, kind = "", name = ""] = /^(\w+) (\w+)/.exec(part) ?? [];
    const mine = () => host.node.nft(`list ${kind} inet weft-cni ${name}`);
    const before = mine();
    const { json } = await host.succeed("ADD", coming, config);
    await host.succeed("ADD", coming, { ...portmap, prevResult: json });
    await host.succeed("DEL", coming, { ...portmap, prevResult: json });
    for (const container of [coming, staying]) await host.succeed("DEL", container, config);
    const nothing = { "cni.dev/valid-attachments": [] };
    for (const each of [config, portmap]) await host.succeed("GC", undefined, { ...each, ...nothing });
    expect(mine()).toBe(before);
    host.node.nft("delete table inet weft-cni");
    await host.succeed("ADD", staying, config);
  }
});

test("maps of other types in the plugins' table are one clear error, and nothing is changed", async () => {
  using host = new CniHost();
  const container = host.container();
  const config = host.config({ ipMasq: true });
  host.node.nft("table inet weft-cni {\nset masquerade4 {\ntype inet_service; elements = { 80 }\n}\n}");
  for (const command of ["ADD", "DEL"] as const) await host.call(command, container, config);
  const before = host.state();
  for (let i = 0; i < 2; i++) {
    const { status, json } = await host.call("ADD", container, config);
    expect([status, Object.keys(json)]).toEqual([1, expect.arrayContaining(["code", "msg"])]);
    expect(json.msg).toContain("masquerade4");
    await host.succeed("DEL", container, config);
    expect(host.state()).toBe(before);
  }
  host.node.nft("delete table inet weft-cni");
  await host.succeed("ADD", container, config);
});
