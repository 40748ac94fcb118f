import type { KubeClient } from "../kube/client.ts";
import type { Informer } from "../kube/informer.ts";
import type { EndpointSlice, Namespace, Node, Pod, Service } from "../kube/types.ts";
import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics.ts";
import type { Kernel } from "../linux/kernel.ts";
import type { AgentConfig } from "./config.ts";

/** How a feature is doing, as `/readyz` shows it. */
export interface FeatureState {
  /** "degraded": it works, but for what the message names, such as another node that cannot be reached. */
  state: "starting" | "ready" | "degraded" | "failing";
  /** What it waits for, what it holds, or what is wrong and what to do. */
  message: string;
}

/** What the API server last said, shared by all features: each informer starts when it is first asked for. */
export interface AgentInformers {
  namespaces(): Informer<Namespace>;
  nodes(): Informer<Node>;
  services(): Informer<Service>;
  endpointSlices(): Informer<EndpointSlice>;
  pods(): Informer<Pod>;
}

/** What a feature works with. */
export interface AgentContext {
  /** The name of this node's object in the API. */
  readonly nodeName: string;
  readonly config: AgentConfig;
  readonly client: KubeClient;
  readonly informers: AgentInformers;
  /** The kernel in the namespace of the agent. */
  readonly kernel: Kernel;
  readonly log: Log;
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** Aborts when the agent is to stop. */
  readonly signal: AbortSignal;
  /** Lets go of memory between two steps that need much of it for a moment. Takes some 20 ms. */
  rest(): void;
  /** Says how the feature is doing; a change is logged, a repetition is not. */
  report(state: FeatureState["state"], message: string): void;
  /** The state of every feature, for those that wait for others. */
  states(): ReadonlyMap<string, FeatureState>;
  /** Calls back after each report of any feature; the answer unsubscribes. */
  onReport(callback: () => void): () => void;
}

/** What a feature needs to take away what it left in the kernel or on disk; no API server is needed. */
export interface CleanupContext {
  readonly config: AgentConfig;
  readonly kernel: Kernel;
  readonly log: Log;
}

/** One thing that the agent does. */
export interface Feature {
  readonly name: string;
  /**
   * Works until `context.signal` aborts, then returns and leaves the network as it is. What can be retried is retried
   * inside, with reports; a rejection means that the feature cannot work here at all.
   */
  run(context: AgentContext): Promise<void>;
  /** Removes all that the feature owns in the kernel and on disk, and nothing else. Safe to repeat. */
  cleanup(context: CleanupContext): Promise<void>;
}
