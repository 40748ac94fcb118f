import { InvalidInput } from "../../lib/errors.ts";
import { type Type, type Value, Writer } from "../netlink/codec.ts";
import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from "../netlink/socket.ts";
import { ElementCodec } from "./elements.ts";
import {
  chainAttributes,
  counterAttributes,
  elementListAttributes,
  families,
  message,
  ruleAttributes,
  setAttributes,
  tableAttributes,
} from "./messages.ts";
import type {
  Chain,
  Counter,
  Element,
  Family,
  NftMap,
  NftObject,
  NftSet,
  Rule,
  Table,
  TableRef,
} from "./model.ts";
import { refuseOverlaps } from "./ranges.ts";
import type { Flushable, Operation, Removable } from "./transaction.ts";
import { commentData, setUserData } from "./userdata.ts";
import { layoutOf, typeId } from "./values.ts";

/** A message of a batch before it has a header. */
export interface OutMessage {
  readonly type: number;
  readonly flags: number;
  readonly family: number;
  /** The place of its operation in the transaction. */
  readonly operation: number;
  /** Of a message with elements: the one that each attribute of the list belongs to. */
  readonly elements: readonly Element[] | undefined;
  /** Describes the attributes, for naming the one that the kernel refused. */
  readonly schema: Type<unknown>;
  readonly write: (writer: Writer) => void;
}

export interface EncodeOptions {
  /** False for kernels before 6.3, which have no NFT_MSG_DESTROY*: deletions one by one, to see which find nothing. */
  readonly destroy: boolean;
}

/** NFT_OBJECT_COUNTER. */
const OBJECT_COUNTER = 1;
/** NFT_DATA_VERDICT as a data type. */
const TYPE_VERDICT = 0xffffff00;
/** An attribute cannot exceed 65,535 bytes; no element of ours comes near the rest. */
const ELEMENTS_LIMIT = 60_000;

const inetHooks = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4, ingress: 5 };
/** NF_INET_*, NF_NETDEV_*, NF_ARP_*, NF_BR_*: the hooks that each family has. */
export const hooks: Readonly<Record<Family, Readonly<Record<string, number>>>> = {
  inet: inetHooks,
  ip: inetHooks,
  ip6: inetHooks,
  bridge: { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 },
  arp: { input: 0, output: 1, forward: 2 },
  netdev: { ingress: 0, egress: 1 },
};

/** Turns a transaction's operations into messages, in order. Throws {@link InvalidInput} where something cannot be said. */
export function encodeOperations(
  operations: readonly Operation[],
  table: TableRef,
  options: EncodeOptions,
): OutMessage[] {
  // A loop: in a CNI plugin this runs once, and the first flatMap of a process costs a third of a millisecond.
  const messages: OutMessage[] = [];
  for (const [index, operation] of operations.entries()) {
    const owner = tableOf(operation.object, table);
    for (const message of new Encoder(owner, index, options.destroy).messages(operation))
      messages.push(message);
  }
  return messages;
}

/** The table of an operation's object. */
export function tableOf(object: Operation["object"], table: TableRef): TableRef {
  if (object.kind === "table") return object;
  return object.table ?? (object.kind === "elements" ? object.set.table : undefined) ?? table;
}

/** Encodes one operation. */
class Encoder {
  readonly #table: TableRef;
  readonly #index: number;
  readonly #destroy: boolean;

  constructor(table: TableRef, index: number, destroy: boolean) {
    this.#table = table;
    this.#index = index;
    this.#destroy = destroy;
  }

  messages(operation: Operation): OutMessage[] {
    switch (operation.op) {
      case "add":
        return this.#add(operation.object, NLM_F_CREATE);
      case "create":
        return this.#add(operation.object, NLM_F_CREATE | NLM_F_EXCL);
      case "insert":
        return [this.#rule(operation.object, NLM_F_CREATE)];
      case "replace":
        return [this.#rule(operation.object, NLM_F_REPLACE)];
      case "delete":
        return this.#remove(operation.object, false);
      case "destroy":
        return this.#remove(operation.object, true);
      case "flush":
        return [this.#flush(operation.object)];
    }
  }

  #message<T>(
    type: number,
    flags: number,
    schema: Type<T>,
    value: T,
    write: (writer: Writer) => void = (writer) => schema.write(writer, value),
    elements?: readonly Element[],
  ): OutMessage {
    return {
      type,
      flags,
      family: families[this.#table.family],
      operation: this.#index,
      elements,
      schema: schema as Type<unknown>,
      write,
    };
  }

  #add(object: NftObject, flags: number): OutMessage[] {
    switch (object.kind) {
      case "table":
        return [this.#message(message.NEWTABLE, flags, tableAttributes, tableValue(object))];
      case "chain":
        return [this.#message(message.NEWCHAIN, flags, chainAttributes, chainValue(object, this.#table))];
      case "rule":
        return [this.#rule(object, flags | NLM_F_APPEND)];
      case "set":
      case "map": {
        // The id is for references within the batch, which go by name here; the kernel wants one all the same.
        const value = { ...setValue(object), table: this.#table.name, id: this.#index + 1 };
        return [
          this.#message(message.NEWSET, flags, setAttributes, value),
          ...this.#elements(object, object.elements ?? [], message.NEWSETELEM, flags),
        ];
      }
      case "elements":
        return this.#elements(object.set, object.elements, message.NEWSETELEM, flags);
      case "counter":
        return [this.#message(message.NEWOBJ, flags, counterAttributes, this.#counterValue(object))];
    }
  }

  #rule(rule: Rule, flags: number): OutMessage {
    const { handle, position, comment } = rule;
    return this.#message(message.NEWRULE, flags, ruleAttributes, {
      table: this.#table.name,
      chain: rule.chain,
      ...((flags & NLM_F_REPLACE) !== 0 && handle !== undefined && { handle }),
      expressions: [...rule.expressions],
      ...(position !== undefined && { position }),
      ...(comment !== undefined && { userData: commentData(comment) }),
    });
  }

  #counterValue(counter: Counter): Value<typeof counterAttributes> {
    const { comment } = counter;
    return {
      table: this.#table.name,
      name: counter.name,
      type: OBJECT_COUNTER,
      data: { bytes: counter.bytes ?? 0, packets: counter.packets ?? 0 },
      ...(comment !== undefined && { userData: commentData(comment) }),
    };
  }

  /** As many messages as the elements need: an attribute holds 64 KiB. `each` puts every element in its own. */
  #elements(
    set: NftSet | NftMap,
    elements: readonly Element[],
    type: number,
    flags: number,
    each = false,
  ): OutMessage[] {
    const messages: OutMessage[] = [];
    const codec = new ElementCodec(set);
    const bare = type !== message.NEWSETELEM;
    if (!bare) refuseOverlaps(set, elements);
    const buffer = new Writer();
    let start = 0;
    let owners: Element[] = [];
    const finish = (end: number) => {
      if (owners.length === 0) return;
      const value = { table: this.#table.name, set: set.name };
      const write = listWriter(value, buffer.bytes.slice(start, end));
      messages.push(this.#message(type, flags, elementListAttributes, value, write, owners));
      start = end;
      owners = [];
    };
    for (const element of elements) {
      const before = buffer.length;
      const count = writeElement(codec, buffer, element, bare, set);
      if (each || buffer.length - start > ELEMENTS_LIMIT) finish(before);
      for (let i = 0; i < count; i++) owners.push(element);
    }
    finish(buffer.length);
    return messages;
  }

  #remove(object: Removable, ifThere: boolean): OutMessage[] {
    const destroy = ifThere && this.#destroy;
    const table = this.#table.name;
    switch (object.kind) {
      case "table": {
        const type = destroy ? message.DESTROYTABLE : message.DELTABLE;
        return [this.#message(type, 0, tableAttributes, { name: object.name })];
      }
      case "chain": {
        const type = destroy ? message.DESTROYCHAIN : message.DELCHAIN;
        return [this.#message(type, 0, chainAttributes, { table, name: object.name })];
      }
      case "rule": {
        const type = destroy ? message.DESTROYRULE : message.DELRULE;
        const { chain, handle } = object;
        return [this.#message(type, 0, ruleAttributes, { table, chain, handle })];
      }
      case "set":
      case "map": {
        const type = destroy ? message.DESTROYSET : message.DELSET;
        return [this.#message(type, 0, setAttributes, { table, name: object.name })];
      }
      case "counter": {
        const type = destroy ? message.DESTROYOBJ : message.DELOBJ;
        const value = { table, name: object.name, type: OBJECT_COUNTER };
        return [this.#message(type, 0, counterAttributes, value)];
      }
      case "elements": {
        // Of an interval that is not there, the kernel would destroy an end that belongs to another one.
        const whole = destroy && !isIntervalSet(object.set);
        const type = whole ? message.DESTROYSETELEM : message.DELSETELEM;
        return this.#elements(object.set, object.elements, type, 0, ifThere && !whole);
      }
    }
  }

  #flush(object: Flushable): OutMessage {
    const table = this.#table.name;
    switch (object.kind) {
      case "table":
        return this.#message(message.DELRULE, 0, ruleAttributes, { table });
      case "chain":
        return this.#message(message.DELRULE, 0, ruleAttributes, { table, chain: object.name });
      default:
        return this.#message(message.DELSETELEM, 0, elementListAttributes, { table, set: object.name });
    }
  }
}

/** Throws {@link InvalidInput} that names the set, where an element does not fit it. */
function writeElement(
  codec: ElementCodec,
  buffer: Writer,
  element: Element,
  bare: boolean,
  set: NftSet | NftMap,
): number {
  try {
    return codec.write(buffer, element, bare);
  } catch (error) {
    if (!(error instanceof InvalidInput)) throw error;
    throw new InvalidInput(
      `element of ${set.kind} "${set.name}"`,
      element,
      `does not fit: ${error.message}`,
      {
        cause: error,
      },
    );
  }
}

/** True for sets whose intervals are two elements each; ranges of concatenations are one. */
function isIntervalSet({ key, flags }: NftSet | NftMap): boolean {
  return typeof key === "string" && (flags?.includes("interval") ?? false);
}

function listWriter(value: Value<typeof elementListAttributes>, body: Uint8Array): (writer: Writer) => void {
  return (writer) => {
    elementListAttributes.write(writer, value);
    const at = writer.beginNested(elementListAttributes.fields.elements[0]);
    writer.raw(body);
    writer.end(at);
  };
}

function tableValue(table: Table): Value<typeof tableAttributes> {
  return {
    name: table.name,
    flags: table.flags ?? [],
    ...(table.comment !== undefined && { userData: commentData(table.comment) }),
  };
}

function chainValue(chain: Chain, table: TableRef): Value<typeof chainAttributes> {
  const { name, hook, type, priority, policy, devices, comment } = chain;
  const value: Value<typeof chainAttributes> = { table: table.name, name };
  if (comment !== undefined) value.userData = commentData(comment);
  if (policy !== undefined) value.policy = policy;
  if (hook === undefined) return value;
  const number = hooks[table.family][hook];
  if (number === undefined || type === undefined || priority === undefined) {
    throw new InvalidInput(`chain "${name}"`, { type, hook, priority }, "is not a base chain", {
      remedy: `Give type, priority and one of the hooks of family ${table.family}: ${Object.keys(hooks[table.family]).join(", ")}`,
    });
  }
  value.type = type;
  value.hook = {
    hook: number,
    priority,
    ...(devices?.length === 1 && { device: devices[0] as string }),
    ...(devices !== undefined && devices.length > 1 && { devices: [...devices] }),
  };
  return value;
}

function setValue(set: NftSet | NftMap): Value<typeof setAttributes> {
  const key = layoutOf(set.key);
  const flags = set.flags ?? [];
  const interval = flags.includes("interval");
  const ranges = interval && key.concatenated;
  if (interval) checkIntervals(set);
  const { size, timeout, gcInterval, policy, expressions } = set;
  const [first] = expressions ?? [];
  const several = expressions !== undefined && expressions.length > 1;
  return {
    name: set.name,
    flags: [
      ...flags,
      ...(ranges ? (["concat"] as const) : []),
      ...(set.kind === "map" ? (["map"] as const) : []),
      ...(several ? (["expr"] as const) : []),
    ],
    keyType: typeId(set.key),
    keyLength: key.length,
    ...(set.kind === "map" && dataValue(set.data)),
    ...(policy !== undefined && { policy }),
    ...((size !== undefined || ranges) && {
      description: {
        ...(size !== undefined && { size }),
        ...(ranges && { concat: key.fields.map(({ type }) => ({ length: type.size })) }),
      },
    }),
    ...(timeout !== undefined && { timeout }),
    ...(gcInterval !== undefined && { gcInterval }),
    userData: setUserData(set),
    ...(several ? { expressions: [...expressions] } : first !== undefined && { expression: first }),
  };
}

function dataValue(data: NftMap["data"]): { dataType: number; dataLength: number } {
  return data === "verdict"
    ? { dataType: TYPE_VERDICT, dataLength: 0 }
    : { dataType: typeId(data), dataLength: layoutOf(data).length };
}

// The kernel compares bytes from the left: ranges of numbers in the machine's own byte order would be wrong.
function checkIntervals(set: NftSet | NftMap): void {
  for (const { type } of layoutOf(set.key).fields) {
    if (type.byteorder === 1 && type.size > 1) {
      throw new InvalidInput(`key of "${set.name}"`, type.name, "cannot have intervals");
    }
  }
}
