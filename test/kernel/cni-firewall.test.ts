/**
 * The firewall plugin: what containers on two bridges, an outside and a host that drops may send each other.
 *
 *     outside 192.0.2.2 -- eth0 host -- br0 10.77.0.0/24 fd77::/64 -- a, b
 *             2001:db8::2            \- br1 10.78.0.0/24 fd78::/64 -- c, d
 */
import { expect, test } from "bun:test";
import type { JsonObject } from "../../src/cni/fields.ts";
import { type Answer, addressOf, CniHost } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

type Backend = "nftables" | "iptables";
const backends: Backend[] = ["nftables", "iptables"];
const families = [4, 6] as const;

/** A container behind bridge and firewall. */
class Guarded {
  readonly host: CniHost;
  readonly container: Namespace;
  readonly bridge: Answer;
  readonly config: JsonObject;
  readonly bridgeConfig: JsonObject;

  private constructor(
    host: CniHost,
    container: Namespace,
    bridge: Answer,
    config: JsonObject,
    bridgeConfig: JsonObject,
  ) {
    this.host = host;
    this.container = container;
    this.bridge = bridge;
    this.config = config;
    this.bridgeConfig = bridgeConfig;
  }

  static async make(host: CniHost, name: string, more: JsonObject = {}, bridge = 0): Promise<Guarded> {
    const container = host.container();
    await container.serve(80, name);
    const subnets = [[{ subnet: `10.7${7 + bridge}.0.0/24` }], [{ subnet: `fd7${7 + bridge}::/64` }]];
    const network = { name: `net${bridge}`, bridge: `br${bridge}`, cniVersion: "1.1.0" };
    const bridgeConfig = host.config(network, { ranges: subnets });
    const added = await host.succeed("ADD", container, bridgeConfig);
    const config = { cniVersion: "1.1.0", name: network.name, type: "firewall", ...more };
    const made = new Guarded(host, container, added, config, bridgeConfig);
    const { json } = await made.call("ADD");
    expect(json).toEqual(added.json);
    return made;
  }

  call(command: string, more: JsonObject = {}): Promise<Answer> {
    const config = { ...this.config, prevResult: this.bridge.json, ...more };
    return this.host.succeed(command, this.container, config);
  }

  /** What asking another container answers, by both families. */
  async asks(other: Guarded, patience = 300): Promise<string[]> {
    return await Promise.all(
      families.map(async (family) => {
        const answer = await this.container.ask(addressOf(other.bridge, family), 80, patience);
        return answer.replace(/ .*/, "");
      }),
    );
  }

  async remove(): Promise<void> {
    await this.call("DEL");
    await this.host.succeed("DEL", this.container, this.bridgeConfig);
  }
}

/** The outside knows the way to containers. */
function routed(host: CniHost): void {
  host.outside.route("10.0.0.0/8", "192.0.2.1");
  host.outside.route("fd00::/8", "2001:db8::1");
}

/** As a host with Docker on it: iptables drops what nobody accepts. */
function dropping(host: CniHost): void {
  for (const program of ["iptables", "ip6tables"]) {
    const { success } = host.node.in(() => Bun.spawnSync([`${program}-nft`, "-P", "FORWARD", "DROP"]));
    expect(success).toBe(true);
  }
}

const twice = (word: string) => [word, word];

test.each([undefined, "iptables"])(
  "on a host whose iptables drops what is forwarded, containers reach the outside (backend: %p)",
  async (backend) => {
    using host = new CniHost();
    routed(host);
    dropping(host);
    await host.outside.serve(7, "outside");
    const a = await Guarded.make(host, "a", backend === undefined ? {} : { backend });
    const asks = (patience = 2000) =>
      Promise.all(["192.0.2.2", "2001:db8::2"].map((each) => a.container.ask(each, 7, patience)));
    expect((await asks()).map((each) => each.replace(/ .*/, ""))).toEqual(twice("outside"));
    // As with the reference, nobody outside can begin.
    expect(await host.outside.ask(addressOf(a.bridge, 4), 80, 300)).toBe("silence");
    await a.call("CHECK");
    await a.call("DEL");
    expect(await asks(300)).toEqual(twice("silence"));
    const { json } = await host.call("CHECK", a.container, { ...a.config, prevResult: a.bridge.json });
    expect(json.msg).toContain("a rule of the firewall is missing in ");
  },
);

test("on other hosts the rules are in nftables, one element for each address", async () => {
  using host = new CniHost();
  const before = host.node.kernel.nft.tables();
  const a = await Guarded.make(host, "a");
  const { chains, sets, rules } = host.node.kernel.nft.dump({ family: "inet", name: "weft-cni" });
  expect(
    sets.flatMap(({ name, elements = [] }) =>
      elements.map(({ key, comment }) => `${name} ${key} ${comment}`),
    ),
  ).toEqual([
    `firewall4 10.77.0.2 net0/${a.container.name}/eth0`,
    `firewall6 fd77::2 net0/${a.container.name}/eth0`,
  ]);
  expect(chains.map(({ name }) => name).sort()).toEqual([
    "CNI-ADMIN",
    "firewall",
    "firewall-admin-CNI-ADMIN",
    "firewall-open",
  ]);
  const structure = rules.length;
  const b = await Guarded.make(host, "b");
  expect(host.node.kernel.nft.dump({ family: "inet", name: "weft-cni" }).rules).toHaveLength(structure);
  await b.remove();
  await a.call("DEL");
  await a.call("DEL");
  expect(host.node.kernel.nft.tables()).toEqual(before);
});

for (const backend of backends) {
  test(`open by ${backend}: everybody reaches everybody`, async () => {
    using host = new CniHost();
    routed(host);
    const a = await Guarded.make(host, "a", { backend });
    const c = await Guarded.make(host, "c", { backend, ingressPolicy: "open" }, 1);
    expect([...(await a.asks(c)), ...(await c.asks(a))]).toEqual(["c", "c", "a", "a"]);
    expect(await host.outside.ask(addressOf(a.bridge, 4), 80)).toStartWith("a ");
    expect(await host.outside.ask(addressOf(a.bridge, 6), 80)).toStartWith("a ");
  });

  test(`same-bridge by ${backend}: neighbours, the host and the outside, but no other such bridge`, async () => {
    using host = new CniHost();
    routed(host);
    const policy = { backend, ingressPolicy: "same-bridge" };
    const [a, b] = [await Guarded.make(host, "a", policy), await Guarded.make(host, "b", policy)];
    const c = await Guarded.make(host, "c", policy, 1);
    expect([...(await a.asks(b)), ...(await b.asks(a))]).toEqual(["b", "b", "a", "a"]);
    expect([...(await a.asks(c)), ...(await c.asks(a)), ...(await c.asks(b))]).toEqual(
      Array(6).fill("silence"),
    );
    for (const family of families) {
      expect(await host.outside.ask(addressOf(a.bridge, family), 80)).toStartWith("a ");
      expect(await host.node.ask(addressOf(c.bridge, family), 80)).toStartWith("c ");
    }
    // Bridges without the policy are no bridges that it knows.
    const d = await Guarded.make(host, "d", { backend }, 2);
    expect(await d.asks(a)).toEqual(twice("a"));
    expect(await a.asks(d)).toEqual(twice("d"));
    for (const each of [a, b, c]) await each.call("CHECK");
  });

  test(`isolated by ${backend}: neither neighbours nor other such bridges, but the outside and the host`, async () => {
    using host = new CniHost();
    routed(host);
    await host.outside.serve(7, "outside");
    const policy = { backend, ingressPolicy: "isolated" };
    const [a, b] = [await Guarded.make(host, "a", policy), await Guarded.make(host, "b", policy)];
    const c = await Guarded.make(host, "c", { backend, ingressPolicy: "same-bridge" }, 1);
    const asked = [...(await a.asks(b)), ...(await b.asks(a)), ...(await a.asks(c)), ...(await c.asks(a))];
    expect(asked).toEqual(Array(8).fill("silence"));
    for (const family of families) {
      expect(await host.outside.ask(addressOf(a.bridge, family), 80)).toStartWith("a ");
      expect(await host.node.ask(addressOf(b.bridge, family), 80)).toStartWith("b ");
    }
    expect(await a.container.ask("192.0.2.2", 7)).toStartWith("outside ");
    await a.call("CHECK");
  });
}

test("isolated holds where bridges do not call iptables, and lets go with the last container", async () => {
  using host = new CniHost();
  for (const which of ["ip", "ip6"])
    host.node.kernel.sysctl.write(`net/bridge/bridge-nf-call-${which}tables`, 0);
  const policy = { backend: "nftables", ingressPolicy: "isolated" };
  const [a, b] = [await Guarded.make(host, "a", policy), await Guarded.make(host, "b", policy)];
  const open = await Guarded.make(host, "open");
  expect([...(await a.asks(b)), ...(await open.asks(b))]).toEqual(Array(4).fill("silence"));
  // A policy is about what comes in, of the container that has it.
  for (const each of [a, b]) await each.call("CHECK");
  host.node.nft("flush set bridge weft-cni firewall-isolated");
  const { json } = await host.call("CHECK", a.container, { ...a.config, prevResult: a.bridge.json });
  expect(json.msg).toContain("is missing in set of isolated ports of table bridge weft-cni");
  await a.call("ADD");
  await a.remove();
  await b.remove();
  const left = host.node.kernel.nft.tables().map(({ family, name }) => `${family} ${name}`);
  expect(left).toEqual(["inet weft-cni"]);
  await open.remove();
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("isolated lets answers and ARP through where bridges do not call iptables", async () => {
  using host = new CniHost();
  for (const which of ["ip", "ip6"])
    host.node.kernel.sysctl.write(`net/bridge/bridge-nf-call-${which}tables`, 0);
  const isolated = await Guarded.make(host, "isolated", { backend: "nftables", ingressPolicy: "isolated" });
  const open = await Guarded.make(host, "open", { backend: "nftables" });
  expect(await isolated.asks(open, 2000)).toEqual(twice("open"));
  expect(await open.asks(isolated)).toEqual(twice("silence"));
});

test("isolated containers ask their neighbours where bridges call iptables", async () => {
  using host = new CniHost();
  for (const which of ["ip", "ip6"])
    host.node.kernel.sysctl.write(`net/bridge/bridge-nf-call-${which}tables`, 1);
  const isolated = await Guarded.make(host, "isolated", { backend: "nftables", ingressPolicy: "isolated" });
  const open = await Guarded.make(host, "open", { backend: "nftables" });
  expect(await isolated.asks(open, 2000)).toEqual(twice("open"));
  expect(await open.asks(isolated)).toEqual(twice("silence"));
});

test("of DELs at the same time the last takes the structure along", async () => {
  using host = new CniHost();
  const made: Guarded[] = [];
  for (const name of ["a", "b", "c", "d"]) made.push(await Guarded.make(host, name));
  await Promise.all(made.map((each) => each.call("DEL")));
  for (const each of made) await host.succeed("DEL", each.container, each.bridgeConfig);
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("what is under way goes on when a policy comes", async () => {
  using host = new CniHost();
  const a = await Guarded.make(host, "a");
  const c = await Guarded.make(host, "c", {}, 1);
  const client = await a.container.udp(addressOf(c.bridge, 4), 80);
  expect(await client.ask()).toStartWith("c ");
  await c.call("ADD", { ingressPolicy: "same-bridge" });
  await a.call("ADD", { ingressPolicy: "same-bridge" });
  expect(await a.asks(c)).toEqual(twice("silence"));
  expect(await client.ask()).toStartWith("c ");
  client.close();
});

test("mapped ports reach a container with a policy, from the outside and from its own bridge", async () => {
  using host = new CniHost();
  const policy = { ingressPolicy: "same-bridge" };
  const a = await Guarded.make(host, "a", policy);
  const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
  const portmap = {
    ...a.config,
    type: "portmap",
    runtimeConfig: { portMappings },
    prevResult: a.bridge.json,
  };
  await host.succeed("ADD", a.container, portmap);
  const b = await Guarded.make(host, "b", policy);
  for (const asking of [host.outside, host.node, b.container]) {
    expect(await asking.ask("192.0.2.1", 8080)).toStartWith("a ");
  }
});

test("each container has its own policy; a bridge's goes when the last with it does", async () => {
  using host = new CniHost();
  const a = await Guarded.make(host, "a", { ingressPolicy: "same-bridge" });
  const b = await Guarded.make(host, "b");
  const c = await Guarded.make(host, "c", { ingressPolicy: "same-bridge" }, 1);
  const chains = () =>
    host.node.kernel.nft.dump({ family: "inet", name: "weft-cni" }).chains.map(({ name }) => name);
  const bridges = () =>
    host.node.kernel.nft
      .dump({ family: "inet", name: "weft-cni" })
      .sets.find(({ name }) => name === "firewall-bridges")
      ?.elements?.map(({ key }) => key);
  expect(await c.asks(a)).toEqual(twice("silence"));
  expect(await c.asks(b)).toEqual(twice("b"));
  expect(bridges()).toEqual(["br0", "br1"]);
  await a.remove();
  expect(chains()).not.toContain("firewall-same-bridge-br0");
  expect(bridges()).toEqual(["br1"]);
  await c.remove();
  expect(bridges() ?? []).toEqual([]);
  await b.remove();
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("an administrator's chain is asked first, and its rules outlive the containers", async () => {
  using host = new CniHost();
  routed(host);
  await host.outside.serve(7, "outside");
  const a = await Guarded.make(host, "a");
  const other = await Guarded.make(host, "other", { iptablesAdminChainName: "MINE" });
  host.node.nft("add rule inet weft-cni CNI-ADMIN ip saddr 10.77.0.0/24 tcp dport 7 drop");
  host.node.nft(`add rule inet weft-cni MINE ip6 saddr ${addressOf(other.bridge, 6)} tcp dport 7 drop`);
  expect(await a.container.ask("192.0.2.2", 7, 300)).toBe("silence");
  expect(await other.container.ask("2001:db8::2", 7, 300)).toBe("silence");
  expect(await a.container.ask("2001:db8::2", 7)).toStartWith("outside ");
  await other.remove();
  await a.remove();
  const rules = () => host.node.kernel.nft.dump({ family: "inet", name: "weft-cni" }).rules;
  expect(rules().filter(({ chain }) => chain === "CNI-ADMIN" || chain === "MINE")).toHaveLength(2);
  const b = await Guarded.make(host, "b");
  expect(await b.container.ask("192.0.2.2", 7, 300)).toBe("silence");
});

test("an administrator's chain that was there before the first container with it is asked", async () => {
  using host = new CniHost();
  routed(host);
  await host.outside.serve(7, "outside");
  await Guarded.make(host, "a");
  host.node.nft("add chain inet weft-cni MINE");
  host.node.nft("add rule inet weft-cni MINE tcp dport 7 drop");
  const b = await Guarded.make(host, "b", { iptablesAdminChainName: "MINE" });
  expect(await b.container.ask("192.0.2.2", 7, 300)).toBe("silence");
  await b.call("CHECK");
});

test("an administrator's rules outlive the containers also in a chain that is named as Weft's begin", async () => {
  using host = new CniHost();
  const a = await Guarded.make(host, "a", { iptablesAdminChainName: "firewall-mine" });
  host.node.nft("add rule inet weft-cni firewall-mine tcp dport 7 drop");
  await a.call("DEL");
  const { rules } = host.node.kernel.nft.dump({ family: "inet", name: "weft-cni" });
  expect(rules.filter(({ chain }) => chain === "firewall-mine")).toHaveLength(1);
});

test("CHECK misses chains that somebody emptied or took away", async () => {
  using host = new CniHost();
  const a = await Guarded.make(host, "a", { ingressPolicy: "same-bridge" });
  const config = { ...a.config, prevResult: a.bridge.json };
  for (const chain of ["firewall", "firewall-admin-CNI-ADMIN"]) {
    host.node.nft(`flush chain inet weft-cni ${chain}`);
    const { json } = await host.call("CHECK", a.container, config);
    expect(json.msg).toContain(`a rule of the firewall is missing in chain ${chain} of table weft-cni`);
    await a.call("DEL");
    await a.call("ADD");
    await a.call("CHECK");
  }
});

test("GC removes what is not valid, of its own network; DEL needs no prevResult", async () => {
  using host = new CniHost();
  const a = await Guarded.make(host, "a", { ingressPolicy: "isolated" });
  const b = await Guarded.make(host, "b");
  const c = await Guarded.make(host, "c", {}, 1);
  const valid = (...list: Guarded[]) => ({
    "cni.dev/valid-attachments": list.map(({ container }) => ({
      containerID: container.name,
      ifname: "eth0",
    })),
  });
  await b.call("GC", valid(b));
  const owners = () =>
    host.node.kernel.nft
      .dump({ family: "inet", name: "weft-cni" })
      .sets.flatMap(({ elements = [] }) => elements.map(({ comment = "" }) => comment.split("/")[1]));
  expect(new Set(owners())).toEqual(new Set([b.container.name, c.container.name]));
  expect(await b.asks(a)).toEqual(twice("a"));
  await b.call("DEL", { prevResult: undefined });
  expect(new Set(owners())).toEqual(new Set([c.container.name]));
  await c.call("GC", valid());
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

const refusals: [string, JsonObject, number, RegExp][] = [
  ["no prevResult", { prevResult: undefined }, 7, /missing prevResult from earlier plugin/],
  ["firewalld", { backend: "firewalld" }, 2, /backend: "firewalld" is not supported/],
  [
    "an unknown policy",
    { ingressPolicy: "same-brige" },
    7,
    /"same-brige" is an unknown ingress policy.*did you mean "same-bridge"/,
  ],
  [
    "a name that no chain has",
    { iptablesAdminChainName: "a b" },
    7,
    /iptablesAdminChainName: "a b" cannot be the name/,
  ],
  [
    "a policy without interfaces",
    { ingressPolicy: "isolated", prevResult: { cniVersion: "1.1.0", ips: [{ address: "10.77.0.2/24" }] } },
    7,
    /interface needs to be set for ingress policy "isolated", make sure to chain "firewall" plugin with "bridge"/,
  ],
  [
    "a policy behind what has no bridge",
    {
      ingressPolicy: "same-bridge",
      prevResult: {
        cniVersion: "1.1.0",
        interfaces: [{ name: "eth0", sandbox: "/run/netns/x" }],
        ips: [{ address: "10.77.0.2/24", interface: 0 }],
      },
    },
    7,
    /the host's interface needs to be first for ingress policy "same-bridge"/,
  ],
];
test.each(refusals)(
  "%s is refused, and nothing is made; DEL goes through",
  async (_, more, code, message) => {
    using host = new CniHost();
    const container = host.container();
    const prevResult = { cniVersion: "1.1.0", ips: [{ address: "10.77.0.2/24" }] };
    const config = { cniVersion: "1.1.0", name: "net", type: "firewall", prevResult, ...more };
    const { json } = await host.call("ADD", container, config);
    expect(json).toMatchObject({ code, msg: expect.stringMatching(message) });
    expect(host.node.kernel.nft.tables()).toEqual([]);
    await host.succeed("DEL", container, config);
  },
);

test("STATUS tells where iptables is wanted and not installed; firewalld is warned of", async () => {
  using host = new CniHost();
  const config = { cniVersion: "1.1.0", name: "net", type: "firewall" };
  await host.succeed("STATUS", undefined, config);
  await host.succeed("STATUS", undefined, { ...config, backend: "iptables" });
  host.node.nft("add table inet firewalld; add chain inet firewalld filter_FORWARD");
  const prevResult = {
    cniVersion: "1.1.0",
    interfaces: [{ name: "br9" }],
    ips: [{ address: "10.77.0.2/24" }],
  };
  const { stderr } = await host.succeed("ADD", host.container(), { ...config, prevResult });
  expect(stderr).toContain("firewall-cmd --permanent --zone=trusted --add-interface=br9");
});
