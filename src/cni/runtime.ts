import { quote } from "../lib/errors.ts";
import { type CachedAttachment, defaultCacheDir, ResultCache } from "./cache.ts";
import { type PluginCall, PluginCaller, type PluginVersions, UnfinishedCall } from "./caller.ts";
import type { CniCommand } from "./env.ts";
import { CniError, cniErrorCode, codeOf } from "./errors.ts";
import { isJsonObject, type JsonObject } from "./fields.ts";
import type { ListedPlugin, NetworkList } from "./list.ts";
import type { AttachmentKey, Plugin } from "./plugin.ts";
import { formatResult, parseResult, type Result } from "./result.ts";
import { RuntimeTurns } from "./turns.ts";
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
  /**
   * Milliseconds for each plugin; then its whole process group is killed. A plugin of this process cannot be killed: it
   * is told to stop (`request.signal`), what it started is killed, and until it has ended its container is left alone.
   */
  timeout?: number;
  /**
   * Plugins that this process has itself and runs without starting an executable. `file` is what CNI_PATH leads to, or
   * undefined.
   */
  builtin?: (type: string, file: string | undefined) => Promise<Plugin | undefined>;
  /** When it is aborted, the plugins that run are killed, no more are called, and what was being added is taken back. */
  signal?: AbortSignal;
  /** Takes what plugins say on standard error, and warnings. */
  onWarning?: (message: string) => void;
  /** Is told once of each plugin's call that takes longer than a second. */
  onWait?: (call: { type: string; command: CniCommand }) => void;
}

/**
 * A container runtime's side of the protocol, as libcni does it: chains with prevResult, capability arguments, result
 * cache, timeouts. What concerns one container is done one after the other, also where several processes ask for it.
 * Failures are {@link CniError}s that name plugin and command and keep the plugin's code.
 */
export class CniRuntime {
  readonly #options: RuntimeOptions;
  readonly #caller: PluginCaller;
  readonly #cache: ResultCache;
  readonly #turns: RuntimeTurns;

  constructor(options: RuntimeOptions) {
    const { path, builtin, signal, onWait, timeout = defaultTimeout, cacheDir = defaultCacheDir } = options;
    this.#options = options;
    const warn = (message: string) => this.#warn(message);
    this.#caller = new PluginCaller({ path, timeout, builtin, signal, onWait, warn });
    this.#cache = new ResultCache(cacheDir);
    this.#turns = new RuntimeTurns(cacheDir, timeout, signal);
  }

  /**
   * Attaches a container. Where a plugin fails, what was done is taken back by DEL of the whole list; but an attachment
   * that is there already is left as it is.
   */
  add(list: NetworkList, attachment: Attachment): Promise<Result> {
    return this.#inTurn(list, attachment, () => this.#add(list, attachment));
  }

  async #add(list: NetworkList, attachment: Attachment): Promise<Result> {
    const version = versionOf(list);
    // Of whichever network: one interface is all that a container can have of a name.
    const isRemembered = this.#cache.hasInterface(attachment);
    let result: Result | undefined;
    try {
      for (const plugin of list.plugins) {
        this.#requireWanted("ADD");
        result = await this.#caller.add(callOf("ADD", list, plugin, attachment, result), version);
      }
      if (result === undefined) throw new CniError(cniErrorCode.invalidNetworkConfig, "plugins: none");
      this.#cache.write(entryOf(list, attachment, formatResult(result, version)));
      return result;
    } catch (error) {
      // The first plugin refused an attachment that an earlier ADD made: DEL would take that one away.
      const takeBack = result !== undefined || !isRemembered;
      const rollBack = async () => {
        if (takeBack) await this.#rollBack(list, attachment, result);
      };
      // A DEL before the end of an ADD would leave what the ADD makes.
      if (error instanceof UnfinishedCall) {
        this.#turns.keepUntil(attachment.containerId, error.work.then(rollBack, rollBack));
      } else await rollBack();
      throw error;
    }
  }

  async #rollBack(list: NetworkList, attachment: Attachment, result: Result | undefined): Promise<void> {
    const known = isAtLeast(list.cniVersion, "0.4.0") ? result : undefined;
    const attempt = async (action: () => unknown) => {
      try {
        await action();
      } catch (error) {
        this.#warn(`while taking back a failed ADD: ${(error as Error).message}`);
      }
    };
    for (const plugin of list.plugins.toReversed()) {
      await attempt(() => this.#caller.run(callOf("DEL", list, plugin, attachment, known)));
    }
    await attempt(() => this.#cache.remove({ network: list.name, ...attachment }));
  }

  /** Checks an attachment against the result that is kept of its ADD. Needs cniVersion 0.4.0. */
  check(list: NetworkList, attachment: Attachment): Promise<void> {
    return this.#inTurn(list, attachment, async () => {
      if (!isAtLeast(list.cniVersion, "0.4.0")) throw noCheck(list);
      if (list.disableCheck) return;
      const known = this.#remembered(list, attachment);
      if (known.problem !== undefined) throw known.problem;
      for (const plugin of list.plugins) {
        await this.#call(callOf("CHECK", list, plugin, known.attachment, known.result));
      }
    });
  }

  /** Detaches a container, the plugins in reverse. What the caller does not say is taken from the cache. Repeatable. */
  del(list: NetworkList, attachment: Attachment): Promise<void> {
    return this.#inTurn(list, attachment, () => this.#del(list, attachment));
  }

  async #del(list: NetworkList, attachment: Attachment): Promise<void> {
    const known = this.#remembered(list, attachment);
    const result = isAtLeast(list.cniVersion, "0.4.0") ? known.result : undefined;
    for (const plugin of list.plugins.toReversed()) {
      await this.#call(callOf("DEL", list, plugin, known.attachment, result));
    }
    this.#cache.remove({ network: list.name, ...attachment });
  }

  /**
   * Collects garbage: first DELs every attachment of the network that the cache has and `valid` has not, then tells the
   * plugins (from cniVersion 1.1.0 on) which attachments are to stay. Nothing is added to or deleted from the network
   * meanwhile. Goes on after failures and throws them together, with the code of the first.
   */
  async gc(list: NetworkList, valid: readonly AttachmentKey[]): Promise<void> {
    if (list.disableGC) return;
    await this.#turns.collection(list.name, () => this.#gc(list, valid));
  }

  async #gc(list: NetworkList, valid: readonly AttachmentKey[]): Promise<void> {
    const failures: Error[] = [];
    const attempt = async (what: string, action: () => Promise<unknown>) => {
      try {
        await action();
      } catch (error) {
        failures.push(prefixed(what, error as Error));
      }
    };
    const isValid = (key: AttachmentKey) =>
      valid.some(({ containerId, ifname }) => containerId === key.containerId && ifname === key.ifname);
    for (const cached of this.#cache.list()) {
      if (cached.network !== list.name || isValid(cached)) continue;
      if (this.#isToldToStop) break;
      const { containerId, ifname } = cached;
      await attempt(`stale attachment ${containerId}/${ifname}: `, async () => {
        requireKey(cached);
        // The older libcni's entries have no namespace, but the result names it.
        const netns = cached.netns || sandboxOf(cached);
        await this.#turns.stale(containerId, () => this.#del(list, { ...cached, netns }));
      });
    }
    if (isAtLeast(list.cniVersion, "1.1.0")) {
      const attachments = valid.map(({ containerId, ifname }) => ({ containerID: containerId, ifname }));
      const extra = { "cni.dev/valid-attachments": attachments, "cni.dev/attachments": attachments };
      for (const plugin of list.plugins) {
        if (this.#isToldToStop) break;
        await attempt("", () => this.#call({ containerId: "", ...networkCallOf("GC", list, plugin, extra) }));
      }
    }
    const [first] = failures;
    if (first === undefined) this.#requireWanted("GC");
    else throw failures.length === 1 ? first : together(first, failures);
  }

  /** Asks every plugin whether it can take containers (from cniVersion 1.1.0 on). Throws what the first says that cannot. */
  async status(list: NetworkList): Promise<void> {
    if (!isAtLeast(list.cniVersion, "1.1.0")) return;
    for (const plugin of list.plugins) {
      this.#requireWanted("STATUS");
      await this.#caller.run(networkCallOf("STATUS", list, plugin, {}));
    }
  }

  /** Which versions a plugin's executable speaks. */
  versions(type: string): Promise<PluginVersions> {
    return this.#caller.versions(type);
  }

  /** What is remembered of attachments, this runtime's and libcni's; only of one container where it is given. */
  attachments(containerId?: string): CachedAttachment[] {
    return this.#cache
      .list()
      .filter((cached) => containerId === undefined || cached.containerId === containerId);
  }

  /** Completes an attachment from the cache. */
  #remembered(list: NetworkList, attachment: Attachment): Remembered {
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
      const result = parseResult(cached.result, written);
      return { attachment: completed, result };
    } catch (problem) {
      // Cut short or foreign: DEL has to do without.
      return { attachment: completed, result: undefined, problem };
    }
  }

  /** A call in the turn of a container, or "" for a network's, which lasts until the plugin has ended. */
  async #call(call: PluginCall & { containerId: string }): Promise<void> {
    this.#requireWanted(call.command);
    try {
      await this.#caller.run(call);
    } catch (error) {
      if (error instanceof UnfinishedCall) this.#turns.keepUntil(call.containerId, error.work);
      throw error;
    }
  }

  get #isToldToStop(): boolean {
    return this.#options.signal?.aborted === true;
  }

  /** A plugin that is called after the signal was aborted could not be ended by it: only what is taken back is. */
  #requireWanted(command: CniCommand): void {
    if (this.#isToldToStop) throw toldToStop(command);
  }

  #warn(message: string): void {
    this.#options.onWarning?.(message);
  }

  /** Container id and interface are checked first: they become parts of file names. */
  async #inTurn<T>(list: NetworkList, key: AttachmentKey, action: () => Promise<T>): Promise<T> {
    requireKey(key);
    return await this.#turns.attachment(list.name, key.containerId, action);
  }
}

interface Remembered {
  attachment: Attachment;
  result: Result | undefined;
  /** Why there is no result, though there is something. */
  problem?: unknown;
}

function requireKey({ containerId, ifname }: AttachmentKey): void {
  requireContainerId(containerId);
  requireInterfaceName(ifname);
}

function entryOf(list: NetworkList, attachment: Attachment, result: JsonObject): CachedAttachment {
  const { containerId, ifname, netns, args = [], capabilityArgs = {} } = attachment;
  return { network: list.name, containerId, ifname, netns, args, capabilityArgs, config: list.text, result };
}

function callOf(
  command: "ADD" | "DEL" | "CHECK",
  list: NetworkList,
  { type, raw, capabilities }: ListedPlugin,
  attachment: Attachment,
  previous: Result | undefined,
) {
  const { containerId, ifname, netns } = attachment;
  const wanted = Object.entries(attachment.capabilityArgs ?? {}).filter(([name]) =>
    capabilities.includes(name),
  );
  const config: JsonObject = {
    ...raw,
    name: list.name,
    cniVersion: list.cniVersion,
    ...(wanted.length === 0 ? {} : { runtimeConfig: Object.fromEntries(wanted) }),
    ...prevResultOf(previous, versionOf(list)),
  };
  return { type, command, containerId, ifname, netns, args: argsText(attachment), config };
}

function networkCallOf(
  command: "GC" | "STATUS",
  { name, cniVersion }: NetworkList,
  { type, raw }: ListedPlugin,
  extra: JsonObject,
) {
  return { type, command, config: { ...raw, name, cniVersion, ...extra } };
}

function argsText({ args = [] }: Attachment): string {
  for (const [key, value] of args) {
    if (/[;=]/.test(key) || /[;=]/.test(value)) {
      throw new CniError(
        cniErrorCode.invalidEnvironment,
        `CNI_ARGS: ${quote(`${key}=${value}`)} has "=" or ";" in it`,
      );
    }
  }
  return args.map(([key, value]) => `${key}=${value}`).join(";");
}

/** The namespace of the container's interface. */
function sandboxOf({ result, ifname }: CachedAttachment): string {
  const interfaces = Array.isArray(result.interfaces) ? result.interfaces.filter(isJsonObject) : [];
  const sandbox = interfaces.find(({ name, sandbox }) => name === ifname && sandbox !== undefined)?.sandbox;
  return typeof sandbox === "string" ? sandbox : "";
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

function toldToStop(command: CniCommand): CniError {
  return new CniError(cniErrorCode.tryAgainLater, `${command} was broken off: the runtime was told to stop`);
}

function noCheck({ name, cniVersion }: NetworkList): CniError {
  return new CniError(
    cniErrorCode.incompatibleVersion,
    `configuration version "${cniVersion}" of network "${name}" does not support the CHECK command`,
    { remedy: "Set cniVersion to 0.4.0 or newer" },
  );
}

function prefixed(what: string, error: Error): Error {
  if (what === "") return error;
  const { remedy } = error as Partial<CniError>;
  return new CniError(codeOf(error), `${what}${error.message}`, {
    cause: error,
    ...(remedy === undefined ? {} : { remedy }),
  });
}

function together(first: Error, failures: readonly Error[]): CniError {
  const message = failures.map((failure) => failure.message).join("; ");
  return new CniError(codeOf(first), message, { cause: new AggregateError(failures, message) });
}
