import type { Invocation } from "./env.ts";
import type { Fields } from "./fields.ts";
import type { Dns, Result } from "./result.ts";
import type { CniVersion } from "./versions.ts";

/** One attachment: what makes an interface of a container on a network unique. */
export interface AttachmentKey {
  containerId: string;
  ifname: string;
}

/** A network configuration as a plugin gets it on standard input, its common keys read. */
export interface NetworkConfig {
  cniVersion: CniVersion;
  name: string;
  type: string;
  /** `ipam.type`; undefined where the network has no addresses (layer 2). */
  ipamType?: string;
  dns: Dns;
  /** The result of the plugin before (ADD) or of the whole chain (DEL, CHECK). */
  prevResult?: Result;
  /** Every key, the plugin's own among them. */
  fields: Fields;
}

/** What a plugin works on. */
export interface PluginRequest {
  invocation: Invocation;
  config: NetworkConfig;
  /** Says something on standard error that is not an error. */
  warn: (message: string) => void;
  /**
   * A plugin that this process has itself, to delegate to; undefined where an executable has to be started. `file` is
   * what CNI_PATH leads to, undefined where it leads nowhere.
   */
  builtin: (type: string, file: string | undefined) => Promise<Plugin | undefined>;
  /** The caller's environment, for what is started for it. */
  env: Readonly<Record<string, string | undefined>>;
  /** Deletes a link, perhaps together with others'; where absent, the plugin does it itself. */
  deleteLink?: (link: DoomedLink) => Promise<void>;
  /**
   * Set where the runtime runs the plugin in its own process: milliseconds that a delegate's executable may take, then
   * its whole process group is killed.
   */
  delegateTimeout?: number;
  /** Aborted when nobody waits for the answer any more: an executable that is running for it is killed. */
  signal?: AbortSignal;
}

/** A link that is to be deleted, by its index: of the host, or of the namespace of a descriptor. */
export interface DoomedLink {
  index: number;
  netnsFd?: number;
}

/** GC: everything of this network that is not among `valid` has to go. */
export interface GcRequest extends PluginRequest {
  valid: readonly AttachmentKey[];
}

/**
 * A CNI plugin. Failures are thrown, best as CniError; a failed `add` leaves nothing behind. `del` may come twice,
 * without namespace and without prevResult. Absent `gc` and `status`: there is nothing to collect, and always ready.
 */
export interface Plugin {
  /** The type in configurations and the name of the executable. */
  readonly name: string;
  /**
   * The configuration keys that it understands beside the common ones; others get a warning. Absent for plugins that
   * others delegate to: they get the other's whole configuration.
   */
  readonly keys?: readonly string[];
  /** It looks at no key of CNI_ARGS, so that none is a mistake, as with its reference. */
  readonly knowsNoArgs?: boolean;
  /**
   * Reads the configuration as `add` does: throws what `add` would refuse and warns of what it would warn of, but changes
   * nothing. For those who explain a configuration before any container has it.
   */
  parse?(request: PluginRequest): unknown;
  add(request: PluginRequest): Result | Promise<Result>;
  del(request: PluginRequest): void | Promise<void>;
  check(request: PluginRequest): void | Promise<void>;
  gc?(request: GcRequest): void | Promise<void>;
  status?(request: PluginRequest): void | Promise<void>;
}
