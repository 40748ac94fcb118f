import { isDeepStrictEqual } from "node:util";
import type { Informer } from "../kube/informer.ts";
import type { Node } from "../kube/types.ts";

/**
 * Calls back when a node comes, goes, or changes in what {@link trimNode} keeps of it; not for the heartbeats of
 * kubelets. The answer ends it.
 */
export function onNodes(nodes: Informer<Node>, changed: () => void): () => void {
  return nodes.on({
    add: changed,
    delete: changed,
    update: (now, before) => {
      const same =
        isDeepStrictEqual(now.spec, before.spec) &&
        isDeepStrictEqual(now.status, before.status) &&
        isDeepStrictEqual(now.metadata.labels, before.metadata.labels);
      if (!same) changed();
    },
  });
}
