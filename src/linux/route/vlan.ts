import {
  attributes as eachAttribute,
  MalformedMessage,
  schema,
  type Type,
  u16,
  u32,
  type Writer,
} from "../netlink/codec.ts";
import { fixed, struct } from "../netlink/types.ts";
import type { LinkRef } from "./link.ts";
import { ifinfomsg } from "./link-messages.ts";
import { AF_BRIDGE } from "./neighbour.ts";
import type { Body, Resolver } from "./resolver.ts";

const MASTER = 1;
const SELF = 2;
const RTEXT_FILTER_BRVLAN_COMPRESSED = 4;

const BRIDGE_VLAN_INFO_PVID = 2;
const BRIDGE_VLAN_INFO_UNTAGGED = 4;
const BRIDGE_VLAN_INFO_RANGE_BEGIN = 8;
const BRIDGE_VLAN_INFO_RANGE_END = 16;

const IFLA_BRIDGE_VLAN_INFO = 2;
const vlanInfo = struct("bridge_vlan_info", { flags: fixed.u16, vid: fixed.u16 });

const afSpec = schema({
  flags: [0 /* IFLA_BRIDGE_FLAGS */, u16],
  vlans: [IFLA_BRIDGE_VLAN_INFO, vlanInfo],
});

/** The same nest on reading: every IFLA_BRIDGE_VLAN_INFO in it, in order. */
const vlanInfos: Type<{ flags: number; vid: number }[]> = {
  write: () => {},
  read: (bytes) => {
    const infos: { flags: number; vid: number }[] = [];
    for (const [type, payload] of eachAttribute(bytes)) {
      if (type === IFLA_BRIDGE_VLAN_INFO) infos.push(vlanInfo.read(payload));
    }
    return infos;
  },
};

const attributes = schema({
  afSpec: [26 /* IFLA_AF_SPEC */, vlanInfos],
  extMask: [29 /* IFLA_EXT_MASK */, u32],
});

/** A VLAN, or a range of them, that a bridge port (or the bridge itself) carries. */
export interface BridgeVlan {
  /** Index of the port or of the bridge. */
  link: number;
  vid: number;
  /** The last of a range; equal to `vid` for one VLAN. */
  vidEnd: number;
  /** Untagged frames that come in belong to it. */
  pvid: boolean;
  /** Frames that go out lose their tag. */
  untagged: boolean;
}

/** VLANs to be added to or deleted from a port. */
export interface NewBridgeVlan {
  link: LinkRef;
  vid: number;
  vidEnd?: number;
  pvid?: boolean;
  untagged?: boolean;
  /** True where `link` is the bridge itself rather than one of its ports. */
  self?: boolean;
}

/** The body of RTM_SETLINK (add) or RTM_DELLINK (delete). */
export function bridgeVlanBody(vlan: NewBridgeVlan, resolver: Resolver): Body {
  const index = resolver.index(vlan.link);
  const flags = (vlan.pvid ? BRIDGE_VLAN_INFO_PVID : 0) | (vlan.untagged ? BRIDGE_VLAN_INFO_UNTAGGED : 0);
  const { vid, vidEnd = vid } = vlan;
  return (writer) => {
    ifinfomsg.put(writer, { family: AF_BRIDGE, index });
    const at = writer.beginNested(26 /* IFLA_AF_SPEC */);
    afSpec.write(writer, { flags: vlan.self ? SELF : MASTER });
    if (vidEnd === vid) {
      afSpec.write(writer, { vlans: { flags, vid } });
    } else {
      afSpec.write(writer, { vlans: { flags: flags | BRIDGE_VLAN_INFO_RANGE_BEGIN, vid } });
      afSpec.write(writer, { vlans: { flags: flags | BRIDGE_VLAN_INFO_RANGE_END, vid: vidEnd } });
    }
    writer.end(at);
  };
}

/** The body of the dump request (RTM_GETLINK). */
export function writeBridgeVlanDump(writer: Writer): void {
  ifinfomsg.put(writer, { family: AF_BRIDGE });
  attributes.write(writer, { extMask: RTEXT_FILTER_BRVLAN_COMPRESSED });
}

/** The VLANs in an RTM_NEWLINK message of family AF_BRIDGE. Throws {@link MalformedMessage}. */
export function readBridgeVlans(payload: Uint8Array): BridgeVlan[] {
  const { index } = ifinfomsg.read(payload);
  const infos = attributes.readFrom(payload, ifinfomsg.size).afSpec ?? [];
  const vlans: BridgeVlan[] = [];
  let begin: number | undefined;
  for (const { flags, vid } of infos) {
    if ((flags & BRIDGE_VLAN_INFO_RANGE_BEGIN) !== 0) {
      begin = vid;
      continue;
    }
    const first = (flags & BRIDGE_VLAN_INFO_RANGE_END) !== 0 ? begin : vid;
    if (first === undefined)
      throw new MalformedMessage(`a VLAN range that ends at ${vid} without a beginning`);
    begin = undefined;
    vlans.push({
      link: index,
      vid: first,
      vidEnd: vid,
      pvid: (flags & BRIDGE_VLAN_INFO_PVID) !== 0,
      untagged: (flags & BRIDGE_VLAN_INFO_UNTAGGED) !== 0,
    });
  }
  return vlans;
}
