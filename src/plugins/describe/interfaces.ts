import {
  type Advice,
  type Described,
  type Description,
  type Keys,
  listed,
  sentences,
} from "./description.ts";

const mac = "the container's hardware address";

/** Sentences of keys that many plugins have. */
const common = {
  mtu: ({ keys }: Described) => {
    const mtu = keys.number("mtu");
    return mtu !== undefined && mtu > 0 && `sets the MTU to ${mtu} bytes`;
  },
  ipMasq: ({ keys, isOwn }: Described) => {
    const by = keys.text("ipMasqBackend") === "iptables" ? "by iptables" : "nftables table inet weft-cni";
    return (
      keys.flag("ipMasq") &&
      `masquerades what the container sends beyond its own network${isOwn ? ` (${by})` : ""}`
    );
  },
  layer2: ({ ipamType }: Described) =>
    ipamType === undefined && "gives it no addresses: it has no ipam, so that it works on layer 2 alone",
  dns: ({ keys }: Described) => {
    const servers = keys.object("dns").texts("nameservers");
    return servers.length > 0 && `names the name servers ${listed(servers)} in its result`;
  },
  mac: ({ keys }: Described) => {
    const text = keys.text("mac");
    return text !== undefined && `gives it the hardware address ${text}`;
  },
};

function master(keys: Keys): string {
  const name = keys.text("master");
  const place = keys.flag("linkInContainer") ? "the container's" : "the host's";
  return name === undefined ? `${place} interface with the default route` : `${place} interface "${name}"`;
}

/** Keys that are about layer 3, on an interface that has none. */
function idleWithoutIpam({ keys, ipamType }: Described, names: readonly string[]): Advice[] {
  if (ipamType !== undefined) return [];
  return names
    .filter((name) => keys.flag(name))
    .map((field) => ({
      field,
      problem: "has no effect without addresses",
      remedy: 'Give the plugin an "ipam", or leave the key out',
    }));
}

export const bridge: Description = {
  role: "interface",
  capabilities: { mac },
  describe(described) {
    const { keys, gateways } = described;
    const name = keys.text("bridge") ?? "cni0";
    const vlan = keys.number("vlan") ?? 0;
    const holder = vlan === 0 ? name : `${name}.${vlan}`;
    const isDefault = keys.flag("isDefaultGateway");
    const address = gateways.length === 0 ? "the gateway's address" : listed(gateways);
    const isGateway = (isDefault || keys.flag("isGateway")) && described.ipamType !== undefined;
    return sentences(
      `connects the container by a veth pair to the host's bridge "${name}", which is made where it is missing`,
      isGateway && `puts ${address} on "${holder}" and turns forwarding on`,
      isGateway && keys.flag("forceAddress") && "takes another address of that network off it",
      isDefault && isGateway && "makes that the container's default gateway",
      common.ipMasq(described),
      vlan !== 0 && `puts the container's port into VLAN ${vlan}, untagged`,
      trunk(keys),
      defaultVlan(keys, vlan),
      keys.flag("hairpinMode") && "lets packets leave by the port by which they came (hairpin)",
      keys.flag("promiscMode") && "sets the bridge promiscuous",
      keys.flag("portIsolation") && "keeps the container from the other isolated ports of the bridge",
      keys.flag("macspoofchk") && "drops frames with another sender than the container's hardware address",
      keys.flag("enabledad") && "waits for duplicate address detection",
      keys.flag("disableContainerInterface") && "leaves the container's interface down",
      common.mtu(described),
      common.dns(described),
      common.layer2(described),
    );
  },
  advise: (described) =>
    idleWithoutIpam(described, ["isGateway", "isDefaultGateway", "ipMasq", "forceAddress"]),
};

/** What becomes of the VLAN that the bridge gives to every port, where there is another one. */
function defaultVlan(keys: Keys, vlan: number): string | false {
  const hasTrunk = trunk(keys) !== false;
  if (vlan === 0 && !hasTrunk) return false;
  if (keys.flagOr("preserveDefaultVlan", false))
    return "leaves the port in the bridge's default VLAN as well";
  const isSaid = !keys.flagOr("preserveDefaultVlan", true);
  if (vlan === 0 && !isSaid) return "carries untagged frames in VLAN 1";
  return "takes the port out of the bridge's default VLAN";
}

function trunk(keys: Keys): string | false {
  const vlans = keys.objects("vlanTrunk").flatMap((item) => {
    const [id, min, max] = [item.number("id"), item.number("minID"), item.number("maxID")];
    return sentences(
      min !== undefined && max !== undefined && `${min}-${max}`,
      id === undefined ? undefined : String(id),
    );
  });
  return vlans.length > 0 && `carries VLANs ${listed(vlans)} to the container, tagged`;
}

export const ptp: Description = {
  role: "interface",
  capabilities: {},
  describe: (described) =>
    sentences(
      "connects the container by a veth pair to the host alone, without a bridge: routes at both ends",
      described.gateways.length > 0 && `puts ${listed(described.gateways)} on the host's end`,
      "turns forwarding on",
      common.ipMasq(described),
      common.mtu(described),
      common.dns(described),
    ),
};

export const macvlan: Description = {
  role: "interface",
  capabilities: { mac },
  describe(described) {
    const { keys } = described;
    const length = keys.number("bcqueuelen") ?? 0;
    return sentences(
      `gives the container an interface with a hardware address of its own on ${master(keys)} (macvlan, mode ${keys.text("mode") ?? "bridge"})`,
      "the host itself does not reach it over that interface: the kernel keeps macvlan and its master apart",
      common.mac(described),
      length > 0 && `lets ${length} broadcast packets wait`,
      common.mtu(described),
      common.dns(described),
      common.layer2(described),
    );
  },
};

export const ipvlan: Description = {
  role: "interface",
  capabilities: {},
  describe(described) {
    const { keys } = described;
    const addresses =
      described.ipamType === undefined && "takes addresses from the plugin before it, where that has some";
    return sentences(
      `gives the container an interface on ${master(keys)} with the hardware address of that (ipvlan, mode ${keys.text("mode") ?? "l2"})`,
      addresses,
      common.mtu(described),
      common.dns(described),
    );
  },
};

export const vlan: Description = {
  role: "interface",
  capabilities: {},
  describe(described) {
    const { keys } = described;
    return sentences(
      `gives the container VLAN ${keys.number("vlanId") ?? 0} of ${master(keys)}`,
      common.mtu(described),
      common.dns(described),
      common.layer2(described),
    );
  },
};

/** How host-device is told of its device, in the order in which it heeds the keys. */
const selectors = [
  ["device", "named"],
  ["hwaddr", "with the hardware address"],
  ["kernelpath", "at the kernel's path"],
  ["pciBusID", "at the PCI address"],
] as const;

const selectorOf = (keys: Keys) => selectors.find(([key]) => (keys.text(key) ?? "") !== "");

export const hostDevice: Description = {
  role: "interface",
  capabilities: { deviceID: "which PCI device it is" },
  describe(described) {
    const { keys } = described;
    const found = selectorOf(keys);
    const which = found === undefined ? "that the runtime names" : `${found[1]} ${keys.text(found[0])}`;
    return sentences(
      `moves the host's device ${which} into the container, and at DEL back, with the name that it had`,
      keys.flag("useInterfaceNetwork") && "keeps the addresses and routes that it has on the host",
      common.dns(described),
      described.ipamType === undefined && !keys.flag("useInterfaceNetwork") && "gives it no addresses",
    );
  },
  advise({ keys, capabilities }) {
    if (selectorOf(keys) !== undefined || capabilities.includes("deviceID")) return [];
    const remedy =
      'Give "device", "hwaddr", "kernelpath" or "pciBusID", or add "capabilities": { "deviceID": true }, so that the runtime does';
    return [{ level: "error", field: "", problem: "nothing says which device it is", remedy }];
  },
};

export const tap: Description = {
  role: "interface",
  capabilities: { mac },
  describe(described) {
    const { keys } = described;
    const who = sentences(
      keys.number("owner") !== undefined && `user ${keys.number("owner")}`,
      keys.number("group") !== undefined && `group ${keys.number("group")}`,
    );
    const bridgeName = keys.text("bridge");
    return sentences(
      "makes a tap interface in the container, for a virtual machine or another program that carries its frames",
      who.length > 0 && `lets ${listed(who)} open it`,
      keys.flag("multiQueue") && "gives it several queues",
      bridgeName !== undefined && `puts it into the container's bridge "${bridgeName}"`,
      common.mac(described),
      common.mtu(described),
      common.dns(described),
      common.layer2(described),
    );
  },
};

export const dummy: Description = {
  role: "interface",
  capabilities: {},
  describe: (described) =>
    sentences(
      "makes an interface that leads nowhere, for addresses that are reached otherwise",
      common.dns(described),
    ),
};

export const loopback: Description = {
  role: "loopback",
  capabilities: {},
  describe: () => ["sets the container's interface lo up, whatever interface it is called for"],
};
