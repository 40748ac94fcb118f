import { errno } from "./errno.ts";
import { isErrno, KernelError } from "./errors.ts";
import * as ffi from "./ffi.ts";
import { inNetns, type NetnsRef } from "./netns.ts";

const O_RDWR = 2;
const IFNAMSIZ = 16;
const IFREQ_SIZE = 40;

const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOWNER = 0x400454cc;
const TUNSETGROUP = 0x400454ce;

const IFF_TUN = 0x0001;
const IFF_TAP = 0x0002;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const IFF_TUN_EXCL = 0x8000;

/** A tun (IP packets) or tap (Ethernet frames) link to be made. */
export interface TunOptions {
  /** May hold "%d"; the kernel chooses where not given. */
  name?: string;
  mode: "tun" | "tap";
  netns?: NetnsRef | undefined;
  /** Several descriptors may be attached, one for each queue. */
  multiQueue?: boolean;
  /** Each packet begins with struct tun_pi. */
  packetInformation?: boolean;
  /** Each packet begins with struct virtio_net_hdr. */
  vnetHeader?: boolean;
  /** The user and the group (numbers) who may attach to it. */
  owner?: number;
  group?: number;
  /** The link stays when its descriptor is closed. */
  persist?: boolean;
  /** Attach to a link that is there, rather than refuse with EEXIST. */
  attach?: boolean;
}

/** An attached queue of a tun or tap link. */
export interface Tun {
  readonly fd: number;
  readonly name: string;
}

/**
 * Makes a tun or tap link, or attaches to one, through /dev/net/tun (Documentation/networking/tuntap.rst). The caller
 * closes the descriptor; without `persist` the link goes with its last one. Throws ENOENT where the device node is
 * missing, EEXIST, EPERM.
 */
export function openTun(options: TunOptions): Tun {
  const subject = options.name ?? options.mode;
  const request = new Uint8Array(IFREQ_SIZE);
  const encoded = new TextEncoder().encode(options.name ?? "");
  if (encoded.length >= IFNAMSIZ) throw new KernelError("add link", subject, errno.ENAMETOOLONG);
  request.set(encoded);
  new DataView(request.buffer).setUint16(IFNAMSIZ, flagsOf(options), true);
  return inNetns(options.netns, () => {
    const fd = ffi.open("/dev/net/tun", O_RDWR);
    try {
      ffi.ioctl(fd, TUNSETIFF, request, "add link");
      if (options.owner !== undefined) ffi.ioctlValue(fd, TUNSETOWNER, options.owner, "set the owner of");
      if (options.group !== undefined) ffi.ioctlValue(fd, TUNSETGROUP, options.group, "set the group of");
      if (options.persist) ffi.ioctlValue(fd, TUNSETPERSIST, 1, "keep");
    } catch (error) {
      ffi.close(fd);
      if (!(error instanceof KernelError)) throw error;
      // IFF_TUN_EXCL answers EBUSY where the rest of rtnetlink says EEXIST.
      const taken = !options.attach && isErrno(error, "EBUSY");
      throw new KernelError(error.operation, subject, taken ? errno.EEXIST : error.errno, { cause: error });
    }
    const end = request.indexOf(0);
    return { fd, name: new TextDecoder().decode(request.subarray(0, end < 0 ? IFNAMSIZ : end)) };
  });
}

function flagsOf(options: TunOptions): number {
  return (
    (options.mode === "tun" ? IFF_TUN : IFF_TAP) |
    (options.packetInformation ? 0 : IFF_NO_PI) |
    (options.multiQueue ? IFF_MULTI_QUEUE : 0) |
    (options.vnetHeader ? IFF_VNET_HDR : 0) |
    (options.attach ? 0 : IFF_TUN_EXCL)
  );
}
