import { Fields } from "../cni/fields.ts";
import {
  type Attachment,
  type AttachmentKey,
  compareVersions,
  currentVersion,
  findPlugin,
  formatResult,
  loadNetworkList,
  loadNetworkLists,
  type NetworkList,
  type Result,
  supportedVersions,
} from "../cni/index.ts";
import { unknownKeys } from "../cni/netconf.ts";
import { counted } from "../lib/count.ts";
import { explain } from "../lib/errors.ts";
import { didYouMean } from "../lib/suggest.ts";
import { loadPlugin } from "../plugins/load.ts";
import { isPluginName, pluginNames } from "../plugins/names.ts";
import {
  attachmentOf,
  confDir,
  done,
  ifnameOf,
  type Options,
  ownPlugin,
  pathOf,
  printJson,
  runtimeOf,
} from "./cni-options.ts";
import { exitStatus } from "./command.ts";
import { UsageError } from "./usage.ts";

/* The verbs of `weft cni`: each resolves to the exit status. */

export async function add([network = "", netns = ""]: string[], options: Options): Promise<number> {
  const found = loadNetworkList(confDir(options), network);
  const attachment = attachmentOf(netns, options);
  for (const sentence of [...found.warnings, ...undeclared(found, attachment)])
    console.error(`warning: ${sentence}`);
  const result = await runtimeOf(options).add(found, attachment);
  if (options.json === true) printJson(formatResult(result, found.cniVersion as typeof currentVersion));
  else console.log(describe(found, attachment, result));
  return exitStatus.ok;
}

/** What is given on the command line and no plugin gets. */
function undeclared({ plugins }: NetworkList, { capabilityArgs = {} }: Attachment): string[] {
  const declared = [...new Set(plugins.flatMap(({ capabilities }) => capabilities))];
  return Object.keys(capabilityArgs)
    .filter((name) => !declared.includes(name))
    .map(
      (name) => `no plugin declares the capability "${name}"${didYouMean(name, declared)}: none is passed it`,
    );
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

export async function del([network = "", netns = ""]: string[], options: Options): Promise<number> {
  const attachment = attachmentOf(netns, options);
  await runtimeOf(options).del(loadNetworkList(confDir(options), network), attachment);
  return done(options, `${attachment.netns} is detached from "${network}"`);
}

export async function check([network = "", netns = ""]: string[], options: Options): Promise<number> {
  const attachment = attachmentOf(netns, options);
  const found = loadNetworkList(confDir(options), network);
  await runtimeOf(options).check(found, attachment);
  if (found.disableCheck)
    return done(options, `network "${network}" has disableCheck: nothing was looked at`);
  return done(options, `${attachment.netns} is attached to "${network}" as its result says`);
}

export async function gc([network = ""]: string[], options: Options): Promise<number> {
  const valid = (options.keep ?? []).map((text): AttachmentKey => {
    const [containerId = "", ifname = ifnameOf(options), ...more] = text.split("/");
    if (containerId === "" || more.length > 0)
      throw new UsageError(`weft cni: --keep: "${text}" is not like ID or ID/IFNAME`);
    return { containerId, ifname };
  });
  const found = loadNetworkList(confDir(options), network);
  await runtimeOf(options).gc(found, valid);
  if (found.disableGC) return done(options, `network "${network}" has disableGC: nothing was removed`);
  if (isWithoutGc(found)) return done(options, `${withoutGc(found)} GC: only what was kept was removed`);
  const kept = valid.length === 0 ? "" : `, but for ${counted(valid.length, "attachment")} of --keep`;
  return done(options, `what network "${network}" had for containers is removed${kept}`);
}

export async function statusOf([network = ""]: string[], options: Options): Promise<number> {
  const found = loadNetworkList(confDir(options), network);
  await runtimeOf(options).status(found);
  if (isWithoutGc(found)) return done(options, `${withoutGc(found)} STATUS: no plugin was asked`);
  return done(options, `network "${network}" can take containers`);
}

/** GC and STATUS came together. */
function isWithoutGc({ cniVersion }: NetworkList): boolean {
  return compareVersions(cniVersion, "1.1.0") < 0;
}

function withoutGc({ name, cniVersion }: NetworkList): string {
  return `network "${name}" has cniVersion ${cniVersion}, which is without`;
}

export async function versionOf(types: string[], options: Options): Promise<number> {
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
    const isOwn = (await ownPlugin(type, findPlugin(type, pathOf(options)))) !== undefined;
    answers[type] = isOwn ? { cniVersion: currentVersion, supportedVersions } : await runtime.versions(type);
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

export async function list(_: string[], options: Options): Promise<number> {
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
