import { Ip } from "../lib/ip.ts";
import * as ffi from "../linux/ffi.ts";
import { exists, listFolder, makeFolders, readText, removeFile, writeText } from "../linux/lean/files.ts";
import type { Holder, Owner } from "./store.ts";

/** Written here and then renamed; no attachment is called so. */
const draft = "draft";

/** What is remembered of an attachment besides its leases, and by which these are found without looking through all. */
export interface LeaseRecord {
  owner: Owner;
  ips: Ip[];
  holder: Holder;
}

/**
 * One file for each attachment of a network, `CONTAINERID,IFNAME`, beside the folder of its leases, which stays as the
 * reference knows it. A record is a hint: what counts is the lease.
 */
export class LeaseRecords {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  #file({ containerId, ifname }: Owner): string {
    return `${this.#dir}/${containerId},${ifname}`;
  }

  write({ owner, ips, holder }: LeaseRecord): void {
    const text = JSON.stringify({ ips: ips.map(String), ...holder });
    const path = `${this.#dir}/${draft}`;
    if (!exists(this.#dir)) makeFolders(this.#dir, 0o755);
    writeText(path, text, 0o644);
    ffi.rename(path, this.#file(owner));
  }

  /** Undefined where there is none, or only a part of one. */
  read(owner: Owner): LeaseRecord | undefined {
    let value: unknown;
    try {
      value = JSON.parse(readText(this.#file(owner)));
    } catch {
      return undefined;
    }
    const { ips, netns, boot } = (value ?? {}) as Record<string, unknown>;
    const texts: unknown[] = Array.isArray(ips) ? ips : [];
    return {
      owner,
      ips: texts.flatMap((text) => (typeof text === "string" ? (Ip.tryParse(text) ?? []) : [])),
      holder: { netns: String(netns ?? ""), boot: String(boot ?? "") },
    };
  }

  remove(owner: Owner): void {
    removeFile(this.#file(owner));
    removeFile(`${this.#dir}/${draft}`);
  }

  /** Whose records there are. */
  owners(): Owner[] {
    if (!exists(this.#dir)) return [];
    return listFolder(this.#dir).flatMap((name) => {
      const at = name.indexOf(",");
      return at < 1 ? [] : [{ containerId: name.slice(0, at), ifname: name.slice(at + 1) }];
    });
  }
}
