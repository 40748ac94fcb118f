/** No rule, link, route or file that Weft did not make is changed, whatever the plugins are asked to do. */
import { expect } from "bun:test";
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { type PluginName, pluginNames } from "../../src/plugins/names.ts";
import { needs, testWith } from "../lib/needs.ts";
import type { Answer, CniHost } from "./cni-fixture.ts";
import { makeForeign, snapshot } from "./cni-foreign.ts";
import { goodConfigs, Stage } from "./cni-hostile.ts";
import type { Namespace } from "./services-fixture.ts";

const test = testWith(
  needs.root,
  needs.kernel("bridge"),
  needs.kernel("ifb"),
  needs.kernel("nftables"),
  needs.command("nft", "nftables"),
  needs.command("iptables", "iptables"),
  needs.command("tc", "iproute2"),
);

/** With and without the plugins' server. */
const seeds = { true: [1, 2], false: [3, 4] };

/** Plugins that come behind another one. */
const chained: readonly PluginName[] = ["bandwidth", "firewall", "portmap", "sbr", "tuning", "vrf"];

/** Plugins that lack nothing on any kernel that the test runs on. */
const mustSucceed: readonly PluginName[] = [
  "bandwidth",
  "bridge",
  "firewall",
  "host-local",
  "loopback",
  "macvlan",
  "portmap",
  "ptp",
  "sbr",
  "static",
  "tuning",
];

/** What makes an ADD fail, some of it after a good part is done. */
const spoilt: JsonObject[] = [
  { bridge: "cni0", master: "nowhere", device: "", vrfname: "eth0", backend: "x", table: 4_000_000_000 },
  { mtu: 70, ingressRate: 1, externalSetMarkChain: "nowhere", sysctl: { "net.core.nothing": "1" } },
  {
    ipam: { type: "host-local", dataDir: "/proc/nowhere", subnet: "10.77.0.0/24" },
    dataDir: "/proc/nowhere",
  },
  { ipam: { type: "nothing" }, runtimeConfig: { portMappings: [{ hostPort: 0, containerPort: 1 }] } },
];

class Scenario {
  readonly host: CniHost;
  readonly succeeded = new Set<string>();
  readonly #good: Record<PluginName, JsonObject>;

  constructor(host: CniHost) {
    this.host = host;
    this.#good = goodConfigs(host);
    Object.assign(this.#good.bandwidth, { egressRate: 1_000_000, egressBurst: 1_000_000 });
    Object.assign(this.#good.bridge, { macspoofchk: true });
    Object.assign(this.#good.firewall, { ingressPolicy: "same-bridge" });
  }

  async #call(command: string, container: Namespace | undefined, config: JsonObject): Promise<Answer> {
    const answer = await this.host.call(command, container, config);
    if (answer.status === 0) this.succeeded.add(`${command} ${config.type}`);
    return answer;
  }

  /** Attaches a container of its own by each plugin, after ADDs that fail; resolves to how each is detached. */
  async attach(): Promise<(() => Promise<void>)[]> {
    return await Promise.all(pluginNames.map((name) => this.#attach(name)));
  }

  async #attach(name: PluginName): Promise<() => Promise<void>> {
    const container = this.host.container();
    const { bridge } = this.#good;
    const isChained = chained.includes(name);
    const first = isChained ? (await this.host.succeed("ADD", container, bridge)).json : undefined;
    const given = first === undefined ? {} : { prevResult: first };
    const config = { ...this.#good[name], ...given };
    await this.#fail(config, isChained);
    const added = await this.#call("ADD", container, config);
    if (mustSucceed.includes(name) && added.status !== 0) throw new Error(`${name}: ${added.stdout}`);
    const result = { ...config, ...(added.status === 0 ? { prevResult: added.json } : given) };
    await this.#call("CHECK", container, result);
    await this.#call("STATUS", undefined, config);
    await this.#call("ADD", container, config);
    return async () => {
      // Without its daemon dhcp waits for that each time.
      for (const more of name === "dhcp" ? [] : spoilt) {
        await this.#call("DEL", container, { ...result, ...more });
      }
      await this.#call("DEL", container, result);
      await this.#call("DEL", undefined, result);
      if (isChained) await this.#call("DEL", container, bridge);
    };
  }

  /** ADDs that are mistaken, for a container of their own. */
  async #fail(config: JsonObject, isChained: boolean): Promise<void> {
    const container = this.host.container();
    const { bridge } = this.#good;
    const first = isChained ? { prevResult: (await this.host.succeed("ADD", container, bridge)).json } : {};
    for (const more of spoilt) {
      const bad = { ...config, ...first, ...more };
      // What is bad for one plugin may be good for another.
      if ((await this.#call("ADD", container, bad)).status === 0) await this.#call("DEL", container, bad);
    }
    if (isChained) await this.host.succeed("DEL", container, bridge);
  }

  /** Nothing is to stay. */
  async collect(): Promise<void> {
    for (const name of pluginNames) {
      await this.#call("GC", undefined, { ...this.#good[name], "cni.dev/valid-attachments": [] });
    }
  }

  /** What the plugins leave on a host for good: a bridge, folders, forwarding. */
  async warmUp(): Promise<void> {
    const container = this.host.container();
    for (const command of ["ADD", "DEL"]) await this.host.succeed(command, container, this.#good.bridge);
  }
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => !name.startsWith("last_reserved_ip."))
    .sort()
    .flatMap((name) => {
      const path = join(folder, name);
      const stats = lstatSync(path);
      if (stats.isDirectory()) return [path, ...filesBelow(path)];
      if (stats.isSymbolicLink()) return [`${path} -> ${readlinkSync(path)}`];
      return [`${path} ${stats.mtimeMs} ${createHash("sha256").update(readFileSync(path)).digest("hex")}`];
    });
}

/** The kernel counts who wants to see all frames of a master, such as a macvlan link. */
const plain = (line: string) => line.replace(/promiscuity \d+ {2}allmulti \d+/, "");

/** Lines that are not there any more. */
function missing(before: Record<string, string[]>, now: Record<string, string[]>): string[] {
  return Object.entries(before).flatMap(([tool, lines]) => {
    const present = new Set(now[tool]?.map(plain));
    return lines.filter((line) => !present.has(plain(line))).map((line) => `${tool}: ${line}`);
  });
}

for (const served of [false, true]) {
  test.each(seeds[`${served}`])(
    `${served ? "with the plugins' server" : "each in its process"}: what others have stays as it is (seed %d)`,
    async (seed) => {
      await using stage = await Stage.make(served);
      const { host } = stage;
      const scenario = new Scenario(host);
      await scenario.warmUp();
      makeForeign(host, seed);
      const before = snapshot(host.node);
      const files = filesBelow(host.dir);
      const detach = await scenario.attach();
      expect(missing(before, snapshot(host.node))).toEqual([]);
      // One by one, or by the collection of garbage.
      for (const each of seed % 2 === 0 ? detach : []) await each();
      await scenario.collect();
      await Promise.all(detach.map((each) => each()));
      expect(snapshot(host.node)).toEqual(before);
      expect(filesBelow(host.dir).filter((line) => files.includes(line))).toEqual(files);
      const failed = pluginNames.filter((name) => !scenario.succeeded.has(`GC ${name}`));
      expect(failed).toEqual([]);
    },
    120_000,
  );
}
