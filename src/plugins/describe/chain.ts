import type { NetworkList } from "../../cni/list.ts";
import { isAtLeast } from "../../cni/versions.ts";
import type { Finding } from "./description.ts";
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
  const makers: string[] = [];
  let hasUnknown = false;
  for (const [i, { type }] of plugins.entries()) {
    const field = `plugins[${i}]`;
    const role = descriptionOf(type)?.role;
    // It may make an interface; so may whoever called for lo.
    if (role === undefined || role === "loopback") hasUnknown = true;
    if (role === "chained" && makers.length === 0 && !hasUnknown) {
      findings.push({
        level: "error",
        field,
        message: `${type} works on the interface of a plugin before it, and there is none`,
        remedy: "Put it behind the plugin that makes the interface, such as bridge",
      });
    }
    if (role === "ipam") {
      findings.push({
        level: "warning",
        field,
        message: `${type} gives addresses to a plugin that makes an interface; by itself it makes none`,
        remedy: `Write it as "ipam" of that plugin: { "type": "${type}", ... }`,
      });
    }
    if (role !== "interface") continue;
    if (makers.length > 0 && type !== "ipvlan") {
      findings.push({
        level: "error",
        field,
        message: `${type} makes an interface of the same name as ${makers.at(-1)} before it: ADD fails`,
        remedy: "Make a network of its own of it",
      });
    }
    makers.push(`${field} (${type})`);
  }
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
