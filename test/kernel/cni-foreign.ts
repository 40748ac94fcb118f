/**
 * What other programs have on a host, made at random: firewall rules, links, routes, qdiscs, parameters, files; with names
 * and comments that come close to Weft's own.
 */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../../src/lib/random.ts";
import type { CniHost } from "./cni-fixture.ts";
import type { Namespace } from "./services-fixture.ts";

type Random = () => number;

/** Runs a script of the shell in the namespace; throws what it says where a line of it fails. */
export function shell(node: Namespace, script: string): string {
  const { success, stdout, stderr } = Bun.spawnSync(
    ["ip", "netns", "exec", node.name, "sh", "-euc", script],
    { stdin: "ignore" },
  );
  if (!success) throw new Error(`${stderr}\nof ${script}`);
  return stdout.toString();
}

/** Makes it all; the same for the same seed. */
export function makeForeign(host: CniHost, seed: number): void {
  const random = seededRandom(seed);
  links(host.node, random);
  host.node.nft(nftables(random));
  // The agent's own table, and one with our plugins' name in another family.
  host.node.nft(agentTable);
  iptables(host.node, random);
  files(host, random);
}

const oneOf = <T>(random: Random, items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
const many = <T>(random: Random, least: number, most: number, make: (i: number) => T): T[] =>
  Array.from({ length: least + Math.floor(random() * (most - least + 1)) }, (_, i) => make(i));
const hex = (random: Random, length: number) =>
  Array.from({ length }, () => Math.floor(random() * 16).toString(16)).join("");

const agentTable = `
table inet weft {
  map masquerade4 { type ipv4_addr : verdict; }
  set pods { type ipv4_addr; flags interval; elements = { 10.77.0.0/24, 10.244.0.0/16 }; }
  chain postrouting { type nat hook postrouting priority srcnat; ip saddr @pods meta mark 0x80000 counter masquerade; }
  chain masquerade-10.77.0.0_24 { ip daddr 10.77.0.0/24 return; masquerade; }
}
table ip weft-cni {
  chain postrouting { type nat hook postrouting priority srcnat; ip saddr 10.77.0.0/24 counter; }
}
`;

const families = ["ip", "ip6", "inet", "bridge", "arp"] as const;
type Family = (typeof families)[number];
const tableNames = [
  "weft-cni2",
  "weft-cn",
  "weft_cni",
  "cni_plugins_masquerade2",
  "docker",
  "kube-proxy",
  "mine",
];
const chainNames = [
  "postrouting",
  "masquerade-10.77.0.0_24",
  "portmap",
  "portmap-guard",
  "portmap-snat-10.77.0.0_24-13",
  "firewall",
  "firewall-open",
  "CNI-ADMIN",
  "macspoofchk",
  "c1",
];
const comments = ["net/foreign/eth0", "weft: net/foreign/eth0", "net2/x/eth0", "mine", 'name: "net"'];

function nftables(random: Random): string {
  const tables = new Map<string, string>();
  for (const family of families) {
    for (const name of many(random, 1, 2, () => oneOf(random, tableNames))) {
      tables.set(`${family} ${name}`, table(family, name, random));
    }
  }
  return [...tables.values()].join("\n");
}

function table(family: Family, name: string, random: Random): string {
  const parts = [
    ...many(random, 0, 1, (i) => `counter c${i} { packets ${i + 5} bytes 700 }`),
    ...(family === "arp" ? [] : many(random, 1, 2, (i) => setOf(i, random))),
  ];
  const chains = new Set(many(random, 1, 5, () => oneOf(random, chainNames)));
  for (const chain of chains) {
    const base = random() < 0.4 ? `${baseOf(family, random)}\n` : "";
    const rules = many(random, 0, 3, () => ruleOf(family, random)).map((rule) => `    ${rule}`);
    parts.push(`chain ${chain} {\n    ${base}${rules.join("\n")}\n  }`);
  }
  return `table ${family} ${name} {\n  ${parts.join("\n  ")}\n}`;
}

function baseOf(family: Family, random: Random): string {
  const hook =
    family === "arp"
      ? oneOf(random, ["input", "output"])
      : oneOf(random, ["forward", "input", "postrouting"]);
  const isNat = hook === "postrouting" && family !== "bridge" && random() < 0.7;
  return `type ${isNat ? "nat" : "filter"} hook ${hook} priority ${Math.floor(random() * 200)};`;
}

function setOf(i: number, random: Random): string {
  const comment = oneOf(random, comments).replaceAll('"', "");
  const element = `10.77.0.${Math.floor(random() * 250) + 1}`;
  return random() < 0.5
    ? `set masquerade${i} { type ipv4_addr; elements = { ${element} comment "${comment}" } }`
    : `map portmap${i} { type inet_service : verdict; elements = { ${i + 80} comment "${comment}" : accept } }`;
}

function ruleOf(family: Family, random: Random): string {
  const matches: Record<Family, string[]> = {
    ip: ["ip saddr 10.77.0.0/24", "ip daddr 10.77.0.7 tcp dport 8080", "meta mark and 0x2000 == 0x2000"],
    ip6: ["ip6 saddr fd77::/64", "ip6 daddr fd77::7 udp dport 53", 'iifname "eth0"'],
    inet: ['iifname "br0"', "ip saddr 10.77.0.0/24", "tcp dport { 80, 8080 }", "ct state established"],
    bridge: ['iifname "veth1234abcd"', "ether type arp", "ether saddr 02:00:00:00:00:01"],
    arp: ["arp operation 1", "arp htype 1"],
  };
  const comment = oneOf(random, comments).replaceAll('"', "");
  const end = random() < 0.5 ? ` comment "${comment}"` : "";
  return `${oneOf(random, matches[family])} counter packets 5 bytes 300 ${oneOf(random, ["accept", "return", ""])}${end}`;
}

/** As Docker, kube-proxy and the reference plugins have them for others. */
function iptables(node: Namespace, random: Random): void {
  const other = `CNI-${hex(random, 24)}`;
  const port = 8000 + Math.floor(random() * 500);
  const note = `--comment "name: \\"net\\" id: \\"foreign-${hex(random, 8)}\\""`;
  const policy = '-m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)"';
  const lines = [
    "*nat",
    ":DOCKER - [5:300]",
    ":KUBE-MARK-MASQ - [0:0]",
    ":CNI-HOSTPORT-DNAT - [0:0]",
    ":CNI-HOSTPORT-SETMARK - [0:0]",
    `:${other} - [0:0]`,
    ":CNI-DN-0123456789abcdef01234 - [0:0]",
    "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
    `-A POSTROUTING -s 10.77.0.${Math.floor(random() * 200) + 20}/32 -m comment ${note} -j ${other}`,
    `-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE`,
    `-A ${other} -d 10.77.0.0/24 -m comment ${note} -j ACCEPT`,
    `-A ${other} ! -d 224.0.0.0/4 -m comment ${note} -j MASQUERADE`,
    `-A DOCKER -p tcp --dport ${port} -j DNAT --to-destination 172.17.0.2:80`,
    `-A CNI-HOSTPORT-DNAT -p tcp -m tcp --dport ${port} -m comment ${note} -j CNI-DN-0123456789abcdef01234`,
    `-A CNI-DN-0123456789abcdef01234 -p tcp --dport ${port} -j DNAT --to-destination 10.77.0.99:80`,
    "-A CNI-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000",
    "COMMIT",
    "*filter",
    ":DOCKER-USER - [0:0]",
    ":CNI-FORWARD - [0:0]",
    ":CNI-ADMIN - [0:0]",
    ":CNI-ISOLATION-STAGE-1 - [0:0]",
    ":CNI-ISOLATION-STAGE-2 - [0:0]",
    `-A FORWARD ${policy} -j CNI-ISOLATION-STAGE-1`,
    '-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD',
    "-A FORWARD -j DOCKER-USER",
    '-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN',
    `-A CNI-ISOLATION-STAGE-1 -i br0 ! -o br0 ${policy} -j CNI-ISOLATION-STAGE-2`,
    `-A CNI-ISOLATION-STAGE-1 ${policy} -j RETURN`,
    `-A CNI-ISOLATION-STAGE-2 -o br0 ${policy} -j DROP`,
    `-A CNI-ISOLATION-STAGE-2 ${policy} -j RETURN`,
    "-A CNI-FORWARD -d 10.77.0.88/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-A CNI-ADMIN -s 192.0.2.77/32 -j DROP",
    "-A DOCKER-USER -j RETURN",
    "COMMIT",
    "",
  ];
  const six = lines
    .join("\n")
    .replaceAll(/10\.77\.0\.(\d+)(\/32)?/g, "fd77::$1")
    .replaceAll("fd77::0/24", "fd77::/64");
  const text6 = six
    .split("\n")
    .filter((line) => !/172\.17|192\.0\.2|fd77::99:80|224\.0/.test(line))
    .join("\n");
  for (const [command, text] of [
    ["iptables-restore", lines.join("\n")],
    ["ip6tables-restore", text6],
  ] as const) {
    const { success, stderr } = Bun.spawnSync(["ip", "netns", "exec", node.name, command], {
      stdin: Buffer.from(text),
    });
    if (!success) throw new Error(`${command}: ${stderr}\n${text}`);
  }
}

function links(node: Namespace, random: Random): void {
  const veth = `veth${hex(random, 8)}`;
  const script = [
    `ip link add ${veth} type veth peer name cni0`,
    `ip link set ${veth} alias "weft: net2/x/eth0" mtu 1400`,
    `ip link add bwp${hex(random, 12)} type ifb`,
    "ip link add bwpfeedface0000 type ifb",
    'ip link set bwpfeedface0000 alias "weft:net/x/eth0"',
    "ip link add weft0 type bridge",
    "ip link add br0.5 type veth peer name weft0.5",
    "ip link set br0.5 master weft0",
    "bridge link set dev br0.5 isolated on hairpin on",
    "ip link add weft12345678 type veth peer name tap0",
    "ip link set tap0 group 77",
    'ip link set weft12345678 alias "weft"',
    `ip address add 10.88.${Math.floor(random() * 250)}.1/24 dev weft0`,
    "ip address add 10.77.0.200/32 dev cni0",
    "ip -6 address add fd88::1/64 dev weft0 nodad",
    `ip link set ${veth} up; ip link set weft0 up; ip link set br0.5 up; ip link set tap0 up; ip link set weft12345678 up`,
    ...many(
      random,
      2,
      5,
      (i) =>
        `ip route add 10.9${i}.0.0/16 via 192.0.2.2 proto ${oneOf(random, ["static", "119", "bird"])} metric ${i + 1}`,
    ),
    ...many(random, 1, 3, (i) => `ip -6 route add fd9${i}::/64 via 2001:db8::2 table ${100 + i}`),
    "ip route add 10.77.0.0/24 dev tap0 table 100",
    "ip route add blackhole 10.77.9.0/24",
    ...many(random, 2, 4, (i) => `ip rule add from 10.77.0.${i + 2} table ${100 + i} priority ${1000 + i}`),
    "ip -6 rule add from fd77::2 table 100",
    "ip rule add from 10.77.0.2 table 100 protocol 119 priority 900",
    "ip rule add fwmark 0x2000/0x2000 table 101",
    "ip neigh add 10.77.0.2 lladdr 02:00:00:00:00:09 dev weft0 nud permanent",
    "ip -6 neigh add fd77::2 lladdr 02:00:00:00:00:09 dev weft0 nud permanent",
    `tc qdisc add dev ${veth} root tbf rate ${1 + Math.floor(random() * 9)}mbit burst 32k latency 25ms`,
    `tc qdisc add dev ${veth} ingress`,
    "tc qdisc add dev bwpfeedface0000 root handle 1: htb default 30",
    "tc class add dev bwpfeedface0000 parent 1: classid 1:30 htb rate 5mbit",
    `tc filter add dev ${veth} parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev bwpfeedface0000`,
    "echo 1 > /proc/sys/net/ipv4/conf/tap0/route_localnet",
    "echo 2 > /proc/sys/net/ipv4/conf/weft0/rp_filter",
    "echo 0 > /proc/sys/net/ipv6/conf/weft0/accept_ra",
    "echo 1 > /proc/sys/net/ipv4/conf/cni0/proxy_arp",
  ];
  shell(node, script.join("\n"));
}

function files(host: CniHost, random: Random): void {
  const write = (path: string, text: string) => {
    mkdirSync(join(host.dir, path, ".."), { recursive: true });
    writeFileSync(join(host.dir, path), text);
  };
  write("networks/net2/10.77.0.5", "foreign\r\neth0");
  write("networks/net2/last_reserved_ip.0", "10.77.0.5");
  write("networks/net2/lock", "");
  write(
    "networks/.weft/net2",
    '\n{"containerId":"foreign","ifname":"eth0","ips":["10.77.0.5"],"netns":"/gone","boot":"x"}',
  );
  write("networks/net/README", "mine");
  write("networks/net/old/10.77.0.3", "mine");
  write("networks/net-2/10.77.0.2", "x\r\neth0");
  symlinkSync("README", join(host.dir, "networks/net/link"));
  write("tuning/foreign_eth0.json", '{"mtu":1400,"network":"net2"}');
  write("tuning/reference_eth0.json", '{"mtu":1300}');
  write("tuning/notes.json", hex(random, 40));
  write("tuning/notes.txt", "mine");
  symlinkSync("notes.txt", join(host.dir, "tuning/link.json"));
  mkdirSync(join(host.dir, "tuning/folder.json"));
  write("devices/net2/foreign:eth0", '{"netns":"/gone","name":"eth7","up":true,"mtu":1400}');
}

/** What cannot stand still: timers of bridges, and what time is left of something. */
const restless = /\b(?:gc_timer|hello_timer|tcn_timer|topology_change_timer|expires)\s+[\d.]+(?:sec)?/g;

/** The plugins' own bridge, which stays on a host. */
const ofBridge = /(?:dev |: |conf\/)br0(?![.\w])/;

/** Everything on the host as its own tools show it, by tool; counters left out, handles of rules included. */
export function snapshot(node: Namespace): Record<string, string[]> {
  const commands: Record<string, string> = {
    nft: "nft -s -n -a list ruleset",
    iptables: "iptables-save | grep -v '^#' | sed 's/\\[[0-9:]*\\]//'",
    ip6tables: "ip6tables-save | grep -v '^#' | sed 's/\\[[0-9:]*\\]//'",
    links: "ip -o -d link",
    addresses: "ip -o address show scope global",
    routes: "ip -4 -d route show table all",
    routes6: "ip -6 -d route show table all | grep -v 'proto kernel'",
    rules: "ip -d rule; ip -6 -d rule",
    neighbours: "ip neigh show nud permanent; ip -6 neigh show nud permanent",
    qdiscs: "tc qdisc show",
    filters:
      "for d in $(ls /proc/sys/net/ipv4/conf); do for w in class filter; do tc $w show dev $d 2>/dev/null || true; done; tc filter show dev $d parent ffff: 2>/dev/null || true; done",
    parameters: "grep -rs . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf | sort",
  };
  return Object.fromEntries(
    Object.entries(commands).map(([name, command]) => [
      name,
      shell(node, command)
        .replaceAll(restless, "")
        .split("\n")
        .filter((line) => !ofBridge.test(line)),
    ]),
  );
}
