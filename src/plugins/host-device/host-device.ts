import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { AttachmentKey, GcRequest, Plugin, PluginRequest } from "../../cni/plugin.ts";
import { emptyResult, isDnsEmpty, type Result, requireExpressible } from "../../cni/result.ts";
import { quote } from "../../lib/errors.ts";
import { status } from "../../linux/lean/files.ts";
import type { Link } from "../../linux/route/link.ts";
import { Rtnl } from "../../linux/route/rtnl.ts";
import { bringUp, bringUpWith } from "../shared/bring-up.ts";
import { describedInterface, requireLink, requirePrevResult } from "../shared/check-link.ts";
import { delegateCheck, delegateDel, delegateGc, delegateStatus } from "../shared/delegate.ts";
import { checkInterface } from "../shared/interface-check.ts";
import { addIpam } from "../shared/ipam.ts";
import { openNetns, tryOpenNetns } from "../shared/netns.ts";
import { type Undo, withUndo } from "../shared/undo.ts";
import { validOrNone } from "../shared/valid.ts";
import {
  describeSelector,
  findDevice,
  type HostDeviceConfig,
  hostDeviceKeys,
  parseDataDir,
  parseHostDevice,
  type Selector,
} from "./config.ts";
import { bringHome, moveIn } from "./move.ts";
import { addHostAddresses, addHostRoutes, applyHostNetwork, readHostNetwork } from "./network.ts";
import { allRecords, DeviceRecords, isSame, recordOf } from "./records.ts";

/** Moves a device of the host into the container, and back. */
export const hostDevice: Plugin = {
  name: "host-device",
  keys: hostDeviceKeys,

  parse({ config: { fields } }: PluginRequest): HostDeviceConfig {
    parseDataDir(fields);
    return parseHostDevice(fields);
  },

  async add(request: PluginRequest): Promise<Result> {
    parseDataDir(request.config.fields);
    const config = parseHostDevice(request.config.fields);
    return await withUndo(request, async (undo) => {
      const result = config.isUserspace
        ? await addUserspace(request, config, undo)
        : await addDevice(request, config, undo);
      if (!isDnsEmpty(request.config.dns)) result.dns = request.config.dns;
      requireExpressible(result, request.config.cniVersion);
      return result;
    });
  },

  async del(request: PluginRequest): Promise<void> {
    const { ipamType } = request.config;
    try {
      // The device goes last: a DHCP lease is given back through it.
      if (ipamType !== undefined) await delegateDel(ipamType, request);
    } finally {
      await giveBack(request, request.invocation, request.invocation.netns);
    }
  },

  async check(request: PluginRequest): Promise<void> {
    const { isUserspace } = parseHostDevice(request.config.fields);
    if (request.config.ipamType !== undefined) await delegateCheck(request.config.ipamType, request);
    const prevResult = requirePrevResult(request);
    if (isUserspace) return;
    using netns = openNetns(request.invocation.netns);
    using rtnl = new Rtnl({ netns: { fd: netns.fd } });
    const link = requireLink(rtnl, describedInterface(request, prevResult));
    checkInterface(rtnl, link, prevResult);
  },

  async gc(request: GcRequest): Promise<void> {
    try {
      // As in DEL: leases are given back through devices that are still there.
      if (request.config.ipamType !== undefined) await delegateGc(request.config.ipamType, request);
    } finally {
      await collectDevices(request);
    }
  },

  async status(request: PluginRequest): Promise<void> {
    parseDataDir(request.config.fields);
    const { selector, isUserspace } = parseHostDevice(request.config.fields);
    if (selector !== undefined && !isUserspace) {
      using host = new Rtnl();
      if (findDevice(host, selector) === undefined) {
        throw new CniError(
          cniErrorCode.pluginNotAvailable,
          `failed to find host device: there is no ${describeSelector(selector)} on the host`,
          { remedy: missingRemedy(selector) },
        );
      }
    }
    if (request.config.ipamType !== undefined) await delegateStatus(request.config.ipamType, request);
  },
};

function recordsOf({ config }: PluginRequest): DeviceRecords {
  return new DeviceRecords(parseDataDir(config.fields), config.name);
}

/** Each for itself: one that cannot be brought home must not keep the others away. */
async function collectDevices(request: GcRequest): Promise<void> {
  const failures: unknown[] = [];
  for (const key of recordsOf(request).list()) {
    const isValid = request.valid.some(
      ({ containerId, ifname }) => containerId === key.containerId && ifname === key.ifname,
    );
    if (isValid) continue;
    try {
      await giveBack(request, key, "");
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

/** A device that a program in the container drives: there is nothing to move, but it may get addresses. */
async function addUserspace(
  request: PluginRequest,
  { useInterfaceNetwork, pciId }: HostDeviceConfig,
  undo: Undo[],
): Promise<Result> {
  if (useInterfaceNetwork) {
    throw new CniError(
      cniErrorCode.invalidNetworkConfig,
      `useInterfaceNetwork is not supported for PCI device ${pciId}, which has a driver in userspace`,
      { remedy: "The kernel knows no addresses of it: leave the key out" },
    );
  }
  const { ifname, netns } = request.invocation;
  const { ipamType } = request.config;
  const result = ipamType === undefined ? emptyResult() : await addIpam(ipamType, request, undo);
  for (const ip of result.ips) ip.interface = 0;
  result.interfaces = [{ name: ifname, sandbox: netns, ...(pciId === undefined ? {} : { pciID: pciId }) }];
  return result;
}

async function addDevice(request: PluginRequest, config: HostDeviceConfig, undo: Undo[]): Promise<Result> {
  const { ifname, netns: path } = request.invocation;
  using netns = openNetns(path);
  using host = new Rtnl();
  using container = new Rtnl({ netns: { fd: netns.fd } });
  const found = requireDevice(host, config, request);
  if (container.links.find(ifname) !== undefined) {
    throw new CniError(cniErrorCode.internal, `container interface name (${quote(ifname)}) already exists`, {
      remedy: "Call DEL for the container first, or choose another CNI_IFNAME",
    });
  }
  await settle(request, found, container);
  const device = host.links.find(found.index) ?? requireDevice(host, config, request);
  const network = config.useInterfaceNetwork ? readHostNetwork(host, device) : undefined;
  const master = device.master === undefined ? undefined : host.links.find(device.master)?.name;
  undo.push(() => giveBack(request, request.invocation, path));
  recordsOf(request).write(request.invocation, recordOf(device, path, master));
  moveIn(host, netns, device, ifname);
  bringUp(netns, ifname);
  const { ipamType } = request.config;
  const result = ipamType === undefined ? emptyResult() : await addIpam(ipamType, request, undo);
  for (const ip of result.ips) ip.interface = 0;
  if (network !== undefined) addHostAddresses(result, network);
  if (result.ips.length > 0) await bringUpWith(netns, ifname, result);
  const { index, mac, mtu } = container.links.get(ifname);
  if (network !== undefined) {
    applyHostNetwork(container, index, network);
    addHostRoutes(result, network);
  }
  const pciId = config.selector?.by === "pciBusID" ? { pciID: config.selector.id } : {};
  result.interfaces = [{ name: ifname, ...(mac === undefined ? {} : { mac }), mtu, sandbox: path, ...pciId }];
  return result;
}

function requireDevice(host: Rtnl, { selector }: HostDeviceConfig, { config }: PluginRequest): Link {
  if (selector === undefined) {
    throw new CniError(
      cniErrorCode.invalidNetworkConfig,
      'specify either "device", "hwaddr", "kernelpath" or "pciBusID"',
      {
        remedy:
          config.fields.misspelt("device") ??
          'Or "capabilities": { "deviceID": true }, so that the runtime does',
      },
    );
  }
  const link = findDevice(host, selector);
  if (link !== undefined) return link;
  throw new CniError(
    cniErrorCode.internal,
    `failed to find host device: there is no ${describeSelector(selector)} on the host`,
    { remedy: missingRemedy(selector) },
  );
}

function missingRemedy({ by }: Selector): string {
  const others = by === "pciBusID" ? ", or no driver has it" : "";
  return `A container may have it, or it is not plugged in${others}`;
}

/**
 * Gives a device of the host its old name and state where containers that are gone had it and their DEL has not come: it
 * would come too late, when what the kernel called the device is remembered as its name. Nor may a late DEL find the device
 * in a container whose namespace has the path of the one before.
 */
async function settle(
  { config, invocation, warn }: PluginRequest,
  device: Link,
  container: Rtnl,
): Promise<void> {
  const present = container.links.list();
  const moved = { ...device, alias: device.name };
  for (const { records, key, record } of allRecords(parseDataDir(config.fields))) {
    const isBack = isSame(device, record) && !isThere(record.netns);
    const isOutlived =
      isSame(moved, record) &&
      isSameNetns(record.netns, invocation.netns) &&
      !present.some((link) => isSame(link, record));
    if (!isBack && !isOutlived) continue;
    await bringHome({
      ifname: key.ifname,
      netns: "",
      record,
      selector: undefined,
      isOthers: () => false,
      warn,
    });
    records.remove(key);
  }
}

function isThere(path: string): boolean {
  using netns = tryOpenNetns(path);
  return netns !== undefined;
}

function isSameNetns(path: string, other: string): boolean {
  return path === other || (isThere(path) && status(path)?.identity === status(other)?.identity);
}

/** Brings the device of an attachment back to the host and forgets it. */
async function giveBack(request: PluginRequest, key: AttachmentKey, netns: string): Promise<void> {
  const records = validOrNone(() => recordsOf(request));
  if (records === undefined) return;
  const record = records.read(key);
  const path = netns === "" ? (record?.netns ?? "") : netns;
  const isOthers = (link: Link) =>
    allRecords(parseDataDir(request.config.fields)).some(
      (other) => isSame(link, other.record) && isSameNetns(other.record.netns, path),
    );
  await bringHome({
    ifname: key.ifname,
    netns: path,
    record,
    selector: record === undefined ? selectorOf(request) : undefined,
    isOthers,
    warn: request.warn,
  });
  records.remove(key);
}

/** What an ADD with this configuration would have moved; undefined where it would have been refused or moved nothing. */
function selectorOf({ config: { fields } }: PluginRequest): Selector | undefined {
  const config = validOrNone(() => parseHostDevice(fields));
  return config?.isUserspace === true ? undefined : config?.selector;
}
