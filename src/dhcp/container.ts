import { isErrno, isNotFound } from "../linux/errors.ts";
import * as ffi from "../linux/ffi.ts";
import { type NetnsRef, netnsIdentity } from "../linux/netns.ts";
import { LinkGone } from "./client.ts";

const O_RDONLY = 0;
const O_NONBLOCK = 0o4000;

/** A namespace by its path and by what was there when it was first seen. */
export interface ContainerNetns {
  netns: string;
  netnsIdentity: string;
}

/**
 * Runs `action` with a container's namespace, which it must not keep: holding it open would keep the namespace alive
 * after its container. Throws {@link LinkGone} where it is not there any more, or another one is in its place.
 */
export function withContainer<T>(
  { netns, netnsIdentity: identity }: ContainerNetns,
  action: (ref: NetnsRef) => T,
): T {
  return withNetns(netns, (ref) => {
    if (netnsIdentity(ref) !== identity) throw new LinkGone(`network namespace ${netns}`);
    return action(ref);
  });
}

/** As {@link withContainer}, for a namespace that is seen for the first time. */
export function withNetns<T>(netns: string, action: (ref: NetnsRef) => T): T {
  let fd: number;
  try {
    fd = ffi.open(netns, O_RDONLY | O_NONBLOCK);
  } catch (error) {
    // All else, such as no descriptor that is left, says nothing of the container.
    if (!isNotFound(error) && !isErrno(error, "ENOTDIR", "ELOOP", "ENAMETOOLONG")) throw error;
    throw new LinkGone(`network namespace ${netns}`);
  }
  try {
    return action({ fd });
  } finally {
    ffi.close(fd);
  }
}

/** True where the namespace is still there. */
export function isThere({ netns, netnsIdentity: identity }: ContainerNetns): boolean {
  try {
    return netnsIdentity({ path: netns }) === identity;
  } catch {
    return false;
  }
}
