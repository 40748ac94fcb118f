/**
 * A runtime under fire: up to 200 attachments at a time are added and deleted while the plugins' processes, their launchers and the
 * server are killed. As a runtime has to, it calls DEL until that succeeds after whatever failed, before it adds again.
 * Whenever it rests, what is there is what the living attachments have, and nothing else.
 */
import { expect } from "bun:test";
import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { needs, testWith } from "../lib/needs.ts";
import { CniHost, PluginServer } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

const test = testWith(needs.root, needs.kernel("bridge"), needs.kernel("nftables"), needs.kernel("ifb"));

/** The server was killed; or, on a busy machine, it was never this call's turn. Both have code 11. */
const tryAgain =
  /"code": ?11,\s*"msg": ?".*(ended before it was done|is locked by another process for more than)/;

const untilServerEnds = 300;
const untilCallerEnds = 100;

const oneOf = <T>(list: readonly T[]) => list[Math.floor(Math.random() * list.length)] as T;

/** The host's server, which is killed or ended again and again, or replaced while it works. */
class Servers {
  readonly #host: CniHost;
  #current: PluginServer;
  readonly #ended: Promise<unknown>[] = [];

  constructor(host: CniHost) {
    this.#host = host;
    this.#current = new PluginServer(host.node);
  }

  get current(): PluginServer {
    return this.#current;
  }

  async trouble(until: number): Promise<void> {
    while (performance.now() < until) {
      await Bun.sleep(Math.random() * untilServerEnds);
      const { child } = this.#current;
      const end = oneOf([() => child.kill("SIGKILL"), () => child.kill("SIGTERM"), () => child.stdin.end()]);
      this.#ended.push(child.exited);
      if (Math.random() < 0.5) end();
      this.#current = new PluginServer(this.#host.node);
      await this.#current.ready;
      end();
    }
    await Promise.all(this.#ended);
  }
}

const ranges = { ranges: [[{ subnet: "10.77.0.0/22" }], [{ subnet: "fd77::/64" }]] };

/** The plugins of an attachment, each with its configuration. */
type Chain = (host: CniHost, index: number) => JsonObject[];

const common = { cniVersion: "1.1.0", name: "net" };

const bridgeAlone: Chain = (host) => [host.config({ ...common, ipMasq: true }, ranges)];

const usualChain: Chain = (host, index) => {
  const rate = {
    ingressRate: 1_000_000,
    ingressBurst: 1_000_000,
    egressRate: 1_000_000,
    egressBurst: 1_000_000,
  };
  const portMappings = [{ hostPort: 8000 + index, containerPort: 80, protocol: "tcp" }];
  return [
    ...bridgeAlone(host, index),
    { ...common, type: "portmap", runtimeConfig: { portMappings } },
    { ...common, type: "bandwidth", ...rate },
    { ...common, type: "tuning", mtu: 1400, dataDir: join(host.dir, "tuning") },
  ];
};

/** One interface of a container, added and deleted in turn. */
class Attachment {
  readonly #host: CniHost;
  readonly #chain: readonly JsonObject[];
  readonly container: Namespace;
  readonly ifname: string;
  /** Of the ADD, where it is attached. */
  result: JsonObject | undefined;
  calls = 0;

  constructor(host: CniHost, container: Namespace, ifname: string, chain: readonly JsonObject[]) {
    this.#host = host;
    this.container = container;
    this.ifname = ifname;
    this.#chain = chain;
  }

  get owner(): string {
    return `${this.container.name}/${this.ifname}`;
  }

  /** Its addresses by the result, with their lengths. */
  get addresses(): string[] {
    return ((this.result?.ips ?? []) as { address: string }[]).map(({ address }) => address);
  }

  async live(until: number): Promise<void> {
    while (performance.now() < until) {
      // What a runtime does where it does not know how its last ADD ended.
      if (this.calls > 0) await this.delete();
      await this.#add();
    }
    if (this.result === undefined) await this.delete();
  }

  async #add(): Promise<void> {
    let result: JsonObject | undefined;
    for (const config of this.#chain) {
      const given = result === undefined ? config : { ...config, prevResult: result };
      result = await this.#call("ADD", given, 0.2);
      if (result === undefined) return;
    }
    this.result = result;
  }

  async delete(): Promise<void> {
    const given = this.result === undefined ? {} : { prevResult: this.result };
    this.result = undefined;
    for (const config of this.#chain.toReversed()) {
      for (let kills = 0.2; !(await this.#call("DEL", { ...config, ...given }, kills)); kills /= 2);
    }
  }

  /** What it printed where it succeeded; undefined where it is to be called again. Nothing else may go wrong. */
  async #call(command: "ADD" | "DEL", config: JsonObject, kills: number): Promise<JsonObject | undefined> {
    const { container, ifname } = this;
    const child = this.#host.start(command, container, config, { ifname });
    this.calls++;
    if (Math.random() < kills) setTimeout(() => child.kill("SIGKILL"), Math.random() * untilCallerEnds);
    const [stdout, status] = await Promise.all([new Response(child.stdout).text(), child.exited]);
    if (status !== 0 && child.signalCode === null) expect(stdout).toMatch(tryAgain);
    if (status !== 0) return undefined;
    return stdout === "" ? {} : JSON.parse(stdout);
  }
}

/** What is there has to be what the attachments that are alive have. */
function compare(host: CniHost, all: readonly Attachment[], isChain: boolean): void {
  const alive = all.filter(({ result }) => result !== undefined);
  // Each has the addresses that it was told, and these are leased to it and to nobody else.
  const leases = Object.entries(host.leases()).map(([ip, owner]) => `${ip} ${owner}`);
  const told = alive.flatMap(({ owner, addresses }) =>
    addresses.map((each) => `${each.replace(/\/.*/, "")} ${owner}`),
  );
  expect(leases.sort()).toEqual(told.sort());
  for (const pod of new Set(all.map(({ container }) => container))) {
    const own = alive.filter(({ container }) => container === pod);
    const { rtnl } = pod.kernel;
    const names = new Map(rtnl.links.list().map(({ index, name }) => [index, name]));
    expect([...names.values()].sort()).toEqual(["lo", ...own.map(({ ifname }) => ifname)].sort());
    const present = rtnl.addresses
      .list()
      .filter(({ scope, link }) => scope !== "link" && names.get(link) !== "lo")
      .map(({ link, address }) => `${names.get(link)} ${address}`);
    const expected = own.flatMap(({ ifname, addresses }) => addresses.map((each) => `${ifname} ${each}`));
    expect(present.sort()).toEqual(expected.sort());
  }
  const { rtnl, nft } = host.node.kernel;
  const ofKind = (kind: string) => rtnl.links.list().filter((link) => link.kind === kind).length;
  // And eth0.
  expect(ofKind("veth")).toBe(alive.length + 1);
  expect(ofKind("ifb")).toBe(isChain ? alive.length : 0);
  const owners = new Set(
    nft
      .tables()
      .flatMap((table) => nft.dump(table).sets)
      .flatMap(({ elements = [] }) => elements.map(({ comment }) => comment)),
  );
  expect([...owners].sort()).toEqual(alive.map(({ owner }) => `net/${owner}`).sort());
  const backups = join(host.dir, "tuning");
  const files = alive.map(({ owner }) => `${owner.replace("/", "_")}.json`);
  if (isChain && existsSync(backups)) expect(readdirSync(backups).sort()).toEqual(files.sort());
}

interface Case {
  name: string;
  chain: Chain;
  isServed: boolean;
  attachments: number;
  /** Attachments of one container. The specification allows one call at a time for each; bridge can do with more. */
  interfaces: number;
  /** Milliseconds until each rest. */
  duration: number;
  rests: number;
}

const cases: Case[] = [
  {
    name: "bridge, with servers that end",
    chain: bridgeAlone,
    isServed: true,
    attachments: 200,
    interfaces: 4,
    duration: 700,
    rests: 2,
  },
  {
    name: "the usual chain, with servers that end",
    chain: usualChain,
    isServed: true,
    attachments: 200,
    interfaces: 1,
    duration: 1000,
    rests: 1,
  },
  {
    // A process for each call takes ten times as long.
    name: "the usual chain, each call in its process",
    chain: usualChain,
    isServed: false,
    attachments: 40,
    interfaces: 1,
    duration: 1000,
    rests: 2,
  },
];

test.each(cases)(
  "leases, links and rules are those of the living, whatever is killed: $name",
  async (each) => {
    const { chain, isServed, attachments, interfaces, duration, rests } = each;
    using host = new CniHost();
    // The bridge and folders stay when all else is gone.
    const first = new Attachment(host, host.container(), "eth0", chain(host, attachments));
    // It may be killed before it has made them.
    while (first.result === undefined) await first.live(performance.now() + 1);
    await first.delete();
    const before = host.state();
    const servers = isServed ? new Servers(host) : undefined;
    const pods = Array.from({ length: attachments / interfaces }, () => host.container());
    const all = Array.from({ length: attachments }, (_, i) => {
      const pod = pods[i % pods.length] as Namespace;
      return new Attachment(host, pod, `eth${Math.floor(i / pods.length)}`, chain(host, i));
    });
    for (let rest = 0; rest < rests; rest++) {
      const end = performance.now() + duration;
      await Promise.all([servers?.trouble(end), ...all.map((attachment) => attachment.live(end))]);
      compare(host, all, chain === usualChain);
    }
    expect(all.filter(({ result }) => result !== undefined).length).toBeGreaterThan(0);
    expect(all.reduce((sum, { calls }) => sum + calls, 0)).toBeGreaterThan(attachments);
    if (servers !== undefined) expect(placesOf(servers.current).size).toBe(1);
    await Promise.all(all.map((attachment) => attachment.delete()));
    compare(host, all, chain === usualChain);
    expect(host.state()).toBe(before);
    servers?.current[Symbol.dispose]();
    if (servers !== undefined) expect(await servers.current.child.exited).toBe(0);
  },
  120_000,
);

/** Where a server's threads are: one that is left in a container would keep it from going. */
function placesOf({ child }: PluginServer): Set<string> {
  const tasks = `/proc/${child.pid}/task`;
  return new Set(readdirSync(tasks).map((task) => readlinkSync(`${tasks}/${task}/ns/net`)));
}
