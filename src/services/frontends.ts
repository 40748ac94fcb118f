import type { Protocol, Service, ServicePort } from "../kube/types.ts";
import { quote } from "../lib/errors.ts";
import { type Family, Ip } from "../lib/ip.ts";
import { Prefix } from "../lib/prefix.ts";
import { type EndpointChoice, isPort, type PortEndpoints } from "./endpoints.ts";
import { disjoint, rangeText, tryPrefix } from "./prefixes.ts";

/** What makes a frontend, in the order in which they win where two Services want the same address and port. */
export const origins = ["cluster-ip", "load-balancer", "external-ip", "node-port"] as const;
export type Origin = (typeof origins)[number];

/** Where packets go: to one of the endpoints ("address . port"), or, without any, nowhere. */
export interface Target {
  readonly endpoints: readonly string[];
  /** What happens without endpoints: an answer that nobody is there, or none, as another node may have one. */
  readonly empty: "reject" | "drop";
}

/** One address and port at which a Service is found. */
export interface Frontend {
  readonly origin: Origin;
  readonly family: Family;
  /** "10.96.0.1 . tcp . 80", or "tcp . 30080" for every address of the node. */
  readonly key: string;
  readonly protocol: Transport;
  /** For pods of this node and the node itself; for everybody where `outside` is not there. */
  readonly inside: Target;
  /** For the rest of the world, its source address kept: externalTrafficPolicy Local. */
  readonly outside?: Target;
  /** For UDP: endpoints whose flows may go on, even where new ones go elsewhere, as while they terminate and still answer. */
  readonly serving: readonly string[];
  /** Seconds for which a client stays with its endpoint; 0 is off. */
  readonly affinity: number;
  /** Who may use it (loadBalancerSourceRanges); everybody where not given. */
  readonly sourceRanges?: readonly string[];
}

export type Transport = "tcp" | "udp" | "sctp";

/** What of a Service's wishes is granted. */
export interface FrontendPolicy {
  /** Where externalIPs must not lie, such as the prefixes of pods and ClusterIPs: a Service would take what is not its own. */
  readonly reserved: readonly Prefix[];
  /** Addresses of this node, which source ranges may name. */
  readonly nodeAddresses: readonly Ip[];
  /** ClusterIPs at which every node answers DNS itself: whoever asks is not sent to another node's answer. */
  readonly dnsAddresses?: readonly Ip[];
}

/** Frontends, and what was wished and not granted (sentences that begin with the field). */
export interface Frontends {
  readonly frontends: readonly Frontend[];
  readonly refused: readonly string[];
}

const PROXY_NAME = "service.kubernetes.io/service-proxy-name";
const HEADLESS = "service.kubernetes.io/headless";
const DEFAULT_AFFINITY = 10_800;
const LONGEST_AFFINITY = 86_400;
const DNS_PORT = 53;

/** False for Services without an address of their own and those that another proxy serves. */
export function isProxied(service: Service): boolean {
  const { labels } = service.metadata;
  if (labels?.[PROXY_NAME] !== undefined || labels?.[HEADLESS] !== undefined) return false;
  return service.spec.type !== "ExternalName" && clusterIps(service).length > 0;
}

/** The Service's ClusterIPs; none where it is headless. */
export function clusterIps(service: Service): Ip[] {
  const { clusterIP, clusterIPs } = service.spec;
  const texts = clusterIPs !== undefined && clusterIPs.length > 0 ? clusterIPs : [clusterIP ?? ""];
  return texts.flatMap((text) => Ip.tryParse(text) ?? []);
}

/** True for a ClusterIP that the node has as an address of its own, for DNS. */
export function isAnsweredHere(ip: Ip, { dnsAddresses = [] }: FrontendPolicy): boolean {
  return dnsAddresses.some((own) => own.equals(ip));
}

/** All addresses and ports at which a Service is found, and what is behind each. */
export function frontendsOf(service: Service, choice: EndpointChoice, policy: FrontendPolicy): Frontends {
  if (!isProxied(service)) return { frontends: [], refused: [] };
  const frontends: Frontend[] = [];
  const { external, refused } = externalAddresses(service, policy);
  const addresses = clusterIps(service);
  const families = new Set(addresses.map((ip) => ip.family));
  for (const port of service.spec.ports ?? []) {
    const problem = portProblem(port);
    if (problem !== undefined) {
      refused.push(`spec.ports: ${problem}`);
      continue;
    }
    for (const family of families) {
      const builder = new PortFrontends(service, port, family, choice);
      for (const ip of addresses) {
        const ours = port.port === DNS_PORT && isAnsweredHere(ip, policy);
        if (ip.family === family && !ours) frontends.push(builder.internal(ip));
      }
      for (const { ip, origin } of external) {
        if (ip.family === family) frontends.push(builder.external(ip, origin, policy));
      }
      if ((port.nodePort ?? 0) !== 0) frontends.push(builder.nodePort());
    }
  }
  return { frontends, refused };
}

/** What API servers let nobody write: one such port would keep all Services from being written. */
function portProblem({ port, nodePort, protocol }: ServicePort): string | undefined {
  if (!isPort(port)) return `port ${quote(port)} is no port`;
  if (nodePort && !isPort(nodePort)) return `nodePort ${quote(nodePort)} is no port`;
  if (["TCP", "UDP", "SCTP"].includes(protocol ?? "TCP")) return undefined;
  return `protocol ${quote(protocol)} is not TCP, UDP or SCTP`;
}

/** Seconds for which a client stays with its endpoint; 0 where it need not. */
function affinityOf({ spec: { sessionAffinity, sessionAffinityConfig } }: Service): number {
  if (sessionAffinity !== "ClientIP") return 0;
  const seconds = sessionAffinityConfig?.clientIP?.timeoutSeconds ?? DEFAULT_AFFINITY;
  return Number.isInteger(seconds) && seconds > 0 && seconds <= LONGEST_AFFINITY ? seconds : DEFAULT_AFFINITY;
}

/** The frontends of one port in one family. */
class PortFrontends {
  readonly #service: Service;
  readonly #port: ServicePort;
  readonly #family: Family;
  readonly #protocol: Transport;
  readonly #endpoints: PortEndpoints;
  readonly #affinity: number;

  constructor(service: Service, port: ServicePort, family: Family, choice: EndpointChoice) {
    const protocol: Protocol = port.protocol ?? "TCP";
    this.#service = service;
    this.#port = port;
    this.#family = family;
    this.#protocol = protocol.toLowerCase() as Transport;
    this.#endpoints = choice.of(family, port.name, protocol);
    this.#affinity = affinityOf(service);
  }

  internal(ip: Ip): Frontend {
    const local = this.#service.spec.internalTrafficPolicy === "Local";
    return this.#frontend("cluster-ip", this.#key(ip), { inside: local ? this.#local() : this.#cluster() });
  }

  external(ip: Ip, origin: Origin, policy: FrontendPolicy): Frontend {
    const ranges = origin === "load-balancer" ? sourceRanges(this.#service, ip, policy) : undefined;
    return this.#frontend(origin, this.#key(ip), {
      ...this.#externalTargets(),
      ...(ranges === undefined ? {} : { sourceRanges: ranges }),
    });
  }

  nodePort(): Frontend {
    return this.#frontend("node-port", `${this.#protocol} . ${this.#port.nodePort}`, this.#externalTargets());
  }

  #frontend(
    origin: Origin,
    key: string,
    rest: Pick<Frontend, "inside" | "outside" | "sourceRanges">,
  ): Frontend {
    return {
      origin,
      family: this.#family,
      key,
      protocol: this.#protocol,
      affinity: this.#affinity,
      serving: this.#endpoints.serving,
      ...rest,
    };
  }

  #key(ip: Ip): string {
    return `${ip} . ${this.#protocol} . ${this.#port.port}`;
  }

  #cluster(): Target {
    return { endpoints: this.#endpoints.cluster, empty: "reject" };
  }

  #local(): Target {
    return { endpoints: this.#endpoints.local, empty: this.#endpoints.anywhere ? "drop" : "reject" };
  }

  #externalTargets(): Pick<Frontend, "inside" | "outside"> {
    return this.#service.spec.externalTrafficPolicy === "Local"
      ? { inside: this.#cluster(), outside: this.#local() }
      : { inside: this.#cluster() };
  }
}

/** Addresses of load balancers and externalIPs, each once. */
function externalAddresses(
  service: Service,
  policy: FrontendPolicy,
): { external: { ip: Ip; origin: Origin }[]; refused: string[] } {
  const external = new Map<string, { ip: Ip; origin: Origin }>();
  const refused: string[] = [];
  const add = (text: string, origin: Origin, field: string, reserved: readonly Prefix[]) => {
    const ip = Ip.tryParse(text);
    const problem = ip === undefined ? "is not an IP address" : captures(ip, reserved);
    if (ip === undefined || problem !== undefined) refused.push(`${field}: "${text}" ${problem}`);
    else if (!external.has(ip.toString())) external.set(ip.toString(), { ip, origin });
  };
  if (service.spec.type === "LoadBalancer") {
    for (const { ip, ipMode } of service.status?.loadBalancer?.ingress ?? []) {
      if (ip !== undefined && ip !== "" && ipMode !== "Proxy") {
        add(ip, "load-balancer", "status.loadBalancer.ingress", []);
      }
    }
  }
  for (const text of service.spec.externalIPs ?? []) {
    add(text, "external-ip", "spec.externalIPs", policy.reserved);
  }
  return { external: [...external.values()], refused };
}

function captures(ip: Ip, reserved: readonly Prefix[]): string | undefined {
  if (ip.isLoopback() || ip.isLinkLocal() || ip.isMulticast() || ip.isUnspecified()) {
    return "is loopback, link-local, multicast or unspecified";
  }
  const owner = reserved.find((prefix) => prefix.contains(ip));
  return owner === undefined
    ? undefined
    : `lies in "${owner}", whose addresses are given to pods or Services`;
}

/**
 * The ranges of the address's family. A range with an address of this node lets the node itself in, which then comes from
 * the load balancer's own address where that is bound here (as kube-proxy has it).
 */
function sourceRanges(service: Service, ip: Ip, policy: FrontendPolicy): string[] | undefined {
  const texts = service.spec.loadBalancerSourceRanges ?? [];
  if (texts.length === 0) return undefined;
  const ranges = texts.flatMap((text) => tryPrefix(text.trim()) ?? []);
  const own = ranges.filter((range) => range.family === ip.family);
  if (own.some((range) => policy.nodeAddresses.some((address) => range.contains(address)))) {
    own.push(Prefix.host(ip));
  }
  return disjoint(own).map(rangeText);
}
