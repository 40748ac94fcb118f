import { quote } from "../lib/errors.ts";
import { CniError, cniErrorCode } from "./errors.ts";
import { Fields, isJsonObject, type JsonObject } from "./fields.ts";
import type { AttachmentKey, NetworkConfig, Plugin } from "./plugin.ts";
import { parseDns, parseResult, type Result } from "./result.ts";
import { requireNetworkName, requirePluginType } from "./validate.ts";
import {
  type CniVersion,
  defaultVersion,
  isSupportedVersion,
  isVersion,
  supportedVersions,
} from "./versions.ts";

/** Keys that every plugin's configuration may have. */
export const commonKeys = [
  "cniVersion",
  "cniVersions",
  "name",
  "type",
  "capabilities",
  "ipam",
  "dns",
  "args",
  "runtimeConfig",
  "prevResult",
  "cni.dev/valid-attachments",
  "cni.dev/attachments",
] as const;

/** Larger configurations are refused before they are read. Bytes. */
export const longestConfig = 4 * 1024 * 1024;

/** As with Go's encoding/json. What is much deeper takes seconds to write again. */
const deepest = 10_000;

/** True where lists and objects are in one another more than {@link deepest} times. */
function isTooDeep(text: string): boolean {
  // Whatever was opened is closed, or it is no JSON at all.
  if (text.length <= 2 * deepest) return false;
  let depth = 0;
  let isText = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x22) isText = !isText;
    else if (isText) {
      if (code === 0x5c) i++;
    } else if (code === 0x5b || code === 0x7b) {
      if (++depth > deepest) return true;
    } else if (code === 0x5d || code === 0x7d) depth--;
  }
  return false;
}

/** Parses JSON that has to be an object. Throws a {@link CniError} of code 6. */
export function parseJsonObject(text: string, what: string): JsonObject {
  if (isTooDeep(text)) {
    throw new CniError(cniErrorCode.decoding, `${what}: nested more than ${deepest} times`, {
      remedy: "Make it flatter",
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CniError(cniErrorCode.decoding, `${what}: not JSON (${(error as Error).message})`, {
      cause: error,
      remedy: text.trim() === "" ? "It is empty" : `It begins ${quote(text.slice(0, 60))}`,
    });
  }
  if (!isJsonObject(value)) {
    throw new CniError(cniErrorCode.decoding, `${what}: ${quote(value)} is not a JSON object`);
  }
  return value;
}

/**
 * Reads the keys that are common to all plugins. Throws: code 1 for a version not spoken here, 6 for what is not a
 * configuration, 7 for a name or type that cannot be.
 */
export function parseNetworkConfig(
  raw: JsonObject,
  options: { lenientPrevResult?: boolean } = {},
): NetworkConfig {
  const fields = new Fields(raw);
  const name = requireNetworkName(fields.get("name"));
  const cniVersion = requireVersion(fields.get("cniVersion"));
  const config: NetworkConfig = {
    cniVersion,
    name,
    type: requirePluginType(fields.get("type")),
    dns: parseDns(fields),
    fields,
  };
  const ipamType = fields.object("ipam")?.get("type");
  if (ipamType !== undefined && ipamType !== "") config.ipamType = requirePluginType(ipamType, "ipam.type");
  const prevResult = fields.get("prevResult");
  if (prevResult !== undefined) {
    const parsed = parsePrevResult(prevResult, cniVersion, options.lenientPrevResult === true);
    if (parsed !== undefined) config.prevResult = parsed;
  }
  return config;
}

/** DEL has to clean up whatever the runtime remembers, so that it takes an unreadable prevResult for none. */
function parsePrevResult(value: unknown, version: CniVersion, lenient: boolean): Result | undefined {
  try {
    return parseResult(value, versionOfPrevResult(value, version), "prevResult");
  } catch (error) {
    if (lenient) return undefined;
    throw error;
  }
}

/**
 * A result's own version counts, where it says one: read in another, that of a plugin which knows only 0.2.0 would have no
 * addresses. Throws a {@link CniError} of code 1 for a version that is not spoken here.
 */
function versionOfPrevResult(value: unknown, configured: CniVersion): CniVersion {
  const own = isJsonObject(value) ? new Fields(value).get("cniVersion") : undefined;
  if (own === undefined || own === null || own === "") return configured;
  if (typeof own === "string" && isSupportedVersion(own)) return own;
  throw new CniError(
    cniErrorCode.incompatibleVersion,
    `prevResult.cniVersion: ${quote(own)} is no version that is spoken here`,
    { remedy: `Use one of ${supportedVersions.join(", ")}` },
  );
}

/** One sentence for each key of a configuration that its plugin does not know, with the likeliest intended one. */
export function unknownKeys(
  { keys }: Pick<Plugin, "keys">,
  { fields }: Pick<NetworkConfig, "fields">,
): string[] {
  return keys === undefined ? [] : fields.unknownKeys([...commonKeys, ...keys]);
}

/**
 * The attachments that GC has to keep; `cni.dev/attachments` is the key that libcni sends as well. Where there is none,
 * libcni writes null.
 */
export function parseValidAttachments(fields: Fields): AttachmentKey[] {
  const [key, older] = ["cni.dev/valid-attachments", "cni.dev/attachments"] as const;
  const list = fields.objects(key) ?? fields.objects(older) ?? [];
  if (!(key in fields.raw || older in fields.raw)) {
    throw new CniError(cniErrorCode.invalidNetworkConfig, `${key}: is missing`, {
      remedy: "GC needs the list of attachments that are to stay",
    });
  }
  return list.map((item) => ({
    containerId: item.string("containerID") ?? "",
    ifname: item.string("ifname") ?? "",
  }));
}

/**
 * The version that a configuration asks for. Absent or empty means 0.1.0. Throws a {@link CniError}: code 6 for what is
 * no version at all, code 1 for one that is not spoken here.
 */
export function requireVersion(value: unknown): CniVersion {
  if (value === undefined || value === null || value === "") return defaultVersion;
  if (typeof value === "string" && isSupportedVersion(value)) return value;
  if (typeof value !== "string" || !isVersion(value)) {
    throw new CniError(cniErrorCode.decoding, `cniVersion: ${quote(value)} is not a version`, {
      remedy: 'Write it like "1.0.0"',
    });
  }
  throw new CniError(cniErrorCode.incompatibleVersion, "incompatible CNI versions", {
    remedy: `config is ${quote(value)}, plugin supports ${JSON.stringify(supportedVersions)}`,
  });
}
