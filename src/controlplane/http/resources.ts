import type { User } from "../auth/tokens.ts";
import type { Cluster } from "../cluster.ts";
import type { ApiObject, Dict } from "../objects.ts";
import type { ResourceType, Verb } from "../resources/definition.ts";
import { badRequest, type GroupResource, methodNotAllowed, unknownPath } from "../status.ts";
import { bindPod, evictPod } from "../subresources/pods.ts";
import { scaleOf, scaleSchema, withScale } from "../subresources/scale.ts";
import { requestToken } from "../subresources/token.ts";
import { createObject } from "../write/create.ts";
import { deleteObject, parseDeleteOptions } from "../write/delete.ts";
import type { FieldValidation, WriteOptions } from "../write/prepare.ts";
import { requireEntry, updateObject } from "../write/update.ts";
import { type Format, negotiate } from "./accept.ts";
import { readObject, readOptionalObject, readPatch } from "./body.ts";
import { listPage } from "./list.ts";
import { patched, patchObject } from "./patch.ts";
import type { ApiPath } from "./path.ts";
import { jsonResponse, Renderer } from "./respond.ts";
import { isTrue, type Watches } from "./watch.ts";

/** One request about resources, with what every verb needs of it. */
interface Call {
  readonly cluster: Cluster;
  readonly watches: Watches;
  readonly type: ResourceType;
  readonly path: ApiPath;
  /** "" for cluster-scoped objects. */
  readonly namespace: string;
  readonly request: Request;
  readonly query: URLSearchParams;
  readonly format: Format;
  readonly user: User;
}

/** Answers a request whose path names a resource. Throws a Status. */
export async function handleResource(
  cluster: Cluster,
  watches: Watches,
  path: ApiPath,
  request: Request,
  url: URL,
  user: User,
): Promise<Response> {
  const type = cluster.registry.get(path.group, path.version, path.plural ?? "");
  if (type === undefined || (path.namespace !== undefined && !type.namespaced)) throw unknownPath();
  const call: Call = {
    cluster,
    watches,
    type,
    path,
    namespace: path.namespace ?? "",
    request,
    query: url.searchParams,
    format: negotiate(request.headers.get("accept")),
    user,
  };
  if (path.name === undefined) return handleCollection(call);
  if (type.namespaced && path.namespace === undefined) throw unknownPath();
  return path.subresource === "" ? handleObject(call, path.name) : handleSubresource(call, path.name);
}

async function handleCollection(call: Call): Promise<Response> {
  const { type, request, query, path } = call;
  switch (request.method) {
    case "GET":
    case "HEAD": {
      if (isTrue(query.get("watch"))) {
        require(type, "watch", "watch");
        const { format } = call;
        return call.watches.open(call.cluster, type, path.namespace, {
          query,
          format,
          signal: request.signal,
        });
      }
      const page = listPage(call.cluster, type, path.namespace, query);
      const renderer = new Renderer(type, call.format, query.get("includeObject"));
      return jsonResponse(
        renderer.list(page.entries, page.info, call.cluster.now()),
        200,
        call.format,
        warningsOf(type),
      );
    }
    case "POST": {
      require(type, "create", "create");
      if (type.namespaced && path.namespace === undefined) throw methodNotAllowed("POST", type);
      const options = writeOptions(call);
      const object = createObject(call.cluster, type, call.namespace, await readObject(request), options);
      return answer(call, object, 201, options);
    }
    case "DELETE":
      return deleteCollection(call);
    default:
      throw methodNotAllowed(request.method, type);
  }
}

async function handleObject(call: Call, name: string): Promise<Response> {
  const { cluster, type, namespace, request } = call;
  const target = { namespace, name, subresource: "" };
  switch (request.method) {
    case "GET":
    case "HEAD": {
      // The old way to watch one object.
      if (isTrue(call.query.get("watch"))) {
        call.query.set("fieldSelector", `metadata.name=${name}`);
        return handleCollection(call);
      }
      const entry = requireEntry(cluster, type, namespace, name);
      const renderer = new Renderer(type, call.format, call.query.get("includeObject"));
      if (renderer.isPlain(entry)) return jsonResponse(entry.text, 200, call.format, warningsOf(type));
      return jsonResponse(
        JSON.stringify(renderer.object(entry.object, cluster.now())),
        200,
        call.format,
        warningsOf(type),
      );
    }
    case "PUT": {
      const options = writeOptions(call);
      const body = await readObject(request);
      return answer(
        call,
        updateObject(cluster, type, { ...target, replace: true }, () => body, options),
        200,
        options,
      );
    }
    case "PATCH":
      return handlePatch(call, target);
    case "DELETE": {
      const body = await readOptionalObject(request);
      const entry = requireEntry(cluster, type, namespace, name);
      const { object, gone } = deleteObject(cluster, type, entry, parseDeleteOptions(body, call.query));
      if (!gone) return answer(call, object, 200);
      return success(call, { name, ...groupOf(type), kind: type.plural, uid: object.metadata.uid });
    }
    default:
      throw methodNotAllowed(request.method, type);
  }
}

async function handlePatch(
  call: Call,
  target: { namespace: string; name: string; subresource: string },
): Promise<Response> {
  const options = writeOptions(call);
  const body = await readPatch(call.request);
  const { object, created } = patchObject(
    call.cluster,
    call.type,
    target,
    { ...body, force: isTrue(call.query.get("force")) },
    options,
  );
  return answer(call, object, created ? 201 : 200, options);
}

async function handleSubresource(call: Call, name: string): Promise<Response> {
  const { cluster, type, namespace, request, path } = call;
  const { subresource } = path;
  const resource: GroupResource = { group: type.group, plural: `${type.plural}/${subresource}` };
  if (subresource === "status" ? type.status : subresource === "finalize" && type.storage === "namespaces") {
    return handlePart(call, { namespace, name, subresource }, resource);
  }
  if (subresource === "scale" && type.scale !== undefined) return handleScale(call, name, resource);
  const pods = type.storage === "pods";
  const accounts = type.storage === "serviceaccounts";
  if (
    !(pods && (subresource === "binding" || subresource === "eviction")) &&
    !(accounts && subresource === "token")
  ) {
    throw unknownPath();
  }
  if (request.method !== "POST") throw methodNotAllowed(request.method, resource);
  const body = await readObject(request);
  const options = writeOptions(call);
  if (accounts)
    return jsonResponse(JSON.stringify(requestToken(cluster, type, namespace, name, body)), 201, call.format);
  if (subresource === "binding") bindPod(cluster, type, namespace, name, body, options);
  else evictPod(cluster, type, namespace, name, body, options);
  return success(call, undefined, 201);
}

/** The subresources that are a part of the object itself. */
async function handlePart(
  call: Call,
  target: { namespace: string; name: string; subresource: string },
  resource: GroupResource,
): Promise<Response> {
  const { cluster, type, request } = call;
  if (request.method === "GET")
    return answer(call, requireEntry(cluster, type, target.namespace, target.name).object, 200);
  if (request.method === "PATCH") return handlePatch(call, target);
  if (request.method !== "PUT") throw methodNotAllowed(request.method, resource);
  const options = writeOptions(call);
  const body = await readObject(request);
  return answer(
    call,
    updateObject(cluster, type, target, () => body, options),
    200,
    options,
  );
}

async function handleScale(call: Call, name: string, resource: GroupResource): Promise<Response> {
  const { cluster, type, namespace, request } = call;
  const { scale } = type;
  if (scale === undefined) throw unknownPath();
  const reply = (object: ApiObject) => jsonResponse(JSON.stringify(scaleOf(object, scale)), 200, call.format);
  if (request.method === "GET") return reply(requireEntry(cluster, type, namespace, name).object);
  if (request.method !== "PUT" && request.method !== "PATCH")
    throw methodNotAllowed(request.method, resource);
  const options = writeOptions(call);
  const patch = request.method === "PATCH" ? await readPatch(request) : undefined;
  const body = patch === undefined ? await readObject(request) : {};
  const change = (current: ApiObject): Dict => {
    if (patch === undefined) return withScale(current, body, scale);
    const next = patched(scaleOf(current, scale), { ...patch, force: false }, scaleSchema, false);
    return withScale(current, next, scale);
  };
  return reply(updateObject(cluster, type, { namespace, name, subresource: "" }, change, options));
}

async function deleteCollection(call: Call): Promise<Response> {
  const { cluster, type, path, query } = call;
  require(type, "deletecollection", "DELETE");
  if (type.namespaced && path.namespace === undefined) throw methodNotAllowed("DELETE", type);
  const options = parseDeleteOptions(await readOptionalObject(call.request), query);
  const { entries, info } = listPage(cluster, type, path.namespace, query);
  const renderer = new Renderer(type, { ...call.format, as: "" }, null);
  const text = renderer.list(entries, info, cluster.now());
  for (const { namespace, name } of entries) {
    // One deletion may have taken another with it.
    const entry = cluster.store.get(type.storage, namespace, name);
    if (entry !== undefined) deleteObject(cluster, type, entry, options);
  }
  return jsonResponse(text, 200, call.format);
}

function require(type: ResourceType, verb: Verb, method: string): void {
  if (!type.verbs.includes(verb)) throw methodNotAllowed(method, type);
}

function writeOptions({ query, request, type }: Call): WriteOptions {
  const validation = query.get("fieldValidation") ?? "";
  if (validation !== "" && !["Strict", "Warn", "Ignore"].includes(validation)) {
    throw badRequest(
      `fieldValidation: ${JSON.stringify(validation)} is none of "Strict", "Warn" and "Ignore"`,
    );
  }
  const dryRun = query.getAll("dryRun");
  if (dryRun.some((value) => value !== "All" && value !== "")) {
    throw badRequest(`dryRun: ${JSON.stringify(dryRun)} is not "All"`);
  }
  const agent = (request.headers.get("user-agent") ?? "").split("/")[0] as string;
  return {
    dryRun: dryRun.includes("All"),
    fieldManager: query.get("fieldManager") ?? (isApply(request) ? "" : agent || "unknown"),
    fieldValidation: (validation || "Warn") as FieldValidation,
    warnings: [...warningsOf(type)],
  };
}

const isApply = (request: Request) => (request.headers.get("content-type") ?? "").includes("apply-patch");

const warningsOf = (type: ResourceType): readonly string[] =>
  type.deprecationWarning === undefined ? [] : [type.deprecationWarning];

function answer(call: Call, object: ApiObject, code: number, options?: WriteOptions): Response {
  const renderer = new Renderer(call.type, call.format, call.query.get("includeObject"));
  return jsonResponse(
    JSON.stringify(renderer.object(object, call.cluster.now())),
    code,
    call.format,
    options?.warnings ?? [],
  );
}

const groupOf = ({ group }: ResourceType) => (group === "" ? {} : { group });

function success(call: Call, details?: Dict, code = 200): Response {
  const status = {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Success",
    ...(details === undefined ? {} : { details }),
    code,
  };
  if (code === 200) delete (status as Dict).code;
  return jsonResponse(JSON.stringify(status), code, call.format);
}
