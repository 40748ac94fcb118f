import { errno } from "../errno.ts";
import { KernelError } from "../errors.ts";
import { MalformedMessage, type Writer } from "../netlink/codec.ts";
import {
  isErrorMessage,
  type Message,
  type NetlinkSocket,
  NLM_F_ACK,
  NLM_F_REQUEST,
  type ParsedError,
  parseError,
  writeMessage,
} from "../netlink/socket.ts";
import type { OutMessage } from "./encode.ts";
import { describe, NftError, remedyFor } from "./errors.ts";
import {
  batchAttributes,
  generationAttributes,
  message,
  NFGENMSG,
  readAttributes,
  ruleAttributes,
  writeHeader,
} from "./messages.ts";
import type { NftObject } from "./model.ts";
import { nameAttribute } from "./trace.ts";
import type { Applied, ApplyOptions, Transaction } from "./transaction.ts";

const NFNL_MSG_BATCH_BEGIN = 16;
const NFNL_MSG_BATCH_END = 17;
const NFNL_SUBSYS_NFTABLES = 10;
const AF_UNSPEC = 0;
const NLM_F_ECHO = 0x8;
const NLMSG_HDRLEN = 16;
/** The kernel's default buffers; larger transactions need larger ones. */
const DEFAULT_BUFFER = 200 * 1024;
/** What one refusal may take of the receive buffer. */
const ANSWER = 2048;

/** What the kernel refused: a message of the batch (undefined: the whole), and why. */
export interface Refusal {
  readonly message: OutMessage | undefined;
  readonly errno: number;
  readonly extack: string | undefined;
  /** Where the attribute at fault stands among `attributes`. */
  readonly offset: number | undefined;
  /** The attributes of the message as they were sent. */
  readonly attributes: Uint8Array;
}

/** Messages of one transaction on their way to the kernel, all or none of which it takes. */
export class Batch {
  readonly #transaction: Transaction;
  readonly #messages: readonly OutMessage[];
  readonly #options: ApplyOptions;
  readonly #handles = new Map<NftObject, number>();
  #generation: number | undefined;

  constructor(transaction: Transaction, messages: readonly OutMessage[], options: ApplyOptions) {
    this.#transaction = transaction;
    this.#messages = messages;
    this.#options = options;
  }

  /**
   * Sends the batch and returns what was refused. The kernel has done everything, and has queued its answers, when the
   * send returns; it answers to what it refuses and, being asked to, to the last message.
   */
  exchange(socket: NetlinkSocket, writer: Writer): Refusal[] {
    const seq = socket.reserve(this.#messages.length + 2);
    const last = seq + this.#messages.length;
    const starts = this.#write(writer, seq);
    const echoes = this.#options.report === true ? 4 * writer.length : 0;
    const room = Math.max(writer.length + 1024, this.#messages.length * ANSWER + echoes);
    if (room > DEFAULT_BUFFER) socket.resize(room);
    this.#talk(writer.length, () => socket.send(writer));
    const refusals: Refusal[] = [];
    for (;;) {
      for (const answer of this.#talk(writer.length, () => socket.receive())) {
        if (answer.seq < seq || answer.seq > last) continue;
        const sent = this.#messages[answer.seq - seq - 1];
        if (!isErrorMessage(answer)) {
          this.#note(answer, sent);
          continue;
        }
        const error = parseError(answer);
        if (error.errno !== 0) {
          const start = starts[answer.seq - seq] as number;
          const sentBytes = writer.bytes.subarray(start, starts[answer.seq - seq + 1]);
          refusals.push(refusal(error, sent, sentBytes));
        }
        // A refusal of the first header is one of the whole batch, and nothing follows that matters.
        if (answer.seq === last || answer.seq === seq) return refusals;
      }
    }
  }

  /** Does something with the socket; what the kernel says against it is said of the transaction. */
  #talk<T>(bytes: number, action: () => T): T {
    try {
      return action();
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      const { family, name } = this.#transaction.table;
      const subject = `of ${bytes} bytes to table ${family} ${name}`;
      const details = { cause: error, ...remedyFor(error.errno) };
      throw new NftError("apply transaction", subject, error.errno, details);
    }
  }

  /** Writes header, messages and end; returns where each begins. */
  #write(writer: Writer, seq: number): number[] {
    const { generation, report } = this.#options;
    writer.length = 0;
    const starts = [0];
    const echo = report === true ? NLM_F_ECHO : 0;
    writeMessage(writer, NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, seq, (w) => {
      writeHeader(w, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
      if (generation !== undefined) batchAttributes.write(w, { generation });
    });
    for (const [i, { type, flags, family, write }] of this.#messages.entries()) {
      starts.push(writer.length);
      const ack = i === this.#messages.length - 1 ? NLM_F_ACK : 0;
      // The kernel tells the new generation when the first message asks for an echo, and a rule's handle when it does.
      const echoed = i === 0 || type === message.NEWRULE ? echo : 0;
      writeMessage(writer, type, NLM_F_REQUEST | flags | ack | echoed, seq + 1 + i, (w) => {
        writeHeader(w, family);
        write(w);
      });
    }
    starts.push(writer.length);
    writeMessage(writer, NFNL_MSG_BATCH_END, NLM_F_REQUEST, seq + this.#messages.length + 1, (w) =>
      writeHeader(w, AF_UNSPEC, NFNL_SUBSYS_NFTABLES),
    );
    return starts;
  }

  #note(answer: Message, sent: OutMessage | undefined): void {
    if (answer.type === message.NEWGEN) {
      this.#generation = readAttributes(generationAttributes, answer.payload).id;
    } else if (answer.type === message.NEWRULE && sent !== undefined) {
      const { handle } = readAttributes(ruleAttributes, answer.payload);
      const operation = this.#transaction.operations[sent.operation];
      if (handle === undefined || operation === undefined)
        throw new MalformedMessage("a rule without a handle");
      this.#handles.set(operation.object as NftObject, handle);
    }
  }

  /** True where a deletion that may find nothing found nothing: its object is not there, though what holds it is. */
  isAbsence({ message: sent, errno: value, attributes, offset }: Refusal): boolean {
    if (sent === undefined || value !== errno.ENOENT || offset === undefined) return false;
    if (this.#transaction.operations[sent.operation]?.op !== "destroy") return false;
    return /^(name|handle|elements\b.*)$/.test(nameAttribute(attributes, offset, sent.schema).path);
  }

  /** What the kernel reported of a batch without refusals. */
  applied(): Applied {
    return { generation: this.#generation, handles: this.#handles };
  }

  /** The error for what was refused. */
  errorOf(refusals: readonly Refusal[]): NftError {
    const [first, ...rest] = refusals as [Refusal, ...Refusal[]];
    return this.#error(
      first,
      rest.map((refusal) => this.#error(refusal, [])),
    );
  }

  #error(refusal: Refusal, others: readonly NftError[]): NftError {
    const { table, operations } = this.#transaction;
    const { message: sent, extack } = refusal;
    const details = { extack, others, ...remedyFor(refusal.errno) };
    const operation = sent && operations[sent.operation];
    if (sent === undefined || operation === undefined) {
      return new NftError(
        "apply transaction",
        `to table ${table.family} ${table.name}`,
        refusal.errno,
        details,
      );
    }
    const named =
      refusal.offset === undefined
        ? undefined
        : nameAttribute(refusal.attributes, refusal.offset, sent.schema);
    const element = named?.element === undefined ? undefined : sent.elements?.[named.element];
    const words = describe(operation, table, element);
    return new NftError(words.operation, words.subject, refusal.errno, {
      ...details,
      index: sent.operation,
      element,
      attribute: named?.path === "" ? undefined : named?.path,
    });
  }
}

function refusal(error: ParsedError, sent: OutMessage | undefined, bytes: Uint8Array): Refusal {
  const header = NLMSG_HDRLEN + NFGENMSG;
  return {
    message: sent,
    errno: error.errno,
    extack: error.extack,
    offset: error.offset === undefined ? undefined : error.offset - header,
    // A copy: the writer's bytes are used again.
    attributes: bytes.slice(header),
  };
}
