import { isDeepStrictEqual } from "node:util";
import type { KubeClient } from "../../kube/client.ts";
import { isConflict, isNotFound } from "../../kube/errors.ts";
import {
  type DeleteOptions,
  type Draft,
  type KubeObject,
  type Pod,
  type Resource,
  resources,
} from "../../kube/types.ts";
import { explain } from "../../lib/errors.ts";
import type { ControllerContext } from "./controller.ts";

/** For promises of work on an object that may be gone by now. */
export function ignoreNotFound(error: unknown): undefined {
  if (!isNotFound(error)) throw error;
}

/** Writes what differs of a status that only this controller writes; nothing where nothing does. */
export async function patchStatus<T extends KubeObject & { status?: object }>(
  client: KubeClient,
  resource: Resource<T>,
  object: T,
  status: NonNullable<T["status"]>,
): Promise<void> {
  if (isDeepStrictEqual(object.status, { ...object.status, ...status })) return;
  const patch = { type: "merge" as const, body: { status: status as never } };
  await client.patch(resource, object.metadata, patch, { subresource: "status" }).catch(ignoreNotFound);
}

/** Deletes just this object: not another one that has its name by now. False where it was not there any more. */
export async function deleteObject<T extends KubeObject>(
  client: KubeClient,
  resource: Resource<T>,
  { metadata }: T,
  options: DeleteOptions = {},
): Promise<boolean> {
  const { uid } = metadata;
  try {
    await client.delete(resource, metadata, {
      ...options,
      ...(uid === undefined ? {} : { preconditions: { uid } }),
    });
    return true;
  } catch (error) {
    if (isNotFound(error) || isConflict(error)) return false;
    throw error;
  }
}

/** Creates a pod of a controller's object, and tells of it, or of its failure, in an event of the object. */
export async function createPod(
  { client, events }: ControllerContext,
  owner: KubeObject,
  draft: Draft<Pod>,
): Promise<Pod> {
  try {
    const pod = await client.create(resources.pods, draft);
    events.record(owner, "Normal", "SuccessfulCreate", `Created pod: ${pod.metadata.name}`);
    return pod;
  } catch (error) {
    events.record(owner, "Warning", "FailedCreate", `Error creating: ${explain(error)}`);
    throw error;
  }
}

/** Deletes a pod of a controller's object, and tells of it in an event of the object. */
export async function deletePod(
  { client, events }: ControllerContext,
  owner: KubeObject,
  pod: Pod,
): Promise<void> {
  if (await deleteObject(client, resources.pods, pod)) {
    events.record(owner, "Normal", "SuccessfulDelete", `Deleted pod: ${pod.metadata.name}`);
  }
}
