import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isJsonObject, type JsonObject } from "../cni/fields.ts";
import { formatResult, parseResult } from "../cni/result.ts";
import { Ip } from "../lib/ip.ts";
import { formatMac, parseMac } from "../lib/mac.ts";
import type { Lease } from "./lease.ts";

/** A lease with all that a daemon needs in order to go on with it after a restart. */
export interface LeaseRecord {
  network: string;
  containerId: string;
  ifname: string;
  /** The namespace's path as this daemon sees it, and what was there: the path may lead to another by now. */
  netns: string;
  netnsIdentity: string;
  /** Index of the link in it. */
  link: number;
  requested: number[];
  provided: ReadonlyMap<number, Uint8Array>;
  broadcast: boolean;
  lease: Lease;
  /** Why the lease is lost, where it is. */
  ended?: string;
}

/** An attachment: an interface of a container on a network. */
export type Key = Pick<LeaseRecord, "network" | "containerId" | "ifname">;

const suffix = ".json";
/** A lease, or what a kill left of writing one. */
const ownName = /^[0-9a-f]{40}\.json(?:\.new)?$/;

/** Leases as files in a folder of their own, one each, so that a renewal writes little and a broken file loses one. */
export class LeaseStore {
  readonly #dir: string;
  readonly #boot: string;

  /** Makes the folder. Leases are of the boot of that id. */
  constructor(dir: string, boot: string) {
    this.#dir = dir;
    this.#boot = boot;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  }

  #path({ network, containerId, ifname }: Key): string {
    const hash = createHash("sha256")
      .update(JSON.stringify([network, containerId, ifname]))
      .digest("hex");
    return join(this.#dir, `${hash.slice(0, 40)}${suffix}`);
  }

  /** Writes a lease, in one step. */
  save(record: LeaseRecord): void {
    const path = this.#path(record);
    writeFileSync(`${path}.new`, JSON.stringify({ boot: this.#boot, ...formatRecord(record) }), {
      mode: 0o600,
    });
    renameSync(`${path}.new`, path);
  }

  /** Forgets a lease; none is fine. */
  remove(record: Key): void {
    rmSync(this.#path(record), { force: true });
  }

  /** All leases. What is called like one and is none is told and removed; all else in the folder is somebody else's. */
  load(broken: (path: string, error: Error) => void): LeaseRecord[] {
    const records: LeaseRecord[] = [];
    for (const name of readdirSync(this.#dir)) {
      if (!ownName.test(name)) continue;
      const path = join(this.#dir, name);
      try {
        if (!name.endsWith(suffix)) rmSync(path, { force: true, recursive: true });
        else if (!lstatSync(path).isFile()) throw new TypeError("not a file");
        else records.push(parseRecord(JSON.parse(readFileSync(path, "utf8")), this.#boot));
      } catch (error) {
        rmSync(path, { force: true, recursive: true });
        broken(path, error as Error);
      }
    }
    return records;
  }
}

function formatRecord({ lease, provided, ...rest }: LeaseRecord): JsonObject {
  const { address, gateway, routes, dns, server, serverMac, ...times } = lease;
  const ips = [gateway === undefined ? { address } : { address, gateway }];
  return {
    ...rest,
    provided: [...provided].map(([code, value]) => [code, value.toHex()]),
    server: server.toString(),
    serverMac: formatMac(serverMac),
    // JSON writes what is endless as null.
    ...times,
    result: formatResult({ interfaces: [], ips, routes: [...routes], dns }, "1.1.0"),
  };
}

function parseRecord(value: unknown, boot: string): LeaseRecord {
  if (!isJsonObject(value)) throw new TypeError("not a JSON object");
  if (value.boot !== boot) throw new TypeError("of another boot of the machine");
  const text = (name: string) => {
    const found = value[name];
    if (typeof found !== "string") throw new TypeError(`${name} is not a text`);
    return found;
  };
  const time = (name: string) => {
    const found = value[name];
    if (found === null) return Number.POSITIVE_INFINITY;
    if (typeof found !== "number") throw new TypeError(`${name} is not a time`);
    return found;
  };
  const { link, requested, provided, ended } = value;
  if (typeof link !== "number") throw new TypeError("link is not a number");
  if (!Array.isArray(requested) || !Array.isArray(provided)) throw new TypeError("options are missing");
  const { ips, routes, dns } = parseResult(value.result, "1.1.0");
  const [ip] = ips;
  if (ip === undefined) throw new TypeError("without an address");
  return {
    network: text("network"),
    containerId: text("containerId"),
    ifname: text("ifname"),
    netns: text("netns"),
    netnsIdentity: text("netnsIdentity"),
    link,
    requested: requested.map(Number),
    provided: new Map(provided.map(([code, hex]) => [Number(code), Uint8Array.fromHex(String(hex))])),
    broadcast: value.broadcast === true,
    lease: {
      address: ip.address,
      gateway: ip.gateway,
      routes,
      dns,
      server: Ip.parse(text("server")),
      serverMac: parseMac(text("serverMac")),
      renewal: time("renewal"),
      rebinding: time("rebinding"),
      expiry: time("expiry"),
    },
    ...(typeof ended === "string" ? { ended } : {}),
  };
}
