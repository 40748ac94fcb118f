import { abortable } from "../lib/abort.ts";
import { type Clock, systemClock } from "../lib/clock.ts";
import { quote } from "../lib/errors.ts";
import type { ClientConfig } from "./clientconfig.ts";
import { Deadline } from "./deadline.ts";
import { ApiError, ApiMalformed, ClientClosed, isGone } from "./errors.ts";
import type {
  KubeClient,
  ListOptions,
  Patch,
  ReadOptions,
  RequestOptions,
  Selection,
  WatchOptions,
  WriteOptions,
} from "./interface.ts";
import { JsonLines } from "./jsonlines.ts";
import { collectionPath, objectPath, queryOf, writablePath } from "./paths.ts";
import { type Exchange, Transport, type TransportOptions } from "./transport.ts";
import type {
  DeleteOptions,
  Draft,
  KubeList,
  KubeObject,
  ObjectRef,
  Resource,
  Status,
  WatchEvent,
} from "./types.ts";
import { apiVersionOf, keyOf, resourceName } from "./types.ts";

export type * from "./interface.ts";

const requestTimeoutMs = 30_000;
const pageSize = 500;

const patchTypes: Record<Patch["type"], string> = {
  merge: "application/merge-patch+json",
  strategic: "application/strategic-merge-patch+json",
  json: "application/json-patch+json",
  apply: "application/apply-patch+yaml",
};

/** A client for the API server of this configuration. Nothing is sent until the first request. */
export function createKubeClient(config: ClientConfig, options: TransportOptions = {}): KubeClient {
  return new RestClient(config, options);
}

class RestClient implements KubeClient {
  readonly server: string;
  readonly #transport: Transport;
  readonly #clock: Clock;
  readonly #closed = new AbortController();

  constructor(config: ClientConfig, options: TransportOptions) {
    this.server = config.server;
    this.#transport = new Transport(config, options);
    this.#clock = options.clock ?? systemClock;
  }

  get<T extends KubeObject>(resource: Resource<T>, ref: ObjectRef, options: ReadOptions = {}): Promise<T> {
    const path = objectPath(resource, ref, options.subresource);
    return this.#json("GET", path, `get ${resourceName(resource)} "${keyOf(ref)}"`, options);
  }

  async list<T extends KubeObject>(resource: Resource<T>, options: ListOptions = {}): Promise<KubeList<T>> {
    try {
      return await this.#pages(resource, options, options.limit ?? pageSize);
    } catch (error) {
      if (!isGone(error)) throw error;
      return await this.#pages(resource, options, undefined);
    }
  }

  async #pages<T extends KubeObject>(
    resource: Resource<T>,
    options: ListOptions,
    limit: number | undefined,
  ): Promise<KubeList<T>> {
    const items: T[] = [];
    let token: string | undefined;
    for (;;) {
      const query = queryOf({
        labelSelector: options.labelSelector,
        fieldSelector: options.fieldSelector,
        resourceVersion: token === undefined ? options.resourceVersion : undefined,
        limit,
        continue: token,
      });
      const operation = `list ${resourceName(resource)}`;
      const path = `${collectionPath(resource, options.namespace)}${query}`;
      const page = await this.#json<KubeList<T>>("GET", path, operation, options);
      checkList(page, operation);
      // Items of lists come without the two fields, which handlers and owner references want.
      for (const item of page.items ?? []) items.push(typed(resource, item));
      token = page.metadata.continue || undefined;
      if (token === undefined) return { ...page, items };
    }
  }

  async *watch<T extends KubeObject>(
    resource: Resource<T>,
    options: WatchOptions = {},
  ): AsyncGenerator<WatchEvent<T>, void, undefined> {
    const operation = `watch ${resourceName(resource)}`;
    const query = queryOf({
      watch: true,
      allowWatchBookmarks: options.bookmarks ?? true,
      labelSelector: options.labelSelector,
      fieldSelector: options.fieldSelector,
      resourceVersion: options.resourceVersion,
      timeoutSeconds: options.timeoutSeconds,
    });
    const path = `${collectionPath(resource, options.namespace)}${query}`;
    const deadline = new Deadline(this.#clock, [options.signal, this.#closed.signal]);
    const idle = () => {
      if (options.idleTimeoutMs !== undefined) deadline.set(options.idleTimeoutMs);
    };
    const exchange = { method: "GET", path, operation, signal: deadline.signal };
    try {
      idle();
      const response = await this.#transport.send(exchange);
      options.onOpen?.();
      const lines = new JsonLines(operation);
      for await (const chunk of this.#chunks(response, exchange)) {
        idle();
        for (const line of lines.push(chunk)) yield watchEvent(line, resource, operation);
      }
      for (const line of lines.end()) yield watchEvent(line, resource, operation);
    } finally {
      deadline.end({ abort: true });
    }
  }

  async *#chunks(response: Response, exchange: Exchange): AsyncGenerator<Uint8Array> {
    if (response.body === null) return;
    const reader = response.body.getReader();
    const { signal } = exchange;
    for (;;) {
      const { done, value } = await abortable(reader.read(), signal).catch((error) => {
        // Frees a server in the same process, which no closed connection tells of the end.
        reader.cancel().catch(() => {});
        throw this.#transport.unreachable(exchange, error);
      });
      if (done && signal.aborted) throw this.#transport.unreachable(exchange, signal.reason);
      if (done) return;
      yield value;
    }
  }

  create<T extends KubeObject>(
    resource: Resource<T>,
    object: Draft<T>,
    options: WriteOptions = {},
  ): Promise<T> {
    const { name, generateName, namespace } = object.metadata;
    const collection = writablePath(resource, namespace);
    const sub = options.subresource;
    const path = sub === undefined ? collection : objectPath(resource, refOfMeta(object.metadata), sub);
    const operation = `create ${resourceName(resource)} "${keyOf({ name: name ?? `${generateName}*`, ...(namespace === undefined ? {} : { namespace }) })}"`;
    const body = sub === undefined ? typed(resource, object) : object;
    return this.#write("POST", path, operation, options, body);
  }

  update<T extends KubeObject>(resource: Resource<T>, object: T, options: WriteOptions = {}): Promise<T> {
    const path = objectPath(resource, object.metadata, options.subresource);
    const operation = `update ${resourceName(resource)} "${keyOf(object.metadata)}"`;
    return this.#write("PUT", path, operation, options, typed(resource, object));
  }

  updateStatus<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    options: WriteOptions = {},
  ): Promise<T> {
    return this.update(resource, object, { ...options, subresource: "status" });
  }

  patch<T extends KubeObject>(
    resource: Resource<T>,
    ref: ObjectRef,
    patch: Patch,
    options: WriteOptions = {},
  ): Promise<T> {
    const path = objectPath(resource, ref, options.subresource);
    const operation = `patch ${resourceName(resource)} "${keyOf(ref)}"`;
    const apply = patch.type === "apply";
    return this.#write(
      "PATCH",
      path,
      operation,
      apply ? { ...options, fieldManager: patch.fieldManager } : options,
      patch.body,
      { contentType: patchTypes[patch.type], ...(apply && patch.force === true ? { force: true } : {}) },
    );
  }

  delete<T extends KubeObject>(
    resource: Resource<T>,
    ref: ObjectRef,
    options: DeleteOptions & RequestOptions = {},
  ): Promise<T | Status> {
    const operation = `delete ${resourceName(resource)} "${keyOf(ref)}"`;
    return this.#json("DELETE", objectPath(resource, ref), operation, options, { body: deleteBody(options) });
  }

  async deleteCollection<T extends KubeObject>(
    resource: Resource<T>,
    options: DeleteOptions & RequestOptions & Selection = {},
  ): Promise<void> {
    const { labelSelector, fieldSelector } = options;
    const path = `${writablePath(resource, options.namespace)}${queryOf({ labelSelector, fieldSelector })}`;
    const operation = `delete ${resourceName(resource)} of namespace "${options.namespace ?? ""}"`;
    await this.#json("DELETE", path, operation, options, { body: deleteBody(options) });
  }

  async request<R>(
    method: string,
    path: string,
    options: RequestOptions & { body?: unknown; contentType?: string } = {},
  ): Promise<R> {
    const { body, contentType } = options;
    return this.#exchange(method, path, `${method} ${path}`, options, { body, contentType }, (text, type) =>
      /\bjson\b/.test(type) ? JSON.parse(text) : text,
    );
  }

  close(): void {
    this.#closed.abort(new ClientClosed(this.server));
  }

  #write<R>(
    method: string,
    path: string,
    operation: string,
    options: WriteOptions,
    body: unknown,
    extra: { contentType?: string; force?: boolean } = {},
  ): Promise<R> {
    const query = queryOf({
      fieldManager: options.fieldManager,
      dryRun: options.dryRun === true ? "All" : undefined,
      force: extra.force,
    });
    return this.#json(method, `${path}${query}`, operation, options, {
      body,
      contentType: extra.contentType,
    });
  }

  #json<R>(
    method: string,
    path: string,
    operation: string,
    options: RequestOptions,
    content: { body?: unknown; contentType?: string | undefined } = {},
  ): Promise<R> {
    return this.#exchange(method, path, operation, options, content, (text) => JSON.parse(text));
  }

  async #exchange<R>(
    method: string,
    path: string,
    operation: string,
    options: RequestOptions,
    content: { body?: unknown; contentType?: string | undefined },
    parse: (text: string, type: string) => R,
  ): Promise<R> {
    const deadline = new Deadline(this.#clock, [options.signal, this.#closed.signal]);
    deadline.set(options.timeoutMs ?? requestTimeoutMs);
    const exchange: Exchange = {
      method,
      path,
      operation,
      signal: deadline.signal,
      body: content.body,
      ...(content.contentType === undefined ? {} : { contentType: content.contentType }),
    };
    try {
      const response = await this.#transport.send(exchange);
      const text = await response.text().catch((error) => {
        throw this.#transport.unreachable(exchange, error);
      });
      return parsed(text, operation, () => parse(text, response.headers.get("Content-Type") ?? ""));
    } finally {
      deadline.end({ abort: false });
    }
  }
}

function parsed<R>(text: string, operation: string, parse: () => R): R {
  try {
    return parse();
  } catch (cause) {
    throw new ApiMalformed(operation, `the answer is not JSON: ${quote(text)}`, { cause });
  }
}

/** Throws `ApiMalformed` for what is no list, or not of objects that have names. */
function checkList(page: KubeList<KubeObject> | null, operation: string): void {
  const items: unknown = page?.items ?? [];
  if (typeof page?.metadata !== "object" || page.metadata === null || !Array.isArray(items)) {
    throw new ApiMalformed(operation, `the answer is not a list: ${quote(page)}`);
  }
  const odd = items.findIndex((item) => typeof item?.metadata?.name !== "string");
  if (odd >= 0) throw new ApiMalformed(operation, `item ${odd} has no name: ${quote(items[odd])}`);
}

function typed<O extends object>(resource: Resource, object: O): O {
  return { apiVersion: apiVersionOf(resource), kind: resource.kind, ...object };
}

function refOfMeta(metadata: { name?: string; namespace?: string }): ObjectRef {
  const { name = "", namespace } = metadata;
  return namespace === undefined ? { name } : { name, namespace };
}

function deleteBody(options: DeleteOptions): DeleteOptions {
  const { gracePeriodSeconds, propagationPolicy, preconditions, dryRun } = options;
  return {
    apiVersion: "v1",
    kind: "DeleteOptions",
    ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
    ...(propagationPolicy === undefined ? {} : { propagationPolicy }),
    ...(preconditions === undefined ? {} : { preconditions }),
    ...(dryRun === undefined ? {} : { dryRun }),
  };
}

const eventTypes: readonly unknown[] = ["ADDED", "MODIFIED", "DELETED", "BOOKMARK"];

/** Throws `ApiError` for an ERROR event, and `ApiMalformed` for what is no event. */
function watchEvent<T extends KubeObject>(
  line: unknown,
  resource: Resource<T>,
  operation: string,
): WatchEvent<T> {
  const event = line as Partial<WatchEvent<T>> | null;
  if (typeof event !== "object" || typeof event?.object !== "object" || event.object === null) {
    throw new ApiMalformed(operation, `the stream has a line that is no event: ${quote(line)}`);
  }
  if (event.type === "ERROR") throw new ApiError(event.object, operation);
  const { metadata } = event.object as T;
  const known = eventTypes.includes(event.type) && typeof metadata?.resourceVersion === "string";
  // A bookmark is of a version, and of no object.
  if (!known || (event.type !== "BOOKMARK" && typeof metadata.name !== "string")) {
    throw new ApiMalformed(operation, `the stream has an event that is not understood: ${quote(line)}`);
  }
  return { type: event.type, object: typed(resource, event.object as T) } as WatchEvent<T>;
}
