import type { ListedPlugin, NetworkList } from "../../cni/list.ts";
import { isAtLeast } from "../../cni/versions.ts";
import { type Finding, Keys } from "./description.ts";
import { type NamedRange, overlap, rangesOf } from "./ranges.ts";
import { descriptionOf } from "./table.ts";

/** What a version cannot do. */
export function checkVersion({ cniVersion }: NetworkList, findings: Finding[]): void {
  if (!isAtLeast(cniVersion, "0.4.0")) {
    findings.push({
      level: "warning",
      field: "cniVersion",
      message: `${cniVersion} has no CHECK, and DEL gets no prevResult`,
      remedy: 'Write "1.1.0", or at least "0.4.0"',
    });
  }
  if (!isAtLeast(cniVersion, "1.1.0")) {
    findings.push({
      level: "note",
      field: "cniVersion",
      message: `with ${cniVersion} no plugin is asked for GC or STATUS`,
      remedy: 'Write "1.1.0" where the runtime knows it',
    });
  }
}

/** Another file with the same network. */
export function checkName(
  { name, file }: NetworkList,
  others: readonly NetworkList[],
  findings: Finding[],
): void {
  const twin = others.find((other) => other.name === name && other.file !== file);
  if (twin?.file === undefined) return;
  findings.push({
    level: "warning",
    field: "name",
    message: `"${name}" is the network of ${twin.file} too: of two, runtimes take the first`,
    remedy: "Give each network a name of its own",
  });
}

/** Plugins in a place where they cannot work. */
export function checkChain({ plugins }: NetworkList, findings: Finding[]): void {
  const makers: Maker[] = [];
  let hasUnknown = false;
  for (const [i, plugin] of plugins.entries()) {
    const { type } = plugin;
    const field = `plugins[${i}]`;
    const role = descriptionOf(type)?.role;
    // It may make an interface; so may whoever called for lo.
    if (role === undefined || role === "loopback") hasUnknown = true;
    if (role === "chained" && !hasUnknown) findings.push(...checkPlace(plugin, field, makers));
    if (role === "ipam") {
      findings.push({
        level: "warning",
        field,
        message: `${type} gives addresses to a plugin that makes an interface; by itself it makes none`,
        remedy: `Write it as "ipam" of that plugin: { "type": "${type}", ... }`,
      });
    }
    if (role !== "interface") continue;
    const before = makers.at(-1);
    if (before !== undefined && type !== "ipvlan") {
      findings.push({
        level: "error",
        field,
        message: `${type} makes an interface of the same name as ${before.field} (${before.type}) before it: ADD fails`,
        remedy: "Make a network of its own of it",
      });
    }
    makers.push({ type, field, hasIpam: new Keys(plugin.raw).object("ipam").text("type") !== undefined });
  }
}

/** A plugin that makes an interface. */
interface Maker {
  type: string;
  field: string;
  hasIpam: boolean;
}

/** The plugins whose interface has an end on the host. */
const pairMakers = ["bridge", "ptp"];
const needAddresses = ["portmap", "firewall", "sbr"];

/** What a plugin needs of those before it. */
function checkPlace({ type, raw }: ListedPlugin, field: string, makers: readonly Maker[]): Finding[] {
  const types = makers.map((maker) => maker.type).join(" and ");
  if (makers.length === 0) {
    return [
      {
        level: "error",
        field,
        message: `${type} works on the interface of a plugin before it, and there is none`,
        remedy: "Put it behind the plugin that makes the interface, such as bridge",
      },
    ];
  }
  const findings: Finding[] = [];
  if (type === "bandwidth" && !makers.some((maker) => pairMakers.includes(maker.type))) {
    findings.push({
      level: "error",
      field,
      message: `bandwidth works on the host's end of a veth pair, and ${types} makes none`,
      remedy: "Use bridge or ptp before it",
    });
  }
  const policy = new Keys(raw).text("ingressPolicy") ?? "open";
  if (type === "firewall" && policy !== "open" && !makers.some((maker) => maker.type === "bridge")) {
    findings.push({
      level: "error",
      field: `${field}.ingressPolicy`,
      message: `${policy} is about the containers of a bridge, and ${types} has none`,
      remedy: "Use bridge before it, or leave the policy out",
    });
  }
  if (needAddresses.includes(type) && !makers.some((maker) => maker.hasIpam)) {
    findings.push({
      level: type === "sbr" ? "error" : "warning",
      field,
      message: `${type} has nothing to do without addresses, and ${types} gives none`,
      remedy: `Give ${types} an "ipam"`,
    });
  }
  return findings;
}

/** Gateways that are nowhere, and addresses that two networks give out. */
export function checkRanges(
  ranges: readonly NamedRange[],
  others: readonly NetworkList[],
  findings: Finding[],
): void {
  for (const { field, strayGateway, subnet } of ranges) {
    if (strayGateway === undefined) continue;
    findings.push({
      level: "warning",
      field: `${field}.gateway`,
      message: `${strayGateway} is outside of ${subnet}: containers have no route to it`,
      remedy: "Give an address of the subnet, or add a route to the gateway",
    });
  }
  for (const [i, range] of ranges.entries()) {
    for (const other of ranges.slice(0, i)) {
      if (!overlap(range, other)) continue;
      const message = `gives out addresses that ${other.field} gives out too`;
      findings.push({ level: "warning", field: range.field, message, remedy: "Let the ranges differ" });
    }
  }
  const foreign = others.flatMap((list) =>
    list.plugins.flatMap((plugin, i) =>
      rangesOf(list, plugin, `plugins[${i}]`).map((range) => ({ ...range, file: list.file })),
    ),
  );
  for (const range of ranges) {
    const clash = foreign.find((other) => other.network !== range.network && overlap(range, other));
    if (clash === undefined) continue;
    findings.push({
      level: "warning",
      field: range.field,
      message: `network "${clash.network}"${clash.file === undefined ? "" : ` (${clash.file})`} gives out addresses of ${clash.subnet} too, and neither knows the other's leases`,
      remedy: "Let the ranges differ, unless the networks are never connected",
    });
  }
}
