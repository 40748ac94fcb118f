import type { CustomResourceDefinition } from "../../kube/types.ts";
import type { Cluster } from "../cluster.ts";
import type { ApiObject } from "../objects.ts";
import type { ResourceType } from "../resources/definition.ts";
import type { Entry } from "../store/entry.ts";
import { deleteObject } from "../write/delete.ts";
import { customTypes } from "./types.ts";

const STORAGE = "customresourcedefinitions.apiextensions.k8s.io";
const CLEANUP = "customresourcecleanup.apiextensions.k8s.io";

/**
 * Serves what the CustomResourceDefinitions say, from the moment they are stored, and deletes a definition's objects
 * before the definition itself goes. Returns the function that ends it.
 */
export function serveDefinitions(cluster: Cluster): () => void {
  const { store, registry } = cluster;
  const watches = new Map<string, () => void>();
  const end = (name: string) => {
    watches.get(name)?.();
    watches.delete(name);
  };
  const serve = (entry: Entry) => {
    const definition = entry.object as unknown as CustomResourceDefinition;
    registry.replace(entry.name, customTypes(definition));
    if (definition.metadata.deletionTimestamp === undefined || watches.has(entry.name)) return;
    // Not inside of the write that told of it: other listeners shall hear of that first.
    const later = () => queueMicrotask(() => cleanUp(cluster, entry.name));
    watches.set(
      entry.name,
      store.subscribe(entry.name, ({ type }) => type === "DELETED" && later()),
    );
    later();
  };
  for (const entry of store.list(STORAGE)) serve(entry);
  const stop = store.subscribe(STORAGE, ({ type, entry }) => {
    if (type !== "DELETED") return serve(entry);
    end(entry.name);
    registry.replace(entry.name, []);
  });
  return () => {
    stop();
    for (const name of [...watches.keys()]) end(name);
  };
}

/** Deletes the objects of a definition that is to go, and the definition when none is left. */
function cleanUp(cluster: Cluster, name: string): void {
  const { store } = cluster;
  const definition = store.get(STORAGE, "", name);
  if (definition?.object.metadata.deletionTimestamp === undefined) return;
  const type = { storage: name, group: "", plural: name, generation: true } as ResourceType;
  for (const entry of [...store.list(name)]) {
    if (entry.object.metadata.deletionTimestamp === undefined)
      deleteObject(cluster, type, entry, { dryRun: false });
  }
  if (store.count(name) > 0) return;
  const { finalizers = [], ...metadata } = definition.object.metadata;
  const rest = finalizers.filter((finalizer) => finalizer !== CLEANUP);
  if (rest.length === 0) {
    store.delete(STORAGE, definition);
    return;
  }
  const next: ApiObject = { ...definition.object, metadata: { ...metadata, finalizers: rest } };
  if (rest.length < finalizers.length) store.update(STORAGE, definition, next);
}
