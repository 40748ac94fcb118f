import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import { type IpMasqBackend, parseIpMasqBackend } from "../netfilter/ip-masq.ts";
import { parseMtu } from "../shared/link-keys.ts";

/** What the ptp plugin is asked to do. */
export interface PtpConfig {
  ipamType: string;
  ipMasq: boolean;
  ipMasqBackend: IpMasqBackend;
  mtu: number | undefined;
}

/** Reads a ptp configuration. Throws {@link InvalidInput}, or a {@link CniError} of code 7 where there is no IPAM. */
export function parsePtpConfig({ config: { fields, ipamType } }: PluginRequest): PtpConfig {
  if (ipamType === undefined) {
    throw new CniError(cniErrorCode.invalidNetworkConfig, "ipam.type: is missing", {
      remedy: fields.misspelt("ipam") ?? 'Give it "ipam" with a "type", such as host-local',
    });
  }
  return {
    ipamType,
    ipMasq: fields.boolean("ipMasq") ?? false,
    ipMasqBackend: parseIpMasqBackend(fields),
    mtu: parseMtu(fields),
  };
}
