import { CniError } from "../../cni/errors.ts";
import { Fields, type JsonObject } from "../../cni/fields.ts";
import type { ListedPlugin, NetworkList } from "../../cni/list.ts";
import { parseNetworkConfig, unknownKeys } from "../../cni/netconf.ts";
import type { Plugin, PluginRequest } from "../../cni/plugin.ts";
import { dnsKeys } from "../../cni/result.ts";
import { WeftError } from "../../lib/errors.ts";
import { didYouMean, suggest } from "../../lib/suggest.ts";
import { loadPlugin } from "../load.ts";
import { isPluginName, pluginNames } from "../names.ts";
import { checkChain, checkName, checkRanges, checkVersion } from "./chain.ts";
import { type Described, type Description, type Finding, Keys } from "./description.ts";
import { type NamedRange, rangesOf } from "./ranges.ts";
import { allCapabilities, descriptionOf } from "./table.ts";

/** One plugin of a list. */
export interface ExplainedPlugin {
  type: string;
  /** The file of its own in which it stands. */
  file?: string;
  /** The executable that is not Weft's. */
  executable?: string;
  /** Sentences; undefined where nothing is known of the plugin. */
  does: string[] | undefined;
  ipam?: Omit<ExplainedPlugin, "ipam">;
}

export interface Explanation {
  plugins: ExplainedPlugin[];
  findings: Finding[];
}

export interface ExplainOptions {
  /** The other configurations of the folder. */
  others: readonly NetworkList[];
  /** The executable that a type leads to, or undefined. */
  find(type: string): string | undefined;
  /** True where Weft's own plugin runs in place of what the type leads to. */
  isOwn(type: string, file: string | undefined): Promise<boolean>;
  /** What an executable answers to VERSION. */
  versions(type: string): Promise<{ supportedVersions: string[] }>;
  /** Readers of configurations of plugins that do not read them themselves. */
  parsers?: Readonly<Record<string, (request: PluginRequest) => unknown>>;
}

/** What stands below one plugin of a list. */
interface Scope {
  list: NetworkList;
  plugin: ListedPlugin;
  /** "plugins[0]". */
  path: string;
  options: ExplainOptions;
  findings: Finding[];
}

/** Tells what each plugin of a list will do, and what is wrong with the configuration. Changes nothing. */
export async function explainNetwork(list: NetworkList, options: ExplainOptions): Promise<Explanation> {
  const findings: Finding[] = list.warnings.map((sentence) => findingOf(sentence, ""));
  checkVersion(list, findings);
  const plugins: ExplainedPlugin[] = [];
  const ranges: NamedRange[] = [];
  for (const [i, plugin] of list.plugins.entries()) {
    const scope = { list, plugin, path: `plugins[${i}]`, options, findings };
    const own = rangesOf(list, plugin, scope.path);
    ranges.push(...own);
    plugins.push(await explainPlugin(scope, own));
  }
  checkName(list, options.others, findings);
  checkChain(list, findings);
  checkRanges(ranges, options.others, findings);
  return { plugins, findings: unique(findings) };
}

async function explainPlugin(scope: Scope, ranges: readonly NamedRange[]): Promise<ExplainedPlugin> {
  const { plugin, path, list, findings } = scope;
  const { type } = plugin;
  const ipamType = new Keys(plugin.raw).object("ipam").text("type");
  const described: Omit<Described, "isOwn"> = {
    keys: new Keys(plugin.raw),
    network: list.name,
    ipamType,
    gateways: [...new Set(ranges.flatMap(({ gateway }) => gateway ?? []))],
    capabilities: plugin.capabilities,
  };
  const explained: ExplainedPlugin = {
    type,
    ...(plugin.file === undefined ? {} : { file: plugin.file }),
    ...(await explainType(scope, type, described, path)),
  };
  await checkValues(scope, type, path);
  if (ipamType !== undefined) {
    explained.ipam = { type: ipamType, ...(await explainType(scope, ipamType, described, `${path}.ipam`)) };
    await checkValues(scope, ipamType, path);
  }
  checkCommonKeys(scope, described, findings);
  checkCapabilities(scope, ipamType);
  return explained;
}

/** What a type does, by what; findings where it cannot be called. */
async function explainType(
  scope: Scope,
  type: string,
  rest: Omit<Described, "isOwn">,
  path: string,
): Promise<{ does: string[] | undefined; executable?: string }> {
  const executable = await executableOf(scope, type, `${path}.type`);
  const description = descriptionOf(type);
  const described = { ...rest, isOwn: executable === undefined };
  for (const { level = "warning", field, problem, remedy } of description?.advise?.(described) ?? []) {
    scope.findings.push({
      level,
      field: field === "" ? path : `${path}.${field}`,
      message: problem,
      ...(remedy === undefined ? {} : { remedy }),
    });
  }
  return { does: description?.describe(described), ...(executable === undefined ? {} : { executable }) };
}

/** The executable where it is not Weft's own plugin that runs. */
async function executableOf(
  { list, options, findings }: Scope,
  type: string,
  field: string,
): Promise<string | undefined> {
  let file: string | undefined;
  try {
    file = options.find(type);
    if (await options.isOwn(type, file)) return undefined;
    if (file === undefined) {
      const message = `there is no plugin "${type}" in CNI_PATH, and Weft has none${didYouMean(type, pluginNames)}`;
      findings.push({ level: "error", field, message });
      return undefined;
    }
    const { supportedVersions } = await options.versions(type);
    if (!supportedVersions.includes(list.cniVersion)) {
      findings.push({
        level: "error",
        field: "cniVersion",
        message: `${file} does not speak ${list.cniVersion}`,
        remedy: `It speaks ${supportedVersions.join(", ")}`,
      });
    }
  } catch (error) {
    findings.push(refusalOf(error, field));
  }
  return file;
}

/** Has the plugin's own reader say what it refuses. */
async function checkValues(scope: Scope, type: string, path: string): Promise<void> {
  const { plugin, list, options, findings } = scope;
  if (!isPluginName(type)) return;
  const own = await loadPlugin(type);
  const config: JsonObject = { ...plugin.raw, name: list.name, cniVersion: list.cniVersion };
  const isIpam = type !== plugin.type;
  if (!isIpam) {
    for (const sentence of unknownKeys(own, { fields: new Fields(config) }))
      findings.push(findingOf(sentence, path));
  }
  const parse = async (request: PluginRequest) => {
    await own.parse?.(request);
    await options.parsers?.[type]?.(request);
  };
  // A key that is refused hides what is wrong with the others.
  for (const left = { ...config }; ; ) {
    const refusal = await tryParse(own, parse, left, (sentence) => findings.push(findingOf(sentence, path)));
    if (refusal === undefined) return;
    if (isForRuntime(refusal, scope, type)) return;
    const finding = prefixed(refusalOf(refusal, ""), path);
    findings.push(finding);
    const key = finding.field.slice(path.length + 1).split(/[.[]/)[0] ?? "";
    if (isIpam || !Object.hasOwn(left, key)) return;
    delete left[key];
  }
}

async function tryParse(
  { name }: Plugin,
  parse: (request: PluginRequest) => Promise<void>,
  raw: JsonObject,
  warn: (message: string) => void,
): Promise<unknown> {
  try {
    const config = parseNetworkConfig({ ...raw, type: typeof raw.type === "string" ? raw.type : name });
    await parse({
      invocation: {
        command: "ADD",
        containerId: "explained",
        netns: "",
        ifname: "eth0",
        args: { text: "" },
        path: [],
        netnsOverride: false,
      },
      config,
      warn,
      builtin: async () => undefined,
      env: {},
    });
    return undefined;
  } catch (error) {
    return error;
  }
}

/** Ranges may come from the runtime alone: then a configuration without is none the worse. */
function isForRuntime(refusal: unknown, { plugin }: Scope, type: string): boolean {
  if (type !== "host-local" || !plugin.capabilities.includes("ipRanges")) return false;
  return refusal instanceof CniError && refusal.message === "no IP ranges specified";
}

const runtimeOnly: Readonly<Record<string, string>> = {
  runtimeConfig: 'The runtime writes it: declare "capabilities" for what it is to pass',
  prevResult: "The runtime writes it: leave it out",
};

/** Keys that every plugin may have. */
function checkCommonKeys(
  { plugin, path, list }: Scope,
  { keys }: Pick<Described, "keys">,
  findings: Finding[],
): void {
  for (const [key, remedy] of Object.entries(runtimeOnly)) {
    if (keys.get(key) === undefined) continue;
    findings.push({
      level: "warning",
      field: `${path}.${key}`,
      message: "is not for a configuration",
      remedy,
    });
  }
  for (const [key, value] of [
    ["name", list.name],
    ["cniVersion", list.cniVersion],
  ] as const) {
    const own = keys.get(key);
    if (own === undefined || own === value) continue;
    findings.push({
      level: "warning",
      field: `${path}.${key}`,
      message: `the plugin gets the list's, "${value}", in place of ${JSON.stringify(own)}`,
      remedy: "Leave it out",
    });
  }
  const dns = new Fields(keys.object("dns").raw, `${path}.dns`);
  for (const sentence of dns.unknownKeys(dnsKeys)) findings.push(findingOf(sentence, ""));
  if (descriptionOf(plugin.type)?.role === "chained" && keys.object("ipam").text("type") !== undefined) {
    findings.push({
      level: "warning",
      field: `${path}.ipam`,
      message: `${plugin.type} makes no interface and gives no addresses`,
      remedy: "Put it at the plugin that makes the interface",
    });
  }
}

function checkCapabilities({ plugin, path, findings }: Scope, ipamType: string | undefined): void {
  const description = descriptionOf(plugin.type);
  const ipam = ipamType === undefined ? undefined : descriptionOf(ipamType);
  // What is not known of may know anything.
  if (description === undefined || (ipamType !== undefined && ipam === undefined)) return;
  const known = [description, ipam].flatMap((each) =>
    Object.keys((each as Description | undefined)?.capabilities ?? {}),
  );
  for (const name of plugin.capabilities) {
    if (known.includes(name)) continue;
    const near = suggest(name, known) ?? suggest(name, allCapabilities());
    const who = ipamType === undefined ? plugin.type : `neither ${plugin.type} nor ${ipamType}`;
    const verb = ipamType === undefined ? "does not know it" : "knows it";
    findings.push({
      level: "warning",
      field: `${path}.capabilities.${name}`,
      message: `${who} ${verb}${near === undefined ? "" : ` (did you mean "${near}"?)`}`,
      remedy: known.length === 0 ? "Leave it out" : `Known are ${known.join(", ")}`,
    });
  }
}

/** A sentence "field: problem; more" of a warning. */
function findingOf(sentence: string, path: string): Finding {
  const [, field, message] = /^([\w.\-/[\]]+): (.*)$/s.exec(sentence) ?? [];
  if (field === undefined || message === undefined)
    return { level: "warning", field: path, message: sentence };
  return { level: "warning", field: path === "" ? field : `${path}.${field}`, message };
}

function refusalOf(error: unknown, field: string): Finding {
  const remedy = error instanceof WeftError ? error.remedy : undefined;
  const message = error instanceof Error ? error.message : String(error);
  return { level: "error", field, message, ...(remedy === undefined ? {} : { remedy }) };
}

/** Takes the field out of the message, where it begins with one, and puts the plugin's path before it. */
function prefixed({ message, ...rest }: Finding, path: string): Finding {
  const { field, message: problem } = findingOf(message, path);
  const top = field.slice(path.length + 1).split(/[.[]/)[0] ?? "";
  // "plugin's netns: ..." is no field, "mtu: ..." is.
  return field === path || top === ""
    ? { ...rest, field: path, message }
    : { ...rest, field, message: problem };
}

function unique(findings: readonly Finding[]): Finding[] {
  const order = ["error", "warning", "note"];
  const seen = new Map(findings.map((finding) => [`${finding.field}: ${finding.message}`, finding]));
  return [...seen.values()].sort((a, b) => order.indexOf(a.level) - order.indexOf(b.level));
}
