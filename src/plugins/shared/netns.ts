import { CniError, cniErrorCode } from "../../cni/errors.ts";
import { quote } from "../../lib/errors.ts";
import { KernelError } from "../../linux/errors.ts";
import * as ffi from "../../linux/ffi.ts";
import { inNamespace } from "../../linux/lean/socket.ts";

const O_RDONLY = 0;
const O_NONBLOCK = 0o4000;

/** A namespace held open by descriptor; serves as a `NetnsRef`. Closed by `using`. */
export class OpenNetns {
  readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }

  [Symbol.dispose](): void {
    ffi.close(this.fd);
  }
}

/** Opens CNI_NETNS. Throws a {@link CniError} of code 8 where there is no network namespace. */
export function openNetns(path: string): OpenNetns {
  const opened = open(path);
  if (opened instanceof OpenNetns) return opened;
  throw new CniError(cniErrorCode.invalidNetns, `failed to open netns ${quote(path)}: ${opened}`, {
    remedy: "Give the path of an existing network namespace, such as /run/netns/NAME",
  });
}

/** As {@link openNetns}, but undefined where the namespace is gone, as it may be in DEL. */
export function tryOpenNetns(path: string): OpenNetns | undefined {
  if (path === "") return undefined;
  const opened = open(path);
  return opened instanceof OpenNetns ? opened : undefined;
}

/** The namespace, or why there is none. */
function open(path: string): OpenNetns | string {
  let fd: number;
  try {
    // Where something else is at the path, such as a FIFO, opening it must not wait.
    fd = ffi.open(path, O_RDONLY | O_NONBLOCK);
  } catch (error) {
    if (error instanceof KernelError) return error.errnoName;
    throw error;
  }
  try {
    inNamespace(fd, () => undefined);
    return new OpenNetns(fd);
  } catch (error) {
    ffi.close(fd);
    if (error instanceof KernelError && error.errnoName === "EINVAL") return "not a network namespace";
    throw error;
  }
}
