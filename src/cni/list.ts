import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { explain, quote } from "../lib/errors.ts";
import { CniError, cniErrorCode } from "./errors.ts";
import { Fields, type JsonObject } from "./fields.ts";
import { longestConfig, parseJsonObject, requireVersion } from "./netconf.ts";
import { requireNetworkName, requirePluginType } from "./validate.ts";
import { compareVersions, isSupportedVersion, isVersion } from "./versions.ts";

/** What a runtime reads as a configuration. */
const extensions = [".conf", ".conflist", ".json"];
const listKeys = [
  "cniVersion",
  "cniVersions",
  "name",
  "plugins",
  "disableCheck",
  "disableGC",
  "loadOnlyInlinedPlugins",
];

/** One plugin of a list, as it is configured. */
export interface ListedPlugin {
  type: string;
  /** Which of the runtime's capability arguments it wants. */
  capabilities: string[];
  raw: JsonObject;
  /** The file of its own that it was read from; undefined where it stands in the list. */
  file?: string;
}

/** A network: plugins that are called one after the other. */
export interface NetworkList {
  name: string;
  cniVersion: string;
  plugins: ListedPlugin[];
  disableCheck: boolean;
  disableGC: boolean;
  /** As it was read, for the cache; a single plugin's configuration as a list, as libcni writes it there. */
  text: string;
  /** Where it was read from. */
  file?: string;
  /** What looks like a mistake but is none: unknown keys. */
  warnings: string[];
}

/**
 * Reads a configuration list; a configuration of a single plugin counts as a list of one. With `file`, plugins from the
 * folder beside it that is called like the network are added, unless `loadOnlyInlinedPlugins`. Throws a
 * {@link CniError} that names file and field.
 */
export function parseNetworkList(text: string, file?: string): NetworkList {
  return file === undefined ? readList(text, file) : naming(file, () => readList(text, file));
}

/** Reads, and names the file where that fails, but for what names one already. */
function naming<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Error) || error instanceof UnreadableFile) throw error;
    throw new UnreadableFile(file, error);
  }
}

class UnreadableFile extends CniError {
  constructor(file: string, error: Error) {
    const code = error instanceof CniError ? error.cniCode : cniErrorCode.invalidNetworkConfig;
    const remedy = (error as { remedy?: string }).remedy;
    super(code, `${file}: ${error.message}`, { cause: error, ...(remedy === undefined ? {} : { remedy }) });
  }
}

function readList(text: string, file: string | undefined): NetworkList {
  if (text.length > longestConfig) {
    // As much as its plugins would take.
    throw new CniError(cniErrorCode.decoding, `network configuration: longer than ${longestConfig} bytes`, {
      remedy: "Make it shorter",
    });
  }
  const raw = parseJsonObject(text, "network configuration");
  const fields = new Fields(raw);
  const isSingle = fields.get("plugins") === undefined && fields.get("type") !== undefined;
  const name = requireNetworkName(fields.get("name"), fields.misspelt("name"));
  const inlinedOnly = flag(fields, "loadOnlyInlinedPlugins");
  const inlined = isSingle ? [fields] : (fields.objects("plugins") ?? []);
  const beside = file === undefined || isSingle || inlinedOnly ? [] : pluginsBeside(file, name);
  const plugins = [...inlined.map(readPlugin), ...beside];
  if (plugins.length === 0) {
    throw new CniError(cniErrorCode.invalidNetworkConfig, "plugins: no plugin is configured", {
      remedy:
        fields.misspelt("plugins") ??
        fields.misspelt("type") ??
        'Give the list "plugins" with at least one { "type": ... }',
    });
  }
  const cniVersion = chooseVersion(fields);
  return {
    name,
    cniVersion,
    plugins,
    disableCheck: flag(fields, "disableCheck"),
    disableGC: flag(fields, "disableGC"),
    text: isSingle ? JSON.stringify({ cniVersion, name, plugins: [raw] }) : text,
    ...(file === undefined ? {} : { file }),
    warnings: isSingle ? [] : fields.unknownKeys(listKeys),
  };
}

function readPlugin(fields: Fields): ListedPlugin {
  const capabilities = fields.object("capabilities");
  const names = Object.keys(capabilities?.raw ?? {});
  return {
    type: requirePluginType(fields.get("type"), fields.at("type"), fields.misspelt("type")),
    capabilities: names.filter((name) => capabilities?.boolean(name) === true),
    raw: fields.raw,
  };
}

/** The newest version of `cniVersions` and `cniVersion` that is spoken here. */
function chooseVersion(fields: Fields): string {
  const single = requireVersionText(fields.get("cniVersion"), "cniVersion");
  const several = (fields.strings("cniVersions") ?? []).map((text, i) =>
    requireVersionText(text, `cniVersions[${i}]`),
  );
  if (several.length === 0) return requireVersion(single);
  const all = single === undefined ? several : [...several, single];
  const known = all.filter((text) => text !== undefined && isSupportedVersion(text));
  return requireVersion(known.sort((a = "", b = "") => compareVersions(a, b)).at(-1) ?? single);
}

function requireVersionText(value: unknown, field: string): string | undefined {
  if (value === undefined || value === "") return undefined;
  if (typeof value === "string" && isVersion(value)) return value;
  throw new CniError(cniErrorCode.decoding, `${field}: ${quote(value)} is not a version`, {
    remedy: 'Write it like "1.0.0"',
  });
}

/** The specification once wrote these as texts. */
function flag(fields: Fields, name: string): boolean {
  const value = fields.get(name);
  if (typeof value === "string") {
    if (value.toLowerCase() === "true") return true;
    if (value.toLowerCase() === "false") return false;
  }
  return fields.boolean(name) ?? false;
}

function pluginsBeside(file: string, name: string): ListedPlugin[] {
  const folder = join(dirname(file), name);
  return listFiles(folder, [".conf"]).map((path) => ({
    ...naming(path, () => readPlugin(new Fields(parseJsonObject(readConfig(path), "plugin configuration")))),
    file: path,
  }));
}

/** What is no file, such as a pipe, is not waited for. */
function readConfig(path: string): string {
  const status = statSync(path, { throwIfNoEntry: false });
  if (status === undefined) throw new CniError(cniErrorCode.io, "is not there");
  if (!status.isFile()) throw new CniError(cniErrorCode.io, "is no file");
  if (status.size <= longestConfig) return readFileSync(path, "utf8");
  throw new CniError(cniErrorCode.decoding, `longer than ${longestConfig} bytes`, {
    remedy: "Make it shorter",
  });
}

/** The configuration files of a folder in lexicographic order; none where there is no folder. */
export function listFiles(folder: string, wanted: readonly string[] = extensions): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => !entry.isDirectory() && wanted.includes(extname(entry.name)))
      .map((entry) => entry.name)
      .sort()
      .map((name) => join(folder, name));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT") return [];
    throw new CniError(cniErrorCode.io, `cannot read the configuration folder ${folder} (${code})`, {
      cause: error,
    });
  }
}

/** Reads the configuration in a file, as {@link parseNetworkList}; also one that no runtime would look at. */
export function loadNetworkFile(file: string): NetworkList {
  return naming(file, () => readList(readConfig(file), file));
}

/** What {@link loadNetworkLists} found. */
export interface LoadedLists {
  /** In lexicographic order of their files. */
  lists: NetworkList[];
  /** Files that are no configuration, with the reason. */
  failures: { file: string; error: unknown }[];
}

/** Reads every configuration of a folder. A file that cannot be read does not hide the others. */
export function loadNetworkLists(folder: string): LoadedLists {
  const loaded: LoadedLists = { lists: [], failures: [] };
  for (const file of listFiles(folder)) {
    try {
      loaded.lists.push(loadNetworkFile(file));
    } catch (error) {
      loaded.failures.push({ file, error });
    }
  }
  return loaded;
}

/**
 * The configuration of a network: of those with its name the first list, or else the first single configuration, as
 * libcni chooses. Throws a {@link CniError} that says what there is instead.
 */
export function loadNetworkList(folder: string, name: string): NetworkList {
  const { lists, failures } = loadNetworkLists(folder);
  const named = lists.filter((list) => list.name === name);
  const found = named.find(({ file = "" }) => extname(file) === ".conflist") ?? named[0];
  if (found !== undefined) return found;
  if (failures.length > 0) {
    const what = failures.length === 1 ? "a file" : `${failures.length} files`;
    const why = failures.map(({ error }) => explain(error)).join("; ");
    throw new CniError(
      cniErrorCode.invalidNetworkConfig,
      `no network ${JSON.stringify(name)} in ${folder}, where ${what} could not be read: ${why}`,
      { cause: failures[0]?.error },
    );
  }
  const names = lists.map((list) => list.name).join(", ");
  throw new CniError(cniErrorCode.invalidNetworkConfig, `no network ${JSON.stringify(name)} in ${folder}`, {
    remedy: names === "" ? "There is no configuration at all" : `There are: ${names}`,
  });
}
