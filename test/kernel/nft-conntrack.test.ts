/**
 * Connection tracking in the real kernel, beside the `conntrack` tool.
 *
 *     shell --udp--> VIP:53 --dnat (output)--> endpoint a or b          all on lo of one namespace
 */
import { expect } from "bun:test";
import { Ip } from "../../src/lib/ip.ts";
import { Prefix } from "../../src/lib/prefix.ts";
import type { Flow, FlowFilter } from "../../src/linux/conntrack/index.ts";
import { FakeConntrack } from "../../src/linux/fake/conntrack.ts";
import { dnat, ip, ip6, is, rule, udp } from "../../src/linux/nftables/expr.ts";
import { Transaction } from "../../src/linux/nftables/index.ts";
import { needs, testWith } from "../lib/needs.ts";
import { NftNamespace, until } from "./nft-fixture.ts";

const kernelTest = testWith(needs.root, needs.command("conntrack"), needs.kernel("nftables"));
const [TCP, UDP] = [6, 17];

interface Seed {
  readonly from: string;
  readonly to: string;
  readonly protocol: "udp" | "tcp";
  readonly ports: readonly [number, number];
  /** Where the destination was translated to. */
  readonly endpoint?: string;
  readonly mark?: number;
  readonly zone?: number;
}

const seeds: readonly Seed[] = [
  { from: "10.244.0.2", to: "10.96.0.10", protocol: "udp", ports: [4001, 53], endpoint: "10.244.1.5" },
  { from: "10.244.0.2", to: "10.96.0.10", protocol: "udp", ports: [4002, 53], endpoint: "10.244.1.6" },
  { from: "10.244.0.3", to: "10.96.0.10", protocol: "tcp", ports: [4001, 53], endpoint: "10.244.1.5" },
  { from: "10.244.0.3", to: "10.244.1.5", protocol: "udp", ports: [4001, 53], mark: 0x80000 },
  { from: "10.244.0.3", to: "10.244.1.5", protocol: "udp", ports: [4001, 53], zone: 7 },
  { from: "fd00::2", to: "fd00:96::a", protocol: "udp", ports: [4001, 53], endpoint: "fd00::5" },
  { from: "fd00::2", to: "fd00:96::a", protocol: "udp", ports: [4002, 53], endpoint: "fd00::6" },
  { from: "fd00::3", to: "fd00::5", protocol: "tcp", ports: [4001, 80], mark: 5 },
];

const filters: readonly (readonly [filter: FlowFilter | FlowFilter[], flows: number[]])[] = [
  [{ protocol: UDP }, [0, 1, 3, 4, 5, 6]],
  [{ family: 4 }, [0, 1, 2, 3, 4]],
  [{ family: 6, protocol: TCP }, [7]],
  [{ original: { destination: Ip.parse("10.96.0.10") } }, [0, 1, 2]],
  [{ protocol: UDP, original: { destination: Ip.parse("10.96.0.10"), destinationPort: 53 } }, [0, 1]],
  [{ protocol: UDP, original: { destination: Ip.parse("fd00:96::a"), destinationPort: 53 } }, [5, 6]],
  [{ reply: { source: Ip.parse("10.244.1.5") } }, [0, 2, 3, 4]],
  [{ protocol: UDP, reply: { source: Ip.parse("fd00::6"), sourcePort: 53 } }, [6]],
  [{ original: { source: Prefix.parse("10.244.0.2/31") } }, [0, 1, 2, 3, 4]],
  [{ reply: { source: Prefix.parse("fd00::4/126") } }, [5, 6, 7]],
  [{ original: { sourcePort: 4002 } }, [1, 6]],
  [{ zone: 7 }, [4]],
  [{ mark: { value: 5 } }, [7]],
  [{ mark: { value: 0x80000, mask: 0x80000 } }, [3]],
  [
    [{ mark: { value: 5 } }, { zone: 7 }],
    [4, 7],
  ],
  [
    [
      { protocol: UDP, reply: { source: Ip.parse("10.244.1.5") } },
      { protocol: UDP, reply: { source: Ip.parse("fd00::5") } },
    ],
    [0, 3, 4, 5],
  ],
  [{ original: { source: Ip.parse("192.0.2.1") } }, []],
  [[], []],
];

function insertWithTool(namespace: NftNamespace): void {
  for (const { from, to, protocol, ports, endpoint, mark, zone } of seeds) {
    const [source, destination] = ports.map(String) as [string, string];
    const command = ["conntrack", "-I", "-p", protocol, "-s", from, "-d", to, "-t", "100"];
    command.push("--sport", source, "--dport", destination);
    if (protocol === "tcp") command.push("--state", "ESTABLISHED");
    if (endpoint !== undefined) {
      command.push("--reply-src", endpoint, "--reply-dst", from);
      command.push("--reply-port-src", destination, "--reply-port-dst", source);
    }
    if (mark !== undefined) command.push("-m", String(mark));
    if (zone !== undefined) command.push("-w", String(zone));
    namespace.run(command);
  }
}

function insertIntoFake(fake: FakeConntrack): void {
  for (const { from, to, protocol, ports, endpoint, mark = 0, zone = 0 } of seeds) {
    const common = { protocol: protocol === "tcp" ? TCP : UDP };
    const [source, destination] = [Ip.parse(from), Ip.parse(to)];
    const [sourcePort, destinationPort] = ports;
    fake.add({
      original: { ...common, source, destination, sourcePort, destinationPort },
      reply: {
        ...common,
        source: endpoint === undefined ? destination : Ip.parse(endpoint),
        destination: source,
        sourcePort: destinationPort,
        destinationPort: sourcePort,
      },
      mark,
      zone,
    });
  }
}

/** Which of the seeds a connection is. */
function seedOf(flow: Flow): number {
  return seeds.findIndex(
    ({ from, to, protocol, ports, zone = 0 }) =>
      from === flow.original.source.toString() &&
      to === flow.original.destination.toString() &&
      (protocol === "tcp" ? TCP : UDP) === flow.original.protocol &&
      ports[0] === flow.original.sourcePort &&
      zone === flow.zone,
  );
}

kernelTest("filters find the same connections in the kernel and in the fake", () => {
  using namespace = new NftNamespace();
  insertWithTool(namespace);
  const fake = new FakeConntrack();
  insertIntoFake(fake);
  for (const side of [namespace.conntrack, fake]) {
    expect(side.count()).toBe(seeds.length);
    for (const [filter, flows] of filters) {
      const found = side.list(filter).map(seedOf);
      expect([filter, found.sort((a, b) => a - b)]).toEqual([filter, flows]);
    }
  }
});

kernelTest("a deletion takes what its filter finds and nothing else", () => {
  using namespace = new NftNamespace();
  for (const [filter, flows] of filters) {
    if (Array.isArray(filter) && filter.length === 0) continue;
    const fake = new FakeConntrack();
    namespace.run(["conntrack", "-F"]);
    insertWithTool(namespace);
    insertIntoFake(fake);
    for (const side of [namespace.conntrack, fake]) {
      expect(side.delete(filter)).toBe(flows.length);
      const rest = side.list().map(seedOf);
      const kept = seeds.map((_, i) => i).filter((i) => !flows.includes(i));
      expect(rest.sort((a, b) => a - b)).toEqual(kept);
    }
  }
  const listed =
    namespace.run(["conntrack", "-L", "-f", "ipv4"]) + namespace.run(["conntrack", "-L", "-f", "ipv6"]);
  expect(listed.trimEnd().split("\n").length).toBe(seeds.length);
});

kernelTest("a filter without conditions deletes nothing", () => {
  using namespace = new NftNamespace();
  insertWithTool(namespace);
  for (const filter of [{}, { original: {} }, [{ protocol: UDP }, {}]]) {
    expect(() => namespace.conntrack.delete(filter)).toThrow("has no condition");
  }
  expect(namespace.conntrack.count()).toBe(seeds.length);
});

kernelTest("ICMP connections are read and deleted", () => {
  using namespace = new NftNamespace();
  namespace.run([
    "conntrack",
    "-I",
    "-p",
    "icmp",
    "-s",
    "10.0.0.1",
    "-d",
    "10.0.0.2",
    "-t",
    "100",
    ...icmp("8"),
  ]);
  namespace.run([
    ...["conntrack", "-I", "-p", "icmpv6", "-s", "fd00::1", "-d", "fd00::2", "-t", "100"],
    ...["--icmpv6-type", "128", "--icmpv6-code", "0", "--icmpv6-id", "9"],
  ]);
  const flows = namespace.conntrack.list();
  expect(flows.map(({ original }) => original.icmp?.type).sort()).toEqual([128, 8]);
  expect(flows.every(({ original }) => original.icmp?.id === 9)).toBe(true);
  expect(namespace.conntrack.delete([{ protocol: 1 }, { protocol: 58 }])).toBe(2);
  expect(namespace.conntrack.count()).toBe(0);
});

const icmp = (type: string) => ["--icmp-type", type, "--icmp-code", "0", "--icmp-id", "9"];

kernelTest.each([
  ["IPv4", "10.96.0.10", "127.0.0.11", "127.0.0.12"],
  ["IPv6", "fd00:96::a", "fd00::11", "fd00::12"],
])(
  "a socket goes on to an endpoint that is gone until its connection is deleted: %s",
  async (_, vip, a, b) => {
    using namespace = new NftNamespace();
    const { nft, conntrack } = namespace;
    const address = Ip.parse(vip);
    namespace.run(["ip", "link", "set", "lo", "up"]);
    for (const one of address.family === 6 ? [vip, a, b] : [vip])
      namespace.run(["ip", "addr", "add", one, "dev", "lo"]);
    const table = { family: "inet", name: "t" } as const;
    const sendTo = (endpoint: string) => {
      const daddr = address.family === 4 ? ip.daddr : ip6.daddr;
      const translate = dnat(address.family, { address: endpoint, port: 5353 });
      const output = { kind: "chain", name: "output", type: "nat", hook: "output", priority: -100 } as const;
      nft.apply(
        new Transaction(table)
          .add({ kind: "table", ...table }, output)
          .flush(output)
          .add(rule("inet", "output", is(daddr, vip), is(udp.dport, 53), translate)),
      );
    };
    const endpoints = () => conntrack.list({ protocol: UDP }).map(({ reply }) => reply.source.toString());
    const packets = () =>
      Number(/packets (\d+)/.exec(namespace.run(["nft", "list", "table", "inet", "sent"]))?.[1]);
    namespace.run(["nft", "-f", "-"], countSent);

    sendTo(a);
    const shell = namespace.shell();
    shell.type(`exec 3<>/dev/udp/${vip}/53; echo >&3`);
    await until("the first packet is sent", () => packets() === 1);
    expect(endpoints()).toEqual([a]);

    sendTo(b);
    shell.type("echo >&3 || echo >&3");
    await until("the second packet is sent", () => packets() >= 2);
    expect(endpoints()).toEqual([a]);

    const stale: FlowFilter = {
      protocol: UDP,
      original: { destination: address },
      reply: { source: Ip.parse(a) },
    };
    expect(conntrack.delete(stale)).toBe(1);
    const sent = packets();
    shell.type("echo >&3 || echo >&3");
    await until("a packet is sent after the deletion", () => packets() > sent);
    expect(endpoints()).toEqual([b]);
  },
);

const countSent = `table inet sent {
  chain output { type filter hook output priority 200; meta l4proto udp counter; }
}`;
