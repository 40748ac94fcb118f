/** The differences that stay, each with its reason; docs/cni/differences.md lists the same. */
import type { Case } from "./case.ts";

/** One key at which the two sides are not the same. */
export interface Difference {
  plugin: string;
  case: Case;
  /** After which step. */
  step: string;
  /** The step, or one before it, was no plugin's doing. */
  touched: boolean;
  /** The call has failed on both sides. */
  failed: boolean;
  /** No ADD has succeeded yet on either side, and Weft's is as before the first. */
  restored: boolean;
  /** "outcome/bridge/status", "host link/br0/mtu", "reach/...". */
  key: string;
  /** Undefined where a side has nothing there. */
  reference: string | undefined;
  weft: string | undefined;
  /** Everything that is on the sides. */
  states: Readonly<Record<"reference" | "weft", ReadonlyMap<string, string>>>;
}

/** A difference that is allowed. */
export interface Rule {
  name: string;
  reason: string;
  /** Met under another kernel only. */
  guest?: boolean;
  matches: (difference: Difference) => boolean;
}

/** What is behind a failed call: the status too, where only one side fails. */
const isOutcome = ({ key }: Difference) => /^outcome\/[^/]+\/(status|error\/)/.test(key);

/** The specification's codes that say more than 999. */
const precise = ["2", "3", "4", "5", "6", "7", "8", "11"];

/** In these cases the two go different ways. */
const inCase =
  (plugin: string, ...names: string[]) =>
  (difference: Difference) =>
    difference.plugin === plugin && names.includes(difference.case.name);

const nameTaken = "a name that is taken on the host by the time of DEL";

export const differences: readonly Rule[] = [
  {
    name: "error-version",
    reason: "Errors say their cniVersion, as the specification has it; the reference leaves it out.",
    matches: ({ key, reference, weft }) =>
      /^outcome\/.*\/error\/cniVersion$/.test(key) && reference === "undefined" && weft !== undefined,
  },
  {
    name: "error-code",
    reason:
      "Where the reference has the code 999 for nearly everything, Weft has the specification's: 4 for the environment, 7 for the configuration, 8 for the namespace, 11 for what may work later.",
    matches: ({ key, reference, weft }) =>
      /^outcome\/.*\/error\/code$/.test(key) && reference === "999" && precise.includes(weft ?? ""),
  },
  {
    name: "failed-add-leaves-nothing",
    reason:
      "After an ADD that failed, and after DEL of what never was, everything is as it was before. The reference leaves the bridge, at times the container's interface, sysctls, a lock or the mark of the last address.",
    matches: ({ key, failed, restored }) =>
      (restored && !key.startsWith("outcome/")) || (failed && key.endsWith("br0/route_localnet")),
  },
  {
    name: "del-of-wrong-configuration",
    reason:
      "DEL reads only what it needs, so that what a wrong configuration has left can be removed. The reference refuses it for a key that DEL does not use.",
    matches: (difference) =>
      difference.step.startsWith("DEL") &&
      difference.restored &&
      isOutcome(difference) &&
      difference.weft !== "1",
  },
  {
    name: "check-of-what-is-right",
    reason:
      "CHECK agrees to what ADD has made. That of the reference does not find routes without a next hop, port mappings of a family that the container has not, or an interface without addresses.",
    matches: (difference) =>
      difference.step.startsWith("CHECK") &&
      (!difference.touched ||
        (inCase("sbr", "CHECK misses the rule")(difference) &&
          difference.key.startsWith("outcome/bridge/"))) &&
      isOutcome(difference) &&
      difference.weft !== "1",
  },
  {
    name: "rules-of-nobody",
    reason:
      "No rule stays of a container that is gone. The reference leaves chains and rules after DEL without namespace, and after an ADD of portmap that failed.",
    matches: ({ key, reference, weft }) =>
      key.startsWith("host rules/") && reference === "left over" && weft === undefined,
  },
  {
    name: "host-local-record",
    reason:
      "host-local keeps a record of each attachment beside the reference's files, by which DEL and a reboot find its addresses without reading every lease.",
    matches: ({ key, reference }) => /^host file\/.*\/\.weft\//.test(key) && reference === undefined,
  },
  {
    name: "queue-length",
    reason:
      "Links that are made keep the kernel's transmit queue length of 1000, as in later versions of the reference; 1.1.1 sets 0.",
    matches: ({ key, reference, weft }) =>
      / link\/(eth0|net1|veth<.*>|bwp.*|br0\.\d+|blue)\/txqlen$/.test(key) &&
      reference === undefined &&
      weft === "1000",
  },
  {
    name: "link-alias",
    reason:
      "The host's end of a pair, a VRF, and an interface of macvlan, ipvlan, vlan, dummy or tap have an alias that says whose they are (network, container, interface): GC finds by it what nobody owns any more, and DEL leaves what somebody else made.",
    matches: ({ key, reference, weft }) =>
      /^(host|c\d) link\/.*\/ifalias$/.test(key) &&
      reference === undefined &&
      weft?.startsWith("weft: ") === true,
  },
  {
    name: "neighbours-told",
    reason: "Neighbours hear of a new address at once, of IPv6 too, as in later versions of the reference.",
    matches: ({ key, reference, weft }) =>
      /^c\d sysctl\/ipv[46]\/conf\/(eth0|net1|blue0)\/(ndisc|arp)_notify$/.test(key) &&
      reference === "0" &&
      weft === "1",
  },
  {
    name: "gateway-nodad",
    reason:
      "The gateway's IPv6 address on the host is not looked for elsewhere first, so that the first container can use it at once.",
    matches: ({ key, reference, weft }) =>
      /^host address\/(br0|br0\.\d+|veth<.*>)\/fd/.test(key) &&
      weft?.replace('"nodad":true,', "") === reference,
  },
  {
    name: "check-notices-more",
    reason: "CHECK notices some changes that the reference's does not look for.",
    matches: (difference) =>
      difference.step.startsWith("CHECK") &&
      difference.touched &&
      isOutcome(difference) &&
      difference.reference !== "1",
  },
  {
    name: "tuning-network",
    reason:
      "What tuning keeps of an interface's former state names the network too, so that GC of one network leaves those of others alone. The reference reads such files as its own.",
    matches: ({ key, reference, weft }) =>
      /^host file\/run\/cni\/.*\.json$/.test(key) && weft?.replace(/,\s*"network": "net"/, "") === reference,
  },
  {
    name: "tuning-file-of-nobody",
    reason:
      "What tuning keeps of an interface's former state goes with the container, and with an ADD that fails. The reference leaves the file.",
    matches: ({ key, weft }) => /^host file\/run\/cni\/.*_eth0\.json$/.test(key) && weft === undefined,
  },
  {
    name: "host-device-state",
    reason:
      "host-device gives a device back as it took it: up where it was up, without an alias. The reference leaves it down, and its name as the alias.",
    matches: (difference) =>
      difference.plugin === "host-device" &&
      difference.step.startsWith("DEL") &&
      (/^host link\/blue0\//.test(difference.key) ||
        /^host (address\/blue0|route|link\/far|address\/far)/.test(difference.key)) &&
      !inCase("host-device", nameTaken)(difference),
  },
  {
    name: "host-device-name-taken",
    reason:
      "Where the old name of a device is taken by the time of DEL, it comes back under another. DEL of the reference fails and leaves the device in the container, to vanish with it.",
    matches: (difference) =>
      inCase("host-device", nameTaken)(difference) &&
      difference.step.startsWith("DEL") &&
      (isOutcome(difference)
        ? difference.weft !== "1"
        : /^(c1 link\/eth0|host link\/(dev0|far))(\/|$)/.test(difference.key)),
  },
  {
    name: "firewall-backend",
    reason: "A backend that there is not is refused; the reference takes iptables without a word.",
    matches: (difference) =>
      inCase("firewall", "a backend that there is not")(difference) &&
      difference.key.startsWith("outcome/firewall/") &&
      (isOutcome(difference) || difference.weft === undefined),
  },
  {
    name: "host-device-del-again",
    reason:
      "DEL of host-device may come again; that of the reference fails when the device is no longer in the container.",
    matches: (difference) =>
      difference.plugin === "host-device" &&
      difference.step.startsWith("DEL") &&
      isOutcome(difference) &&
      difference.weft !== "1",
  },
  {
    name: "del-without-namespace",
    reason:
      "DEL without a namespace removes the pair by the host's end. The reference leaves it until the namespace is gone.",
    matches: (difference) =>
      inCase("bridge", "DEL without a namespace")(difference) &&
      difference.step.startsWith("DEL") &&
      // A bridge whose last port went has no carrier, as the kernel finds out a little later.
      /^(c1 link\/eth0$|host link\/(veth<.*>$|br0\/(flags|operstate)$)|host route\/\{"dev":"br0")/.test(
        difference.key,
      ),
  },
  {
    name: "localnet-of-ipv4",
    reason:
      "Connections from 127.0.0.1 to the bridge are allowed (route_localnet) where a port is mapped for them; the reference does so for mappings of IPv6 addresses too.",
    matches: ({ key, reference, weft }) =>
      key === "host sysctl/ipv4/conf/br0/route_localnet" && reference === "1" && weft === "0",
  },
  {
    name: "default-vlan",
    reason:
      "A port that is given a VLAN is not in the bridge's default VLAN as well, as in the reference since 1.8; in 1.1.1 it is.",
    guest: true,
    matches: ({ key, weft }) =>
      /^host more\/vlan veth<.*> 1 Egress Untagged$/.test(key) && weft === undefined,
  },
  {
    name: "vlan-advertisements",
    reason:
      "The host takes no router advertisements from containers on its interface in a VLAN, as little as on the bridge.",
    guest: true,
    matches: ({ key, reference, weft }) =>
      /^host sysctl\/ipv6\/conf\/br0\.\d+\/accept_ra$/.test(key) && reference === "1" && weft === "0",
  },
  {
    name: "redirected-once",
    reason:
      "What a container sends is led to the shaping device once; the filter of the reference says so twice.",
    matches: ({ key, weft }) => /^host more\/\s*action order 2: mirred/.test(key) && weft === undefined,
  },
  {
    name: "rule-protocol",
    reason: "Weft's rules say by protocol 119 whose they are.",
    matches: ({ key, states }) => {
      if (!/ rule\//.test(key)) return false;
      const [ours, theirs] = ['"protocol":"119"', '"protocol":"unspec"'] as const;
      const plain = (text: string) => text.replace('"protocol":"unspec",', "");
      return key.includes(ours)
        ? [key.replace(ours, theirs), key.replace(`${ours},`, "")].some((each) => states.reference.has(each))
        : states.weft.has(plain(key).replace('"src"', `${ours},"src"`));
    },
  },
  {
    name: "sbr-ipv6-routes",
    reason:
      "sbr moves the routes of an address to that address's table. The reference also moves the kernel's route for link-local addresses, and copies those of IPv6 into the table of an IPv4 address.",
    matches: ({ plugin, key }) =>
      plugin === "sbr" &&
      (/ route\/.*"dst":"fe80::\/64"/.test(key) || / route\/.*"dst":"fd77::\/64".*"table":"100"/.test(key)),
  },
  {
    name: "sbr-del",
    reason:
      "DEL of sbr may come again, and after the namespace has gone. That of the reference fails then, and the plugins before it in the chain are not called.",
    matches: (difference) =>
      difference.plugin === "sbr" &&
      difference.step.startsWith("DEL") &&
      ((isOutcome(difference) && difference.weft !== "1") ||
        (inCase("sbr", "DEL after the container's end")(difference) && difference.weft === undefined)),
  },
  {
    name: "sbr-free-table",
    reason: "sbr takes a table that nothing is in; the reference looks only for rules that lead to it.",
    matches: (difference) =>
      inCase("sbr", "a table that is in use")(difference) &&
      (isOutcome(difference)
        ? difference.step.startsWith("CHECK") && difference.weft !== "1"
        : /^c1 (route|rule)\/.*"table":"10[01]"/.test(difference.key)),
  },
  {
    name: "mac-by-args",
    reason:
      "macvlan takes a hardware address by args.cni.mac too, as bridge and tuning do; that of the reference does not.",
    matches: (difference) =>
      inCase("macvlan", "a hardware address by args")(difference) && /\/mac$|fe80::/.test(difference.key),
  },
  {
    name: "bridge-mac",
    reason:
      "A bridge has a hardware address of its own from the start. That of the reference has its first port's, and none when the last port has gone.",
    matches: ({ key, reference, weft }) =>
      key === "host link/br0/mac" && reference === "00:00:00:00:00:00" && weft === "of its own",
  },
  {
    name: "ipam-dns",
    reason: "What IPAM says of DNS is in the result of bridge, as in later versions of the reference.",
    matches: ({ key, reference, weft }) =>
      key.startsWith("outcome/bridge/result/dns") &&
      (reference === undefined || (reference === "{}" && weft === undefined)),
  },
  {
    name: "default-route-twice",
    reason:
      'A default route without next hop from IPAM and isDefaultGateway\'s are one route, as in later versions of the reference; 1.1.1 fails with "file exists".',
    matches: inCase("bridge", "a default route without next hop beside isDefaultGateway"),
  },
  {
    name: "gateways-of-several-subnets",
    reason:
      "A bridge is the gateway of several subnets of a container; the reference refuses the second of IPv4.",
    matches: inCase("bridge", "two addresses of a family"),
  },
  {
    name: "loopback-ip-version",
    reason:
      "Results before 1.0.0 say the family of each address, as those versions of the specification have it.",
    matches: ({ key, reference }) =>
      /^outcome\/loopback\/result\/ips\/\d\/version$/.test(key) && reference === undefined,
  },
  {
    name: "masq-all",
    reason: "portmap knows masqAll, as later versions of the reference do; 1.1.1 passes over it.",
    matches: (difference) => inCase("portmap", "masqAll")(difference) && difference.key.startsWith("reach/"),
  },
];
