import { MalformedMessage, type Value } from "../netlink/codec.ts";
import type { TypeSpec } from "./datatypes.ts";
import { hooks } from "./encode.ts";
import type {
  chainAttributes,
  counterAttributes,
  ruleAttributes,
  setAttributes,
  tableAttributes,
} from "./messages.ts";
import type {
  Chain,
  ChainType,
  Counter,
  Family,
  Hook,
  NftMap,
  NftSet,
  Rule,
  SetFlag,
  Table,
} from "./model.ts";
import { readComment, readSetUserData } from "./userdata.ts";
import { typeSpecOf } from "./values.ts";

const TYPE_VERDICT = 0xffffff00;

function named(what: string, name: string | undefined): string {
  if (name === undefined) throw new MalformedMessage(`a ${what} without a name`);
  return name;
}

// For optional properties under exactOptionalPropertyTypes: absent rather than undefined.
function compact<T extends object>(value: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as T;
}

const nonEmpty = <T>(list: readonly T[] | undefined) =>
  list === undefined || list.length === 0 ? undefined : list;
const nonZero = (value: number | undefined) => (value === 0 ? undefined : value);

export function readTable(value: Value<typeof tableAttributes>, family: Family): Table {
  return compact<Table>({
    kind: "table",
    family,
    name: named("table", value.name),
    flags: nonEmpty(value.flags),
    comment: readComment(value.userData),
    handle: value.handle,
  });
}

export function readChain(value: Value<typeof chainAttributes>, family: Family): Chain {
  const { hook } = value;
  const name = Object.entries(hooks[family]).find(([, number]) => number === hook?.hook)?.[0];
  if (hook !== undefined && name === undefined)
    throw new MalformedMessage(`a chain on the hook ${hook.hook}`);
  return compact<Chain>({
    kind: "chain",
    name: named("chain", value.name),
    type: value.type as ChainType | undefined,
    hook: name as Hook | undefined,
    priority: hook?.priority,
    policy: value.policy,
    devices: nonEmpty(hook?.devices) ?? (hook?.device === undefined ? undefined : [hook.device]),
    comment: readComment(value.userData),
    handle: value.handle,
  });
}

export function readRule(value: Value<typeof ruleAttributes>): Rule {
  return compact<Rule>({
    kind: "rule",
    table: undefined,
    chain: named("chain", value.chain),
    expressions: value.expressions ?? [],
    comment: readComment(value.userData),
    handle: value.handle,
    // What the kernel tells here is the rule before this one: it changes with the neighbours.
    position: undefined,
  });
}

/** A set or map without its elements; undefined for one whose types Weft has no names for, and for anonymous ones. */
export function readSet(value: Value<typeof setAttributes>): NftSet | NftMap | undefined {
  const flags = value.flags ?? [];
  if (flags.includes("anonymous") || flags.includes("object")) return undefined;
  const key = typeSpecOf(value.keyType ?? 0, value.keyLength ?? 0);
  const map = flags.includes("map");
  const data = map ? readDataType(value) : undefined;
  if (key === undefined || (map && data === undefined)) return undefined;
  const base = {
    name: named("set", value.name),
    key,
    flags: nonEmpty(flags.filter(isSetFlag)),
    timeout: nonZero(value.timeout),
    gcInterval: nonZero(value.gcInterval),
    size: nonZero(value.description?.size),
    policy: value.policy === "performance" ? undefined : value.policy,
    expressions: value.expressions ?? (value.expression && [value.expression]),
    handle: value.handle,
    ...readSetUserData(value.userData),
  };
  return data === undefined
    ? compact<NftSet>({ kind: "set", ...base } as NftSet)
    : compact<NftMap>({ kind: "map", data, ...base } as NftMap);
}

function readDataType(value: Value<typeof setAttributes>): TypeSpec | "verdict" | undefined {
  const { dataType = 0, dataLength = 0 } = value;
  return dataType === TYPE_VERDICT ? "verdict" : typeSpecOf(dataType, dataLength);
}

function isSetFlag(flag: string): flag is SetFlag {
  return ["constant", "interval", "timeout", "dynamic"].includes(flag);
}

export function readCounter(value: Value<typeof counterAttributes>): Counter {
  return compact<Counter>({
    kind: "counter",
    table: undefined,
    name: named("counter", value.name),
    packets: value.data?.packets,
    bytes: value.data?.bytes,
    comment: readComment(value.userData),
    handle: value.handle,
  });
}
