import type { ClientConfig } from "../kube/config.ts";
import {
  createKubeClient,
  type Informer,
  type InformerOptions,
  type KubeClient,
  startInformer,
} from "../kube/index.ts";
import {
  type EndpointSlice,
  type KubeObject,
  type Namespace,
  type Node,
  type Pod,
  type Resource,
  resources,
  type Service,
} from "../kube/types.ts";
import { type Clock, systemClock } from "../lib/clock.ts";
import { explain } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { Metrics } from "../lib/metrics.ts";
import { version } from "../lib/version.ts";
import { type Kernel, openKernel } from "../linux/kernel.ts";
import { releaseCode } from "../linux/memory.ts";
import { killChildren } from "./children.ts";
import type { AgentConfig } from "./config.ts";
import { ApiConnection } from "./connection.ts";
import type { AgentContext, AgentInformers, Feature, FeatureState } from "./feature.ts";
import { startHealth } from "./health.ts";
import { lockNetns } from "./lock.ts";
import { requireRights } from "./rights.ts";
import { repeat } from "./timing.ts";
import { trimNamespace, trimNode, trimPod, trimService, trimSlice } from "./trim.ts";

export interface AgentOptions {
  nodeName: string;
  config: AgentConfig;
  client: ClientConfig;
  features: readonly Feature[];
  log: Log;
  signal: AbortSignal;
}

/**
 * Runs the features of one node until the signal aborts. The network is left standing. Rejects where the agent cannot
 * begin at all, such as when the port of its health server is in use, or beside another agent.
 */
export async function runAgent(options: AgentOptions): Promise<void> {
  const { config, features, log, nodeName, signal } = options;
  requireRights();
  lockNetns("then start this one");
  const metrics = new Metrics();
  const board = new StateBoard(features, log);
  const client = createKubeClient(options.client);
  const connection = new ApiConnection(client.server, log);
  const health = startHealth(config.health, board.states, connection, metrics);
  const kernel = openKernel();
  try {
    registerOwnMetrics(metrics, board, connection);
    const letGo = () => {
      if (!signal.aborted) log.debug("Let go of code that was not in use", { bytes: releaseCode() });
    };
    const shared = {
      nodeName,
      config,
      client,
      kernel,
      clock: systemClock satisfies Clock,
      metrics,
      signal,
      informers: informersOf(client, connection, log, signal, letGo),
      states: () => board.states,
      onReport: (callback: () => void) => board.subscribe(callback),
      rest: () => {
        Bun.gc(true);
        letGo();
      },
    };
    keepSmall(shared, board, letGo);
    log.info("Agent starts", {
      version,
      node: nodeName,
      features: features.map(({ name }) => name).join(","),
    });
    await Promise.all(
      features.map(async (feature) => {
        const context: AgentContext = {
          ...shared,
          log: log.with({ feature: feature.name }),
          report: (state, message) => board.report(feature.name, { state, message }),
        };
        try {
          await feature.run(context);
        } catch (error) {
          if (!signal.aborted) board.report(feature.name, { state: "failing", message: explain(error) });
        }
      }),
    );
    // Features that gave up leave the others working, and /readyz telling why.
    if (!signal.aborted)
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    log.info("Agent stops; the network stays as it is");
  } finally {
    killChildren();
    client.close();
    kernel.close();
    health.stop();
  }
}

/** How long after all features were ready the start is over, and how long until it is looked at again: milliseconds. */
const startIsOver = 1_000;
const releaseInterval = 600_000;

/**
 * Lets go of code that is not in use: at each step of the start, which needs much of it once and for different things, and
 * later now and then.
 */
function keepSmall(
  context: Pick<AgentContext, "clock" | "signal">,
  board: StateBoard,
  letGo: () => void,
): void {
  letGo();
  const stop = board.subscribe(() => {
    letGo();
    const begun = [...board.states.values()].every(({ state }) => state === "ready" || state === "degraded");
    if (!begun) return;
    stop();
    context.signal.addEventListener("abort", context.clock.after(startIsOver, letGo), { once: true });
  });
  repeat(context, releaseInterval, letGo);
}

/**
 * Takes away all that the features own, the last feature first; goes on after failures and reports them all. Throws beside
 * an agent that runs, which would put it all back.
 */
export async function cleanupAgent(
  features: readonly Feature[],
  config: AgentConfig,
  log: Log,
): Promise<boolean> {
  requireRights();
  lockNetns("then clean up again");
  const kernel: Kernel = openKernel();
  let clean = true;
  try {
    for (const feature of [...features].reverse()) {
      try {
        await feature.cleanup({ config, kernel, log: log.with({ feature: feature.name }) });
      } catch (error) {
        clean = false;
        log.error("Cleanup failed", { feature: feature.name, error: explain(error) });
      }
    }
  } finally {
    kernel.close();
  }
  return clean;
}

/** The states of all features, in their order. */
class StateBoard {
  readonly states = new Map<string, FeatureState>();
  readonly #callbacks = new Set<() => void>();
  readonly #log: Log;

  constructor(features: readonly Feature[], log: Log) {
    this.#log = log;
    for (const { name } of features) this.states.set(name, { state: "starting", message: "" });
  }

  report(feature: string, next: FeatureState): void {
    const before = this.states.get(feature);
    if (before?.state === next.state && before.message === next.message) return;
    this.states.set(feature, next);
    const level = next.state === "failing" ? "error" : next.state === "degraded" ? "warn" : "info";
    this.#log[level](next.message, { feature, state: next.state });
    for (const callback of this.#callbacks) callback();
  }

  subscribe(callback: () => void): () => void {
    this.#callbacks.add(callback);
    return () => void this.#callbacks.delete(callback);
  }
}

/** After an API server was away, every agent is back within so many milliseconds, and not all at once. */
const longestBackoff = 10_000;

function informersOf(
  client: KubeClient,
  connection: ApiConnection,
  log: Log,
  signal: AbortSignal,
  onList: () => void,
): AgentInformers {
  const started = new Map<string, unknown>();
  const once = <T extends KubeObject>(
    resource: Resource<T>,
    options: Pick<InformerOptions<T>, "trim" | "labelSelector"> = {},
  ): Informer<T> => {
    const known = started.get(resource.plural) as Informer<T> | undefined;
    if (known !== undefined) return known;
    const { plural } = resource;
    const informer = startInformer(client, resource, {
      signal,
      log,
      backoff: { maxMs: longestBackoff },
      onConnected: () => connection.heard(plural),
      onInterrupted: (error) => connection.interrupted(plural, error),
      ...options,
    });
    started.set(plural, informer);
    informer.synced.then(onList, () => {});
    return informer;
  };
  return {
    namespaces: () => once<Namespace>(resources.namespaces, { trim: trimNamespace }),
    nodes: () => once<Node>(resources.nodes, { trim: trimNode }),
    services: () => once<Service>(resources.services, { trim: trimService }),
    endpointSlices: () => once<EndpointSlice>(resources.endpointSlices, { trim: trimSlice }),
    pods: () => once<Pod>(resources.pods, { trim: trimPod }),
  };
}

function registerOwnMetrics(metrics: Metrics, board: StateBoard, connection: ApiConnection): void {
  const start = Date.now() / 1000;
  metrics.register("gauge", "weft_build_info", "Weft's version", () => [{ labels: { version }, value: 1 }]);
  metrics.register("gauge", "process_start_time_seconds", "When the agent started, since 1970", () => start);
  metrics.register("gauge", "process_resident_memory_bytes", "Memory that the agent uses", () =>
    process.memoryUsage.rss(),
  );
  metrics.register("gauge", "weft_api_connected", "1 while the API server is heard", () =>
    Number(connection.connected),
  );
  metrics.register("gauge", "weft_feature_ready", "1 where the feature does all that it is to do", () =>
    [...board.states].map(([feature, { state }]) => ({
      labels: { feature },
      value: state === "ready" ? 1 : 0,
    })),
  );
}
