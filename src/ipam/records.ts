import { Ip } from "../lib/ip.ts";
import { isNotFound } from "../linux/errors.ts";
import * as ffi from "../linux/ffi.ts";
import { appendText, makeFolders, readWhole, removeFile, writeText } from "../linux/lean/files.ts";
import type { Holder, Owner } from "./store.ts";

/** What is remembered of an attachment besides its leases, and by which these are found without looking through all. */
export interface LeaseRecord {
  owner: Owner;
  ips: Ip[];
  holder: Holder;
}

/** A file that is shorter is looked through at every release. Bytes. */
const short = 4096;
/** No network has so many attachments. Bytes. */
const longest = 256 * 1024 * 1024;
/** A file is written anew where it has grown by so much, and doubled. Bytes. */
const growth = 64 * 1024;

/**
 * The attachments of a network, as a journal: a line of JSON behind the others where one gets or gives back its
 * addresses, of which the last counts. A file for each would cost an ADD as much as all else that it does with files. A
 * record is a hint: what counts is the lease. All calls belong inside of a transaction of the leases.
 */
export class LeaseRecords {
  readonly #folder: string;
  readonly #path: string;
  /** What is in the file, once it is known in a transaction. */
  #text: string | undefined;

  constructor(folder: string, network: string) {
    this.#folder = folder;
    this.#path = `${folder}/${network}`;
  }

  /** To be called where somebody else may have changed the file. */
  forget(): void {
    this.#text = undefined;
  }

  #known(): string {
    this.#text ??= readIfThere(this.#path);
    return this.#text;
  }

  #append(line: string): void {
    // The line break comes first, so that a line that was cut short spoils no other.
    const text = `\n${line}`;
    const before = this.#known();
    try {
      appendText(this.#path, text, 0o644);
    } catch (error) {
      if (!isNotFound(error)) throw error;
      makeFolders(this.#folder, 0o755);
      appendText(this.#path, text, 0o644);
    }
    this.#text = before + text;
  }

  write(record: LeaseRecord): void {
    this.#append(lineOf(record));
  }

  /** Undefined where there is none. */
  read(owner: Owner): LeaseRecord | undefined {
    const text = this.#known();
    const at = text.lastIndexOf(`\n${startOf(owner)}`);
    if (at < 0) return undefined;
    const end = text.indexOf("\n", at + 1);
    const record = parse(text.slice(at + 1, end < 0 ? undefined : end));
    return record === undefined || record.ips.length === 0 ? undefined : record;
  }

  remove(owner: Owner): void {
    if (this.read(owner) === undefined) return;
    this.#append(`${startOf(owner)}"ips":[]}`);
    this.#tidy();
  }

  /** Every attachment that has addresses. */
  all(): LeaseRecord[] {
    const records = new Map<string, LeaseRecord>();
    for (const line of this.#known().split("\n")) {
      const record = parse(line);
      if (record !== undefined) records.set(startOf(record.owner), record);
    }
    return [...records.values()].filter(({ ips }) => ips.length > 0);
  }

  /** Removes a file in which nothing counts, and writes one anew in which most does not count any more. */
  #tidy(): void {
    const text = this.#known();
    const before = Number(/^\{"length":(\d+)\}/.exec(text)?.[1] ?? 0);
    if (text.length > short && text.length < 2 * before + growth) return;
    const records = this.all();
    if (records.length === 0) {
      removeFile(this.#path);
      this.#text = "";
    } else if (text.length > short) {
      this.#rewrite(records);
    }
  }

  #rewrite(records: readonly LeaseRecord[]): void {
    const text = records.map((record) => `\n${lineOf(record)}`).join("");
    const whole = `{"length":${text.length}}${text}`;
    // No network has such a name.
    const draft = `${this.#path}.draft,`;
    writeText(draft, whole, 0o644);
    ffi.rename(draft, this.#path);
    this.#text = whole;
  }
}

/** How the lines of an attachment begin. */
function startOf({ containerId, ifname }: Owner): string {
  return `{"containerId":${JSON.stringify(containerId)},"ifname":${JSON.stringify(ifname)},`;
}

function lineOf({ owner, ips, holder }: LeaseRecord): string {
  return `${startOf(owner)}${JSON.stringify({ ips: ips.map(String), ...holder }).slice(1)}`;
}

function readIfThere(path: string): string {
  try {
    return readWhole(path, longest);
  } catch (error) {
    if (isNotFound(error)) return "";
    throw error;
  }
}

/** Undefined for what is no record, or only a part of one. */
function parse(line: string): LeaseRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  const { containerId, ifname, ips, netns, boot } = (value ?? {}) as Record<string, unknown>;
  if (typeof containerId !== "string" || typeof ifname !== "string") return undefined;
  const texts: unknown[] = Array.isArray(ips) ? ips : [];
  return {
    owner: { containerId, ifname },
    ips: texts.flatMap((text) => (typeof text === "string" ? (Ip.tryParse(text) ?? []) : [])),
    holder: { netns: String(netns ?? ""), boot: String(boot ?? "") },
  };
}
