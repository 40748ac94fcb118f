import { binary, list, schema, type Type, text, u32be, type Writer } from "../netlink/codec.ts";
import { data, enumeration, flags, n64, s32be } from "./attributes.ts";
import { expression, expressionList } from "./expressions.ts";
import type { Family } from "./model.ts";

/** NFNL_SUBSYS_NFTABLES, in the high byte of every message type. */
const NFNL_SUBSYS_NFTABLES = 10;

/** enum nf_tables_msg_types, with the subsystem. */
export const message = {
  NEWTABLE: subsystem(0),
  GETTABLE: subsystem(1),
  DELTABLE: subsystem(2),
  NEWCHAIN: subsystem(3),
  GETCHAIN: subsystem(4),
  DELCHAIN: subsystem(5),
  NEWRULE: subsystem(6),
  GETRULE: subsystem(7),
  DELRULE: subsystem(8),
  NEWSET: subsystem(9),
  GETSET: subsystem(10),
  DELSET: subsystem(11),
  NEWSETELEM: subsystem(12),
  GETSETELEM: subsystem(13),
  DELSETELEM: subsystem(14),
  NEWGEN: subsystem(15),
  GETGEN: subsystem(16),
  NEWOBJ: subsystem(18),
  GETOBJ: subsystem(19),
  DELOBJ: subsystem(20),
  // Linux 6.3 and later: as DEL, but what is not there is no error.
  DESTROYTABLE: subsystem(26),
  DESTROYCHAIN: subsystem(27),
  DESTROYRULE: subsystem(28),
  DESTROYSET: subsystem(29),
  DESTROYSETELEM: subsystem(30),
  DESTROYOBJ: subsystem(31),
} as const;

/** True for messages that kernels before 6.3 do not know. */
export function isDestroyMessage(type: number): boolean {
  return type >= message.DESTROYTABLE;
}

function subsystem(type: number): number {
  return (NFNL_SUBSYS_NFTABLES << 8) | type;
}

/** NFPROTO_*, the family of a table. */
export const families: Readonly<Record<Family, number>> = {
  inet: 1,
  ip: 2,
  arp: 3,
  netdev: 5,
  bridge: 7,
  ip6: 10,
};

/** Size of struct nfgenmsg, which stands before the attributes. */
export const NFGENMSG = 4;

/** struct nfgenmsg: family, version, and a number whose meaning depends on the message. */
export function writeHeader(writer: Writer, family: number, resource = 0): void {
  writer.u8(family);
  writer.u8(0);
  writer.u16be(resource);
}

/** NFTA_TABLE_*. */
export const tableAttributes = schema({
  name: [1, text],
  flags: [2, flags({ dormant: 1, owner: 2, persist: 4 })],
  handle: [4, n64],
  userData: [6, binary],
});

/** NFTA_HOOK_*. */
const hookAttributes = schema({
  hook: [1, u32be],
  priority: [2, s32be],
  device: [3, text],
  devices: [4, list(1, text)],
});

/** NFTA_CHAIN_*. */
export const chainAttributes = schema({
  table: [1, text],
  handle: [2, n64],
  name: [3, text],
  hook: [4, hookAttributes],
  policy: [5, enumeration({ drop: 0, accept: 1 })],
  type: [7, text],
  userData: [12, binary],
});

/** NFTA_RULE_*. */
export const ruleAttributes = schema({
  table: [1, text],
  chain: [2, text],
  handle: [3, n64],
  expressions: [4, expressionList],
  position: [6, n64],
  userData: [7, binary],
});

/** NFT_SET_*. */
export const setFlags = {
  anonymous: 0x1,
  constant: 0x2,
  interval: 0x4,
  map: 0x8,
  timeout: 0x10,
  dynamic: 0x20,
  object: 0x40,
  concat: 0x80,
  expr: 0x100,
} as const;

const setDescription = schema({
  size: [1, u32be],
  /** The bytes of each field of a concatenation. */
  concat: [2, list(1, schema({ length: [1, u32be] }))],
});

/** NFTA_SET_*. */
export const setAttributes = schema({
  table: [1, text],
  name: [2, text],
  flags: [3, flags(setFlags)],
  keyType: [4, u32be],
  keyLength: [5, u32be],
  dataType: [6, u32be],
  dataLength: [7, u32be],
  policy: [8, enumeration({ performance: 0, memory: 1 })],
  description: [9, setDescription],
  id: [10, u32be],
  timeout: [11, n64],
  gcInterval: [12, u32be],
  userData: [13, binary],
  handle: [16, n64],
  expression: [17, expression],
  expressions: [18, expressionList],
});

/** NFTA_SET_ELEM_*. */
export const elementAttributes = schema({
  key: [1, data],
  data: [2, data],
  flags: [3, flags({ end: 1, catchall: 2 })],
  timeout: [4, n64],
  expiration: [5, n64],
  userData: [6, binary],
  expression: [7, expression],
  keyEnd: [10, data],
  expressions: [11, expressionList],
});

/** NFTA_SET_ELEM_LIST_*. */
export const elementListAttributes = schema({
  table: [1, text],
  set: [2, text],
  elements: [3, list(1, elementAttributes)],
});

/** NFTA_OBJ_*, of a counter. */
export const counterAttributes = schema({
  table: [1, text],
  name: [2, text],
  type: [3, u32be],
  data: [4, schema({ bytes: [1, n64], packets: [2, n64] })],
  handle: [6, n64],
  userData: [8, binary],
});

/** NFTA_GEN_*. */
export const generationAttributes = schema({ id: [1, u32be] });

/** NFNL_BATCH_*. */
export const batchAttributes = schema({ generation: [1, u32be] });

/** Reads what stands behind struct nfgenmsg. */
export function readAttributes<T>(type: Type<T>, payload: Uint8Array): T {
  return type.read(payload.subarray(NFGENMSG));
}
