import type { EchoAnswer } from "./echo.ts";

/** The lengths of the nodes' podCIDRs, of each family. */
export type NodeMasks = Readonly<Record<4 | 6, number>>;

/** What the user asks of a lab, checked. */
export interface LabOptions {
  nodes: number;
  clusterCidrs: string[];
  nodeMasks: NodeMasks;
  serviceCidrs: string[];
  clusterDns: string[];
  clusterDomain: string;
  /** Where the API server is reached from the host: a port of 127.0.0.1. */
  hostApiPort: number;
  /** The path of the kubeconfig as the host sees it. */
  hostKubeconfig: string;
}

/** What a lab is made of; the answer of its control socket to `GET /status`. */
export interface LabStatus {
  phase: "starting" | "ready" | "stopping";
  version: string;
  kubeconfig: string;
  clusterCidrs: string[];
  serviceCidrs: string[];
  clusterDns: string[];
  clusterDomain: string;
  /** The addresses of the host beyond the cluster. */
  outside: string[];
  /** Its name in the DNS, which it serves itself. */
  outsideName: string;
  nodes: NodeStatus[];
  services: ServiceStatus[];
}

export interface NodeStatus {
  name: string;
  addresses: string[];
  podCIDRs: string[];
  ready: boolean;
  bridge: string;
  /** The bridge's addresses: the gateways of the pods. */
  gateways: string[];
  /** Weft's own routes, such as "10.244.2.0/24 via 172.30.0.12". */
  routes: string[];
  pods: PodSummary[];
  /** "ended" where it did so by itself, or by somebody's signal. */
  agent: "running" | "ended";
  /** Resident memory of the agent in bytes. */
  agentMemory: number;
}

export interface PodSummary {
  namespace: string;
  name: string;
  ips: string[];
  phase: string;
  ready: boolean;
  image: string;
  labels: Record<string, string>;
  /** The host's end of the pod's link. */
  link: string;
}

export interface ServiceStatus {
  namespace: string;
  name: string;
  clusterIPs: string[];
  ports: { name: string; port: number; nodePort: number | undefined; protocol: string }[];
}

/** A line of progress while the lab comes up or a story is told. */
export interface Progress {
  kind: "progress";
  /** Milliseconds since the beginning. */
  at: number;
  message: string;
}

/** One row of the table of checks. */
export interface CheckResult {
  kind: "check";
  group: string;
  name: string;
  ok: boolean;
  /** Figures for a good one, the first failures for a bad one. */
  detail: string;
  milliseconds: number;
}

/** The last line of a stream: over, and how it went. */
export interface Verdict {
  kind: "verdict";
  ok: boolean;
  passed: number;
  failed: number;
  message: string;
}

export type LabEvent = Progress | CheckResult | Verdict;

/** Where requests come from in a check: a pod, a node, or the host outside. */
export interface Caller {
  name: string;
  /** The Unix socket of its `/dial`. */
  socket: string;
  /** The addresses that it has as its own, both families. */
  ips: string[];
}

export type { EchoAnswer };
