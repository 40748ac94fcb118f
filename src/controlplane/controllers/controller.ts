import type { KubeClient } from "../../kube/client.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Networks } from "./cidrs.ts";
import type { EventRecorder } from "./events.ts";
import type { Informers } from "./informers.ts";
import type { WorkQueue } from "./workqueue.ts";

/** What every controller is given. */
export interface ControllerContext {
  /** Shows its writes to the informers at once. */
  client: KubeClient;
  informers: Informers;
  events: EventRecorder;
  networks: Networks;
  /** A node whose lease was not renewed for so long is not ready. */
  nodeGraceMs: number;
  clock: Clock;
  log: Log;
  signal: AbortSignal;
  /** A queue of keys with a worker of this controller; it begins when all informers are synced. */
  queue(process: (key: string) => Promise<number | undefined>, options?: { concurrency?: number }): WorkQueue;
}

/** One loop that makes the world as it should be: registers its handlers, which add keys to its queues. */
export interface Controller {
  readonly name: string;
  start(context: ControllerContext): void;
}
