/**
 * The Container Network Interface, both sides: for runtimes that call plugins, and for plugins. Speaks versions 0.1.0 to
 * 1.1.0 of the specification.
 * @module
 */
export { type CachedAttachment, defaultCacheDir, ResultCache } from "./cache.ts";
export type { PluginVersions } from "./caller.ts";
export {
  type CniArgs,
  type CniCommand,
  commands,
  type Invocation,
  parseCniArgs,
  parseInvocation,
} from "./env.ts";
export {
  CniError,
  cniErrorCode,
  type ErrorResult,
  hasCniCode,
  parseErrorResult,
  toErrorResult,
} from "./errors.ts";
export { findPlugin } from "./exec.ts";
export { Fields, type JsonObject } from "./fields.ts";
export {
  type ListedPlugin,
  type LoadedLists,
  loadNetworkFile,
  loadNetworkList,
  loadNetworkLists,
  type NetworkList,
  parseNetworkList,
} from "./list.ts";
export { parseNetworkConfig } from "./netconf.ts";
export type { AttachmentKey, GcRequest, NetworkConfig, Plugin, PluginRequest } from "./plugin.ts";
export {
  type Dns,
  emptyResult,
  formatResult,
  parseResult,
  type Result,
  type ResultInterface,
  type ResultIp,
  type ResultRoute,
} from "./result.ts";
export {
  type Attachment,
  CniRuntime,
  defaultTimeout,
  type RuntimeOptions,
} from "./runtime.ts";
export { type Host, runPlugin } from "./skeleton.ts";
export {
  isInterfaceName,
  requireContainerId,
  requireInterfaceName,
  requireNetworkName,
  requirePluginType,
} from "./validate.ts";
export { type CniVersion, compareVersions, currentVersion, supportedVersions } from "./versions.ts";
