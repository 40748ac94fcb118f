import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ClientConfig } from "../clientconfig.ts";
import { fixedCredentials } from "../credentials.ts";
import { ApiError } from "../errors.ts";
import { FakeKube } from "../fake/index.ts";
import type { Patch, Selection, WatchOptions } from "../interface.ts";
import { type KubeObject, type Resource, resources } from "../types.ts";

export const pem = (name: string) => readFileSync(join(import.meta.dir, name), "utf8");

/** What a request is answered with in place of what the fake would say; undefined lets it pass. */
export type Fault = (request: Request, url: URL) => Response | Promise<Response> | undefined;

/** A `FakeKube` behind HTTPS with client certificates or tokens: what an API server looks like to the client. */
export class HttpKube {
  readonly fake = new FakeKube();
  /** "GET /api/v1/pods?limit=2", in the order of arrival. */
  readonly requests: string[] = [];
  readonly headers: Headers[] = [];
  /** Ports from which connections came. */
  readonly connections = new Set<number>();
  readonly #streams = new Set<symbol>();
  fault: Fault = () => undefined;
  #server: Bun.Server<undefined>;
  readonly #options: { requireCertificate?: boolean; token?: string };

  constructor(options: { requireCertificate?: boolean; token?: string } = {}) {
    this.#options = options;
    this.#server = this.#serve(0);
  }

  #serve(port: number): Bun.Server<undefined> {
    const requireCertificate = this.#options.requireCertificate === true;
    return Bun.serve({
      hostname: "127.0.0.1",
      port,
      idleTimeout: 0,
      tls: {
        cert: pem("server.crt"),
        key: pem("server.key"),
        ca: pem("ca.crt"),
        requestCert: requireCertificate,
        rejectUnauthorized: requireCertificate,
      },
      fetch: (request, server) => {
        this.connections.add(server.requestIP(request)?.port ?? 0);
        return this.#answer(request).catch(failure);
      },
    });
  }

  /** Watch streams that are open. */
  get streams(): number {
    return this.#streams.size;
  }

  get url(): string {
    return `https://127.0.0.1:${this.#server.port}`;
  }

  /** How a client with the test's certificate reaches this. */
  config(): ClientConfig {
    const credentials = fixedCredentials({ cert: pem("client.crt"), key: pem("client.key") });
    return { server: this.url, namespace: "default", ca: pem("ca.crt"), credentials };
  }

  /** Closes all connections and the port. */
  async stop(): Promise<void> {
    this.#port = this.#server.port ?? 0;
    await this.#server.stop(true);
  }

  #port = 0;

  /** Takes up the port of before. */
  restart(): void {
    this.#server = this.#serve(this.#port);
  }

  async #answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    this.requests.push(`${request.method} ${url.pathname}${url.search}`);
    this.headers.push(request.headers);
    const fault = await this.fault(request, url);
    if (fault !== undefined) return fault;
    const token = this.#options.token;
    if (token !== undefined && request.headers.get("authorization") !== `Bearer ${token}`) {
      return status(401, "Unauthorized", "Unauthorized");
    }
    const route = routeOf(url.pathname);
    if (route === undefined) return new Response("404 page not found\n", { status: 404 });
    const body: unknown = request.body === null ? undefined : await request.json();
    return route.name === undefined
      ? this.#collection(request, url, route, body)
      : this.#object(request, route as Route & { name: string }, body);
  }

  async #collection(
    request: Request,
    url: URL,
    { resource, namespace }: Route,
    body: unknown,
  ): Promise<Response> {
    const selection: Selection = {
      ...(namespace === undefined ? {} : { namespace }),
      labelSelector: url.searchParams.get("labelSelector") ?? "",
      fieldSelector: url.searchParams.get("fieldSelector") ?? "",
    };
    if (request.method === "POST") return Response.json(await this.fake.create(resource, body as KubeObject));
    if (request.method === "DELETE") {
      await this.fake.deleteCollection(resource, { ...(body as object), ...selection });
      return Response.json({ kind: "Status", status: "Success" });
    }
    if (url.searchParams.get("watch") === "true") {
      return this.#watch(resource, {
        ...selection,
        resourceVersion: url.searchParams.get("resourceVersion") ?? "",
      });
    }
    const list = await this.fake.list(resource, selection);
    const from = Number(url.searchParams.get("continue") ?? 0);
    const limit = Number(url.searchParams.get("limit") ?? 0) || list.items.length;
    const items = list.items.slice(from, from + limit).map(({ apiVersion, kind, ...item }) => item);
    const rest = list.items.length - from - items.length;
    if (rest > 0) list.metadata.continue = String(from + limit);
    return Response.json({ ...list, items });
  }

  #watch(resource: Resource, options: WatchOptions): Response {
    const controller = new AbortController();
    const watch = this.fake.watch(resource, { ...options, signal: controller.signal });
    const events = watch[Symbol.asyncIterator]();
    const first = events.next();
    const id = Symbol();
    this.#streams.add(id);
    const closed = () => void this.#streams.delete(id);
    const line = (value: unknown) => new TextEncoder().encode(`${JSON.stringify(value)}\n`);
    let next: Promise<IteratorResult<unknown, unknown>> | undefined = first;
    return new Response(
      new ReadableStream({
        start: (stream) => stream.enqueue(new TextEncoder().encode("\n")),
        pull: async (stream) => {
          try {
            const { done, value } = await (next ?? events.next());
            next = undefined;
            if (!done) return stream.enqueue(line(value));
            stream.close();
            closed();
          } catch (error) {
            if (error instanceof ApiError) {
              stream.enqueue(line({ type: "ERROR", object: await failure(error).json() }));
              stream.close();
            } else {
              stream.error(error);
            }
            closed();
          }
        },
        cancel: () => {
          controller.abort();
          closed();
        },
      }),
      { headers: { "Content-Type": "application/json" } },
    );
  }

  async #object(request: Request, route: Route & { name: string }, body: unknown): Promise<Response> {
    const { resource, namespace, name, subresource } = route;
    const ref = { name, ...(namespace === undefined ? {} : { namespace }) };
    const options = subresource === undefined ? {} : { subresource };
    switch (request.method) {
      case "GET":
        return Response.json(await this.fake.get(resource, ref, options));
      case "POST":
        return Response.json(await this.fake.create(resource, body as KubeObject, options));
      case "PUT":
        return Response.json(await this.fake.update(resource, body as KubeObject, options));
      case "DELETE":
        return Response.json(await this.fake.delete(resource, ref, body as object));
      case "PATCH": {
        const type = /application\/(?:(json|merge|strategic-merge|apply)-patch)/.exec(
          request.headers.get("content-type") ?? "",
        )?.[1];
        const patch = { type: type === "strategic-merge" ? "strategic" : type, body, fieldManager: "test" };
        return Response.json(await this.fake.patch(resource, ref, patch as Patch, options));
      }
      default:
        return status(405, "MethodNotAllowed", request.method);
    }
  }
}

interface Route {
  resource: Resource;
  namespace: string | undefined;
  name: string | undefined;
  subresource: string | undefined;
}

function routeOf(path: string): Route | undefined {
  const match =
    /^\/apis?\/(?:([^/]+\.[^/]+|apps)\/)?v1(?:\/namespaces\/([^/]+)(?=\/))?\/([^/]+)(?:\/([^/]+))?(?:\/([^/]+))?$/.exec(
      path,
    );
  const resource = Object.values(resources).find(
    (candidate) => candidate.group === (match?.[1] ?? "") && candidate.plural === match?.[3],
  );
  if (match === null || resource === undefined) return undefined;
  return { resource, namespace: match[2], name: match[4], subresource: match[5] };
}

export function status(code: number, reason: string, message: string): Response {
  return Response.json(
    { kind: "Status", apiVersion: "v1", status: "Failure", code, reason, message },
    { status: code },
  );
}

function failure(error: unknown): Response {
  if (error instanceof ApiError) return status(error.httpStatus, error.reason, error.message);
  return status(500, "InternalError", String(error));
}
