/**
 * The plugins' iptables backends, with either of the host's iptables: the same rules as the reference makes, and each
 * removes what the other made. See cni-fixture.ts for the picture.
 */
import { expect } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join as path } from "node:path";
import type { JsonObject } from "../../src/cni/fields.ts";
import { iptablesChain } from "../../src/plugins/netfilter/iptables-names.ts";
import { needs, testWith } from "../lib/needs.ts";
import { type Call, CniHost, ownPlugins, referencePlugins } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

const reference = needs.file(path(referencePlugins, "firewall"), "containernetworking-plugins");
const test = testWith(needs.root, reference, needs.file("/usr/sbin/xtables-legacy-multi", "iptables"));

const variants = ["nft", "legacy"] as const;
type Variant = (typeof variants)[number];

/** A host whose `iptables` is one of the two. */
class IptablesHost extends CniHost {
  readonly variant: Variant;
  readonly bin: string;

  constructor(variant: Variant) {
    super();
    this.variant = variant;
    this.bin = path(this.dir, "bin");
    mkdirSync(this.bin);
    for (const program of ["iptables", "ip6tables"]) {
      for (const suffix of ["", "-save", "-restore"]) {
        symlinkSync(`/usr/sbin/xtables-${variant}-multi`, path(this.bin, `${program}${suffix}`));
      }
    }
  }

  override start(command: string, container: Namespace | undefined, config: unknown, call: Call = {}) {
    const env = { PATH: `${this.bin}:${process.env.PATH}`, ...call.env };
    return super.start(command, container, config, { ...call, env });
  }

  /** The rules of a table in both families, without what differs between hosts. */
  rules(...containers: Namespace[]): string[] {
    return ["iptables", "ip6tables"].flatMap((program) =>
      ["nat", "filter"].flatMap((table) => {
        const command = [`${program}-${this.variant}`, "-t", table, "-S"];
        const { stdout } = this.node.in(() => Bun.spawnSync(command));
        return stdout
          .toString()
          .split("\n")
          .filter((line) => line !== "" && !line.startsWith("-P "))
          .map((line) => `${program} ${table} ${line}`)
          .map((line) =>
            containers.reduce((text, { name }, i) => text.replaceAll(name, `CONTAINER${i}`), line),
          )
          .map((line) => line.replace(/CNI-(DN-)?[0-9a-f]{20,}/g, "CNI-$1HASH"));
      }),
    );
  }
}

const web = { hostPort: 8080, containerPort: 80, protocol: "tcp" };

/** A plugin behind bridge, or bridge itself, and what is asked of it. */
interface Case {
  type: "bridge" | "portmap" | "firewall";
  more: JsonObject;
  bridge?: JsonObject;
}

const cases: [string, Case][] = [
  ["ipMasq of bridge", { type: "bridge", more: { ipMasq: true } }],
  ["portmap", { type: "portmap", more: { runtimeConfig: { portMappings: [web] } } }],
  [
    "portmap of many ports",
    {
      type: "portmap",
      more: {
        markMasqBit: 20,
        runtimeConfig: {
          portMappings: [
            ...Array.from({ length: 17 }, (_, i) => ({ ...web, hostPort: 9000 + i })),
            { ...web, protocol: "udp" },
            { ...web, hostPort: 8081, hostIP: "192.0.2.1" },
            { ...web, hostPort: 8082, hostIP: "2001:db8::1" },
            { ...web, hostPort: 8083, hostIP: "0.0.0.0" },
          ],
        },
      },
    },
  ],
  [
    "portmap without snat, with conditions",
    {
      type: "portmap",
      more: {
        snat: false,
        conditionsV4: ["!", "-d", "198.51.100.0/24"],
        conditionsV6: ["-i", "eth0"],
        runtimeConfig: { portMappings: [web] },
      },
    },
  ],
  ["firewall", { type: "firewall", more: {} }],
  [
    "firewall with a chain of the administrator's",
    { type: "firewall", more: { iptablesAdminChainName: "MINE" } },
  ],
  ["firewall with same-bridge", { type: "firewall", more: { ingressPolicy: "same-bridge" } }],
];

/** The container on the bridge, and the configuration of the plugin in question. */
async function prepare(
  host: IptablesHost,
  { type, more }: Case,
): Promise<{ container: Namespace; config: JsonObject }> {
  const container = host.container();
  if (type === "bridge") return { container, config: host.config(more) };
  const { json: prevResult } = await host.succeed("ADD", container, host.config({}));
  return { container, config: { cniVersion: "1.0.0", name: "net", type, prevResult, ...more } };
}

/** Our configuration asks for what is the reference's default. */
function ours(config: JsonObject): JsonObject {
  return config.type === "bridge"
    ? { ...config, ipMasqBackend: "iptables" }
    : { ...config, backend: "iptables" };
}

const theirs = (config: JsonObject): JsonObject =>
  config.type === "firewall" ? { ...config, backend: "iptables" } : config;

for (const variant of variants) {
  for (const [name, which] of cases) {
    test(`${name} by ${variant}: the reference's rules, and each removes what the other made`, async () => {
      using host = new IptablesHost(variant);
      using twin = new IptablesHost(variant);
      const mine = await prepare(host, which);
      const other = await prepare(twin, which);
      const call = { plugins: referencePlugins };
      await host.succeed("ADD", mine.container, ours(mine.config));
      await twin.succeed("ADD", other.container, theirs(other.config), call);
      const sorted = (each: IptablesHost, container: Namespace) => each.rules(container).sort();
      const made = sorted(host, mine.container);
      expect(made.length).toBeGreaterThan(3);
      // Where the old ip6tables is asked whether it has a rule, it takes one for another port for the same; the
      // reference, which asks before each, then leaves out all but the first of several ports.
      const mapsAll = made.filter((line) => / 90(0\d|1[0-6]) -j DNAT/.test(line));
      expect(mapsAll).toHaveLength(name === "portmap of many ports" ? 34 : 0);
      const isAsked = (line: string) =>
        !(mapsAll.length > 0 && variant === "legacy" && line.startsWith("ip6"));
      expect(made.filter(isAsked)).toEqual(sorted(twin, other.container).filter(isAsked));
      // Each finds in order what the other made.
      if (which.type !== "bridge") {
        await host.succeed("CHECK", mine.container, ours(mine.config));
        if (mapsAll.length === 0) await twin.succeed("CHECK", other.container, ours(other.config));
      }
      // With two families the reference's portmap looks for IPv4's rules in ip6tables, too.
      if (which.type === "firewall") await host.succeed("CHECK", mine.container, theirs(mine.config), call);
      // An ADD done once more adds nothing, save for the firewall's two rules, which are alike for all.
      if (which.type === "portmap") {
        await host.succeed("ADD", mine.container, ours(mine.config));
        expect(sorted(host, mine.container)).toEqual(made);
      }
      // A DEL without backend: the folder of plugins was replaced while the container was running.
      await host.succeed("DEL", mine.container, theirs(mine.config), call);
      await twin.succeed("DEL", other.container, other.config);
      const left = sorted(host, mine.container);
      expect(sorted(twin, other.container)).toEqual(left);
      expect(left.filter((line) => line.includes("HASH") || line.includes("10.77.0.2"))).toEqual([]);
      // Nothing but what all share is left of our own either, and once more is no error.
      const { config, container } = mine.config.type === "bridge" ? mine : await prepare(host, which);
      await host.succeed("ADD", container, ours(config));
      await host.succeed("DEL", container, ours(config));
      expect(sorted(host, mine.container)).toEqual(left);
      await host.succeed("DEL", container, ours(config));
    }, 30_000);
  }

  test(`packets by ${variant}: masqueraded, mapped, and not when the container is gone`, async () => {
    using host = new IptablesHost(variant);
    const masquerading = host.config({ ipMasq: true, ipMasqBackend: "iptables", hairpinMode: true });
    const blue = host.container();
    await blue.serve(80, "blue");
    await host.outside.serve(7, "outside");
    const { json: prevResult } = await host.succeed("ADD", blue, masquerading);
    expect(await blue.ask("192.0.2.2", 7)).toStartWith("outside 192.0.2.1 ");
    expect(await blue.ask("2001:db8::2", 7)).toStartWith("outside 2001:db8::1 ");
    const portMappings = [web, { ...web, protocol: "udp" }];
    const config = {
      cniVersion: "1.0.0",
      name: "net",
      type: "portmap",
      backend: "iptables",
      runtimeConfig: { portMappings },
      prevResult,
    };
    const before = await host.outside.udp("192.0.2.1", 8080);
    await before.ask(100);
    await host.succeed("ADD", blue, config);
    expect(await before.ask()).toStartWith("blue 192.0.2.2 ");
    expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("blue 192.0.2.2 ");
    expect(await host.outside.ask("2001:db8::1", 8080)).toStartWith("blue 2001:db8::2 ");
    expect(await host.node.ask("127.0.0.1", 8080)).toStartWith("blue 10.77.0.1 ");
    expect(await blue.ask("192.0.2.1", 8080)).toStartWith("blue 10.77.0.1 ");
    // The latest has the port, and gives it back.
    const green = host.container();
    await green.serve(80, "green");
    const added = await host.succeed("ADD", green, masquerading);
    await host.succeed("ADD", green, { ...config, prevResult: added.json });
    expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("green ");
    expect(await before.ask()).toStartWith("green ");
    await host.succeed("DEL", green, { ...config, runtimeConfig: {}, prevResult: undefined });
    await host.succeed("DEL", green, masquerading);
    expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("blue ");
    expect(await before.ask()).toStartWith("blue ");
    await host.succeed("DEL", blue, config);
    await host.succeed("DEL", blue, masquerading);
    expect(await host.outside.ask("192.0.2.1", 8080)).toBe("refused");
    expect(["refused", "silence"]).toContain(await before.ask(300));
    before.close();
    expect(host.rules().filter((line) => line.includes("HASH"))).toEqual([]);
  }, 20_000);

  test(`many at the same time by ${variant}: what is shared is made once, and each has its own`, async () => {
    using host = new IptablesHost(variant);
    const bridge = host.config({ ipMasq: true, ipMasqBackend: "iptables" });
    await host.succeed("ADD", host.container(), host.config());
    const containers = Array.from({ length: 5 }, () => host.container());
    const chains = await Promise.all(
      containers.map(async (container, i) => {
        const { json: prevResult } = await host.succeed("ADD", container, bridge);
        const common = { cniVersion: "1.0.0", name: "net", backend: "iptables", prevResult };
        const portMappings = [{ ...web, hostPort: 8080 + i }];
        const chained = [
          { ...common, type: "portmap", runtimeConfig: { portMappings } },
          { ...common, type: "firewall", ingressPolicy: "isolated" },
        ];
        for (const config of chained) await host.succeed("ADD", container, config);
        return { container, configs: [...chained.reverse(), bridge] };
      }),
    );
    const shared = host.rules().filter((line) => !line.includes("HASH") && !/10\.77|fd77/.test(line));
    expect(shared.toSorted()).toEqual([...new Set(shared)].toSorted());
    await Promise.all(
      chains.map(async ({ container, configs }) => {
        for (const config of configs) await host.succeed("DEL", container, config);
      }),
    );
    expect(host.rules()).toEqual(shared);
  }, 30_000);

  test(`GC by ${variant} removes what is not valid, of its own network`, async () => {
    using host = new IptablesHost(variant);
    const more = { cniVersion: "1.1.0", ipMasq: true, ipMasqBackend: "iptables" };
    const [blue, green, red] = [host.container(), host.container(), host.container()];
    const networks = [
      [blue, "net"],
      [green, "net"],
      [red, "other"],
    ] as const;
    const chained = { cniVersion: "1.1.0", type: "portmap", backend: "iptables" };
    for (const [i, [container, name]] of networks.entries()) {
      const { json: prevResult } = await host.succeed("ADD", container, host.config({ ...more, name }));
      const runtimeConfig = { portMappings: [{ ...web, hostPort: 8080 + i, protocol: "udp" }] };
      await host.succeed("ADD", container, { ...chained, name, runtimeConfig, prevResult });
    }
    const owners = () => ({
      masquerade: host.rules(blue, green, red).filter((line) => /POSTROUTING.*-j CNI-HASH/.test(line)),
      portmap: host.rules(blue, green, red).filter((line) => /CNI-HOSTPORT-DNAT.*-j CNI-DN-HASH/.test(line)),
    });
    expect(Object.values(owners()).map((each) => each.length)).toEqual([6, 6]);
    const gc = async (ids: string[]) => {
      const valid = {
        "cni.dev/valid-attachments": ids.map((containerID) => ({ containerID, ifname: "eth0" })),
      };
      await host.succeed("GC", undefined, { ...host.config(more), ...valid });
      await host.succeed("GC", undefined, { ...chained, backend: undefined, name: "net", ...valid });
    };
    await gc([green.name]);
    const left = Object.values(owners());
    expect(left.map((each) => each.length)).toEqual([4, 4]);
    expect(left.flat().join()).not.toContain("CONTAINER0");
    await gc([]);
    expect(Object.values(owners()).map((each) => each.length)).toEqual([2, 2]);
    expect(Object.values(owners()).flat().join()).not.toContain("CONTAINER1");
  }, 20_000);
}

for (const variant of variants) {
  test(`the firewall's rules by ${variant} go with GC, with DEL that is told nothing, and not with another's`, async () => {
    using host = new IptablesHost(variant);
    const firewall = { cniVersion: "1.1.0", name: "net", type: "firewall", backend: "iptables" };
    const [blue, green, red] = [host.container(), host.container(), host.container()];
    const results = [];
    for (const container of [blue, green, red]) {
      const { json: prevResult } = await host.succeed("ADD", container, host.config({ cniVersion: "1.1.0" }));
      await host.succeed("ADD", container, { ...firewall, prevResult });
      results.push(prevResult);
    }
    const rules = () => host.rules().filter((line) => /-A CNI-FORWARD.* -s /.test(line)).length;
    expect(rules()).toBe(6);
    const ids = [green.name, red.name];
    const valid = ids.map((containerID) => ({ containerID, ifname: "eth0" }));
    await host.succeed("GC", undefined, { ...firewall, "cni.dev/valid-attachments": valid });
    expect(rules()).toBe(4);
    await host.succeed("DEL", undefined, firewall, { containerId: green.name });
    expect(rules()).toBe(2);
    // What was blue's may be red's by now.
    await host.succeed("DEL", blue, { ...firewall, prevResult: results[2] });
    expect(rules()).toBe(2);
    await host.succeed("CHECK", red, { ...firewall, prevResult: results[2] });
    await host.succeed("DEL", red, { ...firewall, prevResult: results[2] });
    expect(rules()).toBe(0);
    expect(host.node.kernel.nft.tables().map(({ name }) => name)).not.toContain("weft-cni");
  }, 20_000);
}

for (const variant of variants) {
  test(`by ${variant}: what the reference gave to another meanwhile stays, with GC and with a late DEL`, async () => {
    using host = new IptablesHost(variant);
    const firewall = { cniVersion: "1.0.0", name: "net", type: "firewall", backend: "iptables" };
    const [blue, green] = [host.container(), host.container()];
    const { json: prevResult } = await host.succeed("ADD", blue, host.config());
    const config = { ...firewall, prevResult };
    const theirs = { plugins: referencePlugins };
    const rules = () => host.rules().filter((line) => /-A CNI-FORWARD -[sd] /.test(line)).length;
    const late: (() => Promise<unknown>)[] = [
      () => host.succeed("DEL", undefined, firewall, { containerId: blue.name }),
      () =>
        host.succeed("GC", undefined, { ...firewall, cniVersion: "1.1.0", "cni.dev/valid-attachments": [] }),
    ];
    for (const call of late) {
      await host.succeed("ADD", blue, config);
      await host.succeed("DEL", blue, config, theirs);
      expect(rules()).toBe(0);
      await host.succeed("ADD", green, config, theirs);
      expect(rules()).toBe(4);
      await call();
      expect(rules()).toBe(4);
      expect(host.node.kernel.nft.tables().map(({ name }) => name)).not.toContain("weft-cni");
      await host.succeed("DEL", green, config, theirs);
    }
  }, 20_000);
}

test("a DEL that iptables failed forgets nothing: the next removes the rules", async () => {
  using host = new IptablesHost("nft");
  const firewall = { cniVersion: "1.1.0", name: "net", type: "firewall", backend: "iptables" };
  const blue = host.container();
  const { json: prevResult } = await host.succeed("ADD", blue, host.config({ cniVersion: "1.1.0" }));
  await host.succeed("ADD", blue, { ...firewall, prevResult });
  const rules = () => host.rules().filter((line) => /-A CNI-FORWARD -[sd] /.test(line)).length;
  const programs = ["iptables-nft-restore", "ip6tables-nft-restore"].map((name) => path(host.bin, name));
  for (const file of programs) {
    writeFileSync(file, "#!/bin/sh\necho 'holding the xtables lock' >&2\nexit 4\n");
    chmodSync(file, 0o755);
  }
  const { json } = await host.call("DEL", undefined, firewall, { containerId: blue.name });
  expect(json).toMatchObject({ code: 11 });
  expect(rules()).toBe(4);
  for (const file of programs) rmSync(file);
  await host.succeed("DEL", undefined, firewall, { containerId: blue.name });
  expect(rules()).toBe(0);
});

test("an administrator's rules for an address of a container stay in CNI-FORWARD", async () => {
  using host = new IptablesHost("nft");
  const blue = host.container();
  const { json: prevResult } = await host.succeed("ADD", blue, host.config());
  const config = { cniVersion: "1.0.0", name: "net", type: "firewall", backend: "iptables", prevResult };
  await host.succeed("ADD", blue, config);
  const words = "-t filter -A CNI-FORWARD -d 10.77.0.2/32 -p tcp -m tcp --dport 80 -j ACCEPT";
  const { success } = host.node.in(() => Bun.spawnSync(["iptables-nft", ...words.split(" ")]));
  expect(success).toBe(true);
  await host.succeed("DEL", blue, config);
  const left = host.rules().filter((line) => /-A CNI-FORWARD -[sd] /.test(line));
  expect(left).toEqual([`iptables filter ${words.slice("-t filter ".length)}`]);
});

/** Has every start of iptables leave a line in a file; the starts since the last call of the function returned. */
function count(host: IptablesHost): () => string[] {
  const log = path(host.dir, "starts");
  for (const program of ["iptables", "ip6tables"]) {
    for (const suffix of ["", "-restore"]) {
      const real = `${program}-${host.variant}${suffix}`;
      for (const name of [`${program}${suffix}`, real]) {
        const file = path(host.bin, name);
        rmSync(file, { force: true });
        writeFileSync(file, `#!/bin/sh\necho ${program}${suffix} >>${log}\nexec /usr/sbin/${real} "$@"\n`);
        chmodSync(file, 0o755);
      }
    }
  }
  return () => {
    const starts = existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : [];
    rmSync(log, { force: true });
    return starts;
  };
}

test("an ADD starts iptables once for each family, save for the first on a host", async () => {
  using host = new IptablesHost("nft");
  const bridge = host.config({ ipMasq: true, ipMasqBackend: "iptables" });
  const started = count(host);
  const chained = (prevResult: unknown, hostPort: number): JsonObject[] => {
    const common = { cniVersion: "1.0.0", name: "net", backend: "iptables", prevResult };
    return [
      { ...common, type: "portmap", runtimeConfig: { portMappings: [{ ...web, hostPort }] } },
      { ...common, type: "firewall", ingressPolicy: "same-bridge" },
    ];
  };
  const [first, second] = [host.container(), host.container()];
  const { json: before } = await host.succeed("ADD", first, bridge);
  for (const config of chained(before, 8080)) await host.succeed("ADD", first, config);
  started();
  const { json } = await host.succeed("ADD", second, bridge);
  expect(started()).toEqual(["iptables-restore", "ip6tables-restore"]);
  for (const config of chained(json, 8081)) {
    await host.succeed("ADD", second, config);
    expect(started()).toEqual(["iptables-restore", "ip6tables-restore"]);
  }
});

test("DEL and GC remove what was made while ipMasq was on, and an ordinary DEL starts no iptables", async () => {
  using host = new IptablesHost("nft");
  const on = host.config({ cniVersion: "1.1.0", ipMasq: true, ipMasqBackend: "iptables" });
  const { ipMasq: _, ...off } = on;
  const [first, second, third] = [host.container(), host.container(), host.container()];
  for (const container of [first, second]) await host.succeed("ADD", container, on);
  const started = count(host);
  await host.succeed("ADD", third, off);
  await host.succeed("DEL", third, off);
  expect(started()).toEqual([]);
  await host.succeed("DEL", first, off);
  const chainOf = ({ name }: Namespace) => iptablesChain("net", name);
  expect(host.state()).not.toContain(chainOf(first));
  expect(host.state()).toContain(chainOf(second));
  await host.succeed("GC", undefined, { ...off, "cni.dev/valid-attachments": [] });
  expect(host.state()).not.toContain(chainOf(second));
});

test("a chain of somebody else's marks what has to be masqueraded", async () => {
  using host = new IptablesHost("nft");
  const { json: prevResult } = await (async () => {
    const blue = host.container();
    await blue.serve(80, "blue");
    return await host.succeed("ADD", blue, host.config({ hairpinMode: true }));
  })();
  const config = {
    cniVersion: "1.0.0",
    name: "net",
    type: "portmap",
    externalSetMarkChain: "THEIR-MARK",
    runtimeConfig: { portMappings: [web] },
    prevResult,
  };
  const green = host.container();
  const missing = await host.call("ADD", green, config);
  expect(missing.json).toMatchObject({ code: 999, msg: expect.stringContaining("THEIR-MARK") });
  expect(host.rules().filter((line) => line.includes("HASH"))).toEqual([]);
  for (const program of ["iptables", "ip6tables"]) {
    const run = (...words: string[]) => {
      const { success } = host.node.in(() => Bun.spawnSync([`${program}-nft`, "-t", "nat", ...words]));
      expect(success).toBe(true);
    };
    run("-N", "THEIR-MARK");
    run("-A", "THEIR-MARK", "-j", "MARK", "--or-mark", "0x4000");
    run("-A", "POSTROUTING", "-m", "mark", "--mark", "0x4000/0x4000", "-j", "MASQUERADE");
  }
  await host.succeed("ADD", green, config);
  await host.succeed("CHECK", green, config);
  expect(await host.node.ask("127.0.0.1", 8080)).toStartWith("blue 10.77.0.1 ");
  expect(host.rules().join("\n")).not.toContain("CNI-HOSTPORT-SETMARK");
  await host.succeed("DEL", green, config);
  expect(await host.node.ask("127.0.0.1", 8080)).toBe("refused");
});

test("where iptables cannot be started, ADD says so and leaves nothing, and DEL goes through", async () => {
  using host = new IptablesHost("nft");
  const config = host.config({ cniVersion: "1.1.0", ipMasq: true, ipMasqBackend: "iptables" });
  for (const program of ["iptables", "ip6tables"]) {
    for (const suffix of ["", "-restore", "-nft", "-nft-restore"]) {
      const file = path(host.bin, `${program}${suffix}`);
      rmSync(file, { force: true });
      writeFileSync(file, "#!/nowhere\n");
      chmodSync(file, 0o755);
    }
  }
  const blue = host.container();
  const { json } = await host.call("ADD", blue, config);
  expect(json).toMatchObject({
    code: 999,
    msg: expect.stringContaining("iptables-restore cannot be started"),
  });
  expect(host.leases()).toEqual({});
  await host.succeed("DEL", blue, config);
});

test("DEL removes what a newer reference made by nftables for the container, and nothing else", async () => {
  using host = new IptablesHost("nft");
  const [blue, green] = [host.container(), host.container()];
  const config = host.config({ ipMasq: true });
  const { json: prevResult } = await host.succeed("ADD", blue, config);
  // As its sources have it (pkg/ip/ipmasq_nftables_linux.go, plugins/meta/portmap/portmap_nftables.go).
  const hash = (text: string) => new Bun.CryptoHasher("sha512").update(text).digest("hex").slice(0, 16);
  const owner = ({ name }: Namespace) =>
    `${hash("net")}-${hash(`eth0:${name}`)}, net: net, if: eth0, id: ${name}`;
  const rules = (container: Namespace) => `
    add rule inet cni_plugins_masquerade masq_checks ip saddr 10.77.0.9 masquerade comment "${owner(container)}"
    add rule ip cni_hostport hostports tcp dport 8080 dnat to 10.77.0.9:80 comment "${container.name}"
    add rule ip6 cni_hostport masquerading ip6 saddr fd77::9 masquerade comment "${container.name}"
  `;
  host.node.nft(`
    add table inet cni_plugins_masquerade
    add chain inet cni_plugins_masquerade masq_checks
    add chain inet cni_plugins_masquerade postrouting { type nat hook postrouting priority srcnat; }
    add rule inet cni_plugins_masquerade postrouting goto masq_checks
    add table ip cni_hostport
    add table ip6 cni_hostport
    add chain ip cni_hostport hostports
    add chain ip6 cni_hostport hostports
    add chain ip6 cni_hostport masquerading { type nat hook postrouting priority srcnat; }
    ${rules(green)}
  `);
  const tables = () => host.node.nft("list ruleset").replace(/table inet weft-cni \{.*?\n\}\n/s, "");
  const before = tables();
  host.node.nft(rules(blue));
  expect(tables()).not.toBe(before);
  await host.succeed("DEL", blue, { cniVersion: "1.0.0", name: "net", type: "portmap", prevResult });
  await host.succeed("DEL", blue, config);
  expect(tables()).toBe(before);
});

test("rules that others made stay as they are, to the byte", async () => {
  for (const variant of variants) {
    using host = new IptablesHost(variant);
    const blue = host.container();
    const { json: prevResult } = await host.succeed("ADD", blue, host.config());
    const common = { cniVersion: "1.0.0", name: "net", backend: "iptables", prevResult };
    const chained = [
      { ...common, type: "portmap", runtimeConfig: { portMappings: [web] } },
      { ...common, type: "firewall" },
    ];
    const all = async (command: string) => {
      for (const config of chained) await host.succeed(command, blue, config);
    };
    // The chains that all share are there before, so that what is compared is everything.
    await all("ADD");
    await all("DEL");
    for (const program of ["iptables", "ip6tables"]) {
      const foreign = [
        [
          "nat",
          "-A",
          "CNI-HOSTPORT-DNAT",
          "-p",
          "tcp",
          "--dport",
          "8080",
          "-m",
          "comment",
          "--comment",
          `dnat name: "net" id: "${blue.name}"`,
          "-j",
          "ACCEPT",
        ],
        ["nat", "-N", "CNI-DN-0123456789abcdef"],
        [
          "nat",
          "-A",
          "CNI-HOSTPORT-DNAT",
          "-m",
          "comment",
          "--comment",
          'a "quoted" \\ one',
          "-j",
          "CNI-DN-0123456789abcdef",
        ],
        [
          "nat",
          "-A",
          "POSTROUTING",
          "-s",
          program === "iptables" ? "10.77.0.2" : "fd77::2",
          "-j",
          "MASQUERADE",
        ],
        ["filter", "-A", "FORWARD", "-s", program === "iptables" ? "10.77.0.2" : "fd77::2", "-j", "ACCEPT"],
        [
          "filter",
          "-A",
          "CNI-FORWARD",
          "-s",
          program === "iptables" ? "10.77.0.3" : "fd77::3",
          "-j",
          "ACCEPT",
        ],
        ["filter", "-A", "CNI-FORWARD", "-s", program === "iptables" ? "10.77.0.2" : "fd77::2", "-j", "DROP"],
        ["filter", "-A", "CNI-ADMIN", "-p", "tcp", "--dport", "25", "-j", "REJECT"],
      ] as const;
      for (const [table, ...words] of foreign) {
        const { success } = host.node.in(() =>
          Bun.spawnSync([`${program}-${variant}`, "-t", table, ...words]),
        );
        expect([words, success]).toEqual([words, true]);
      }
    }
    const before = host.rules();
    await all("ADD");
    expect(host.rules()).not.toEqual(before);
    await all("DEL");
    expect(host.rules()).toEqual(before);
  }
}, 20_000);

test("DEL and GC go through where the old iptables is in use, but not by programs of this host", async () => {
  using host = new IptablesHost("legacy");
  const run = (words: string[]) => host.node.in(() => Bun.spawnSync(words)).exitCode;
  for (const program of ["iptables-legacy", "ip6tables-legacy"]) {
    for (const table of ["nat", "filter"]) expect(run([program, "-t", table, "-S"])).toBe(0);
  }
  const empty = path(host.dir, "empty");
  mkdirSync(empty);
  const blue = host.container();
  const config = host.config({ cniVersion: "1.1.0", ipMasq: true });
  const { json: prevResult } = await host.succeed("ADD", blue, config);
  const common = { cniVersion: "1.1.0", name: "net", prevResult };
  const portmap = { ...common, type: "portmap", runtimeConfig: { portMappings: [web] } };
  const firewall = { ...common, type: "firewall" };
  for (const each of [portmap, { ...firewall, backend: "nftables" }]) await host.succeed("ADD", blue, each);
  const valid = { "cni.dev/valid-attachments": [] };
  const script = `mount --bind ${empty} /usr/sbin && exec "$0"`;
  const without = async (command: string, each: JsonObject): Promise<string> => {
    const stdin = new TextEncoder().encode(JSON.stringify(each));
    const child = host.node.in(() =>
      Bun.spawn(["unshare", "-m", "sh", "-c", script, path(ownPlugins, String(each.type))], {
        stdin,
        stdout: "pipe",
        env: {
          PATH: "/usr/bin:/bin",
          CNI_COMMAND: command,
          CNI_CONTAINERID: blue.name,
          CNI_NETNS: `/run/netns/${blue.name}`,
          CNI_IFNAME: "eth0",
          CNI_PATH: ownPlugins,
        },
      }),
    );
    const said = await new Response(child.stdout).text();
    return `${await child.exited} ${said}`;
  };
  for (const each of [firewall, portmap, config]) {
    expect(await without("DEL", { ...each, prevResult })).toBe("0 ");
    expect(await without("GC", { ...each, ...valid })).toBe("0 ");
  }
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("DELs start no program where the kernel has no such chain", async () => {
  using host = new IptablesHost("nft");
  const trap = path(host.dir, "trap");
  for (const program of ["iptables", "ip6tables"]) {
    for (const suffix of ["", "-save", "-restore", "-nft", "-legacy", "-nft-restore", "-legacy-restore"]) {
      const file = path(host.bin, `${program}${suffix}`);
      rmSync(file, { force: true });
      writeFileSync(file, `#!/bin/sh\necho $0 >>${trap}\nexit 1\n`);
      chmodSync(file, 0o755);
    }
  }
  const blue = host.container();
  const config = host.config({ ipMasq: true });
  const { json: prevResult } = await host.succeed("ADD", blue, config);
  const common = { cniVersion: "1.0.0", name: "net", prevResult };
  const portmap = { ...common, type: "portmap", runtimeConfig: { portMappings: [web] } };
  const firewall = { ...common, type: "firewall" };
  for (const each of [portmap, firewall]) await host.succeed("ADD", blue, each);
  for (const each of [firewall, portmap, config]) await host.succeed("DEL", blue, each);
  expect(await Bun.file(trap).exists()).toBe(false);
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

const broken: [string, string, JsonObject, string][] = [
  [
    "is locked",
    "echo 'Another app is currently holding the xtables lock.' >&2; exit 4",
    {},
    "11 iptables-restore failed with status 4: Another app",
  ],
  [
    "fails",
    "echo 'iptables-restore v9: no such luck' >&2; exit 3",
    {},
    "999 iptables-restore failed with status 3: iptables-restore v9: no such luck",
  ],
  ["dies", "kill -9 $$", {}, "11 iptables-restore was ended by SIGKILL"],
];
test.each(broken)(
  "one clear error where iptables %s, and nothing is left",
  async (_, script, more, message) => {
    using host = new IptablesHost("nft");
    for (const program of ["iptables-restore", "ip6tables-restore"]) {
      rmSync(path(host.bin, program));
      writeFileSync(path(host.bin, program), `#!/bin/sh\n${script}\n`);
      chmodSync(path(host.bin, program), 0o755);
    }
    const blue = host.container();
    const before = host.state();
    const config = host.config({ ipMasq: true, ipMasqBackend: "iptables", ...more });
    const { json } = await host.call("ADD", blue, config);
    expect(`${json.code} ${json.msg}`).toStartWith(message);
    const bridge = /^link br0|route.*br0|address br0/;
    expect(
      host
        .state()
        .split("\n")
        .filter((line) => !bridge.test(line)),
    ).toEqual(before.split("\n").filter((line) => !bridge.test(line)));
  },
);
