import type { Fields } from "../../cni/fields.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import { InvalidInput } from "../../lib/errors.ts";
import { firstOf } from "../../lib/lists.ts";
import { formatMac, parseMac } from "../../lib/mac.ts";
import type { Prefix } from "../../lib/prefix.ts";

/* Keys that many plugins have. */

/** What the kernel takes for an Ethernet link (ETH_MIN_MTU, ETH_MAX_MTU). */
const mtus = { lowest: 68, highest: 65535 };
/** RFC 8200 section 5; the kernel has no IPv6 on links with less. */
export const lowestIpv6Mtu = 1280;

/** `mtu` in bytes; undefined where it is absent or 0. Throws {@link InvalidInput}. */
export function parseMtu(fields: Fields): number | undefined {
  return fields.get("mtu") === 0 ? undefined : fields.integer("mtu", mtus.lowest, mtus.highest);
}

/** Throws where the addresses cannot be on a link with the configured MTU. */
export function requireMtuFor(addresses: readonly Prefix[], mtu: number | undefined): void {
  const address = firstOf(addresses, ({ family }) => family === 6);
  if (address === undefined || mtu === undefined || mtu >= lowestIpv6Mtu) return;
  throw new InvalidInput("mtu", mtu, `is too small for an IPv6 address such as ${address}`, {
    remedy: `Set it to ${lowestIpv6Mtu} at least`,
  });
}

/**
 * The container's address on layer 2 by the `mac` capability, `args.cni.mac`, CNI_ARGS or, for plugins that have it, the
 * key `mac`; the first wins (with `argsFirst`, which is tuning's way, `args.cni.mac`). Throws {@link InvalidInput} for
 * what is no unicast address.
 */
export function requestedMac(
  { config: { fields }, invocation }: PluginRequest,
  options: { hasKey?: boolean; argsFirst?: boolean } = {},
): string | undefined {
  const sources: [string, string | undefined][] = [
    ["runtimeConfig.mac", fields.object("runtimeConfig")?.string("mac")],
    ["args.cni.mac", fields.object("args")?.object("cni")?.string("mac")],
    ["CNI_ARGS MAC", invocation.args.mac],
    ["mac", options.hasKey === true ? fields.string("mac") : undefined],
  ];
  if (options.argsFirst === true)
    sources.sort(([a], [b]) => Number(b === "args.cni.mac") - Number(a === "args.cni.mac"));
  for (const [field, text] of sources) {
    if (text === undefined || text === "") continue;
    const mac = parseMac(text, field);
    if (((mac[0] as number) & 1) === 0 && mac.some((byte) => byte !== 0)) return formatMac(mac);
    throw new InvalidInput(field, text, "is not a unicast address", {
      remedy: "Use one whose first byte is even and that is not all zeros, such as 02:00:00:00:00:01",
    });
  }
  return undefined;
}
