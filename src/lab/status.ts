import { readFileSync } from "node:fs";
import type { Informer } from "../kube/index.ts";
import type { Node, Pod, Service } from "../kube/types.ts";
import { version } from "../lib/version.ts";
import { openKernel } from "../linux/kernel.ts";
import type { LabOptions, LabStatus, NodeStatus, PodSummary, ServiceStatus } from "./model.ts";
import type { LabNode } from "./node.ts";
import { outsideAddresses, outsideName } from "./outside.ts";

/** What the status is made from. */
export interface StatusSources {
  phase: LabStatus["phase"];
  options: LabOptions;
  nodes: readonly LabNode[];
  informers?: { nodes: Informer<Node>; pods: Informer<Pod>; services: Informer<Service> };
}

const bridge = "weft0";

/** The lab as it is: what the API says, with bridges and routes from each node's kernel. */
export async function collectStatus({ phase, options, nodes, informers }: StatusSources): Promise<LabStatus> {
  const pods = informers?.pods.list() ?? [];
  return {
    phase,
    version,
    kubeconfig: options.hostKubeconfig,
    clusterCidrs: options.clusterCidrs,
    serviceCidrs: options.serviceCidrs,
    clusterDns: options.clusterDns,
    clusterDomain: options.clusterDomain,
    outside: [...outsideAddresses],
    outsideName,
    nodes: nodes.map((node) =>
      nodeStatus(
        node,
        informers?.nodes.get({ name: node.name }),
        pods.filter(({ spec }) => spec.nodeName === node.name),
      ),
    ),
    services: (informers?.services.list() ?? []).map(serviceStatus),
  };
}

function nodeStatus(node: LabNode, object: Node | undefined, pods: readonly Pod[]): NodeStatus {
  const seen = kernelView(node.netns);
  return {
    name: node.name,
    addresses: node.addresses,
    podCIDRs: object?.spec?.podCIDRs ?? [],
    ready:
      object?.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") === true,
    bridge,
    gateways: seen.gateways,
    routes: seen.routes,
    pods: pods.map((pod) => podSummary(pod, seen.linkTo)),
    agent: node.agentEnded ? "ended" : "running",
    agentMemory: memoryOf(node.agentPid),
  };
}

/** The addresses of a node's bridge, without prefix lengths. */
export function gatewaysOf(node: LabNode): string[] {
  return kernelView(node.netns).gateways.map((gateway) => gateway.split("/")[0] ?? "");
}

/** The bridge's addresses, Weft's routes, and by which link a pod's address is reached. */
function kernelView(netns: string): {
  gateways: string[];
  routes: string[];
  linkTo: (ip: string) => string;
} {
  const kernel = openKernel({ path: netns });
  try {
    const { rtnl } = kernel;
    const link = rtnl.links.find(bridge);
    const routes = rtnl.routes
      .list({ protocol: "weft" })
      .map((route) => `${route.dst}${route.gateway === undefined ? "" : ` via ${route.gateway}`}`);
    if (link === undefined) return { gateways: [], routes, linkTo: () => "" };
    const gateways = rtnl.addresses
      .list({ link: bridge })
      .filter(({ scope }) => scope === "global")
      .map(({ address }) => String(address));
    const names = new Map(rtnl.links.list({ master: bridge }).map(({ index, name }) => [index, name]));
    const macs = new Map(
      rtnl.fdb.list({ master: bridge }).map((entry) => [entry.mac, names.get(entry.link) ?? ""]),
    );
    const byIp = new Map(
      rtnl.neighbours
        .list({ link: bridge })
        .map((entry) => [String(entry.ip), entry.mac === undefined ? "" : (macs.get(entry.mac) ?? "")]),
    );
    return { gateways, routes, linkTo: (ip) => byIp.get(ip) ?? "" };
  } finally {
    kernel.close();
  }
}

function podSummary(pod: Pod, linkTo: (ip: string) => string): PodSummary {
  const ips = (pod.status?.podIPs ?? []).map(({ ip }) => ip);
  return {
    namespace: pod.metadata.namespace ?? "default",
    name: pod.metadata.name,
    ips,
    phase: pod.metadata.deletionTimestamp === undefined ? troubleOf(pod) : "Terminating",
    ready: pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") === true,
    image: pod.spec.containers[0]?.image ?? "",
    labels: pod.metadata.labels ?? {},
    link: ips.map(linkTo).find((name) => name !== "") ?? "",
  };
}

/** Why the pod's containers wait, if they do; else its phase. */
function troubleOf({ status }: Pod): string {
  const waiting = status?.containerStatuses?.find(({ state }) => state?.waiting !== undefined)?.state
    ?.waiting;
  return waiting?.reason ?? status?.phase ?? "Pending";
}

function serviceStatus(service: Service): ServiceStatus {
  return {
    namespace: service.metadata.namespace ?? "default",
    name: service.metadata.name,
    clusterIPs: service.spec.clusterIPs ?? [],
    ports: (service.spec.ports ?? []).map(({ name = "", port, nodePort, protocol = "TCP" }) => ({
      name,
      port,
      nodePort,
      protocol,
    })),
  };
}

/** Resident memory in bytes, from /proc. */
function memoryOf(pid: number | undefined): number {
  if (pid === undefined) return 0;
  try {
    const kib = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return Number(kib ?? 0) * 1024;
  } catch {
    return 0;
  }
}
