import { createHash } from "node:crypto";
import { explain } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { User } from "../auth/tokens.ts";
import type { Cluster } from "../cluster.ts";
import { aggregated, groupList, groupOf, legacyVersions, resourceList } from "../discovery/discovery.ts";
import { openApiV2, openApiV3, openApiV3Index } from "../discovery/openapi.ts";
import { encodeOpenApiV2, openApiV2Type } from "../discovery/protobuf.ts";
import { stringAt } from "../objects.ts";
import {
  badRequest,
  internalError,
  methodNotAllowed,
  StatusError,
  unauthorized,
  unknownPath,
} from "../status.ts";
import { bindPod } from "../subresources/pods.ts";
import { answerReview, reviews } from "../subresources/reviews.ts";
import { negotiate } from "./accept.ts";
import { readObject } from "./body.ts";
import { type ApiPath, parseApiPath } from "./path.ts";
import { handleResource } from "./resources.ts";
import { jsonResponse, statusResponse } from "./respond.ts";
import type { Watches } from "./watch.ts";

/** What /version says: the Kubernetes release whose API this follows. */
export const version = {
  major: "1",
  minor: "34",
  gitVersion: "v1.34.0+weft",
  gitCommit: "",
  gitTreeState: "clean",
  buildDate: "2026-01-01T00:00:00Z",
  goVersion: "none",
  compiler: "bun",
  platform: `linux/${process.arch === "x64" ? "amd64" : process.arch}`,
};

const openPaths = ["/healthz", "/livez", "/readyz", "/version"];

export interface HandlerOptions {
  readonly cluster: Cluster;
  readonly watches: Watches;
  readonly log: Log;
  /** Shown by /api: where the server can be reached, as host:port. */
  readonly host: () => string;
}

/** Answers requests of the API. `user` is who asks, where the caller knows; else the request's bearer token tells. */
export type Handler = (request: Request, user?: User) => Promise<Response>;

/** Makes the handler of all paths. It never rejects: what goes wrong is a Status. */
export function createHandler(options: HandlerOptions): Handler {
  const documents = new Documents(options.cluster);
  return async (request, known) => {
    try {
      return await route(request, known, options, documents);
    } catch (error) {
      if (error instanceof StatusError) return statusResponse(error.status);
      if (isTooDeep(error)) return statusResponse(badRequest("the body is nested too deeply").status);
      options.log.error("cannot answer a request of the API", {
        method: request.method,
        url: request.url,
        error: explain(error),
        stack: error instanceof Error ? error.stack : undefined,
      });
      return statusResponse(internalError(explain(error)).status);
    }
  };
}

const isTooDeep = (error: unknown) => error instanceof RangeError && /call stack/i.test(error.message);

async function route(
  request: Request,
  known: User | undefined,
  options: HandlerOptions,
  documents: Documents,
): Promise<Response> {
  const { cluster, watches } = options;
  const url = new URL(request.url);
  const { pathname } = url;
  const open = openPaths.find(
    (path) => pathname === path || (path !== "/version" && pathname.startsWith(`${path}/`)),
  );
  if (open === "/version") return jsonResponse(JSON.stringify(version), 200, undefined);
  if (open !== undefined)
    return new Response("ok", { headers: { "content-type": "text/plain; charset=utf-8" } });
  const user = known ?? authenticate(request, cluster);
  const path = parseApiPath(pathname);
  if (path?.plural === undefined) return documents.answer(request, pathname, path, options.host());
  const special = await answerSpecial(cluster, path, request, user);
  return special ?? handleResource(cluster, watches, path, request, url, user);
}

/** Who asks, by the bearer token. Throws a Status of 401. */
function authenticate(request: Request, cluster: Cluster): User {
  const token = /^Bearer\s+(\S+)$/i.exec(request.headers.get("authorization") ?? "")?.[1];
  const user = token === undefined ? undefined : cluster.tokens.verify(token, cluster.now());
  if (user === undefined) throw unauthorized();
  return user;
}

/** Reviews, and the old way to bind pods: paths that no stored resource has. */
async function answerSpecial(
  cluster: Cluster,
  path: ApiPath,
  request: Request,
  user: User,
): Promise<Response | undefined> {
  const { group, version, plural, namespace } = path;
  const binding = group === "" && plural === "bindings" && namespace !== undefined;
  const review = reviews.find(
    (known) => known.group === group && known.version === version && known.plural === plural,
  );
  if ((!binding && review === undefined) || path.name !== undefined) return undefined;
  if (request.method !== "POST") throw methodNotAllowed(request.method, { group, plural: plural ?? "" });
  const body = await readObject(request);
  if (review !== undefined) {
    return jsonResponse(JSON.stringify(answerReview(review, cluster, body, user)), 201, undefined);
  }
  const pods = cluster.registry.get("", "v1", "pods");
  if (pods === undefined) throw unknownPath();
  const options = { dryRun: false, fieldManager: "", fieldValidation: "Ignore", warnings: [] } as const;
  bindPod(cluster, pods, namespace ?? "", stringAt(body, "metadata", "name") ?? "", body, {
    ...options,
    warnings: [],
  });
  const status = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", code: 201 };
  return jsonResponse(JSON.stringify(status), 201, undefined);
}

/** Discovery and OpenAPI: computed once for each state of the registry. */
class Documents {
  readonly #cluster: Cluster;
  readonly #made = new Map<string, Uint8Array>();
  #generation = -1;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** Throws a Status of 404, 405 or 406. */
  answer(request: Request, pathname: string, path: ApiPath | undefined, host: string): Response {
    if (request.method !== "GET" && request.method !== "HEAD") {
      throw methodNotAllowed(request.method, { group: "", plural: pathname });
    }
    const { registry } = this.#cluster;
    const accept = request.headers.get("accept");
    if (pathname === "/openapi/v2") {
      // Clients that want protobuf name it first; its media type has characters that others have not.
      if (accept?.includes("proto-openapi") === true) {
        return this.#send(request, "v2pb", openApiV2Type, () => encodeOpenApiV2(openApiV2(registry)));
      }
      return this.#json(request, pathname, () => openApiV2(registry));
    }
    if (pathname === "/openapi/v3") return this.#json(request, pathname, () => openApiV3Index(registry));
    const v3 = /^\/openapi\/v3\/(.+)$/.exec(pathname)?.[1];
    if (v3 !== undefined) return this.#json(request, pathname, () => openApiV3(registry, v3));
    const trimmed = pathname.replace(/\/$/, "");
    const root = trimmed === "/api" || trimmed === "/apis";
    const format = negotiate(accept, root);
    if (root && format.as === "APIGroupDiscoveryList") {
      const type = `application/json;g=apidiscovery.k8s.io;v=${format.version};as=APIGroupDiscoveryList`;
      const make = () => aggregated(registry, trimmed === "/api", format.version);
      return this.#send(request, `${trimmed} ${format.version}`, type, () => encode(make()));
    }
    if (trimmed === "/api") return jsonResponse(JSON.stringify(legacyVersions(host)), 200, format);
    if (trimmed === "/apis") return this.#json(request, trimmed, () => groupList(registry));
    if (trimmed === "") return this.#json(request, "/", () => ({ paths: rootPaths(this.#cluster) }));
    const group = /^\/apis\/([^/]+)$/.exec(trimmed)?.[1];
    if (group !== undefined) return this.#json(request, trimmed, () => groupOf(registry, group));
    if (path === undefined) throw unknownPath();
    return this.#json(request, trimmed, () => resourceList(registry, path.group, path.version));
  }

  #json(request: Request, key: string, make: () => unknown): Response {
    return this.#send(request, key, "application/json", () => {
      const value = make();
      if (value === undefined) throw unknownPath();
      return encode(value);
    });
  }

  #send(request: Request, key: string, contentType: string, make: () => Uint8Array): Response {
    const { generation } = this.#cluster.registry;
    if (generation !== this.#generation) this.#made.clear();
    this.#generation = generation;
    let bytes = this.#made.get(key);
    if (bytes === undefined) {
      bytes = make();
      this.#made.set(key, bytes);
    }
    const etag = `"${createHash("sha256").update(bytes).digest("hex").slice(0, 32)}"`;
    const headers = {
      "content-type": contentType,
      etag,
      vary: "Accept",
      "cache-control": "no-cache, private",
    };
    if (request.headers.get("if-none-match") === etag) return new Response(null, { status: 304, headers });
    return new Response(bytes as Uint8Array<ArrayBuffer>, { headers });
  }
}

const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

function rootPaths(cluster: Cluster): string[] {
  const groups = cluster.registry
    .groups()
    .flatMap(({ name, versions }) => [`/apis/${name}`, ...versions.map((item) => `/apis/${name}/${item}`)]);
  return [
    "/api",
    "/api/v1",
    "/apis",
    ...groups,
    "/healthz",
    "/livez",
    "/openapi/v2",
    "/openapi/v3",
    "/readyz",
    "/version",
  ];
}
