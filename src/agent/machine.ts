import type { Node } from "../kube/types.ts";
import { InvalidInput, WeftError } from "../lib/errors.ts";
import type { Link } from "../linux/route/link.ts";
import { nodeAddress } from "../routes/plan.ts";
import type { LinkPrefix } from "./cni/pod-cidrs.ts";

/**
 * Throws where this machine is not the node: none of its links has the address by which other nodes send to its pods.
 * With another machine's name, pods of both would have the same addresses. A node without addresses yet may be this one.
 */
export function checkIsNode(node: Node, links: readonly LinkPrefix[]): void {
  const { name } = node.metadata;
  const addresses = [nodeAddress(node, 4), nodeAddress(node, 6)].filter((ip) => ip !== undefined);
  const isOurs = addresses.some((ip) => links.some(({ prefix }) => prefix.ip.equals(ip)));
  if (addresses.length === 0 || isOurs) return;
  throw new WeftError(
    "wrong-node",
    `node "${name}" has ${addresses.join(" and ")}, and no link of this machine has`,
    {
      remedy: "Give --node the name of this machine's own Node object, or its kubelet the right --node-ip",
    },
  );
}

/** Throws where the bridge cannot be made, as another link has its name. */
export function checkBridgeName(name: string, link: Pick<Link, "kind"> | undefined): void {
  if (link === undefined || link.kind === "bridge") return;
  const kind = link.kind === undefined ? "no virtual link" : `a link of kind "${link.kind}"`;
  throw new InvalidInput("--bridge", name, `is ${kind} on this machine, not a bridge`, {
    remedy: "Choose another name",
  });
}

/**
 * Does something with the files of a folder; what the file system refuses is said of the option that names the folder.
 */
export async function inFolder<T>(option: string, folder: string, action: () => T | Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    const { code, syscall, message } = error as NodeJS.ErrnoException;
    if (code === undefined || syscall === undefined) throw error;
    throw new InvalidInput(option, folder, `cannot be written to (${message.split(", ")[0]})`, {
      remedy:
        "Name a folder on this machine that the agent may write to, mounted so where it runs in a container",
      cause: error,
    });
  }
}
