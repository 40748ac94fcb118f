import { CniError, cniErrorCode } from "../../cni/errors.ts";
import type { PluginRequest } from "../../cni/plugin.ts";
import type { Result } from "../../cni/result.ts";
import { InvalidInput, quote } from "../../lib/errors.ts";
import { didYouMean } from "../../lib/suggest.ts";
import { requireChainName } from "../netfilter/iptables-names.ts";

/** The keys of a firewall configuration. */
export const firewallKeys = ["backend", "ingressPolicy", "iptablesAdminChainName", "firewalldZone"] as const;

const policies = ["open", "same-bridge", "isolated"] as const;
const defaultAdminChain = "CNI-ADMIN";

/** Which connections to a container are refused; see docs/cni/firewall.md. */
export type IngressPolicy = (typeof policies)[number];

/** What the firewall plugin is asked to do. */
export interface FirewallConfig {
  /** Undefined: whichever fits the host. */
  backend?: "nftables" | "iptables";
  policy: IngressPolicy;
  /** A chain of the administrator's, which packets go through first. */
  adminChain: string;
}

/** Reads a firewall configuration. Throws {@link InvalidInput}, or a {@link CniError} for what is not supported. */
export function parseFirewallConfig({ config: { fields } }: PluginRequest): FirewallConfig {
  const backend = parseBackend(fields.string("backend") ?? "");
  const policy = fields.string("ingressPolicy") || "open";
  if (!isPolicy(policy)) {
    throw new InvalidInput(
      "ingressPolicy",
      policy,
      `is an unknown ingress policy${didYouMean(policy, policies)}`,
      { remedy: `Use ${policies.map(quote).join(", ")}` },
    );
  }
  const adminChain = fields.string("iptablesAdminChainName") || defaultAdminChain;
  return {
    ...(backend === undefined ? {} : { backend }),
    policy,
    adminChain: requireChainName(adminChain, "iptablesAdminChainName"),
  };
}

function isPolicy(text: string): text is IngressPolicy {
  return (policies as readonly string[]).includes(text);
}

function parseBackend(backend: string): FirewallConfig["backend"] {
  if (backend === "") return undefined;
  if (backend === "nftables" || backend === "iptables") return backend;
  const remedy =
    backend === "firewalld"
      ? "Leave the key out, and let firewalld itself pass the bridge: firewall-cmd --permanent --zone=trusted --add-interface=BRIDGE"
      : 'Leave the key out, or set it to "nftables" or "iptables"';
  throw new CniError(cniErrorCode.unsupportedField, `backend: "${backend}" is not supported`, { remedy });
}

/** The host's interfaces by which a container is reached. */
export interface Bridge {
  /** The bridge, or what stands in its place. */
  name: string;
  /** The host's own interface in the container's VLAN, which routed packets come by. */
  vlan?: string;
  /** The bridge's port to the container; undefined where there is no bridge. */
  port?: string;
}

/** What the result says of the bridge. Throws a {@link CniError} where it names none, which the policies need. */
export function bridgeOf({ interfaces }: Result, policy: IngressPolicy): Bridge {
  const [first, ...others] = interfaces;
  if (first === undefined || first.name === "" || first.sandbox !== undefined) {
    const problem =
      first === undefined ? "interface needs to be set" : "the host's interface needs to be first";
    throw new CniError(
      cniErrorCode.invalidNetworkConfig,
      `${problem} for ingress policy "${policy}", make sure to chain "firewall" plugin with "bridge"`,
      { remedy: "Put firewall behind bridge in the configuration list" },
    );
  }
  const ofHost = others.filter(({ sandbox }) => sandbox === undefined).map(({ name }) => name);
  const vlan = ofHost.find((name) => name.startsWith(`${first.name}.`));
  const port = ofHost.find((name) => name !== vlan);
  return {
    name: first.name,
    ...(vlan === undefined ? {} : { vlan }),
    ...(port === undefined ? {} : { port }),
  };
}
