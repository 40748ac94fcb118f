import { quote } from "../lib/errors.ts";
import { printable } from "../lib/printable.ts";
import { status } from "../linux/lean/files.ts";
import { argsOf, type CniCommand, type Invocation } from "./env.ts";
import { CniError, cniErrorCode, codeOf } from "./errors.ts";
import { execPlugin, findPlugin, pluginError, requirePlugin, rubbishError } from "./exec.ts";
import type { JsonObject } from "./fields.ts";
import { parseJsonObject, parseNetworkConfig, parseValidAttachments, unknownKeys } from "./netconf.ts";
import type { Plugin, PluginRequest } from "./plugin.ts";
import { parseResult, type Result } from "./result.ts";
import { settles } from "./turns.ts";
import {
  type CniVersion,
  currentVersion,
  defaultVersion,
  isSupportedVersion,
  supportedVersions,
} from "./versions.ts";

/** Milliseconds that a plugin of this process has for putting things in order after it was told to stop. */
const grace = 2000;
/** What takes longer is told of. Milliseconds. */
const unnoticed = 1000;

export interface CallerOptions {
  /** The folders of CNI_PATH. */
  path: readonly string[];
  /** Milliseconds for each plugin. */
  timeout: number;
  builtin?: ((type: string, file: string | undefined) => Promise<Plugin | undefined>) | undefined;
  signal?: AbortSignal | undefined;
  /** Takes what plugins say on standard error, and warnings. */
  warn: (message: string) => void;
  /** Is told once of each call that takes longer than a second. */
  onWait?: ((call: Pick<PluginCall, "type" | "command">) => void) | undefined;
}

/** What a plugin answers to VERSION. */
export interface PluginVersions {
  cniVersion: string;
  supportedVersions: string[];
}

/** One command to one plugin. */
export interface PluginCall {
  type: string;
  command: CniCommand;
  containerId?: string;
  netns?: string;
  ifname?: string;
  /** CNI_ARGS. */
  args?: string;
  config: JsonObject;
}

/** A plugin of this process that still works though it was told to stop: nothing can kill it. */
export class UnfinishedCall extends CniError {
  readonly work: Promise<unknown>;

  constructor(error: CniError, work: Promise<unknown>) {
    super(error.cniCode, error.message, {
      cause: error.cause,
      ...(error.remedy === undefined ? {} : { remedy: error.remedy }),
    });
    this.work = work;
  }
}

/** What a plugin of this process did was broken off; as of an executable that was killed. */
class Stopped extends CniError {
  constructor() {
    super(cniErrorCode.tryAgainLater, "was stopped: nobody waits for it any more");
  }
}

/** Calls plugins, by their executables or in this process. Failures are {@link CniError}s that name plugin and command. */
export class PluginCaller {
  readonly #options: CallerOptions;

  constructor(options: CallerOptions) {
    this.#options = options;
  }

  /** ADD; a result without cniVersion counts as one of `version`. */
  async add(call: PluginCall, version: CniVersion): Promise<Result> {
    const answer = await this.run(call);
    if (typeof answer !== "string") return answer;
    try {
      const raw = parseJsonObject(answer, "result");
      const written = raw.cniVersion === undefined || raw.cniVersion === "" ? version : raw.cniVersion;
      if (typeof written !== "string" || !isSupportedVersion(written)) {
        throw new CniError(
          cniErrorCode.incompatibleVersion,
          `cniVersion: ${quote(written)} is none of ${supportedVersions.join(", ")}`,
        );
      }
      return parseResult(raw, written);
    } catch (error) {
      throw rubbishError(call.type, "ADD", answer, error);
    }
  }

  /** The plugin's standard output, or of a plugin in this process the result itself. */
  async run(call: PluginCall): Promise<string | Result> {
    const timer = setTimeout(() => this.#options.onWait?.(call), unnoticed);
    try {
      return await this.#run(call);
    } finally {
      clearTimeout(timer);
    }
  }

  async #run(call: PluginCall): Promise<string | Result> {
    const { type } = call;
    const own = await this.#options.builtin?.(type, findPlugin(type, this.#options.path));
    if (own === undefined) return await this.#execute(call);
    const abort = new AbortController();
    const { signal } = this.#options;
    // Where it was aborted before, something is being taken back, which goes on.
    const outer = signal === undefined || signal.aborted ? [] : [signal];
    const work = this.#runBuiltin(own, call, AbortSignal.any([abort.signal, ...outer]));
    if (await settles(work, this.#options.timeout)) return (await work) ?? "";
    abort.abort();
    const isDone = await settles(work, grace);
    const cause = isDone ? await work.then(() => undefined).catch((error: unknown) => error) : undefined;
    const error = tooSlow(call, this.#options.timeout, isDone, cause);
    throw isDone ? error : new UnfinishedCall(error, work);
  }

  /** Which versions a plugin's executable speaks; asked so, and understood so, that the oldest plugins can answer. */
  async versions(type: string): Promise<PluginVersions> {
    // What each command once needed.
    const unused = { netns: "dummy", ifname: "dummy" };
    let output: string;
    try {
      const config = { cniVersion: currentVersion };
      output = await this.#execute({ type, command: "VERSION", ...unused, config });
    } catch (error) {
      if (!(error as Error).message.endsWith("unknown CNI_COMMAND: VERSION")) throw error;
      return { cniVersion: defaultVersion, supportedVersions: [defaultVersion] };
    }
    try {
      return parseVersions(parseJsonObject(output, "version"));
    } catch (error) {
      throw rubbishError(type, "VERSION", output, error);
    }
  }

  async #runBuiltin(plugin: Plugin, call: PluginCall, signal: AbortSignal): Promise<Result | undefined> {
    try {
      return await this.#dispatch(plugin, call, signal);
    } catch (thrown) {
      const error = signal.aborted && thrown === signal.reason ? new Stopped() : thrown;
      const { remedy } = error as Partial<CniError>;
      throw pluginError(call.type, call.command, (error as Error).message, {
        code: codeOf(error),
        ...(remedy === undefined ? {} : { remedy }),
        cause: error,
      });
    }
  }

  async #dispatch(plugin: Plugin, call: PluginCall, signal: AbortSignal): Promise<Result | undefined> {
    const { command } = call;
    const invocation = this.#invocationOf(call);
    refuseOwnNetns(invocation);
    const request: PluginRequest = {
      invocation: { ...invocation, args: argsOf(command, invocation.args.text, plugin.knowsNoArgs === true) },
      config: parseNetworkConfig(call.config, { lenientPrevResult: command === "DEL" }),
      warn: (message) => this.#options.warn(`${plugin.name}: ${printable(message)}`),
      builtin: async (type, file) => await this.#options.builtin?.(type, file),
      env: process.env,
      delegateTimeout: this.#options.timeout,
      signal,
    };
    if (command === "ADD") {
      for (const sentence of unknownKeys(plugin, request.config)) request.warn(sentence);
      return await plugin.add(request);
    }
    if (command === "DEL") await plugin.del(request);
    else if (command === "CHECK") await plugin.check(request);
    else if (command === "STATUS") await plugin.status?.(request);
    else if (command === "GC") {
      await plugin.gc?.({ ...request, valid: parseValidAttachments(request.config.fields) });
    }
    return undefined;
  }

  async #execute(call: PluginCall): Promise<string> {
    const { type } = call;
    return await execPlugin({
      file: requirePlugin(type, this.#options.path),
      type,
      invocation: this.#invocationOf(call),
      stdin: JSON.stringify(call.config),
      timeout: this.#options.timeout,
      ownGroup: true,
      signal: this.#options.signal,
      onStderr: (text) => this.#options.warn(`${type}: ${text.trimEnd()}`),
    });
  }

  #invocationOf({ command, containerId = "", netns = "", ifname = "", args = "" }: PluginCall): Invocation {
    const override = (process.env.CNI_NETNS_OVERRIDE ?? "").toLowerCase();
    return {
      command,
      containerId,
      netns,
      ifname,
      args: { text: args },
      path: [...this.#options.path],
      netnsOverride: override === "true" || override === "1",
    };
  }
}

function parseVersions({ cniVersion = "", supportedVersions: several = [] }: JsonObject): PluginVersions {
  if (typeof cniVersion !== "string") throw missing("cniVersion");
  if (!Array.isArray(several) || !several.every((text) => typeof text === "string"))
    throw missing("supportedVersions");
  if (several.length > 0) return { cniVersion, supportedVersions: several };
  // The plugins of that time named one version alone.
  if (cniVersion !== "0.2.0") throw missing("supportedVersions");
  return { cniVersion, supportedVersions: ["0.1.0", cniVersion] };
}

function missing(field: string): CniError {
  return new CniError(cniErrorCode.decoding, `${field}: is missing`);
}

/** As a plugin's own process does it: what is made for a container must not be made of the host. */
function refuseOwnNetns({ netns, netnsOverride }: Invocation): void {
  if (netns === "" || netnsOverride) return;
  const identity = status(netns)?.identity;
  if (identity === undefined || identity !== status("/proc/self/ns/net")?.identity) return;
  throw new CniError(
    cniErrorCode.invalidNetns,
    "plugin's netns and netns from CNI_NETNS should not be the same",
    { remedy: `Give the container's namespace instead of "${netns}", or set CNI_NETNS_OVERRIDE=1` },
  );
}

function tooSlow({ type, command }: PluginCall, timeout: number, isDone: boolean, cause: unknown): CniError {
  const how = isDone ? "was stopped" : "goes on though it was told to stop";
  const isTold = cause instanceof Error && !(cause.cause instanceof Stopped);
  const why = isTold ? ` (${cause.message})` : "";
  return pluginError(type, command, `did not end within ${timeout / 1000} s and ${how}${why}`, {
    code: cniErrorCode.tryAgainLater,
    remedy: "Look what holds it up",
    cause,
  });
}
