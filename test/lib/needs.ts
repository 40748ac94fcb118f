/**
 * What a test needs and may not find on a machine. Such a test is skipped, and its name then ends with the reason,
 * which the test command collects and prints.
 *
 *     const kernelTest = testWith(needs.root, needs.command("nft"));
 *     kernelTest("lists what it wrote", () => { ... });
 */
import { describe, test } from "bun:test";
import { accessSync, constants } from "node:fs";

/** Why a need is not met, or undefined when it is. */
export type Need = string | undefined;

/** What marks the reason in a skipped test's name; scripts/test.mjs looks for it. */
const mark = " -- skipped: ";

const probes = new Map<string, Need>();

/** Looks once in the process for each thing. */
function once(key: string, probe: () => Need): Need {
  if (!probes.has(key)) probes.set(key, probe());
  return probes.get(key);
}

function succeeds(command: readonly string[]): boolean {
  try {
    return Bun.spawnSync([...command], { stdin: "ignore", stdout: "ignore", stderr: "ignore" }).success;
  } catch {
    return false;
  }
}

/** A trial in a network namespace of its own, which ends with it. */
const inNamespace = (script: string) => succeeds(["unshare", "--net", "sh", "-ec", script]);

const link = (kind: string, options = "") => `ip link add weft-probe type ${kind} ${options}`;

/** Kernel capabilities that differ between the machines and kernels that the tests meet, and how each is tried. */
const kernelTrials = {
  bridge: link("bridge"),
  bridgeVlanFiltering: link("bridge", "vlan_filtering 1"),
  dummy: link("dummy"),
  gre: link("gretap", "local 127.0.0.1 remote 127.0.0.2"),
  geneve: link("geneve", "id 1 remote 127.0.0.1"),
  ifb: link("ifb"),
  ipip: link("ipip", "local 127.0.0.1 remote 127.0.0.2"),
  ipset: "ipset create weft-probe hash:ip",
  ipvlan: "ip link add weft-up type dummy; ip link add link weft-up weft-probe type ipvlan",
  ipvs: "modprobe -q ip_vs 2>/dev/null; test -e /proc/net/ip_vs",
  macvlan: "ip link add weft-up type veth peer weft-peer; ip link add link weft-up weft-probe type macvlan",
  netem: "tc qdisc add dev lo root netem delay 1ms",
  nftables: "nft add table inet weft-probe",
  openvswitch: "modprobe -q openvswitch 2>/dev/null; grep -q openvswitch /proc/modules",
  tun: "ip tuntap add weft-probe mode tap",
  vlan: "ip link add weft-up type veth peer weft-peer; ip link add link weft-up weft-probe type vlan id 5",
  vrf: link("vrf", "table 10"),
  vxlan: link("vxlan", "id 1 dstport 4789"),
  wireguard: link("wireguard"),
} as const;

export type KernelFeature = keyof typeof kernelTrials;

export const needs = {
  /** Root, with the right to make network namespaces. */
  get root(): Need {
    return process.getuid?.() === 0 ? undefined : "needs root";
  },

  /** A program on the PATH; `debian` names the package that brings it. */
  command(name: string, debian?: string): Need {
    return once(`command ${name}`, () => {
      const path = `${process.env.PATH ?? ""}:/usr/sbin:/sbin`;
      return Bun.which(name, { PATH: path }) === null
        ? `needs ${name}${debian === undefined ? "" : ` (Debian package ${debian})`}`
        : undefined;
    });
  },

  /** A file that can be read, such as a reference plugin. */
  file(path: string, debian?: string): Need {
    return once(`file ${path}`, () => {
      try {
        accessSync(path, constants.R_OK);
        return undefined;
      } catch {
        return `needs ${path}${debian === undefined ? "" : ` (Debian package ${debian})`}`;
      }
    });
  },

  /** A capability of the kernel that runs the test, tried in a namespace of its own. */
  kernel(feature: KernelFeature): Need {
    return once(`kernel ${feature}`, () =>
      inNamespace(kernelTrials[feature]) ? undefined : `needs a kernel with ${feature}`,
    );
  },

  /** What test/kernels/uml-run needs. */
  get uml(): Need {
    return (
      needs.command("linux.uml", "user-mode-linux") ??
      needs.command("tcc", "tcc") ??
      needs.command("modprobe", "kmod")
    );
  },

  /** What test/kernels/vm-run needs. */
  get vm(): Need {
    return needs.command("qemu-system-x86_64", "qemu-system-x86") ?? needs.command("modprobe", "kmod");
  },

  /** Another processor architecture's tests are not this one's. */
  arch(name: typeof process.arch): Need {
    return process.arch === name ? undefined : `needs ${name}`;
  },

  /** A trial of the caller's own. */
  that(holds: boolean, reason: string): Need {
    return holds ? undefined : `needs ${reason}`;
  },
};

const unmet = (wanted: readonly Need[]) => wanted.filter((need) => need !== undefined).join(", ");

/** bun:test's `test` where all needs are met, else one that skips and says why. */
export function testWith(...wanted: readonly Need[]): typeof test {
  const reason = unmet(wanted);
  if (reason === "") return test;
  const skip = (name: string, ...rest: [() => void]) => test.skip(`${name}${mark}${reason}`, ...rest);
  return Object.assign(skip, test, { each: skippingEach(reason) }) as unknown as typeof test;
}

/** A table of tests that are skipped is skipped as a whole, in one line. */
function skippingEach(reason: string) {
  return () => (name: string, body: () => void) => test.skip(`${name}${mark}${reason}`, body);
}

/** The same for a whole `describe`: its tests and hooks are not run. */
export function describeWith(...wanted: readonly Need[]): typeof describe {
  const reason = unmet(wanted);
  if (reason === "") return describe;
  const skip = (name: string) => describe(name, () => test.skip(`all of it${mark}${reason}`, () => {}));
  return Object.assign(skip, describe) as unknown as typeof describe;
}
