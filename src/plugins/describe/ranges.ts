import type { ListedPlugin, NetworkList } from "../../cni/list.ts";
import { completeRange, type IpRange } from "../../ipam/range.ts";
import { Ip } from "../../lib/ip.ts";
import { Prefix } from "../../lib/prefix.ts";
import { Keys } from "./description.ts";

/** Addresses that an IPAM plugin gives out. */
export interface NamedRange {
  network: string;
  /** "plugins[0].ipam.ranges[0][0]". */
  field: string;
  subnet: Prefix;
  start: Ip;
  end: Ip;
  /** With the network's length. */
  gateway?: string;
  /** The gateway that its network does not have; of host-local that plugin warns itself. */
  strayGateway?: Ip;
}

/** The addresses that a plugin's host-local or static gives out; what cannot be read is not among them. */
export function rangesOf({ name }: NetworkList, { raw }: ListedPlugin, path: string): NamedRange[] {
  const ipam = new Keys(raw).object("ipam");
  const found: (NamedRange | undefined)[] = [];
  if (ipam.text("type") === "host-local") {
    if (ipam.text("subnet") !== undefined) found.push(leased(name, ipam, `${path}.ipam`));
    const sets = ipam.get("ranges");
    for (const [i, set] of (Array.isArray(sets) ? sets : []).entries()) {
      for (const [j, range] of new Keys({ set }).objects("set").entries()) {
        found.push(leased(name, range, `${path}.ipam.ranges[${i}][${j}]`));
      }
    }
  }
  if (ipam.text("type") === "static") {
    for (const [i, item] of ipam.objects("addresses").entries()) {
      found.push(fixed(name, item, `${path}.ipam.addresses[${i}]`));
    }
  }
  return found.filter((range) => range !== undefined);
}

function leased(network: string, range: Keys, field: string): NamedRange | undefined {
  try {
    const ipOf = (name: string) => {
      const text = range.text(name);
      return text === undefined ? undefined : Ip.parse(text, name);
    };
    const [start, end, gateway] = [ipOf("rangeStart"), ipOf("rangeEnd"), ipOf("gateway")];
    const complete = completeRange(
      {
        subnet: Prefix.parse(range.text("subnet") ?? "", "subnet"),
        ...(start === undefined ? {} : { start }),
        ...(end === undefined ? {} : { end }),
        ...(gateway === undefined ? {} : { gateway }),
      },
      field,
    );
    return { network, field, ...ends(complete) };
  } catch {
    return undefined;
  }
}

function ends({ subnet, start, end, gateway }: IpRange): Omit<NamedRange, "network" | "field"> {
  return { subnet, start, end, gateway: `${gateway}/${subnet.length}` };
}

function fixed(network: string, item: Keys, field: string): NamedRange | undefined {
  try {
    const address = Prefix.parse(item.text("address") ?? "", "address");
    const text = item.text("gateway");
    const gateway = text === undefined ? undefined : Ip.parse(text, "gateway");
    return {
      network,
      field,
      subnet: address.masked(),
      start: address.ip,
      end: address.ip,
      ...(gateway === undefined
        ? {}
        : { gateway: `${gateway}/${address.length}`, ...stray(address, gateway) }),
    };
  } catch {
    return undefined;
  }
}

function stray(subnet: Prefix, gateway: Ip): { strayGateway?: Ip } {
  return subnet.masked().contains(gateway) || gateway.isLinkLocal() ? {} : { strayGateway: gateway };
}

/** True where both give out some address. */
export function overlap(a: NamedRange, b: NamedRange): boolean {
  if (a.subnet.family !== b.subnet.family) return false;
  return a.start.compare(b.end) <= 0 && b.start.compare(a.end) <= 0;
}
