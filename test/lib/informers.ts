/** Informers that a test fills by hand. */
import type { Handlers, Informer } from "../../src/kube/informer.ts";
import { type KubeObject, keyOf, type ObjectRef, type Resource } from "../../src/kube/types.ts";

/** An informer without an API server: what is put into it is what the API server said last. */
export class HandInformer<T extends KubeObject> implements Informer<T> {
  readonly resource: Resource<T>;
  readonly health = { connected: true, error: undefined };
  readonly synced: Promise<void>;
  hasSynced = false;
  readonly #objects = new Map<string, T>();
  readonly #handlers = new Set<Handlers<T>>();
  readonly #settle = Promise.withResolvers<void>();

  constructor(resource: Resource<T>) {
    this.resource = resource;
    this.synced = this.#settle.promise;
  }

  /** Ends the first list. */
  sync(): void {
    this.hasSynced = true;
    this.#settle.resolve();
  }

  put(...objects: T[]): void {
    for (const object of objects) {
      const key = keyOf(object.metadata);
      const before = this.#objects.get(key);
      this.#objects.set(key, object);
      for (const handlers of this.#handlers) {
        if (before === undefined) handlers.add?.(object);
        else handlers.update?.(object, before);
      }
    }
  }

  remove(key: string): void {
    const object = this.#objects.get(key);
    if (object === undefined) return;
    this.#objects.delete(key);
    for (const handlers of this.#handlers) handlers.delete?.(object);
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

  list(): T[] {
    return [...this.#objects.values()];
  }

  by(name: string): T[] {
    throw new Error(`This informer has no index "${name}"`);
  }

  observe(object: T): void {
    this.put(object);
  }

  observeRemoval(object: T): void {
    this.remove(keyOf(object.metadata));
  }

  on(handlers: Handlers<T>): () => void {
    this.#handlers.add(handlers);
    for (const object of this.#objects.values()) handlers.add?.(object);
    return () => void this.#handlers.delete(handlers);
  }
}
