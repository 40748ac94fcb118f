/** Weft's plugins and Debian's containernetworking-plugins together: in one chain, and one after the other. */
import { expect } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { type Answer, addressOf, CniHost, ownPlugins, referencePlugins } from "../kernel/cni-fixture.ts";
import type { Namespace } from "../kernel/services-fixture.ts";
import { needs, testWith } from "../lib/needs.ts";

const reference = needs.file(join(referencePlugins, "bridge"), "containernetworking-plugins");
const test = testWith(needs.root, reference);

type Side = "weft" | "reference";
const folders: Readonly<Record<Side, string>> = { weft: ownPlugins, reference: referencePlugins };
const other = (side: Side): Side => (side === "weft" ? "reference" : "weft");
const sides: readonly Side[] = ["weft", "reference"];

/** A folder for CNI_PATH, with each plugin of the side that is named. */
function pathOf(host: CniHost, types: Readonly<Record<string, Side>>): string {
  const folder = join(host.dir, `path-${JSON.stringify(types).replace(/\W+/g, "-")}`);
  mkdirSync(folder);
  for (const [type, side] of Object.entries(types))
    symlinkSync(join(folders[side], type), join(folder, type));
  return folder;
}

/** Plays a chain as a runtime does, each plugin from a folder of its own; the results of ADD, the last one last. */
async function addChain(
  host: CniHost,
  container: Namespace,
  chain: readonly JsonObject[],
  plugins: string,
): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (const config of chain) {
    const prevResult = answers.at(-1)?.json;
    const input = prevResult === undefined ? config : { ...config, prevResult };
    answers.push(await host.succeed("ADD", container, input, { plugins }));
  }
  return answers;
}

async function delChain(
  host: CniHost,
  container: Namespace,
  chain: readonly JsonObject[],
  plugins: string,
  prevResult: JsonObject,
): Promise<void> {
  for (const config of [...chain].reverse()) {
    await host.succeed("DEL", container, { ...config, prevResult }, { plugins });
  }
}

/** What of a container is still on the host: leases, links, shaping, and lines of rule sets. */
function remains(host: CniHost, container: Namespace, addresses: readonly string[]): string[] {
  const { rtnl } = host.node.kernel;
  const rules = host.node
    .in(() => Bun.spawnSync(["sh", "-c", "nft list ruleset; iptables-save; ip6tables-save"]))
    .stdout.toString()
    .split("\n")
    .filter((line) => [container.name, ...addresses].some((word) => line.includes(word)));
  return [
    ...Object.keys(host.leases()),
    ...rtnl.links
      .list()
      .filter(({ name }) => !["lo", "eth0", "br0"].includes(name))
      .map(({ name }) => name),
    ...rules,
  ];
}

test.each(sides)("host-local of %s under bridge of the other", async (ipam) => {
  using host = new CniHost();
  const plugins = pathOf(host, { bridge: other(ipam), "host-local": ipam });
  const [blue, green] = [host.container(), host.container()];
  await blue.serve(8080, "blue");
  const config = host.config({ ipMasq: true });
  const first = await host.succeed("ADD", blue, config, { plugins });
  const second = await host.succeed("ADD", green, config, { plugins });
  expect(first.json.ips).toEqual([
    { interface: 2, address: "10.77.0.2/24", gateway: "10.77.0.1" },
    { interface: 2, address: "fd77::2/64", gateway: "fd77::1" },
  ]);
  expect(await green.ask(addressOf(first, 4), 8080)).toStartWith(`blue ${addressOf(second, 4)} `);
  await host.succeed("CHECK", blue, { ...config, prevResult: first.json }, { plugins });
  for (const container of [blue, green]) await host.succeed("DEL", container, config, { plugins });
  expect(host.leases()).toEqual({});
});

test.each(sides)(
  "%s goes on with the leases of the other, and gives back what the other gave out",
  async (after) => {
    using host = new CniHost();
    const [before, later] = [folders[other(after)], folders[after]];
    const [blue, green, red] = [host.container(), host.container(), host.container()];
    const config = host.config();
    const added = await host.succeed("ADD", blue, config, { plugins: before });
    await host.succeed("ADD", green, config, { plugins: before });
    // The next address, never one that is taken.
    const next = await host.succeed("ADD", red, config, { plugins: later });
    expect([addressOf(next, 4), addressOf(next, 6)]).toEqual(["10.77.0.4", "fd77::4"]);
    const again = await host.call("ADD", host.container(), config, {
      plugins: later,
      containerId: blue.name,
    });
    expect(again.json.msg).toContain(
      `has been allocated to ${blue.name}, duplicate allocation is not allowed`,
    );
    await host.succeed("CHECK", blue, { ...config, prevResult: added.json }, { plugins: later });
    await host.succeed("DEL", blue, config, { plugins: later });
    expect(Object.keys(host.leases())).toEqual(["10.77.0.3", "10.77.0.4", "fd77::3", "fd77::4"]);
    await host.succeed("DEL", red, config, { plugins: before });
    await host.succeed("DEL", green, config, { plugins: later });
    expect(host.leases()).toEqual({});
  },
);

test("each gives out the address after the other's last one, though that has been given back", async () => {
  using host = new CniHost();
  const config = { ...host.config(), type: "host-local" };
  const seen: string[] = [];
  for (const [i, side] of [...sides, ...sides, ...sides].entries()) {
    const call = { plugins: folders[side], containerId: `c${i}`, netns: "/run/netns/none" };
    seen.push(addressOf(await host.succeed("ADD", undefined, config, call), 4));
    await host.succeed("DEL", undefined, config, { ...call, plugins: folders[other(side)] });
  }
  expect(seen).toEqual(["2", "3", "4", "5", "6", "7"].map((last) => `10.77.0.${last}`));
});

test("both at the same time never give out an address twice", async () => {
  using host = new CniHost();
  const config = { ...host.config(), type: "host-local" };
  const calls = Array.from({ length: 24 }, (_, i) =>
    host.succeed("ADD", undefined, config, {
      plugins: i % 2 === 0 ? ownPlugins : referencePlugins,
      containerId: `c${i}`,
      netns: "/run/netns/none",
    }),
  );
  const answers: Answer[] = await Promise.all(calls);
  expect(new Set(answers.map((answer) => addressOf(answer, 4))).size).toBe(24);
  expect(Object.keys(host.leases())).toHaveLength(48);
});

test("the files of leases are the same, one for one", async () => {
  const found: unknown[] = [];
  for (const plugins of [ownPlugins, referencePlugins]) {
    using host = new CniHost();
    const config = { ...host.config(), type: "host-local" };
    for (const containerId of ["a", "b", "c"]) {
      await host.succeed("ADD", undefined, config, { plugins, containerId, netns: "/run/netns/none" });
    }
    await host.succeed("DEL", undefined, config, { plugins, containerId: "b" });
    const dir = join(host.dataDir, "net");
    const names = readdirSync(dir).sort();
    found.push(names.map((name) => [name, readFileSync(join(dir, name), "utf8")]));
  }
  expect(found[0]).toEqual(found[1]);
});

const web = { hostPort: 9090, containerPort: 8080, protocol: "tcp" };
const common = { cniVersion: "1.0.0", name: "net" };
const meta: Readonly<Record<string, JsonObject>> = {
  portmap: { ...common, type: "portmap", runtimeConfig: { portMappings: [web] } },
  bandwidth: {
    ...common,
    type: "bandwidth",
    ...{ ingressRate: 8_000_000, ingressBurst: 2_000_000, egressRate: 8_000_000, egressBurst: 2_000_000 },
  },
  tuning: { ...common, type: "tuning", mtu: 1400, sysctl: { "net.core.somaxconn": "500" } },
  firewall: { ...common, type: "firewall", backend: "iptables" },
};

/** What shows that a plugin of a chain has done its work. */
async function works(type: string, host: CniHost, container: Namespace): Promise<unknown> {
  switch (type) {
    case "portmap":
      return (await host.outside.ask("192.0.2.1", 9090)).replace(/ \d+$/, "");
    case "bandwidth":
      return host.node.kernel.rtnl.links.list({ kind: "ifb" }).length;
    case "tuning":
      return [
        container.kernel.rtnl.links.get("eth0").mtu,
        container.kernel.sysctl.read("net.core.somaxconn"),
      ];
    default:
      return host.node.in(() => Bun.spawnSync(["iptables", "-S", "CNI-FORWARD"])).stdout.toString();
  }
}

const expected: Readonly<Record<string, unknown>> = {
  portmap: "blue 192.0.2.2",
  bandwidth: 1,
  tuning: [1400, "500"],
  firewall: expect.stringContaining("10.77.0.2"),
};

const chains = sides.flatMap((side) => Object.keys(meta).map((type) => [side, type] as const));
test.each(chains)("bridge of %s before %s of the other", async (side, type) => {
  using host = new CniHost();
  const plugins = pathOf(host, { bridge: side, "host-local": side, [type]: other(side) });
  const blue = host.container();
  await blue.serve(8080, "blue");
  const chain = [host.config(), { ...meta[type], dataDir: join(host.dir, "tuning") }];
  const last = (await addChain(host, blue, chain, plugins)).at(-1) as Answer;
  expect(await works(type, host, blue)).toEqual(expected[type]);
  await delChain(host, blue, chain, plugins, last.json);
  expect(remains(host, blue, [addressOf(last, 4), `${addressOf(last, 6)} `])).toEqual([]);
});

/** Added by one, deleted by the other. What Weft has in nftables is unknown to the reference, so its backends are the reference's. */
const changes = sides.flatMap((side) => ["none", ...Object.keys(meta)].map((type) => [side, type] as const));
test.each(changes)("ADD by %s, DEL by the other: bridge and %s", async (side, type) => {
  using host = new CniHost();
  const blue = host.container();
  await blue.serve(8080, "blue");
  const iptables = side === "weft" ? { ipMasqBackend: "iptables" } : {};
  const more = type === "none" ? [] : [{ ...meta[type], dataDir: join(host.dir, "tuning") }];
  const chain = [
    host.config({ ipMasq: true, ...iptables }),
    ...more.map((each) => (type === "portmap" && side === "weft" ? { ...each, backend: "iptables" } : each)),
  ];
  const last = (await addChain(host, blue, chain, folders[side])).at(-1) as Answer;
  if (type !== "none") expect(await works(type, host, blue)).toEqual(expected[type]);
  await delChain(host, blue, chain, folders[other(side)], last.json);
  if (side === "weft" && type === "firewall") {
    // That the rules were the container's is Weft's own note, and no rule. The reference leaves it; GC takes it.
    const gc = {
      ...(more[0] as JsonObject),
      cniVersion: "1.1.0",
      name: "net",
      "cni.dev/valid-attachments": [],
    };
    await host.succeed("GC", undefined, gc, { plugins: ownPlugins });
  }
  expect(
    remains(host, blue, [`${addressOf(last, 4)}/`, `${addressOf(last, 6)}/`, addressOf(last, 4)]),
  ).toEqual([]);
  expect(blue.kernel.rtnl.links.list().map(({ name }) => name)).toEqual(["lo"]);
});

test("what the reference cannot know of, masquerading and ports in nftables, goes with Weft's GC", async () => {
  using host = new CniHost();
  const blue = host.container();
  const chain = [host.config({ ipMasq: true }), meta.portmap as JsonObject];
  const last = (await addChain(host, blue, chain, ownPlugins)).at(-1) as Answer;
  const [bridge, portmap] = chain.map((each) => ({ ...each, prevResult: last.json }));
  await host.succeed("DEL", blue, portmap, { plugins: referencePlugins });
  // It insists on a chain of its own, after everything else is done.
  const refused = await host.call("DEL", blue, bridge, { plugins: referencePlugins });
  expect(refused.json.msg).toMatch(/Chain 'CNI-[0-9a-f]+' does not exist/);
  expect(host.leases()).toEqual({});
  const addresses = [addressOf(last, 4)];
  expect(remains(host, blue, addresses)).not.toEqual([]);
  for (const config of chain) {
    const gc = { ...config, cniVersion: "1.1.0", "cni.dev/valid-attachments": [] };
    await host.succeed("GC", undefined, gc, { plugins: ownPlugins });
  }
  expect(remains(host, blue, addresses)).toEqual([]);
});
