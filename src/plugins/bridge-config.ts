import { CniError, cniErrorCode } from "../cni/errors.ts";
import type { Fields } from "../cni/fields.ts";
import type { PluginRequest } from "../cni/plugin.ts";
import { requireConfiguredInterface } from "../cni/validate.ts";
import { InvalidInput } from "../lib/errors.ts";
import { type IpMasqBackend, parseIpMasqBackend } from "./ip-masq.ts";
import { parseMtu, requestedMac } from "./link-keys.ts";

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
  /** The VLAN of untagged frames of the port; 0 for none. */
  vlan: number;
  /** The tagged VLANs of the port, rising. */
  vlanTrunk: number[];
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
    vlan: fields.integer("vlan", 0, highestVlan) ?? 0,
    vlanTrunk: parseVlanTrunk(fields.objects("vlanTrunk") ?? []),
    preserveDefaultVlan: fields.boolean("preserveDefaultVlan") ?? true,
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
  const { bridge, vlan, vlanTrunk } = config;
  if (config.hairpinMode && config.promiscMode) {
    throw invalid("cannot set hairpin mode and promiscuous mode at the same time", "Set one of them");
  }
  if (vlan !== 0 && vlanTrunk.length > 0) {
    throw invalid("cannot set vlan and vlanTrunk at the same time", "A port is access or trunk");
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

/** Each item is a range (`minID`, `maxID`), one VLAN (`id`), or both. */
function parseVlanTrunk(items: Fields[]): number[] {
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
