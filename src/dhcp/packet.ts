import { Ip } from "../lib/ip.ts";

/* Ethernet frames with IPv4 and UDP, as a client without an address has to send and take them. */

export const clientPort = 68;
export const serverPort = 67;
export const ETH_P_IP = 0x0800;

const ETHERNET = 14;
const IPV4 = 20;
const UDP = 8;
const IPPROTO_UDP = 17;
/** RFC 1042 and arp(7): bytes of the two addresses. */
const MAC = 6;
const ttl = 64;
const broadcastMac: Uint8Array = new Uint8Array(MAC).fill(0xff);
export const broadcastIp: Ip = Ip.fromBytes(new Uint8Array(4).fill(0xff));

/** Who sends a frame to whom. Without a `mac` it goes to all on the link. */
export interface Way {
  fromMac: Uint8Array;
  fromIp: Ip;
  to?: { mac: Uint8Array; ip: Ip };
}

/** A frame with a client's datagram in it. */
export function encodeFrame(payload: Uint8Array, { fromMac, fromIp, to }: Way): Uint8Array {
  const frame = new Uint8Array(ETHERNET + IPV4 + UDP + payload.length);
  const view = new DataView(frame.buffer);
  frame.set(to?.mac ?? broadcastMac, 0);
  frame.set(fromMac, MAC);
  view.setUint16(12, ETH_P_IP);
  const ip = frame.subarray(ETHERNET, ETHERNET + IPV4);
  ip[0] = 0x45;
  view.setUint16(ETHERNET + 2, IPV4 + UDP + payload.length);
  ip[8] = ttl;
  ip[9] = IPPROTO_UDP;
  ip.set(fromIp.bytes, 12);
  ip.set((to?.ip ?? broadcastIp).bytes, 16);
  view.setUint16(ETHERNET + 10, ~sumOf(ip) & 0xffff);
  const udp = ETHERNET + IPV4;
  view.setUint16(udp, clientPort);
  view.setUint16(udp + 2, serverPort);
  view.setUint16(udp + 4, UDP + payload.length);
  frame.set(payload, udp + UDP);
  // RFC 768: a checksum that comes out as zero is sent as all ones, since zero means that there is none.
  view.setUint16(
    udp + 6,
    ~sumOf(frame.subarray(udp), pseudoSum(ip, UDP + payload.length)) & 0xffff || 0xffff,
  );
  return frame;
}

/** A datagram for a client's port, and who sent it on layer 2. */
export interface Datagram {
  fromMac: Uint8Array;
  payload: Uint8Array;
}

/**
 * Splits what a stream read from a packet socket with {@link clientFilter}: one frame or several, each as long as its IP
 * header says. What is not a sound datagram for the client's port is left out.
 */
export function decodeFrames(bytes: Uint8Array): Datagram[] {
  const datagrams: Datagram[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + ETHERNET + IPV4 <= bytes.length; ) {
    const length = ETHERNET + view.getUint16(at + ETHERNET + 2);
    if (length < ETHERNET + IPV4 || at + length > bytes.length) break;
    const datagram = decodeFrame(bytes.subarray(at, at + length));
    if (datagram !== undefined) datagrams.push(datagram);
    at += length;
  }
  return datagrams;
}

function decodeFrame(frame: Uint8Array): Datagram | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const header = ((frame[ETHERNET] as number) & 0xf) * 4;
  const udp = ETHERNET + header;
  if (view.getUint16(12) !== ETH_P_IP || (frame[ETHERNET] as number) >> 4 !== 4 || header < IPV4)
    return undefined;
  if (frame[ETHERNET + 9] !== IPPROTO_UDP || udp + UDP > frame.length) return undefined;
  const ip = frame.subarray(ETHERNET, udp);
  if (sumOf(ip) !== 0xffff) return undefined;
  const length = view.getUint16(udp + 4);
  if (view.getUint16(udp + 2) !== clientPort || length < UDP || udp + length > frame.length) return undefined;
  if (!isSound(frame.subarray(udp, udp + length), pseudoSum(ip, length))) return undefined;
  return { fromMac: frame.slice(MAC, 2 * MAC), payload: frame.subarray(udp + UDP, udp + length) };
}

/**
 * Of a datagram that never left this machine the kernel has not computed the checksum (CHECKSUM_PARTIAL): the sum of the
 * pseudo header alone stands in its place.
 */
function isSound(udp: Uint8Array, pseudo: number): boolean {
  const checksum = ((udp[6] as number) << 8) | (udp[7] as number);
  return checksum === 0 || checksum === pseudo || sumOf(udp, pseudo) === 0xffff;
}

/** The one's complement sum of 16-bit words (RFC 1071), not complemented. */
function sumOf(bytes: Uint8Array, start = 0): number {
  let sum = start;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] as number) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

function pseudoSum(ip: Uint8Array, length: number): number {
  return sumOf(ip.subarray(12, 20), IPPROTO_UDP + length);
}

/** One instruction of the classic BPF (linux/filter.h): code, jumps where true and where false, operand. */
type Instruction = readonly [code: number, jt: number, jf: number, k: number];

const LD_H_ABS = 0x28;
const LD_B_ABS = 0x30;
const LD_H_IND = 0x48;
const LDX_IP_HEADER = 0xb1;
const LD_LEN = 0x80;
const JEQ = 0x15;
const JSET = 0x45;
const JGE_X = 0x3d;
const ADD = 0x04;
const TAX = 0x07;
const TXA = 0x87;
const RET = 0x06;
const RET_A = 0x16;

/**
 * Whole UDP datagrams for the client's port pass, cut to the length that their IP header says, so
 * that a socket wakes nobody for a container's other traffic and a stream of frames can be taken apart again.
 */
const program: readonly Instruction[] = [
  [LD_H_ABS, 0, 0, 12],
  [JEQ, 0, 14, ETH_P_IP],
  [LD_B_ABS, 0, 0, 23],
  [JEQ, 0, 12, IPPROTO_UDP],
  [LD_H_ABS, 0, 0, 20],
  // More fragments, or not the first one.
  [JSET, 10, 0, 0x3fff],
  [LDX_IP_HEADER, 0, 0, ETHERNET],
  [LD_H_IND, 0, 0, ETHERNET + 2],
  [JEQ, 0, 7, clientPort],
  [LD_H_ABS, 0, 0, 16],
  [ADD, 0, 0, ETHERNET],
  [TAX, 0, 0, 0],
  [LD_LEN, 0, 0, 0],
  [JGE_X, 0, 2, 0],
  [TXA, 0, 0, 0],
  [RET_A, 0, 0, 0],
  [RET, 0, 0, 0],
];

/** For SO_ATTACH_FILTER: {@link program} as an array of struct sock_filter. */
export const clientFilter: Uint8Array = (() => {
  const bytes = new Uint8Array(program.length * 8);
  const view = new DataView(bytes.buffer);
  for (const [i, [code, jt, jf, k]] of program.entries()) {
    view.setUint16(i * 8, code, true);
    bytes.set([jt, jf], i * 8 + 2);
    view.setUint32(i * 8 + 4, k, true);
  }
  return bytes;
})();
