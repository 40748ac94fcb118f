import type { Clock } from "../../lib/clock.ts";
import { ApiError, type StatusReason } from "../errors.ts";
import { type KubeObject, keyOf, type Resource, resourceName } from "../types.ts";

/** One change, with the object as it was before: a watch with a selector needs both. */
export interface Change {
  version: number;
  resource: string;
  type: "ADDED" | "MODIFIED" | "DELETED";
  object: KubeObject;
  before: KubeObject | undefined;
}

/** Objects in memory under one growing version, and the history of their changes. */
export class FakeStore {
  version = 1;
  /** Versions up to this one are forgotten. */
  compacted = 0;
  readonly #clock: Clock;
  readonly #objects = new Map<string, Map<string, KubeObject>>();
  readonly #listeners = new Set<(change: Change) => void>();
  #history: Change[] = [];
  #uids = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get(resource: Resource, key: string): KubeObject | undefined {
    return this.#objects.get(resourceName(resource))?.get(key);
  }

  /** By key, in its order. */
  list(resource: Resource): KubeObject[] {
    const entries = [...(this.#objects.get(resourceName(resource)) ?? [])];
    return entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
  }

  /** Stores a new object, or a new state of one; the answer has its version. */
  put(resource: Resource, object: KubeObject): KubeObject {
    const name = resourceName(resource);
    const key = keyOf(object.metadata);
    const objects = this.#objects.get(name) ?? new Map<string, KubeObject>();
    this.#objects.set(name, objects);
    const before = objects.get(key);
    const stored = structuredClone(object);
    stored.metadata.uid ??= `uid-${++this.#uids}`;
    stored.metadata.creationTimestamp ??= new Date(this.#clock.now()).toISOString();
    stored.metadata.resourceVersion = String(++this.version);
    objects.set(key, stored);
    this.#record({ resource: name, type: before ? "MODIFIED" : "ADDED", object: stored, before });
    return stored;
  }

  remove(resource: Resource, key: string): KubeObject {
    const name = resourceName(resource);
    const before = this.#objects.get(name)?.get(key) as KubeObject;
    this.#objects.get(name)?.delete(key);
    const object = structuredClone(before);
    object.metadata.resourceVersion = String(++this.version);
    this.#record({ resource: name, type: "DELETED", object, before });
    return object;
  }

  #record(change: Omit<Change, "version">): void {
    const whole = { ...change, version: this.version };
    this.#history.push(whole);
    for (const listener of this.#listeners) listener(whole);
  }

  /** The changes after a version; undefined where they are forgotten. */
  since(version: number): Change[] | undefined {
    if (version < this.compacted || version > this.version) return undefined;
    return this.#history.filter((change) => change.version > version);
  }

  compact(): void {
    this.compacted = this.version;
    this.#history = [];
  }

  listen(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  get watches(): number {
    return this.#listeners.size;
  }
}

const codes: Partial<Record<StatusReason, number>> = {
  NotFound: 404,
  AlreadyExists: 409,
  Conflict: 409,
  Expired: 410,
  Invalid: 422,
  BadRequest: 400,
};

/** An error as the API server would answer it. */
export function apiError(reason: StatusReason, operation: string, message: string): ApiError {
  return new ApiError({ code: codes[reason] ?? 500, reason, message }, operation);
}
