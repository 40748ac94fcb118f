import { InvalidInput } from "../../lib/errors.ts";
import type { Prefix } from "../../lib/prefix.ts";
import {
  attributes as eachAttribute,
  MalformedMessage,
  schema,
  type Type,
  text,
  u32,
} from "../netlink/codec.ts";
import { fixed, Names, struct } from "../netlink/types.ts";
import { formatHandle, parseHandle } from "./tc-handle.ts";

/** tc_gen, with which the parameters of every action begin. */
const generic = {
  index: fixed.u32,
  capabilities: fixed.u32,
  action: fixed.s32,
  references: fixed.s32,
  bindings: fixed.s32,
};
const TC_ACT_PIPE = 3;
const TC_ACT_STOLEN = 4;

const mirredStruct = struct("tc_mirred", { ...generic, eaction: fixed.s32, link: fixed.u32 });
const gactStruct = struct("tc_gact", generic);

/** TCA_EGRESS_REDIR and its like. */
const mirredActions = new Names("mirred", {
  "egress redirect": 1,
  "egress mirror": 2,
  "ingress redirect": 3,
  "ingress mirror": 4,
});
type MirredAction = "egress redirect" | "egress mirror" | "ingress redirect" | "ingress mirror" | number;

const verdicts = new Names("verdict", { ok: 0, reclassify: 1, shot: 2, pipe: 3, stolen: 4 });

/** What a filter does with a packet: hand it (or a copy) to another link, or decide on it. */
export type FilterAction =
  | { mirred: { action: MirredAction /** Index. */; link: number } }
  | { gact: "ok" | "reclassify" | "shot" | "pipe" | "stolen" | number };

const actionAttributes = schema({ kind: [1 /* TCA_ACT_KIND */, text] });
const TCA_ACT_OPTIONS = 2;
/** TCA_MIRRED_PARMS, TCA_GACT_PARMS */
const PARMS = 2;

const action: Type<FilterAction> = {
  nested: true,
  write: (writer, value) => {
    actionAttributes.write(writer, { kind: "mirred" in value ? "mirred" : "gact" });
    const options = writer.beginNested(TCA_ACT_OPTIONS);
    const at = writer.begin(PARMS);
    if ("mirred" in value) {
      const eaction = mirredActions.number(value.mirred.action);
      const redirect = eaction === 1 || eaction === 3;
      mirredStruct.put(writer, {
        action: redirect ? TC_ACT_STOLEN : TC_ACT_PIPE,
        eaction,
        link: value.mirred.link,
      });
    } else {
      gactStruct.put(writer, { action: verdicts.number(value.gact) });
    }
    writer.end(at);
    writer.end(options);
  },
  read: (bytes) => {
    const { kind = "" } = actionAttributes.read(bytes);
    for (const [type, options] of eachAttribute(bytes)) {
      if (type !== TCA_ACT_OPTIONS) continue;
      for (const [number, parms] of eachAttribute(options)) {
        if (number !== PARMS) continue;
        if (kind === "gact") return { gact: verdicts.name(gactStruct.read(parms).action) };
        if (kind !== "mirred") continue;
        const { eaction, link } = mirredStruct.read(parms);
        return { mirred: { action: mirredActions.name(eaction), link } };
      }
    }
    throw new MalformedMessage(`a filter action of kind "${kind}", which is not known here`);
  },
};

/** Actions one after the other, counted from 1. */
const actions: Type<FilterAction[]> = {
  nested: true,
  write: (writer, values) => {
    for (const [i, value] of values.entries()) {
      const at = writer.beginNested(i + 1);
      action.write(writer, value);
      writer.end(at);
    }
  },
  read: (bytes) => Array.from(eachAttribute(bytes), ([, payload]) => action.read(payload)),
};

const classId: Type<string> = {
  write: (writer, value) => writer.u32(parseHandle(value)),
  read: (bytes) => formatHandle(u32.read(bytes)),
};

/** Four bytes of the packet, counted from the network header, that must equal `value` under `mask`. */
export interface U32Match {
  offset: number;
  value: number;
  mask: number;
}

const selectorStruct = struct("tc_u32_sel", {
  flags: fixed.u8,
  offsetShift: fixed.u8,
  keys: fixed.u8,
  pad: fixed.u8,
  offsetMask: fixed.u16be,
  offset: fixed.u16,
  offsetOffset: fixed.u16,
  hashOffset: fixed.u16,
  hashMask: fixed.u32be,
});
const keyStruct = struct("tc_u32_key", {
  mask: fixed.u32be,
  value: fixed.u32be,
  offset: fixed.s32,
  offsetMask: fixed.s32,
});
const TC_U32_TERMINAL = 1;

const selector: Type<U32Match[]> = {
  write: (writer, matches) => {
    selectorStruct.put(writer, { flags: TC_U32_TERMINAL, keys: matches.length });
    for (const match of matches) keyStruct.put(writer, match);
  },
  read: (bytes) => {
    const { keys } = selectorStruct.read(bytes);
    return Array.from({ length: keys }, (_, i) => {
      const { offset, value, mask } = keyStruct.read(
        bytes.subarray(selectorStruct.size + i * keyStruct.size),
      );
      return { offset, value, mask };
    });
  },
};

const u32Filter = schema({
  /** The class to which matching packets go, such as "1:10". */
  classId: [1 /* TCA_U32_CLASSID */, classId],
  /** All must match. */
  match: [5 /* TCA_U32_SEL */, selector],
  actions: [7 /* TCA_U32_ACT */, actions],
});

const matchall = schema({
  classId: [1 /* TCA_MATCHALL_CLASSID */, classId],
  actions: [2 /* TCA_MATCHALL_ACT */, actions],
});

/** The options of each kind of filter, under the kind's name. */
export interface FilterKinds {
  u32: { classId?: string; match?: U32Match[]; actions?: FilterAction[] };
  matchall: { classId?: string; actions?: FilterAction[] };
}

export const filterKinds: Readonly<Record<string, Type<unknown>>> = {
  u32: u32Filter,
  matchall,
} satisfies { [K in keyof FilterKinds]: Type<FilterKinds[K]> };

/** The matches by which u32 finds packets from or to a prefix. */
export function matchPrefix(prefix: Prefix, side: "src" | "dst"): U32Match[] {
  // Offsets of the addresses in the IPv4 and IPv6 headers (RFC 791, RFC 8200).
  const offset = prefix.family === 4 ? (side === "src" ? 12 : 16) : side === "src" ? 8 : 24;
  const { bytes } = prefix.masked().ip;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const matches: U32Match[] = [];
  for (let at = 0; at * 8 < prefix.length; at += 4) {
    const bits = Math.min(32, prefix.length - at * 8);
    const mask = bits === 32 ? 0xffffffff : ~(0xffffffff >>> bits) >>> 0;
    matches.push({ offset: offset + at, value: view.getUint32(at, false), mask });
  }
  return matches;
}

/** Refuses a filter without conditions that u32 would take for one that matches nothing. */
export function checkU32(options: FilterKinds["u32"] | undefined): void {
  if (options?.match === undefined) {
    throw new InvalidInput("u32.match", undefined, "is missing", { remedy: "Give [] to match every packet" });
  }
}
