import { CniError, cniErrorCode } from "../../cni/errors.ts";
import { isJsonObject, type JsonObject } from "../../cni/fields.ts";
import type { GcRequest, PluginRequest } from "../../cni/plugin.ts";
import { parseMac } from "../../lib/mac.ts";
import { isNotFound, KernelError } from "../../linux/errors.ts";
import * as ffi from "../../linux/ffi.ts";
import { listFolder, makeFolders, readWhole, removeFile, writeText } from "../../linux/lean/files.ts";
import type { LeanChange } from "../../linux/lean/rtnl.ts";
import { dataDirOf } from "./config.ts";

/** A backup has some hundred bytes. */
const longest = 64 * 1024;

/** What a file says. */
export interface Backup {
  /** What the interface was. */
  link: LeanChange;
  /** Undefined in the reference's. */
  network: string | undefined;
}

/**
 * What an interface was before it was tuned: a file as the reference keeps it, so that either plugin goes on with the
 * other's. Ours names the network besides, which the reference passes over: only so can GC tell whose it is.
 */
export class TuningBackup {
  readonly path: string;
  readonly #draft: string;
  readonly #dir: string;
  readonly #network: string;

  constructor({ config, invocation: { containerId, ifname } }: PluginRequest) {
    this.#dir = dataDirOf(config.fields);
    this.#network = config.name;
    this.path = `${this.#dir}/${containerId}_${ifname}.json`;
    this.#draft = `${this.path}${draftSuffix(config.name)}`;
  }

  /** What stands there; nothing for what cannot be understood, undefined where there is no file. */
  read(): Backup | undefined {
    try {
      return parseBackup(readWhole(this.path, longest)) ?? { link: {}, network: undefined };
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw this.#failed("read", error);
    }
  }

  /** Puts it there as a whole: whoever is killed meanwhile leaves what was there before. */
  write(link: LeanChange): void {
    const text = formatBackup(link, this.#network);
    try {
      try {
        writeText(this.#draft, text, 0o600);
      } catch (error) {
        if (!isNotFound(error)) throw error;
        makeFolders(this.#dir, 0o700);
        writeText(this.#draft, text, 0o600);
      }
      ffi.rename(this.#draft, this.path);
    } catch (error) {
      throw this.#failed("write", error);
    }
  }

  /** Removes it, and what a killed {@link write} left. None is fine. */
  remove(): void {
    try {
      removeFile(this.#draft);
      removeFile(this.path);
    } catch (error) {
      throw this.#failed("remove", error);
    }
  }

  #failed(operation: string, cause: unknown): unknown {
    return ioError(operation, this.path, cause);
  }
}

/** Removes backups of the network that belong to no valid attachment; those that do not name their network stay. */
export function collectBackups({ config, valid }: GcRequest): void {
  const dir = dataDirOf(config.fields);
  const keep = new Set(valid.map(({ containerId, ifname }) => `${containerId}_${ifname}.json`));
  const suffix = draftSuffix(config.name);
  for (const name of namesIn(dir)) {
    const path = `${dir}/${name}`;
    const isDraft = name.endsWith(suffix);
    if (!isDraft && !name.endsWith(".json")) continue;
    if (keep.has(isDraft ? name.slice(0, -suffix.length) : name)) continue;
    if (isDraft || networkOf(path) === config.name) remove(path);
  }
}

function remove(path: string): void {
  try {
    removeFile(path);
  } catch (error) {
    throw ioError("remove", path, error);
  }
}

function ioError(operation: string, path: string, cause: unknown): unknown {
  if (!(cause instanceof KernelError)) return cause;
  return new CniError(cniErrorCode.io, `tuning: cannot ${operation} backup ${path} (${cause.errnoName})`, {
    cause,
    remedy: "Check dataDir, its permissions and the free space there",
  });
}

/** Undefined for what is no backup, such as a link that somebody else put there. */
function networkOf(path: string): string | undefined {
  try {
    return parseBackup(readWhole(path, longest))?.network;
  } catch (error) {
    if (error instanceof KernelError) return undefined;
    throw error;
  }
}

function namesIn(dir: string): string[] {
  try {
    return listFolder(dir);
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  }
}

/** Of the network, so that GC knows whose a draft is that a kill left empty. */
function draftSuffix(network: string): string {
  return `.weft-${Bun.hash.crc32(network).toString(16)}`;
}

/** As Go's json.MarshalIndent writes it. */
export function formatBackup(link: LeanChange, network: string | undefined): string {
  const { mac, promiscuous, mtu, allMulticast, txQueueLength } = link;
  const backup = { mac, promisc: promiscuous, mtu, allmulti: allMulticast, txQLen: txQueueLength, network };
  return JSON.stringify(backup, null, 1);
}

/** Reads a backup, of ours or of the reference; undefined where it is none. */
export function parseBackup(text: string): Backup | undefined {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isJsonObject(raw)) return undefined;
  const { network } = raw;
  return {
    link: {
      mac: macOf(raw),
      mtu: numberOf(raw.mtu) || undefined,
      txQueueLength: numberOf(raw.txQLen),
      promiscuous: booleanOf(raw.promisc),
      allMulticast: booleanOf(raw.allmulti),
    },
    network: typeof network === "string" ? network : undefined,
  };
}

function macOf({ mac }: JsonObject): string | undefined {
  if (typeof mac !== "string") return undefined;
  try {
    parseMac(mac, "mac");
    return mac;
  } catch {
    return undefined;
  }
}

function numberOf(value: unknown): number | undefined {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 2 ** 32
    ? value
    : undefined;
}

function booleanOf(value: unknown): boolean | undefined {
  return typeof value === "boolean" ? value : undefined;
}
