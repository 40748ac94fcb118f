/** DNS clients and upstream servers for tests, on the loopback. */
import { connect } from "node:net";
import {
  decodeMessage,
  encodeMessage,
  isKnown,
  type Message,
  query,
  type ResourceRecord,
  RrType,
  typeName,
  type Zone,
} from "../../src/dns/index.ts";
import { createMetrics } from "../../src/dns/metrics.ts";
import { Responder } from "../../src/dns/responder.ts";

export type TypeName = keyof typeof RrType;

/** A response with what tests compare: records as "name TTL TYPE data". */
export interface Shown {
  rcode: number;
  answers: string[];
  authorities: string[];
  additionals: string[];
  message: Message;
}

/** A query's bytes; `change` may set flags or EDNS. */
export function queryBytes(name: string, type: TypeName, change: Partial<Message> = {}): Buffer {
  return encodeMessage({ ...query(name, RrType[type], 0x1234), ...change });
}

/** One line a record, as master files have it. */
export function show(record: ResourceRecord): string {
  const data = isKnown(record)
    ? Object.values(record.data).map((value) =>
        Array.isArray(value) ? JSON.stringify(value) : String(value),
      )
    : [`\\# ${record.rdata.length}`];
  return `${record.name} ${record.ttl} ${typeName(record.type)} ${data.join(" ")}`;
}

export function shown(bytes: Uint8Array): Shown {
  const message = decodeMessage(bytes);
  return {
    rcode: message.rcode,
    answers: message.answers.map(show),
    authorities: message.authorities.map(show),
    additionals: message.additionals.map(show),
    message,
  };
}

/** The response that a client sees, with the serial of SOA records hidden. */
export function askZone(zone: Zone, name: string, type: TypeName): Shown {
  const response = new Responder(zone, undefined, createMetrics()).answer(queryBytes(name, type), true);
  if (!Buffer.isBuffer(response)) throw new Error("no response");
  const result = shown(response);
  const hide = (line: string) => line.replace(/(SOA \S+ \S+ )\d+/, "$1*");
  return { ...result, authorities: result.authorities.map(hide), answers: result.answers.map(hide) };
}

/** Sends one datagram and returns the first that comes back. */
export async function askUdp(
  address: string,
  port: number,
  bytes: Buffer,
  timeoutMs = 5000,
): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const socket = await Bun.udpSocket({
    hostname: address.includes(":") ? "::" : "0.0.0.0",
    connect: { hostname: address, port },
    socket: { data: (_socket, data) => resolve(data), error: (_socket, error) => reject(error) },
  });
  const timer = setTimeout(() => reject(new Error(`no response within ${timeoutMs} ms`)), timeoutMs);
  socket.send(bytes);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    socket.close();
  }
}

/** Sends queries in one TCP stream, and returns as many responses, in the order in which they come. */
export function askTcp(address: string, port: number, queries: readonly Buffer[]): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port });
    const responses: Buffer[] = [];
    let received = Buffer.alloc(0);
    socket.on("connect", () => socket.write(Buffer.concat(queries.map(frame))));
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const end = 2 + received.readUInt16BE(0);
        responses.push(Buffer.from(received.subarray(2, end)));
        received = received.subarray(end);
      }
      if (responses.length === queries.length) socket.end();
    });
    socket.on("error", reject);
    socket.on("close", () => resolve(responses));
  });
}

/** A message as TCP carries it. */
export function frame(message: Buffer): Buffer {
  const bytes = Buffer.alloc(2 + message.length);
  bytes.writeUInt16BE(message.length, 0);
  message.copy(bytes, 2);
  return bytes;
}

export interface FakeUpstream {
  readonly port: number;
  /** The queries that it got by UDP. */
  readonly queries: Message[];
  readonly address: string;
  close(): void;
}

/** A server on the loopback that answers what the function says, or nothing for undefined. */
export async function fakeUpstream(
  respond: (
    asked: Message,
    from: number,
  ) => Partial<Message> | Buffer | undefined | Promise<Partial<Message>>,
): Promise<FakeUpstream> {
  const queries: Message[] = [];
  const socket = await Bun.udpSocket({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      async data(own, data, port, address) {
        const asked = decodeMessage(data);
        queries.push(asked);
        const response = await respond(asked, port);
        if (response === undefined) return;
        own.send(Buffer.isBuffer(response) ? response : reply(asked, response), port, address);
      },
    },
  });
  return {
    port: socket.port,
    queries,
    address: `127.0.0.1:${socket.port}`,
    close: () => socket.close(),
  };
}

/** A response to a message, with what differs from an empty NOERROR. */
export function reply(asked: Message, change: Partial<Message>): Buffer {
  return encodeMessage({ ...asked, response: true, recursionAvailable: true, ...change });
}
