import { errno } from "../errno.ts";
import { isNotFound, KernelError } from "../errors.ts";
import { type Type, Writer } from "../netlink/codec.ts";
import { NETLINK_NETFILTER, NetlinkSocket, type Request } from "../netlink/socket.ts";
import type { NetnsRef } from "../netns.ts";
import { Batch, type Refusal } from "./batch.ts";
import { readChain, readCounter, readRule, readSet, readTable } from "./decode.ts";
import { ElementCodec } from "./elements.ts";
import { encodeOperations, type OutMessage } from "./encode.ts";
import {
  chainAttributes,
  counterAttributes,
  elementListAttributes,
  families,
  generationAttributes,
  isDestroyMessage,
  message,
  readAttributes,
  ruleAttributes,
  setAttributes,
  tableAttributes,
  writeHeader,
} from "./messages.ts";
import type { Element, Family, NftMap, NftSet, Ruleset, TableRef } from "./model.ts";
import type { Applied, ApplyOptions, Transaction } from "./transaction.ts";

const DUMP_TRIES = 32;

export interface DumpOptions {
  /** The sets and maps whose elements are wanted; all where not given. Reading them is most of the work. */
  readonly elements?: (set: NftSet | NftMap) => boolean;
}

/** nf_tables of one network namespace. */
export interface NftablesApi {
  /**
   * Does all of a transaction, or nothing. Throws {@link NftError} with the object that was refused, and `InvalidInput`
   * for what cannot be said to the kernel.
   */
  apply(transaction: Transaction, options?: ApplyOptions): Applied;
  /** A table and all that is in it. Throws ENOENT where there is none. */
  dump(table: TableRef, options?: DumpOptions): Ruleset;
  /** The elements of a set or map, sorted by key. Throws ENOENT where it is not there. */
  elements(table: TableRef, set: NftSet | NftMap): Element[];
  /** All tables. */
  tables(): TableRef[];
  /** The number of the ruleset's present state: every transaction, of whomever, makes it one more. */
  generation(): number;
  close(): void;
}

// The answer to a message that the kernel has no handler for.
function isUnknownMessage({ message: sent, errno: value }: Refusal): boolean {
  return sent !== undefined && isDestroyMessage(sent.type) && value === errno.EINVAL;
}

/** nf_tables by netlink. The socket is opened at the first use and stays in its namespace. Everything is synchronous. */
export class Nftables implements NftablesApi {
  readonly #netns: NetnsRef | undefined;
  readonly #writer = new Writer();
  #socket: NetlinkSocket | undefined;
  /** Kernels before 6.3 have no NFT_MSG_DESTROY*. */
  #destroy = true;

  constructor(options: { netns?: NetnsRef | undefined } = {}) {
    this.#netns = options.netns;
  }

  get #open(): NetlinkSocket {
    this.#socket ??= new NetlinkSocket(NETLINK_NETFILTER, { netns: this.#netns });
    return this.#socket;
  }

  apply(transaction: Transaction, options: ApplyOptions = {}): Applied {
    let messages = this.#encode(transaction);
    for (;;) {
      const batch = new Batch(transaction, messages, options);
      if (messages.length === 0) return batch.applied();
      const refusals = this.#exchange(batch);
      if (refusals.length === 0) return batch.applied();
      if (this.#destroy && refusals.some(isUnknownMessage)) {
        this.#destroy = false;
        messages = this.#encode(transaction);
      } else {
        const others = refusals.filter((refusal) => !batch.isAbsence(refusal));
        if (others.length > 0) throw batch.errorOf(others);
        const absent = new Set(refusals.map((refusal) => refusal.message));
        messages = messages.filter((candidate) => !absent.has(candidate));
      }
    }
  }

  #exchange(batch: Batch): Refusal[] {
    try {
      return batch.exchange(this.#open, this.#writer);
    } catch (error) {
      // What the kernel may still have queued would stand in the way of the next answers.
      this.close();
      throw error;
    }
  }

  #encode(transaction: Transaction): OutMessage[] {
    return encodeOperations(transaction.operations, transaction.table, { destroy: this.#destroy });
  }

  dump(table: TableRef, options: DumpOptions = {}): Ruleset {
    for (let attempt = 0; attempt < DUMP_TRIES; attempt++) {
      const generation = this.generation();
      const ruleset = this.#dumpOnce(table, generation, options);
      if (ruleset !== undefined && this.generation() === generation) return ruleset;
    }
    throw new KernelError("dump table", `${table.family} ${table.name}`, errno.EAGAIN, {
      extack: `the ruleset changed ${DUMP_TRIES} times during the dump`,
    });
  }

  /** Undefined where something went away in the middle. */
  #dumpOnce(table: TableRef, generation: number, options: DumpOptions): Ruleset | undefined {
    const { family, name } = table;
    const inTable = <T extends { table?: string }>(value: T) => value.table === name;
    const answer = this.#open.get(this.#request("read", message.GETTABLE, table, tableAttributes, { name }));
    try {
      const sets = this.#list("list sets of", message.GETSET, table, setAttributes, { table: name })
        .filter(inTable)
        .map(readSet)
        .filter((set) => set !== undefined);
      return {
        generation,
        table: readTable(readAttributes(tableAttributes, answer.payload), family),
        chains: this.#list("list chains of", message.GETCHAIN, table, chainAttributes, { table: name })
          .filter(inTable)
          .map((chain) => readChain(chain, family)),
        sets: sets.map((set) => {
          const elements = options.elements?.(set) === false ? [] : this.elements(table, set);
          return elements.length === 0 ? set : { ...set, elements };
        }),
        counters: this.#list("list counters of", message.GETOBJ, table, counterAttributes, {
          table: name,
          type: 1,
        })
          .filter(inTable)
          .map(readCounter),
        rules: this.#list("list rules of", message.GETRULE, table, ruleAttributes, { table: name })
          .filter(inTable)
          .map(readRule),
      };
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  elements(table: TableRef, set: NftSet | NftMap): Element[] {
    const value = { table: table.name, set: set.name };
    const operation = `list the elements of ${set.kind} "${set.name}" in`;
    const lists = this.#list(operation, message.GETSETELEM, table, elementListAttributes, value);
    return new ElementCodec(set).read(lists.flatMap((list) => list.elements ?? []));
  }

  tables(): TableRef[] {
    const byNumber = new Map(Object.entries(families).map(([name, number]) => [number, name as Family]));
    const request = this.#request("list tables", message.GETTABLE, undefined, tableAttributes, {});
    return this.#open.dump(request).flatMap(({ payload }) => {
      const family = byNumber.get(payload[0] ?? 0);
      const { name } = readAttributes(tableAttributes, payload);
      return family === undefined || name === undefined ? [] : [{ family, name }];
    });
  }

  generation(): number {
    const request = this.#request("get generation", message.GETGEN, undefined, generationAttributes, {});
    return readAttributes(generationAttributes, this.#open.get(request).payload).id ?? 0;
  }

  #list<T>(operation: string, type: number, table: TableRef, schema: Type<T>, value: T): T[] {
    const request = this.#request(operation, type, table, schema, value);
    return this.#open.dump(request).map(({ payload }) => readAttributes(schema, payload));
  }

  #request<T>(
    operation: string,
    type: number,
    table: TableRef | undefined,
    schema: Type<T>,
    value: T,
  ): Request {
    return {
      type,
      operation,
      subject: table === undefined ? "" : `table ${table.family} ${table.name}`,
      write: (writer) => {
        writeHeader(writer, table === undefined ? 0 : families[table.family]);
        schema.write(writer, value);
      },
    };
  }

  close(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
