import { isAlreadyExists } from "../../kube/errors.ts";
import {
  type ControllerRevision,
  type Json,
  type KubeObject,
  type LabelSelector,
  type PodTemplateSpec,
  type Resource,
  resources,
} from "../../kube/types.ts";
import { claim } from "./claim.ts";
import type { ControllerContext } from "./controller.ts";
import { canonical, hashOf } from "./hash.ts";
import { controllerReference } from "./pods.ts";
import { deleteObject } from "./writes.ts";

/** By which a pod of a DaemonSet or StatefulSet shows the template that it was made from. */
export const revisionHashLabel = "controller-revision-hash";

interface Templated extends KubeObject {
  spec: { selector: LabelSelector; template: PodTemplateSpec; revisionHistoryLimit?: number };
}

/** What a revision keeps, in the form in which `kubectl rollout undo` sends it back as a patch. */
function dataOf(object: Templated): Json {
  return { spec: { template: { ...object.spec.template, $patch: "replace" } as unknown as Json } };
}

/**
 * The revision of an object's present template: made where it is new, and made the newest where an old one has come back.
 * Those beyond the history limit that no pod is of are removed.
 */
export async function currentRevision<T extends Templated>(
  context: ControllerContext,
  resource: Resource<T>,
  object: T,
  inUse: ReadonlySet<string>,
): Promise<ControllerRevision> {
  const { client } = context;
  const known = await claim(context, resources.controllerRevisions, resource, object);
  const data = dataOf(object);
  const key = canonical(data);
  const newest = Math.max(0, ...known.map(({ revision }) => revision));
  let current = known.find((one) => canonical(one.data) === key);
  if (current === undefined) {
    current = await create(context, resource, object, data, newest + 1);
  } else if (current.revision < newest) {
    const body = { revision: newest + 1 };
    current = await client.patch(resources.controllerRevisions, current.metadata, { type: "merge", body });
  }
  const { name } = current.metadata;
  const spare = known
    .filter(
      ({ metadata }) => metadata.name !== name && !inUse.has(metadata.labels?.[revisionHashLabel] ?? ""),
    )
    .sort((a, b) => a.revision - b.revision);
  for (const one of spare.slice(0, Math.max(0, spare.length - (object.spec.revisionHistoryLimit ?? 10)))) {
    await deleteObject(client, resources.controllerRevisions, one);
  }
  return current;
}

async function create<T extends Templated>(
  { client }: ControllerContext,
  resource: Resource<T>,
  object: T,
  data: Json,
  revision: number,
): Promise<ControllerRevision> {
  const { namespace = "" } = object.metadata;
  for (let salt = 0; ; salt++) {
    const hash = hashOf(data, salt);
    const name = `${object.metadata.name}-${hash}`;
    const draft: ControllerRevision = {
      metadata: {
        name,
        namespace,
        labels: { ...object.spec.template.metadata?.labels, [revisionHashLabel]: hash },
        ownerReferences: [controllerReference(resource, object)],
      },
      data,
      revision,
    };
    try {
      return await client.create(resources.controllerRevisions, draft);
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      const there = await client.get(resources.controllerRevisions, { name, namespace });
      if (canonical(there.data) === canonical(data)) return there;
    }
  }
}

export function hashOfRevision({ metadata }: ControllerRevision): string {
  return metadata.labels?.[revisionHashLabel] ?? "";
}
