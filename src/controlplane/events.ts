import type { Event } from "../kube/types.ts";
import type { Cluster } from "./cluster.ts";

const INTERVAL = 60_000;

/** Deletes Events that were last seen longer ago than `ttl` seconds, once a minute. Returns the function that ends it. */
export function expireEvents(cluster: Cluster, ttl: number): () => void {
  const timer = setInterval(() => deleteExpired(cluster, ttl), INTERVAL);
  timer.unref();
  return () => clearInterval(timer);
}

/** One round of {@link expireEvents}. */
export function deleteExpired({ store, now }: Cluster, ttl: number): void {
  const oldest = now() - ttl * 1000;
  for (const entry of [...store.list("events")]) {
    const { lastTimestamp, eventTime, metadata } = entry.object as unknown as Event;
    const time = Date.parse(lastTimestamp ?? eventTime ?? metadata.creationTimestamp ?? "");
    if (time < oldest) store.delete("events", entry);
  }
}
