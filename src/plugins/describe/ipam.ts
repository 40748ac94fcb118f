import { type Description, Keys, listed, sentences } from "./description.ts";

const ips = "addresses that the container must get";

function routes(ipam: Keys): string | false {
  const found = ipam
    .objects("routes")
    .map((route) => [route.text("dst"), route.text("gw")] as const)
    .filter(([dst]) => dst !== undefined)
    .map(([dst, gw]) => (gw === undefined ? `${dst}` : `${dst} via ${gw}`));
  return found.length > 0 && `routes ${listed(found)} into the container's interface`;
}

export const hostLocal: Description = {
  role: "ipam",
  capabilities: { ips, ipRanges: "ranges in place of, or beside, those of the configuration" },
  describe({ keys, network, capabilities }) {
    const ipam = keys.object("ipam");
    const sets = setsOf(ipam);
    const dataDir = ipam.text("dataDir") ?? "/var/lib/cni/networks";
    const resolvConf = ipam.text("resolvConf");
    return sentences(
      ...sets.map((set) => `gives one free address of ${set.map(rangeText).join(" or ")}`),
      capabilities.includes("ipRanges") && "gives one of each range that the runtime passes",
      routes(ipam),
      resolvConf !== undefined && `takes name servers and search domains from ${resolvConf}`,
      `remembers who has which address in ${dataDir}/${network}`,
    );
  },
};

/** The single range of old configurations, then `ranges`. */
function setsOf(ipam: Keys): Keys[][] {
  const lists = ipam.get("ranges");
  const sets = Array.isArray(lists) ? lists.map((list) => new Keys({ list }).objects("list")) : [];
  return [...(ipam.text("subnet") === undefined ? [] : [[ipam]]), ...sets.filter((set) => set.length > 0)];
}

function rangeText(range: Keys): string {
  const [subnet, start, end] = [range.text("subnet"), range.text("rangeStart"), range.text("rangeEnd")];
  const bounds = sentences(start !== undefined && `from ${start}`, end !== undefined && `to ${end}`);
  return [subnet ?? "a subnet that is missing", ...bounds].join(" ");
}

export const staticIpam: Description = {
  role: "ipam",
  capabilities: { ips },
  describe({ keys, capabilities }) {
    const ipam = keys.object("ipam");
    const addresses = ipam
      .objects("addresses")
      .map((item) => [item.text("address"), item.text("gateway")] as const)
      .map(([address, gateway]) =>
        gateway === undefined ? `${address}` : `${address} (gateway ${gateway})`,
      );
    const servers = ipam.object("dns").texts("nameservers");
    return sentences(
      addresses.length > 0 && `gives every container ${listed(addresses)}, and remembers nothing`,
      addresses.length === 0 && "gives the addresses that the runtime names, and remembers nothing",
      addresses.length > 0 &&
        capabilities.includes("ips") &&
        "gives what the runtime names in place of them, where it names some",
      routes(ipam),
      servers.length > 0 && `names the name servers ${listed(servers)}`,
    );
  },
};

export const dhcp: Description = {
  role: "ipam",
  capabilities: {},
  describe({ keys }) {
    const ipam = keys.object("ipam");
    const optionsOf = (name: string) => sentences(...ipam.objects(name).map((item) => item.text("option")));
    const provided = optionsOf("provide");
    const requested = optionsOf("request");
    const socket = ipam.text("daemonSocketPath") ?? "/run/cni/dhcp.sock";
    return sentences(
      `has the DHCP daemon (weft dhcp daemon, at ${socket}) lease an IPv4 address on the container's link and keep the lease alive`,
      provided.length > 0 && `tells the server ${listed(provided)}`,
      requested.length > 0 && `asks for ${listed(requested)}`,
    );
  },
};
