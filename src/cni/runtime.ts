import { quote } from "../lib/errors.ts";
import { ResultCache } from "./cache.ts";
import { type CniArgs, type CniCommand, type Invocation, parseCniArgs } from "./env.ts";
import { CniError, cniErrorCode } from "./errors.ts";
import { execPlugin, findPlugin, pluginError, requirePlugin, rubbishError } from "./exec.ts";
import type { JsonObject } from "./fields.ts";
import type { ListedPlugin, NetworkList } from "./list.ts";
import { parseJsonObject, parseNetworkConfig, parseValidAttachments, unknownKeys } from "./netconf.ts";
import type { AttachmentKey, Plugin, PluginRequest } from "./plugin.ts";
import { formatResult, parseResult, type Result } from "./result.ts";
import { requireContainerId, requireInterfaceName } from "./validate.ts";
import { type CniVersion, isAtLeast, isSupportedVersion } from "./versions.ts";

/** Milliseconds that a plugin may take where nothing else is said. */
export const defaultTimeout = 120_000;

/** What a container wants to be attached as. */
export interface Attachment extends AttachmentKey {
  /** Path of the namespace; "" where it is gone. */
  netns: string;
  /** CNI_ARGS. */
  args?: readonly (readonly [key: string, value: string])[];
  /** What capabilities stand for, such as `{ portMappings: [...] }`. */
  capabilityArgs?: JsonObject;
}

export interface RuntimeOptions {
  /** The folders of CNI_PATH. */
  path: readonly string[];
  /** Where results are kept; libcni's place where not given. */
  cacheDir?: string;
  /** Milliseconds for each plugin; then its whole process group is killed. */
  timeout?: number;
  /**
   * Plugins that this process has itself and runs without starting an executable. `file` is what CNI_PATH leads to, or
   * undefined.
   */
  builtin?: (type: string, file: string | undefined) => Promise<Plugin | undefined>;
  /** Takes what plugins say on standard error, and warnings. */
  onWarning?: (message: string) => void;
}

/** What a plugin answers to VERSION. */
export interface PluginVersions {
  cniVersion: string;
  supportedVersions: string[];
}

/**
 * A container runtime's side of the protocol, as libcni does it: chains with prevResult, capability arguments, result
 * cache, timeouts. What concerns one container is done one after the other. Failures are {@link CniError}s that name
 * plugin and command and keep the plugin's code.
 */
export class CniRuntime {
  readonly #options: RuntimeOptions;
  readonly #timeout: number;
  readonly #cache: ResultCache;
  readonly #queues = new Map<string, Promise<unknown>>();

  constructor(options: RuntimeOptions) {
    this.#options = options;
    this.#timeout = options.timeout ?? defaultTimeout;
    this.#cache = new ResultCache(options.cacheDir);
  }

  /**
   * Attaches a container. Where a plugin fails, what was done is taken back by DEL of the whole list; but an attachment
   * that is there already is left as it is.
   */
  add(list: NetworkList, attachment: Attachment): Promise<Result> {
    return this.#inTurn(attachment, () => this.#add(list, attachment));
  }

  async #add(list: NetworkList, attachment: Attachment): Promise<Result> {
    const version = versionOf(list);
    const isRemembered = this.#cache.read({ network: list.name, ...attachment }) !== undefined;
    let result: Result | undefined;
    try {
      for (const plugin of list.plugins) {
        result = await this.#callAdd(list, plugin, attachment, result);
      }
      if (result === undefined) throw new CniError(cniErrorCode.invalidNetworkConfig, "plugins: none");
      this.#cache.write({
        network: list.name,
        containerId: attachment.containerId,
        ifname: attachment.ifname,
        netns: attachment.netns,
        args: attachment.args ?? [],
        capabilityArgs: attachment.capabilityArgs ?? {},
        config: list.text,
        result: formatResult(result, version),
      });
      return result;
    } catch (error) {
      // The first plugin refused an attachment that an earlier ADD made: DEL would take that one away.
      if (result !== undefined || !isRemembered) await this.#rollBack(list, attachment, result);
      throw error;
    }
  }

  async #rollBack(list: NetworkList, attachment: Attachment, result: Result | undefined): Promise<void> {
    for (const plugin of list.plugins.toReversed()) {
      try {
        await this.#call("DEL", list, plugin, attachment, result);
      } catch (error) {
        this.#warn(`while taking back a failed ADD: ${(error as Error).message}`);
      }
    }
  }

  /** Checks an attachment against the result that is kept of its ADD. Needs cniVersion 0.4.0. */
  check(list: NetworkList, attachment: Attachment): Promise<void> {
    return this.#inTurn(attachment, async () => {
      requireCommand("CHECK", list, "0.4.0");
      if (list.disableCheck) return;
      const known = this.#remembered(list, attachment);
      for (const plugin of list.plugins)
        await this.#call("CHECK", list, plugin, known.attachment, known.result);
    });
  }

  /** Detaches a container, the plugins in reverse. What the caller does not say is taken from the cache. Repeatable. */
  del(list: NetworkList, attachment: Attachment): Promise<void> {
    return this.#inTurn(attachment, () => this.#del(list, attachment));
  }

  async #del(list: NetworkList, attachment: Attachment): Promise<void> {
    const known = this.#remembered(list, attachment);
    const result = isAtLeast(list.cniVersion, "0.4.0") ? known.result : undefined;
    for (const plugin of list.plugins.toReversed()) {
      await this.#call("DEL", list, plugin, known.attachment, result);
    }
    this.#cache.remove({ network: list.name, ...attachment });
  }

  /**
   * Collects garbage: first DELs every attachment of the network that the cache has and `valid` has not, then tells the
   * plugins (from cniVersion 1.1.0 on) which attachments are to stay. Goes on after failures and throws them together.
   */
  async gc(list: NetworkList, valid: readonly AttachmentKey[]): Promise<void> {
    if (list.disableGC) return;
    const failures: unknown[] = [];
    const attempt = async (action: () => Promise<unknown>) => {
      try {
        await action();
      } catch (error) {
        failures.push(error);
      }
    };
    const isValid = (key: AttachmentKey) =>
      valid.some(({ containerId, ifname }) => containerId === key.containerId && ifname === key.ifname);
    for (const cached of this.#cache.list()) {
      if (cached.network !== list.name || isValid(cached)) continue;
      await attempt(() => this.del(list, cached));
    }
    if (isAtLeast(list.cniVersion, "1.1.0")) {
      const attachments = valid.map(({ containerId, ifname }) => ({ containerID: containerId, ifname }));
      const extra = { "cni.dev/valid-attachments": attachments, "cni.dev/attachments": attachments };
      for (const plugin of list.plugins) await attempt(() => this.#callNetwork("GC", list, plugin, extra));
    }
    const [first] = failures;
    if (first !== undefined)
      throw failures.length === 1 ? first : new AggregateError(failures, messagesOf(failures));
  }

  /** Asks every plugin whether it can take containers. Throws what the first says that cannot. */
  async status(list: NetworkList): Promise<void> {
    if (!isAtLeast(list.cniVersion, "1.1.0")) return;
    for (const plugin of list.plugins) await this.#callNetwork("STATUS", list, plugin, {});
  }

  /** Which versions a plugin's executable speaks. */
  async versions(type: string): Promise<PluginVersions> {
    const output = await this.#execute(type, invocationOf("VERSION", this.#options.path), "{}");
    try {
      const { cniVersion, supportedVersions } = parseJsonObject(output, "version");
      if (!Array.isArray(supportedVersions) || !supportedVersions.every((text) => typeof text === "string")) {
        throw new CniError(cniErrorCode.decoding, "supportedVersions: is missing");
      }
      return { cniVersion: String(cniVersion ?? ""), supportedVersions };
    } catch (error) {
      throw rubbishError(type, "VERSION", output, error);
    }
  }

  /** What is remembered of attachments, this runtime's and libcni's. */
  attachments() {
    return this.#cache.list();
  }

  /** Completes an attachment from the cache. */
  #remembered(
    list: NetworkList,
    attachment: Attachment,
  ): { attachment: Attachment; result: Result | undefined } {
    const cached = this.#cache.read({ network: list.name, ...attachment });
    if (cached === undefined) return { attachment, result: undefined };
    const completed: Attachment = {
      ...attachment,
      args: attachment.args ?? cached.args,
      capabilityArgs: attachment.capabilityArgs ?? cached.capabilityArgs,
    };
    try {
      const version = cached.result.cniVersion;
      const written = typeof version === "string" && isSupportedVersion(version) ? version : versionOf(list);
      return { attachment: completed, result: parseResult(cached.result, written) };
    } catch {
      // Cut short or foreign: DEL has to do without.
      return { attachment: completed, result: undefined };
    }
  }

  async #callAdd(
    list: NetworkList,
    plugin: ListedPlugin,
    attachment: Attachment,
    previous: Result | undefined,
  ): Promise<Result> {
    const answer = await this.#call("ADD", list, plugin, attachment, previous);
    if (typeof answer !== "string") return answer;
    try {
      const raw = parseJsonObject(answer, "result");
      const version = raw.cniVersion;
      return parseResult(
        raw,
        typeof version === "string" && isSupportedVersion(version) ? version : versionOf(list),
      );
    } catch (error) {
      throw rubbishError(plugin.type, "ADD", answer, error);
    }
  }

  /** One command to one plugin: its standard output, or of a plugin in this process the result itself. */
  async #call(
    command: "ADD" | "DEL" | "CHECK",
    list: NetworkList,
    plugin: ListedPlugin,
    attachment: Attachment,
    previous: Result | undefined,
  ): Promise<string | Result> {
    const invocation: Invocation = {
      ...invocationOf(command, this.#options.path),
      containerId: attachment.containerId,
      ifname: attachment.ifname,
      netns: attachment.netns,
      args: cniArgsOf(attachment),
    };
    const wanted = Object.entries(attachment.capabilityArgs ?? {}).filter(([name]) =>
      plugin.capabilities.includes(name),
    );
    const config: JsonObject = {
      ...plugin.raw,
      name: list.name,
      cniVersion: list.cniVersion,
      ...(wanted.length === 0 ? {} : { runtimeConfig: Object.fromEntries(wanted) }),
      ...prevResultOf(previous, versionOf(list)),
    };
    return await this.#run(plugin.type, invocation, config);
  }

  async #callNetwork(
    command: "GC" | "STATUS",
    list: NetworkList,
    plugin: ListedPlugin,
    extra: JsonObject,
  ): Promise<void> {
    const config = { ...plugin.raw, name: list.name, cniVersion: list.cniVersion, ...extra };
    await this.#run(plugin.type, invocationOf(command, this.#options.path), config);
  }

  async #run(type: string, invocation: Invocation, config: JsonObject): Promise<string | Result> {
    const own = await this.#options.builtin?.(type, findPlugin(type, this.#options.path));
    if (own === undefined) return await this.#execute(type, invocation, JSON.stringify(config));
    try {
      return (await this.#runBuiltin(own, invocation, config)) ?? "";
    } catch (error) {
      const { cniCode, remedy } = error as Partial<CniError>;
      throw pluginError(type, invocation.command, (error as Error).message, {
        code: cniCode ?? cniErrorCode.internal,
        ...(remedy === undefined ? {} : { remedy }),
        cause: error,
      });
    }
  }

  async #runBuiltin(plugin: Plugin, invocation: Invocation, raw: JsonObject): Promise<Result | undefined> {
    const { command } = invocation;
    const request: PluginRequest = {
      invocation: { ...invocation, args: parseCniArgs(invocation.args.text) },
      config: parseNetworkConfig(raw, { lenientPrevResult: command === "DEL" }),
      warn: (message) => this.#warn(`${plugin.name}: ${message}`),
      builtin: async (type, file) => await this.#options.builtin?.(type, file),
      env: process.env,
      delegateTimeout: this.#timeout,
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

  async #execute(type: string, invocation: Invocation, stdin: string): Promise<string> {
    return await execPlugin({
      file: requirePlugin(type, this.#options.path),
      type,
      invocation,
      stdin,
      timeout: this.#timeout,
      ownGroup: true,
      onStderr: (text) => this.#warn(`${type}: ${text.trimEnd()}`),
    });
  }

  #warn(message: string): void {
    this.#options.onWarning?.(message);
  }

  /**
   * Runs `action` when what was asked before for the same container is done. Container id and interface are checked
   * first: they become parts of file names.
   */
  async #inTurn<T>({ containerId, ifname }: AttachmentKey, action: () => Promise<T>): Promise<T> {
    requireContainerId(containerId);
    requireInterfaceName(ifname);
    const before = this.#queues.get(containerId) ?? Promise.resolve();
    const mine = before.then(action, action);
    this.#queues.set(containerId, mine);
    try {
      return await mine;
    } finally {
      if (this.#queues.get(containerId) === mine) this.#queues.delete(containerId);
    }
  }
}

function invocationOf(command: CniCommand, path: readonly string[]): Invocation {
  return {
    command,
    containerId: "",
    netns: "",
    ifname: "",
    args: { text: "" },
    path: [...path],
    netnsOverride: false,
  };
}

function cniArgsOf({ args }: Attachment): CniArgs {
  const pairs = args ?? [];
  for (const [key, value] of pairs) {
    if (/[;=]/.test(key) || /[;=]/.test(value)) {
      throw new CniError(
        cniErrorCode.invalidEnvironment,
        `CNI_ARGS: ${quote(`${key}=${value}`)} has "=" or ";" in it`,
      );
    }
  }
  // What the keys mean is for each plugin to say.
  return { text: pairs.map(([key, value]) => `${key}=${value}`).join(";") };
}

function versionOf({ cniVersion }: NetworkList): CniVersion {
  if (isSupportedVersion(cniVersion)) return cniVersion;
  throw new CniError(cniErrorCode.incompatibleVersion, `cniVersion: ${quote(cniVersion)} is not spoken here`);
}

/** Before 0.3.0 a result without addresses cannot be written; then there is none. */
function prevResultOf(result: Result | undefined, version: CniVersion): JsonObject {
  if (result === undefined || (result.ips.length === 0 && !isAtLeast(version, "0.3.0"))) return {};
  return { prevResult: formatResult(result, version) };
}

function requireCommand(command: CniCommand, { name, cniVersion }: NetworkList, since: string): void {
  if (isAtLeast(cniVersion, since)) return;
  throw new CniError(
    cniErrorCode.incompatibleVersion,
    `configuration version "${cniVersion}" of network "${name}" does not support the ${command} command`,
    { remedy: `Set cniVersion to ${since} or newer` },
  );
}

function messagesOf(failures: readonly unknown[]): string {
  return failures.map((failure) => (failure as Error).message).join("; ");
}
