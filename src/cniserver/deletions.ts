import type { DoomedLink } from "../cni/plugin.ts";
import { LeanRtnl } from "../linux/lean/rtnl.ts";
import { doomedGroup } from "../plugins/names.ts";
import { doom } from "../plugins/shared/deletion.ts";

/** How many deletions the kernel is given at a time: each holds a thread. */
export const mostDeletions = 4;
/** How long a deletion waits for others to come along, while another one is under way. Milliseconds. */
const gathering = 2;
/** Between two looks whether links are gone. Milliseconds. */
const pause = 1;

interface Waiting {
  index: number;
  resolve: () => void;
  reject: (error: unknown) => void;
}

/**
 * Deletes links of the host, all that wait at a time together: see plugins/shared/deletion.ts. Another thread waits with the
 * kernel, so that each caller is answered as soon as its link is gone, within 2 to 5 ms, and not 15 ms later, when the
 * kernel has also let go of the memory (netdev_run_todo and its rcu_barrier come after rtnl_unlock).
 */
export class Deletions {
  #waiting: Waiting[] = [];
  #underWay = 0;
  #timer: Timer | undefined;

  /** Resolves when the link is gone, or was not there. */
  async delete({ index, netnsFd }: DoomedLink): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const waiting = { index, resolve, reject };
      if (netnsFd === undefined) this.#waiting.push(waiting);
      else void deleteInContainer(waiting, netnsFd);
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#underWay === mostDeletions || this.#waiting.length === 0) return;
    this.#timer = setTimeout(() => this.#start(), this.#underWay === 0 ? 0 : gathering);
  }

  #start(): void {
    this.#timer = undefined;
    const links = this.#waiting;
    this.#waiting = [];
    this.#underWay++;
    void deleteTogether(links).finally(() => {
      this.#underWay--;
      this.#schedule();
    });
  }
}

/** Tells each of the links how it ended; never fails itself. */
async function deleteTogether(links: readonly Waiting[]): Promise<void> {
  let left = links;
  try {
    using host = new LeanRtnl();
    left = without(links, (link) => !doom(host, link.index));
    if (left.length === 0) return;
    using eye = new LeanRtnl();
    left = await watch(host.deleteGroupLater(doomedGroup), eye, left);
  } catch {
    // What is wrong comes out one by one.
  }
  for (const link of left) deleteAlone(link);
}

/** As {@link deleteTogether}, where others have nothing to delete. */
async function deleteInContainer(link: Waiting, netnsFd: number): Promise<void> {
  try {
    using container = new LeanRtnl(netnsFd);
    using eye = new LeanRtnl(netnsFd);
    for (const left of await watch(container.deleteLinkLater(link.index), eye, [link])) {
      container.deleteLink(left.index);
      left.resolve();
    }
  } catch (error) {
    link.reject(error);
  }
}

/** Tells those whose links are gone until the deletion is over. Those that are left then are returned. */
async function watch(
  deletion: Promise<void>,
  eye: LeanRtnl,
  links: readonly Waiting[],
): Promise<readonly Waiting[]> {
  let isOver = false;
  // A group with a link in it that cannot be deleted is refused as a whole.
  const ended = deletion
    .catch(() => {})
    .finally(() => {
      isOver = true;
    });
  let left = links;
  try {
    while (!isOver && left.length > 0) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      left = without(left, (link) => eye.find(link.index) === undefined);
    }
  } finally {
    // Until then its socket is in use.
    await ended;
  }
  return without(left, (link) => eye.find(link.index) === undefined);
}

/** Those that are left; the others, for which `isGone`, are told. */
function without(links: readonly Waiting[], isGone: (link: Waiting) => boolean): Waiting[] {
  return links.filter((link) => {
    if (!isGone(link)) return true;
    link.resolve();
    return false;
  });
}

function deleteAlone({ index, resolve, reject }: Waiting): void {
  try {
    using host = new LeanRtnl();
    host.deleteLink(index);
    resolve();
  } catch (error) {
    reject(error);
  }
}
