import { isNotFound } from "../../kube/errors.ts";
import { type KubeObject, type Namespace, type Resource, resourceName, resources } from "../../kube/types.ts";
import type { Controller, ControllerContext } from "./controller.ts";
import { discoverResources } from "./discovery.ts";

/** While something is held back by finalizers of others, which nobody tells about. */
const recheckMs = 500;

/** Empties namespaces that are being deleted, and then lets them go. */
export const namespace: Controller = {
  name: "namespace",
  start(context) {
    const { informers, queue } = context;
    const namespaces = informers.of(resources.namespaces);
    const work = queue((name) => sync(context, name));
    const add = (object: Namespace) => {
      if (object.metadata.deletionTimestamp !== undefined) work.add(object.metadata.name);
    };
    namespaces.on({ add, update: add });
    // Pods are what a namespace waits for longest: the last one that goes is a reason to look again.
    informers.of(resources.pods).on({
      delete: ({ metadata }) => {
        const object = namespaces.get({ name: metadata.namespace ?? "" });
        if (object !== undefined) add(object);
      },
    });
  },
};

async function sync(context: ControllerContext, name: string): Promise<number | undefined> {
  const { client, informers, log } = context;
  const object = informers.of(resources.namespaces).get({ name });
  if (object?.metadata.deletionTimestamp === undefined) return undefined;
  const finalizers = object.spec?.finalizers ?? [];
  if (!finalizers.includes("kubernetes")) return undefined;
  const all = (await discoverResources(client)).filter(({ namespaced }) => namespaced);
  const left = (await Promise.all(all.map((resource) => empty(context, resource, name)))).flat();
  if (left.length > 0) {
    log.debug("A namespace is not empty yet", { namespace: name, left: left.join(", ") });
    return recheckMs;
  }
  const body = { ...object, spec: { finalizers: finalizers.filter((one) => one !== "kubernetes") } };
  try {
    await client.request("PUT", `/api/v1/namespaces/${encodeURIComponent(name)}/finalize`, { body });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
  return undefined;
}

/** Deletes what there is of a resource; the names of what is still there afterwards. */
async function empty({ client }: ControllerContext, resource: Resource, name: string): Promise<string[]> {
  const list = async (): Promise<KubeObject[]> => (await client.list(resource, { namespace: name })).items;
  const items = await list();
  if (items.length === 0) return [];
  if (items.some(({ metadata }) => metadata.deletionTimestamp === undefined)) {
    await client.deleteCollection(resource, { namespace: name, propagationPolicy: "Background" });
  }
  return (await list()).map(({ metadata }) => `${resourceName(resource)} "${metadata.name}"`);
}
