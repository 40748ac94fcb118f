import { createServer, type Socket } from "node:net";
import {
  decodeMessage,
  encodeMessage,
  isDnsFormatError,
  type Message,
  Opcode,
  Rcode,
  type ResourceRecord,
  RrClass,
  RrType,
} from "../dns/index.ts";
import { Ip } from "../lib/ip.ts";

/** The names of the world outside the cluster. */
export interface OutsideZone {
  /** The zone's own name, in lower case, with a final dot as all names here. */
  origin: string;
  /** The host in it that serves it. */
  nameserver: string;
  /** The addresses of its hosts, by name. */
  hosts: Readonly<Record<string, readonly string[]>>;
}

/** The TTL of all records, in seconds. */
const ttl = 30;
/** What passes everywhere without fragments (DNS flag day 2020). */
const payload = 1232;
/** Without EDNS (RFC 1035 section 4.2.1). */
const plainPayload = 512;
const tcpIdle = 10_000;

/**
 * The response to one query, with authority (RFC 1034 section 4.3.2); undefined for what is no query.
 * @param limit bytes that the carrier takes; where undefined, as many as the query says, as over UDP
 */
export function answerQuery(zone: OutsideZone, bytes: Uint8Array, limit?: number): Buffer | undefined {
  let query: Message;
  try {
    query = decodeMessage(bytes);
  } catch (error) {
    if (isDnsFormatError(error)) return undefined;
    throw error;
  }
  if (query.response) return undefined;
  const { edns, ...head } = query;
  const response: Message = {
    ...head,
    response: true,
    authenticData: false,
    answers: [],
    authorities: [],
    additionals: [],
    ...(edns === undefined
      ? {}
      : { edns: { udpPayload: payload, version: 0, dnssecOk: edns.dnssecOk, options: [] } }),
    ...answerTo(zone, query),
  };
  const taken =
    edns === undefined ? plainPayload : Math.max(plainPayload, Math.min(payload, edns.udpPayload));
  return encodeMessage(response, limit ?? taken);
}

function answerTo(zone: OutsideZone, { opcode, questions, edns }: Message): Partial<Message> {
  const [question] = questions;
  if (opcode !== Opcode.QUERY) return { rcode: Rcode.NOTIMP };
  if (question === undefined || questions.length > 1) return { rcode: Rcode.FORMERR };
  if (edns !== undefined && edns.version !== 0) return { rcode: Rcode.BADVERS };
  const name = question.name.toLowerCase();
  const ours = name === zone.origin || name.endsWith(`.${zone.origin}`);
  if (!ours || question.class !== RrClass.IN) return { rcode: Rcode.REFUSED };
  const records = recordsOf(zone, name);
  const answers = records.filter(({ type }) => type === question.type || question.type === RrType.ANY);
  return {
    rcode: records.length === 0 ? Rcode.NXDOMAIN : Rcode.NOERROR,
    authoritative: true,
    answers,
    // RFC 2308 section 3: how long a name's absence may be remembered.
    authorities: answers.length === 0 ? [soaOf(zone)] : [],
  };
}

function recordsOf(zone: OutsideZone, name: string): ResourceRecord[] {
  const head = { name, class: RrClass.IN, ttl };
  const addresses = Object.hasOwn(zone.hosts, name) ? (zone.hosts[name] ?? []) : [];
  const records = addresses.map((text): ResourceRecord => {
    const address = Ip.parse(text);
    return address.family === 4
      ? { ...head, type: RrType.A, data: { address } }
      : { ...head, type: RrType.AAAA, data: { address } };
  });
  if (name !== zone.origin) return records;
  return [...records, soaOf(zone), { ...head, type: RrType.NS, data: { target: zone.nameserver } }];
}

function soaOf({ origin, nameserver }: OutsideZone): ResourceRecord {
  const timers = { serial: 1, refresh: 3600, retry: 600, expire: 86_400, minimum: ttl };
  const data = { mname: nameserver, rname: `hostmaster.${origin}`, ...timers };
  return { name: origin, class: RrClass.IN, ttl, type: RrType.SOA, data };
}

/** Serves the zone by UDP and TCP at port 53 of each address. */
export async function serveZone(zone: OutsideZone, addresses: readonly string[], port = 53): Promise<void> {
  for (const hostname of addresses) {
    await Bun.udpSocket({
      hostname,
      port,
      socket: {
        data(socket, data, fromPort, from) {
          const response = answerQuery(zone, data);
          if (response !== undefined) socket.send(response, fromPort, from);
        },
      },
    });
    await new Promise<void>((resolve, reject) => {
      const server = createServer((socket) => serveStream(zone, socket));
      server.once("error", reject);
      server.listen({ host: hostname, port }, resolve);
    });
  }
}

/** One connection: messages with their length in two bytes before them (RFC 7766). */
function serveStream(zone: OutsideZone, socket: Socket): void {
  let received = Buffer.alloc(0);
  socket.setTimeout(tcpIdle, () => socket.destroy());
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
      const end = 2 + received.readUInt16BE(0);
      const response = answerQuery(zone, received.subarray(2, end), 0xffff);
      received = received.subarray(end);
      if (response === undefined) return socket.destroy();
      const length = Buffer.alloc(2);
      length.writeUInt16BE(response.length);
      socket.write(Buffer.concat([length, response]));
    }
  });
}
