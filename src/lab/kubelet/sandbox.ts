import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Pod } from "../../kube/types.ts";
import { WeftError } from "../../lib/errors.ts";
import { createNetns, deleteNetns, netnsPath } from "../../linux/netns.ts";
import type { nodePaths } from "../paths.ts";

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

/** As a container runtime does it: a namespace for the pod, then the node's CNI chain by its executables. */
export class CniNetwork implements SandboxNetwork {
  readonly #paths: ReturnType<typeof nodePaths>;
  constructor(paths: ReturnType<typeof nodePaths>) {
    this.#paths = paths;
  }

  async add(pod: Pod): Promise<Sandbox> {
    const id = randomBytes(32).toString("hex");
    const name = `cni-${id.slice(0, 12)}`;
    createNetns(name);
    const sandbox: Sandbox = { id, netns: netnsPath({ name }), ips: [], pod };
    try {
      await this.#exec(
        "ADD",
        sandbox,
        "loopback",
        { cniVersion: "1.0.0", name: "lo", type: "loopback" },
        "lo",
      );
      const result = await this.#chain("ADD", sandbox);
      const ips = (result as { ips?: { address: string }[] }).ips ?? [];
      return { ...sandbox, ips: ips.map(({ address }) => address.split("/")[0] ?? "") };
    } catch (error) {
      await this.remove(sandbox).catch(() => {});
      throw error;
    }
  }

  async remove(sandbox: Sandbox): Promise<void> {
    await this.#chain("DEL", sandbox);
    deleteNetns(sandbox.netns.slice(sandbox.netns.lastIndexOf("/") + 1));
  }

  async #chain(command: "ADD" | "DEL", sandbox: Sandbox): Promise<unknown> {
    const file = readdirSync(this.#paths.confDir).sort()[0] ?? "";
    const list = JSON.parse(readFileSync(join(this.#paths.confDir, file), "utf8")) as {
      cniVersion: string;
      name: string;
      plugins: { type: string }[];
    };
    let prevResult: unknown;
    const plugins = command === "ADD" ? list.plugins : [...list.plugins].reverse();
    for (const plugin of plugins) {
      const config = {
        ...plugin,
        cniVersion: list.cniVersion,
        name: list.name,
        ...(prevResult === undefined ? {} : { prevResult }),
      };
      prevResult = (await this.#exec(command, sandbox, plugin.type, config, "eth0")) ?? prevResult;
    }
    return prevResult;
  }

  async #exec(
    command: string,
    sandbox: Sandbox,
    type: string,
    config: object,
    ifname: string,
  ): Promise<unknown> {
    const { metadata } = sandbox.pod;
    const child = Bun.spawn([join(this.#paths.binDir, type)], {
      env: {
        CNI_COMMAND: command,
        CNI_CONTAINERID: sandbox.id,
        CNI_NETNS: sandbox.netns,
        CNI_IFNAME: ifname,
        CNI_PATH: this.#paths.binDir,
        CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${metadata.namespace};K8S_POD_NAME=${metadata.name};K8S_POD_INFRA_CONTAINER_ID=${sandbox.id};K8S_POD_UID=${metadata.uid}`,
      },
      stdin: new TextEncoder().encode(JSON.stringify(config)),
      stdout: "pipe",
      stderr: "inherit",
    });
    const out = await new Response(child.stdout).text();
    if ((await child.exited) !== 0) throw new WeftError("cni", `${type} ${command}: ${out}`);
    return out.trim() === "" ? undefined : JSON.parse(out);
  }
}
