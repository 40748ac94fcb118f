import { isErrno, isNotPermitted, KernelError } from "../errors.ts";
import * as ffi from "../ffi.ts";

/*
 * Netlink written straight down, without schemas, for the plugins: a process that lives for a few milliseconds pays
 * more for loading and first running the general codec (about 6 ms) than for all that the kernel does (1.5 ms). Use
 * `Rtnl` and `Nftables` everywhere else.
 */

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVTIMEO = 20;
const SO_SNDBUFFORCE = 32;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const CLONE_NEWNET = 0x40000000;
const MSG_TRUNC = 0x20;
const NLM_F_ACK_TLVS = 0x200;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLMSGERR_ATTR_MSG = 1;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const HEADER = 16;
/** To begin with. */
const SEND_SIZE = 4096;
/** The kernel fits parts of dumps to what the reader takes. */
const RECEIVE_SIZE = 16 * 1024;
/** Seconds. */
const patience = 10;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;

/** Bun runs on nothing else. */
const little = true;
/** Of an option that is switched on: an int. */
const on = Uint8Array.of(1, 0, 0, 0);
const decoder = new TextDecoder();

/** Runs `action` with this thread in the namespace of a descriptor; `action` must not await. */
export function inNamespace<T>(fd: number, action: () => T): T {
  const home = ffi.open("/proc/thread-self/ns/net", 0);
  try {
    ffi.setns(fd, CLONE_NEWNET);
    try {
      return action();
    } finally {
      ffi.setns(home, CLONE_NEWNET);
    }
  } finally {
    ffi.close(home);
  }
}

/** Descriptors that are open and not in use, by protocol; see {@link keepSockets}. */
let kept: Map<number, number[]> | undefined;

/**
 * From here on, sockets of this process's own namespace are kept open for the next one instead of being closed. For
 * processes that live on: besides opening it saves, with nftables, the wait of closingLate.
 */
export function keepSockets(): void {
  kept ??= new Map();
}

/** Over all sockets, so that an answer that an earlier user of a descriptor did not wait for is nobody's. */
let lastSeq = 0;

/** A netlink socket with one buffer to write requests into and one for answers. */
export class LeanSocket {
  readonly #fd: number;
  /** To be kept at the end, under this protocol. */
  #keepAs: number | undefined;
  #out = new Uint8Array(SEND_SIZE);
  #outView = new DataView(this.#out.buffer);
  /** The last answer; what `attribute` returns is an offset into it. */
  readonly bytes = new Uint8Array(RECEIVE_SIZE);
  readonly view = new DataView(this.bytes.buffer);
  #length = 0;
  #message = 0;

  /** Opened in the namespace of a descriptor, or in this process's own. */
  constructor(protocol: number, netnsFd?: number) {
    if (netnsFd === undefined && kept !== undefined) {
      this.#keepAs = protocol;
      const open = kept.get(protocol)?.pop();
      if (open !== undefined) {
        this.#fd = open;
        return;
      }
    }
    const open = () => ffi.socket(AF_NETLINK, SOCK_RAW, protocol);
    this.#fd = netnsFd === undefined ? open() : inNamespace(netnsFd, open);
    for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
      ffi.setsockopt(this.#fd, SOL_NETLINK, option, on);
    }
    // struct timeval: seconds and microseconds of 8 bytes each.
    const timeout = new Uint8Array(16);
    timeout[0] = patience;
    ffi.setsockopt(this.#fd, SOL_SOCKET, SO_RCVTIMEO, timeout);
  }

  /** Forgets what was written. */
  clear(): void {
    this.#length = 0;
  }

  /** Begins a message behind those that are there; returns its sequence number. */
  begin(type: number, flags: number): number {
    this.#message = this.#length;
    this.u32(0);
    this.u16(type);
    this.u16(flags | NLM_F_REQUEST);
    lastSeq = (lastSeq % 0x7fffffff) + 1;
    this.u32(lastSeq);
    this.u32(0);
    return lastSeq;
  }

  /** Ends the message that was begun last. */
  finish(): void {
    this.#outView.setUint32(this.#message, this.#length - this.#message, little);
  }

  #take(count: number): number {
    const at = this.#length;
    // An attribute has at most 64 KiB, so that doubling may have to be done more than once.
    while (at + count > this.#out.length) this.#grow();
    this.#length = at + count;
    return at;
  }

  #grow(): void {
    const larger = new Uint8Array(this.#out.length * 2);
    larger.set(this.#out);
    this.#out = larger;
    this.#outView = new DataView(larger.buffer);
  }

  u8(value: number): void {
    const at = this.#take(1);
    this.#outView.setUint8(at, value);
  }

  u16(value: number): void {
    const at = this.#take(2);
    this.#outView.setUint16(at, value, little);
  }

  u32(value: number): void {
    const at = this.#take(4);
    this.#outView.setUint32(at, value, little);
  }

  /** An attribute of raw bytes. */
  attribute(type: number, value: Uint8Array): void {
    this.u16(value.length + 4);
    this.u16(type);
    const padded = (value.length + 3) & ~3;
    const at = this.#take(padded);
    this.#out.fill(0, at + value.length, at + padded);
    this.#out.set(value, at);
  }

  attributeU8(type: number, value: number): void {
    this.attribute(type, Uint8Array.of(value));
  }

  attributeU32(type: number, value: number): void {
    this.u16(8);
    this.u16(type);
    this.u32(value);
  }

  /** As nf_tables has its numbers. */
  attributeU32Be(type: number, value: number): void {
    this.u16(8);
    this.u16(type);
    const at = this.#take(4);
    this.#outView.setUint32(at, value, false);
  }

  attributeText(type: number, value: string): void {
    this.attribute(type, new TextEncoder().encode(`${value}\0`));
  }

  /** Opens an attribute of attributes; give what it returns to {@link close}. */
  nest(type: number): number {
    const at = this.#length;
    this.u16(0);
    this.u16(type | NLA_F_NESTED);
    return at;
  }

  unnest(at: number): void {
    this.#outView.setUint16(at, this.#length - at, little);
  }

  /** Sends all that was written. */
  send(operation: string, subject: string): void {
    try {
      this.#sendAll();
    } catch (error) {
      throw this.#failed(error, operation, subject);
    }
    this.#length = 0;
  }

  /** A batch is sent in one piece, which the kernel takes up to what the socket's buffer holds. */
  #sendAll(): void {
    try {
      ffi.send(this.#fd, this.#out, this.#length, 0);
    } catch (error) {
      if (!isErrno(error, "EMSGSIZE")) throw error;
      this.#resize(this.#length);
      ffi.send(this.#fd, this.#out, this.#length, 0);
    }
  }

  /** Past the system's limit where the capability allows it. The kernel doubles the number. */
  #resize(bytes: number): void {
    const value = new Uint8Array(Int32Array.of(bytes).buffer);
    try {
      ffi.setsockopt(this.#fd, SOL_SOCKET, SO_SNDBUFFORCE, value);
    } catch (error) {
      if (!isNotPermitted(error)) throw error;
      ffi.setsockopt(this.#fd, SOL_SOCKET, SO_SNDBUF, value);
    }
  }

  /** Waits for a datagram; its length. */
  receive(operation: string, subject: string): number {
    try {
      const count = ffi.recv(this.#fd, this.bytes, MSG_TRUNC);
      if (count <= RECEIVE_SIZE) return count;
      throw new RangeError(`a netlink answer of ${count} bytes`);
    } catch (error) {
      throw this.#failed(error, operation, subject);
    }
  }

  /** A socket that failed is nobody's any more. */
  #failed(error: unknown, operation: string, subject: string): unknown {
    this.#keepAs = undefined;
    return error instanceof KernelError
      ? new KernelError(operation, subject, error.errno, { cause: error })
      : error;
  }

  /**
   * Sends the messages that were written and waits for the answer to the one with the sequence number `last`: an
   * acknowledgement or data. Throws the first error that is told, of whichever message. Returns the end of the answer
   * in `bytes`, which begins at 0, or 0 for an acknowledgement.
   */
  exchange(last: number, operation: string, subject: string): number {
    const first = this.#outView.getUint32(8, little);
    this.send(operation, subject);
    return this.#awaitAnswer(first, last, operation, subject);
  }

  #awaitAnswer(first: number, last: number, operation: string, subject: string): number {
    let failure: KernelError | undefined;
    for (;;) {
      const length = this.receive(operation, subject);
      for (let at = 0; at + HEADER <= length; at += (this.view.getUint32(at, little) + 3) & ~3) {
        const seq = this.view.getUint32(at + 8, little);
        if (seq < first || seq > last) continue;
        if (this.view.getUint16(at + 4, little) !== NLMSG_ERROR) {
          if (seq === last) return length;
          continue;
        }
        failure ??= this.#errorAt(at, operation, subject);
        // The kernel refuses a whole batch by an error on its first message.
        if (seq !== last && !(failure !== undefined && seq === first)) continue;
        if (failure !== undefined) throw failure;
        return 0;
      }
    }
  }

  /**
   * As {@link exchange}, but the kernel works on it in another thread, while this one goes on: for what takes long. There
   * are few such threads. Resolves when the kernel has answered.
   */
  async exchangeLater(last: number, operation: string, subject: string): Promise<void> {
    const { write } = await import("node:fs");
    const request = this.#out.slice(0, this.#length);
    // On a socket, write(2) is send(2).
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    write(this.#fd, request, (error) => (error === null ? resolve() : reject(error)));
    try {
      await promise;
    } catch (error) {
      this.#keepAs = undefined;
      throw error;
    }
    this.#length = 0;
    this.#awaitAnswer(last, last, operation, subject);
  }

  /** Sends a dump request and calls back for each message: where its payload begins and the message ends. */
  dump(operation: string, subject: string, each: (start: number, end: number) => void): void {
    const seq = lastSeq;
    this.send(operation, subject);
    for (;;) {
      const length = this.receive(operation, subject);
      for (let at = 0; at + HEADER <= length; ) {
        const end = at + this.view.getUint32(at, little);
        const type = this.view.getUint16(at + 4, little);
        if (this.view.getUint32(at + 8, little) === seq) {
          const failure = type === NLMSG_ERROR ? this.#errorAt(at, operation, subject) : undefined;
          if (failure !== undefined) throw failure;
          if (type === NLMSG_DONE || type === NLMSG_ERROR) return;
          each(at + HEADER, end);
        }
        at = (end + 3) & ~3;
      }
    }
  }

  #errorAt(at: number, operation: string, subject: string): KernelError | undefined {
    const value = -this.view.getInt32(at + HEADER, little);
    if (value === 0) return undefined;
    const hasText = (this.view.getUint16(at + 6, little) & NLM_F_ACK_TLVS) !== 0;
    const end = at + this.view.getUint32(at, little);
    // With NETLINK_CAP_ACK only the header of the request comes back.
    const text = hasText ? this.find(NLMSGERR_ATTR_MSG, at + 2 * HEADER + 4, end) : undefined;
    const extack = text === undefined ? undefined : this.textAt(text);
    return new KernelError(operation, subject, value, { extack });
  }

  /** Where the payload of an attribute begins, among those from `start` to `end`; undefined where there is none. */
  find(type: number, start: number, end: number): number | undefined {
    for (let at = start; at + 4 <= end; at = this.nextAfter(at)) {
      if (this.typeAt(at) === type) return at + 4;
    }
    return undefined;
  }

  /** The type of the attribute whose header is at an offset. */
  typeAt(at: number): number {
    return this.view.getUint16(at + 2, little) & NLA_TYPE_MASK;
  }

  /** Where the header of the next attribute is. */
  nextAfter(at: number): number {
    return at + Math.max(4, (this.view.getUint16(at, little) + 3) & ~3);
  }

  /** The length of the payload at an offset that {@link find} returned. */
  sizeAt(at: number): number {
    return this.view.getUint16(at - 4, little) - 4;
  }

  u32At(at: number): number {
    return this.view.getUint32(at, little);
  }

  textAt(at: number): string {
    const zero = this.bytes.indexOf(0, at);
    return decoder.decode(this.bytes.subarray(at, Math.min(zero, at + this.sizeAt(at))));
  }

  close(): void {
    if (kept === undefined || this.#keepAs === undefined) {
      ffi.close(this.#fd);
      return;
    }
    const open = kept.get(this.#keepAs) ?? [];
    kept.set(this.#keepAs, open);
    open.push(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
