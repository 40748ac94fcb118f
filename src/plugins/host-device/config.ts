import { readdirSync, readlinkSync } from "node:fs";
import { basename, normalize } from "node:path";
import type { Fields } from "../../cni/fields.ts";
import { requireConfiguredInterface } from "../../cni/validate.ts";
import { InvalidInput } from "../../lib/errors.ts";
import { formatMac } from "../../lib/mac.ts";
import type { Link } from "../../linux/route/link.ts";
import type { Rtnl } from "../../linux/route/rtnl.ts";
import { runDir } from "../names.ts";

/** The keys of a host-device configuration. */
export const hostDeviceKeys = [
  "device",
  "hwaddr",
  "kernelpath",
  "pciBusID",
  "useInterfaceNetwork",
  "dataDir",
] as const;

const defaultSysfs = "/sys";
/** Drivers with which a program has the device for itself: the kernel has no link for it. */
const userspaceDrivers = ["vfio-pci", "uio_pci_generic", "igb_uio"];

/** By which of its properties a device is named. */
export type Selector =
  | { by: "device"; name: string }
  | { by: "hwaddr"; mac: string }
  | { by: "kernelpath"; path: string }
  | { by: "pciBusID"; id: string }
  | { by: "auxiliary"; id: string };

/** Which device is to be moved. */
export interface HostDeviceConfig {
  /** Undefined where the runtime names the device with each ADD. */
  selector?: Selector;
  /** The device's PCI address, where it was named by it. */
  pciId?: string;
  /** A program in the container drives the device itself: there is no link to move. */
  isUserspace: boolean;
  useInterfaceNetwork: boolean;
}

/** Where is remembered what devices were like; goes with the boot, as they do. Throws {@link InvalidInput}. */
export function parseDataDir(fields: Fields): string {
  return fields.absolutePath("dataDir") ?? `${runDir}/host-device`;
}

/**
 * Reads a configuration and looks the named device up on its bus. Of several properties the first of device, hwaddr,
 * kernelpath and PCI address counts. Throws {@link InvalidInput}.
 */
export function parseHostDevice(fields: Fields, sysfs = defaultSysfs): HostDeviceConfig {
  const onBus = parseBusDevice(fields, sysfs);
  const pciId = onBus?.by === "pciBusID" ? onBus.id : undefined;
  const selector = parseProperty(fields) ?? onBus;
  return {
    ...(selector === undefined ? {} : { selector }),
    ...(pciId === undefined ? {} : { pciId }),
    isUserspace: pciId !== undefined && userspaceDrivers.includes(driverOf(pciId, sysfs)),
    useInterfaceNetwork: fields.boolean("useInterfaceNetwork") ?? false,
  };
}

/** The property by which the configuration names the device, apart from where it is on a bus. */
function parseProperty(fields: Fields): Selector | undefined {
  const name = fields.string("device") ?? "";
  if (name !== "") return { by: "device", name: requireConfiguredInterface(name, "device") };
  const hwaddr = fields.string("hwaddr") ?? "";
  if (hwaddr !== "") return { by: "hwaddr", mac: parseHwaddr(hwaddr) };
  const kernelpath = fields.string("kernelpath") ?? "";
  return kernelpath === "" ? undefined : { by: "kernelpath", path: parseKernelpath(kernelpath) };
}

/** An address of 6, 8 or 20 bytes, as Ethernet, FireWire and InfiniBand have; in groups of two or, dotted, four digits. */
function parseHwaddr(text: string): string {
  const digits = text.replaceAll(/[:.-]/g, "");
  const isGrouped =
    /^[0-9a-f]{2}(:[0-9a-f]{2})+$/i.test(text) ||
    /^[0-9a-f]{2}(-[0-9a-f]{2})+$/i.test(text) ||
    /^[0-9a-f]{4}(\.[0-9a-f]{4})+$/i.test(text);
  if (isGrouped && [12, 16, 40].includes(digits.length)) return formatMac(Uint8Array.fromHex(digits));
  throw new InvalidInput("hwaddr", text, "is not a MAC address", {
    remedy: "Write it like 0a:58:0a:f4:01:07",
  });
}

function parseKernelpath(text: string): string {
  const path = normalize(text);
  if (path.startsWith("/sys/devices/")) return path;
  throw new InvalidInput("kernelpath", text, "is not a path below /sys/devices/", {
    remedy: "Look it up: readlink -f /sys/class/net/NAME/device",
  });
}

/** The runtime's `deviceID` before `pciBusID`; it may be on the auxiliary bus too. */
function parseBusDevice(fields: Fields, sysfs: string): Selector | undefined {
  const runtime = fields.object("runtimeConfig");
  const deviceId = parseId(runtime?.string("deviceID"), "runtimeConfig.deviceID");
  if (deviceId === undefined) {
    const id = parseId(fields.string("pciBusID"), "pciBusID");
    return id === undefined ? undefined : { by: "pciBusID", id };
  }
  if (names(`${sysfs}/bus/pci/devices`).includes(deviceId)) return { by: "pciBusID", id: deviceId };
  if (names(`${sysfs}/bus/auxiliary/devices`).includes(deviceId)) return { by: "auxiliary", id: deviceId };
  throw new InvalidInput("runtimeConfig.deviceID", deviceId, "is neither a PCI nor an auxiliary device", {
    remedy: "Look into /sys/bus/pci/devices and /sys/bus/auxiliary/devices",
  });
}

/** A name below a folder of sysfs. */
function parseId(text: string | undefined, field: string): string | undefined {
  if (text === undefined || text === "") return undefined;
  if (text !== "." && text !== ".." && !/[/\0]/.test(text)) return text;
  throw new InvalidInput(field, text, "is not a device's address", { remedy: "Write it like 0000:3d:00.1" });
}

/** "" where there is none, or no such device: whoever looks for its link says so. */
function driverOf(pciId: string, sysfs: string): string {
  try {
    return basename(readlinkSync(`${sysfs}/bus/pci/devices/${pciId}/driver`));
  } catch {
    return "";
  }
}

/** The names in a folder, sorted; none where there is none. */
function names(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

/** The link that a property names in the namespace of `rtnl`, whose sysfs must be there; undefined where there is none. */
export function findDevice(rtnl: Rtnl, selector: Selector, sysfs = defaultSysfs): Link | undefined {
  switch (selector.by) {
    case "device":
      return rtnl.links.find(selector.name);
    case "hwaddr": {
      // What is made on a device often has its address too.
      const same = rtnl.links.list().filter(({ mac }) => mac === selector.mac);
      return same.find(({ kind }) => kind === undefined) ?? same[0];
    }
    default:
      return linkBelow(rtnl, foldersOf(selector, sysfs));
  }
}

/** True for the link of the device that a property names, in whichever namespace and under whatever name it is there. */
export function isSelected(link: Link, selector: Selector, sysfs = defaultSysfs): boolean {
  switch (selector.by) {
    case "device":
      return link.alias === selector.name;
    case "hwaddr":
      return link.mac === selector.mac || link.permanentMac === selector.mac;
    default:
      return foldersOf(selector, sysfs).some((folder) => basename(folder) === link.busDevice);
  }
}

/** Where sysfs may have the link of a device; that of virtio belongs to a device below. */
function foldersOf(selector: Exclude<Selector, { by: "device" | "hwaddr" }>, sysfs: string): string[] {
  const device =
    selector.by === "kernelpath"
      ? `${sysfs}${selector.path.slice("/sys".length)}`
      : `${sysfs}/bus/${selector.by === "pciBusID" ? "pci" : "auxiliary"}/devices/${selector.id}`;
  const virtio = names(device).filter((name) => name.startsWith("virtio"));
  return [device, ...virtio.map((name) => `${device}/${name}`)];
}

function linkBelow(rtnl: Rtnl, folders: readonly string[]): Link | undefined {
  for (const folder of folders) {
    for (const name of names(`${folder}/net`)) {
      const link = rtnl.links.find(name);
      if (link !== undefined) return link;
    }
  }
  return undefined;
}

/** A device as messages name it. */
export function describeSelector(selector: Selector): string {
  switch (selector.by) {
    case "device":
      return `device "${selector.name}"`;
    case "hwaddr":
      return `device with hwaddr ${selector.mac}`;
    case "kernelpath":
      return `network device at ${selector.path}`;
    case "pciBusID":
      return `network device of PCI device ${selector.id}`;
    case "auxiliary":
      return `network device of auxiliary device ${selector.id}`;
  }
}
