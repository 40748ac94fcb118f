/*
 * How the IPAM plugin `dhcp` and its daemon (`weft dhcp daemon`) speak over a Unix socket: one call on a connection, one
 * JSON object a line. The plugin sends a request; the daemon sends that it took it, and later what came of it. Whoever
 * closes the connection before gives up the call.
 */
import { CniError, cniErrorCode, type ErrorResult } from "./errors.ts";
import { isJsonObject, type JsonObject } from "./fields.ts";
import type { AttachmentKey } from "./plugin.ts";

/** The reference's, too, which speaks another protocol there. */
export const defaultSocketPath = "/run/cni/dhcp.sock";

/** Stands in every line, so that either side knows the other. */
const protocol = "weft-dhcp/1";

/** No line is longer. Bytes. */
export const longestLine: number = 16 * 1024 * 1024;

/** What the plugin asks of the daemon. */
export interface DhcpRequest {
  command: "ADD" | "DEL" | "CHECK" | "GC" | "STATUS";
  network: string;
  /** "" for GC and STATUS, as the following two. */
  containerId: string;
  ifname: string;
  netns: string;
  /** CNI_ARGS. */
  args: string;
  /** The configuration's `ipam`. */
  ipam: JsonObject;
  /** CHECK: the addresses that the runtime believes the interface to have. */
  addresses: string[];
  /** GC: what may stay. */
  valid: AttachmentKey[];
}

/** What the daemon says: that it took the request, and for how long it may need (milliseconds); then what came of it. */
export type DhcpAnswer =
  | { patience: number }
  | { result: JsonObject }
  | { error: Pick<ErrorResult, "code" | "msg" | "details"> };

/** A line, with its end. */
export function formatLine(message: DhcpRequest | DhcpAnswer): string {
  return `${JSON.stringify({ protocol, ...message })}\n`;
}

function parseLine(line: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isJsonObject(value) && value.protocol === protocol ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Reads a request; undefined where the line is none. */
export function parseRequest(line: string): DhcpRequest | undefined {
  const value = parseLine(line);
  if (value === undefined) return undefined;
  const { command, network, containerId, ifname, netns, args, ipam, addresses, valid } = value;
  const texts = [network, containerId, ifname, netns, args];
  if (!["ADD", "DEL", "CHECK", "GC", "STATUS"].includes(String(command))) return undefined;
  if (!texts.every((text) => typeof text === "string") || !isJsonObject(ipam)) return undefined;
  if (!Array.isArray(addresses) || !addresses.every((each) => typeof each === "string")) return undefined;
  if (!Array.isArray(valid) || !valid.every(isAttachmentKey)) return undefined;
  return value as unknown as DhcpRequest;
}

function isAttachmentKey(value: unknown): value is AttachmentKey {
  return isJsonObject(value) && typeof value.containerId === "string" && typeof value.ifname === "string";
}

/** Reads an answer. Throws a {@link CniError} of code 50 where it is of something else, such as the reference's daemon. */
export function parseAnswer(line: string, socketPath: string): DhcpAnswer {
  const value = parseLine(line);
  if (value !== undefined) {
    const { patience, result, error } = value;
    if (typeof patience === "number") return { patience };
    if (isJsonObject(result)) return { result };
    if (isJsonObject(error) && typeof error.code === "number" && typeof error.msg === "string") {
      const { code, msg, details } = error;
      return { error: typeof details === "string" ? { code, msg, details } : { code, msg } };
    }
  }
  throw otherDaemon(socketPath);
}

/** Something listens on the socket that is no daemon of Weft's. */
export function otherDaemon(socketPath: string): CniError {
  return new CniError(
    cniErrorCode.pluginNotAvailable,
    `what listens on "${socketPath}" does not speak as Weft's DHCP daemon does`,
    {
      remedy:
        "Stop it (the reference's `dhcp daemon`, perhaps) and start `weft dhcp daemon`, or give another ipam.daemonSocketPath",
    },
  );
}

/** What a client of another kind is told: the reference's plugin speaks HTTP first, and shows the status line. */
export const otherClientAnswer =
  "HTTP/1.0 501 this is Weft's DHCP daemon, which only Weft's dhcp plugin can ask\r\nContent-Length: 0\r\n\r\n";
