import { needsIptables } from "../portmap/conditions.ts";
import { type Advice, type Description, type Keys, listed, sentences } from "./description.ts";

export const tuning: Description = {
  role: "chained",
  capabilities: { mac: "the container's hardware address" },
  describe({ keys }) {
    const sysctls = Object.entries(keys.object("sysctl").raw)
      .filter(([, value]) => typeof value === "string")
      .map(([key, value]) => `${key}=${value}`);
    const [mac, mtu, queue] = [keys.text("mac"), keys.number("mtu"), keys.number("txQLen")];
    const link = sentences(
      mac !== undefined && `hardware address ${mac}`,
      mtu !== undefined && mtu > 0 && `MTU ${mtu}`,
      queue !== undefined && `transmit queue ${queue}`,
      keys.flag("promisc") && "promiscuous",
      keys.get("allmulti") !== undefined && (keys.flag("allmulti") ? "all multicast" : "not all multicast"),
    );
    return sentences(
      sysctls.length > 0 && `sets kernel parameters of the container: ${listed(sysctls)}`,
      link.length > 0 && `changes the container's interface: ${listed(link)}; DEL restores what it was`,
    );
  },
  advise({ keys, capabilities }) {
    const acts = ["sysctl", "mac", "mtu", "txQLen", "promisc", "allmulti"].some(
      (name) => keys.get(name) !== undefined,
    );
    if (acts || capabilities.includes("mac")) return [];
    return [
      {
        field: "",
        problem: "tuning has nothing to do, unless CNI_ARGS says MAC",
        remedy: 'Give it "sysctl", "mac", "mtu" and so on',
      },
    ];
  },
};

export const portmap: Description = {
  role: "chained",
  capabilities: { portMappings: "which ports of the host lead to the container" },
  describe(described) {
    const { keys } = described;
    const conditions = [...keys.texts("conditionsV4"), ...keys.texts("conditionsV6")];
    const chain = keys.text("externalSetMarkChain");
    const masquerade = keys.flag("masqAll")
      ? "masquerades all connections to published ports: the container does not see who asks"
      : "masquerades connections to published ports that would not find their way back: from its own network, and from localhost";
    const by = usesIptables(keys) ? "by iptables" : "nftables table inet weft-cni";
    return sentences(
      `leads ports of the host to the container${described.isOwn ? ` (${by})` : ""}, as the runtime passes them under portMappings`,
      conditions.length > 0 && `only for packets with ${conditions.join(" ")}`,
      keys.flagOr("snat", true) && masquerade,
      chain !== undefined && `has the chain ${chain} mark what is to be masqueraded`,
    );
  },
  advise: ({ capabilities }) =>
    undeclared(capabilities, "portMappings", "the runtime passes no port mappings, so that it does nothing"),
};

function usesIptables(keys: Keys): boolean {
  const backend = keys.text("backend") || undefined;
  if (backend !== undefined) return backend === "iptables";
  if (keys.text("externalSetMarkChain") !== undefined) return true;
  return ([4, 6] as const).some((family) => needsIptables(keys.texts(`conditionsV${family}`), family));
}

function undeclared(capabilities: readonly string[], name: string, problem: string): Advice[] {
  if (capabilities.includes(name)) return [];
  return [
    {
      field: "capabilities",
      problem: `${name} is not declared: ${problem}`,
      remedy: `Add "capabilities": { "${name}": true }`,
    },
  ];
}

const rateKeys = ["ingressRate", "egressRate"];

export const bandwidth: Description = {
  role: "chained",
  capabilities: { bandwidth: "rates and bursts, in bits" },
  describe({ keys, capabilities }) {
    const limit = (direction: string, verb: string) => {
      const [rate, burst] = [keys.number(`${direction}Rate`) ?? 0, keys.number(`${direction}Burst`) ?? 0];
      return rate > 0 && `limits what the container ${verb} to ${bits(rate)}/s, ${bits(burst)} of it at once`;
    };
    const [shaped, unshaped] = [keys.texts("shapedSubnets"), keys.texts("unshapedSubnets")];
    return sentences(
      limit("ingress", "receives"),
      limit("egress", "sends"),
      shaped.length > 0 && `only to and from ${listed(shaped)}`,
      unshaped.length > 0 && `but not to and from ${listed(unshaped)}`,
      isIdle(keys) && capabilities.includes("bandwidth") && "limits the container as the runtime says",
    );
  },
  advise: ({ keys, capabilities }) =>
    isIdle(keys)
      ? undeclared(capabilities, "bandwidth", "and no rate is given, so that it limits nothing")
      : [],
};

function isIdle(keys: Keys): boolean {
  return rateKeys.every((name) => (keys.number(name) ?? 0) === 0);
}

function bits(count: number): string {
  for (const [unit, size] of [
    ["Gbit", 1e9],
    ["Mbit", 1e6],
    ["kbit", 1e3],
  ] as const) {
    if (count >= size) return `${Math.round((count / size) * 100) / 100} ${unit}`;
  }
  return `${count} bit`;
}

export const firewall: Description = {
  role: "chained",
  capabilities: {},
  describe({ keys }) {
    const policies: Record<string, string> = {
      open: "allows what comes to and leaves from the container's addresses, whatever the host's forwarding policy",
      "same-bridge":
        "allows what comes from its own bridge, and drops what comes from other bridges of this kind (ingressPolicy same-bridge)",
      isolated: "drops what comes from any other container, of its own bridge too (ingressPolicy isolated)",
    };
    const policy = keys.text("ingressPolicy") ?? "open";
    const chain = keys.text("iptablesAdminChainName");
    const backend = keys.text("backend");
    return sentences(
      policies[policy] ?? `applies the ingress policy ${policy}`,
      policy !== "open" && policies.open,
      backend !== undefined && `does so by ${backend}`,
      chain !== undefined && `asks the administrator's chain ${chain} first`,
    );
  },
};

export const sbr: Description = {
  role: "chained",
  capabilities: {},
  describe({ keys }) {
    const table = keys.number("table");
    const gateways = keys.texts("gateways");
    return sentences(
      table === undefined
        ? "makes what the container sends from this interface's addresses leave by this interface: a routing table and a rule for each"
        : `sends what the container sends from this interface's addresses to routing table ${table}, which somebody else fills`,
      gateways.length > 0 && `by the gateways ${listed(gateways)}`,
      keys.flag("addSourceHints") && "names the source address in each route",
    );
  },
};

export const vrf: Description = {
  role: "chained",
  capabilities: {},
  describe({ keys }) {
    const table = keys.number("table") ?? 0;
    const name = keys.text("vrfname") ?? "";
    if (name === "") return [];
    return [
      `puts the container's interface into the VRF "${name}" of the container, which is made where it is missing (${table === 0 ? "with a routing table that is free" : `routing table ${table}`})`,
    ];
  },
};
