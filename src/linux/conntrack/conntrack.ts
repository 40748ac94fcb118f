import { isNotFound, type KernelError } from "../errors.ts";
import type { Writer } from "../netlink/codec.ts";
import { NETLINK_NETFILTER, NetlinkSocket, type Request } from "../netlink/socket.ts";
import type { NetnsRef } from "../netns.ts";
import { commonFilter, filtersOf, matches, requireConditions } from "./filter.ts";
import {
  familyOf,
  filterValue,
  flowAttributes,
  flowKey,
  message,
  readFlow,
  statsAttributes,
} from "./messages.ts";
import type { ConntrackApi, Flow, FlowFilter } from "./model.ts";

const AF_UNSPEC = 0;
const AF_INET = 2;
const AF_INET6 = 10;
/** Size of struct nfgenmsg. */
const NFGENMSG = 4;

/** Connection tracking by netlink. The socket is opened at the first use and stays in its namespace. Synchronous. */
export class Conntrack implements ConntrackApi {
  readonly #netns: NetnsRef | undefined;
  #socket: NetlinkSocket | undefined;

  constructor(options: { netns?: NetnsRef | undefined } = {}) {
    this.#netns = options.netns;
  }

  get #open(): NetlinkSocket {
    this.#socket ??= new NetlinkSocket(NETLINK_NETFILTER, { netns: this.#netns });
    return this.#socket;
  }

  list(filter: FlowFilter | readonly FlowFilter[] = {}): Flow[] {
    const filters = filtersOf(filter);
    if (filters.length === 0) return [];
    const common = commonFilter(filters);
    const request: Request = {
      type: message.GET,
      operation: "list connections",
      subject: "",
      write: (writer) => {
        writeHeader(writer, addressFamily(familyOf(common)));
        flowAttributes.write(writer, filterValue(common));
      },
    };
    return this.#open
      .dump(request)
      .map(({ payload }) => readFlow(flowAttributes.read(payload.subarray(NFGENMSG))))
      .filter((flow) => filters.some((candidate) => matches(candidate, flow)));
  }

  delete(filter: FlowFilter | readonly FlowFilter[]): number {
    const filters = filtersOf(filter);
    requireConditions(filters);
    const flows = this.list(filters);
    const errors = this.#open.batch(flows.map(deletion));
    const failed = [...errors.values()].find((error: KernelError) => !isNotFound(error));
    if (failed !== undefined) throw failed;
    // What is not there any more went by itself in the meantime.
    return flows.length - errors.size;
  }

  count(): number {
    const answer = this.#open.get({
      type: message.GET_STATS,
      operation: "count connections",
      subject: "",
      write: (writer) => writeHeader(writer, AF_UNSPEC),
    });
    return statsAttributes.read(answer.payload.subarray(NFGENMSG)).entries ?? 0;
  }

  close(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function deletion(flow: Flow): Request {
  const { source, sourcePort, destination, destinationPort, protocol } = flow.original;
  return {
    type: message.DELETE,
    operation: "delete connection",
    subject: `of protocol ${protocol} from ${source} ${sourcePort ?? ""} to ${destination} ${destinationPort ?? ""}`,
    write: (writer) => {
      writeHeader(writer, addressFamily(flow.family));
      flowAttributes.write(writer, flowKey(flow));
    },
  };
}

function addressFamily(family: 4 | 6 | undefined): number {
  if (family === undefined) return AF_UNSPEC;
  return family === 4 ? AF_INET : AF_INET6;
}

/** struct nfgenmsg. */
function writeHeader(writer: Writer, family: number): void {
  writer.u8(family);
  writer.u8(0);
  writer.u16be(0);
}
