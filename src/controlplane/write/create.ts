import type { Service } from "../../kube/types.ts";
import type { Cluster } from "../cluster.ts";
import { type ApiObject, type Dict, own, stringAt, timestamp } from "../objects.ts";
import type { ResourceType } from "../resources/definition.ts";
import { allocateService } from "../services/allocate.ts";
import { alreadyExists, badRequest, forbidden, notFound } from "../status.ts";
import { generateName, identify } from "./metadata.ts";
import { pruneUnknown, settle, toStored, type WriteOptions } from "./prepare.ts";

const NAMESPACES = { group: "", plural: "namespaces" };

/** Creates an object from what a client sent. Returns it as it is stored. Throws a Status. */
export function createObject(
  cluster: Cluster,
  type: ResourceType,
  namespace: string,
  body: Dict,
  options: WriteOptions,
): ApiObject {
  identify(body, type, namespace);
  pruneUnknown(body, type, options);
  const object = body as ApiObject;
  const { metadata } = object;
  if (metadata.resourceVersion !== undefined && metadata.resourceVersion !== "0") {
    throw badRequest("resourceVersion should not be set on objects to be created");
  }
  if (type.namespaced)
    requireNamespace(cluster, type, namespace, metadata.name ?? metadata.generateName ?? "");
  const generated =
    own(metadata as unknown as Dict, "name") === undefined && metadata.generateName !== undefined;
  if (generated) metadata.name = freeName(cluster, type, namespace, metadata.generateName as string);
  const now = timestamp(cluster.now());
  initialize(object, type, now);
  settle(object, type, undefined, options);
  type.hooks.prepareCreate?.(object, now);
  if (cluster.store.get(type.storage, namespace, metadata.name) !== undefined) {
    throw alreadyExists(type, metadata.name);
  }
  if (type.storage === "services")
    allocateService(object as unknown as Service, undefined, cluster.allocator);
  const stored = toStored(object, type);
  return options.dryRun ? stored : cluster.store.create(type.storage, stored).object;
}

/** Sets what the server owns of a new object. */
function initialize(object: ApiObject, type: ResourceType, now: string): void {
  const { metadata } = object;
  for (const key of ["deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "selfLink"]) {
    delete (metadata as unknown as Dict)[key];
  }
  // Server-side apply brings its own list; others start without one.
  if (metadata.managedFields?.length === 0) delete metadata.managedFields;
  metadata.uid = crypto.randomUUID();
  metadata.creationTimestamp = now;
  if (type.generation) metadata.generation = 1;
  else delete metadata.generation;
  if (type.status && !type.keepsStatus) delete object.status;
}

function requireNamespace(cluster: Cluster, type: ResourceType, namespace: string, name: string): void {
  const entry = cluster.store.get("namespaces", "", namespace);
  if (entry === undefined) throw notFound(NAMESPACES, namespace);
  if (stringAt(entry.object, "status", "phase") !== "Terminating") return;
  throw forbidden(
    type,
    name,
    `unable to create new content in namespace ${namespace} because it is being terminated`,
    [
      {
        reason: "NamespaceTerminating",
        message: `namespace ${namespace} is being terminated`,
        field: "metadata.namespace",
      },
    ],
  );
}

/** Eight tries, as Kubernetes makes them; a collision of five random characters is rare. */
function freeName(cluster: Cluster, type: ResourceType, namespace: string, prefix: string): string {
  let name = generateName(prefix);
  for (let i = 0; i < 8 && cluster.store.get(type.storage, namespace, name) !== undefined; i++) {
    name = generateName(prefix);
  }
  return name;
}
