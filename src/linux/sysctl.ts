import { readFileSync, writeFileSync } from "node:fs";
import { InvalidInput } from "../lib/errors.ts";
import { errno } from "./errno.ts";
import { KernelError } from "./errors.ts";
import { inNetns, type NetnsRef } from "./netns.ts";

/** Kernel parameters of one network namespace: those under /proc/sys/net that the namespace owns, and the host's. */
export interface Sysctl {
  /**
   * Reads a parameter: "net.ipv4.ip_forward", or with slashes where an interface name has dots in it:
   * "net/ipv4/conf/eth0.5/forwarding". Throws ENOENT.
   */
  read(key: string): string;
  /** Writes a parameter. Throws ENOENT, EINVAL, EACCES. */
  write(key: string, value: string | number): void;
}

/** The kernel's parameters as the namespace sees them. */
export class ProcSysctl implements Sysctl {
  readonly #netns: NetnsRef | undefined;

  constructor(options: { netns?: NetnsRef | undefined } = {}) {
    this.#netns = options.netns;
  }

  read(key: string): string {
    const path = sysctlPath(key);
    return this.#run("read sysctl", key, () => readFileSync(path, "utf8").trimEnd());
  }

  write(key: string, value: string | number): void {
    const path = sysctlPath(key);
    const text = checkSysctlValue(key, value);
    this.#run("write sysctl", `${key} = ${text}`, () => writeFileSync(path, `${text}\n`, { flag: "r+" }));
  }

  // /proc/sys/net shows the namespace of the thread that opens the file.
  #run<T>(operation: string, subject: string, action: () => T): T {
    return inNetns(this.#netns, () => {
      try {
        return action();
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code;
        if (code === undefined || !Object.hasOwn(errno, code)) throw error;
        throw new KernelError(operation, subject, errno[code as keyof typeof errno], { cause: error });
      }
    });
  }
}

/** The file of a parameter. Throws {@link InvalidInput} for keys that would leave /proc/sys. */
export function sysctlPath(key: string): string {
  const parts = key.includes("/") ? key.split("/") : key.split(".");
  for (const part of parts) {
    if (part === "" || part === "." || part === ".." || !/^[\x21-\x7e]+$/.test(part)) {
      throw new InvalidInput("sysctl", key, "is not a kernel parameter", {
        remedy: "Write it like net.ipv4.ip_forward or net/ipv4/conf/eth0.5/forwarding",
      });
    }
  }
  return `/proc/sys/${parts.join("/")}`;
}

/** The text of a value. Throws {@link InvalidInput} for what a newline would make into two writes. */
export function checkSysctlValue(key: string, value: string | number): string {
  const text = String(value);
  if (/[\n\0]/.test(text)) throw new InvalidInput(key, text, "is not one line");
  return text;
}
