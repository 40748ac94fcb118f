import { dirname, join } from "node:path";
import { toErrorResult } from "../cni/errors.ts";
import { Fields } from "../cni/fields.ts";
import {
  type Attachment,
  type AttachmentKey,
  CniRuntime,
  currentVersion,
  formatResult,
  loadNetworkList,
  loadNetworkLists,
  type NetworkList,
  type Result,
  supportedVersions,
} from "../cni/index.ts";
import { parseJsonObject, unknownKeys } from "../cni/netconf.ts";
import type { Plugin } from "../cni/plugin.ts";
import { counted } from "../lib/count.ts";
import { explain } from "../lib/errors.ts";
import { didYouMean } from "../lib/suggest.ts";
import { status } from "../linux/lean/files.ts";
import { netnsDir } from "../linux/netns.ts";
import { loadPlugin } from "../plugins/load.ts";
import { isPluginName, pluginNames } from "../plugins/names.ts";
import { type Command, exitStatus } from "./command.ts";
import { integerOption, type OptionValues, optionsHelp, parseOptions } from "./options.ts";
import { UsageError } from "./usage.ts";

const specs = {
  "conf-dir": {
    type: "string",
    value: "DIR",
    help: "where the configurations are; or NETCONFPATH",
    default: "/etc/cni/net.d",
  },
  path: {
    type: "string",
    value: "DIR[:DIR]",
    help: "where the plugins are; or CNI_PATH. Weft's own need not be there",
    default: "/opt/cni/bin",
  },
  "cache-dir": { type: "string", value: "DIR", help: "where results are kept", default: "/var/lib/cni" },
  ifname: {
    type: "string",
    value: "NAME",
    help: "the container's interface; or CNI_IFNAME",
    default: "eth0",
  },
  "container-id": {
    type: "string",
    value: "ID",
    help: "the container; or CNI_CONTAINERID",
    default: "made of the namespace's path, as cnitool does",
  },
  args: { type: "string", value: "K=V;K=V", help: "CNI_ARGS for the plugins; or CNI_ARGS" },
  capabilities: {
    type: "string",
    value: "JSON",
    help: 'capability arguments, such as {"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}; or CAP_ARGS',
  },
  keep: {
    type: "string",
    value: "ID/IFNAME",
    help: "gc: an attachment that is to stay",
    multiple: true,
  },
  timeout: {
    type: "string",
    value: "SECONDS",
    help: "how long a plugin may take before it is killed",
    default: "120",
  },
  json: { type: "boolean", help: "print JSON: the result, or the error with its code" },
} as const;

type Options = OptionValues<typeof specs>;

interface Verb {
  usage: string;
  summary: string;
  min: number;
  max: number;
  run(args: string[], options: Options): Promise<number>;
}

const verbs: Readonly<Record<string, Verb>> = {
  add: {
    usage: "add NETWORK NETNS",
    summary: "attach a namespace to a network",
    min: 2,
    max: 2,
    run: add,
  },
  del: { usage: "del NETWORK NETNS", summary: "detach it; may be repeated", min: 2, max: 2, run: del },
  check: {
    usage: "check NETWORK NETNS",
    summary: "compare an attachment with its result",
    min: 2,
    max: 2,
    run: check,
  },
  gc: {
    usage: "gc NETWORK",
    summary: "remove every attachment but those of --keep",
    min: 1,
    max: 1,
    run: gc,
  },
  status: {
    usage: "status NETWORK",
    summary: "ask the plugins whether they can take containers",
    min: 1,
    max: 1,
    run: statusOf,
  },
  version: {
    usage: "version [PLUGIN...]",
    summary: "which versions of the specification are spoken",
    min: 0,
    max: Number.POSITIVE_INFINITY,
    run: versionOf,
  },
  list: {
    usage: "list",
    summary: "the configurations, in order, with what is wrong with them",
    min: 0,
    max: 0,
    run: list,
  },
};

function verbsHelp(): string {
  return Object.values(verbs)
    .map(({ usage, summary }) => `  weft cni ${usage.padEnd(22)}  ${summary}`)
    .join("\n");
}

const command: Command = {
  name: "cni",
  summary: "run a CNI network configuration list as a runtime would",
  help: `weft cni: run a CNI network configuration list as a container runtime would

Usage:
${verbsHelp()}

NETWORK is the name in a configuration, NETNS the path of a network namespace or a name under ${netnsDir}.

Options:
${optionsHelp(specs)}

Example:
  ip netns add blue
  weft cni add mynet blue --conf-dir ./net.d
  weft cni del mynet blue --conf-dir ./net.d`,

  async run(args: string[]): Promise<number> {
    const [name, ...rest] = args;
    if (name === undefined) {
      console.log(this.help);
      return exitStatus.usage;
    }
    const verb = Object.hasOwn(verbs, name) ? verbs[name] : undefined;
    if (verb === undefined) {
      throw new UsageError(
        `weft cni: there is no "${name}"${didYouMean(name, Object.keys(verbs))}`,
        "See weft cni --help",
      );
    }
    const { options, positionals } = parseOptions(`cni ${name}`, rest, specs, {
      min: verb.min,
      max: verb.max,
      names: verb.usage.slice(name.length + 1),
    });
    try {
      return await verb.run(positionals, options);
    } catch (error) {
      if (options.json !== true || error instanceof UsageError) throw error;
      printJson(toErrorResult(error, currentVersion));
      return exitStatus.failure;
    }
  },
};

export default command;

function printJson(value: unknown): void {
  console.log(JSON.stringify(value, null, 2));
}

function confDir(options: Options): string {
  return options["conf-dir"] ?? process.env.NETCONFPATH ?? specs["conf-dir"].default;
}

function runtimeOf(options: Options): CniRuntime {
  const path = options.path ?? process.env.CNI_PATH ?? specs.path.default;
  return new CniRuntime({
    path: path.split(":").filter((folder) => folder !== ""),
    cacheDir: options["cache-dir"] ?? specs["cache-dir"].default,
    timeout: 1000 * integerOption("timeout", options.timeout ?? specs.timeout.default, 1, 86_400),
    builtin: ownPlugin,
    onWarning: (message) => console.error(`warning: ${message}`),
  });
}

/** Weft's own plugin where CNI_PATH leads to the `weft-cni` beside this executable, or to nothing. */
async function ownPlugin(type: string, file: string | undefined): Promise<Plugin | undefined> {
  if (!isPluginName(type)) return undefined;
  if (file === undefined) return await loadPlugin(type);
  const sibling = status(join(dirname(process.execPath), "weft-cni"));
  return sibling !== undefined && sibling.identity === status(file)?.identity
    ? await loadPlugin(type)
    : undefined;
}

function attachmentOf(netns: string, options: Options): Attachment {
  const path = netns.includes("/") ? netns : `${netnsDir}/${netns}`;
  const args = options.args ?? process.env.CNI_ARGS;
  const capabilities = options.capabilities ?? process.env.CAP_ARGS;
  return {
    containerId: options["container-id"] ?? process.env.CNI_CONTAINERID ?? cnitoolId(path),
    ifname: options.ifname ?? process.env.CNI_IFNAME ?? specs.ifname.default,
    netns: path,
    ...(args === undefined ? {} : { args: pairsOf(args) }),
    ...(capabilities === undefined
      ? {}
      : { capabilityArgs: parseJsonObject(capabilities, "--capabilities") }),
  };
}

/** The id that cnitool gives a namespace, so that either goes on with the other's. */
function cnitoolId(path: string): string {
  return `cnitool-${new Bun.CryptoHasher("sha512").update(path).digest("hex").slice(0, 20)}`;
}

function pairsOf(text: string): [string, string][] {
  return text
    .split(";")
    .filter((pair) => pair !== "")
    .map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1) throw new UsageError(`weft cni: --args: "${pair}" is not like KEY=VALUE`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    });
}

async function add([network = "", netns = ""]: string[], options: Options): Promise<number> {
  const found = loadNetworkList(confDir(options), network);
  for (const sentence of found.warnings) console.error(`warning: ${sentence}`);
  const attachment = attachmentOf(netns, options);
  const result = await runtimeOf(options).add(found, attachment);
  if (options.json === true) printJson(formatResult(result, found.cniVersion as typeof currentVersion));
  else console.log(describe(found, attachment, result));
  return exitStatus.ok;
}

function describe({ name }: NetworkList, { ifname, netns }: Attachment, result: Result): string {
  const lines = [`${netns} is attached to "${name}" as ${ifname}`];
  for (const { address, gateway } of result.ips) {
    lines.push(`  address    ${address}${gateway === undefined ? "" : ` gateway ${gateway}`}`);
  }
  for (const { dst, gw } of result.routes)
    lines.push(`  route      ${dst}${gw === undefined ? "" : ` via ${gw}`}`);
  for (const { name: link, mac, sandbox } of result.interfaces) {
    lines.push(`  interface  ${link} ${mac ?? ""}${sandbox === undefined ? "" : ` in ${sandbox}`}`.trimEnd());
  }
  const { nameservers, search } = result.dns;
  if (nameservers !== undefined) lines.push(`  dns        ${[...nameservers, ...(search ?? [])].join(" ")}`);
  return lines.join("\n");
}

async function del([network = "", netns = ""]: string[], options: Options): Promise<number> {
  const attachment = attachmentOf(netns, options);
  await runtimeOf(options).del(loadNetworkList(confDir(options), network), attachment);
  return done(options, `${attachment.netns} is detached from "${network}"`);
}

async function check([network = "", netns = ""]: string[], options: Options): Promise<number> {
  const attachment = attachmentOf(netns, options);
  await runtimeOf(options).check(loadNetworkList(confDir(options), network), attachment);
  return done(options, `${attachment.netns} is attached to "${network}" as its result says`);
}

async function gc([network = ""]: string[], options: Options): Promise<number> {
  const valid = (options.keep ?? []).map((text): AttachmentKey => {
    const [containerId = "", ifname = specs.ifname.default, ...more] = text.split("/");
    if (containerId === "" || more.length > 0)
      throw new UsageError(`weft cni: --keep: "${text}" is not like ID/IFNAME`);
    return { containerId, ifname };
  });
  await runtimeOf(options).gc(loadNetworkList(confDir(options), network), valid);
  return done(options, `network "${network}" has ${counted(valid.length, "attachment")} at most`);
}

async function statusOf([network = ""]: string[], options: Options): Promise<number> {
  await runtimeOf(options).status(loadNetworkList(confDir(options), network));
  return done(options, `network "${network}" can take containers`);
}

function done(options: Options, sentence: string): number {
  if (options.json === true) printJson({ ok: true });
  else console.log(sentence);
  return exitStatus.ok;
}

async function versionOf(types: string[], options: Options): Promise<number> {
  if (types.length === 0) {
    if (options.json === true) printJson({ cniVersion: currentVersion, supportedVersions });
    else
      console.log(
        `weft speaks ${supportedVersions.join(", ")}; its own plugins are ${pluginNames.join(", ")}`,
      );
    return exitStatus.ok;
  }
  const runtime = runtimeOf(options);
  const answers: Record<string, unknown> = {};
  for (const type of types) {
    const own = isPluginName(type) && (options.path ?? process.env.CNI_PATH) === undefined;
    answers[type] = own ? { cniVersion: currentVersion, supportedVersions } : await runtime.versions(type);
  }
  if (options.json === true) printJson(answers);
  else {
    for (const [type, answer] of Object.entries(answers)) {
      console.log(
        `${type} speaks ${(answer as { supportedVersions: string[] }).supportedVersions.join(", ")}`,
      );
    }
  }
  return exitStatus.ok;
}

async function list(_: string[], options: Options): Promise<number> {
  const { lists, failures } = loadNetworkLists(confDir(options));
  const networks = await Promise.all(
    lists.map(async (found) => ({
      file: found.file,
      name: found.name,
      cniVersion: found.cniVersion,
      plugins: found.plugins.map(({ type }) => type),
      warnings: [...found.warnings, ...(await Promise.all(found.plugins.map(pluginWarnings))).flat()],
    })),
  );
  const broken = failures.map(({ file, error }) => ({ file, error: explain(error) }));
  if (options.json === true) printJson({ networks, failures: broken });
  else {
    for (const { name, cniVersion, plugins, file, warnings } of networks) {
      console.log(`${name}  ${cniVersion}  ${plugins.join(" -> ")}  ${file}`);
      for (const warning of warnings) console.log(`  warning: ${warning}`);
    }
    for (const { error } of broken) console.log(`error: ${error}`);
    if (networks.length + broken.length === 0)
      console.log(`there is no configuration in ${confDir(options)}`);
  }
  return broken.length === 0 ? exitStatus.ok : exitStatus.failure;
}

/** What a plugin of Weft's own would ignore. */
async function pluginWarnings({ type, raw }: NetworkList["plugins"][number], i: number): Promise<string[]> {
  if (!isPluginName(type)) return [];
  return unknownKeys(await loadPlugin(type), { fields: new Fields(raw, `plugins[${i}]`) });
}
