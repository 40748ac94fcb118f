import { type ApiObject, cloneJson, type Dict, isDict, numberAt, setKey } from "../objects.ts";
import type { ScalePaths } from "../resources/definition.ts";
import { builtinSchema } from "../schema/builtin.ts";
import { validateSchema } from "../schema/validate.ts";
import { badRequest, invalid } from "../status.ts";

export const scaleSchema = builtinSchema("io.k8s.api.autoscaling.v1.Scale");

/** The autoscaling/v1 Scale of an object. */
export function scaleOf(object: ApiObject, paths: ScalePaths): ApiObject {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  const selector = paths.selector(object);
  return {
    kind: "Scale",
    apiVersion: "autoscaling/v1",
    metadata: JSON.parse(JSON.stringify({ name, namespace, uid, resourceVersion, creationTimestamp })),
    spec: { replicas: numberAt(object, ...paths.specReplicas) },
    status: {
      replicas: numberAt(object, ...paths.statusReplicas),
      ...(selector === undefined ? {} : { selector }),
    },
  };
}

/** The object with the number of replicas that a Scale asks for. Throws a Status of 400 or 422. */
export function withScale(current: ApiObject, scale: Dict, paths: ScalePaths): ApiObject {
  const kind = scale.kind ?? "Scale";
  if (kind !== "Scale")
    throw badRequest(`the kind in the data (${String(kind)}) does not match the expected kind (Scale)`);
  const body: Dict = { metadata: {}, spec: {}, ...scale };
  const errors = validateSchema(body, scaleSchema);
  if (errors.length > 0)
    throw invalid({ group: "autoscaling", kind: "Scale" }, current.metadata.name, errors);
  const { uid, resourceVersion } = body.metadata as { uid?: string; resourceVersion?: string };
  const next = cloneJson(current);
  if (uid !== undefined) next.metadata.uid = uid;
  if (resourceVersion === undefined) delete next.metadata.resourceVersion;
  else next.metadata.resourceVersion = resourceVersion;
  let parent: Dict = next;
  for (const key of paths.specReplicas.slice(0, -1)) {
    const child = isDict(parent[key]) ? parent[key] : {};
    setKey(parent, key, child);
    parent = child;
  }
  setKey(parent, paths.specReplicas.at(-1) ?? "replicas", numberAt(body, "spec", "replicas"));
  return next;
}
