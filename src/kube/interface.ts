import type {
  DeleteOptions,
  Draft,
  Json,
  KubeList,
  KubeObject,
  ObjectRef,
  Resource,
  Status,
  WatchEvent,
} from "./types.ts";

export interface RequestOptions {
  signal?: AbortSignal;
  /** How long to wait for the whole answer; 30 seconds where not given. Not used by watches. */
  timeoutMs?: number;
}

export interface ReadOptions extends RequestOptions {
  /** "status" or "scale". */
  subresource?: string;
}

export interface WriteOptions extends RequestOptions {
  /** "status", "scale", or (of pods, on create) "binding". */
  subresource?: string;
  fieldManager?: string;
  /** Validate only: nothing is stored. */
  dryRun?: boolean;
}

export interface Selection {
  /** One namespace; all of them where not given. */
  namespace?: string;
  /** Such as "app=blue,tier in (front, back)". */
  labelSelector?: string;
  /** Such as "spec.nodeName=node-1". */
  fieldSelector?: string;
}

export interface ListOptions extends RequestOptions, Selection {
  /** Objects a page; 500 where not given. */
  limit?: number;
  /** "0" takes what the server has in its cache. */
  resourceVersion?: string;
}

export interface WatchOptions extends Selection {
  signal?: AbortSignal;
  /** Events after this version; without it, first an ADDED for each object there is. */
  resourceVersion?: string;
  /** Ask for BOOKMARK events; true where not given. */
  bookmarks?: boolean;
  /** How long the server shall serve this stream, in seconds; it ends then, without error. */
  timeoutSeconds?: number;
  /** No byte for so long means that the connection is dead; off where not given. */
  idleTimeoutMs?: number;
  /** Called when the server has accepted the watch. */
  onOpen?: () => void;
}

/** The body of a PATCH; the type is its content type. */
export type Patch =
  | { type: "merge"; body: { [key: string]: Json | undefined } }
  | { type: "strategic"; body: { [key: string]: Json | undefined } }
  | { type: "json"; body: JsonPatchOperation[] }
  | { type: "apply"; body: KubeObject; fieldManager: string; force?: boolean };

/** RFC 6902. */
export type JsonPatchOperation =
  | { op: "add" | "replace" | "test"; path: string; value: Json }
  | { op: "remove"; path: string }
  | { op: "move" | "copy"; path: string; from: string };

/**
 * The Kubernetes API as Weft speaks it, with the real and with the embedded API server.
 *
 * Every method rejects with an `ApiError` (the server said no; see the predicates in errors.ts), an `ApiUnreachable`
 * (no answer), or the reason of the abort.
 */
export interface KubeClient {
  /** The base URL of the API server. */
  readonly server: string;

  get<T extends KubeObject>(resource: Resource<T>, ref: ObjectRef, options?: ReadOptions): Promise<T>;

  /** All objects, page by page. Where a token expires between pages (410), the list is taken anew in one piece. */
  list<T extends KubeObject>(resource: Resource<T>, options?: ListOptions): Promise<KubeList<T>>;

  /**
   * One watch stream, without ERROR events: it ends when the server ends it, and rejects when it breaks
   * (`isUnreachable`), or when the version is too old (`isGone`). Use `follow` or an informer for a watch that keeps itself going.
   */
  watch<T extends KubeObject>(resource: Resource<T>, options?: WatchOptions): AsyncIterable<WatchEvent<T>>;

  /** The namespace of namespaced objects is that of `object.metadata`. */
  create<T extends KubeObject>(resource: Resource<T>, object: Draft<T>, options?: WriteOptions): Promise<T>;

  /** Replaces the object; with `metadata.resourceVersion`, only if it is still of that version (`isConflict`). */
  update<T extends KubeObject>(resource: Resource<T>, object: T, options?: WriteOptions): Promise<T>;

  /** Replaces the object's status alone. */
  updateStatus<T extends KubeObject>(resource: Resource<T>, object: T, options?: WriteOptions): Promise<T>;

  patch<T extends KubeObject>(
    resource: Resource<T>,
    ref: ObjectRef,
    patch: Patch,
    options?: WriteOptions,
  ): Promise<T>;

  /** The object as it is now (where a finalizer or grace period holds it), or the Status of its removal. */
  delete<T extends KubeObject>(
    resource: Resource<T>,
    ref: ObjectRef,
    options?: DeleteOptions & RequestOptions,
  ): Promise<T | Status>;

  deleteCollection<T extends KubeObject>(
    resource: Resource<T>,
    options?: DeleteOptions & RequestOptions & Selection,
  ): Promise<void>;

  /** Any other path, such as "/version"; the answer parsed as JSON, or as text where it is not JSON. */
  request<R = unknown>(
    method: string,
    path: string,
    options?: RequestOptions & { body?: unknown; contentType?: string },
  ): Promise<R>;

  /** Ends all watches and requests. */
  close(): void;
}
