import type { Cluster } from "../cluster.ts";
import { type ApiObject, type Dict, isDict, own, timestamp } from "../objects.ts";
import { applyJsonPatch } from "../patch/json.ts";
import { applyMergePatch } from "../patch/merge.ts";
import { applyConfiguration } from "../patch/ownership.ts";
import { applyStrategicMerge } from "../patch/strategic.ts";
import { apiVersionOf, type ResourceType } from "../resources/definition.ts";
import type { Schema } from "../schema/schema.ts";
import { badRequest, unsupportedMediaType } from "../status.ts";
import { createObject } from "../write/create.ts";
import { identify } from "../write/metadata.ts";
import { pruneUnknown, type WriteOptions } from "../write/prepare.ts";
import { type UpdateTarget, updateObject } from "../write/update.ts";
import { APPLY_TYPE, type PatchType, patchTypes } from "./body.ts";

export interface PatchRequest {
  readonly type: PatchType;
  readonly patch: unknown;
  /** Server-side apply takes fields over from other managers. */
  readonly force: boolean;
}

/** The object that a patch (not an apply) makes out of another. Throws a Status. */
export function patched(current: Dict, { type, patch }: PatchRequest, schema: Schema, custom: boolean): Dict {
  let result: unknown;
  switch (type) {
    case "application/json-patch+json":
      result = applyJsonPatch(current, patch);
      break;
    case "application/merge-patch+json":
      result = applyMergePatch(current, patch);
      break;
    case "application/strategic-merge-patch+json":
      // Custom resources have no merge keys; clients fall back to a merge patch on this answer.
      if (custom)
        throw unsupportedMediaType(
          type,
          patchTypes.filter((other) => other !== type),
        );
      result = applyStrategicMerge(current, patch, schema);
      break;
    default:
      throw badRequest("server-side apply is not possible here");
  }
  if (!isDict(result) || !isDict(result.metadata))
    throw badRequest("the patch leaves no object with metadata");
  return result;
}

/** Answers a PATCH. Returns the object as it is stored, and whether it is new. Throws a Status. */
export function patchObject(
  cluster: Cluster,
  type: ResourceType,
  target: UpdateTarget,
  request: PatchRequest,
  options: WriteOptions,
): { object: ApiObject; created: boolean } {
  if (request.type !== APPLY_TYPE) {
    const change = (current: ApiObject) => patched(current, request, type.schema, type.custom);
    return { object: updateObject(cluster, type, target, change, options), created: false };
  }
  return applyObject(cluster, type, target, request, options);
}

function applyObject(
  cluster: Cluster,
  type: ResourceType,
  target: UpdateTarget,
  { patch, force }: PatchRequest,
  options: WriteOptions,
): { object: ApiObject; created: boolean } {
  if (options.fieldManager === "")
    throw badRequest("PatchOptions.meta.k8s.io: fieldManager: Required value: is required for apply patch");
  if (!isDict(patch)) throw badRequest("the configuration to apply must be an object");
  if (own(patch, "apiVersion") === undefined || own(patch, "kind") === undefined) {
    throw badRequest("the configuration to apply must have apiVersion and kind");
  }
  if (Array.isArray((patch.metadata as Dict | undefined)?.managedFields)) {
    const { managedFields, ...metadata } = patch.metadata as Dict;
    if ((managedFields as unknown[]).length > 0) throw badRequest("metadata.managedFields must be nil");
    patch.metadata = metadata;
  }
  identify(patch, type, target.namespace, target.name);
  pruneUnknown(patch, type, options);
  const apply = {
    manager: options.fieldManager,
    force,
    apiVersion: apiVersionOf(type),
    now: timestamp(cluster.now()),
  };
  if (
    cluster.store.get(type.storage, target.namespace, target.name) === undefined &&
    target.subresource === ""
  ) {
    const empty: ApiObject = {
      apiVersion: apiVersionOf(type),
      kind: type.kind,
      metadata: { ...(patch as ApiObject).metadata },
    };
    const fresh = applyConfiguration(empty, patch, type.schema, apply);
    return { object: createObject(cluster, type, target.namespace, fresh, options), created: true };
  }
  const change = (current: ApiObject) => {
    const next = applyConfiguration(current, patch, type.schema, apply);
    const { resourceVersion, uid } = (patch as ApiObject).metadata;
    delete next.metadata.resourceVersion;
    if (resourceVersion !== undefined) next.metadata.resourceVersion = resourceVersion;
    if (uid !== undefined) next.metadata.uid = uid;
    return next;
  };
  return {
    object: updateObject(cluster, type, { ...target, applied: true }, change, options),
    created: false,
  };
}
