import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { GcRequest, Plugin, PluginRequest } from "../../cni/plugin.ts";
import type { Result } from "../../cni/result.ts";
import { quote } from "../../lib/errors.ts";
import { isNotFound, KernelError } from "../../linux/errors.ts";
import { readText, status, writeExisting } from "../../linux/lean/files.ts";
import { type LeanChange, type LeanLink, LeanRtnl } from "../../linux/lean/rtnl.ts";
import { inNamespace } from "../../linux/lean/socket.ts";
import { requirePrevResult } from "../shared/check-link.ts";
import { requireMtuFor } from "../shared/link-keys.ts";
import { type OpenNetns, openNetns, tryOpenNetns } from "../shared/netns.ts";
import { type Undo, withUndo } from "../shared/undo.ts";
import { validOrNone } from "../shared/valid.ts";
import { type Backup, TuningBackup } from "./backup.ts";
import { changesLink, parseTuning, type Sysctl, type TuningConfig, tuningKeys } from "./config.ts";

/** The reference's: where it is there, it names the parameters that may be set. */
const allowlistPath = "/etc/cni/tuning/allowlist.conf";

/** Sets kernel parameters of a container's namespace and changes its interface. Comes behind what made that. */
export const tuning: Plugin = {
  name: "tuning",
  keys: tuningKeys,
  parse: parseTuning,

  async add(request: PluginRequest): Promise<Result> {
    const prevResult = requirePrevResult(request);
    const config = parseTuning(request);
    await requireAllowedSysctls(config);
    using netns = openNetns(request.invocation.netns);
    using container = changesLink(config) ? new LeanRtnl(netns.fd) : undefined;
    return await withUndo(request, (undo) => {
      setSysctls(netns, config, undo);
      if (container === undefined) return prevResult;
      changeLink(request, config, container, undo);
      return tunedResult(request, config, prevResult);
    });
  },

  del(request: PluginRequest): void {
    const backup = validOrNone(() => new TuningBackup(request));
    if (backup === undefined) return;
    const before = readLeniently(backup, request);
    // After an ADD that was refused because another network's interface is called so.
    if (before?.network !== undefined && before.network !== request.config.name) return;
    using netns = before === undefined ? undefined : tryOpenNetns(request.invocation.netns);
    if (before !== undefined && netns !== undefined) restore(request, netns, before.link);
    backup.remove();
  },

  async check(request: PluginRequest): Promise<void> {
    requirePrevResult(request);
    const config = parseTuning(request);
    const { checkTuning } = await import("./check.ts");
    checkTuning(request, config);
  },

  async gc(request: GcRequest): Promise<void> {
    const { collectBackups } = await import("./backup.ts");
    collectBackups(request);
  },

  async status(request: PluginRequest): Promise<void> {
    const config = parseTuning(request);
    await requireAllowedSysctls(config);
    if (status(config.dataDir)?.isFile === true) {
      throw new CniError(
        cniErrorCode.pluginNotAvailable,
        `dataDir: ${quote(config.dataDir)} is not a folder`,
        {
          remedy: "Remove the file, or choose another folder",
        },
      );
    }
  },
};

async function requireAllowedSysctls({ sysctls }: TuningConfig): Promise<void> {
  if (sysctls.length === 0) return;
  let text: string;
  try {
    text = readText(allowlistPath);
  } catch (error) {
    if (isNotFound(error)) return;
    throw error;
  }
  const { requireAllowed } = await import("./allowlist.ts");
  requireAllowed(text, allowlistPath, sysctls);
}

/** One by one in the container's namespace; what was there before is put back if the ADD fails. */
function setSysctls(netns: OpenNetns, { sysctls }: TuningConfig, undo: Undo[]): void {
  if (sysctls.length === 0) return;
  inNamespace(netns.fd, () => {
    for (const sysctl of sysctls) {
      const { path } = sysctl;
      const before = tryRead(path);
      setSysctl(sysctl);
      if (before !== undefined) undo.push(() => inNamespace(netns.fd, () => writeExisting(path, before)));
    }
  });
}

/** Some can be written only. */
function tryRead(path: string): string | undefined {
  try {
    return readText(path);
  } catch (error) {
    if (error instanceof KernelError) return undefined;
    throw error;
  }
}

function setSysctl({ key, path, value }: Sysctl): void {
  try {
    writeExisting(path, value);
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    const text = `cannot set ${path} to ${quote(value)} (${error.errnoName})`;
    throw new CniError(cniErrorCode.internal, text, {
      cause: error,
      remedy: isNotFound(error)
        ? `The container's namespace has no parameter ${key}: look for it under /proc/sys/net there`
        : `Look up what the kernel takes for ${key}, and whether a network namespace may set it`,
    });
  }
}

/** Keeps what the interface was, then changes it. */
function changeLink(request: PluginRequest, config: TuningConfig, rtnl: LeanRtnl, undo: Undo[]): void {
  const { ifname } = request.invocation;
  requireMtuFor(addressesOf(request), config.link.mtu);
  const link = rtnl.find(ifname);
  if (link === undefined) {
    throw new CniError(cniErrorCode.unknownContainer, `failed to get ${quote(ifname)}: Link not found`, {
      remedy: "Put tuning behind the plugin that makes the interface",
    });
  }
  const before = stateOf(link, config.link);
  const backup = new TuningBackup(request);
  const earlier = backup.read()?.link;
  undo.push(() => {
    if (earlier === undefined) backup.remove();
    else backup.write(earlier);
  });
  // Where another tuning plugin of the chain changed something before, what was there first is what DEL has to restore.
  backup.write(earlier === undefined ? before : merge(earlier, before));
  undo.push(() => rtnl.change(link, before));
  rtnl.change(link, config.link);
}

function addressesOf({ config: { prevResult }, invocation: { ifname } }: PluginRequest) {
  const addresses = [];
  for (const { address, interface: index } of prevResult?.ips ?? []) {
    const name = index === undefined ? ifname : prevResult?.interfaces[index]?.name;
    if (name === ifname) addresses.push(address);
  }
  return addresses;
}

/** What a link has where something else is wanted. */
export function stateOf(link: LeanLink, wanted: LeanChange): LeanChange {
  return {
    mac: wanted.mac === undefined ? undefined : link.mac,
    mtu: wanted.mtu === undefined ? undefined : link.mtu,
    txQueueLength: wanted.txQueueLength === undefined ? undefined : link.txQueueLength,
    promiscuous: wanted.promiscuous === undefined ? undefined : link.promiscuous,
    allMulticast: wanted.allMulticast === undefined ? undefined : link.allMulticast,
  };
}

function merge(first: LeanChange, second: LeanChange): LeanChange {
  return {
    mac: first.mac ?? second.mac,
    mtu: first.mtu ?? second.mtu,
    txQueueLength: first.txQueueLength ?? second.txQueueLength,
    promiscuous: first.promiscuous ?? second.promiscuous,
    allMulticast: first.allMulticast ?? second.allMulticast,
  };
}

/** The result of the plugin before, with what is otherwise now. */
function tunedResult({ invocation }: PluginRequest, { link }: TuningConfig, prevResult: Result): Result {
  const { mac, mtu } = link;
  const changed = {
    ...(mac === undefined ? {} : { mac }),
    ...(mtu === undefined ? {} : { mtu }),
  };
  const interfaces = prevResult.interfaces.map((each) =>
    each.name === invocation.ifname && each.sandbox !== undefined ? { ...each, ...changed } : each,
  );
  return { ...prevResult, interfaces };
}

/** DEL must not stop at a file that cannot be read. */
function readLeniently(backup: TuningBackup, { warn }: PluginRequest): Backup | undefined {
  try {
    return backup.read();
  } catch (error) {
    warn((error as Error).message);
    return undefined;
  }
}

/** One by one: what the kernel refuses must not keep the rest from being restored, nor the chain from being deleted. */
function restore({ invocation, warn }: PluginRequest, netns: OpenNetns, before: LeanChange): void {
  using rtnl = new LeanRtnl(netns.fd);
  const link = rtnl.find(invocation.ifname);
  if (link === undefined) return;
  try {
    rtnl.change(link, before);
    return;
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
  }
  for (const [key, value] of Object.entries(before)) {
    try {
      if (value !== undefined) rtnl.change(link, { [key]: value });
    } catch (error) {
      warn(`cannot restore ${key}: ${(error as Error).message}`);
    }
  }
}
