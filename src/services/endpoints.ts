import type { Endpoint, EndpointSlice, Protocol, Service } from "../kube/types.ts";
import { type Family, Ip } from "../lib/ip.ts";

/** What the choice of endpoints depends on at this node. */
export interface NodeView {
  readonly name: string;
  /** The label topology.kubernetes.io/zone. */
  readonly zone?: string | undefined;
}

/** The endpoints of one Service port in one family, as this node may use them; each "address . port". */
export interface PortEndpoints {
  /** For the traffic policy Cluster: any node's. */
  readonly cluster: readonly string[];
  /** For the traffic policy Local: this node's. */
  readonly local: readonly string[];
  /** For UDP: all that still answer, wherever, ready or not, as what was sent to them before may go on. */
  readonly serving: readonly string[];
  /** Whether any node has a usable endpoint: decides between refusing and dropping where `local` is empty. */
  readonly anywhere: boolean;
}

const nothing: PortEndpoints = { cluster: [], local: [], serving: [], anywhere: false };

/** One address and port, over all slices that have it. */
interface Candidate {
  text: string;
  ready: boolean;
  serving: boolean;
  /** Serving while it terminates: used where nothing is ready. */
  draining: boolean;
  local: boolean;
  zones: readonly string[];
  nodes: readonly string[];
}

/**
 * Chooses the endpoints of each port of a Service as kube-proxy does (pkg/proxy/topology.go): ready ones, or the serving
 * ones among the terminating where none is ready; of the node's zone or of the node itself where hints say so.
 */
export class EndpointChoice {
  readonly #service: Service;
  readonly #slices: readonly EndpointSlice[];
  readonly #node: NodeView;

  constructor(service: Service, slices: Iterable<EndpointSlice>, node: NodeView) {
    this.#service = service;
    this.#slices = [...slices];
    this.#node = node;
  }

  /** The endpoints behind the port of that name (undefined and "" are the same) and protocol. */
  of(family: Family, name: string | undefined, protocol: Protocol): PortEndpoints {
    const all = [...this.#candidates(family, name ?? "", protocol).values()];
    if (all.length === 0) return nothing;
    const ready = all.filter((candidate) => candidate.ready);
    const draining = all.filter((candidate) => !candidate.ready && candidate.draining);
    const here = ready.filter((candidate) => candidate.local);
    const cluster = texts(ready.length > 0 ? near(ready, this.#node) : draining);
    const serving = protocol === "UDP" ? texts(all.filter((candidate) => candidate.serving)) : cluster;
    return {
      cluster,
      // Mostly they are the same, and then kept once.
      serving: String(serving) === String(cluster) ? cluster : serving,
      local: texts(here.length > 0 ? here : draining.filter((candidate) => candidate.local)),
      anywhere: ready.length > 0 || draining.length > 0,
    };
  }

  #candidates(family: Family, name: string, protocol: Protocol): Map<string, Candidate> {
    const candidates = new Map<string, Candidate>();
    for (const slice of this.#slices) {
      if (slice.addressType !== (family === 4 ? "IPv4" : "IPv6")) continue;
      for (const port of slice.ports ?? []) {
        if ((port.name ?? "") !== name || (port.protocol ?? "TCP") !== protocol) continue;
        if (!isPort(port.port)) continue;
        for (const endpoint of slice.endpoints ?? []) this.#add(candidates, family, endpoint, port.port);
      }
    }
    return candidates;
  }

  #add(candidates: Map<string, Candidate>, family: Family, endpoint: Endpoint, port: number): void {
    const ip = Ip.tryParse(endpoint.addresses[0] ?? "");
    if (ip?.family !== family || ip.isLoopback() || ip.isMulticast() || ip.isUnspecified()) return;
    const { ready = true, serving = ready, terminating = false } = endpoint.conditions ?? {};
    const candidate: Candidate = {
      text: `${ip} . ${port}`,
      ready: ready || this.#service.spec.publishNotReadyAddresses === true,
      serving: serving || this.#service.spec.publishNotReadyAddresses === true,
      draining: serving && terminating,
      local: endpoint.nodeName === this.#node.name,
      zones: endpoint.hints?.forZones?.map((hint) => hint.name) ?? [],
      nodes: endpoint.hints?.forNodes?.map((hint) => hint.name) ?? [],
    };
    // While slices are rearranged an endpoint may stand in two of them: the better word counts.
    const twin = candidates.get(candidate.text);
    if (twin === undefined) candidates.set(candidate.text, candidate);
    else {
      twin.ready ||= candidate.ready;
      twin.serving ||= candidate.serving;
      twin.draining ||= candidate.draining;
      twin.local ||= candidate.local;
    }
  }
}

/** True for a number that a port can have. */
export function isPort(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) > 0 && (value as number) <= 0xffff;
}

/** Those that hints give to this node or its zone; all, where one has no hint or none is meant for here. */
function near(ready: readonly Candidate[], node: NodeView): readonly Candidate[] {
  for (const [hint, here] of [
    ["nodes", node.name],
    ["zones", node.zone],
  ] as const) {
    if (here === undefined || ready.some((candidate) => candidate[hint].length === 0)) continue;
    const chosen = ready.filter((candidate) => candidate[hint].includes(here));
    if (chosen.length > 0) return chosen;
  }
  return ready;
}

function texts(candidates: readonly Candidate[]): string[] {
  return candidates.map((candidate) => candidate.text).sort();
}

/** Addresses of a Service's endpoints that may send to themselves through it: this node's, and those of no known node. */
export function ownAddresses(slices: Iterable<EndpointSlice>, node: NodeView): Set<string> {
  const addresses = new Set<string>();
  for (const slice of slices) {
    for (const endpoint of slice.endpoints ?? []) {
      if (endpoint.nodeName !== undefined && endpoint.nodeName !== node.name) continue;
      const ip = Ip.tryParse(endpoint.addresses[0] ?? "");
      if (ip !== undefined) addresses.add(ip.toString());
    }
  }
  return addresses;
}
