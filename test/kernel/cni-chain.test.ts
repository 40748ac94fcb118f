/**
 * The usual chain, bridge with host-local, portmap, bandwidth and tuning, as a runtime runs it: with our plugins, with the
 * reference's, and with some of each. See cni-fixture.ts for the picture.
 */
import { expect } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import type { Attachment } from "../../src/cni/runtime.ts";
import { needs, testWith } from "../lib/needs.ts";
import { CniHost, ownPlugins, referencePlugins } from "./cni-fixture.ts";
import type { RuntimeCall } from "./cni-runtime-call.ts";
import type { Namespace } from "./services-fixture.ts";

const plugins = ["bridge", "host-local", "portmap", "bandwidth", "tuning"] as const;
type Name = (typeof plugins)[number];

const wanted = [needs.root, needs.kernel("ifb")];
const test = testWith(...wanted);
const referenceTest = testWith(
  ...wanted,
  needs.file(join(referencePlugins, "bridge"), "containernetworking-plugins"),
  needs.command("iptables", "iptables"),
);

/** A host with a runtime that finds its plugins in a folder of the scene. */
class ChainHost extends CniHost {
  readonly cacheDir = join(this.dir, "cache");
  readonly tuningDir = join(this.dir, "tuning");
  readonly path = join(this.dir, "bin");
  readonly list: string;

  /** `theirs` are the reference's, all others ours. */
  constructor(theirs: readonly Name[] = [], { ipMasq = true, cniVersion = "1.0.0" } = {}) {
    super();
    mkdirSync(this.path);
    for (const name of plugins) this.#install(name, theirs.includes(name) ? referencePlugins : ownPlugins);
    const { ipam } = this.config();
    const tuning = { dataDir: this.tuningDir, mtu: 1400, sysctl: { "net.ipv4.conf.all.log_martians": "1" } };
    this.list = JSON.stringify({
      cniVersion,
      name: "net",
      plugins: [
        { type: "bridge", bridge: "br0", isDefaultGateway: true, ipMasq, ipam },
        { type: "portmap", capabilities: { portMappings: true } },
        { type: "bandwidth", capabilities: { bandwidth: true } },
        { type: "tuning", ...tuning },
      ],
    });
  }

  #install(name: Name, folder: string): void {
    rmSync(join(this.path, name), { force: true });
    symlinkSync(join(folder, name), join(this.path, name));
  }

  /** From here on all plugins are from the other folder. */
  replace(folder: string): void {
    for (const name of plugins) this.#install(name, folder);
  }

  /** Calls the runtime on the host; throws what it says where it fails. */
  async run(command: RuntimeCall["command"], more: Partial<RuntimeCall> = {}): Promise<JsonObject> {
    const { list, path, cacheDir } = this;
    const call: RuntimeCall = { command, list, path, cacheDir, ...more };
    const child = this.node.in(() =>
      Bun.spawn([process.execPath, join(import.meta.dir, "cni-runtime-call.ts"), JSON.stringify(call)], {
        stdout: "pipe",
        stderr: "pipe",
      }),
    );
    const [stdout, stderr, status] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    if (status !== 0) throw new Error(`${command}: ${stderr}`);
    return stdout === "" ? {} : JSON.parse(stdout);
  }

  /** What containers may have left on the host: links, qdiscs, leases, files, and what is in our table of nftables. */
  left(): string[] {
    const { rtnl, nft } = this.node.kernel;
    const links = rtnl.links.list().filter(({ name }) => !["lo", "eth0", "br0"].includes(name));
    const files = [this.cacheDir, this.tuningDir].flatMap((folder) =>
      existsSync(folder) ? readdirSync(folder, { recursive: true, withFileTypes: true }) : [],
    );
    return [
      ...links.map(({ name }) => `link ${name}`),
      ...rtnl.tc
        .qdiscs()
        .filter(({ kind }) => kind !== "noqueue")
        .map(({ kind, link }) => `qdisc ${kind} of ${link}`),
      ...Object.keys(this.leases()).map((address) => `lease ${address}`),
      ...files
        .filter((entry) => entry.isFile() && !entry.name.endsWith("lock"))
        .map(({ name }) => `file ${name}`),
      ...nft
        .tables()
        .filter(({ name }) => name === "weft-cni")
        .map(({ name }) => `table ${name}`),
    ];
  }
}

function attachmentOf({ name }: Namespace, hostPort: number): Attachment {
  return {
    containerId: name,
    ifname: "eth0",
    netns: `/run/netns/${name}`,
    capabilityArgs: {
      portMappings: [{ hostPort, containerPort: 80, protocol: "tcp" }],
      bandwidth: {
        ingressRate: 800_000_000,
        ingressBurst: 8_000_000,
        egressRate: 80_000_000,
        egressBurst: 800_000,
      },
    },
  };
}

/** What a container has of the chain. */
async function requireWorking(host: ChainHost, container: Namespace, hostPort: number): Promise<void> {
  const { rtnl, sysctl } = container.kernel;
  expect(rtnl.links.get("eth0").mtu).toBe(1400);
  expect(sysctl.read("net.ipv4.conf.all.log_martians")).toBe("1");
  expect(await host.outside.ask("192.0.2.1", hostPort)).toStartWith(`${container.name} 192.0.2.2 `);
  const ifbs = host.node.kernel.rtnl.links.list({ kind: "ifb" });
  const limits = ifbs.map(({ index }) => host.node.kernel.rtnl.tc.qdiscs(index)[0]?.tbf?.rate);
  expect(limits).toContain(10_000_000);
}

/** Each call of the runtime starts five processes. Milliseconds. */
const patience = 30_000;

const mixes: [string, readonly Name[]][] = [
  ["all ours", []],
  ["all of the reference", plugins],
  ["the reference's bridge and addresses", ["bridge", "host-local"]],
  ["the reference's in the middle", ["portmap", "bandwidth"]],
  ["the reference's shaping and tuning", ["bandwidth", "tuning"]],
  ["ours for shaping alone", ["bridge", "host-local", "portmap", "tuning"]],
];
for (const [name, theirs] of mixes) {
  (theirs.length === 0 ? test : referenceTest)(
    `${name}: two containers come, are checked, work and go`,
    async () => {
      using host = new ChainHost(theirs);
      // The reference's portmap looks for the IPv4 rules among those for IPv6.
      const canCheck = !theirs.includes("portmap");
      const [blue, green] = [host.container(), host.container()];
      expect(host.left()).toEqual([]);
      for (const [container, port] of [
        [blue, 8081],
        [green, 8082],
      ] as const) {
        await container.serve(80, container.name);
        const result = await host.run("ADD", { attachment: attachmentOf(container, port) });
        expect(result).toMatchObject({ interfaces: [{}, {}, {}, {}], ips: [{}, {}] });
      }
      for (const [container, port] of [
        [blue, 8081],
        [green, 8082],
      ] as const) {
        if (canCheck) await host.run("CHECK", { attachment: attachmentOf(container, port) });
        await requireWorking(host, container, port);
      }
      await host.run("DEL", { attachment: attachmentOf(blue, 8081) });
      await requireWorking(host, green, 8082);
      for (let i = 0; i < 2; i++) await host.run("DEL", { attachment: attachmentOf(green, 8082) });
      expect(host.left()).toEqual([]);
    },
    patience,
  );
}

const takeovers: [string, readonly Name[], string, boolean][] = [
  ["ours take over from the reference", plugins, ownPlugins, true],
  // Its DEL wants the chain of iptables that its ADD made for ipMasq.
  ["the reference takes over from ours", [], referencePlugins, false],
];
referenceTest.each(takeovers)(
  "%s: links, shaping, tuning and leases go",
  async (_, before, after, ipMasq) => {
    using host = new ChainHost(before, { ipMasq });
    const container = host.container();
    const attachment = attachmentOf(container, 8081);
    await host.run("ADD", { attachment });
    host.replace(after);
    await host.run("DEL", { attachment });
    // Masquerading and port mappings are in iptables with one and in nftables with the other.
    expect(host.left().filter((what) => !what.startsWith("table "))).toEqual([]);
  },
  patience,
);

test.each(["with", "without"])(
  "GC %s what the runtime remembers leaves valid attachments alone",
  async (how) => {
    using host = new ChainHost([], { cniVersion: "1.1.0" });
    const [blue, green] = [host.container(), host.container()];
    await blue.serve(80, blue.name);
    for (const [container, port] of [
      [blue, 8081],
      [green, 8082],
    ] as const) {
      await host.run("ADD", { attachment: attachmentOf(container, port) });
    }
    // Only the plugins themselves know then.
    if (how === "without") rmSync(host.cacheDir, { recursive: true });
    const { containerId, ifname } = attachmentOf(blue, 8081);
    await host.run("GC", { valid: [{ containerId, ifname }] });
    await requireWorking(host, blue, 8081);
    expect(host.node.kernel.rtnl.links.list({ kind: "ifb" })).toHaveLength(1);
    expect(Object.values(host.leases())).toEqual([`${blue.name}/eth0`, `${blue.name}/eth0`]);
    expect(host.state()).not.toContain(green.name);
    await host.run("STATUS");
    await host.run("GC", { valid: [] });
    expect(host.left()).toEqual([]);
  },
  patience,
);
