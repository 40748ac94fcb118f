import type { DoomedLink, PluginRequest } from "../../cni/plugin.ts";
import { isNotFound, KernelError } from "../../linux/errors.ts";
import * as ffi from "../../linux/ffi.ts";
import { openLock, tryLock } from "../../linux/lean/files.ts";
import { LeanRtnl } from "../../linux/lean/rtnl.ts";
import { doomedGroup, runDir } from "../names.ts";

/*
 * The kernel takes some 18 ms to delete one link, but hardly more to delete forty of one group: most of that time it waits
 * until nobody uses them any more. So deletions that come together are made together.
 */

/** Held by the process that deletes for all who wait. */
const lockPath = `${runDir}/deletions.lock`;
/** How long to wait until looking again, at most. Milliseconds. */
const longestPause = 4;
/** Who has the lock for longer was stopped, or is no deletion: nobody need wait for that. Milliseconds. */
const patience = 2_000;

/** Deletes a link; resolves when it is gone. One that is gone already is fine. */
export async function deleteLink({ deleteLink: server }: PluginRequest, link: DoomedLink): Promise<void> {
  if (server !== undefined) await server(link);
  else if (link.netnsFd !== undefined) deleteAlone(link);
  else await deleteTogether(link.index);
}

/** For what is in a container, where others have nothing to delete. */
function deleteAlone({ index, netnsFd }: DoomedLink): void {
  using rtnl = new LeanRtnl(netnsFd);
  rtnl.deleteLink(index);
}

async function deleteTogether(index: number): Promise<void> {
  using host = new LeanRtnl();
  const lock = openDeletions();
  if (lock === undefined) {
    host.deleteLink(index);
    return;
  }
  try {
    if (!doom(host, index)) return;
    const deadline = performance.now() + patience;
    for (let pause = 1; !tryLock(lock); pause = Math.min(pause * 2, longestPause)) {
      if (performance.now() > deadline) break;
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (host.find(index) === undefined) return;
    }
    if (host.find(index) !== undefined) deleteDoomed(host);
    host.deleteLink(index);
  } finally {
    ffi.close(lock);
  }
}

/** Undefined where this user cannot have it, or there is none: then there is no server either. */
function openDeletions(): number | undefined {
  try {
    return openLock(lockPath, 0o600);
  } catch (error) {
    if (error instanceof KernelError) return undefined;
    throw error;
  }
}

/** Puts a link into the group; false where it is gone. */
export function doom(host: LeanRtnl, index: number): boolean {
  try {
    host.setGroup(index, doomedGroup);
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

/** What stays, such as where somebody put a link into the group that cannot be deleted, is left to whose it is. */
function deleteDoomed(host: LeanRtnl): void {
  try {
    host.deleteGroup(doomedGroup);
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
  }
}
