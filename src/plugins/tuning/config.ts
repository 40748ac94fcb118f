import type { Fields } from "../../cni/fields.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import { InvalidInput } from "../../lib/errors.ts";
import type { LeanChange } from "../../linux/lean/rtnl.ts";
import { parseMtu, requestedMac } from "../shared/link-keys.ts";

/** The keys of a tuning configuration. */
export const tuningKeys = ["sysctl", "mac", "promisc", "mtu", "txQLen", "allmulti", "dataDir"] as const;

/** Where the reference keeps what links were before, where a configuration names no other place. */
export const defaultDataDir = "/run/cni/tuning";

const longestQueue = 2 ** 31 - 1;

/** A kernel parameter of the container's network namespace. */
export interface Sysctl {
  /** As the configuration has it. */
  key: string;
  path: string;
  value: string;
}

/** What the tuning plugin is asked to do. */
export interface TuningConfig {
  dataDir: string;
  sysctls: Sysctl[];
  /** What the interface gets. */
  link: LeanChange;
  /** `promisc: false` changes nothing; CHECK looks at it. */
  promiscuous: boolean | undefined;
}

/** Reads a tuning configuration; what `args.cni` has wins over keys. Throws {@link InvalidInput}. */
export function parseTuning(request: PluginRequest): TuningConfig {
  const { fields } = request.config;
  const args = fields.object("args")?.object("cni");
  const holderOf = (key: string) => (args?.get(key) === undefined ? fields : args);
  const promiscuous = holderOf("promisc").boolean("promisc");
  const link: LeanChange = {
    mac: requestedMac(request, { hasKey: true, argsFirst: true }),
    mtu: parseMtu(holderOf("mtu")),
    txQueueLength: holderOf("txQLen").integer("txQLen", 0, longestQueue),
    promiscuous: promiscuous === true ? true : undefined,
    allMulticast: holderOf("allmulti").boolean("allmulti"),
  };
  return { dataDir: dataDirOf(fields), sysctls: parseSysctls(request, args), link, promiscuous };
}

/** `dataDir`; all that DEL and GC need. Throws {@link InvalidInput} where it is no absolute path. */
export function dataDirOf(fields: Fields): string {
  return fields.absolutePath("dataDir") ?? defaultDataDir;
}

/** True where the interface is to be changed, not parameters alone. */
export function changesLink({ link }: TuningConfig): boolean {
  for (const key in link) if (link[key as keyof LeanChange] !== undefined) return true;
  return false;
}

function parseSysctls({ config, invocation }: PluginRequest, args: Fields | undefined): Sysctl[] {
  const found = new Map<string, Sysctl>();
  for (const holder of [config.fields, args]) {
    const sysctl = holder?.object("sysctl");
    if (sysctl === undefined) continue;
    const ofHolder = new Set<string>();
    for (const key in sysctl.raw) {
      const path = sysctlPath(key, sysctl.at(key), invocation.ifname);
      if (ofHolder.has(path)) {
        throw new InvalidInput(sysctl.at(key), undefined, "is given twice, written in two ways");
      }
      ofHolder.add(path);
      found.set(path, { key, path, value: sysctl.string(key) ?? "" });
    }
  }
  return [...found.values()];
}

/**
 * Where a parameter is: names are separated by "." or "/"; where "/" comes first, "." belongs to the names, as with
 * sysctl(8). IFNAME stands for the interface's name. Throws {@link InvalidInput} for what no network namespace has.
 */
export function sysctlPath(key: string, field: string, ifname: string): string {
  const slash = key.indexOf("/");
  const dot = key.indexOf(".");
  const slashed = slash >= 0 && (dot < 0 || slash < dot) ? key : key.replaceAll(".", "/");
  const names = slashed.split("/").filter((name) => name !== "");
  const isTrick = names.includes("..") || names.includes(".") || hasControl(key);
  if (isTrick || names[0] !== "net" || names.length < 2) {
    throw new InvalidInput(field, key, "is no parameter of a network namespace", {
      remedy: 'Those begin with "net.", such as net.core.somaxconn',
    });
  }
  return `/proc/sys/${names.join("/").replace("IFNAME", () => ifname)}`;
}

function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 32) return true;
  return false;
}
