import type { JsonObject } from "../../../src/cni/fields.ts";
import type { Place } from "./case.ts";
import type { Twin } from "./twin.ts";

/** A link as `ip -j -d addr show` has it. */
export interface RawLink extends JsonObject {
  ifindex: number;
  ifname: string;
  address?: string;
  link?: string;
  link_index?: number;
  qdisc?: string;
  linkinfo?: { info_kind?: string; info_data?: JsonObject };
  addr_info?: JsonObject[];
}

/** Hardware addresses that a test gave begin so; others are made up by the kernel or a plugin. */
const given = "02:00:00";
const generatedName = /\bveth[0-9a-f]{8}\b/g;
/** An IPv6 link-local address after RFC 4291 appendix A, but of a hardware address that a test gave. */
const generatedLinkLocal = /\bfe80::(?!ff:fe)[0-9a-f:]*ff:fe[0-9a-f]{2}:[0-9a-f]{1,4}\b/g;

/** What is made up by chance on a side, replaced by what it is: "veth<c1.eth0>" for the host's end of eth0 of c1. */
export class Labels {
  readonly #links: ReadonlyMap<Place, readonly RawLink[]>;
  readonly #names = new Map<string, string>();
  readonly #paths: [string, string][];

  constructor(links: ReadonlyMap<Place, readonly RawLink[]>, twin: Twin) {
    this.#links = links;
    this.#paths = [
      ...twin.names.map((name): [string, string] => [twin.netnsPath(name), `<${name}>`]),
      [twin.dir, "<dir>"],
    ];
    for (const [place, list] of links) {
      for (const link of list) {
        const peer = link.ifname.match(generatedName) === null ? undefined : this.#peer(place, link);
        if (peer !== undefined) this.#names.set(link.ifname, `veth<${peer}>`);
      }
    }
  }

  /** The other end of a pair: "c1.eth0". */
  #peer(place: Place, link: RawLink): string | undefined {
    if (link.link !== undefined) return `${place}.${link.link}`;
    for (const [other, list] of this.#links) {
      if (other === place) continue;
      const peer = list.find(
        ({ ifindex, link_index }) => ifindex === link.link_index && link_index === link.ifindex,
      );
      if (peer !== undefined) return `${other}.${peer.ifname}`;
    }
    return undefined;
  }

  /** The link, the index of its lower link or peer replaced by its name. */
  linkOf(place: Place, link: RawLink): JsonObject {
    const { link_index, ...rest } = link;
    if (link_index === undefined) return rest;
    for (const [other, list] of this.#links) {
      const lower = list.find(({ ifindex }) => ifindex === link_index);
      if (other !== place && lower !== undefined && (lower.link_index ?? link.ifindex) === link.ifindex) {
        return { ...rest, link: `${other}.${lower.ifname}` };
      }
    }
    return { ...rest, link: "elsewhere" };
  }

  isLiteral(mac: string | undefined): boolean {
    return mac === undefined || mac.startsWith(given) || /^(00:00:00|ff:ff:ff)/.test(mac);
  }

  /** The hardware address of a link of the place now. */
  macOf(place: Place, name: string): string | undefined {
    return this.#links.get(place)?.find(({ ifname }) => ifname === name)?.address;
  }

  /** The place whose namespace has the path. */
  placeOf(sandbox: string | undefined): Place {
    if (sandbox === undefined || sandbox === "") return "host";
    const label = this.#paths.find(([path]) => path === sandbox)?.[1];
    return (label?.slice(1, -1) ?? "outside") as Place;
  }

  /** The text of a file, its generated hardware addresses too. */
  applyToFile(text: string): string {
    const withoutMacs = text.replace(/\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b/g, (mac) =>
      this.isLiteral(mac) ? mac : "<mac>",
    );
    return this.apply(withoutMacs);
  }

  apply(text: string): string {
    let out = text;
    for (const [path, label] of this.#paths) out = out.replaceAll(path, label);
    return out
      .replace(generatedName, (name) => this.#names.get(name) ?? "veth<?>")
      .replace(generatedLinkLocal, "fe80::<generated>")
      .replace(/\b8[0-9a-f]{3}:(?=[\s"]|$)/g, "<handle>:")
      .replace(/\bindex \d+ ref\b/g, "index <n> ref");
  }
}
