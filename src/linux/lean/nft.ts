import { isNotFound } from "../errors.ts";
import { LeanSocket, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL } from "./socket.ts";

const NETLINK_NETFILTER = 12;
const NFNL_MSG_BATCH_BEGIN = 16;
const NFNL_MSG_BATCH_END = 17;
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_GETCHAIN = 4;
const NFT_MSG_GETSET = 10;
const NFT_MSG_NEWSETELEM = 12;
const NFT_MSG_GETSETELEM = 13;
const NFT_MSG_DELSETELEM = 14;
const NFT_MSG_GETGEN = 16;
const NFNL_BATCH_GENID = 1;
const NFTA_GEN_ID = 1;
/** Numbers of families of tables. */
const families = { inet: 1, ip: 2, bridge: 7, ip6: 10 } as const;
const NFPROTO_INET = families.inet;
const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_CHAIN_POLICY = 5;
const NFTA_CHAIN_USE = 6;
const NFTA_SET_TABLE = 1;
const NFTA_SET_NAME = 2;
const NFTA_SET_ELEM_LIST_TABLE = 1;
const NFTA_SET_ELEM_LIST_SET = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS = 3;
const NFTA_LIST_ELEM = 1;
const NFTA_SET_ELEM_KEY = 1;
const NFTA_SET_ELEM_DATA = 2;
const NFTA_SET_ELEM_USERDATA = 6;
const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT = 2;
const NFTA_VERDICT_CODE = 1;
const NFTA_VERDICT_CHAIN = 2;
const NFT_JUMP = 0xfffffffd;
const NF_DROP = 0;
/** Of nft: the type of a comment in the user data of an element. */
const COMMENT = 0;
/** sizeof struct nlmsghdr and nfgenmsg. */
const PAYLOAD = 20;

/** A table by family and name. */
export interface LeanTable {
  family: keyof typeof families;
  name: string;
}

/** What is known of a chain. */
export interface FoundChain {
  /** How many rules it has and how many elements and rules lead to it, together. */
  use: number;
  /** A base chain at whose end packets are dropped. */
  dropsByPolicy: boolean;
}

/** An element of a map without intervals, key and data as the kernel has them. */
export interface LeanElement {
  set: string;
  /** Each field of a concatenation is padded to four bytes. */
  key: Uint8Array;
  /** A value, or the name of the chain to jump to. */
  data: Uint8Array | string;
  comment: string;
}

/** The name of an element. */
export type LeanKey = Pick<LeanElement, "set" | "key">;

/** What stands in the table. */
export interface FoundElement {
  /** "" where it has none. */
  comment: string;
  /** Where it jumps to, for an element of a verdict map. */
  chain: string | undefined;
}

/** Elements of the maps of one `inet` table: what a plugin changes for every container. See socket.ts for why. */
export class LeanNft {
  readonly #socket: LeanSocket;
  readonly #table: string;

  constructor(table: string) {
    this.#socket = new LeanSocket(NETLINK_NETFILTER);
    this.#table = table;
  }

  #begin(message: number, flags: number, family: number = NFPROTO_INET): number {
    const seq = this.#socket.begin((NFNL_SUBSYS_NFTABLES << 8) | message, flags);
    this.#nfgenmsg(family, 0);
    return seq;
  }

  #nfgenmsg(family: number, resource: number): void {
    const socket = this.#socket;
    socket.u8(family);
    socket.u8(0);
    socket.u8(resource >> 8);
    socket.u8(resource & 0xff);
  }

  /** Runs `write` between the begin and the end of a transaction and sends it. `write` returns the last message. */
  #transact(operation: string, subject: string, generation: number | undefined, write: () => number): void {
    const socket = this.#socket;
    socket.clear();
    socket.begin(NFNL_MSG_BATCH_BEGIN, 0);
    this.#nfgenmsg(0, NFNL_SUBSYS_NFTABLES);
    if (generation !== undefined) socket.attributeU32Be(NFNL_BATCH_GENID, generation);
    socket.finish();
    const last = write();
    socket.begin(NFNL_MSG_BATCH_END, 0);
    this.#nfgenmsg(0, NFNL_SUBSYS_NFTABLES);
    socket.finish();
    socket.exchange(last, operation, `${subject} in table inet ${this.#table}`);
  }

  /**
   * The number of the ruleset's last change, in this network namespace: of any table, by anybody. Who looks for elements
   * and then changes what was found takes it first and hands it to {@link add} or {@link delete}.
   */
  generation(): number {
    const socket = this.#socket;
    const seq = this.#begin(NFT_MSG_GETGEN, 0);
    socket.finish();
    const end = socket.exchange(seq, "get generation", "of nftables");
    const at = socket.find(NFTA_GEN_ID, PAYLOAD, end);
    return at === undefined ? 0 : socket.view.getUint32(at, false);
  }

  /** How many rules a chain has and how many elements and rules lead to it, together; undefined where there is none. */
  chainUse(name: string): number | undefined {
    return this.chainOf({ family: "inet", name: this.#table }, name)?.use;
  }

  /** A chain of any table; undefined where there is none. */
  chainOf(table: LeanTable, name: string): FoundChain | undefined {
    const socket = this.#socket;
    const seq = this.#begin(NFT_MSG_GETCHAIN, 0, families[table.family]);
    socket.attributeText(NFTA_CHAIN_TABLE, table.name);
    socket.attributeText(NFTA_CHAIN_NAME, name);
    socket.finish();
    const end = this.#isThere(seq, "look for chain", name);
    const use = end === undefined ? undefined : socket.find(NFTA_CHAIN_USE, PAYLOAD, end);
    if (end === undefined || use === undefined) return undefined;
    const policy = socket.find(NFTA_CHAIN_POLICY, PAYLOAD, end);
    return {
      use: socket.view.getUint32(use, false),
      dropsByPolicy: policy !== undefined && socket.view.getUint32(policy, false) === NF_DROP,
    };
  }

  /** True where the table has a set or map of that name. */
  hasSet(name: string): boolean {
    const seq = this.#begin(NFT_MSG_GETSET, 0);
    this.#socket.attributeText(NFTA_SET_TABLE, this.#table);
    this.#socket.attributeText(NFTA_SET_NAME, name);
    this.#socket.finish();
    return this.#isThere(seq, "look for set", name) !== undefined;
  }

  #isThere(seq: number, operation: string, subject: string): number | undefined {
    try {
      return this.#socket.exchange(seq, operation, subject);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** An element, or undefined where there is none (or no such map, or table). */
  find({ set, key }: LeanKey): FoundElement | undefined {
    const socket = this.#socket;
    const seq = this.#begin(NFT_MSG_GETSETELEM, 0);
    const list = this.#openElements(set);
    socket.unnest(this.#openElement(key));
    socket.unnest(list);
    socket.finish();
    const end = this.#isThere(seq, "look for element of map", set);
    if (end === undefined) return undefined;
    const elements = socket.find(NFTA_SET_ELEM_LIST_ELEMENTS, PAYLOAD, end);
    const element = elements === undefined ? undefined : socket.find(NFTA_LIST_ELEM, elements, end);
    if (element === undefined) return undefined;
    return { comment: this.#commentIn(element, end), chain: this.#chainIn(element, end) };
  }

  #commentIn(element: number, end: number): string {
    const { bytes } = this.#socket;
    const at = this.#socket.find(NFTA_SET_ELEM_USERDATA, element, end);
    if (at === undefined || bytes[at] !== COMMENT) return "";
    return new TextDecoder().decode(bytes.subarray(at + 2, at + 1 + (bytes[at + 1] as number)));
  }

  #chainIn(element: number, end: number): string | undefined {
    const socket = this.#socket;
    const data = socket.find(NFTA_SET_ELEM_DATA, element, end);
    const verdict =
      data === undefined ? undefined : socket.find(NFTA_DATA_VERDICT, data, data + socket.sizeAt(data));
    if (verdict === undefined) return undefined;
    const chain = socket.find(NFTA_VERDICT_CHAIN, verdict, verdict + socket.sizeAt(verdict));
    return chain === undefined ? undefined : socket.textAt(chain);
  }

  /**
   * Adds elements in one transaction, in place of those of `replace` that are there. Throws EEXIST where an element
   * is there already and ENOENT where a map or chain is missing; the kernel takes long to undo (some 15 ms). With a
   * generation nothing is done and ERESTART thrown where the ruleset has changed since.
   */
  add(elements: readonly LeanElement[], replace: readonly LeanKey[] = [], generation?: number): void {
    this.#transact("add elements", `of map ${elements[0]?.set}`, generation, () => {
      for (const key of replace) this.#change(NFT_MSG_DELSETELEM, 0, key);
      let last = 0;
      for (const element of elements) {
        const ack = element === elements[elements.length - 1] ? NLM_F_ACK : 0;
        last = this.#change(NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL | ack, element);
      }
      return last;
    });
  }

  /** Deletes elements in one transaction. Throws ENOENT where one is not there. `generation` as for {@link add}. */
  delete(keys: readonly LeanKey[], generation?: number): void {
    this.#transact("delete elements", `of map ${keys[0]?.set}`, generation, () => {
      let last = 0;
      for (const key of keys) {
        last = this.#change(NFT_MSG_DELSETELEM, key === keys[keys.length - 1] ? NLM_F_ACK : 0, key);
      }
      return last;
    });
  }

  #change(
    message: number,
    flags: number,
    { set, key, data, comment }: LeanKey & Partial<LeanElement>,
  ): number {
    const socket = this.#socket;
    const seq = this.#begin(message, flags);
    const list = this.#openElements(set);
    const element = this.#openElement(key);
    if (data !== undefined) {
      const at = socket.nest(NFTA_SET_ELEM_DATA);
      if (typeof data === "string") this.#jump(data);
      else socket.attribute(NFTA_DATA_VALUE, data);
      socket.unnest(at);
    }
    if (comment !== undefined) {
      const text = new TextEncoder().encode(`${comment}\0`);
      const userData = new Uint8Array(text.length + 2);
      userData[0] = COMMENT;
      userData[1] = text.length;
      userData.set(text, 2);
      socket.attribute(NFTA_SET_ELEM_USERDATA, userData);
    }
    socket.unnest(element);
    socket.unnest(list);
    socket.finish();
    return seq;
  }

  #openElements(set: string): number {
    this.#socket.attributeText(NFTA_SET_ELEM_LIST_TABLE, this.#table);
    this.#socket.attributeText(NFTA_SET_ELEM_LIST_SET, set);
    return this.#socket.nest(NFTA_SET_ELEM_LIST_ELEMENTS);
  }

  #openElement(key: Uint8Array): number {
    const element = this.#socket.nest(NFTA_LIST_ELEM);
    const at = this.#socket.nest(NFTA_SET_ELEM_KEY);
    this.#socket.attribute(NFTA_DATA_VALUE, key);
    this.#socket.unnest(at);
    return element;
  }

  #jump(chain: string): void {
    const at = this.#socket.nest(NFTA_DATA_VERDICT);
    this.#socket.attributeU32Be(NFTA_VERDICT_CODE, NFT_JUMP);
    this.#socket.attributeText(NFTA_VERDICT_CHAIN, chain);
    this.#socket.unnest(at);
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
