import type { KubeClient } from "../../kube/client.ts";
import { type Informer, type InformerOptions, startInformer } from "../../kube/informer.ts";
import { type KubeObject, type Pod, type Resource, resourceName } from "../../kube/types.ts";

/** The informers that all controllers share: one for each resource, started when it is first asked for. */
export class Informers {
  readonly #client: KubeClient;
  readonly #options: Pick<InformerOptions<KubeObject>, "signal" | "clock" | "log">;
  readonly #informers = new Map<string, { informer: Informer<KubeObject>; stop: AbortController }>();

  constructor(client: KubeClient, options: Pick<InformerOptions<KubeObject>, "signal" | "clock" | "log">) {
    this.#client = client;
    this.#options = options;
  }

  /**
   * Its indexes are "namespace"; "owner" and "controller", by the owner's uid; and "node", by the pod's node name ("" for
   * those without).
   */
  of<T extends KubeObject>(resource: Resource<T>): Informer<T> {
    const name = resourceName(resource);
    const known = this.#informers.get(name);
    if (known !== undefined) return known.informer as unknown as Informer<T>;
    const stop = new AbortController();
    const informer = startInformer(this.#client, resource, {
      ...this.#options,
      signal: AbortSignal.any([this.#options.signal, stop.signal]),
      indexes: {
        namespace: ({ metadata }) => [metadata.namespace ?? ""],
        owner: ({ metadata }) => (metadata.ownerReferences ?? []).map(({ uid }) => uid),
        controller: ({ metadata }) =>
          (metadata.ownerReferences ?? []).filter(({ controller }) => controller).map(({ uid }) => uid),
        node: (object) => (resource.kind === "Pod" ? [(object as unknown as Pod).spec.nodeName ?? ""] : []),
      },
    });
    this.#informers.set(name, { informer: informer as unknown as Informer<KubeObject>, stop });
    return informer;
  }

  /** Ends the informer of a resource that is no longer served. */
  drop(resource: Resource): void {
    this.#informers.get(resourceName(resource))?.stop.abort();
    this.#informers.delete(resourceName(resource));
  }

  /** The informer of a resource, if a controller has asked for it. */
  peek(resource: Resource): Informer<KubeObject> | undefined {
    return this.#informers.get(resourceName(resource))?.informer;
  }

  /** When each of them has its first list. */
  async synced(): Promise<void> {
    await Promise.all([...this.#informers.values()].map(({ informer }) => informer.synced));
  }
}

/**
 * A client that shows its own writes to the informers at once. Without it a controller that looks at a cache which has
 * not yet heard of the last write would do the same thing again.
 */
export function observingClient(client: KubeClient, informers: Informers): KubeClient {
  const observe = <T extends KubeObject>(resource: Resource<T>, object: T): T => {
    informers.peek(resource)?.observe(object);
    return object;
  };
  return {
    server: client.server,
    get: (resource, ref, options) => client.get(resource, ref, options),
    list: (resource, options) => client.list(resource, options),
    watch: (resource, options) => client.watch(resource, options),
    create: async (resource, object, options) => {
      const created = await client.create(resource, object, options);
      // The answer to a subresource is not an object of the resource.
      return options?.subresource === undefined ? observe(resource, created) : created;
    },
    update: async (resource, object, options) =>
      observe(resource, await client.update(resource, object, options)),
    updateStatus: async (resource, object, options) =>
      observe(resource, await client.updateStatus(resource, object, options)),
    patch: async (resource, ref, patch, options) =>
      observe(resource, await client.patch(resource, ref, patch, options)),
    delete: async (resource, ref, options) => {
      const answer = await client.delete(resource, ref, options);
      const informer = informers.peek(resource);
      const metadata = (answer as KubeObject).metadata;
      if (answer.kind === resource.kind && metadata?.deletionTimestamp !== undefined) {
        observe(resource, answer as never);
      } else {
        const gone = informer?.get(ref);
        const uid = options?.preconditions?.uid ?? gone?.metadata.uid;
        if (gone !== undefined && gone.metadata.uid === uid) informer?.observeRemoval(gone);
      }
      return answer;
    },
    deleteCollection: (resource, options) => client.deleteCollection(resource, options),
    request: (method, path, options) => client.request(method, path, options),
    close: () => client.close(),
  };
}
