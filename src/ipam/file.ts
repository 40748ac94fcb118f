import { WeftError } from "../lib/errors.ts";
import { Ip } from "../lib/ip.ts";
import { isErrno, isNotFound, KernelError } from "../linux/errors.ts";
import * as ffi from "../linux/ffi.ts";
import {
  exists,
  isThere,
  listFolder,
  makeFolders,
  openLock,
  overwriteText,
  readText,
  removeFile,
  stampChange,
  timeOfChange,
  tryLock,
  writeText,
} from "../linux/lean/files.ts";
import { LeaseRecords } from "./records.ts";
import type { Holder, Lease, LeaseStore, Owner } from "./store.ts";

/** Where the reference host-local keeps its leases where a configuration names no other place. */
export const defaultDataDir = "/var/lib/cni/networks";

/** How long to wait until asking for the lock again, at most. Milliseconds. */
const longestPause = 16;
/** How long to wait for the lock in all: whoever works has it for a few milliseconds. Milliseconds. */
const lockPatience = 30_000;
const lineBreak = "\r\n";
/** Leases are written here and then renamed, so that one that a kill cut short is never taken for a lease. */
const draft = "weft.draft";

/** The file system refused something: names the file. */
export class LeaseStoreError extends WeftError {
  constructor(operation: string, path: string, cause: unknown) {
    const code = cause instanceof KernelError ? cause.errnoName : String(cause);
    super("lease-store", `cannot ${operation} ${path} (${code})`, {
      cause,
      remedy: "Check ipam.dataDir, its permissions and the free space there",
    });
  }
}

/** Somebody else has the lock and does not let go of it: names the file. */
export class LeaseStoreBusy extends WeftError {
  constructor(path: string, milliseconds: number) {
    super("lease-store-busy", `${path} is locked by another process for more than ${milliseconds / 1000} s`, {
      remedy: `Look who has it (fuser ${path}) and end that process`,
    });
  }
}

/** Where Weft's own records of attachments are, in a file for each network. */
export function recordsFolder(dataDir: string): string {
  return `${dataDir}/.weft`;
}

/** What is known of a folder. */
interface Knowledge {
  /** The stamp that this process left there when it last changed it. */
  changed: string;
  /** Who had leases when they were read; some may have given them back. */
  found: ReadonlySet<string>;
  /** Who got leases of this process since then. */
  since: Set<string>;
}

/** Spares a process that lives on the look through all leases, as long as nobody else changes them. */
const known = new Map<string, Knowledge>();

/** So many questions whether an address is taken are answered one by one, before the whole folder is read. */
const fewQuestions = 64;

/**
 * Leases as files, exactly as the reference host-local keeps them, so that either can go on with the other's:
 * `DATADIR/NETWORK/ADDRESS` holds "CONTAINERID\r\nIFNAME", `last_reserved_ip.N` the last address given out from range
 * set N, and `lock` is held with flock(2). Weft's own records of attachments are in `DATADIR/.weft/NETWORK`.
 */
export class FileLeaseStore implements LeaseStore {
  readonly dir: string;
  readonly #patience: number;
  readonly #records: LeaseRecords;
  /** The names of the files in the folder, once they are read in a transaction. */
  #names: Set<string> | undefined;
  #questions = 0;
  /** The folder's time of change at the beginning of a transaction. */
  #changed = "";
  #knowledge: Knowledge | undefined;

  /** Touches nothing yet. `patience`: for how many milliseconds a transaction waits for others'. */
  constructor(network: string, dataDir: string = defaultDataDir, patience: number = lockPatience) {
    this.dir = `${dataDir}/${network}`;
    this.#patience = patience;
    this.#records = new LeaseRecords(recordsFolder(dataDir), network);
  }

  async transaction<T>(action: () => T, signal?: AbortSignal): Promise<T> {
    const fd = this.#open();
    try {
      await this.#lock(fd, signal);
      this.#begin();
      try {
        return action();
      } finally {
        this.#end();
      }
    } finally {
      ffi.close(fd);
    }
  }

  /** Waits without holding up what else this process does: one that has the lock and is stuck must stop no other network. */
  async #lock(fd: number, signal: AbortSignal | undefined): Promise<void> {
    const deadline = performance.now() + this.#patience;
    for (let pause = 1; !tryLock(fd); pause = Math.min(pause * 2, longestPause)) {
      signal?.throwIfAborted();
      if (performance.now() >= deadline) throw new LeaseStoreBusy(`${this.dir}/lock`, this.#patience);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  #begin(): void {
    this.#names = undefined;
    this.#questions = 0;
    this.#records.forget();
    this.#changed = timeOfChange(this.dir);
    const before = known.get(this.dir);
    this.#knowledge = before?.changed === this.#changed ? before : undefined;
  }

  /** Only what a stamp protects is known: behind another's change there may be a further one that cannot be told from it. */
  #end(): void {
    const before = known.get(this.dir);
    const knowledge = this.#knowledge;
    const isChanged = knowledge !== undefined && timeOfChange(this.dir) !== this.#changed;
    if (knowledge === before && !isChanged) return;
    known.delete(this.dir);
    if (!isChanged) return;
    try {
      known.set(this.dir, { ...knowledge, changed: stampChange(this.dir) });
    } catch (error) {
      // The folder of another user's: all leases are read anew next time.
      if (!(error instanceof KernelError)) throw error;
    }
  }

  #open(): number {
    const lock = `${this.dir}/lock`;
    try {
      return openLock(lock, 0o750);
    } catch (error) {
      if (!isNotFound(error)) throw new LeaseStoreError("open", lock, error);
    }
    try {
      makeFolders(this.dir, 0o755);
      return openLock(lock, 0o750);
    } catch (error) {
      throw new LeaseStoreError("make the folder", this.dir, error);
    }
  }

  /** True where the folder is there: without it there is nothing to release. */
  exists(): boolean {
    return exists(this.dir);
  }

  #listing(): Set<string> {
    if (this.#names === undefined) {
      try {
        this.#names = new Set(listFolder(this.dir));
      } catch (error) {
        throw new LeaseStoreError("read the folder", this.dir, error);
      }
    }
    return this.#names;
  }

  list(): Lease[] {
    const leases: Lease[] = [];
    for (const name of this.#listing()) {
      const ip = Ip.tryParse(name);
      if (ip === undefined) continue;
      const text = this.#read(name);
      if (text !== undefined) leases.push({ ip, owner: parseOwner(text) });
    }
    return leases;
  }

  find(owner: Owner): Ip[] {
    const recorded = this.#recordedLeases(owner);
    if (recorded.length > 0) return recorded;
    const { found, since } = this.#knowledge ?? {};
    const mayHave = (key: string) => found?.has(key) !== false || since?.has(key) !== false;
    return mayHave(keyOf(owner)) || mayHave(keyOf({ ...owner, ifname: "" })) ? this.#search(owner) : [];
  }

  #recordedLeases(owner: Owner): Ip[] {
    const ips = this.#recorded(() => this.#records.read(owner)?.ips ?? []);
    return ips.filter((ip) => {
      const text = this.#read(String(ip));
      return text !== undefined && keyOf(parseOwner(text)) === keyOf(owner);
    });
  }

  /** As the reference: a lease without interface name counts only where none with it is found. */
  #search(owner: Owner): Ip[] {
    const exact: Ip[] = [];
    const nameless: Ip[] = [];
    const found = new Set<string>();
    for (const { ip, owner: other } of this.list()) {
      found.add(keyOf(other));
      if (other.containerId !== owner.containerId) continue;
      if (other.ifname === owner.ifname) exact.push(ip);
      else if (other.ifname === "") nameless.push(ip);
    }
    this.#knowledge = { changed: "", found, since: new Set() };
    return exact.length > 0 ? exact : nameless;
  }

  has(ip: Ip): boolean {
    const name = String(ip);
    if (this.#names === undefined && this.#questions++ < fewQuestions) return isThere(`${this.dir}/${name}`);
    return this.#listing().has(name);
  }

  remember(owner: Owner, ips: readonly Ip[], holder: Holder): void {
    this.#recorded(() => this.#records.write({ owner, ips: [...ips], holder }));
  }

  remembered(): { owner: Owner; holder: Holder }[] {
    return this.#recorded(() => this.#records.all());
  }

  #recorded<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw new LeaseStoreError("use the records of", this.dir, error);
    }
  }

  reserve(ip: Ip, owner: Owner, set: number): boolean {
    if (this.has(ip)) return false;
    const name = String(ip);
    this.#write(draft, `${owner.containerId}${lineBreak}${owner.ifname}`);
    this.#knowledge?.since.add(keyOf(owner));
    try {
      ffi.rename(`${this.dir}/${draft}`, `${this.dir}/${name}`);
    } catch (error) {
      throw new LeaseStoreError("write the lease", `${this.dir}/${name}`, error);
    }
    this.#names?.add(name);
    try {
      this.#writeLast(lastReservedName(set), name);
    } catch (error) {
      this.remove(ip);
      throw error;
    }
    return true;
  }

  /** To empty a file that is there takes a file system much longer than to write over it. */
  #writeLast(name: string, text: string): void {
    const path = `${this.dir}/${name}`;
    const before = this.#read(name) ?? "";
    try {
      if (before.length > text.length) writeText(path, text, 0o644);
      else overwriteText(path, text, 0o644);
    } catch (error) {
      throw new LeaseStoreError("write", path, error);
    }
  }

  #write(name: string, text: string): void {
    const path = `${this.dir}/${name}`;
    try {
      writeText(path, text, 0o644);
    } catch (error) {
      throw new LeaseStoreError("write", path, error);
    }
  }

  release(owner: Owner): Ip[] {
    const recorded = this.#recordedLeases(owner);
    const ips = recorded.length > 0 ? recorded : this.#search(owner);
    for (const ip of ips) this.remove(ip);
    this.forget(owner);
    return ips;
  }

  forget(owner: Owner): void {
    this.#knowledge?.since.delete(keyOf(owner));
    this.#removeRecord(owner);
    try {
      // A kill may have left it.
      removeFile(`${this.dir}/${draft}`);
    } catch (error) {
      throw new LeaseStoreError("remove", `${this.dir}/${draft}`, error);
    }
  }

  /** To forget takes a line in the journal. Where there is no room for it, the record stays: no lease is left that it names. */
  #removeRecord(owner: Owner): void {
    try {
      this.#recorded(() => this.#records.remove(owner));
    } catch (error) {
      if (!isErrno((error as LeaseStoreError).cause, "ENOSPC", "EDQUOT")) throw error;
    }
  }

  remove(ip: Ip): void {
    const path = `${this.dir}/${ip}`;
    try {
      removeFile(path);
    } catch (error) {
      throw new LeaseStoreError("remove the lease", path, error);
    }
    this.#names?.delete(String(ip));
  }

  lastReserved(set: number): Ip | undefined {
    const text = this.#read(lastReservedName(set));
    return text === undefined ? undefined : Ip.tryParse(text.trim());
  }

  #read(name: string): string | undefined {
    try {
      return readText(`${this.dir}/${name}`);
    } catch {
      // Released meanwhile by something that does not lock, or no file at all.
      return undefined;
    }
  }
}

function lastReservedName(set: number): string {
  return `last_reserved_ip.${set}`;
}

function parseOwner(text: string): Owner {
  const [containerId = "", ifname = ""] = text.trim().split(lineBreak);
  return { containerId: containerId.trim(), ifname: ifname.trim() };
}

/** What identifies an owner. */
function keyOf({ containerId, ifname }: Owner): string {
  return `${containerId},${ifname}`;
}
