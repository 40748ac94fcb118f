import { isDeepStrictEqual } from "node:util";
import { type Clock, systemClock } from "../../lib/clock.ts";
import { ApiMalformed, ApiUnreachable, ClientClosed } from "../errors.ts";
import type {
  KubeClient,
  ListOptions,
  Patch,
  ReadOptions,
  RequestOptions,
  Selection,
  WatchOptions,
  WriteOptions,
} from "../interface.ts";
import {
  apiVersionOf,
  type DeleteOptions,
  type Draft,
  type Json,
  type KubeList,
  type KubeObject,
  keyOf,
  type Namespace,
  type ObjectRef,
  type Pod,
  type Resource,
  resourceName,
  resources,
  type Status,
  type WatchEvent,
} from "../types.ts";
import { jsonPatch, mergePatch } from "./patch.ts";
import { eventOf, graceOf, merged, selects } from "./semantics.ts";
import { apiError, type Change, FakeStore } from "./store.ts";

/** What a request is about, for {@link FakeKube.intercept}. */
export interface FakeRequest {
  verb: "get" | "list" | "watch" | "create" | "update" | "patch" | "delete" | "deletecollection";
  resource: Resource;
  name: string | undefined;
  subresource: string | undefined;
}

/**
 * An API server in memory behind the client's interface, for tests: versions, conflicts, watches with selectors,
 * status and binding subresources, graceful deletion and finalizers as the real one has them. It does not validate, and
 * of patches knows those without lists of objects.
 */
export class FakeKube implements KubeClient {
  readonly server = "fake://kube";
  readonly store: FakeStore;
  /** Throws to let a request fail. */
  intercept: (request: FakeRequest) => void = () => {};
  /** All requests so far that change something, as "create pods default/blue". */
  readonly writes: string[] = [];
  readonly #clock: Clock;
  readonly #breakers = new Set<(error: Error | undefined) => void>();
  #names = 0;

  constructor(options: { clock?: Clock } = {}) {
    this.#clock = options.clock ?? systemClock;
    this.store = new FakeStore(this.#clock);
  }

  /** Breaks all watches, as when the server goes away. */
  interrupt(error: Error = new ApiUnreachable(this.server, "watch", "closed the connection")): void {
    for (const breaker of this.#breakers) breaker(error);
  }

  /** Ends all watches in peace, as the server does from time to time. */
  endWatches(): void {
    for (const breaker of this.#breakers) breaker(undefined);
  }

  async get<T extends KubeObject>(
    resource: Resource<T>,
    ref: ObjectRef,
    options: ReadOptions = {},
  ): Promise<T> {
    this.#ask("get", resource, ref.name, options);
    return structuredClone(this.#find(resource, ref, "get"));
  }

  async list<T extends KubeObject>(resource: Resource<T>, options: ListOptions = {}): Promise<KubeList<T>> {
    this.#ask("list", resource, undefined, options);
    const items = this.store.list(resource).filter(selects(options));
    const metadata = { resourceVersion: String(this.store.version) };
    return structuredClone({
      apiVersion: apiVersionOf(resource),
      kind: `${resource.kind}List`,
      metadata,
      items: items as T[],
    });
  }

  async *watch<T extends KubeObject>(
    resource: Resource<T>,
    options: WatchOptions = {},
  ): AsyncGenerator<WatchEvent<T>, void, undefined> {
    this.#ask("watch", resource, undefined, options);
    const matches = selects(options);
    const queue: WatchEvent<T>[] = [];
    let wake = () => {};
    let end: { error: unknown } | undefined;
    const take = (change: Change) => {
      const event = change.resource === resourceName(resource) ? eventOf(change, matches) : undefined;
      if (event !== undefined) queue.push(event as WatchEvent<T>);
      wake();
    };
    const breaker = (error: unknown) => {
      end ??= { error };
      wake();
    };
    const onAbort = () => breaker(options.signal?.reason);
    const past = this.#past(resource, options.resourceVersion);
    const stop = this.store.listen(take);
    this.#breakers.add(breaker);
    options.signal?.addEventListener("abort", onAbort);
    try {
      options.onOpen?.();
      for (const change of past) take(change);
      while (end === undefined) {
        const event = queue.shift();
        if (event !== undefined) yield structuredClone(event);
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
      if (end.error !== undefined) throw end.error;
    } finally {
      stop();
      this.#breakers.delete(breaker);
      options.signal?.removeEventListener("abort", onAbort);
    }
  }

  #past(resource: Resource, version: string | undefined): Change[] {
    if (version === undefined || version === "" || version === "0") {
      return this.store.list(resource).map((object) => ({
        version: this.store.version,
        resource: resourceName(resource),
        type: "ADDED",
        object,
        before: undefined,
      }));
    }
    const changes = this.store.since(Number(version));
    if (changes === undefined) {
      const message = `too old resource version: ${version} (${this.store.compacted})`;
      throw apiError("Expired", `watch ${resourceName(resource)}`, message);
    }
    return changes;
  }

  async create<T extends KubeObject>(
    resource: Resource<T>,
    draft: Draft<T>,
    options: WriteOptions = {},
  ): Promise<T> {
    const name =
      draft.metadata.name ?? `${draft.metadata.generateName}${(++this.#names).toString(36).padStart(5, "0")}`;
    this.#ask("create", resource, name, options);
    const metadata = { ...structuredClone(draft.metadata), name };
    if (options.subresource === "binding") return this.#bind(resource, metadata, draft) as T;
    const operation = `create ${resourceName(resource)}`;
    if (this.store.get(resource, keyOf(metadata)) !== undefined) {
      throw apiError("AlreadyExists", operation, `${resourceName(resource)} "${name}" already exists`);
    }
    this.#refuseInTerminating(resource, metadata.namespace, operation);
    for (const field of ["uid", "resourceVersion", "deletionTimestamp"] as const) delete metadata[field];
    const typed = {
      apiVersion: apiVersionOf(resource),
      kind: resource.kind,
      ...draft,
      metadata,
    } as unknown as T;
    typed.metadata.generation = 1;
    if (resource === (resources.namespaces as Resource)) {
      Object.assign(typed, { spec: { finalizers: ["kubernetes"] }, status: { phase: "Active" } });
    }
    if (resource === (resources.pods as Resource)) Object.assign(typed, { status: { phase: "Pending" } });
    this.writes.push(`create ${resourceName(resource)} ${keyOf(metadata)}`);
    return structuredClone(this.store.put(resource, typed) as T);
  }

  #refuseInTerminating(resource: Resource, namespace: string | undefined, operation: string): void {
    if (!resource.namespaced || namespace === undefined) return;
    const terminating = this.store.get(resources.namespaces, namespace)?.metadata.deletionTimestamp;
    if (terminating === undefined) return;
    throw apiError("Forbidden", operation, `namespace "${namespace}" is being terminated`);
  }

  #bind(resource: Resource, ref: ObjectRef, binding: unknown): KubeObject {
    const pod = structuredClone(this.#find(resource, ref, "bind")) as Pod;
    const target = (binding as { target: { name: string } }).target.name;
    if (pod.spec.nodeName) {
      throw apiError(
        "Conflict",
        `bind pod "${keyOf(ref)}"`,
        `pod is already assigned to "${pod.spec.nodeName}"`,
      );
    }
    pod.spec.nodeName = target;
    this.writes.push(`bind pods ${keyOf(ref)} to ${target}`);
    return structuredClone(this.store.put(resource, pod));
  }

  async update<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    options: WriteOptions = {},
  ): Promise<T> {
    this.#ask("update", resource, object.metadata.name, options);
    return this.#replace(resource, structuredClone(object), "update", options.subresource) as T;
  }

  updateStatus<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    options: WriteOptions = {},
  ): Promise<T> {
    return this.update(resource, object, { ...options, subresource: "status" });
  }

  async patch<T extends KubeObject>(
    resource: Resource<T>,
    ref: ObjectRef,
    patch: Patch,
    options: WriteOptions = {},
  ): Promise<T> {
    this.#ask("patch", resource, ref.name, options);
    if (patch.type === "apply" && this.store.get(resource, keyOf(ref)) === undefined) {
      return this.create(resource, patch.body as unknown as Draft<T>, options);
    }
    const before = structuredClone(this.#find(resource, ref, "patch")) as unknown as Json;
    let after: unknown;
    try {
      after =
        patch.type === "json"
          ? jsonPatch(before, patch.body)
          : mergePatch(before, patch.body as unknown as Json);
    } catch (cause) {
      throw apiError("Invalid", `patch ${resourceName(resource)} "${keyOf(ref)}"`, (cause as Error).message);
    }
    return this.#replace(resource, after as KubeObject, "patch", options.subresource) as T;
  }

  #replace(
    resource: Resource,
    object: KubeObject,
    verb: string,
    subresource: string | undefined,
  ): KubeObject {
    const before = this.#find(resource, object.metadata, verb);
    const operation = `${verb} ${resourceName(resource)} "${keyOf(object.metadata)}"`;
    const { uid, resourceVersion } = object.metadata;
    if (resourceVersion !== undefined && resourceVersion !== before.metadata.resourceVersion) {
      throw apiError("Conflict", operation, "the object has been modified");
    }
    if (uid !== undefined && uid !== before.metadata.uid)
      throw apiError("Conflict", operation, "another uid");
    const after = merged(before, object, subresource);
    if (isDeepStrictEqual(after, before)) return structuredClone(before);
    const path = subresource === undefined ? "" : `/${subresource}`;
    this.writes.push(`${verb} ${resourceName(resource)}${path} ${keyOf(object.metadata)}`);
    const stored = this.store.put(resource, after);
    return structuredClone(
      this.#finished(resource, stored) ? this.store.remove(resource, keyOf(stored.metadata)) : stored,
    );
  }

  /** A deletion that nothing holds back any more. */
  #finished(resource: Resource, object: KubeObject): boolean {
    const { deletionTimestamp, finalizers, deletionGracePeriodSeconds } = object.metadata;
    const held = (finalizers?.length ?? 0) > 0 || (deletionGracePeriodSeconds ?? 0) > 0;
    const contents =
      resource === (resources.namespaces as Resource) && (object as Namespace).spec?.finalizers?.length;
    return deletionTimestamp !== undefined && !held && !contents;
  }

  async delete<T extends KubeObject>(
    resource: Resource<T>,
    ref: ObjectRef,
    options: DeleteOptions & RequestOptions = {},
  ): Promise<T | Status> {
    this.#ask("delete", resource, ref.name, options);
    const object = structuredClone(this.#find(resource, ref, "delete"));
    const { uid, resourceVersion } = options.preconditions ?? {};
    const stale = resourceVersion !== undefined && resourceVersion !== object.metadata.resourceVersion;
    if (stale || (uid !== undefined && uid !== object.metadata.uid)) {
      throw apiError(
        "Conflict",
        `delete ${resourceName(resource)} "${keyOf(ref)}"`,
        "the precondition failed",
      );
    }
    this.writes.push(`delete ${resourceName(resource)} ${keyOf(ref)}`);
    const { metadata } = object;
    const finalizer = { Foreground: "foregroundDeletion", Orphan: "orphan" }[
      options.propagationPolicy as string
    ];
    if (finalizer !== undefined && metadata.deletionTimestamp === undefined) {
      metadata.finalizers = [...new Set([...(metadata.finalizers ?? []), finalizer])];
    }
    metadata.deletionTimestamp ??= new Date(this.#clock.now()).toISOString();
    metadata.deletionGracePeriodSeconds = graceOf(resource, object, options.gracePeriodSeconds);
    if (this.#finished(resource, object)) {
      this.store.remove(resource, keyOf(ref));
      return { kind: "Status", status: "Success" };
    }
    if (resource === (resources.namespaces as Resource))
      Object.assign(object, { status: { phase: "Terminating" } });
    return structuredClone(this.store.put(resource, object) as T);
  }

  async deleteCollection<T extends KubeObject>(
    resource: Resource<T>,
    options: DeleteOptions & RequestOptions & Selection = {},
  ): Promise<void> {
    this.#ask("deletecollection", resource, undefined, options);
    for (const object of this.store.list(resource).filter(selects(options))) {
      await this.delete(resource, object.metadata as ObjectRef, options);
    }
  }

  /** Knows PUT of a namespace's finalize subresource, and discovery of the resources in the table. */
  async request<R>(
    method: string,
    path: string,
    options: RequestOptions & { body?: unknown } = {},
  ): Promise<R> {
    const finalize = /^\/api\/v1\/namespaces\/([^/]+)\/finalize$/.exec(path);
    if (method === "PUT" && finalize !== null) {
      return this.#replace(resources.namespaces, options.body as Namespace, "update", "finalize") as R;
    }
    const all: Resource[] = Object.values(resources);
    const groups = [...new Set(all.map(apiVersionOf))];
    if (path === "/apis") {
      return {
        groups: groups
          .filter((version) => version.includes("/"))
          .map((groupVersion) => ({ name: groupVersion.split("/")[0], preferredVersion: { groupVersion } })),
      } as R;
    }
    const found = groups.find((version) => path === (version === "v1" ? "/api/v1" : `/apis/${version}`));
    if (found === undefined)
      throw apiError("NotFound", `${method} ${path}`, "the fake does not know this path");
    const verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    return {
      resources: all
        .filter((resource) => apiVersionOf(resource) === found)
        .map(({ plural, kind, namespaced }) => ({ name: plural, kind, namespaced, verbs })),
    } as R;
  }

  close(): void {
    this.interrupt(new ClientClosed(this.server));
  }

  #ask(
    verb: FakeRequest["verb"],
    resource: Resource,
    name: string | undefined,
    options: { signal?: AbortSignal; subresource?: string },
  ): void {
    options.signal?.throwIfAborted();
    if (name === "") throw new ApiMalformed(`${verb} ${resourceName(resource)}`, "the name is empty");
    this.intercept({ verb, resource, name, subresource: options.subresource });
  }

  #find<T extends KubeObject>(resource: Resource<T>, ref: ObjectRef, verb: string): T {
    const found = this.store.get(resource, keyOf(ref));
    if (found !== undefined) return found as T;
    const operation = `${verb} ${resourceName(resource)} "${keyOf(ref)}"`;
    throw apiError("NotFound", operation, `${resourceName(resource)} "${ref.name}" not found`);
  }
}
