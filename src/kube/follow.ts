import { type Clock, sleep, systemClock } from "../lib/clock.ts";
import { Backoff, type BackoffOptions } from "./backoff.ts";
import type { KubeClient, Selection } from "./client.ts";
import { isClientClosed, isForbidden, isGone, isTransient, isUnauthorized, isUnreachable } from "./errors.ts";
import type { KubeObject, Resource } from "./types.ts";

export interface FollowOptions extends Selection {
  signal: AbortSignal;
  clock?: Clock;
  backoff?: BackoffOptions;
  /** Objects a page of the list. */
  limit?: number;
  /**
   * No byte on the watch for so long means a dead connection; two minutes where not given, since API servers send a
   * bookmark every minute.
   */
  idleTimeoutMs?: number;
  /** How long the server serves one watch; five to ten minutes at random where not given, as in client-go. */
  timeoutSeconds?: number;
  /** The server serves the watch: what is told is up to date. */
  onConnected?: () => void;
  /** Nothing is heard any more, and why; what was told before still stands, and follow tries again. */
  onInterrupted?: (error: unknown) => void;
}

/** What becomes of a resource, told one after the other. */
export type FollowEvent<T extends KubeObject> =
  /** All objects as they are now: what is not among them is gone. First of all, and again after a relist. */
  | { type: "LISTED"; items: T[]; resourceVersion: string }
  | { type: "ADDED" | "MODIFIED" | "DELETED"; object: T };

/**
 * Lists and then watches, for ever: takes up a broken watch where it was, lists anew where that is no longer possible
 * (410), and waits ever longer between failures. Ends without error when the signal aborts, or the
 * client is closed.
 */
export async function* follow<T extends KubeObject>(
  client: KubeClient,
  resource: Resource<T>,
  options: FollowOptions,
): AsyncGenerator<FollowEvent<T>, void, undefined> {
  const { signal } = options;
  const clock = options.clock ?? systemClock;
  const backoff = new Backoff(options.backoff);
  const state: FollowState = { version: undefined, open: false };
  while (!signal.aborted) {
    const startedAt = clock.now();
    try {
      if (state.version === undefined) {
        const list = await client.list(resource, listOptions(options));
        state.version = list.metadata.resourceVersion ?? "";
        yield { type: "LISTED", items: list.items, resourceVersion: state.version };
      }
      for await (const event of changes(client, resource, options, state)) {
        // A server that ends each watch soon, even with a bookmark before, must not be asked in a circle.
        if (event !== undefined || lasts(clock, startedAt)) backoff.reset();
        if (event !== undefined) yield event;
      }
      if (signal.aborted) return;
      if (lasts(clock, startedAt)) backoff.reset();
      else await pause(clock, backoff, signal);
    } catch (error) {
      if (signal.aborted || isClientClosed(error)) return;
      // That a version is too old is what a watch is told now and then; a list has none.
      const tooOld = isGone(error) && state.version !== undefined;
      if (!canResume(error, backoff.failures)) state.version = undefined;
      // A quiet server without bookmarks looks like a dead connection; a new one will tell which it was.
      const quiet = state.open && isUnreachable(error) && error.silent;
      if (!tooOld && !quiet) options.onInterrupted?.(error);
      await pause(clock, backoff, signal);
    }
  }
}

interface FollowState {
  /** Up to which everything is known; undefined for nothing. */
  version: string | undefined;
  /** The server has accepted the last watch. */
  open: boolean;
}

/** True for what has gone on for long enough to be called a success. */
function lasts(clock: Clock, startedAt: number): boolean {
  return clock.now() - startedAt >= 1000;
}

/** What was seen so far is a place to go on from, unless the server keeps saying no to it. */
function canResume(error: unknown, failures: number): boolean {
  if (isUnreachable(error)) return true;
  return failures < 3 && (isTransient(error) || isUnauthorized(error) || isForbidden(error));
}

/** The first time after a success there is no wait: a server may end a watch, or forget old versions, at any time. */
async function pause(clock: Clock, backoff: Backoff, signal: AbortSignal): Promise<void> {
  const first = backoff.failures === 0;
  const delay = backoff.next();
  if (!first) await sleep(clock, delay, signal).catch(() => {});
}

function listOptions(options: FollowOptions) {
  return {
    ...selection(options),
    signal: options.signal,
    ...(options.limit ? { limit: options.limit } : {}),
  };
}

function selection({ namespace, labelSelector, fieldSelector }: Selection): Selection {
  return {
    ...(namespace === undefined ? {} : { namespace }),
    ...(labelSelector === undefined ? {} : { labelSelector }),
    ...(fieldSelector === undefined ? {} : { fieldSelector }),
  };
}

/** The changes of one watch, undefined for a bookmark; moves `state.version` on with each. */
async function* changes<T extends KubeObject>(
  client: KubeClient,
  resource: Resource<T>,
  options: FollowOptions,
  state: FollowState,
): AsyncGenerator<FollowEvent<T> | undefined> {
  state.open = false;
  const watch = client.watch(resource, {
    ...selection(options),
    signal: options.signal,
    timeoutSeconds: options.timeoutSeconds ?? Math.floor(300 * (1 + Math.random())),
    idleTimeoutMs: options.idleTimeoutMs ?? 120_000,
    onOpen: () => {
      state.open = true;
      options.onConnected?.();
    },
    ...(state.version === undefined ? {} : { resourceVersion: state.version }),
  });
  for await (const event of watch) {
    if (event.type === "ERROR") continue;
    state.version = event.object.metadata.resourceVersion ?? state.version;
    yield event.type === "BOOKMARK" ? undefined : { type: event.type, object: event.object };
  }
}
