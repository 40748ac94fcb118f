import type { KubeClient } from "../../kube/client.ts";
import { type Clock, systemClock } from "../../lib/clock.ts";
import { type Log, silentLog } from "../../lib/log.ts";
import { checkNetworks, type NetworkOptions } from "./cidrs.ts";
import type { Controller, ControllerContext } from "./controller.ts";
import { daemonSet } from "./daemonset.ts";
import { deployment } from "./deployment.ts";
import { endpointMirror } from "./endpointmirror.ts";
import { endpointSlice, endpoints } from "./endpointslice.ts";
import { createEventRecorder } from "./events.ts";
import { garbageCollector } from "./garbagecollector.ts";
import { Informers, observingClient } from "./informers.ts";
import { namespace } from "./namespace.ts";
import { nodeIpam } from "./nodeipam.ts";
import { nodeLifecycle, podCollector } from "./nodelifecycle.ts";
import { replicaSet } from "./replicaset.ts";
import { scheduler } from "./scheduler.ts";
import { statefulSet } from "./statefulset.ts";
import { taintEviction } from "./tainteviction.ts";
import { WorkQueue } from "./workqueue.ts";

export { checkNetworks, type NetworkOptions } from "./cidrs.ts";

/** All controllers, in the order in which they start. */
export const controllers: readonly Controller[] = [
  nodeIpam,
  nodeLifecycle,
  taintEviction,
  podCollector,
  scheduler,
  replicaSet,
  deployment,
  daemonSet,
  statefulSet,
  endpointSlice,
  endpoints,
  endpointMirror,
  namespace,
  garbageCollector,
];

export interface ControllersOptions extends NetworkOptions {
  /** A node whose lease was not renewed for so long is not ready; 40 seconds where not given. */
  nodeGraceMs?: number;
  log?: Log;
  clock?: Clock;
}

export interface RunningControllers {
  /** All informers have their first list, and work has begun. Rejects when it is stopped before. */
  readonly ready: Promise<void>;
}

/**
 * Runs all controllers until the signal aborts. Throws at once, naming both, where the ranges of the options do not fit
 * together; faults of the API server are waited out.
 */
export function runControllers(
  client: KubeClient,
  options: ControllersOptions,
  signal: AbortSignal,
  list: readonly Controller[] = controllers,
): RunningControllers {
  const networks = checkNetworks(options);
  const { log = silentLog, clock = systemClock, nodeGraceMs = 40_000 } = options;
  const informers = new Informers(client, { signal, clock, log });
  const observing = observingClient(client, informers);
  const queues: WorkQueue[] = [];
  for (const controller of list) {
    const ownLog = log.with({ controller: controller.name });
    const context: ControllerContext = {
      client: observing,
      informers,
      events: createEventRecorder(client, `${controller.name}-controller`, { clock, log: ownLog }),
      networks,
      nodeGraceMs,
      clock,
      log: ownLog,
      signal,
      queue: (process, queueOptions = {}) => {
        const queue = new WorkQueue({ clock, log: ownLog, signal, process, ...queueOptions });
        queues.push(queue);
        return queue;
      },
    };
    controller.start(context);
  }
  const ready = informers.synced().then(() => {
    for (const queue of queues) queue.start();
  });
  // The caller may not be interested.
  ready.catch(() => {});
  return { ready };
}
