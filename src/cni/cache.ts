import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CniError, cniErrorCode } from "./errors.ts";
import { Fields, type JsonObject } from "./fields.ts";
import { parseJsonObject } from "./netconf.ts";

/** libcni's own folder. */
export const defaultCacheDir = "/var/lib/cni";
const kind = "cniCacheV1";

/** What libcni remembers of an attachment. */
export interface CachedAttachment {
  network: string;
  containerId: string;
  ifname: string;
  netns: string;
  args: readonly (readonly [key: string, value: string])[];
  capabilityArgs: JsonObject;
  /** The configuration list as it was at ADD. */
  config: string;
  /** The result of ADD, with its cniVersion. */
  result: JsonObject;
}

type Key = Pick<CachedAttachment, "network" | "containerId" | "ifname">;

/** Results of ADD, kept in libcni's format and place, so that either goes on with the other's. */
export class ResultCache {
  readonly #cacheDir: string;
  readonly #dir: string;

  constructor(cacheDir: string = defaultCacheDir) {
    this.#cacheDir = cacheDir;
    this.#dir = join(cacheDir, "results");
  }

  #file({ network, containerId, ifname }: Key): string {
    return join(this.#dir, `${network}-${containerId}-${ifname}`);
  }

  /** What a kill leaves of it goes with the next ADD or DEL of the same attachment. */
  #draft({ network, containerId, ifname }: Key): string {
    const key = JSON.stringify([network, containerId, ifname]);
    return join(this.#cacheDir, `.draft-${new Bun.CryptoHasher("sha256").update(key).digest("hex")}`);
  }

  /** Throws a {@link CniError} of code 5. */
  write(attachment: CachedAttachment): void {
    const { network, containerId, ifname, netns, args, capabilityArgs, config, result } = attachment;
    const text = JSON.stringify({
      kind,
      containerId,
      config: Buffer.from(config).toString("base64"),
      ifName: ifname,
      networkName: network,
      ...(netns === "" ? {} : { netns }),
      ...(args.length === 0 ? {} : { cniArgs: args }),
      ...(Object.keys(capabilityArgs).length === 0 ? {} : { capabilityArgs }),
      result,
    });
    const file = this.#file(attachment);
    try {
      mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
      // libcni overwrites in place; a rename leaves no half of it behind. Beside the results, all of which libcni reads.
      const draft = this.#draft(attachment);
      try {
        writeFileSync(draft, text, { mode: 0o600 });
        renameSync(draft, file);
      } catch (error) {
        rmSync(draft, { force: true });
        throw error;
      }
    } catch (error) {
      throw ioError(`cannot keep the result in ${file}`, error);
    }
  }

  /** Undefined where nothing usable is kept. */
  read(key: Key): CachedAttachment | undefined {
    return readEntry(this.#file(key), key);
  }

  /** Nothing to remove is fine. Throws a {@link CniError} of code 5. */
  remove(key: Key): void {
    const file = this.#file(key);
    const found = readEntry(file);
    try {
      rmSync(this.#draft(key), { force: true });
      if (found === undefined || isOf(found, key)) rmSync(file, { force: true });
    } catch (error) {
      throw ioError(`cannot forget the result in ${file}`, error);
    }
  }

  /** Every attachment, in lexicographic order of the files. */
  list(): CachedAttachment[] {
    return this.#names()
      .sort()
      .flatMap((name) => readEntry(join(this.#dir, name)) ?? []);
  }

  /** True where a container's interface is kept, whatever its network. Reads nothing else. */
  hasInterface({ containerId, ifname }: Pick<CachedAttachment, "containerId" | "ifname">): boolean {
    const candidates = this.#names().filter((name) => name.endsWith(`-${containerId}-${ifname}`));
    return candidates.some((name) => {
      const entry = readEntry(join(this.#dir, name));
      return entry?.containerId === containerId && entry.ifname === ifname;
    });
  }

  #names(): string[] {
    try {
      return readdirSync(this.#dir);
    } catch {
      return [];
    }
  }
}

function ioError(problem: string, error: unknown): CniError {
  const code = (error as NodeJS.ErrnoException).code;
  return new CniError(cniErrorCode.io, `${problem} (${code})`, {
    cause: error,
    remedy: "Check the cache folder, its permissions and the free space there",
  });
}

/** `key` is whose entry it must be; without it the entry has to say that itself. */
function readEntry(file: string, key?: Key): CachedAttachment | undefined {
  try {
    // Nothing else is opened: reading a pipe would wait.
    if (!statSync(file).isFile()) return undefined;
    return parseEntry(new Fields(parseJsonObject(readFileSync(file, "utf8"), file)), key);
  } catch {
    // Not there, cut short by a kill, or not libcni's: as libcni, go on without.
    return undefined;
  }
}

function parseEntry(fields: Fields, key: Key | undefined): CachedAttachment | undefined {
  if (fields.string("kind") !== kind) return key === undefined ? undefined : bareResult(fields, key);
  const args = fields.get("cniArgs");
  const result = fields.object("result")?.raw;
  const entry = {
    network: fields.string("networkName") ?? "",
    containerId: fields.string("containerId") ?? "",
    ifname: fields.string("ifName") ?? "",
  };
  if (result === undefined || entry.network === "" || entry.ifname === "") return undefined;
  if (key !== undefined && !isOf(entry, key)) return undefined;
  return {
    ...entry,
    netns: fields.string("netns") ?? "",
    args: Array.isArray(args) ? args.filter(isPair) : [],
    capabilityArgs: fields.object("capabilityArgs")?.raw ?? {},
    config: Buffer.from(fields.string("config") ?? "", "base64").toString("utf8"),
    result,
  };
}

/** "a-b" of "c" has the same file as "a" of "b-c". */
function isOf(entry: Key, { network, containerId, ifname }: Key): boolean {
  return entry.network === network && entry.containerId === containerId && entry.ifname === ifname;
}

/** What libcni kept before it had cniCacheV1 (0.7): the result alone. */
function bareResult(fields: Fields, key: Key): CachedAttachment | undefined {
  if (fields.string("kind") !== undefined || fields.string("cniVersion") === undefined) return undefined;
  const { network, containerId, ifname } = key;
  const entry = { network, containerId, ifname, netns: "", args: [], capabilityArgs: {}, config: "" };
  return { ...entry, result: fields.raw };
}

function isPair(value: unknown): value is [string, string] {
  return (
    Array.isArray(value) && value.length === 2 && typeof value[0] === "string" && typeof value[1] === "string"
  );
}
