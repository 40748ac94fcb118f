import { expect, test } from "bun:test";
import { CniError } from "../../cni/errors.ts";
import { InvalidInput } from "../../lib/errors.ts";
import { requireAllowed } from "./allowlist.ts";
import { formatBackup, parseBackup } from "./backup.ts";
import { sysctlPath } from "./config.ts";

test.each([
  ["net.core.somaxconn", "net/core/somaxconn"],
  ["net/core/somaxconn", "net/core/somaxconn"],
  ["/net/core/somaxconn", "net/core/somaxconn"],
  ["net.ipv4.conf.IFNAME.arp_filter", "net/ipv4/conf/eth0.5/arp_filter"],
  ["net/ipv4/conf/IFNAME/arp_filter", "net/ipv4/conf/eth0.5/arp_filter"],
  ["net/ipv4/conf/br0.7/arp_filter", "net/ipv4/conf/br0.7/arp_filter"],
  ["net.ipv4/conf.all/forwarding", "net/ipv4/conf/all/forwarding"],
  ["net..core//somaxconn", "net/core/somaxconn"],
])("parameter %s", (key, path) => {
  expect(sysctlPath(key, "sysctl", "eth0.5")).toBe(`/proc/sys/${path}`);
});

test("IFNAME stands for names as they are", () => {
  expect(sysctlPath("net.ipv4.conf.IFNAME.arp_filter", "", "$&$'")).toBe(
    "/proc/sys/net/ipv4/conf/$&$'/arp_filter",
  );
});

test.each([
  "",
  "net",
  "net.",
  "kernel.hostname",
  "network.core",
  "net/../kernel/hostname",
  "net/ipv4/../../kernel/hostname",
  "../../etc/passwd",
  "/etc/passwd",
  "net/./core/somaxconn",
  "net/core/somaxconn\0x",
  "net/core/\nsomaxconn",
  "IFNAME.core",
])("no parameter of a network namespace: %j", (key) => {
  expect(() => sysctlPath(key, "sysctl", "net")).toThrow(InvalidInput);
});

const list =
  "\n  ^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]*$ \n\nsomaxconn\n^net\\.[[:alnum:]]+\\.x$\n(?i)UPPER\n\\Anet\\.y\\z\n";
test.each([
  ["net.ipv4.conf.IFNAME.arp_filter", true],
  ["net.ipv4.conf.eth0.arp_filter", false],
  ["net.core.somaxconn", true],
  ["net.core2.x", true],
  ["net.co-re.x", false],
  ["net.upper", true],
  ["net.y", true],
  ["net.yy", false],
])("the list and %s: %p", (key, isAllowed) => {
  const check = () => requireAllowed(list, "/list", [{ key, path: "", value: "" }]);
  if (isAllowed) expect(check).not.toThrow();
  else expect(check).toThrow(`Sysctl ${key} is not allowed`);
});

test.each(["(", "[[:nothing:]]", "\\pL", "\\Qa.b\\E", "a++", "(?P<x>a)", "a\\zb", "(?=a)"])(
  "a list with %s allows nothing",
  (line) => {
    expect(() => requireAllowed(line, "/list", [{ key: "net.a", path: "", value: "" }])).toThrow(CniError);
  },
);

test("an empty list allows nothing", () => {
  expect(() => requireAllowed("\n", "/list", [{ key: "net.a", path: "", value: "" }])).toThrow("not allowed");
});

test("backups are the reference's, and name the network besides", () => {
  const link = { mac: "02:00:00:00:00:01", mtu: 1500, promiscuous: false, txQueueLength: 0 };
  const text = formatBackup(link, "net");
  expect(text).toBe(`{
 "mac": "02:00:00:00:00:01",
 "promisc": false,
 "mtu": 1500,
 "txQLen": 0,
 "network": "net"
}`);
  expect(parseBackup(text)).toEqual({ link: { ...link, allMulticast: undefined }, network: "net" });
});

test.each(["", "{", "[]", "1", "null"])("no backup: %j", (text) => {
  expect(parseBackup(text)).toBeUndefined();
});

test("of a backup only what can be is taken", () => {
  const text = '{"mac":"x","mtu":-1,"promisc":"yes","allmulti":true,"txQLen":1e99,"network":5}';
  expect(parseBackup(text)).toEqual({ link: { allMulticast: true }, network: undefined });
});
