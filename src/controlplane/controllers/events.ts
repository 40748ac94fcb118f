import type { KubeClient } from "../../kube/client.ts";
import { isNotFound } from "../../kube/errors.ts";
import { type Event, type KubeObject, resources } from "../../kube/types.ts";
import type { Clock } from "../../lib/clock.ts";
import { explain } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";

/** Tells what happened to an object, as `kubectl describe` shows it. Never fails: an event that is lost is logged. */
export interface EventRecorder {
  record(object: KubeObject, type: "Normal" | "Warning", reason: string, message: string): void;
}

/** More distinct events than this, and the oldest begin to count anew. */
const remembered = 4096;

/** The same event of the same object is one Event object with a count. */
export function createEventRecorder(
  client: KubeClient,
  component: string,
  options: { clock: Clock; log: Log },
): EventRecorder {
  const known = new Map<string, { event: Promise<Event>; count: number }>();
  const { clock, log } = options;

  const repeat = async (seen: { event: Promise<Event>; count: number }): Promise<void> => {
    const { metadata } = await seen.event;
    const body = { count: seen.count, lastTimestamp: timestamp(clock) };
    await client.patch(resources.events, metadata, { type: "merge", body });
  };

  return {
    record(object, type, reason, message) {
      const key = [object.metadata.uid, component, type, reason, message].join("\0");
      const failed = (error: unknown) => {
        known.delete(key);
        log.debug("An event is lost", { reason, error: explain(error) });
      };
      const seen = known.get(key);
      if (seen !== undefined) {
        seen.count++;
        repeat(seen).catch((error) => {
          failed(error);
          // Its time to live was over: the next one begins anew.
          if (isNotFound(error)) this.record(object, type, reason, message);
        });
        return;
      }
      const event = client.create(resources.events, eventOf(object, type, reason, message, component, clock));
      known.set(key, { event, count: 1 });
      event.catch(failed);
      const oldest = known.keys().next().value;
      if (known.size > remembered && oldest !== undefined) known.delete(oldest);
    },
  };
}

function eventOf(
  object: KubeObject,
  type: "Normal" | "Warning",
  reason: string,
  message: string,
  component: string,
  clock: Clock,
): Event {
  const { name, namespace, uid, resourceVersion } = object.metadata;
  const time = timestamp(clock);
  const serial = (nextSerial++ + clock.now() * 1000).toString(16);
  return {
    metadata: { name: `${name}.${serial}`, namespace: namespace ?? "default" },
    involvedObject: {
      ...(object.apiVersion === undefined ? {} : { apiVersion: object.apiVersion }),
      ...(object.kind === undefined ? {} : { kind: object.kind }),
      ...(namespace === undefined ? {} : { namespace }),
      name,
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    },
    reason,
    message,
    type,
    source: { component },
    reportingComponent: component,
    firstTimestamp: time,
    lastTimestamp: time,
    count: 1,
  };
}

/** Within one millisecond, names still differ. */
let nextSerial = 0;

/** RFC 3339 in whole seconds, which is all that metav1.Time keeps. */
export function timestamp(clock: Clock, now = clock.now()): string {
  return new Date(now).toISOString().replace(/\.\d+Z$/, "Z");
}
