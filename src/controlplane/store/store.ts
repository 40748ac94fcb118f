import type { ApiObject } from "../objects.ts";
import { Database } from "./database.ts";
import type { Entry, StoreEvent } from "./entry.ts";
import { History } from "./history.ts";

export type Listener = (event: StoreEvent) => void;

interface Collection {
  /** By namespace, then by name. */
  readonly namespaces: Map<string, Map<string, Entry>>;
  readonly history: History;
  readonly listeners: Set<Listener>;
  count: number;
  /** All entries in order; undefined after a create or delete. */
  sorted: Entry[] | undefined;
}

export interface StoreOptions {
  /** SQLite file; in memory where not given. */
  dataFile?: string;
  /** Events kept of each resource for watches and pages that come back; older versions are answered with 410. */
  historyLimit?: number;
}

/**
 * The objects of the API: a copy in memory that answers reads, and SQLite behind it. One counter of revisions for all.
 * Everything is synchronous: between two awaits of a caller nothing changes, so a read, a decision and a write that
 * stand together are one transaction.
 */
export class Store {
  readonly database: Database;
  readonly #collections = new Map<string, Collection>();
  readonly #historyLimit: number;
  /** What was before, this process cannot tell. */
  readonly #startRevision: number;
  #revision: number;

  constructor(options: StoreOptions = {}) {
    this.database = new Database(options.dataFile);
    this.#historyLimit = options.historyLimit ?? 10_000;
    // An empty store begins at 1: to clients, version 0 means "any".
    this.#startRevision = Math.max(1, this.database.revision);
    this.#revision = this.#startRevision;
    for (const row of this.database.rows()) {
      const object = JSON.parse(row.value) as ApiObject;
      this.#insert(this.#collection(row.resource), { ...row, object, text: row.value });
    }
  }

  /** The revision of the last write. */
  get revision(): number {
    return this.#revision;
  }

  get(resource: string, namespace: string, name: string): Entry | undefined {
    return this.#collections.get(resource)?.namespaces.get(namespace)?.get(name);
  }

  /** All entries in the order of namespace and name; of one namespace where given. Good until the next write. */
  list(resource: string, namespace?: string): readonly Entry[] {
    const collection = this.#collections.get(resource);
    if (collection === undefined) return [];
    if (namespace !== undefined) {
      return [...(collection.namespaces.get(namespace)?.values() ?? [])].sort(byKey);
    }
    collection.sorted ??= [...collection.namespaces.values()]
      .flatMap((names) => [...names.values()])
      .sort(byKey);
    return collection.sorted;
  }

  /** As {@link list}, but as it was at an earlier revision. Throws `Compacted` (history.ts) where that is no longer known. */
  listAt(resource: string, namespace: string | undefined, revision: number): readonly Entry[] {
    const now = this.list(resource, namespace);
    const later = this.eventsSince(resource, revision);
    if (later.length === 0) return now;
    const entries = new Map(now.map((entry) => [keyOf(entry), entry]));
    for (const event of later.toReversed()) {
      if (namespace !== undefined && event.entry.namespace !== namespace) continue;
      if (event.previous === undefined) entries.delete(keyOf(event.entry));
      else entries.set(keyOf(event.entry), event.previous);
    }
    return [...entries.values()].sort(byKey);
  }

  count(resource: string): number {
    return this.#collections.get(resource)?.count ?? 0;
  }

  /** Stores a new object; the caller has seen that there is none of its name. Sets its resourceVersion. */
  create(resource: string, object: ApiObject): Entry {
    return this.#put(resource, object, undefined);
  }

  /** Replaces `previous`, which the caller has just read. Sets the new object's resourceVersion. */
  update(resource: string, previous: Entry, object: ApiObject): Entry {
    return this.#put(resource, object, previous);
  }

  /** Removes an object. Returns it as it last was, with the revision of the deletion. */
  delete(resource: string, previous: Entry): Entry {
    const revision = this.#next();
    const { namespace, name } = previous;
    this.database.delete(resource, namespace, name, revision);
    const collection = this.#collection(resource);
    const names = collection.namespaces.get(namespace);
    names?.delete(name);
    if (names?.size === 0) collection.namespaces.delete(namespace);
    collection.count--;
    collection.sorted = undefined;
    const entry = entryOf(previous.object, namespace, name, revision);
    this.#publish(collection, { type: "DELETED", revision, entry, previous });
    return entry;
  }

  /** All events after a revision. Throws `Compacted` (history.ts) where some of them are no longer known. */
  eventsSince(resource: string, revision: number): readonly StoreEvent[] {
    return this.#collection(resource).history.since(revision);
  }

  /** Calls `listener` at each change, inside of the write. Returns the function that ends it. */
  subscribe(resource: string, listener: Listener): () => void {
    const { listeners } = this.#collection(resource);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  /** Forgets all events up to a revision, as etcd's compaction does. */
  compact(revision = this.#revision): void {
    for (const { history } of this.#collections.values()) history.compact(revision);
  }

  close(): void {
    this.database.close();
  }

  #put(resource: string, object: ApiObject, previous: Entry | undefined): Entry {
    const revision = this.#next();
    const namespace = object.metadata.namespace ?? "";
    const entry = entryOf(object, namespace, object.metadata.name, revision);
    this.database.put({ resource, namespace, name: entry.name, revision, value: entry.text });
    const collection = this.#collection(resource);
    if (previous === undefined) this.#insert(collection, entry);
    else this.#replace(collection, entry);
    this.#publish(collection, {
      type: previous === undefined ? "ADDED" : "MODIFIED",
      revision,
      entry,
      previous,
    });
    return entry;
  }

  #next(): number {
    this.#revision++;
    return this.#revision;
  }

  #collection(resource: string): Collection {
    let collection = this.#collections.get(resource);
    if (collection === undefined) {
      collection = {
        namespaces: new Map(),
        history: new History(this.#historyLimit, this.#startRevision),
        listeners: new Set(),
        count: 0,
        sorted: undefined,
      };
      this.#collections.set(resource, collection);
    }
    return collection;
  }

  #insert(collection: Collection, entry: Entry): void {
    let names = collection.namespaces.get(entry.namespace);
    if (names === undefined) {
      names = new Map();
      collection.namespaces.set(entry.namespace, names);
    }
    names.set(entry.name, entry);
    collection.count++;
    collection.sorted = undefined;
  }

  #replace(collection: Collection, entry: Entry): void {
    collection.namespaces.get(entry.namespace)?.set(entry.name, entry);
    if (collection.sorted !== undefined) collection.sorted[indexOf(collection.sorted, entry)] = entry;
  }

  #publish(collection: Collection, event: StoreEvent): void {
    collection.history.add(event);
    // A copy: a listener may end itself or others.
    for (const listener of [...collection.listeners]) listener(event);
  }
}

function entryOf(object: ApiObject, namespace: string, name: string, revision: number): Entry {
  const { apiVersion, kind, metadata, ...rest } = object;
  const stored: ApiObject = {
    apiVersion,
    kind,
    metadata: { ...metadata, resourceVersion: String(revision) },
    ...rest,
  };
  return { namespace, name, revision, object: stored, text: JSON.stringify(stored) };
}

function keyOf(entry: Entry): string {
  return `${entry.namespace}/${entry.name}`;
}

/** The order of lists and of their pages. */
export function byKey(
  a: { namespace: string; name: string },
  b: { namespace: string; name: string },
): number {
  if (a.namespace !== b.namespace) return a.namespace < b.namespace ? -1 : 1;
  if (a.name === b.name) return 0;
  return a.name < b.name ? -1 : 1;
}

function indexOf(sorted: readonly Entry[], entry: Entry): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (byKey(sorted[middle] as Entry, entry) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
