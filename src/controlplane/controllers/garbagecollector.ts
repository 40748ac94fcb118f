import { isNotFound } from "../../kube/errors.ts";
import type { Informer } from "../../kube/informer.ts";
import {
  type KubeObject,
  keyOf,
  type ObjectRef,
  type OwnerReference,
  type Resource,
  refOf,
  resourceName,
  resources,
} from "../../kube/types.ts";
import type { Controller, ControllerContext } from "./controller.ts";
import { discoverResources } from "./discovery.ts";
import type { WorkQueue } from "./workqueue.ts";
import { deleteObject, ignoreNotFound } from "./writes.ts";

const foreground = "foregroundDeletion";
const orphan = "orphan";

/** The key under which the queue is told to look for resources again; no object's key has a "#". */
const discover = "#";

/** What an owner means for its dependents. */
export type OwnerState =
  /** It is there, and they with it. */
  | "solid"
  /** It is being deleted, after them. */
  | "waiting"
  /** It is gone. */
  | "absent";

export type Fate = "keep" | "delete" | { keepOwners: OwnerReference[] };

/** What becomes of an object, from the state of each of its owners. */
export function fateOf(owners: readonly { reference: OwnerReference; state: OwnerState }[]): Fate {
  const solid = owners.filter(({ state }) => state === "solid");
  if (owners.length === 0 || solid.length === owners.length) return "keep";
  if (solid.length > 0) return { keepOwners: solid.map(({ reference }) => reference) };
  return "delete";
}

/** Removes what belongs to owners that are gone, and what stands in the way of owners that want to go last. */
export const garbageCollector: Controller = {
  name: "garbage-collector",
  start(context) {
    new Collector(context).work.add(discover);
  },
};

class Collector {
  readonly work: WorkQueue;
  readonly #context: ControllerContext;
  /** By the resource's name. */
  readonly #watched = new Map<string, { resource: Resource; informer: Informer<KubeObject> }>();

  constructor(context: ControllerContext) {
    this.#context = context;
    this.work = context.queue((key) => (key === discover ? this.#discover() : this.#process(key)));
  }

  async #discover(): Promise<undefined> {
    const { client, informers } = this.#context;
    const served = (await discoverResources(client)).filter(({ kind }) => kind !== "Event");
    const names = new Set(served.map(resourceName));
    for (const [name, { resource }] of this.#watched) {
      if (names.has(name)) continue;
      this.#watched.delete(name);
      informers.drop(resource);
    }
    for (const resource of served) {
      if (this.#watched.has(resourceName(resource))) continue;
      const informer = informers.of(resource);
      this.#watched.set(resourceName(resource), { resource, informer });
      if (resourceName(resource) === resourceName(resources.customResourceDefinitions)) {
        // A definition is served when it is established, which its status tells.
        const again = () => this.work.add(discover);
        informer.on({ add: again, update: again, delete: again });
      }
      const add = (object: KubeObject) => this.#consider(resource, object);
      informer.on({
        add,
        update: add,
        delete: (object) => {
          for (const dependent of this.#dependentsOf(object)) this.#add(dependent.resource, dependent.object);
          for (const owner of object.metadata.ownerReferences ?? []) this.#addOwner(owner, object);
        },
      });
    }
  }

  #consider(resource: Resource, object: KubeObject): void {
    const { ownerReferences = [], deletionTimestamp, finalizers = [] } = object.metadata;
    const goes =
      deletionTimestamp !== undefined && (finalizers.includes(foreground) || finalizers.includes(orphan));
    if (ownerReferences.length > 0 || goes) this.#add(resource, object);
  }

  #add(resource: Resource, object: KubeObject): void {
    this.work.add(`${resourceName(resource)} ${keyOf(object.metadata)}`);
  }

  #addOwner(reference: OwnerReference, dependent: KubeObject): void {
    const owner = this.#find(reference, dependent);
    if (owner?.object !== undefined) this.#consider(owner.resource, owner.object);
  }

  #dependentsOf({ metadata }: KubeObject): { resource: Resource; object: KubeObject }[] {
    const { uid = "" } = metadata;
    return [...this.#watched.values()].flatMap(({ resource, informer }) =>
      informer.by("owner", uid).map((object) => ({ resource, object })),
    );
  }

  async #process(key: string): Promise<undefined> {
    const space = key.indexOf(" ");
    const watched = this.#watched.get(key.slice(0, space));
    const object = watched?.informer.get(refOf(key.slice(space + 1)));
    if (watched === undefined || object === undefined) return;
    const { deletionTimestamp, finalizers = [] } = object.metadata;
    if (deletionTimestamp === undefined) await this.#settle(watched.resource, object);
    else if (finalizers.includes(orphan)) await this.#orphan(watched.resource, object);
    else if (finalizers.includes(foreground)) await this.#clear(watched.resource, object);
  }

  /** Deletes an object without owners that are left, or takes those that are gone from it. */
  async #settle(resource: Resource, object: KubeObject): Promise<void> {
    const { client, log } = this.#context;
    const references = object.metadata.ownerReferences ?? [];
    const owners = await Promise.all(
      references.map(async (reference) => ({ reference, state: await this.#stateOf(reference, object) })),
    );
    const fate = fateOf(owners);
    if (fate === "keep") return;
    if (fate !== "delete") {
      await this.#setOwners(resource, object, fate.keepOwners);
      return;
    }
    // What has dependents that its owner waits for must wait for them in turn.
    const waits = owners.some(({ state }) => state === "waiting") && this.#dependentsOf(object).length > 0;
    await deleteObject(client, resource, object, { propagationPolicy: waits ? "Foreground" : "Background" });
    log.debug("Removed what belongs to an owner that is gone", { [resource.kind]: keyOf(object.metadata) });
  }

  async #stateOf(reference: OwnerReference, dependent: KubeObject): Promise<OwnerState> {
    const found = this.#find(reference, dependent);
    // Of a kind that is not served nothing can be known.
    if (found === undefined) return "solid";
    const owner = found.object ?? (await this.#ask(found.resource, found.ref));
    if (owner?.metadata.uid !== reference.uid) return "absent";
    const { deletionTimestamp, finalizers = [] } = owner.metadata;
    return deletionTimestamp !== undefined && finalizers.includes(foreground) ? "waiting" : "solid";
  }

  /** The owner as far as the cache knows it; only the server knows for certain that it is gone. */
  #find(
    reference: OwnerReference,
    dependent: KubeObject,
  ): { resource: Resource; ref: ObjectRef; object: KubeObject | undefined } | undefined {
    const group = reference.apiVersion.includes("/") ? (reference.apiVersion.split("/")[0] as string) : "";
    for (const { resource, informer } of this.#watched.values()) {
      if (resource.kind !== reference.kind || resource.group !== group) continue;
      const { namespace = "" } = dependent.metadata;
      const ref = resource.namespaced ? { name: reference.name, namespace } : { name: reference.name };
      const object = informer.get(ref);
      return { resource, ref, object: object?.metadata.uid === reference.uid ? object : undefined };
    }
    return undefined;
  }

  async #ask(resource: Resource, ref: ObjectRef): Promise<KubeObject | undefined> {
    if (resource.namespaced && !ref.namespace) return undefined;
    try {
      return await this.#context.client.get(resource, ref);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async #orphan(resource: Resource, owner: KubeObject): Promise<void> {
    const { uid } = owner.metadata;
    await Promise.all(
      this.#dependentsOf(owner).map(({ resource, object }) => {
        const others = (object.metadata.ownerReferences ?? []).filter((reference) => reference.uid !== uid);
        return this.#setOwners(resource, object, others);
      }),
    );
    await this.#removeFinalizer(resource, owner, orphan);
  }

  /** Has the dependents deleted, and lets the owner go when none is left that blocks it. */
  async #clear(resource: Resource, owner: KubeObject): Promise<void> {
    const { uid } = owner.metadata;
    const dependents = this.#dependentsOf(owner);
    const blocks = ({ object }: { object: KubeObject }) =>
      object.metadata.ownerReferences?.some(
        (reference) => reference.uid === uid && reference.blockOwnerDeletion,
      );
    for (const dependent of dependents) this.#add(dependent.resource, dependent.object);
    if (!dependents.some(blocks)) await this.#removeFinalizer(resource, owner, foreground);
  }

  async #setOwners(resource: Resource, object: KubeObject, ownerReferences: OwnerReference[]): Promise<void> {
    await this.#patch(resource, object, { ownerReferences });
  }

  async #removeFinalizer(resource: Resource, object: KubeObject, finalizer: string): Promise<void> {
    const finalizers = (object.metadata.finalizers ?? []).filter((one) => one !== finalizer);
    await this.#patch(resource, object, { finalizers });
  }

  async #patch(resource: Resource, object: KubeObject, change: object): Promise<void> {
    const { uid = "", resourceVersion = "" } = object.metadata;
    const body = { metadata: { uid, resourceVersion, ...change } };
    await this.#context.client
      .patch(resource, object.metadata, { type: "merge", body })
      .catch(ignoreNotFound);
  }
}
