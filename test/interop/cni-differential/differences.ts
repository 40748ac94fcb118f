/** The differences that stay, each with its reason; docs/cni/differences.md lists the same. */
import type { Case } from "./case.ts";

/** One key at which the two sides are not the same. */
export interface Difference {
  plugin: string;
  case: Case;
  /** After which step. */
  step: string;
  /** "outcome/bridge/status", "host link/br0/mtu", "reach/...". */
  key: string;
  /** Undefined where a side has nothing there. */
  reference: string | undefined;
  weft: string | undefined;
}

/** A difference that is allowed. */
export interface Rule {
  name: string;
  reason: string;
  /** Met under another kernel only. */
  guest?: boolean;
  matches: (difference: Difference) => boolean;
}

export const differences: readonly Rule[] = [
  {
    name: "veth-queue-length",
    reason:
      "Veth pairs keep the kernel's transmit queue length of 1000, as in later versions of the reference; 1.1.1 sets 0.",
    matches: ({ key, reference, weft }) =>
      / link\/(eth0|net1|veth<.*>)\/txqlen$/.test(key) && reference === undefined && weft === "1000",
  },
  {
    name: "ndisc-notify",
    reason: "Neighbours hear of a new IPv6 address at once, as in later versions of the reference.",
    matches: ({ key, reference, weft }) =>
      /^c\d sysctl\/ipv6\/conf\/(eth0|net1)\/ndisc_notify$/.test(key) && reference === "0" && weft === "1",
  },
  {
    name: "gateway-nodad",
    reason:
      "The gateway's IPv6 address on the bridge is not looked for elsewhere first, so that the first container can use it at once.",
    matches: ({ key, reference, weft }) =>
      /^host address\/br0\/fd/.test(key) && weft?.replace('"nodad":true,', "") === reference,
  },
];
