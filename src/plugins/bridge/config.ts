import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { Fields } from "../../cni/fields.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import { requireConfiguredInterface } from "../../cni/validate.ts";
import { InvalidInput } from "../../lib/errors.ts";
import { type IpMasqBackend, parseIpMasqBackend } from "../netfilter/ip-masq.ts";
import { parseMtu, requestedMac } from "../shared/link-keys.ts";

/** The keys of a bridge configuration. */
export const bridgeKeys = [
  "bridge",
  "isGateway",
  "isDefaultGateway",
  "forceAddress",
  "ipMasq",
  "ipMasqBackend",
  "mtu",
  "hairpinMode",
  "promiscMode",
  "vlan",
  "vlanTrunk",
  "preserveDefaultVlan",
  "macspoofchk",
  "enabledad",
  "disableContainerInterface",
  "portIsolation",
] as const;

const highestVlan = 4094;
/** What the kernel puts ports into where a bridge filters VLANs. */
const defaultVlan = 1;

/** What the bridge plugin is asked to do. */
export interface BridgeConfig {
  bridge: string;
  /** The bridge gets the gateway's address; set by isDefaultGateway too. */
  isGateway: boolean;
  isDefaultGateway: boolean;
  forceAddress: boolean;
  ipMasq: boolean;
  ipMasqBackend: IpMasqBackend;
  /** Bytes; the kernel's default where not given. */
  mtu?: number;
  hairpinMode: boolean;
  promiscMode: boolean;
  /** The VLAN that the container is in, without tags; 0 for none. */
  vlan: number;
  /** The tagged VLANs of the port, rising. */
  vlanTrunk: number[];
  /** The VLAN of untagged frames of a port, access or trunk; 0 for what the bridge gives it. */
  nativeVlan: number;
  /** Ports stay in the VLAN that the bridge gives them by itself. */
  preserveDefaultVlan: boolean;
  enableDad: boolean;
  disableContainerInterface: boolean;
  /** Frames leave the container with its own hardware address alone. */
  macSpoofCheck: boolean;
  portIsolation: boolean;
  /** The container's address on layer 2; the kernel chooses where not given. */
  mac?: string;
}

/** Reads a bridge configuration. Throws {@link InvalidInput}, or a {@link CniError} where keys exclude each other. */
export function parseBridgeConfig(request: PluginRequest): BridgeConfig {
  const { fields, ipamType } = request.config;
  const flag = (name: string) => fields.boolean(name) ?? false;
  const isDefaultGateway = flag("isDefaultGateway");
  const mtu = parseMtu(fields);
  const mac = requestedMac(request);
  const config: BridgeConfig = {
    bridge: requireConfiguredInterface(fields.string("bridge") || "cni0", "bridge"),
    isGateway: isDefaultGateway || flag("isGateway"),
    isDefaultGateway,
    forceAddress: flag("forceAddress"),
    ipMasq: flag("ipMasq"),
    ipMasqBackend: parseIpMasqBackend(fields),
    ...(mtu === undefined ? {} : { mtu }),
    hairpinMode: flag("hairpinMode"),
    promiscMode: flag("promiscMode"),
    ...parseVlans(fields),
    enableDad: flag("enabledad"),
    disableContainerInterface: flag("disableContainerInterface"),
    macSpoofCheck: flag("macspoofchk"),
    portIsolation: flag("portIsolation"),
    ...(mac === undefined ? {} : { mac }),
  };
  refuseContradictions(config, ipamType);
  return config;
}

function refuseContradictions(config: BridgeConfig, ipamType: string | undefined): void {
  const { bridge, vlan } = config;
  if (config.hairpinMode && config.promiscMode) {
    throw invalid("cannot set hairpin mode and promiscuous mode at the same time", "Set one of them");
  }
  if (vlan !== 0 && config.isGateway)
    requireConfiguredInterface(vlanInterfaceName(bridge, vlan), "bridge and vlan");
  if (config.disableContainerInterface && ipamType !== undefined) {
    throw invalid(
      "cannot use IPAM when disableContainerInterface is set",
      "An interface that stays down takes no addresses",
    );
  }
}

function invalid(problem: string, remedy: string): CniError {
  return new CniError(cniErrorCode.invalidNetworkConfig, problem, { remedy });
}

/** True where the bridge has to filter VLANs. */
export function usesVlans({ vlan, vlanTrunk }: Pick<BridgeConfig, "vlan" | "vlanTrunk">): boolean {
  return vlan !== 0 || vlanTrunk.length > 0;
}

/** The host's own port in a VLAN, which has the gateway's address. */
export function vlanInterfaceName(bridge: string, vlan: number): string {
  return `${bridge}.${vlan}`;
}

/**
 * The VLANs of a port. A trunk has the VLAN `vlan` without tags; where none is given and nothing is said of the default
 * VLAN either, that is 1, as with the reference.
 */
function parseVlans(
  fields: Fields,
): Pick<BridgeConfig, "vlan" | "vlanTrunk" | "nativeVlan" | "preserveDefaultVlan"> {
  const vlan = fields.integer("vlan", 0, highestVlan) ?? 0;
  const vlanTrunk = parseVlanTrunk(fields.objects("vlanTrunk") ?? []);
  const preserve = fields.boolean("preserveDefaultVlan");
  const needsNative = vlan === 0 && vlanTrunk.length > 0 && preserve === undefined;
  return {
    vlan,
    vlanTrunk,
    nativeVlan: needsNative && !vlanTrunk.includes(defaultVlan) ? defaultVlan : vlan,
    preserveDefaultVlan: preserve ?? false,
  };
}

/** Each item is a range (`minID`, `maxID`), one VLAN (`id`), or both. */
function parseVlanTrunk(items: Fields[]): number[] {
  if (items.length > highestVlan) {
    throw new InvalidInput("vlanTrunk", undefined, `has more than ${highestVlan} items`, {
      remedy: "Join what is next to each other into ranges",
    });
  }
  const vlans = new Set<number>();
  for (const item of items) {
    const min = item.integer("minID", 1, highestVlan);
    const max = item.integer("maxID", 1, highestVlan);
    const id = item.integer("id", 1, highestVlan);
    if ((min === undefined) !== (max === undefined)) {
      const missing = min === undefined ? "minID" : "maxID";
      throw item.missing(missing, "Give minID and maxID together");
    }
    if (min !== undefined && max !== undefined) {
      if (max < min) throw new InvalidInput(item.at("maxID"), max, `is less than minID ${min}`);
      for (let vlan = min; vlan <= max; vlan++) vlans.add(vlan);
    }
    if (id !== undefined) vlans.add(id);
  }
  return [...vlans].sort((a, b) => a - b);
}
