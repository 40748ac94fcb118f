import { statSync } from "node:fs";
import { dirname, extname, resolve } from "node:path";
import {
  findPlugin,
  loadNetworkFile,
  loadNetworkList,
  loadNetworkLists,
  type NetworkList,
} from "../cni/index.ts";
import { parseDhcpConfig } from "../dhcp/ipam-config.ts";
import { counted } from "../lib/count.ts";
import { explain, WeftError } from "../lib/errors.ts";
import type { Finding } from "../plugins/describe/description.ts";
import { type ExplainedPlugin, type Explanation, explainNetwork } from "../plugins/describe/explain.ts";
import { confDir, type Options, ownPlugin, pathOf, printJson, runtimeOf } from "./cni-options.ts";
import { exitStatus } from "./command.ts";

/** A configuration, explained or not to be read at all. */
type Validated = { list: NetworkList; explanation: Explanation } | { file: string; error: unknown };

/** Explains configurations: files, or networks by their names; all of the folder where none is named. */
export async function validate(wanted: string[], options: Options): Promise<number> {
  const read =
    wanted.length === 0 ? wholeFolder(confDir(options)) : wanted.map((each) => find(each, options));
  const validated: Validated[] = [];
  for (const each of read) {
    validated.push("error" in each ? each : { list: each, explanation: await explainOne(each, options) });
  }
  const findings = validated.flatMap((each) => ("error" in each ? [] : each.explanation.findings));
  const broken = validated.filter((each) => "error" in each).length;
  const errors = broken + count(findings, "error");
  if (options.json === true) printJson({ ok: errors === 0, networks: validated.map(toJson) });
  else {
    for (const each of validated) console.log(`${describe(each)}\n`);
    const warnings = count(findings, "warning");
    if (validated.length === 0) console.log(`there is no configuration in ${confDir(options)}`);
    else console.log(`${counted(errors, "error")}, ${counted(warnings, "warning")}`);
  }
  return errors === 0 ? exitStatus.ok : exitStatus.failure;
}

function count(findings: readonly Finding[], level: Finding["level"]): number {
  return findings.filter((finding) => finding.level === level).length;
}

type Read = NetworkList | { file: string; error: unknown };

function wholeFolder(folder: string): Read[] {
  const { lists, failures } = loadNetworkLists(folder);
  const fileOf = (each: Read) => each.file ?? "";
  return [...lists, ...failures].sort((a, b) => (fileOf(a) < fileOf(b) ? -1 : 1));
}

/** What looks like a file is one; everything else is a network's name. */
function find(wanted: string, options: Options): Read {
  const isPath = wanted.includes("/") || [".conf", ".conflist", ".json"].includes(extname(wanted));
  // A folder may be called like the network: that of its plugins in files of their own.
  const status = statSync(wanted, { throwIfNoEntry: false });
  if (!isPath && status?.isFile() !== true) return loadNetworkList(confDir(options), wanted);
  const file = resolve(wanted);
  if (status?.isDirectory()) {
    const remedy = `Write weft cni validate --conf-dir ${wanted}`;
    return { file, error: new WeftError("folder", `${file}: is a folder`, { remedy }) };
  }
  try {
    return loadNetworkFile(file);
  } catch (error) {
    return { file, error };
  }
}

async function explainOne(list: NetworkList, options: Options): Promise<Explanation> {
  const runtime = runtimeOf(options);
  const path = pathOf(options);
  const others = list.file === undefined ? [] : loadNetworkLists(dirname(list.file)).lists;
  return await explainNetwork(list, {
    others: others.filter(({ file }) => file !== list.file),
    find: (type) => findPlugin(type, path),
    isOwn: async (type, file) => (await ownPlugin(type, file)) !== undefined,
    versions: (type) => runtime.versions(type),
    parsers: {
      dhcp: ({ config }) => parseDhcpConfig(config.fields.object("ipam")?.raw ?? {}, ""),
    },
  });
}

function toJson(validated: Validated) {
  if ("error" in validated) return { file: validated.file, error: explain(validated.error) };
  const { name, file, cniVersion } = validated.list;
  return { name, ...(file === undefined ? {} : { file }), cniVersion, ...validated.explanation };
}

function describe(validated: Validated): string {
  if ("error" in validated) return `error: ${explain(validated.error)}`;
  const { list, explanation } = validated;
  const lines = [`${list.name}  cniVersion ${list.cniVersion}  ${list.file ?? ""}`.trimEnd()];
  explanation.plugins.forEach((plugin, i) => {
    lines.push(`  ${i + 1}. ${headOf(plugin)}`, ...does(plugin, "     "));
    if (plugin.ipam === undefined) return;
    lines.push(`     ipam: ${headOf(plugin.ipam)}`, ...does(plugin.ipam, "       "));
  });
  for (const { level, field, message, remedy } of explanation.findings) {
    const where = field === "" ? "" : `${field}: `;
    lines.push(`  ${level}: ${where}${message}${remedy === undefined ? "" : `. ${remedy}`}`);
  }
  return lines.join("\n");
}

function headOf({ type, executable, file }: ExplainedPlugin): string {
  const places = [executable, file === undefined ? undefined : `configured in ${file}`];
  const shown = places.filter((place) => place !== undefined).join(", ");
  return shown === "" ? type : `${type} (${shown})`;
}

function does({ does: known }: ExplainedPlugin, indent: string): string[] {
  if (known === undefined) return [`${indent}- what it does is not known here`];
  return known.map((sentence) => `${indent}- ${sentence}`);
}
