import type { Cluster } from "../cluster.ts";
import { arrayAt, type Dict, dictAt, numberAt } from "../objects.ts";
import type { ResourceType } from "../resources/definition.ts";
import { requireEntry } from "../write/update.ts";

const HOUR = 3600;
const LEAST = 600;

/** Answers a TokenRequest: a token by which pods and people act as a ServiceAccount. Throws a Status of 404. */
export function requestToken(
  cluster: Cluster,
  type: ResourceType,
  namespace: string,
  name: string,
  request: Dict,
): Dict {
  const { object } = requireEntry(cluster, type, namespace, name);
  const seconds = Math.max(LEAST, numberAt(request, "spec", "expirationSeconds") || HOUR);
  const audiences = arrayAt(request, "spec", "audiences").filter((audience) => typeof audience === "string");
  const expires = cluster.now() + seconds * 1000;
  const token = cluster.tokens.issue(
    {
      name: `system:serviceaccount:${namespace}:${name}`,
      groups: ["system:serviceaccounts", `system:serviceaccounts:${namespace}`, "system:authenticated"],
      expires,
      ...(audiences.length === 0 ? {} : { audiences }),
      more: { "kubernetes.io": { namespace, serviceaccount: { name, uid: object.metadata.uid } } },
    },
    cluster.now(),
  );
  return {
    kind: "TokenRequest",
    apiVersion: "authentication.k8s.io/v1",
    metadata: { name, namespace, creationTimestamp: new Date(cluster.now()).toISOString() },
    spec: { ...dictAt(request, "spec"), audiences, expirationSeconds: seconds },
    status: { token, expirationTimestamp: new Date(expires).toISOString() },
  };
}
