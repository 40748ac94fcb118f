import { isNotFound } from "../../kube/errors.ts";
import type { Handlers, Informer } from "../../kube/informer.ts";
import { matchesSelector } from "../../kube/selectors.ts";
import { type KubeObject, keyOf, type LabelSelector, type Resource, resources } from "../../kube/types.ts";
import type { ControllerContext } from "./controller.ts";
import { controllerOf, controllerReference, isFinished } from "./pods.ts";
import type { WorkQueue } from "./workqueue.ts";

type Selecting = KubeObject & { spec: { selector: LabelSelector } };

/**
 * The pods that a controller's object controls: takes those without controller that its selector wants, and lets go of
 * those that it no longer wants (their labels were changed).
 */
export async function claimPods<T extends Selecting>(
  context: ControllerContext,
  resource: Resource<T>,
  owner: T,
) {
  return claim(context, resources.pods, resource, owner, (pod) => !isFinished(pod));
}

/** As {@link claimPods}, for objects of any resource. */
export async function claim<T extends Selecting, O extends KubeObject>(
  { client, informers }: ControllerContext,
  owned: Resource<O>,
  resource: Resource<T>,
  owner: T,
  adoptable: (object: O) => boolean = () => true,
): Promise<O[]> {
  const { uid = "", namespace = "", deletionTimestamp } = owner.metadata;
  const matches = (object: O) => matchesSelector(owner.spec.selector, object.metadata.labels);
  const informer = informers.of(owned);
  const kept: O[] = [];
  const setOwners = async (
    object: O,
    ownerReferences: NonNullable<KubeObject["metadata"]["ownerReferences"]>,
  ) => {
    const { uid: objectUid = "", resourceVersion = "" } = object.metadata;
    const metadata = { uid: objectUid, resourceVersion, ownerReferences: ownerReferences as never };
    return await client
      .patch(owned, object.metadata, { type: "merge", body: { metadata } })
      .catch((error: unknown) => {
        if (!isNotFound(error)) throw error;
      });
  };
  for (const object of informer.by("controller", uid)) {
    if (matches(object)) kept.push(object);
    else if (deletionTimestamp === undefined) {
      const others = (object.metadata.ownerReferences ?? []).filter((reference) => reference.uid !== uid);
      await setOwners(object, others);
    }
  }
  if (deletionTimestamp !== undefined) return kept;
  for (const object of informer.by("namespace", namespace)) {
    const free = controllerOf(object) === undefined && object.metadata.deletionTimestamp === undefined;
    if (!free || !matches(object) || !adoptable(object)) continue;
    const references = [...(object.metadata.ownerReferences ?? []), controllerReference(resource, owner)];
    const adopted = await setOwners(object, references);
    if (adopted !== undefined) kept.push(adopted);
  }
  return kept;
}

/** Handlers that add the key of an object's controller, and, of objects without one, of all that select them. */
export function enqueueOwner<T extends Selecting, O extends KubeObject>(
  owners: Informer<T>,
  work: WorkQueue,
  kind: string,
): Handlers<O> {
  const add = (object: O) => {
    const { namespace = "" } = object.metadata;
    const controller = controllerOf(object);
    if (controller?.kind === kind) {
      work.add(keyOf({ name: controller.name, namespace }));
    } else if (controller === undefined) {
      for (const owner of owners.by("namespace", namespace)) {
        if (matchesSelector(owner.spec.selector, object.metadata.labels)) work.add(keyOf(owner.metadata));
      }
    }
  };
  return {
    add,
    update: (object, before) => {
      add(object);
      if (controllerOf(before)?.uid !== controllerOf(object)?.uid) add(before);
    },
    delete: add,
  };
}
