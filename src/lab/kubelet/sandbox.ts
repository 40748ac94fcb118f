import type { Pod } from "../../kube/types.ts";

/** The network of one pod on its node. */
export interface Sandbox {
  /** The id that the runtime gave it: CNI's container id. */
  id: string;
  /** The path of the pod's network namespace. */
  netns: string;
  /** The pod's addresses, the cluster's first family first. */
  ips: readonly string[];
  pod: Pod;
}

/** Makes and removes pods' networks. */
export interface SandboxNetwork {
  add(pod: Pod): Promise<Sandbox>;
  remove(sandbox: Sandbox): Promise<void>;
}
