import { CniRuntime } from "../../cni/index.ts";
import { explain, WeftError } from "../../lib/errors.ts";
import { pluginExecutable } from "../../lib/self.ts";
import { pluginNames } from "../../plugins/names.ts";
import type { AgentConfig } from "../config.ts";
import { installationState, installPlugins } from "./install.ts";

/** How long a plugin may take to say its versions, in milliseconds. */
const patience = 5_000;

/** The plugin executables where the runtime looks for them: there, ours, and seen to work. */
export class PluginFolder {
  readonly #config: Pick<AgentConfig, "cniBinDir" | "cniInstall">;
  readonly #source: string;
  /** The state in which all was seen to work. */
  #good: string | undefined;

  constructor(config: Pick<AgentConfig, "cniBinDir" | "cniInstall">, source = pluginExecutable()) {
    this.#config = config;
    this.#source = source;
  }

  /**
   * Installs what is not right, and tries what was installed. Does nothing, quickly, where nobody has touched it since.
   * Answers how many files were written. Throws one error that names the executable and what is wrong with it.
   */
  async ensure(): Promise<number> {
    const { cniBinDir, cniInstall } = this.#config;
    if (this.#good !== undefined && this.#good === this.#state()) return 0;
    this.#good = undefined;
    const written = await installPlugins(this.#source, cniBinDir, pluginNames, cniInstall);
    const state = this.#state();
    const runtime = new CniRuntime({ path: [cniBinDir], timeout: patience });
    // At the same time, so that one that hangs is waited for once.
    const tries = await Promise.allSettled(pluginNames.map((name) => runtime.versions(name)));
    for (const { status, reason } of tries.filter((each) => each.status === "rejected")) {
      if (status !== "rejected") continue;
      throw new WeftError("plugin-broken", `the plugins in "${cniBinDir}" do not work: ${explain(reason)}`, {
        remedy: "Install Weft again; its executables must be of this machine's architecture",
        cause: reason,
      });
    }
    this.#good = state;
    return written;
  }

  #state(): string | undefined {
    return installationState(this.#source, this.#config.cniBinDir, pluginNames);
  }
}
