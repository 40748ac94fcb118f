/** The portmap plugin behind bridge, as executables in namespaces; see cni-fixture.ts for the picture. */
import { expect, test } from "bun:test";
import { readdirSync, readlinkSync } from "node:fs";
import type { JsonObject } from "../../src/cni/fields.ts";
import { Prefix } from "../../src/lib/prefix.ts";
import { LeanNft } from "../../src/linux/lean/nft.ts";
import { untilUndisturbed } from "../../src/plugins/netfilter/optimistic.ts";
import { type PortmapConfig, protocols } from "../../src/plugins/portmap/config.ts";
import { takeOver } from "../../src/plugins/portmap/waiting.ts";
import { type Answer, addressOf, CniHost } from "./cni-fixture.ts";
import { join, Namespace } from "./services-fixture.ts";

interface Mapping {
  hostPort: number;
  containerPort: number;
  protocol?: string;
  hostIP?: string;
}

/** A container on the host whose ports are mapped. */
class Mapped {
  readonly host: CniHost;
  readonly container: Namespace;
  readonly bridge: Answer;
  readonly config: JsonObject;

  private constructor(host: CniHost, container: Namespace, bridge: Answer, config: JsonObject) {
    this.host = host;
    this.container = container;
    this.bridge = bridge;
    this.config = config;
  }

  static async make(
    host: CniHost,
    name: string,
    mappings: Mapping[],
    more: JsonObject = {},
    bridgeMore: JsonObject = {},
  ): Promise<Mapped> {
    const { cniVersion = "1.0.0" } = more;
    const container = host.container();
    await container.serve(80, name);
    const bridge = await host.succeed("ADD", container, host.config({ cniVersion, ...bridgeMore }));
    const config = {
      cniVersion,
      name: "net",
      type: "portmap",
      runtimeConfig: { portMappings: mappings },
      ...more,
    };
    const made = new Mapped(host, container, bridge, config);
    const { json } = await made.call("ADD");
    expect(json).toEqual(bridge.json);
    return made;
  }

  call(command: string, more: JsonObject = {}): Promise<Answer> {
    const config = { ...this.config, prevResult: this.bridge.json, ...more };
    return this.host.succeed(command, this.container, config);
  }

  address(family: 4 | 6): string {
    return addressOf(this.bridge, family);
  }
}

const web: Mapping = { hostPort: 8080, containerPort: 80, protocol: "tcp" };

test("a mapped port leads to the container from outside, with the caller's address", async () => {
  using host = new CniHost();
  await Mapped.make(host, "blue", [web]);
  expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("blue 192.0.2.2 ");
  expect(await host.outside.ask("2001:db8::1", 8080)).toStartWith("blue 2001:db8::2 ");
  // Any address of the host is good, also one that came later.
  host.node.kernel.rtnl.addresses.add({ link: "eth0", address: "192.0.2.9/24" });
  expect(await host.outside.ask("192.0.2.9", 8080)).toStartWith("blue 192.0.2.2 ");
  expect(await host.outside.ask("192.0.2.1", 8081)).toBe("refused");
});

test("a mapped port leads to the container from the host itself, localhost too", async () => {
  using host = new CniHost();
  await Mapped.make(host, "blue", [web]);
  expect(await host.node.ask("127.0.0.1", 8080)).toStartWith("blue 10.77.0.1 ");
  expect(await host.node.ask("192.0.2.1", 8080)).toStartWith("blue ");
  expect(await host.node.ask("2001:db8::1", 8080)).toStartWith("blue ");
});

test("a mapped port leads back to the container itself and to its neighbours, both families", async () => {
  using host = new CniHost();
  // With br_netfilter a frame goes back through the port by which it came only in hairpin mode.
  const blue = await Mapped.make(host, "blue", [web], {}, { hairpinMode: true });
  const green = host.container();
  await host.succeed("ADD", green, host.config());
  // Without masquerading, the answer would go straight to the neighbour, who waits for one from the host.
  for (const [asking, name] of [
    [blue.container, "itself"],
    [green, "a neighbour"],
  ] as const) {
    expect([name, await asking.ask("192.0.2.1", 8080)]).toEqual([
      name,
      expect.stringContaining("blue 10.77.0.1 "),
    ]);
    expect([name, await asking.ask("2001:db8::1", 8080)]).toEqual([
      name,
      expect.stringContaining("blue fd77::1 "),
    ]);
  }
});

test("without snat nobody is masqueraded", async () => {
  using host = new CniHost();
  const blue = await Mapped.make(host, "blue", [web], { snat: false }, { hairpinMode: true });
  expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("blue 192.0.2.2 ");
  expect(await blue.container.ask("192.0.2.1", 8080, 300)).toBe("silence");
  await blue.call("DEL");
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("masqAll masquerades everybody", async () => {
  using host = new CniHost();
  const blue = await Mapped.make(host, "blue", [web], { masqAll: true, markMasqBit: 20 });
  expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("blue 10.77.0.1 ");
  expect(await host.node.ask("127.0.0.1", 8080)).toStartWith("blue 10.77.0.1 ");
  await blue.call("DEL");
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("a mapping at one address of the host is at no other, and goes before one at all", async () => {
  using host = new CniHost();
  host.node.kernel.rtnl.addresses.add({ link: "eth0", address: "192.0.2.9/24" });
  await Mapped.make(host, "all", [web, { ...web, hostPort: 8082, hostIP: "0.0.0.0" }]);
  await Mapped.make(host, "one", [
    { ...web, hostIP: "192.0.2.9" },
    { ...web, hostPort: 8081, hostIP: "192.0.2.9" },
  ]);
  expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("all ");
  expect(await host.outside.ask("192.0.2.9", 8080)).toStartWith("one ");
  expect(await host.outside.ask("192.0.2.9", 8081)).toStartWith("one ");
  expect(await host.outside.ask("192.0.2.1", 8081)).toBe("refused");
  expect(await host.outside.ask("2001:db8::1", 8081)).toBe("refused");
  // The unspecified address means all of its family.
  expect(await host.outside.ask("192.0.2.1", 8082)).toStartWith("all ");
  expect(await host.outside.ask("2001:db8::1", 8082)).toBe("refused");
});

const unanswered = ["refused", "silence"];

test("UDP is mapped, and flows that were there before are looked at anew", async () => {
  using host = new CniHost();
  const mapping = { hostPort: 5353, containerPort: 80, protocol: "UDP" };
  const before = await host.outside.udp("192.0.2.1", 5353);
  // The kernel limits its refusals: none may come, but no answer either.
  expect(unanswered).toContain(await before.ask(300));
  const blue = await Mapped.make(host, "blue", [mapping]);
  expect(await before.ask()).toStartWith("blue 192.0.2.2 ");
  // The next container has the port; the flow, which is never idle, has to follow.
  const green = await Mapped.make(host, "green", [mapping]);
  expect(await before.ask()).toStartWith("green 192.0.2.2 ");
  await blue.call("DEL");
  expect(await before.ask()).toStartWith("green 192.0.2.2 ");
  await green.call("DEL");
  expect(unanswered).toContain(await before.ask(300));
  before.close();
});

test("a host port does not catch traffic that is not for this host", async () => {
  using host = new CniHost();
  const far = new Namespace("far");
  try {
    join(host.node, "far0", far, "eth0");
    host.node.address("far0", "198.51.100.1/24", "2001:db8:1::1/64");
    far.address("eth0", "198.51.100.2/24", "2001:db8:1::2/64");
    far.route("0.0.0.0/0", "198.51.100.1");
    far.route("::/0", "2001:db8:1::1");
    host.outside.route("198.51.100.0/24", "192.0.2.1");
    host.outside.route("2001:db8:1::/64", "2001:db8::1");
    await far.serve(8080, "far");
    await Mapped.make(host, "blue", [web]);
    const green = host.container();
    await host.succeed("ADD", green, host.config({ ipMasq: true }));
    for (const asking of [host.outside, green, host.node]) {
      expect(await asking.ask("198.51.100.2", 8080)).toStartWith("far ");
      expect(await asking.ask("2001:db8:1::2", 8080)).toStartWith("far ");
    }
  } finally {
    far.close();
  }
});

test("what listens at 127.0.0.1 alone stays out of reach for neighbours", async () => {
  using host = new CniHost();
  await host.node.serve(9090, "private");
  const blue = await Mapped.make(host, "blue", [web]);
  expect(host.node.kernel.sysctl.read("net/ipv4/conf/br0/route_localnet")).toBe("1");
  blue.container.kernel.rtnl.routes.add({ dst: "127.0.0.0/8", gateway: "10.77.0.1", table: 200 });
  blue.container.kernel.rtnl.rules.add({ dst: "127.0.0.1/32", table: 200, priority: 1 });
  blue.container.kernel.sysctl.write("net/ipv4/conf/eth0/route_localnet", 1);
  blue.container.kernel.rtnl.routes.delete({ dst: "127.0.0.1/32", table: 255 });
  blue.container.kernel.rtnl.routes.delete({ dst: "127.0.0.0/8", table: 255 });
  expect(await blue.container.ask("127.0.0.1", 9090, 500)).not.toContain("private");
});

test("what was turned on for localhost is turned off with the last mapping that needs it, and nothing else is", async () => {
  using host = new CniHost();
  const localnet = "net/ipv4/conf/br0/route_localnet";
  const { sysctl, nft } = host.node.kernel;
  // Its masquerading keeps the table.
  const masqueraded = host.container();
  await host.succeed("ADD", masqueraded, host.config({ ipMasq: true }));
  const before = host.state();
  const blue = await Mapped.make(host, "blue", [web]);
  const green = await Mapped.make(host, "green", [{ ...web, hostPort: 8081 }]);
  const plain = await Mapped.make(host, "plain", [{ ...web, hostPort: 8082 }], { snat: false });
  await blue.call("DEL");
  expect(sysctl.read(localnet)).toBe("1");
  expect(await host.node.ask("127.0.0.1", 8081)).toStartWith("green ");
  await green.call("DEL");
  expect(sysctl.read(localnet)).toBe("0");
  await plain.call("DEL");
  for (const { container } of [blue, green, plain]) await host.succeed("DEL", container, host.config());
  expect(host.state().replace(/^table .*$/m, "")).toBe(before.replace(/^table .*$/m, ""));
  await host.succeed("DEL", masqueraded, host.config({ ipMasq: true }));
  expect(nft.tables()).toEqual([]);
  // Somebody else's stays.
  sysctl.write(localnet, "1");
  const red = await Mapped.make(host, "red", [web]);
  await red.call("DEL");
  expect(nft.tables()).toEqual([]);
  expect(sysctl.read(localnet)).toBe("1");
});

const conditions: [string, JsonObject][] = [
  [
    "iptables' words",
    { conditionsV4: ["!", "-s", "192.0.2.0/24"], conditionsV6: ["!", "-s", "2001:db8::/64"] },
  ],
  [
    "nft's words",
    { conditionsV4: ["ip", "saddr", "!=", "192.0.2.2"], conditionsV6: ["ip6", "saddr", "!=", "2001:db8::2"] },
  ],
  ["an interface", { conditionsV4: ["!", "-i", "eth0"], conditionsV6: ["iifname", "!=", "eth0"] }],
];
test.each(conditions)("conditions in %s keep some callers out", async (_, more) => {
  using host = new CniHost();
  await Mapped.make(host, "open", [{ ...web, hostPort: 8081 }]);
  const blue = await Mapped.make(host, "blue", [web], more);
  expect(await host.outside.ask("192.0.2.1", 8080)).toBe("refused");
  expect(await host.outside.ask("2001:db8::1", 8080)).toBe("refused");
  expect(await host.outside.ask("192.0.2.1", 8081)).toStartWith("open ");
  const green = host.container();
  await host.succeed("ADD", green, host.config());
  expect(await green.ask("192.0.2.1", 8080)).toStartWith("blue ");
  await blue.call("DEL");
  expect(host.state()).not.toContain(blue.container.name.concat("/eth0:"));
});

test("DEL removes a container's own mappings, with or without the runtime's help, and may be repeated", async () => {
  using host = new CniHost();
  const staying = await Mapped.make(host, "staying", [{ ...web, hostPort: 9000 }]);
  const before = host.state();
  for (const more of [
    {},
    { runtimeConfig: {} },
    { prevResult: undefined },
    { runtimeConfig: {}, prevResult: undefined },
  ]) {
    const blue = await Mapped.make(host, "blue", [web, { ...web, hostPort: 5353, protocol: "udp" }]);
    expect(host.state()).toContain(`net/${blue.container.name}/eth0`);
    await blue.call("DEL", more);
    await blue.call("DEL", more);
    expect(await host.outside.ask("192.0.2.1", 8080)).toBe("refused");
    await host.succeed("DEL", blue.container, host.config());
    expect(host.state()).toBe(before);
  }
  expect(await host.outside.ask("192.0.2.1", 9000)).toStartWith("staying ");
  await staying.call("DEL");
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("DEL does away with what one before left that was killed when its elements were gone", async () => {
  for (const more of [{}, { conditionsV4: ["-d", "192.0.2.0/24"] }]) {
    using host = new CniHost();
    const blue = await Mapped.make(host, "blue", [web], more);
    const { sets } = host.node.kernel.nft.dump({ family: "inet", name: "weft-cni" });
    const maps = sets.filter(({ kind }) => kind === "map");
    host.node.nft(maps.map(({ name }) => `flush map inet weft-cni ${name}`).join(";"));
    await blue.call("DEL");
    expect(host.node.kernel.sysctl.read("net/ipv4/conf/br0/route_localnet")).toBe("0");
    expect(host.node.kernel.nft.tables()).toEqual([]);
  }
});

test("the latest container has a port; DEL of an earlier one does not take it away", async () => {
  using host = new CniHost();
  const blue = await Mapped.make(host, "blue", [web]);
  const green = await Mapped.make(host, "green", [web]);
  expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("green ");
  await blue.call("DEL");
  await blue.call("DEL", { runtimeConfig: {} });
  expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("green ");
  await green.call("DEL");
  expect(await host.outside.ask("192.0.2.1", 8080)).toBe("refused");
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

const shared: [string, Mapping, JsonObject][] = [
  ["TCP", web, {}],
  ["TCP without snat", web, { snat: false }],
  ["TCP for all sources", web, { masqAll: true }],
  ["at one address", { ...web, hostIP: "192.0.2.1" }, {}],
  ["at all addresses of a family", { ...web, hostIP: "0.0.0.0" }, {}],
  ["with conditions", web, { conditionsV4: ["-d", "192.0.2.0/24"] }],
];
test.each(shared)(
  "a port that a later container took goes back to the earlier one: %s",
  async (_, mapping, more) => {
    for (const list of [{}, { runtimeConfig: {} }]) {
      using host = new CniHost();
      const blue = await Mapped.make(host, "blue", [mapping, { ...mapping, hostPort: 8081 }], more);
      const before = host.state();
      const green = await Mapped.make(host, "green", [mapping], more);
      const red = await Mapped.make(host, "red", [mapping], more);
      expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("red ");
      expect(await host.outside.ask("192.0.2.1", 8081)).toStartWith("blue ");
      await green.call("DEL", list);
      await host.succeed("DEL", green.container, host.config());
      expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("red ");
      await red.call("DEL", list);
      await host.succeed("DEL", red.container, host.config());
      expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("blue ");
      expect(host.state()).toBe(before);
      await blue.call("DEL", list);
      expect(host.node.kernel.nft.tables()).toEqual([]);
    }
  },
);

test("DEL of one who waits for a port leaves nothing that it could come back to", async () => {
  for (const list of [{}, { runtimeConfig: {} }]) {
    using host = new CniHost();
    // Keeps the structure in use.
    const staying = await Mapped.make(host, "staying", [{ ...web, hostPort: 9000 }]);
    const blue = await Mapped.make(host, "blue", [web, { ...web, hostPort: 8081 }]);
    const green = await Mapped.make(host, "green", [web]);
    await blue.call("DEL", list);
    expect(host.state()).not.toContain(`net/${blue.container.name}/eth0`);
    expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("green ");
    await green.call("DEL", list);
    expect(await host.outside.ask("192.0.2.1", 8080)).toBe("refused");
    expect(await host.outside.ask("192.0.2.1", 9000)).toStartWith("staying ");
    await staying.call("DEL");
    expect(host.node.kernel.nft.tables()).toEqual([]);
  }
});

const otherwise: [string, JsonObject, JsonObject][] = [
  ["were added", {}, { conditionsV4: ["-d", "192.0.2.0/24"] }],
  ["were taken out", { conditionsV4: ["-d", "192.0.2.0/24"] }, { conditionsV4: undefined }],
  ["are none any more", { conditionsV6: ["-d", "2001:db8::/64"] }, { conditionsV6: ["foo", "bar"] }],
];
test.each(otherwise)("DEL finds the mappings where conditions %s since ADD", async (_, before, now) => {
  using host = new CniHost();
  const staying = await Mapped.make(host, "staying", [{ ...web, hostPort: 9000 }]);
  const blue = await Mapped.make(host, "blue", [web], before);
  await blue.call("DEL", now);
  expect(host.state()).not.toContain(`net/${blue.container.name}/eth0`);
  expect(await host.outside.ask("192.0.2.1", 8080)).toBe("refused");
  await staying.call("DEL");
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("a port that is taken over leaves no descriptor open", async () => {
  using host = new CniHost();
  await Mapped.make(host, "blue", [web]);
  const config: PortmapConfig = {
    mappings: [{ protocol: protocols.tcp, hostPort: 8080, containerPort: 80 }],
    snat: false,
    masqAll: false,
    markBit: 13,
    conditions: { 4: [], 6: [] },
    backend: "nftables",
  };
  const before = openSockets();
  const address = Prefix.parse("10.77.0.100/24");
  // Its socket is of the namespace in which it begins.
  const { taken } = host.node.in(() => ({ taken: takeOver(config, [address], "net/other/eth0") }));
  expect(await taken).toHaveLength(1);
  // Those of tests before may be closed by now.
  expect(openSockets().filter((each) => !before.includes(each))).toEqual([]);
});

/** This process's, each by its inode. */
function openSockets(): string[] {
  return readdirSync("/proc/self/fd").flatMap((name) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${name}`);
      return target.startsWith("socket:") ? [target] : [];
    } catch {
      // That of the folder itself.
      return [];
    }
  });
}

test("elements are changed only while nobody else changes anything", async () => {
  using host = new CniHost();
  await Mapped.make(host, "blue", [web]);
  const set = "portmap4";
  const key = Uint8Array.of(protocols.tcp, 0, 0, 0, 8080 >> 8, 8080 & 0xff, 0, 0);
  const data = Uint8Array.of(10, 77, 0, 100, 0, 80, 0, 0);
  using nft = host.node.in(() => new LeanNft("weft-cni"));
  let attempts = 0;
  const remove = () => {
    attempts++;
    const generation = nft.generation();
    const owner = nft.find({ set, key })?.comment;
    // Somebody takes the port between the look and the deed.
    if (attempts === 1) nft.add([{ set, key, data, comment: "net/other/eth0" }], [{ set, key }]);
    if (owner !== "net/other/eth0") nft.delete([{ set, key }], generation);
  };
  await untilUndisturbed(remove);
  expect(attempts).toBe(2);
  expect(nft.find({ set, key })?.comment).toBe("net/other/eth0");
  const generation = nft.generation();
  nft.delete([{ set, key }], generation);
  expect(() => nft.add([{ set, key, data, comment: "" }], [], generation)).toThrow("ERESTART");
  expect(nft.find({ set, key })).toBeUndefined();
});

test("who takes a port says so, CHECK of the other tells who has it, and an ADD done once more takes it anew", async () => {
  using host = new CniHost();
  const blue = await Mapped.make(host, "blue", [web]);
  const green = host.container();
  const { json: prevResult } = await host.succeed("ADD", green, host.config());
  const config = { ...blue.config, prevResult };
  const { stderr } = await host.succeed("ADD", green, config);
  expect(stderr.split(`host port 8080/tcp belonged to net/${blue.container.name}/eth0`)).toHaveLength(2);
  const check = await host.call("CHECK", blue.container, { ...blue.config, prevResult: blue.bridge.json });
  expect(check.json.msg).toContain(`the port belongs to net/${green.name}/eth0 now`);
  await host.succeed("CHECK", green, config);
  await blue.call("ADD");
  await blue.call("ADD");
  expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("blue ");
  await host.succeed("DEL", green, config);
  expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("blue ");
  await blue.call("DEL");
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("GC gives ports back, and forgets UDP flows to containers that are gone", async () => {
  using host = new CniHost();
  const mapping = { hostPort: 5353, containerPort: 80, protocol: "udp" };
  const blue = await Mapped.make(host, "blue", [mapping], { cniVersion: "1.1.0" });
  const green = await Mapped.make(host, "green", [mapping], { cniVersion: "1.1.0" });
  const client = await host.outside.udp("192.0.2.1", 5353);
  expect(await client.ask()).toStartWith("green ");
  const keep = (containers: Namespace[]) => ({
    "cni.dev/valid-attachments": containers.map(({ name }) => ({ containerID: name, ifname: "eth0" })),
    runtimeConfig: {},
  });
  await green.call("GC", keep([blue.container]));
  expect(await client.ask()).toStartWith("blue ");
  await green.call("GC", keep([]));
  expect(unanswered).toContain(await client.ask(300));
  client.close();
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("DEL forgets UDP flows also where the runtime no longer says the ports", async () => {
  using host = new CniHost();
  const mapping = { hostPort: 5353, containerPort: 80, protocol: "udp" };
  const blue = await Mapped.make(host, "blue", [mapping]);
  const client = await host.outside.udp("192.0.2.1", 5353);
  expect(await client.ask()).toStartWith("blue ");
  await blue.call("DEL", { runtimeConfig: {} });
  expect(unanswered).toContain(await client.ask(300));
  client.close();
});

test("a mapping at one IPv6 address of the host is at no other", async () => {
  using host = new CniHost();
  await Mapped.make(host, "one", [
    { ...web, hostIP: "2001:db8::1" },
    { ...web, hostPort: 8081, hostIP: "::" },
  ]);
  expect(await host.outside.ask("2001:db8::1", 8080)).toStartWith("one ");
  expect(await host.outside.ask("192.0.2.1", 8080)).toBe("refused");
  expect(await host.outside.ask("2001:db8::1", 8081)).toStartWith("one ");
  expect(await host.outside.ask("192.0.2.1", 8081)).toBe("refused");
  host.node.kernel.rtnl.addresses.add({ link: "eth0", address: "2001:db8::9/64", flags: ["nodad"] });
  expect(await host.outside.ask("2001:db8::9", 8080)).toBe("refused");
  expect(await host.outside.ask("2001:db8::9", 8081)).toStartWith("one ");
});

const anywhere: [string, (string | undefined)[], string[]][] = [
  ["none, 0.0.0.0 and ::", [undefined, "0.0.0.0", "::"], ["portmap4", "portmap6"]],
  ["0.0.0.0 and none", ["0.0.0.0", undefined], ["portmap4", "portmap6"]],
  ["empty and 0.0.0.0", ["", "0.0.0.0"], ["portmap4", "portmap6"]],
  ["0.0.0.0 twice", ["0.0.0.0", "0.0.0.0"], ["portmap4"]],
];
test.each(anywhere)("a port that is given more than once is mapped once: %s", async (_, addresses, maps) => {
  using host = new CniHost();
  const mappings = addresses.map((hostIP) => ({ ...web, ...(hostIP === undefined ? {} : { hostIP }) }));
  const blue = await Mapped.make(host, "blue", mappings, { snat: false });
  expect(await host.outside.ask("192.0.2.1", 8080)).toStartWith("blue ");
  const { sets } = host.node.kernel.nft.dump({ family: "inet", name: "weft-cni" });
  expect(sets.filter(({ elements = [] }) => elements.length > 0).map(({ name }) => name)).toEqual(maps);
  await blue.call("CHECK");
  await blue.call("ADD");
  await blue.call("DEL");
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("a long list of ports is mapped, also once more, and taken back", async () => {
  using host = new CniHost();
  const ports = Array.from({ length: 1500 }, (_, i) => ({ ...web, hostPort: 20_000 + i }));
  const blue = await Mapped.make(host, "blue", ports);
  await blue.call("ADD");
  expect(await host.outside.ask("192.0.2.1", 21_499)).toStartWith("blue ");
  const green = await Mapped.make(host, "green", ports);
  expect(await host.outside.ask("192.0.2.1", 21_499)).toStartWith("green ");
  await green.call("DEL");
  expect(await host.outside.ask("192.0.2.1", 21_499)).toStartWith("blue ");
  await blue.call("DEL");
  expect(host.node.kernel.nft.tables()).toEqual([]);
}, 30_000);

test("under different conditions a port is the later container's where both hold, and else as they say", async () => {
  using host = new CniHost();
  const near = { conditionsV4: ["-s", "192.0.2.0/24"] };
  const elsewhere = { conditionsV4: ["-s", "198.51.100.0/24"] };
  const [any, local, far] = [
    await Mapped.make(host, "any", [web]),
    await Mapped.make(host, "local", [web], near),
    await Mapped.make(host, "far", [web], elsewhere),
  ];
  const answers = () => host.outside.ask("192.0.2.1", 8080).then((text) => text.replace(/ .*/, ""));
  expect(await answers()).toBe("local");
  for (const [mapped, answer] of [
    [any, "any"],
    [local, "local"],
    [any, "any"],
    // Its conditions never hold here.
    [far, "any"],
  ] as const) {
    const { stderr } = await mapped.call("ADD");
    expect(stderr).toContain("host port 8080/tcp is also net/");
    expect(await answers()).toBe(answer);
  }
  await any.call("DEL");
  expect(await answers()).toBe("local");
  await local.call("DEL");
  expect(await answers()).toBe("refused");
  await far.call("DEL");
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("a port is mapped also where the host itself has no route to the container", async () => {
  using host = new CniHost();
  const container = host.container();
  const prevResult = {
    cniVersion: "1.0.0",
    interfaces: [{ name: "eth0", sandbox: `/run/netns/${container.name}` }],
    ips: [{ address: "198.51.100.2/24", interface: 0 }],
  };
  const runtimeConfig = { portMappings: [web] };
  const config = { cniVersion: "1.0.0", name: "net", type: "portmap", runtimeConfig, prevResult };
  for (const command of ["ADD", "CHECK", "DEL"]) await host.succeed(command, container, config);
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("without mappings the result passes through and nothing is made", async () => {
  using host = new CniHost();
  const blue = await Mapped.make(host, "blue", []);
  expect(host.node.kernel.nft.tables()).toEqual([]);
  await blue.call("DEL");
  await blue.call("CHECK");
});

test("CHECK misses a mapping that is gone; GC removes those of containers that are gone", async () => {
  using host = new CniHost();
  const blue = await Mapped.make(host, "blue", [web], { cniVersion: "1.1.0" });
  const green = await Mapped.make(host, "green", [{ ...web, hostPort: 8081 }], { cniVersion: "1.1.0" });
  await blue.call("CHECK");
  await blue.call("GC", {
    "cni.dev/valid-attachments": [{ containerID: green.container.name, ifname: "eth0" }],
  });
  const config = { ...blue.config, prevResult: blue.bridge.json };
  const { json } = await host.call("CHECK", blue.container, config);
  expect(json.msg).toContain("a port mapping is missing in map portmap4 of table weft-cni");
  await green.call("CHECK");
  host.node.nft("flush chain inet weft-cni portmap-output");
  const { json: emptied } = await host.call("CHECK", green.container, {
    ...green.config,
    prevResult: green.bridge.json,
  });
  expect(emptied.msg).toContain("a port mapping is missing in chain portmap-output of table weft-cni");
  await blue.call("GC", { "cni.dev/valid-attachments": [] });
  expect(host.node.kernel.nft.tables()).toEqual([]);
});

test("many containers that come and go at the same time keep their own ports", async () => {
  using host = new CniHost();
  const all = await Promise.all(
    Array.from({ length: 6 }, (_, i) => Mapped.make(host, `c${i}`, [{ ...web, hostPort: 8000 + i }])),
  );
  for (const [i] of all.entries())
    expect(await host.outside.ask("192.0.2.1", 8000 + i)).toStartWith(`c${i} `);
  await Promise.all(all.map((each) => each.call("DEL")));
  expect(host.node.kernel.nft.tables()).toEqual([]);
}, 30_000);

const mistakes: [string, JsonObject, RegExp][] = [
  [
    "a protocol",
    { portMappings: [{ ...web, protocol: "tpc" }] },
    /protocol: "tpc" is not .*did you mean "tcp"/,
  ],
  ["a host port", { portMappings: [{ ...web, hostPort: 0 }] }, /portMappings\[0\]\.hostPort: 0 is not/],
  ["a container port", { portMappings: [{ hostPort: 80 }] }, /containerPort: is missing/],
  ["an address", { portMappings: [{ ...web, hostIP: "1.2.3" }] }, /hostIP: "1\.2\.3" is not an IP address/],
  ["one port for two", { portMappings: [web, { ...web, containerPort: 81 }] }, /is mapped twice/],
  [
    "one port for two, once with the address that means all",
    { portMappings: [web, { ...web, containerPort: 81, hostIP: "0.0.0.0" }] },
    /portMappings\[1\]\.hostPort: 8080 is mapped twice/,
  ],
  [
    "one port for two, first with the address that means all",
    { portMappings: [{ ...web, containerPort: 81, hostIP: "::" }, web] },
    /is mapped twice/,
  ],
];
test.each(mistakes)(
  "a mistake in %s is one error, and nothing is made",
  async (_, runtimeConfig, message) => {
    using host = new CniHost();
    const blue = host.container();
    const { json: prevResult } = await host.succeed("ADD", blue, host.config());
    const before = host.state();
    const config = { cniVersion: "1.0.0", name: "net", type: "portmap", runtimeConfig, prevResult };
    const { status, json } = await host.call("ADD", blue, config);
    expect(status).toBe(1);
    expect(json).toMatchObject({ code: 7, msg: expect.stringMatching(message) });
    expect(host.state()).toBe(before);
  },
);

const refusals: [string, JsonObject, number, RegExp][] = [
  ["no prevResult", { prevResult: undefined }, 7, /must be called as chained plugin/],
  [
    "a chain of iptables with nftables",
    { externalSetMarkChain: "KUBE-MARK-MASQ", backend: "nftables" },
    2,
    /externalSetMarkChain: "KUBE-MARK-MASQ" is not supported by backend "nftables"/,
  ],
  ["a name that no chain has", { externalSetMarkChain: "-j DROP" }, 7, /cannot be the name of a chain/],
  [
    "both",
    { externalSetMarkChain: "X", markMasqBit: 3 },
    2,
    /Cannot specify externalSetMarkChain and markMasqBit/,
  ],
  ["another backend", { backend: "ipchains" }, 2, /backend: "ipchains" is not supported/],
  ["a bit that is none", { markMasqBit: 32 }, 7, /markMasqBit: 32 is not a whole number from 0 to 31/],
  [
    "an unknown condition",
    { conditionsV4: ["-m", "foo"], backend: "nftables" },
    7,
    /conditionsV4: "-m" is no condition/,
  ],
  [
    "a condition that is neither's",
    { conditionsV4: ["foo", "bar"] },
    7,
    /conditionsV4: "foo" is no condition/,
  ],
  ["a condition of the other family", { conditionsV4: ["ip", "daddr", "fd00::/8"] }, 7, /is not of IPv4/],
];
test.each(refusals)("%s is refused", async (_, more, code, message) => {
  using host = new CniHost();
  const blue = host.container();
  const { json: prevResult } = await host.succeed("ADD", blue, host.config());
  const runtimeConfig = { portMappings: [web] };
  const config = { cniVersion: "1.0.0", name: "net", type: "portmap", runtimeConfig, prevResult, ...more };
  const { json } = await host.call("ADD", blue, config);
  expect(json).toMatchObject({ code, msg: expect.stringMatching(message) });
  expect(host.node.kernel.nft.tables()).toEqual([]);
});
