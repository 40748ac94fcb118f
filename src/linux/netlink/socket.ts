import { quote } from "../../lib/errors.ts";
import { errno } from "../errno.ts";
import { isErrno, KernelError } from "../errors.ts";
import * as ffi from "../ffi.ts";
import { inNetns, type NetnsRef } from "../netns.ts";
import { attributes, littleEndian, MalformedMessage, text, u32, Writer } from "./codec.ts";

/** Netlink families (linux/netlink.h). */
export const NETLINK_ROUTE = 0;
export const NETLINK_XFRM = 6;
export const NETLINK_NETFILTER = 12;
export const NETLINK_GENERIC = 16;

/** What gives the kernel the families that it may lack. */
const providers: Readonly<Record<number, string>> = {
  [NETLINK_XFRM]: "CONFIG_XFRM_USER, or load its module xfrm_user",
  [NETLINK_NETFILTER]: "CONFIG_NETFILTER_NETLINK, or load its module nfnetlink",
};

/** Message flags (linux/netlink.h). */
export const NLM_F_REQUEST = 0x1;
export const NLM_F_MULTI = 0x2;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;

const NLMSG_NOOP = 1;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLMSG_HDRLEN = 16;
const NLMSGERR_ATTR_MSG = 1;
const NLMSGERR_ATTR_OFFS = 2;

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;

const DUMP_TRIES = 32;
/**
 * How many requests go to the kernel in one send; each send is answered before the next. Should all of them fail, as
 * many answers (768 bytes of memory each) must fit into a receive buffer of the default size, 208 KiB.
 */
const BATCH = 128;

/** One netlink message as it came: header fields and the payload behind the header. */
export interface Message {
  type: number;
  flags: number;
  seq: number;
  payload: Uint8Array;
}

/** A request before it has a sequence number. `write` appends the payload (family header and attributes). */
export interface Request {
  type: number;
  /** NLM_F_REQUEST is always added. */
  flags?: number;
  write: (writer: Writer) => void;
  /** For errors: "add route", "10.244.1.0/24". */
  operation: string;
  subject: string;
}

export interface SocketOptions {
  /** The namespace to open the socket in; the caller's own where not given. */
  netns?: NetnsRef | undefined;
  /** Bit mask of multicast groups 1 to 32 to join (bit 0 is group 1). */
  groups?: number;
  /** How long an answer may take before it counts as lost, in milliseconds; 30,000 where not given. */
  timeout?: number;
  /** Send and receive buffers in bytes; the kernel's default where not given. */
  buffer?: number;
}

/**
 * A netlink socket for requests, answered synchronously: the kernel works on a request while it is being sent.
 * It belongs for life to the network namespace in which it was opened.
 */
export class NetlinkSocket {
  readonly fd: number;
  readonly #writer = new Writer();
  #receiveBuffer = new Uint8Array(64 * 1024);
  #seq = 1;
  #closed = false;

  constructor(protocol: number, options: SocketOptions = {}) {
    this.fd = inNetns(options.netns, () => openSocket(protocol));
    try {
      this.#configure(options);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #configure(options: SocketOptions): void {
    const address = new Uint8Array(12);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_NETLINK, littleEndian);
    view.setUint32(8, options.groups ?? 0, littleEndian);
    ffi.bind(this.fd, address, "a netlink socket");
    for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
      ffi.setsockopt(this.fd, SOL_NETLINK, option, 1);
    }
    const timeout = options.timeout ?? 30_000;
    const timeval = new BigInt64Array([BigInt(Math.floor(timeout / 1000)), BigInt((timeout % 1000) * 1000)]);
    ffi.setsockopt(this.fd, SOL_SOCKET, SO_RCVTIMEO, new Uint8Array(timeval.buffer));
    if (options.buffer !== undefined) this.resize(options.buffer);
  }

  /** Sets both socket buffers, past the system's limit where the capability allows it. Bytes. */
  resize(bytes: number): void {
    for (const [force, plain] of [
      [SO_SNDBUFFORCE, SO_SNDBUF],
      [SO_RCVBUFFORCE, SO_RCVBUF],
    ] as const) {
      try {
        ffi.setsockopt(this.fd, SOL_SOCKET, force, bytes);
      } catch (error) {
        if (!isErrno(error, "EPERM")) throw error;
        ffi.setsockopt(this.fd, SOL_SOCKET, plain, bytes);
      }
    }
  }

  /** Sends a request that changes something and waits for its acknowledgement. */
  execute(request: Request): void {
    const seq = this.#send([request], (i) => (i === 0 ? NLM_F_ACK : 0));
    const error = this.#acknowledge(seq, seq, () => request);
    if (error !== undefined) throw error;
  }

  /** Sends a request whose answer is one message, such as RTM_GETLINK of one link. */
  get(request: Request): Message {
    const seq = this.#send([request], () => 0);
    for (;;) {
      for (const message of this.receive()) {
        if (message.seq !== seq) continue;
        if (message.type === NLMSG_ERROR)
          throw this.#errorOf(message, request) ?? new MalformedMessage("no answer");
        return message;
      }
    }
  }

  /** Sends a dump request and collects all its parts; begins again when the kernel says that the set changed. */
  dump(request: Request): Message[] {
    for (let attempt = 0; attempt < DUMP_TRIES; attempt++) {
      const seq = this.#send([request], () => NLM_F_DUMP);
      const { messages, interrupted } = this.#collect(seq, request);
      if (!interrupted) return messages;
    }
    throw new KernelError(request.operation, request.subject, errno.EAGAIN, {
      extack: `what is listed changed ${DUMP_TRIES} times during the listing`,
    });
  }

  #collect(seq: number, request: Request): { messages: Message[]; interrupted: boolean } {
    const messages: Message[] = [];
    let interrupted = false;
    for (;;) {
      for (const message of this.receive()) {
        if (message.seq !== seq) continue;
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
        if (message.type === NLMSG_ERROR) {
          const error = this.#errorOf(message, request);
          if (error !== undefined) throw error;
          return { messages, interrupted };
        }
        if (message.type === NLMSG_DONE) {
          const status = message.payload.length >= 4 ? viewOf(message.payload).getInt32(0, littleEndian) : 0;
          if (status < 0) throw new KernelError(request.operation, request.subject, -status);
          return { messages, interrupted };
        }
        if (message.type !== NLMSG_NOOP) messages.push(message);
      }
    }
  }

  /**
   * Sends many requests, as many as fit at a time. Each stands for itself: one that fails does not stop the others.
   * Returns the errors by the request's place in the list; an empty map is full success.
   */
  batch(requests: readonly Request[]): Map<number, KernelError> {
    const errors = new Map<number, KernelError>();
    for (let start = 0; start < requests.length; start += BATCH) {
      this.#batchPart(requests.slice(start, start + BATCH), start, errors);
    }
    return errors;
  }

  #batchPart(part: readonly Request[], start: number, errors: Map<number, KernelError>): void {
    let first: number;
    try {
      // The last one asks for an acknowledgement; of the others only failures are reported.
      first = this.#send(part, (i) => (i === part.length - 1 ? NLM_F_ACK : 0));
    } catch (error) {
      // More than the send buffer holds, and so nothing was done.
      if (!isErrno(error, "EMSGSIZE") || part.length === 1) throw error;
      const half = part.length >> 1;
      this.#batchPart(part.slice(0, half), start, errors);
      this.#batchPart(part.slice(half), start + half, errors);
      return;
    }
    this.#acknowledge(
      first,
      first + part.length - 1,
      (seq) => part[seq - first] as Request,
      (seq, error) => void errors.set(start + seq - first, error),
    );
  }

  /** Waits for the acknowledgement of `last`, reporting failures of `first` to `last`. */
  #acknowledge(
    first: number,
    last: number,
    requestOf: (seq: number) => Request,
    report?: (seq: number, error: KernelError) => void,
  ): KernelError | undefined {
    for (;;) {
      for (const message of this.receive()) {
        if (message.type !== NLMSG_ERROR || message.seq < first || message.seq > last) continue;
        const error = this.#errorOf(message, requestOf(message.seq));
        if (error !== undefined && report !== undefined) report(message.seq, error);
        if (message.seq === last) return error;
      }
    }
  }

  /** Writes requests into one buffer and sends them; returns the first sequence number. */
  #send(requests: readonly Request[], flagsOf: (index: number) => number): number {
    const writer = this.#writer;
    writer.length = 0;
    const first = this.reserve(requests.length);
    for (let i = 0; i < requests.length; i++) {
      const request = requests[i] as Request;
      const flags = (request.flags ?? 0) | flagsOf(i);
      writeMessage(writer, request.type, flags | NLM_F_REQUEST, first + i, request.write);
    }
    try {
      this.send(writer);
    } catch (error) {
      const request = requests[0];
      if (request === undefined || !(error instanceof KernelError)) throw error;
      throw new KernelError(request.operation, request.subject, error.errno, { cause: error });
    }
    return first;
  }

  /** Reserves `count` sequence numbers and returns the first. */
  reserve(count: number): number {
    if (this.#seq + count > 0x7fffffff) this.#seq = 1;
    const first = this.#seq;
    this.#seq += count;
    return first;
  }

  /** Sends what a writer holds, in one datagram; for families that speak more than request and answer (nfnetlink). */
  send(writer: Writer): void {
    ffi.send(this.fd, writer.bytes, writer.length, 0);
  }

  /** Waits for one datagram and returns its messages; their payloads are valid until the next call. */
  receive(): Message[] {
    for (;;) {
      const count = ffi.recv(this.fd, this.#receiveBuffer, MSG_TRUNC);
      if (count > this.#receiveBuffer.length) {
        throw new MalformedMessage(`an answer of ${count} bytes was cut off`);
      }
      const messages = parseMessages(this.#receiveBuffer.slice(0, count));
      if (messages.length > 0) return messages;
    }
  }

  /** Throws away what waits to be received, without waiting for more. */
  drain(): void {
    for (;;) {
      try {
        ffi.recv(this.fd, this.#receiveBuffer, MSG_DONTWAIT);
      } catch (error) {
        if (isErrno(error, "EAGAIN")) return;
        if (!isErrno(error, "ENOBUFS")) throw error;
      }
    }
  }

  /** The error in an NLMSG_ERROR message; undefined for an acknowledgement. */
  #errorOf(message: Message, request: Pick<Request, "operation" | "subject">): KernelError | undefined {
    const { errno: value, extack } = parseError(message);
    if (value === 0) return undefined;
    return new KernelError(request.operation, request.subject, value, { extack });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    ffi.close(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Appends one message with its header. */
export function writeMessage(
  writer: Writer,
  type: number,
  flags: number,
  seq: number,
  write: (writer: Writer) => void,
): void {
  const start = writer.take(NLMSG_HDRLEN);
  const { view } = writer;
  view.setUint16(start + 4, type, littleEndian);
  view.setUint16(start + 6, flags, littleEndian);
  view.setUint32(start + 8, seq, littleEndian);
  view.setUint32(start + 12, 0, littleEndian);
  write(writer);
  writer.align();
  writer.patchU32(start, writer.length - start);
}

/** Splits a datagram into messages. Throws {@link MalformedMessage}. */
export function parseMessages(bytes: Uint8Array): Message[] {
  const messages: Message[] = [];
  const view = viewOf(bytes);
  let at = 0;
  while (at + NLMSG_HDRLEN <= bytes.length) {
    const length = view.getUint32(at, littleEndian);
    if (length < NLMSG_HDRLEN || at + length > bytes.length) {
      throw new MalformedMessage(`a message says ${quote(length)} bytes where ${bytes.length - at} are left`);
    }
    messages.push({
      type: view.getUint16(at + 4, littleEndian),
      flags: view.getUint16(at + 6, littleEndian),
      seq: view.getUint32(at + 8, littleEndian),
      payload: bytes.subarray(at + NLMSG_HDRLEN, at + length),
    });
    at += (length + 3) & ~3;
  }
  return messages;
}

/** True for NLMSG_ERROR, which is also the acknowledgement. */
export function isErrorMessage(message: Message): boolean {
  return message.type === NLMSG_ERROR;
}

/** What an NLMSG_ERROR message says; see {@link parseError}. */
export interface ParsedError {
  /** Positive; 0 for an acknowledgement. */
  errno: number;
  /** The extended-ack text. */
  extack: string | undefined;
  /** Where the attribute at fault begins, from the start of the request's header. */
  offset: number | undefined;
}

/** The errno, the extended-ack text and the place of the fault in an NLMSG_ERROR message. */
export function parseError(message: Message): ParsedError {
  if (message.payload.length < 4 + NLMSG_HDRLEN) throw new MalformedMessage("an error without its request");
  const view = viewOf(message.payload);
  const value = -view.getInt32(0, littleEndian);
  let extack: string | undefined;
  let offset: number | undefined;
  if ((message.flags & NLM_F_ACK_TLVS) !== 0) {
    // Unless capped, the whole request stands before the attributes.
    const request = (message.flags & NLM_F_CAPPED) !== 0 ? NLMSG_HDRLEN : view.getUint32(4, littleEndian);
    const rest = message.payload.subarray(4 + ((request + 3) & ~3));
    for (const [type, payload] of attributes(rest)) {
      if (type === NLMSGERR_ATTR_MSG) extack = text.read(payload);
      if (type === NLMSGERR_ATTR_OFFS) offset = u32.read(payload);
    }
  }
  return { errno: value, extack, offset };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function openSocket(protocol: number): number {
  try {
    return ffi.socket(AF_NETLINK, SOCK_RAW, protocol);
  } catch (error) {
    if (!isErrno(error, "EPROTONOSUPPORT", "EAFNOSUPPORT")) throw error;
    const remedy = `Use a kernel with ${providers[protocol] ?? "this netlink family"}`;
    throw new KernelError("open a socket of", `netlink family ${protocol}`, error.errno, { remedy });
  }
}
