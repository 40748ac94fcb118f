import { randomBytes } from "node:crypto";
import {
  type Attachment,
  CniRuntime,
  loadNetworkLists,
  type NetworkList,
  parseNetworkList,
} from "../../cni/index.ts";
import type { Pod } from "../../kube/types.ts";
import { explain, WeftError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { createNetns, deleteNetns, netnsPath } from "../../linux/netns.ts";
import type { nodePaths } from "../paths.ts";

/** The network of one pod on its node. */
export interface Sandbox {
  /** The name of the pod's network namespace under /run/netns. */
  name: string;
  /** Its path. */
  netns: string;
  /** The pod's addresses, in the order of the node's podCIDRs. */
  ips: readonly string[];
  attachment: Attachment;
}

/** Makes and removes pods' networks. */
export interface SandboxNetwork {
  add(pod: Pod): Promise<Sandbox>;
  remove(sandbox: Sandbox): Promise<void>;
}

/** Every sandbox has its loopback link up, as container runtimes see to it. */
const loopback = parseNetworkList(
  '{"cniVersion":"1.0.0","name":"cni-loopback","plugins":[{"type":"loopback"}]}',
);

/** As a container runtime does it: a namespace for the pod, then the node's CNI chain by its executables. */
export class CniNetwork implements SandboxNetwork {
  readonly #runtime: CniRuntime;
  readonly #confDir: string;

  constructor(paths: ReturnType<typeof nodePaths>, log: Log) {
    this.#confDir = paths.confDir;
    this.#runtime = new CniRuntime({
      path: [paths.binDir],
      cacheDir: paths.cacheDir,
      onWarning: (message) => log.warn("A CNI plugin says", { message }),
    });
  }

  async add(pod: Pod): Promise<Sandbox> {
    const list = this.#network();
    const containerId = randomBytes(32).toString("hex");
    const name = `cni-${containerId.slice(0, 16)}`;
    createNetns(name);
    const attachment = attachmentOf(pod, containerId, netnsPath({ name }));
    try {
      await this.#runtime.add(loopback, { ...attachment, ifname: "lo" });
      const { ips } = await this.#runtime.add(list, attachment);
      return { name, netns: attachment.netns, ips: ips.map(({ address }) => String(address.ip)), attachment };
    } catch (error) {
      deleteNetns(name);
      throw error;
    }
  }

  async remove({ name, attachment }: Sandbox): Promise<void> {
    await this.#runtime.del(this.#network(), attachment);
    await this.#runtime.del(loopback, { ...attachment, ifname: "lo" });
    deleteNetns(name);
  }

  /** The first configuration that can be read, by file name, as runtimes choose it. */
  #network(): NetworkList {
    const { lists, failures } = loadNetworkLists(this.#confDir);
    const [first] = lists;
    if (first !== undefined) return first;
    const [failure] = failures;
    throw new WeftError(
      "no-network",
      failure === undefined
        ? `there is no network configuration in ${this.#confDir}`
        : `${failure.file} is no network configuration: ${explain(failure.error)}`,
    );
  }
}

/** What kubelet and a runtime tell the plugins of a pod. */
function attachmentOf({ metadata, spec }: Pod, containerId: string, netns: string): Attachment {
  const ports = spec.containers.flatMap(({ ports = [] }) =>
    ports.filter(({ hostPort }) => hostPort !== undefined),
  );
  const portMappings = ports.map(({ hostPort = 0, containerPort, protocol = "TCP", hostIP }) => ({
    hostPort,
    containerPort,
    protocol: protocol.toLowerCase(),
    ...(hostIP === undefined ? {} : { hostIP }),
  }));
  return {
    containerId,
    ifname: "eth0",
    netns,
    args: [
      ["IgnoreUnknown", "1"],
      ["K8S_POD_NAMESPACE", metadata.namespace ?? "default"],
      ["K8S_POD_NAME", metadata.name],
      ["K8S_POD_INFRA_CONTAINER_ID", containerId],
      ["K8S_POD_UID", metadata.uid ?? ""],
    ],
    ...(portMappings.length === 0 ? {} : { capabilityArgs: { portMappings } }),
  };
}
