import type { Cluster } from "../cluster.ts";
import { parseSelectors, type Selector } from "../query/selectors.ts";
import { apiVersionOf, type ResourceType } from "../resources/definition.ts";
import { expired, forbiddenField, invalid, required, type StatusError } from "../status.ts";
import type { Entry, StoreEvent } from "../store/entry.ts";
import { Compacted } from "../store/history.ts";
import type { Format } from "./accept.ts";
import { numberOf } from "./list.ts";
import { Renderer } from "./respond.ts";

const BOOKMARK_INTERVAL = 60_000;
/** Bytes that may wait for a client that does not read; it is cut off then, and may come back with its last version. */
const MOST_WAITING = 64 * 1024 * 1024;

const encoder = new TextEncoder();
/** Bun sends the head of an answer with its first byte, and clients wait for it: white space that JSON ignores. */
const FIRST_BYTE = encoder.encode(" ");
/** The plain text of an event is made once for all its watchers. */
const shared = new WeakMap<StoreEvent, Map<string, Uint8Array>>();

/** The open watches of a server: they get bookmarks from time to time, and end with it. */
export class Watches {
  readonly #open = new Set<WatchStream>();
  readonly #timer: Timer;

  constructor() {
    this.#timer = setInterval(() => {
      for (const watch of this.#open) watch.bookmark();
    }, BOOKMARK_INTERVAL);
    this.#timer.unref();
  }

  get size(): number {
    return this.#open.size;
  }

  /** Answers a watch. Throws a Status of 400 or 422; a version that is too old is an ERROR event in the stream. */
  open(
    cluster: Cluster,
    type: ResourceType,
    namespace: string | undefined,
    request: { query: URLSearchParams; format: Format; signal: AbortSignal },
  ): Response {
    const watch = new WatchStream(cluster, type, namespace, request.query, request.format, () =>
      this.#open.delete(watch),
    );
    this.#open.add(watch);
    const body = watch.start(request.signal);
    return new Response(body, {
      headers: { "content-type": "application/json", "cache-control": "no-cache, private" },
    });
  }

  close(): void {
    clearInterval(this.#timer);
    for (const watch of [...this.#open]) watch.end();
  }
}

type EventType = "ADDED" | "MODIFIED" | "DELETED";

class WatchStream {
  readonly #cluster: Cluster;
  readonly #type: ResourceType;
  readonly #namespace: string | undefined;
  readonly #renderer: Renderer;
  readonly #format: Format;
  readonly #selector: Selector | undefined;
  readonly #bookmarks: boolean;
  readonly #initial: boolean;
  readonly #markInitial: boolean;
  readonly #from: number;
  readonly #timeout: number;
  readonly #onEnd: () => void;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #unsubscribe: (() => void) | undefined;
  #timer: Timer | undefined;
  #columnsSent = false;
  /** The revision that the client knows. */
  #seen = 0;

  constructor(
    cluster: Cluster,
    type: ResourceType,
    namespace: string | undefined,
    query: URLSearchParams,
    format: Format,
    onEnd: () => void,
  ) {
    this.#cluster = cluster;
    this.#type = type;
    this.#namespace = namespace;
    this.#format = format;
    this.#onEnd = onEnd;
    this.#renderer = new Renderer(type, format, query.get("includeObject"));
    this.#selector = parseSelectors(
      query.get("labelSelector") ?? "",
      query.get("fieldSelector") ?? "",
      type.fields,
    );
    this.#bookmarks = isTrue(query.get("allowWatchBookmarks"));
    this.#from = numberOf(query, "resourceVersion") ?? 0;
    this.#initial = wantsInitialEvents(query, this.#from);
    this.#markInitial = isTrue(query.get("sendInitialEvents"));
    // As Kubernetes' default: half an hour, and up to as much again so that not all come back at once.
    this.#timeout = (numberOf(query, "timeoutSeconds") || 1800 * (1 + Math.random())) * 1000;
  }

  start(signal: AbortSignal): ReadableStream<Uint8Array> {
    const stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
          this.#enqueue(FIRST_BYTE);
          this.#begin();
        },
        cancel: () => this.#release(),
      },
      { highWaterMark: 0, size: (chunk) => chunk?.byteLength ?? 0 },
    );
    if (signal.aborted) this.end();
    else signal.addEventListener("abort", () => this.end(), { once: true });
    return stream;
  }

  /** Tells the client of the current version, so that it can come back with it. */
  bookmark(annotations?: Record<string, string>): void {
    const revision = this.#cluster.store.revision;
    if (!this.#bookmarks || (annotations === undefined && revision === this.#seen)) return;
    this.#seen = revision;
    const metadata = {
      resourceVersion: String(revision),
      creationTimestamp: null,
      ...(annotations === undefined ? {} : { annotations }),
    };
    const object =
      this.#format.as === ""
        ? { kind: this.#type.kind, apiVersion: apiVersionOf(this.#type), metadata }
        : this.#transformed({ kind: this.#type.kind, metadata });
    this.#send(JSON.stringify({ type: "BOOKMARK", object }));
  }

  end(): void {
    const controller = this.#controller;
    this.#release();
    try {
      controller?.close();
    } catch {
      // The client closed it already.
    }
  }

  #begin(): void {
    const { store } = this.#cluster;
    const timer = setTimeout(
      () => {
        this.bookmark();
        this.end();
      },
      Math.min(this.#timeout, 2 ** 31 - 1),
    );
    timer.unref();
    this.#timer = timer;
    try {
      if (this.#initial) this.#sendState();
      else if (this.#from > store.revision) throw new Compacted(this.#from, store.revision);
      else for (const event of store.eventsSince(this.#type.storage, this.#from)) this.#onEvent(event);
    } catch (error) {
      if (!(error instanceof Compacted)) throw error;
      this.#fail(expired(error.message));
      return;
    }
    this.#seen = store.revision;
    this.#unsubscribe = store.subscribe(this.#type.storage, (event) => this.#onEvent(event));
  }

  /** All that there is as ADDED events, and the mark that this was all where the client can read it. */
  #sendState(): void {
    for (const entry of this.#cluster.store.list(this.#type.storage, this.#namespace)) {
      if (this.#selector === undefined || this.#selector.matches(entry.object))
        this.#sendEvent("ADDED", entry, undefined);
    }
    if (this.#markInitial) this.bookmark({ "k8s.io/initial-events-end": "true" });
  }

  #onEvent(event: StoreEvent): void {
    const { entry, previous } = event;
    if (this.#namespace !== undefined && entry.namespace !== this.#namespace) return;
    this.#seen = event.revision;
    const type = this.#select(event);
    if (type === undefined) return;
    // An object that the selector no longer chooses is gone for this client, as it last saw it.
    if (type === "DELETED" && event.type !== "DELETED" && previous !== undefined) {
      const metadata = { ...previous.object.metadata, resourceVersion: String(event.revision) };
      const object = { ...previous.object, metadata };
      this.#sendEvent(type, { ...entry, object, text: JSON.stringify(object) }, undefined);
    } else this.#sendEvent(type, entry, event);
  }

  /** What a change is for a client that sees only what the selector chooses. */
  #select({ type, entry, previous }: StoreEvent): EventType | undefined {
    if (this.#selector === undefined) return type;
    const before = previous !== undefined && this.#selector.matches(previous.object);
    const after = type !== "DELETED" && this.#selector.matches(entry.object);
    if (after) return before ? "MODIFIED" : "ADDED";
    return before ? "DELETED" : undefined;
  }

  #sendEvent(type: EventType, entry: Entry, event: StoreEvent | undefined): void {
    if (!this.#renderer.isPlain(entry)) {
      const object =
        this.#format.as === ""
          ? this.#renderer.object(entry.object, this.#cluster.now())
          : this.#transformed(entry.object);
      this.#send(JSON.stringify({ type, object }));
      return;
    }
    let lines = event === undefined ? undefined : shared.get(event);
    let line = lines?.get(type);
    if (line === undefined) {
      line = encoder.encode(`{"type":"${type}","object":${entry.text}}\n`);
      if (event !== undefined) {
        lines ??= new Map();
        shared.set(event, lines.set(type, line));
      }
    }
    this.#enqueue(line);
  }

  #transformed(object: unknown): unknown {
    const known = object as Entry["object"];
    if (this.#format.as !== "Table") return this.#renderer.object(known, this.#cluster.now());
    // A bookmark has nothing to show in cells.
    const rows = known.metadata.name === undefined ? [] : [known];
    const info = { resourceVersion: known.metadata.resourceVersion ?? "" };
    const table = this.#renderer.table(rows, info, this.#cluster.now(), !this.#columnsSent);
    this.#columnsSent = true;
    return table;
  }

  #fail(error: StatusError): void {
    this.#send(JSON.stringify({ type: "ERROR", object: error.status }));
    this.end();
  }

  #send(line: string): void {
    this.#enqueue(encoder.encode(`${line}\n`));
  }

  #enqueue(line: Uint8Array): void {
    const controller = this.#controller;
    if (controller === undefined) return;
    try {
      controller.enqueue(line);
    } catch {
      this.#release();
      return;
    }
    if ((controller.desiredSize ?? 0) < -MOST_WAITING) this.end();
  }

  #release(): void {
    clearTimeout(this.#timer);
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.#controller = undefined;
    this.#onEnd();
  }
}

export const isTrue = (text: string | null) => text === "true" || text === "1";

/** Without a version, a watch begins with all that there is; with sendInitialEvents, so it does with any (KEP-3157). */
function wantsInitialEvents(query: URLSearchParams, from: number): boolean {
  const asked = query.get("sendInitialEvents");
  const match = query.get("resourceVersionMatch") ?? "";
  const refuse = (error: Parameters<typeof invalid>[2][number]) =>
    invalid({ group: "meta.k8s.io", kind: "ListOptions" }, "", [error]);
  if (asked === null) {
    if (match === "") return from === 0;
    throw refuse(
      forbiddenField(
        "resourceVersionMatch",
        "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
      ),
    );
  }
  if (match !== "NotOlderThan") {
    throw refuse(
      required(
        "resourceVersionMatch",
        "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
      ),
    );
  }
  return isTrue(asked);
}
