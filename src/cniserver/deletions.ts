import type { LinkPair } from "../cni/plugin.ts";
import { LeanRtnl } from "../linux/lean/rtnl.ts";

/** The link group of pairs that are about to be deleted: "weft". What a server that died left in it goes with the next. */
export const doomed = 0x77656674;
/** How long a deletion waits for others to come along, where some did the last time. Milliseconds. */
const gathering = 2;

interface Waiting extends LinkPair {
  resolve: () => void;
  reject: (error: unknown) => void;
}

/**
 * Deletes pairs of links, all that wait at a time together: most of a deletion's time (about 20 ms) the kernel waits
 * until nobody uses the links any more (synchronize_net), once for all of a group (rtnl_group_dellink).
 */
export class PairDeletions {
  #waiting: Waiting[] = [];
  #cameTogether = false;

  /** Resolves when both ends are gone, or were not there. */
  async delete(pair: LinkPair): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      if (this.#waiting.push({ ...pair, resolve, reject }) > 1) return;
      if (this.#cameTogether) setTimeout(() => this.#deleteAll(), gathering);
      else setImmediate(() => this.#deleteAll());
    });
  }

  #deleteAll(): void {
    const all = this.#waiting;
    this.#waiting = [];
    this.#cameTogether = all.length > 1;
    const together = this.#cameTogether ? deleteTogether(all) : [];
    for (const pair of all) {
      if (together.includes(pair)) pair.resolve();
      else deleteAlone(pair);
    }
  }
}

/** Those that are gone. */
function deleteTogether(pairs: readonly Waiting[]): readonly Waiting[] {
  try {
    using host = new LeanRtnl();
    const joined = pairs.filter((pair) => join(host, pair));
    if (joined.length > 0) host.deleteGroup(doomed);
    return joined;
  } catch {
    // As where all of them went with their containers. What is left, and what is wrong, comes out one by one.
    return [];
  }
}

/** Puts the host's end into the group; false where it cannot be told for sure which link that is. */
function join(host: LeanRtnl, { netnsFd, ifname, hostNames }: Waiting): boolean {
  try {
    using container = new LeanRtnl(netnsFd);
    const inner = container.find(ifname);
    if (inner?.parent === undefined) return false;
    const outer = host.find(inner.parent);
    if (outer === undefined || outer.parent !== inner.index || !hostNames.includes(outer.name)) return false;
    host.setGroup(outer.index, doomed);
    return true;
  } catch {
    // What is wrong comes out when it is deleted alone.
    return false;
  }
}

function deleteAlone({ netnsFd, ifname, resolve, reject }: Waiting): void {
  try {
    using container = new LeanRtnl(netnsFd);
    container.deleteLink(ifname);
    resolve();
  } catch (error) {
    reject(error);
  }
}
