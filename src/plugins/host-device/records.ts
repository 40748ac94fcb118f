import { readdirSync } from "node:fs";
import { CniError, cniErrorCode } from "../../cni/errors.ts";
import { isJsonObject } from "../../cni/fields.ts";
import type { AttachmentKey } from "../../cni/plugin.ts";
import { KernelError } from "../../linux/errors.ts";
import * as ffi from "../../linux/ffi.ts";
import { makeFolders, readWhole, removeFile, writeText } from "../../linux/lean/files.ts";
import type { Link } from "../../linux/route/link.ts";

/** What a device was like on the host before a container got it. */
export interface DeviceRecord {
  /** The path of the container's namespace. */
  netns: string;
  name: string;
  /** Absent for hardware. */
  kind?: string;
  up: boolean;
  mtu: number;
  mac?: string;
  permanentMac?: string;
  alias?: string;
  /** The name of the bridge or VRF that it belonged to. */
  master?: string;
}

/** Draws the record of a device. */
export function recordOf(device: Link, netns: string, master: string | undefined): DeviceRecord {
  const { name, kind, up, mtu, mac, permanentMac, alias } = device;
  return {
    netns,
    name,
    up,
    mtu,
    ...(kind === undefined ? {} : { kind }),
    ...(mac === undefined ? {} : { mac }),
    ...(permanentMac === undefined ? {} : { permanentMac }),
    ...(alias === undefined ? {} : { alias }),
    ...(master === undefined ? {} : { master }),
  };
}

/** True for the device of a record: it has kept its alias or, where somebody changed that, its permanent address. */
export function isSame(
  link: Pick<Link, "kind" | "alias" | "permanentMac">,
  { name, kind, permanentMac }: DeviceRecord,
): boolean {
  if (link.kind !== kind) return false;
  return link.alias === name || (permanentMac !== undefined && link.permanentMac === permanentMac);
}

/** Neither part can have it in it. */
const separator = ":";
/** A record has some hundred bytes. */
const longest = 64 * 1024;

/** The records of one network's devices, a file for each: `DIR/NETWORK/CONTAINERID:IFNAME`. */
export class DeviceRecords {
  readonly #dir: string;

  constructor(dataDir: string, network: string) {
    this.#dir = `${dataDir}/${network}`;
  }

  #path({ containerId, ifname }: AttachmentKey): string {
    return `${this.#dir}/${containerId}${separator}${ifname}`;
  }

  /** Undefined where there is none, or none that can be understood. */
  read(key: AttachmentKey): DeviceRecord | undefined {
    try {
      return parseRecord(JSON.parse(readWhole(this.#path(key), longest)));
    } catch {
      return undefined;
    }
  }

  /** Throws a {@link CniError} of code 5 where it cannot be kept. */
  write(key: AttachmentKey, record: DeviceRecord): void {
    const path = this.#path(key);
    try {
      makeFolders(this.#dir, 0o755);
      // What a kill cuts short must not be taken for a record.
      writeText(`${path}${separator}`, JSON.stringify(record), 0o600);
      ffi.rename(`${path}${separator}`, path);
    } catch (error) {
      throw ioError("write", path, error);
    }
  }

  /** None is fine. Throws a {@link CniError} of code 5. */
  remove(key: AttachmentKey): void {
    const path = this.#path(key);
    try {
      removeFile(path);
      removeFile(`${path}${separator}`);
    } catch (error) {
      throw ioError("remove", path, error);
    }
  }

  /** Whose devices are remembered. */
  list(): AttachmentKey[] {
    return namesIn(this.#dir).map((name) => {
      const [containerId = "", ifname = ""] = name.split(separator);
      return { containerId, ifname };
    });
  }
}

function ioError(operation: string, path: string, cause: unknown): unknown {
  if (!(cause instanceof KernelError)) return cause;
  return new CniError(cniErrorCode.io, `cannot ${operation} ${path} (${cause.errnoName})`, {
    cause,
    remedy: "Check dataDir, its permissions and the free space there",
  });
}

/** A record, and where it is kept. */
export interface KeptRecord {
  records: DeviceRecords;
  key: AttachmentKey;
  record: DeviceRecord;
}

/** What is remembered for all networks with this folder. */
export function allRecords(dataDir: string): KeptRecord[] {
  return namesIn(dataDir).flatMap((network) => {
    const records = new DeviceRecords(dataDir, network);
    return records.list().flatMap((key) => {
      const record = records.read(key);
      return record === undefined ? [] : [{ records, key, record }];
    });
  });
}

/** None where there is no such folder. */
function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function parseRecord(value: unknown): DeviceRecord | undefined {
  if (!isJsonObject(value)) return undefined;
  const { netns, name, up, mtu, kind, mac, permanentMac, alias, master } = value;
  if (typeof name !== "string" || typeof up !== "boolean" || typeof mtu !== "number") return undefined;
  return {
    netns: typeof netns === "string" ? netns : "",
    name,
    up,
    mtu,
    ...(typeof kind === "string" ? { kind } : {}),
    ...(typeof mac === "string" ? { mac } : {}),
    ...(typeof permanentMac === "string" ? { permanentMac } : {}),
    ...(typeof alias === "string" ? { alias } : {}),
    ...(typeof master === "string" ? { master } : {}),
  };
}
