import type { Service } from "../../kube/types.ts";
import type { Cluster } from "../cluster.ts";
import { type ApiObject, cloneJson, type Dict, timestamp } from "../objects.ts";
import { noteUpdate } from "../patch/ownership.ts";
import type { ResourceType } from "../resources/definition.ts";
import { allocateService } from "../services/allocate.ts";
import { conflict, invalid, invalidValue, modified, notFound } from "../status.ts";
import type { Entry } from "../store/entry.ts";
import { identify, keepServerMetadata } from "./metadata.ts";
import { fromStored, pruneUnknown, settle, toStored, type WriteOptions } from "./prepare.ts";

export interface UpdateTarget {
  readonly namespace: string;
  readonly name: string;
  /** "" for the object itself, "status", or "finalize" of a Namespace. */
  readonly subresource: string;
  /** How the change was asked for: server-side apply keeps the managedFields that it made. */
  readonly applied?: boolean;
  /** A full replacement, which for some kinds must name the version it replaces. */
  readonly replace?: boolean;
}

/** The current version of an object, or a Status of 404. */
export function requireEntry(cluster: Cluster, type: ResourceType, namespace: string, name: string): Entry {
  const entry = cluster.store.get(type.storage, namespace, name);
  if (entry === undefined) throw notFound(type, name);
  return entry;
}

/**
 * Changes an object: `change` gets a copy of it and returns what it shall be. Fields that the subresource is not about
 * stay as they are. Nothing is written where nothing differs. Returns the object as it is stored. Throws a Status.
 */
export function updateObject(
  cluster: Cluster,
  type: ResourceType,
  target: UpdateTarget,
  change: (current: ApiObject) => Dict,
  options: WriteOptions,
): ApiObject {
  const { namespace, name, subresource } = target;
  const entry = requireEntry(cluster, type, namespace, name);
  const old = fromStored(entry.object, type);
  const next = change(cloneJson(old)) as ApiObject;
  identify(next, type, namespace, name);
  checkVersion(next, entry, type, target);
  pruneUnknown(next, type, options);
  keepServerMetadata(next.metadata, old.metadata);
  restrict(next, old, type, subresource);
  settle(next, type, old, options);
  if (subresource === "") type.hooks.prepareUpdate?.(next, old);
  if (type.storage === "services" && subresource === "") {
    allocateService(next as unknown as Service, old as unknown as Service, cluster.allocator);
  }
  if (type.generation && desireDiffers(next, old, type))
    next.metadata.generation = (old.metadata.generation ?? 0) + 1;
  if (target.applied !== true && subresource === "") {
    noteUpdate(old, next, type.schema, { manager: options.fieldManager, now: timestamp(cluster.now()) });
  } else if (target.applied !== true) keepManagers(next, old);
  delete next.metadata.resourceVersion;
  const stored = toStored(next, type);
  if (sameObject(stored, entry.object)) return entry.object;
  if (options.dryRun)
    return { ...stored, metadata: { ...stored.metadata, resourceVersion: String(entry.revision) } };
  const written = cluster.store.update(type.storage, entry, stored);
  return isFinished(written.object, type)
    ? cluster.store.delete(type.storage, written).object
    : written.object;
}

function checkVersion(next: ApiObject, entry: Entry, type: ResourceType, target: UpdateTarget): void {
  const { resourceVersion, uid } = next.metadata;
  if (uid !== undefined && uid !== entry.object.metadata.uid) {
    const why = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${entry.object.metadata.uid}`;
    throw conflict(type, target.name, why);
  }
  if (resourceVersion === undefined || resourceVersion === "0") {
    if (!type.custom || target.replace !== true) return;
    throw invalid(type, target.name, [
      invalidValue("metadata.resourceVersion", 0, "must be specified for an update"),
    ]);
  }
  if (resourceVersion !== String(entry.revision)) throw modified(type, target.name);
}

/** Takes back what this subresource may not change. */
function restrict(next: ApiObject, old: ApiObject, type: ResourceType, subresource: string): void {
  const keep = (key: string) => {
    if (old[key] === undefined) delete next[key];
    else next[key] = cloneJson(old[key]);
  };
  if (subresource === "") {
    if (type.status) keep("status");
    return;
  }
  const own = subresource === "finalize" ? "spec" : "status";
  for (const key of new Set([...Object.keys(next), ...Object.keys(old)])) {
    if (key !== own && key !== "metadata" && key !== "apiVersion" && key !== "kind") keep(key);
  }
  // A status of a custom resource changes nothing else; of built-in ones, labels and annotations may change with it.
  const { resourceVersion } = next.metadata;
  const metadata = cloneJson(old.metadata);
  if (!type.custom) {
    for (const key of ["labels", "annotations"] as const) {
      if (next.metadata[key] === undefined) delete metadata[key];
      else metadata[key] = next.metadata[key];
    }
  }
  next.metadata = metadata;
  if (resourceVersion !== undefined) next.metadata.resourceVersion = resourceVersion;
}

function keepManagers(next: ApiObject, old: ApiObject): void {
  if (old.metadata.managedFields === undefined) delete next.metadata.managedFields;
  else next.metadata.managedFields = old.metadata.managedFields;
}

/** Whether anything but metadata and status differs. */
function desireDiffers(next: ApiObject, old: ApiObject, type: ResourceType): boolean {
  const desired = ({ metadata: _m, ...rest }: ApiObject) => {
    if (type.status || !type.custom) delete rest.status;
    return rest;
  };
  return !Bun.deepEquals(desired(next), desired(old));
}

function sameObject(next: ApiObject, stored: ApiObject): boolean {
  const { resourceVersion: _, ...metadata } = stored.metadata;
  return Bun.deepEquals(next, { ...stored, metadata });
}

/** Whether an object that is being deleted waits for nothing any more. */
export function isFinished(object: ApiObject, type: ResourceType): boolean {
  const { deletionTimestamp, deletionGracePeriodSeconds = 0, finalizers = [] } = object.metadata;
  if (deletionTimestamp === undefined || finalizers.length > 0) return false;
  if (type.storage === "namespaces" && hasContent(object)) return false;
  return deletionGracePeriodSeconds === 0;
}

/** A Namespace's own finalizers say that it still has content. */
export function hasContent(namespace: ApiObject): boolean {
  const spec = namespace.spec as { finalizers?: string[] } | undefined;
  return (spec?.finalizers ?? []).length > 0;
}
