import { CniError, cniErrorCode } from "../../cni/errors.ts";
import { quote } from "../../lib/errors.ts";
import { isExists, KernelError } from "../../linux/errors.ts";
import type { Link, LinkSettings } from "../../linux/route/link.ts";
import { Rtnl } from "../../linux/route/rtnl.ts";
import { type OpenNetns, tryOpenNetns } from "../shared/netns.ts";
import { waitFor } from "../shared/wait.ts";
import { isSelected, type Selector } from "./config.ts";
import { type DeviceRecord, isSame } from "./records.ts";

/*
 * A device keeps its name on the host as its alias while a container has it, as the reference does it. One request of the
 * kernel both moves and renames, so that the host, where udev may be about to rename too, sees neither the container's name
 * nor a device that is half-way, and a kill leaves it on one side or on the other.
 */

/** This thread's namespace. */
const hostNetns = { path: "/proc/thread-self/ns/net" };
/** The kernel takes a namespace apart in the background; how long until its devices are back. Milliseconds. */
const patience = 2000;

/** Moves a device into a container under its name there, down. Throws a {@link CniError}; then it is where it was. */
export function moveIn(host: Rtnl, netns: OpenNetns, device: Link, ifname: string): void {
  try {
    host.links.set(device.index, { netns: { fd: netns.fd }, name: ifname, alias: device.name });
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    undoMove(host, netns, device);
    const cannot = error.errnoName === "EINVAL" || error.errnoName === "EPERM";
    throw new CniError(
      cniErrorCode.internal,
      `failed to move link ${quote(device.name)} to container NS: ${error.message}`,
      {
        cause: error,
        ...(cannot ? { remedy: `The kernel lets no ${nameOfKind(device)} leave its namespace` } : {}),
      },
    );
  }
}

function nameOfKind({ kind, loopback }: Link): string {
  if (kind !== undefined) return `link of kind ${kind}`;
  return loopback ? "loopback link" : "such device";
}

/** The kernel moves first and renames then, so that a refusal may come when the device is in the container. */
function undoMove(host: Rtnl, netns: OpenNetns, device: Link): void {
  if (host.links.find(device.index)?.name === device.name) return;
  using container = new Rtnl({ netns: { fd: netns.fd } });
  const moved = container.links.list().find(({ kind, mac }) => kind === device.kind && mac === device.mac);
  if (moved === undefined) return;
  container.links.set(moved.index, { netns: hostNetns, name: device.name });
  host.links.set(device.name, { up: device.up, alias: device.alias ?? "" });
}

/** An attachment's device. */
export interface Lent {
  ifname: string;
  /** The container's namespace; "" where it is unknown. */
  netns: string;
  /** Undefined where nobody remembers what the device was like: another plugin moved it, or the records are lost. */
  record: DeviceRecord | undefined;
  /** By what the device is known where there is no record; undefined where nothing can have been moved. */
  selector: Selector | undefined;
  /** True for a link in the container that another attachment has. */
  isOthers: (link: Link) => boolean;
  warn: (message: string) => void;
}

/**
 * Brings a device back to the host, with its old name and what else is remembered of it: out of the container, or from
 * where the kernel put it when the namespace went. Nothing to do is fine.
 */
export async function bringHome(lent: Lent): Promise<void> {
  using host = new Rtnl();
  using netns = tryOpenNetns(lent.netns);
  if (netns !== undefined) {
    using container = new Rtnl({ netns: { fd: netns.fd } });
    const device = findInContainer(container, lent);
    if (device !== undefined) {
      const name = lent.record?.name ?? device.alias ?? device.name;
      restore(host, moveOut(host, container, device, name), name, lent);
      return;
    }
  }
  const { record } = lent;
  // What is virtual has gone with the namespace.
  const mayCome = netns === undefined && record !== undefined && record.kind === undefined;
  await waitFor(mayCome ? patience : 0, () => findOnHost(host, lent) !== undefined);
  const device = findOnHost(host, lent);
  if (device !== undefined) restore(host, device, record?.name ?? device.alias ?? device.name, lent);
  else if (mayCome) lent.warn(`device "${record.name}" has not come back from the container`);
}

/** The container may have renamed it, or given it another alias. */
function findInContainer(container: Rtnl, lent: Lent): Link | undefined {
  const { ifname, record, selector, isOthers } = lent;
  if (record !== undefined) {
    // Devices that the host called the same, one after the other, may be in one container.
    const same = container.links.list().filter((link) => isSame(link, record));
    return same.find(({ name }) => name === ifname) ?? same[0];
  }
  const link = container.links.find(ifname);
  // An ADD that was refused because of another attachment's interface has no record either.
  if (link === undefined || selector === undefined || (link.alias ?? "") === "") return undefined;
  return isSelected(link, selector) && !isOthers(link) ? link : undefined;
}

/** A device that the kernel gave back: it has still the container's name, or one of the kernel's own. */
function findOnHost(host: Rtnl, { ifname, record, selector }: Lent): Link | undefined {
  const links = host.links.list();
  if (record !== undefined) return links.find((link) => isSame(link, record));
  if (selector?.by !== "device") return undefined;
  const { name } = selector;
  return links.find(
    (link) =>
      link.alias === name && link.name !== name && (link.name === ifname || /^dev\d+$/.test(link.name)),
  );
}

/** Moves a device to the host; returns it as it is there. */
function moveOut(host: Rtnl, container: Rtnl, device: Link, name: string): Link {
  container.links.set(device.index, { up: false });
  const free = host.links.find(name) === undefined ? name : unusedName(host);
  try {
    leave(container, device, free);
  } catch (error) {
    // So that it can be tried again.
    container.links.set(device.index, { name: device.name, up: device.up });
    throw error;
  }
  const isIt = ({ mac, alias }: Link) => mac === device.mac && alias === device.alias;
  const found = host.links.find(free);
  // udev may have called it something else already.
  const arrived = found !== undefined && isIt(found) ? found : host.links.list().find(isIt);
  if (arrived !== undefined) return arrived;
  throw new CniError(
    cniErrorCode.internal,
    `device ${quote(name)} is not on the host after it was moved there`,
    {
      remedy: "Look who else moves or renames it",
    },
  );
}

/** As the kernel too calls a device whose name is taken where it comes to. */
function unusedName(host: Rtnl): string {
  for (let i = 0; ; i++) if (host.links.find(`dev${i}`) === undefined) return `dev${i}`;
}

function leave(container: Rtnl, device: Link, name: string): void {
  try {
    if (name !== device.name) container.links.set(device.index, { name });
  } catch (error) {
    // The container has another link of that name: then it is renamed on arrival.
    if (!isExists(error)) throw error;
  }
  container.links.set(device.index, { netns: hostNetns, name });
}

/** Gives a device on the host its name and what is remembered of it; each for itself, as far as it can be. */
function restore(host: Rtnl, device: Link, name: string, { record, warn }: Lent): void {
  const set = (what: string, settings: LinkSettings) => {
    try {
      host.links.set(device.index, settings);
      return true;
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      warn(`cannot restore ${what} of device "${name}": ${error.message}`);
      return false;
    }
  };
  const { mtu, mac, master, up, alias = "" } = record ?? {};
  const isRenamed = device.name !== name;
  if (device.up && isRenamed) set("state", { up: false });
  const isNamed = !isRenamed || set("name", { name });
  if (mtu !== undefined && device.mtu !== mtu) set("MTU", { mtu });
  if (mac !== undefined && device.mac !== mac) set("hardware address", { mac });
  if (master !== undefined && host.links.find(master) !== undefined) set("master", { master });
  if (up !== undefined) set("state", { up });
  // The alias goes last: by it the device is found again where this was cut short, or where its name was taken.
  if (isNamed) set("alias", { alias });
}
