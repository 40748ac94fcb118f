import { explain } from "../lib/errors.ts";
import { type Log, silentLog } from "../lib/log.ts";
import type { KubeClient } from "./client.ts";
import { ClientClosed } from "./errors.ts";
import { type FollowEvent, type FollowOptions, follow } from "./follow.ts";
import { type KubeObject, keyOf, type ObjectRef, type Resource, resourceName } from "./types.ts";

/** What to do when objects come, change and go. A handler that throws is logged, and does not stop the others. */
export interface Handlers<T extends KubeObject> {
  add?(object: T): void;
  update?(object: T, before: T): void;
  delete?(object: T): void;
}

export interface InformerOptions<T extends KubeObject> extends FollowOptions {
  /** Leaves only what is needed of an object, for memory's sake; without it, all but the managed fields. */
  trim?: (object: T) => T;
  /** Names of indexes, and the values under which each object is found in them; see {@link Informer.by}. */
  indexes?: Record<string, (object: T) => string[]>;
  /** Where `onInterrupted` is not given, it is also told when the API server goes and comes. */
  log?: Log;
}

/** What an informer knows about its connection. */
export interface InformerHealth {
  connected: boolean;
  /** Why not; undefined while connected, and before the first attempt has failed. */
  error: unknown;
}

/** A local copy of a resource that keeps itself up to date; while the API server is away, what was last known. */
export interface Informer<T extends KubeObject> {
  readonly resource: Resource<T>;
  /** Resolves when the first list is in the cache and its handlers have been called. Rejects on abort before that. */
  readonly synced: Promise<void>;
  readonly hasSynced: boolean;
  readonly health: InformerHealth;
  readonly size: number;
  get(ref: ObjectRef): T | undefined;
  /** By "namespace/name", or name. */
  getByKey(key: string): T | undefined;
  /** All, or those of one namespace. */
  list(namespace?: string): T[];
  /** Those that the index `name` gave the value. */
  by(name: string, value: string): T[];
  /**
   * Takes what a request of one's own has answered into the cache at once, where it is newer than what is there, so that
   * the next look at the cache sees it. Handlers are called as for any change.
   */
  observe(object: T): void;
  /** The same for an object that a request of one's own has removed. */
  observeRemoval(object: T): void;
  /** Adds handlers, and calls their `add` for what is in the cache. The answer takes them away again. */
  on(handlers: Handlers<T>): () => void;
}

/** The managed fields are of no use to Weft, and often the larger part of an object. */
export function dropManagedFields<T extends KubeObject>(object: T): T {
  if (object.metadata.managedFields === undefined) return object;
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata };
}

/** Starts to list and watch a resource until the signal of the options aborts. */
export function startInformer<T extends KubeObject>(
  client: KubeClient,
  resource: Resource<T>,
  options: InformerOptions<T>,
): Informer<T> {
  const informer = new CachingInformer(resource, options);
  void informer.run(client);
  return informer;
}

class CachingInformer<T extends KubeObject> implements Informer<T> {
  readonly resource: Resource<T>;
  readonly synced: Promise<void>;
  readonly health: InformerHealth = { connected: false, error: undefined };
  hasSynced = false;
  readonly #options: InformerOptions<T>;
  readonly #log: Log;
  readonly #trim: (object: T) => T;
  readonly #objects = new Map<string, T>();
  readonly #indexes = new Map<string, Index<T>>();
  readonly #handlers = new Set<Handlers<T>>();
  /** Up to which the server has told everything. */
  #version: string | undefined;
  readonly #settle: PromiseWithResolvers<void>;

  constructor(resource: Resource<T>, options: InformerOptions<T>) {
    this.resource = resource;
    this.#options = options;
    this.#log = (options.log ?? silentLog).with({ resource: resourceName(resource) });
    this.#trim = options.trim ?? dropManagedFields;
    for (const [name, values] of Object.entries(options.indexes ?? {})) {
      this.#indexes.set(name, new Index(values));
    }
    this.#settle = Promise.withResolvers<void>();
    this.synced = this.#settle.promise;
    // Whoever does not wait for it must not be killed by its rejection.
    this.synced.catch(() => {});
  }

  get size(): number {
    return this.#objects.size;
  }

  get(ref: ObjectRef): T | undefined {
    return this.#objects.get(keyOf(ref));
  }

  getByKey(key: string): T | undefined {
    return this.#objects.get(key);
  }

  list(namespace?: string): T[] {
    const all = [...this.#objects.values()];
    return namespace === undefined ? all : all.filter((object) => object.metadata.namespace === namespace);
  }

  by(name: string, value: string): T[] {
    const index = this.#indexes.get(name);
    if (index === undefined)
      throw new Error(`The informer of ${resourceName(this.resource)} has no index "${name}"`);
    return index.get(value).map((key) => this.#objects.get(key) as T);
  }

  on(handlers: Handlers<T>): () => void {
    this.#handlers.add(handlers);
    for (const object of this.#objects.values()) this.#guard(() => handlers.add?.(object));
    return () => void this.#handlers.delete(handlers);
  }

  observe(object: T): void {
    const before = this.#objects.get(keyOf(object.metadata));
    const { resourceVersion } = object.metadata;
    const known = before === undefined ? this.#version : before.metadata.resourceVersion;
    // What is not there, though the server told all up to a later version, was deleted before its answer came here.
    if (known === undefined || compareVersions(resourceVersion, known) > 0)
      this.#guard(() => this.#put(object));
  }

  observeRemoval(object: T): void {
    const key = keyOf(object.metadata);
    if (this.#objects.get(key)?.metadata.uid === object.metadata.uid) this.#remove(key);
  }

  #heard(version: string | undefined): void {
    if (this.#version === undefined || compareVersions(version, this.#version) > 0) this.#version = version;
  }

  async run(client: KubeClient): Promise<void> {
    const { signal } = this.#options;
    try {
      for await (const event of follow(client, this.resource, {
        ...this.#options,
        onConnected: () => this.#connected(),
        onInterrupted: (error) => this.#interrupted(error),
      })) {
        this.#apply(event);
        // An iteration holds on to its last value until the next one comes, which may be long: a whole list.
        if (event.type === "LISTED") event.items.length = 0;
        this.#connected();
      }
    } finally {
      this.health.connected = false;
      this.#settle.reject(signal.aborted ? signal.reason : new ClientClosed(client.server));
    }
  }

  #apply(event: FollowEvent<T>): void {
    if (event.type !== "LISTED") this.#heard(event.object.metadata.resourceVersion);
    switch (event.type) {
      case "LISTED":
        this.#replace(event.items, event.resourceVersion);
        this.#heard(event.resourceVersion);
        this.hasSynced = true;
        this.#settle.resolve();
        return;
      case "DELETED":
        this.#remove(keyOf(event.object.metadata));
        return;
      default:
        this.#take(event.object);
    }
  }

  #replace(items: readonly T[], version: string): void {
    // A server that was restored from a backup counts from an earlier version: nothing here is newer than what it says.
    const back = this.#version !== undefined && compareVersions(version, this.#version) < 0;
    if (back) this.#version = version;
    const gone = new Set(this.#objects.keys());
    for (const item of items) {
      gone.delete(keyOf(item.metadata));
      if (back) this.#guard(() => this.#put(item));
      else this.#take(item);
    }
    for (const key of gone) {
      // What was observed after the list was made is not in it, and yet is there.
      const { resourceVersion } = (this.#objects.get(key) as T).metadata;
      if (back || compareVersions(resourceVersion, version) <= 0) this.#remove(key);
    }
  }

  /** From the server, which may tell late what was observed already. */
  #take(object: T): void {
    const before = this.#objects.get(keyOf(object.metadata));
    if (before === undefined || before.metadata.uid !== object.metadata.uid || !isNewer(before, object)) {
      this.#guard(() => this.#put(object));
    }
  }

  #put(full: T): void {
    const object = this.#trim(full);
    const key = keyOf(object.metadata);
    const before = this.#objects.get(key);
    const { uid, resourceVersion } = object.metadata;
    if (before !== undefined && before.metadata.uid !== uid) {
      // Deleted and made anew while nobody looked: two objects, not a change of one.
      this.#remove(key);
    } else if (before !== undefined && before.metadata.resourceVersion === resourceVersion) {
      return;
    }
    const changed = this.#objects.get(key);
    this.#objects.set(key, object);
    for (const index of this.#indexes.values()) index.put(key, object);
    for (const handlers of this.#handlers) {
      this.#guard(() =>
        changed === undefined ? handlers.add?.(object) : handlers.update?.(object, changed),
      );
    }
  }

  #remove(key: string): void {
    const object = this.#objects.get(key);
    if (object === undefined) return;
    this.#objects.delete(key);
    for (const index of this.#indexes.values()) index.remove(key);
    for (const handlers of this.#handlers) this.#guard(() => handlers.delete?.(object));
  }

  #guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#log.error("A handler failed", { error: explain(error) });
    }
  }

  #connected(): void {
    if (this.health.connected) return;
    if (this.health.error !== undefined && this.#options.onInterrupted === undefined) {
      this.#log.info("The API server is heard again");
    }
    this.health.connected = true;
    this.health.error = undefined;
    this.#options.onConnected?.();
  }

  #interrupted(error: unknown): void {
    if (this.health.error === undefined && this.#options.onInterrupted === undefined) {
      this.#log.warn("The API server is not heard; what was last known stays in force", {
        error: explain(error),
      });
    }
    this.health.connected = false;
    this.health.error = error;
    this.#options.onInterrupted?.(error);
  }
}

/**
 * Negative, 0 or positive. Versions are decimal numbers of one count for all objects of a resource, comparable since
 * Kubernetes 1.35 by contract and before by practice; others compare as equal, so that what comes last counts.
 */
function compareVersions(a: string | undefined, b: string | undefined): number {
  const decimal = /^[0-9]+$/;
  if (a === undefined || b === undefined || !decimal.test(a) || !decimal.test(b)) return 0;
  return a.length === b.length ? (a < b ? -1 : Number(a > b)) : a.length - b.length;
}

function isNewer(a: KubeObject, b: KubeObject): boolean {
  return compareVersions(a.metadata.resourceVersion, b.metadata.resourceVersion) > 0;
}

/** Keys of objects by the values that a function gives each of them. */
class Index<T> {
  readonly #valuesOf: (object: T) => string[];
  readonly #keys = new Map<string, Set<string>>();
  readonly #values = new Map<string, string[]>();

  constructor(valuesOf: (object: T) => string[]) {
    this.#valuesOf = valuesOf;
  }

  get(value: string): string[] {
    return [...(this.#keys.get(value) ?? [])];
  }

  put(key: string, object: T): void {
    this.remove(key);
    const values = this.#valuesOf(object);
    this.#values.set(key, values);
    for (const value of values) {
      const keys = this.#keys.get(value);
      if (keys === undefined) this.#keys.set(value, new Set([key]));
      else keys.add(key);
    }
  }

  remove(key: string): void {
    for (const value of this.#values.get(key) ?? []) {
      const keys = this.#keys.get(value);
      keys?.delete(key);
      if (keys?.size === 0) this.#keys.delete(value);
    }
    this.#values.delete(key);
  }
}
